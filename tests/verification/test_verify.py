"""`jattr.verify`: of what `attribute` returned, and of a folder that it was written to."""

import dataclasses

import numpy as np
import pytest

import jattr
from jattr.errors import InputError
from jattr.inversion import InvertConfig

SEARCH = InvertConfig(restarts=4)


@pytest.fixture(scope="module")
def images(tiny):
    """An image of `tiny`, and one of nobody."""
    own = tiny.make_bytes(np.random.default_rng(3).normal(size=(1, 6)).astype(np.float32))
    return np.concatenate([own, np.random.default_rng(4).integers(0, 256, own.shape, np.uint8)])


@pytest.fixture(scope="module")
def attribution(tiny, images):
    return jattr.attribute(images, [tiny], search=SEARCH)


def test_an_attribution_verifies(attribution, tiny, tiny_folders, images):
    for candidate in (tiny, tiny_folders["tiny"]):
        verification = jattr.verify(attribution, [candidate], images=images)
        assert verification.verified, verification.differences
        assert (verification.images, verification.certified_images) == (2, 1)
        (certificate,) = verification.certificates
        assert (certificate["candidate"], certificate["holds"]) == ("tiny", True)
        assert any("restarts" in line for line in verification.unchecked)


def test_another_latent_does_not(attribution, tiny, images):
    latents = (attribution.latents[0] + np.float32(0.1),)
    verification = jattr.verify(
        dataclasses.replace(attribution, latents=latents), [tiny], images=images
    )
    assert not verification.verified
    assert any("does not hold" in line for line in verification.differences)


def test_other_images_do_not(attribution, tiny, images):
    assert not jattr.verify(attribution, [tiny], images=images[::-1]).verified


def test_images_of_an_attribution_are_needed(attribution, tiny, images):
    for given in (None, images[:1]):
        with pytest.raises(InputError, match="give all 2 with images="):
            jattr.verify(attribution, [tiny], images=given)
    with pytest.raises(InputError, match="give uint8"):
        jattr.verify(attribution, [tiny], images=list(images / 255))


def test_a_candidate_that_a_certificate_names_is_needed(attribution, images, tiny_folders):
    with pytest.raises(InputError, match="no candidate of the result"):
        jattr.verify(attribution, [tiny_folders["tiny_b"]], images=images)
    with pytest.raises(InputError, match="certificates name 'tiny'"):
        jattr.verify(attribution, [], images=images)
