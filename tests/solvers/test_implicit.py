"""Derivatives of solutions, against finite differences and against those through the steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.solvers import GaussNewtonCG, LevenbergMarquardt, implicit_gradient
from jattr.solvers.prior import Prior
from jattr.solvers.problem import Problem
from jattr.solvers.solve import solve

rng = np.random.default_rng(3)
A = rng.normal(size=(12, 3)).astype(np.float32)
Z0 = {"z": np.zeros(3, np.float32)}
IMAGE = np.tanh(0.5 * A @ np.array([0.5, -0.3, 0.8], np.float32)).astype(np.float32)
STEPS = 30


def curved(parameters):
    weights, image = parameters
    return Problem(
        lambda z: jnp.tanh(0.5 * (weights @ z["z"])) - image, Prior(0.0, 1.0), variance_floor=1e-3
    )


def linear(parameters):
    weights, image = parameters
    return Problem(lambda z: weights @ z["z"] - image, Prior(0.2, 0.5), variance_floor=1e-3)


def ending(problem_fn, solver=None, **settings):
    fn = implicit_gradient(problem_fn, solver or LevenbergMarquardt(steps=STEPS), **settings)
    return jax.jit(
        lambda parameters: jnp.sum(jnp.array([1.0, 2.0, -1.0]) * fn(parameters, Z0)["z"])
    )


def by_differences(problem_fn, parameters, index):
    """Central differences in double precision."""
    with jax.enable_x64(True):
        wide = [np.asarray(part, np.float64) for part in parameters]

        def end(by):
            changed = [part.copy() for part in wide]
            changed[index[0]][index[1:]] += by
            problem = problem_fn(tuple(map(jnp.asarray, changed)))
            z = solve(problem, LevenbergMarquardt(steps=80), {"z": np.zeros(3)}).latent["z"]
            return float(z @ np.array([1.0, 2.0, -1.0]))

        return (end(1e-5) - end(-1e-5)) / 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("problem_fn", [linear, curved])
@pytest.mark.parametrize("index", [(0, 2, 1), (0, 7, 0), (1, 4), (1, 11)])
def test_derivative_is_that_of_finite_differences(problem_fn, index):
    image = IMAGE + (0.3 * rng.normal(size=12) if problem_fn is linear else 0.0)
    parameters = (A, image.astype(np.float32))
    gradient = jax.grad(ending(problem_fn))(parameters)
    expected = by_differences(problem_fn, parameters, index)
    # linear residuals: exact, however large they are; curved ones: where they are small
    assert float(gradient[index[0]][index[1:]]) == pytest.approx(expected, rel=2e-2, abs=3e-3)


@pytest.mark.slow
def test_derivative_is_that_through_the_steps():
    def unrolled(parameters):
        solution = solve(curved(parameters), LevenbergMarquardt(steps=STEPS), Z0)
        return jnp.sum(jnp.array([1.0, 2.0, -1.0]) * solution.latent["z"])

    expected = jax.grad(unrolled)((A, IMAGE))
    gradient = jax.grad(ending(curved))((A, IMAGE))
    for part, other in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=2e-2, atol=3e-3)


@pytest.mark.slow
def test_matrix_free_is_dense():
    dense = jax.grad(ending(curved))((A, IMAGE))
    free = jax.grad(ending(curved, GaussNewtonCG(steps=60), max_dense=0))((A, IMAGE))
    for part, other in zip(free, dense, strict=True):
        np.testing.assert_allclose(part, other, rtol=2e-2, atol=3e-3)


@pytest.mark.slow
def test_a_solution_does_not_depend_on_its_start():
    fn = implicit_gradient(curved, LevenbergMarquardt(steps=STEPS))
    gradient = jax.grad(lambda z0: fn((A, IMAGE), z0)["z"].sum())(Z0)
    np.testing.assert_array_equal(gradient["z"], 0.0)


@pytest.mark.slow
def test_gradient_solvers_leave_the_prior_out():
    fn = implicit_gradient(lambda p: Problem(lambda z: z - p, Prior(5.0, 0.1)), "lbfgs")
    assert float(jax.grad(fn)(jnp.float32(2.0), jnp.float32(0.0))) == pytest.approx(1.0, rel=1e-4)
