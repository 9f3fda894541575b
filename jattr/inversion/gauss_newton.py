"""Levenberg-Marquardt: Gauss-Newton steps with damping, by the whole Jacobian or matrix-free.

Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters (1963); Nocedal and Wright, section 10.3.
A step costs the Jacobian at one point (d forward-mode tangents that share their weights: one large matrix product a
layer), so it pays where d is small, and it converges in few steps where gradient methods need hundreds.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jattr.generators import ops
from jattr.inversion.problem import Problem
from jattr.inversion.protocol import Optimiser, Trial

FIRST_DAMPING = 1e-2
DAMPING = (1e-7, 1e6)  # bounds
EASE, TIGHTEN = 0.2, 4.0  # factors of the damping after a step that was accepted, or not
SMALLEST_DIAGONAL = 1e-7  # of the normal matrix, as a fraction of its largest: dead directions stay where they are
CG_STEPS = 20


class State(NamedTuple):
    """Where the search stands, and the point that it tries next."""

    z: jax.Array  # [d], the last accepted point
    loss: jax.Array  # [], there; inf before the first
    normal: jax.Array  # [d, d], J'J there; [0, 0] when matrix-free
    gradient: jax.Array  # [d], J'r there
    trial: jax.Array  # [d]
    damping: jax.Array  # []


def levenberg_marquardt() -> Optimiser:
    """Return the method with the whole Jacobian, for latents of up to a few hundred numbers."""

    def init(z: jax.Array) -> State:
        d = z.size
        return State(z, jnp.float32(jnp.inf), jnp.eye(d), jnp.zeros(d), z, jnp.float32(FIRST_DAMPING))

    def step(state: State, problem: Problem) -> tuple[State, Trial]:
        r, jacobian = residual_and_jacobian(problem, state.trial)
        here = _measured(state, r, jacobian.T @ jacobian, jacobian.T @ r)
        state, trial = _accept(state, here)
        matrix = state.normal + state.damping * jnp.diag(_scales(jnp.diagonal(state.normal)))
        move = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), -state.gradient)
        return state._replace(trial=_finite_move(state, move)), trial

    return Optimiser(init, step)


def gauss_newton_cg() -> Optimiser:
    """Return the matrix-free method: conjugate gradients on the damped normal equations, for large latents."""

    def init(z: jax.Array) -> State:
        zero = jnp.zeros_like(z)
        return State(z, jnp.float32(jnp.inf), jnp.zeros((0, 0)), zero, z, jnp.float32(FIRST_DAMPING))

    def step(state: State, problem: Problem) -> tuple[State, Trial]:
        r, pull = jax.vjp(problem.residual, state.trial)
        state, trial = _accept(state, _measured(state, r, state.normal, pull(r)[0]))
        _, push = jax.linearize(problem.residual, state.z)
        pull = jax.linear_transpose(push, state.z)
        scale = jnp.sum(jnp.square(push(state.gradient))) / jnp.maximum(state.gradient @ state.gradient, 1e-30)

        def product(v: jax.Array) -> jax.Array:
            return pull(push(v))[0] + state.damping * scale * v

        move, _ = jax.scipy.sparse.linalg.cg(product, -state.gradient, maxiter=CG_STEPS)
        return state._replace(trial=_finite_move(state, move)), trial

    return Optimiser(init, step)


def residual_and_jacobian(problem: Problem, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the residual [pixels] at z [d] and its Jacobian [pixels, d], by forward mode."""
    push: Callable[[jax.Array], tuple[jax.Array, jax.Array]] = lambda v: jax.jvp(problem.residual, (z,), (v,))  # noqa: E731
    with ops.for_tangents():
        r, jacobian = jax.vmap(push, out_axes=(None, 1))(jnp.eye(z.size))
    return r, jacobian


def _measured(state: State, r: jax.Array, normal: jax.Array, gradient: jax.Array) -> State:
    return State(state.trial, jnp.mean(jnp.square(r)), normal, gradient, state.trial, state.damping)


def _accept(state: State, here: State) -> tuple[State, Trial]:
    """Return the better of two points with its damping changed, and the trial as measured."""
    finite = jnp.isfinite(here.loss) & jnp.isfinite(here.normal).all() & jnp.isfinite(here.gradient).all()
    accepted = finite & (here.loss < state.loss)
    eased = here._replace(damping=jnp.maximum(here.damping * EASE, DAMPING[0]))
    tightened = state._replace(damping=jnp.minimum(state.damping * TIGHTEN, DAMPING[1]))
    first = ~jnp.isfinite(state.loss)
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), eased, tightened)
    damping = jnp.where(first, state.damping, chosen.damping)
    return chosen._replace(damping=damping), Trial(here.z, here.loss)


def _scales(diagonal: jax.Array) -> jax.Array:
    return jnp.maximum(diagonal, SMALLEST_DIAGONAL * jnp.max(diagonal) + 1e-20)


def _finite_move(state: State, move: jax.Array) -> jax.Array:
    return state.z + jnp.where(jnp.isfinite(move).all(), move, 0.0)
