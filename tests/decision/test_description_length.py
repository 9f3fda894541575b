"""Bits of evidence: a candidate that reproduces what it did not make has none."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import idctn
from scipy.ndimage import gaussian_filter

import jattr
from jattr.alterations.files import AlteredImages
from jattr.alterations.registry import parse_chain
from jattr.attribution.certify import certify, certify_image
from jattr.attribution.transform_coders import general_bits
from jattr.decision.description_length import (
    MIN_BITS,
    DescriptionLength,
    latent_bits,
)
from jattr.generators.base import Generator
from jattr.images import to_float
from jattr.inversion.observation.altered import make_altered_observation

SIDE = 16
SHAPE = (SIDE, SIDE, 3)
NOISE = (2 / 255) ** 2 / 12  # mean square of rounding
SEARCH = jattr.MultiStart(
    restarts=1, solver="lbfgs", steps=4, polish=jattr.settings.Polish(steps=0),
    rounding_polish=jattr.settings.RoundingPolish(jacobians=0),
)  # fmt: skip


def bits(pixels, variance=1 / 12):
    return general_bits(pixels, variance)


def decoder(columns, name="decoder"):
    """A candidate whose images are linear in its latents."""

    def apply(state, z, *, label=None):
        return (z @ state.T).reshape(-1, *SHAPE)

    return Generator.from_function(
        apply, jnp.asarray(columns, jnp.float32), name=name, version="1",
        latent=(columns.shape[1],), image_shape=SHAPE, prior="normal",
    )  # fmt: skip


def low_frequencies(share):
    cosines = np.asarray(idctn(np.eye(SIDE), axes=[0], norm="ortho"))
    axis = cosines[:, : round(SIDE * share**0.5)]
    return np.kron(np.kron(axis, axis), np.eye(3)) * 1.5


def foreign(sigma, count=3, seed=0):
    """Images of nobody, smooth and without clipped bytes."""
    noise = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE, 3))
    smooth = gaussian_filter(noise, (0, sigma, sigma, 0), mode="reflect")
    return np.round(128 + 80 * smooth / np.abs(smooth).max()).astype(np.uint8)


def solved(gen, pixels):
    columns = np.asarray(gen.state, np.float64)
    normal = columns.T @ columns + NOISE * np.eye(columns.shape[1])
    flat = to_float(pixels).reshape(len(pixels), -1).astype(np.float64)
    return np.linalg.solve(normal, columns.T @ flat.T).T.astype(np.float32)


def test_white_noise_costs_its_entropy():
    pixels = np.random.default_rng(0).integers(1, 255, (32, 32, 3), np.uint8)
    # 12 times the variance of 254 levels, a byte: log2(254) = 7.99 bits
    assert bits(pixels) == pytest.approx(pixels.size * 7.99, rel=0.03)
    # four times the error costs two bits less, a byte one
    assert bits(pixels, 4 / 12) == pytest.approx(pixels.size * 6.99, rel=0.03)


def test_smooth_images_cost_less_and_flat_ones_nearly_nothing():
    rough, smooth = (bits(foreign(sigma, 1)[0]) for sigma in (0.3, 2.0))
    assert smooth < rough / 2
    assert bits(np.full(SHAPE, 77, np.uint8)) < MIN_BITS


def test_channels_that_agree_cost_once():
    colour = foreign(0.5, 1)[0]
    grey = np.repeat(colour[..., :1], 3, 2)
    assert bits(grey) < 0.5 * bits(colour)


def test_a_latent_costs_what_it_tells_apart_and_how_far_out_it_is():
    jacobian = 255.0 * np.eye(20, 4)
    still = latent_bits(np.zeros(4), jacobian)
    assert still == pytest.approx(4 * 0.5 * np.log2(1 + 255.0**2))
    assert latent_bits(np.full(4, 3.0), jacobian) == pytest.approx(still + 4 * 4.5 / np.log(2))
    assert latent_bits(np.full(4, np.nan), jacobian) == np.inf
    assert not DescriptionLength(np.inf, 1e9).suffices


@pytest.mark.parametrize(("share", "sigma"), [(0.6, 1.5), (0.25, 3.0)])
def test_a_decoder_of_low_frequencies_has_no_certificate_for_smooth_images(share, sigma):
    gen = decoder(low_frequencies(share))
    for pixels in foreign(sigma):
        test = certify_image(gen, solved(gen, pixels[None])[0], pixels)
        assert test.fits, "the decoder reproduces the image"
        assert (test.holds, test.evidence_bits < 0) == (False, True)


def block_frequencies(count):
    """The lowest cosines of each block of 8x8 and each channel."""
    cosines = np.asarray(idctn(np.eye(8), axes=[0], norm="ortho"))
    order = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at))[:count]
    columns = []
    for (down, right), (top, left) in itertools.product(order, np.ndindex(SIDE // 8, SIDE // 8)):
        plane = np.zeros((SIDE, SIDE))
        block = np.outer(cosines[:, down], cosines[:, right])
        plane[8 * top : 8 * top + 8, 8 * left : 8 * left + 8] = block
        columns.append(np.kron(plane.reshape(-1, 1), np.eye(3)))
    return np.concatenate(columns, 1)


@pytest.mark.parametrize("count", [3, 10, 20])
def test_a_decoder_of_blocks_has_no_certificate_for_what_an_encoder_of_blocks_left(count):
    gen = decoder(block_frequencies(count))
    pixels = foreign(0.7, 4)
    latents = np.asarray(gen.state, np.float64).T @ to_float(pixels).reshape(4, -1).T
    images = gen.to_bytes(np.asarray(gen.generate(latents.T.astype(np.float32))))
    for image in images:
        test = certify_image(gen, solved(gen, image[None])[0], image)
        assert test.fits, "the decoder reproduces the image"
        assert not test.holds
        # the whole image's cosines alone would have called it proof where few are left of a block
        assert test.general_bits < 1.6 * test.latent_bits


def enlarging(corners):
    """What a bilinear enlargement makes of 4x4 pixels of each channel, by corners or middles."""
    middles = (np.arange(SIDE) + 0.5) * 4 / SIDE - 0.5
    at = np.arange(SIDE) * 3 / (SIDE - 1) if corners else middles
    axis = np.maximum(1 - np.abs(at[:, None] - np.arange(4)), 0)
    axis = axis / axis.sum(1, keepdims=True)
    return np.kron(np.kron(axis, axis), np.eye(3))


@pytest.mark.parametrize("contrast", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("alterations", [None, "cover:6x16+0+0"])
@pytest.mark.parametrize("corners", [False, True])
def test_neither_clipping_nor_a_cover_makes_evidence_of_an_enlargement(
    contrast, alterations, corners
):
    gen = decoder(enlarging(corners))
    latents = contrast * np.random.default_rng(4).uniform(-1, 1, (3, 48)).astype(np.float32)
    images = gen.to_bytes(np.asarray(gen.generate(latents)))
    assert ((images == 0) | (images == 255)).any() == (contrast > 1)
    for image, latent in zip(images, latents, strict=True):
        if alterations is None:
            test = certify_image(gen, latent, image)
        else:
            seen = make_altered_observation(
                gen, AlteredImages(image[None], parse_chain(alterations))
            )
            test = certify(seen, 0, latent)
        assert test.fits
        assert not test.holds
        assert test.general_bits < 1.6 * test.latent_bits


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_its_latents_gives_a_decoder_no_certificate(scale):
    gen = decoder(low_frequencies(0.6) * scale)
    pixels = foreign(1.5, 1)[0]
    assert not certify_image(gen, solved(gen, pixels[None])[0], pixels).holds


def test_few_latents_have_evidence():
    columns = np.random.default_rng(1).normal(size=(SIDE * SIDE * 3, 8)) / 6
    gen = decoder(columns)
    z = gen.sample_latent(jax.random.key(0), 1)
    pixels = gen.to_bytes(np.asarray(gen.generate(z)))[0]
    test = certify_image(gen, np.asarray(z[0]), pixels)
    assert test.holds
    assert test.evidence_bits == pytest.approx(test.general_bits / 2 - test.latent_bits)
    assert test.evidence_bits > 1_000


@pytest.mark.slow
def test_a_decoder_that_leads_is_not_named():
    gen, pixels = decoder(low_frequencies(0.25)), foreign(2.0)
    weak = decoder(np.random.default_rng(2).normal(size=(SIDE * SIDE * 3, 2)) / 3, "weak")
    found = jattr.attribute(
        pixels, [gen, weak], search=SEARCH, latents0={gen.name: solved(gen, pixels)}
    )
    assert (found.residual[:, 0] * 10 < found.residual[:, 1]).all()
    assert [verdict.kind for verdict in found.verdicts] == ["undecided"] * 3
    assert all("did not make" in verdict.reason for verdict in found.verdicts)
