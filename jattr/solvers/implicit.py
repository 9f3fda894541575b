"""Derivatives of a solution by the implicit function theorem, without the steps that led there.

At a solution z of a problem with parameters p the gradient of what was minimised is zero,

    g(z, p) = w J'r + (z - mean) / (n scale^2) = 0,    w = 1 / (n (mean(r^2) + floor)),

so dz = -A^-1 (dg/dp) dp with A = dg/dz. Of A we take the Gauss-Newton part, in which J is constant:

    A = w J'J - 2 w^2 (J'r)(J'r)' + I / (n scale^2).

It is exact where residuals are linear or small; the terms of the prior are left out where the
solver does without it. (Blondel et al., Efficient and Modular Implicit Differentiation, 2022.)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jattr.solvers.base import FlatProblem
from jattr.solvers.levenberg_marquardt import value_and_jacobian
from jattr.solvers.problem import Problem, flatten
from jattr.solvers.registry import SolverLike, as_solver
from jattr.solvers.solve import solve
from jattr.typing import PyTree


def implicit_gradient(
    problem_fn: Callable[[PyTree], Problem],
    solver: SolverLike,
    *,
    steps: int | None = None,
    damping: float = 1e-7,
    max_dense: int = 512,
    cg_steps: int = 100,
) -> Callable[[PyTree, PyTree], PyTree]:
    """Return `fn(parameters, z0) -> latent`, which reverse-mode differentiation takes.

    Its derivative with respect to the parameters is that of the solution. With respect to z0 it is
    zero: a solution does not depend on where the search began. The search has to reach one: give
    enough steps of a solver that converges.

    Args:
      problem_fn: parameters, any pytree of floats, to the problem: an image, weights, a prior.
      solver: as of `solve`.
      steps: of the search; None: the solver's own number.
      damping: added to the matrix, as a fraction of its largest diagonal number: directions that
        change nothing stay as they are.
      max_dense: numbers of a latent up to which the matrix is solved whole.
      cg_steps: most products with it, by conjugate gradients, beyond.

    >>> import jax, jax.numpy as jnp
    >>> root = implicit_gradient(lambda p: Problem(lambda z: z**2 - p), "levenberg-marquardt")
    >>> round(float(jax.grad(root)(jnp.float32(4.0), jnp.float32(1.0))), 3)
    0.25
    """
    chosen = as_solver(solver)

    @jax.custom_vjp
    def fn(parameters: PyTree, z0: PyTree) -> PyTree:
        return solve(problem_fn(parameters), chosen, z0, steps=steps).latent

    def forward(parameters: PyTree, z0: PyTree) -> tuple[PyTree, tuple[PyTree, PyTree]]:
        latent = fn(parameters, z0)
        return latent, (parameters, latent)

    def backward(kept: tuple[PyTree, PyTree], cotangent: PyTree) -> tuple[PyTree, PyTree]:
        parameters, latent = kept
        flat = flatten(problem_fn(parameters), latent)
        z = flat.z
        # the cotangent raveled as z is: unravel is linear
        (u,) = jax.linear_transpose(flat.unravel, z)(cotangent)
        # A v = u
        with_prior = not chosen.polish
        if z.size <= max_dense:
            matrix = _matrix(flat.problem, z, with_prior)
            size = jnp.max(jnp.diagonal(matrix))
            v = jnp.linalg.solve(matrix + damping * size * jnp.eye(z.size, dtype=z.dtype), u)
        else:
            v, _ = jax.scipy.sparse.linalg.cg(
                _product(flat.problem, z, damping, with_prior), u, maxiter=cg_steps
            )

        # -(dg/dp)' v
        def slope(parameters: PyTree) -> jax.Array:
            return _slope(flatten(problem_fn(parameters), latent).problem, z, with_prior)

        _, pull_back = jax.vjp(slope, parameters)
        (gradient,) = pull_back(-v)
        return gradient, jax.tree.map(jnp.zeros_like, latent)

    fn.defvjp(forward, backward)
    return fn


def _weight(problem: FlatProblem, r: jax.Array) -> jax.Array:
    """Return w = 1 / (n (mean(r^2) + floor))."""
    return 1.0 / (problem.size * (jnp.mean(jnp.square(r)) + problem.variance_floor))


def _slope(problem: FlatProblem, z: jax.Array, with_prior: bool) -> jax.Array:
    """Return g [d]."""
    r, pull_back = jax.vjp(problem.residual, z)
    slope = _weight(problem, r) * pull_back(r)[0]
    if problem.prior is None or not with_prior:
        return slope
    return slope + (z - problem.prior.mean) / (problem.size * jnp.square(problem.prior.scale))


def _pull(problem: FlatProblem, z: jax.Array, with_prior: bool) -> jax.Array:
    """Return what the prior adds to the diagonal [d]."""
    if problem.prior is None or not with_prior:
        return jnp.zeros_like(z)
    return 1.0 / (problem.size * jnp.square(problem.prior.scale))


def _matrix(problem: FlatProblem, z: jax.Array, with_prior: bool) -> jax.Array:
    """Return A [d, d]."""
    r, jacobian = value_and_jacobian(problem.residual, z, problem.tangents)
    weight, gradient = _weight(problem, r), jacobian.T @ r
    matrix = weight * (jacobian.T @ jacobian)
    matrix = matrix - 2.0 * jnp.outer(weight * gradient, weight * gradient)
    return matrix + jnp.diag(_pull(problem, z, with_prior))


def _product(
    problem: FlatProblem, z: jax.Array, damping: float, with_prior: bool
) -> Callable[[jax.Array], jax.Array]:
    """Return v -> A v, damped by the curvature along the gradient."""
    r, push = jax.linearize(problem.residual, z)
    pull_back = jax.linear_transpose(push, z)
    weight, pull = _weight(problem, r), _pull(problem, z, with_prior)
    gradient = weight * pull_back(r)[0]

    def product(v: jax.Array) -> jax.Array:
        return weight * pull_back(push(v))[0] - 2.0 * gradient * (gradient @ v) + pull * v

    along = jnp.ones_like(z) / jnp.sqrt(z.size)
    size = along @ product(along)
    return lambda v: product(v) + damping * size * v
