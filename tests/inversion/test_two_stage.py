"""Searches of generators with a mapping network: styles first, then the latent behind them."""

import dataclasses

import jax
import numpy as np
import pytest
from fake_files import random_tensors

from jattr.attribution.attribute import attribute
from jattr.generators.registry import parse_any_card
from jattr.generators.store import make_generator
from jattr.generators.stored import as_tree
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig
from jattr.inversion.evaluate import mean_squares
from jattr.inversion.invert import invert
from jattr.inversion.multistart import OneStageSearch, run_rounds
from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import target_of
from jattr.inversion.scheduler import Status
from jattr.inversion.two_stage import TwoStageSearch, make_inverter

FEW = InvertConfig(restarts=4, pool=256).search
KEY = jax.random.key(3)


def styled(name="deep", seed=0, settings=None, **changes):
    """A 16x16 StyleGAN2 with 16 numbers in z and w and four layers between them."""
    arch = {
        "channels": [16, 12, 8],
        "z_dim": 16,
        "mapping_widths": [16] * 4,
        "equalised": True,
    } | changes
    card = parse_any_card(
        {
            "card_version": 1,
            "kind": "stylegan2",
            "name": name,
            "settings": settings or {},
            "architecture": arch,
        }
    )
    tensors = random_tensors("stylegan2", card.architecture, seed)
    for path, array in tensors.items():
        if "mapper/layers" in path and array.ndim == 2:
            tensors[path] = array * np.float32(100)
        elif "mapper" not in path:
            tensors[path] = array / np.float32(2)
        if path.endswith("to_image/bias"):
            tensors[path] = array * np.float32(0)
    return make_generator(card, as_tree(tensors))


def own(gen, count=4, label=None):
    return to_byte(
        np.asarray(gen.generate(gen.sample_latent(jax.random.key(11), count), label=label))
    )


@pytest.fixture(scope="module")
def gen():
    return styled()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"psi": 0.6, "cutoff": 3}, {"noise": "none"}])
def test_a_route_makes_the_generators_images(settings):
    gen = styled(settings=settings)
    route = gen.router(gen)
    z = gen.sample_latent(KEY, 3)
    styles = route.mapping(gen.state, z)
    assert styles.shape == (3, *route.styles.latent_shape)
    np.testing.assert_allclose(route.styles.generate(styles), gen.generate(z), atol=1e-5)


@pytest.mark.slow
def test_only_z_has_a_route(gen, tiny):
    assert gen.view("w").router is None
    assert gen.view("w+").router is None
    assert gen.view(noise="search").router is None
    assert gen.view("w").view("z").router is not None
    pixels = own(gen, 1)
    assert type(make_inverter(Observation(gen, pixels), FEW, KEY)) is TwoStageSearch
    assert (
        type(
            make_inverter(
                Observation(gen, pixels), InvertConfig(optimiser="lbfgs", pool=128).search, KEY
            )
        )
        is OneStageSearch
    )
    assert (
        type(make_inverter(Observation(tiny, np.zeros((1, 8, 8, 3), np.uint8)), FEW, KEY))
        is OneStageSearch
    )


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"psi": 0.6, "cutoff": 3}])
def test_own_images_are_recovered_in_z(settings):
    gen = styled(settings=settings)
    pixels = own(gen)
    found = invert(gen, pixels, search=FEW)
    assert found.z.shape == (4, 4, 16)
    assert (found.status == Status.ARRIVED).any(1).all()
    best = found.z[np.arange(4), found.loss.argmin(1)]
    np.testing.assert_allclose(
        mean_squares(gen, best, None, target_of(pixels)), found.loss.min(1), rtol=1e-3
    )
    assert (found.evaluations.sum(1) > found.steps.sum(1)).all()


@pytest.mark.slow
def test_a_class_that_makes_the_image_is_found():
    """Not always the one that it was made with.

    Another class's latent may lead to the same styles.
    """
    conditional = styled(num_classes=3)
    pixels = own(conditional, 3, np.array([2, 0, 1]))
    att = attribute(pixels, [conditional, styled("other", seed=1)], search=FEW)
    assert [verdict.candidates for verdict in att.verdicts] == [("deep",)] * 3
    assert all(verdict.certificate.holds for verdict in att.verdicts)
    made = conditional.generate(att.latents[0], label=att.labels[:, 0])
    assert (to_byte(np.asarray(made)) == pixels).mean() > 0.9


@pytest.mark.slow
def test_truncated_bytes_are_understood(gen):
    z = gen.sample_latent(jax.random.key(11), 1)
    pixels = to_byte(np.asarray(gen.generate(z)), rule="truncate")
    inverter = make_inverter(Observation(gen, pixels), FEW, KEY)
    run_rounds(inverter)
    assert inverter.results.arrived(0)
    assert inverter.rounding == ["truncate"]


@pytest.mark.slow
def test_a_foreign_image_is_measured_and_not_fitted(gen):
    pixels = own(styled("other", seed=1), 1)
    found = invert(gen, pixels, search=InvertConfig(restarts=2, pool=256))
    assert np.isfinite(found.loss).sum() == 1  # styles far away are followed once, the best ones
    assert not (found.status == Status.ARRIVED).any()
    assert found.loss.min() > 1e-3


@pytest.mark.slow
def test_every_restart_runs_without_early_stop(gen):
    found = invert(gen, own(gen, 1), search=InvertConfig(restarts=3, pool=256, early_stop=False))
    assert (found.status != Status.SKIPPED).all()


@pytest.mark.slow
def test_styles_that_are_not_finite_fail_as_data(gen):
    inverter = make_inverter(
        Observation(gen, own(gen, 1)), InvertConfig(restarts=1, pool=128).search, KEY
    )
    lost = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), gen.state)
    inverter.styles.gen = dataclasses.replace(inverter.styles.gen, state=lost)
    run_rounds(inverter)
    assert not inverter.results.arrived(0)
