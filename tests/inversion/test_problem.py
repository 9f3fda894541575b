"""Bytes as intervals, under both rounding rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import to_bytes

from jattr.images import BYTE_RULES
from jattr.inversion.problem import (
    FLOOR,
    STEP,
    deviation,
    logit,
    make_problem,
    target_of,
)

BYTES = np.arange(256, dtype=np.uint8)
RULES = pytest.mark.parametrize("rule", BYTE_RULES)


def test_floor_is_the_mean_square_of_rounding():
    x = np.random.default_rng(0).uniform(-0.99, 0.99, 400_000)
    error = to_bytes(x) / 127.5 - 1 - x
    assert np.mean(error**2) == pytest.approx(FLOOR, rel=0.01)  # the standard error is 0.15 %
    assert pytest.approx(2 / 255) == STEP


@RULES
def test_centre_is_the_middle_of_each_byte(rule):
    """The top of the truncated range has no middle: only 1 and more make byte 255."""
    target = target_of(jnp.asarray(BYTES[:-1]), rule)
    centre = np.asarray(target.center, np.float64)
    for offset in (-0.49, 0.0, 0.49):
        np.testing.assert_array_equal(to_bytes(centre + offset * STEP, rule), BYTES[:-1])
    np.testing.assert_array_equal(to_bytes(centre[1:] - 0.51 * STEP, rule), BYTES[:-2])
    np.testing.assert_array_equal(to_bytes(centre + 0.51 * STEP, rule), BYTES[1:])
    assert float(target_of(jnp.asarray(BYTES[-1:]), rule).center[0]) == pytest.approx(
        1.0 + (STEP / 2 if rule == "truncate" else 0)
    )


@RULES
def test_rounding_to_a_byte_never_costs_more_than_half_a_step(rule):
    x = np.random.default_rng(1).uniform(-1.3, 1.3, 100_000)
    difference = np.asarray(
        deviation(jnp.asarray(x, jnp.float32), target_of(jnp.asarray(to_bytes(x, rule)), rule))
    )
    # and nothing for values beyond the range
    assert np.abs(difference).max() <= 0.5 * STEP * (1 + 1e-4)


def test_wrong_rule_shows():
    x = np.random.default_rng(2).uniform(-0.9, 0.9, 10_000)
    difference = deviation(
        jnp.asarray(x, jnp.float32), target_of(jnp.asarray(to_bytes(x, "truncate")), "round")
    )
    assert float(jnp.mean(difference)) == pytest.approx(STEP / 2, rel=0.05)


def test_clipped_bytes_are_one_sided():
    target = target_of(jnp.asarray([0, 0, 255, 255, 7, 7], jnp.uint8))
    step = jnp.float32(0.25)
    difference = deviation(
        target.center + jnp.asarray([-1.0, 1.0, 1.0, -1.0, -1.0, 1.0]) * step, target
    )
    outside = 0.25 - STEP / 2  # of the interval, which reaches half a step inside its middle
    np.testing.assert_allclose(difference, [0, outside, 0, -outside, -0.25, 0.25], atol=1e-6)


@RULES
def test_every_value_that_becomes_a_clipped_byte_fits_it(rule):
    """Soft backgrounds, a little inside -1, are byte 0 as well: no search may push them out."""
    x = np.concatenate(
        [np.linspace(-1.2, -1 + 0.99 * STEP, 500), np.linspace(1 - 0.49 * STEP, 1.2, 500)]
    )
    made = to_bytes(x, rule)
    clipped = (made == 0) | (made == 255)
    assert clipped.sum() > 400
    difference = np.asarray(
        deviation(jnp.asarray(x, jnp.float32), target_of(jnp.asarray(made), rule))
    )
    assert np.abs(difference[clipped]).max() <= 1e-6  # float32


@pytest.mark.slow
def test_saturated_pixels_can_move_in_the_logit_domain():
    """A stroke that should be background: its tanh is flat, its logit is not."""
    image = jnp.zeros((1, 1, 2), jnp.uint8).at[0, 0, 1].set(200)

    def apply(state, z, *, label):
        return jnp.tanh(z).reshape(1, 1, 1, 2)

    problem = make_problem(apply, None, target_of(image), (2,), None)
    z = jnp.asarray([4.0, 0.5])
    plain = jax.jacfwd(problem.residual)(z)
    stretched = jax.jacfwd(lambda z: problem.stretched(z, jnp.bool_(True))[0])(z)
    assert abs(plain[0, 0]) < 2e-3
    assert abs(stretched[0, 0]) > 0.2
    for residual in (
        *problem.stretched(z, jnp.bool_(False)),
        problem.stretched(z, jnp.bool_(True))[1],
    ):
        np.testing.assert_array_equal(residual, problem.residual(z))
    there = jnp.asarray([-4.0, np.arctanh(200 / 127.5 - 1)])
    np.testing.assert_allclose(problem.stretched(there, jnp.bool_(True))[0], 0, atol=1e-5)


def test_logit_is_finite_and_grows_everywhere():
    x = jnp.linspace(-2.0, 2.0, 4001)
    y = logit(x)
    assert jnp.isfinite(y).all()
    assert (jnp.diff(y) > 0).all()


@pytest.mark.slow
def test_clipped_bytes_have_no_gradient_beyond_the_range():
    target = target_of(jnp.asarray([0, 255, 100], jnp.uint8))
    x = jnp.asarray([-1.5, 1.5, 0.0])
    jacobian = jax.jacfwd(lambda x: deviation(x, target))(x)
    np.testing.assert_array_equal(jacobian, np.diag([0.0, 0.0, 1.0]))


def test_float_images_are_clipped_at_minus_one_and_one():
    target = target_of(jnp.asarray([-1.0, 1.0, 0.25], jnp.float32))
    np.testing.assert_array_equal(
        deviation(jnp.asarray([-2.0, 2.0, 0.25]), target), [0.0, 0.0, 0.0]
    )


def test_problem_is_flat_and_passes_the_label():
    def apply(state, z, *, label):
        return (
            state * z.sum((1, 2)).reshape(-1, 1, 1, 1) * jnp.ones((2, 3, 1))
            + label.astype(jnp.float32)[0]
        )

    problem = make_problem(
        apply, jnp.float32(0.1), target_of(jnp.zeros((2, 3, 1))), (2, 2), jnp.int32(3)
    )
    assert problem.size == 6
    np.testing.assert_allclose(problem.residual(jnp.arange(4.0)), np.full(6, 3.6), rtol=1e-6)
