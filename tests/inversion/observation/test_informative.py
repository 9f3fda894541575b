"""Observations that tell little: a nearly black JPEG, one pixel."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

import jattr
from jattr.alterations.files import alter, from_jpeg
from jattr.alterations.registry import parse_chain
from jattr.attribution.certify import certify
from jattr.decision.certificate import MIN_EXCESS
from jattr.inversion.observation.altered import make_altered_observation


@pytest.fixture(scope="module")
def gen():
    return jattr.load_generator("dcgan_a")


@pytest.mark.slow
def test_a_black_jpeg_under_a_dark_chain_is_no_proof(gen):
    file = io.BytesIO()
    Image.fromarray(np.zeros((96, 96, 3), np.uint8)).save(file, "JPEG", quality=5)
    black = make_altered_observation(
        gen, from_jpeg([file.getvalue()], parse_chain("resize:96x96,brightness:0.05"))
    )
    # of which each block's mean is one
    assert int((black.quantised[0] != 0).sum()) >= MIN_EXCESS + gen.latent_shape[0]
    assert black.num_informative(0) - gen.latent_shape[0] < MIN_EXCESS
    test = certify(black, 0, np.zeros(gen.latent_shape, np.float32))
    assert not test.holds
    assert test.p_value > 1e-6  # nothing but the want of evidence speaks against it


@pytest.mark.slow
def test_own_images_tell_much_after_compression(gen):
    pixels = np.asarray(gen.generate(gen.sample_latent(jax.random.key(0), 1)))
    own = make_altered_observation(
        gen,
        alter(np.clip((pixels + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8), parse_chain("jpeg:50")),
    )
    assert own.num_informative(0) - gen.latent_shape[0] >= MIN_EXCESS
    assert own.num_observed == 32 * 32 * 3


@pytest.mark.slow
def test_one_pixel_names_nobody(gen):
    """Three numbers against 64 unknowns: a colour that any of them can make."""
    images = alter(np.full((1, 32, 32, 3), 120, np.uint8), parse_chain("resize:1x1:box"))
    found = jattr.attribute(
        images, [gen, jattr.load_generator("dcgan_b")], search=jattr.InvertConfig(restarts=2).search
    )
    assert make_altered_observation(gen, images).num_observed <= 3
    assert found.evidence[0][0].spare <= 3 - gen.latent_shape[0]
    assert found.verdicts[0].kind == "undecided"
