"""From a least-squares latent to one whose every pixel rounds to the byte."""

import jax
import numpy as np
import pytest
from toys import make_toy, own_images, to_bytes

from jattr.inversion.invert import problem_of
from jattr.inversion.linearization import linearise
from jattr.inversion.problem import STEP, target_of
from jattr.inversion.rounding_polish import RoundingPolish, interval_polish
from jattr.solvers.solve import solve

COUNT = 6


def linearise_of(gen, pixels, rounding="round"):
    target = target_of(pixels, rounding)
    return lambda z: linearise(gen, target, None, z)[1:]


def outside(fn, z):
    return int(
        (np.abs(np.asarray(fn(np.asarray(z, np.float32))[0]) / STEP) > RoundingPolish().safe).sum()
    )


@pytest.fixture(scope="module")
def least_squares():
    """A generator of 8 latents, its own images, and the least-squares latents."""
    gen = make_toy(size=8)
    z, pixels = own_images(gen, COUNT)

    def search(image, z0):
        return solve(problem_of(gen, image, prior=None), "levenberg-marquardt", z0).latent

    return gen, pixels, np.asarray(jax.jit(jax.vmap(search))(pixels, 0.8 * z))


@pytest.mark.slow
def test_every_byte_becomes_identical(least_squares):
    gen, pixels, start = least_squares
    wrong_before = (to_bytes(gen.generate(start)) != pixels).reshape(COUNT, -1).sum(1)
    assert wrong_before.sum() > 0  # else this test shows nothing
    for i in range(COUNT):
        z, left, used, _ = interval_polish(linearise_of(gen, pixels[i]), start[i], RoundingPolish())
        assert left == 0
        assert 1 <= used <= 9
        assert z.dtype == np.float32
        np.testing.assert_array_equal(to_bytes(gen.generate(z[None])[0]), pixels[i])


@pytest.mark.slow
def test_image_that_is_exact_already_costs_one_jacobian(least_squares):
    gen, pixels, start = least_squares
    fn = linearise_of(gen, pixels[0])
    z, _, _, _ = interval_polish(fn, start[0], RoundingPolish())
    again, left, used, _ = interval_polish(fn, z, RoundingPolish())
    np.testing.assert_array_equal(again, z)
    assert (left, used) == (0, 1)


def test_unsolvable_image_keeps_the_best_so_far(least_squares):
    gen, _, start = least_squares
    noise = np.random.default_rng(0).integers(0, 256, gen.image_shape).astype(np.uint8)
    fn = linearise_of(gen, noise)
    z, left, used, _ = interval_polish(fn, start[0], RoundingPolish())
    assert 0 < left <= outside(fn, start[0])
    assert left == outside(fn, z)
    assert used <= 9


def test_nearly_solvable_image_does_not_get_worse(least_squares):
    """One byte changed by 40: the other bytes may not be paid for it."""
    gen, pixels, start = least_squares
    changed = pixels[1].copy()
    changed[2, 2, 1] ^= 40
    fn = linearise_of(gen, changed)
    z, left, _, _ = interval_polish(fn, start[1], RoundingPolish())
    assert left == outside(fn, z) <= outside(fn, start[1])
    assert np.isfinite(z).all()


def test_point_that_cannot_be_computed_never_wins():
    """Everything but the start is NaN; NaN lies in no interval."""
    start = np.zeros(2, np.float32)

    def linearise(z):
        residual = np.full(10, STEP if np.array_equal(z, start) else np.nan)
        return residual, np.eye(10, 2) * STEP

    z, left, _, _ = interval_polish(linearise, start, RoundingPolish())
    np.testing.assert_array_equal(z, start)
    assert left == 10
