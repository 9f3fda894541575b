"""Levenberg-Marquardt, dense and matrix-free, against closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.inversion.gauss_newton import gauss_newton_cg, levenberg_marquardt, residual_and_jacobian
from jattr.inversion.problem import Problem
from jattr.inversion.search import advance, begin

SIZE, ROWS = 6, 40
rng = np.random.default_rng(1)
A = jnp.asarray(rng.normal(size=(ROWS, SIZE)), jnp.float32)
B = jnp.asarray(rng.normal(size=ROWS), jnp.float32)
SOLUTION = jnp.asarray(rng.normal(size=SIZE), jnp.float32)
METHODS = pytest.mark.parametrize("make", [levenberg_marquardt, gauss_newton_cg])


def curved(z):
    return jnp.sin(0.5 * (A @ z)) - jnp.sin(0.5 * (A @ SOLUTION))


CURVED = Problem(curved, ROWS)
LINEAR = Problem(lambda z: A @ z - B, ROWS)


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def search(make, residual, z, steps):
    optimiser = make()
    return advance(optimiser, Problem(residual, ROWS), begin(optimiser, z), steps)


def test_jacobian_is_that_of_reverse_mode():
    z = SOLUTION + 0.3
    r, jacobian = residual_and_jacobian(CURVED, z)
    np.testing.assert_array_equal(r, curved(z))
    assert jacobian.shape == (ROWS, SIZE)
    np.testing.assert_allclose(jacobian, jax.jacrev(curved)(z), atol=2e-6, rtol=0)  # float32, entries near 1


def test_converges_quadratically():
    """Undamped near an exact solution: each error is at most a constant times the square of the one before."""
    optimiser = levenberg_marquardt()
    state = optimiser.init(SOLUTION + 0.1)._replace(damping=jnp.float32(0.0))
    errors = []
    for _ in range(4):
        state, trial = optimiser.step(state, CURVED)
        errors.append(float(jnp.linalg.norm(trial.z - SOLUTION)))
    assert errors[1] < errors[0] ** 2
    assert errors[2] < max(errors[1] ** 2, 1e-6)  # 1e-6: the last bits of float32
    assert errors[3] < 1e-6


@METHODS
def test_solves_a_linear_problem_by_least_squares(make):
    carry = search(make, LINEAR.residual, jnp.zeros(SIZE), 20)
    expected = np.linalg.lstsq(np.asarray(A, np.float64), np.asarray(B, np.float64), rcond=None)[0]
    np.testing.assert_allclose(carry.best, expected, atol=2e-4, rtol=0)  # a flat minimum: the loss has 7 digits, z half


def test_matrix_free_direction_is_the_dense_one():
    """With hardly any damping, and fewer unknowns than steps of conjugate gradients, both are the Gauss-Newton step."""
    z, moves = SOLUTION + 0.2, []
    for make in (levenberg_marquardt, gauss_newton_cg):
        optimiser = make()
        state = optimiser.init(z)._replace(damping=jnp.float32(1e-7))
        state, _ = optimiser.step(state, CURVED)
        moves.append(state.trial - z)
    expected = np.linalg.lstsq(np.asarray(jax.jacrev(curved)(z), np.float64), -np.asarray(curved(z)), rcond=None)[0]
    for move in moves:
        np.testing.assert_allclose(move, expected, atol=1e-4, rtol=0)  # "cg" stops at 1e-5 of the gradient
    assert np.abs(expected).max() > 0.1


@METHODS
@pytest.mark.parametrize("kind", ["dead latent", "equal columns", "constant picture"])
def test_singular_jacobian_gives_no_nan(make, kind):
    columns = {
        "dead latent": A.at[:, 2].set(0.0),
        "equal columns": A.at[:, 2].set(A[:, 3]),
        "constant picture": jnp.zeros_like(A),
    }[kind]
    start = jnp.full(SIZE, 0.5)
    carry = search(make, lambda z: columns @ z - B, start, 12)
    state = carry.optimiser
    assert all(np.isfinite(a).all() for a in (state.z, state.trial, state.damping, carry.best, carry.loss, carry.last))
    dense = np.asarray(columns, np.float64)
    left = np.asarray(B) - dense @ np.linalg.lstsq(dense, np.asarray(B, np.float64), rcond=None)[0]
    assert float(carry.loss) == pytest.approx(np.mean(left**2), rel=1e-3)
    if kind != "equal columns":
        assert float(carry.best[2]) == pytest.approx(0.5, abs=1e-4)  # what no pixel sees stays where it was


@METHODS
def test_step_into_nan_is_refused_and_damped(make):
    """The first Gauss-Newton step overshoots into NaN; the search comes back with more damping and goes on."""
    fence = lambda z: jnp.where(jnp.abs(z) > 3, jnp.nan, jnp.arctan(z))  # noqa: E731 - full steps from 2 overshoot
    carry = search(make, fence, jnp.full(1, 2.0), 40)
    assert abs(float(carry.best[0])) < 1e-3
