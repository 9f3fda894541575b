"""Levenberg-Marquardt, dense and matrix-free, against closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.inversion.problem import FLOOR
from jattr.solvers.base import FlatProblem, Prior
from jattr.solvers.levenberg_marquardt import (
    GaussNewtonCG,
    LevenbergMarquardt,
    _joined,
    value_and_jacobian,
)
from jattr.solvers.solve import advance, begin

SIZE, ROWS = 6, 40
rng = np.random.default_rng(1)
A = jnp.asarray(rng.normal(size=(ROWS, SIZE)), jnp.float32)
B = jnp.asarray(rng.normal(size=ROWS), jnp.float32)
SOLUTION = jnp.asarray(rng.normal(size=SIZE), jnp.float32)
METHODS = pytest.mark.parametrize("make", [LevenbergMarquardt, GaussNewtonCG])


def curved(z):
    return jnp.sin(0.5 * (A @ z)) - jnp.sin(0.5 * (A @ SOLUTION))


CURVED = FlatProblem(curved, ROWS)
LINEAR = FlatProblem(lambda z: A @ z - B, ROWS)


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def search(make, residual, z, steps):
    solver = make()
    return advance(solver.step, FlatProblem(residual, ROWS), begin(solver, z), steps)


@pytest.mark.slow
def test_jacobian_is_that_of_reverse_mode():
    z = SOLUTION + 0.3
    r, jacobian = value_and_jacobian(CURVED.residual, z)
    np.testing.assert_array_equal(r, curved(z))
    assert jacobian.shape == (ROWS, SIZE)
    # float32, entries near 1
    np.testing.assert_allclose(jacobian, jax.jacrev(curved)(z), atol=2e-6, rtol=0)


@pytest.mark.slow
def test_converges_quadratically():
    """Undamped near an exact solution.

    Each error is at most a constant times the square of the one before.
    """
    solver = LevenbergMarquardt()
    state = solver.init(SOLUTION + 0.1)._replace(damping=jnp.float32(0.0))
    errors = []
    for _ in range(4):
        state, trial = solver.step(state, CURVED)
        errors.append(float(jnp.linalg.norm(trial.z - SOLUTION)))
    assert errors[1] < errors[0] ** 2
    assert errors[2] < max(errors[1] ** 2, 1e-6)  # 1e-6: the last bits of float32
    assert errors[3] < 1e-6


@METHODS
def test_solves_a_linear_problem_by_least_squares(make):
    carry = search(make, LINEAR.residual, jnp.zeros(SIZE), 20)
    expected = np.linalg.lstsq(np.asarray(A, np.float64), np.asarray(B, np.float64), rcond=None)[0]
    # a flat minimum: the loss has 7 digits, z half
    np.testing.assert_allclose(carry.best, expected, atol=2e-4, rtol=0)


@pytest.mark.slow
def test_matrix_free_direction_is_the_dense_one():
    """With hardly any damping, and fewer unknowns than steps of conjugate gradients, both are
    the Gauss-Newton step.
    """
    z, moves = SOLUTION + 0.2, []
    for make in (LevenbergMarquardt, GaussNewtonCG):
        solver = make()
        state = solver.init(z)._replace(damping=jnp.float32(1e-7))
        state, _ = solver.step(state, CURVED)
        moves.append(state.trial - z)
    expected = np.linalg.lstsq(
        np.asarray(jax.jacrev(curved)(z), np.float64), -np.asarray(curved(z)), rcond=None
    )[0]
    for move in moves:
        # "cg" stops at 1e-5 of the gradient
        np.testing.assert_allclose(move, expected, atol=1e-4, rtol=0)
    assert np.abs(expected).max() > 0.1


@pytest.mark.slow
@METHODS
@pytest.mark.parametrize("kind", ["dead latent", "equal columns", "constant image"])
def test_singular_jacobian_gives_no_nan(make, kind):
    columns = {
        "dead latent": A.at[:, 2].set(0.0),
        "equal columns": A.at[:, 2].set(A[:, 3]),
        "constant image": jnp.zeros_like(A),
    }[kind]
    start = jnp.full(SIZE, 0.5)
    carry = search(make, lambda z: columns @ z - B, start, 12)
    state = carry.solver_state
    assert all(
        np.isfinite(a).all()
        for a in (state.z, state.trial, state.damping, carry.best, carry.loss, carry.last)
    )
    dense = np.asarray(columns, np.float64)
    left = np.asarray(B) - dense @ np.linalg.lstsq(dense, np.asarray(B, np.float64), rcond=None)[0]
    assert float(carry.loss) == pytest.approx(np.mean(left**2), rel=1e-3)
    if kind != "equal columns":
        # what no pixel sees stays where it was
        assert float(carry.best[2]) == pytest.approx(0.5, abs=1e-4)


@METHODS
def test_step_into_nan_is_refused_and_damped(make):
    """The first Gauss-Newton step overshoots into NaN.

    The search comes back with more damping and goes on.
    """
    fence = lambda z: jnp.where(jnp.abs(z) > 3, jnp.nan, jnp.arctan(z))  # noqa: E731 - full steps from 2 overshoot
    carry = search(make, fence, jnp.full(1, 2.0), 40)
    assert abs(float(carry.best[0])) < 1e-3


@pytest.mark.slow
@METHODS
def test_prior_decides_what_the_image_does_not(make):
    """A latent that no pixel sees goes to the prior's mean.

    The others hardly feel the prior near a solution.
    """
    prior = Prior(jnp.full(SIZE, 0.25), jnp.full(SIZE, 2.0))
    noise = jnp.asarray(rng.normal(size=ROWS), jnp.float32) * np.sqrt(FLOOR)
    columns = A.at[:, 2].set(0.0)

    @jax.jit
    def run(z):
        solver = make()
        problem = FlatProblem(lambda z: 0.1 * columns @ (z - SOLUTION) + noise, ROWS, prior)
        return advance(solver.step, problem, begin(solver, z), 30).best

    found = np.asarray(run(jnp.full(SIZE, 1.5)))
    # conjugate gradients see weak directions last
    tolerance = 2e-2 if make is LevenbergMarquardt else 0.3
    assert found[2] == pytest.approx(0.25, abs=tolerance)
    np.testing.assert_allclose(np.delete(found, 2), np.delete(np.asarray(SOLUTION), 2), atol=0.02)


@pytest.mark.slow
def test_prior_keeps_a_hopeless_search_short():
    """Without a prior an image that cannot be reproduced is chased arbitrarily far along a flat
    direction.
    """
    flat = lambda z: jnp.tanh(0.05 * (A @ z)) - 3.0 * jnp.sign(A @ jnp.ones(SIZE))  # noqa: E731
    lengths = {}
    for name, prior in {"none": None, "normal": Prior(jnp.zeros(SIZE), jnp.ones(SIZE))}.items():
        solver = LevenbergMarquardt()
        found = advance(
            solver.step, FlatProblem(flat, ROWS, prior), begin(solver, jnp.zeros(SIZE)), 20
        ).solver_state.z
        lengths[name] = float(jnp.sqrt(jnp.mean(found**2)))
    assert lengths["normal"] < 5 < lengths["none"]


def test_rejected_point_changes_nothing_where_the_problem_is_linear():
    """Both linear models are one there: joining them is exact."""
    solver = LevenbergMarquardt()
    state, _ = solver.step(solver.init(jnp.ones(SIZE)), LINEAR)
    other, _ = solver.step(solver.init(jnp.zeros(SIZE)), LINEAR)
    joined = _joined(state, other._replace(z=jnp.zeros(SIZE)))
    np.testing.assert_allclose(joined.normal, state.normal, rtol=1e-5)
    np.testing.assert_allclose(joined.gradient, state.gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_rejected_point_shows_the_other_side_of_a_kink():
    kinked = FlatProblem(lambda z: jnp.where(z > 0, 3.0 * z, z) - 1.0, 1)
    solver = LevenbergMarquardt()
    here, _ = solver.step(solver.init(jnp.full(1, -0.1)), kinked)
    there, _ = solver.step(solver.init(jnp.full(1, 0.9)), kinked)
    joined = _joined(here, there)
    assert float(joined.normal[0, 0]) == pytest.approx((1 + 9) / 2)
    model_there = 3.0 * -0.1 - 1.0  # its residual, continued to the point here
    assert float(joined.gradient[0]) == pytest.approx((1 * (-0.1 - 1.0) + 3 * model_there) / 2)


def test_logit_steps_free_a_saturated_pixel():
    """From z = 9 the plain method sees no slope; in the logit domain it walks back."""

    def saturated(z):
        return jnp.tanh(z) - jnp.tanh(jnp.full(1, -0.3))

    def stretched(z, on):
        return jnp.where(on, z + 0.3, saturated(z)), saturated(z)

    ends = {}
    for steps in (0, 6):
        solver = LevenbergMarquardt(logit_steps=steps)
        problem = FlatProblem(saturated, 1, None, stretched)
        ends[steps] = float(
            advance(solver.step, problem, begin(solver, jnp.full(1, 9.0)), 12).best[0]
        )
    assert ends[6] == pytest.approx(-0.3, abs=1e-3)
    assert abs(ends[0] + 0.3) > 1
