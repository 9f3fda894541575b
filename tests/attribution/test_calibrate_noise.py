"""Alterations that chance has a part in, in `calibrate`: each image gets a draw of its own."""

import jax
import numpy as np
import pytest
from toys import make_toy, own_images

from jattr.alterations import alter, parse_chain
from jattr.attribution import calibrate as calibration_run
from jattr.attribution.calibrate import calibrate, fair_searches
from jattr.inversion.config import InvertConfig

TOYS = [make_toy(seed=seed, name=f"toy{seed}") for seed in range(2)]
CONFIG = InvertConfig(restarts=1, pool=64, steps=1).search
KEY = jax.random.key(0)
GREY = np.full((64 + 4, 6, 6, 3), 128, np.uint8)


@pytest.fixture
def searched(monkeypatch):
    """The altered images of every search, block by block."""
    seen = []
    make_observation = calibration_run.make_observation
    monkeypatch.setattr(
        calibration_run,
        "make_observation",
        lambda gen, p, config: seen.append(p) or make_observation(gen, p, config),
    )
    return seen


@pytest.mark.slow
def test_every_image_gets_noise_of_its_own(searched):
    chain = parse_chain("noise:0.05")
    for kind, config in (
        ("a", CONFIG),
        ("b", CONFIG),
        ("a", InvertConfig(restarts=1, pool=64, steps=1, seed=1).search),
    ):
        fair_searches(TOYS[0], GREY, chain, config, KEY, kind=kind)[0]
    pixels = np.concatenate([altered.pixels for altered in searched])
    # images, kinds and seeds
    assert len(np.unique(pixels.reshape(len(pixels), -1), axis=0)) == 3 * len(GREY)
    assert {altered.chain.text for altered in searched} == {"noise:0.05"}


@pytest.mark.slow
def test_an_image_has_the_same_noise_under_every_candidate(searched):
    for gen in TOYS:
        fair_searches(gen, GREY[:2], parse_chain("noise:0.05"), CONFIG, KEY, kind="a")
    np.testing.assert_array_equal(searched[0].pixels, searched[1].pixels)


@pytest.mark.slow
def test_own_images_are_the_others_negatives_with_the_same_noise(searched):
    found = calibrate(TOYS, chains=[parse_chain("noise:0.05")], own=2, others=2, search=CONFIG)
    assert found.conditions == ("clean", "noise:0.05")
    # of each candidate: own, the other's
    noisy = [p.pixels for p in searched if not isinstance(p, np.ndarray)]
    np.testing.assert_array_equal(noisy[0], noisy[3])
    np.testing.assert_array_equal(noisy[1], noisy[2])
    clean = [p.astype(int) for p in searched if isinstance(p, np.ndarray)]
    assert (noisy[0] - clean[0] != noisy[2] - clean[2]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("text", ["brightness:0.8", "brightness:0.8,jpeg:90"])
def test_an_alteration_without_chance_is_the_same_however_it_is_drawn(text):
    chain, pixels = parse_chain(text), own_images(TOYS[0], 3)[1]
    plain, drawn = alter(pixels, chain), alter(pixels, chain, [(i, 7) for i in range(3)])
    np.testing.assert_array_equal(plain.pixels, drawn.pixels)
    assert plain.chain == drawn.chain


def test_two_steps_of_noise_are_two_draws():
    once = alter(GREY[:1], parse_chain("noise:0.05"), [(1,)]).pixels.astype(int) - 128
    twice = alter(GREY[:1], parse_chain("noise:0.05,noise:0.05"), [(1,)]).pixels.astype(int) - 128
    assert twice.std() < 1.8 * once.std()  # 1.4 times; twice if both are the same draw
