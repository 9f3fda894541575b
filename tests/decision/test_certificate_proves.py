"""Certificates that would prove nothing are refused.

Generators of every image, repeated numbers, single bytes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattr
from jattr.attribution.certify import certify_image
from jattr.decision.certificate import MIN_EXCESS, _distinct
from jattr.generators.base import Generator
from jattr.images import to_byte
from jattr.inversion.evaluate import make_images

SHAPE = (16, 16, 3)
N = 16 * 16 * 3


def made(apply, size, shape=SHAPE, state=None):
    """A generator of a function, its latents drawn from a Gaussian."""
    return Generator.from_function(
        apply, state or {}, name="made", version="1", latent=(size,), image_shape=shape,
        sample=lambda key, count: jax.random.normal(key, (count, size)),
    )  # fmt: skip


def anything(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(40, 216, shape, np.uint8)


@pytest.mark.slow
def test_a_generator_of_every_image_with_a_small_gain():
    """One unit of the latent moves it by less than a byte's noise, so its rank is 0.

    The latent is merely far out.
    """
    gain = 0.28 * 2 / 255
    gen = made(lambda state, z, *, label=None: (gain * z).reshape(-1, *SHAPE), N)
    pixels = anything()
    test = certify_image(gen, (pixels.astype(np.float32) / 127.5 - 1).ravel() / gain, pixels)
    assert (test.bit_exact, test.rank, test.holds) == (True, 0, False)


@pytest.mark.slow
def test_a_generator_of_every_image_that_is_flat_where_it_ends():
    """Nine saturated latents are the bits of a byte.

    Typical of the prior, and nothing moves there.
    """
    shape, bits = (8, 8, 3), 9
    count = 8 * 8 * 3
    weights = 2.0 ** -np.arange(1, bits + 1)

    def apply(state, z, *, label=None):
        return (
            jnp.tanh(50 * z).reshape(len(z), count, bits) @ jnp.asarray(weights, jnp.float32)
        ).reshape(-1, *shape)

    pixels = anything(1, shape)
    value, z = (pixels.astype(np.float64) / 127.5 - 1).ravel(), np.zeros((count, bits))
    for k, weight in enumerate(weights):
        z[:, k] = np.where(value >= 0, 1.0, -1.0)
        value = value - z[:, k] * weight
    test = certify_image(made(apply, count * bits, shape), z.ravel().astype(np.float32), pixels)
    assert (test.rank, test.holds) == (0, False)
    assert test.p_value > 1e-6


def test_a_generator_that_hides_three_bytes_in_each_latent():
    """A third as many latents as bytes, and yet every image: it moves by 2^16 bytes a unit."""
    count = N // 3

    def apply(state, z, *, label=None):
        whole = jnp.floor(z[..., None] * jnp.asarray([2.0**8, 2.0**16, 2.0**24]) % 256.0)
        soft = z[..., None] * jnp.asarray([2.0**8, 2.0**16, 2.0**24])
        value = whole + (soft - jax.lax.stop_gradient(soft))
        return (value / 127.5 - 1).reshape(-1, *SHAPE)

    pixels = anything(2)
    digits = pixels.reshape(-1, 3).astype(np.float64)
    z = (digits @ [2.0**-8, 2.0**-16, 2.0**-24]).astype(np.float32)
    exact = (
        np.floor(z[:, None].astype(np.float64) * [2.0**8, 2.0**16, 2.0**24] % 256)
        .reshape(SHAPE)
        .astype(np.uint8)
    )
    test = certify_image(made(apply, count), z, exact)
    assert (test.bit_exact, test.holds) == (True, False)
    assert test.excess >= MIN_EXCESS  # which the ranks alone would not have refused


def test_a_generator_of_one_colour_certifies_no_flat_image():
    gen = made(
        lambda state, z, *, label=None: jnp.broadcast_to(
            jnp.tanh(z)[:, None, None], (len(z), *SHAPE)
        ),
        3,
    )
    pixels = np.full(SHAPE, (90, 120, 31), np.uint8)
    test = certify_image(
        gen, np.arctanh(np.array([90, 120, 31]) / 127.5 - 1).astype(np.float32), pixels
    )
    assert (test.bit_exact, test.unclipped, test.holds) == (True, 3, False)


def grey(size=8, side=24):
    weights = jnp.asarray(
        0.3 * np.random.default_rng(0).normal(size=(size, side * side)), jnp.float32
    )

    def apply(state, z, *, label=None):
        return jnp.repeat(jnp.tanh(z @ weights).reshape(-1, side, side, 1), 3, -1)

    return made(apply, size, (side, side, 3))


def test_three_equal_channels_count_distinct():
    gen = grey()
    z = np.asarray(gen.sample_latent(jax.random.key(1), 1))
    pixels = to_byte(make_images(gen, z))[0]
    test = certify_image(gen, z[0], pixels)
    assert test.holds
    assert test.unclipped == int(((pixels > 0) & (pixels < 255))[..., 0].sum())
    coloured = pixels.copy()
    coloured[3, 4, 2] ^= 8  # no image of its: the one that is off is the one that counts
    assert not certify_image(gen, z[0], coloured).holds


def test_equal_numbers_are_those_of_value_and_row():
    jacobian = np.array([[1, 2], [1, 2], [1, 2], [3, 4], [0.0, 0], [-0.0, 0]], np.float32)
    value = np.array([5.0, 5, 6, 5, 7, 7])
    assert _distinct(value, jacobian, np.array([0.1, -0.4, 0, 0, 0.2, 0.1])).tolist() == [
        1,
        2,
        3,
        4,
    ]


@pytest.fixture(scope="module")
def own():
    gen = jattr.load_generator("dcgan_a")
    z = np.asarray(gen.sample_latent(jax.random.key(3), 1))
    pixels = to_byte(make_images(gen, z), rule=gen.rounding or "round")[0]
    return gen, z[0], pixels


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [((0, 4),), ((0, 2), (1, 2), (2, 2)), tuple((k, 2) for k in range(0, 50, 10))]
)
def test_few_bytes_changed_by_two_levels_are_refused(own, changes):
    gen, z, pixels = own
    changed = pixels.copy().ravel()
    places = np.flatnonzero((changed > 9) & (changed < 246))
    for place, by in changes:
        changed[places[place]] += by
    assert certify_image(gen, z, pixels).holds
    test = certify_image(gen, z, changed.reshape(pixels.shape))
    assert test.p_value > 1e-6  # the sums alone forgive it
    assert not test.holds
