"""Levenberg-Marquardt: Gauss-Newton steps with damping, by the whole Jacobian or matrix-free.

Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters (1963); Nocedal and
Wright, section 10.3. A step costs the Jacobian at one point (d forward-mode tangents that share
their weights: one large matrix product a layer), so it pays where d is small, and it converges in
few steps where gradient methods need hundreds.

What a step lowers is -2/n times the log posterior of the latent with the noise's variance m =
mean(r^2) profiled out,

    log(m) + 1/n |(z - mean) / scale|^2,

n the number of residuals: far from the solution m is large and the prior weighs, near it the
residuals alone decide. Its Gauss-Newton model at z has, but for a factor of 2, the gradient
J'r / (m n) + (z - mean) / (n scale^2) and the matrix J'J / (m n) + I / (n scale^2).
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from jattr.errors import InputError
from jattr.solvers.base import (
    FlatProblem,
    ResidualFn,
    Trial,
    check_number,
    check_schedule,
    ratio,
    without_schedule,
)


@dataclass(frozen=True, kw_only=True)
class Damping:
    """How the damping lambda follows what steps achieve."""

    first: float = 1e-2
    bounds: tuple[float, float] = (1e-7, 1e6)
    ease: float = 0.2  # factor after a step that was accepted
    tighten: float = 4.0  # factor after one that was not

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
          InputError: one is not legal.
        """
        check_number(self, "first", 0, 1e30)
        check_number(self, "ease", 0, 1)
        check_number(self, "tighten", 1, 1e6)
        if not (len(self.bounds) == 2 and 0 <= self.bounds[0] <= self.bounds[1]):
            raise InputError(
                f"bounds of Damping are {self.bounds!r}; they are two numbers from 0 on, the lower"
                " first"
            )


class State(NamedTuple):
    """Where the search stands, and the point that it tries next."""

    z: jax.Array  # [d], the last accepted point
    objective: jax.Array  # [], there; inf before the first
    square: jax.Array  # [], mean squared residual there
    normal: jax.Array  # [d, d], J'J of the model there; [0, 0] when matrix-free
    gradient: jax.Array  # [d], J'r of the model there
    trial: jax.Array  # [d]
    damping: jax.Array  # []
    steps: jax.Array  # [], taken
    logit_steps: jax.Array  # [], first steps that take stretched residuals


@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardt:
    """The method with the whole Jacobian, for latents of up to a few hundred numbers.

    A point that is turned down has shown the residuals on the other side of some ReLU's kink: its
    linear model joins that of the accepted point by halves, as in gradient sampling (Burke, Lewis,
    Overton, SIAM J. Optim. 15, 2005).
    """

    dense: ClassVar[bool] = True
    polish: ClassVar[bool] = False

    # first steps that take `FlatProblem.stretched` residuals, at most half of all; one program
    # serves any number
    logit_steps: int = 0
    damping: Damping = Damping()
    # of the normal matrix, as a fraction of its largest: dead directions stay where they are
    smallest_diagonal: float = 1e-7
    steps: int = 40
    segment: int = 4
    patience: int = 0
    stall: float = 0.02

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_number(self, "logit_steps", 0, 1_000_000, whole=True)
        check_number(self, "smallest_diagonal", 0, 1)
        _check_damping(self.damping)
        check_schedule(self)

    def init(self, z: jax.Array) -> State:
        """Return the state of a search that begins at z [d]."""
        logit_steps = min(self.logit_steps, self.steps // 2)
        state = _start(self.damping, z, jnp.eye(z.size, dtype=z.dtype))
        return state._replace(logit_steps=jnp.int32(logit_steps))

    def step(self, state: State, problem: FlatProblem) -> tuple[State, Trial]:
        """Return the state after one Jacobian, and the point where it was taken."""
        state = _leave_logits(self.damping, state)
        stretched, logits = problem.stretched, state.steps < state.logit_steps

        def residuals(z: jax.Array) -> tuple[jax.Array, jax.Array]:
            return (problem.residual(z),) * 2 if stretched is None else stretched(z, logits)

        # r and J at the trial point: the whole cost of this step
        r, jacobian, plain = _with_jacobian(residuals, state.trial, problem.tangents)
        here = _measure(state, problem, r, jacobian.T @ jacobian, jacobian.T @ r)
        state = _accept(self.damping, state, here, _joined(state, here))
        # the Gauss-Newton matrix of the profiled posterior
        weight, pull = _weights(state, problem)
        matrix = weight * state.normal + jnp.diag(jnp.broadcast_to(pull, state.z.shape))
        # Marquardt's damping, lambda diag(A): steps do not depend on the scales of the directions
        scales = _scales(jnp.diagonal(matrix), self.smallest_diagonal)
        matrix = matrix + state.damping * jnp.diag(scales)
        # (A + lambda D) move = -gradient
        slope = weight * state.gradient + pull * _offset(state.z, problem)
        move = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), -slope)
        return state._replace(trial=_finite_move(state, move)), Trial(
            here.z, jnp.mean(jnp.square(plain))
        )

    def evaluations(self, size: int) -> float:
        """Return the cost of one step: the residuals, and a tangent for each number of z."""
        return size + 1

    def kernel(self) -> Self:
        """Return the solver without its schedule; the number of logit steps is in the state."""
        return without_schedule(self, logit_steps=0)


@dataclass(frozen=True, kw_only=True)
class GaussNewtonCG:
    """The matrix-free method, for large latents: the damped equations by their products."""

    dense: ClassVar[bool] = False
    polish: ClassVar[bool] = False

    cg_steps: int = 20  # most products with the matrix in one step
    damping: Damping = Damping()
    steps: int = 40
    segment: int = 4
    patience: int = 0
    stall: float = 0.1

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_number(self, "cg_steps", 1, 1_000_000, whole=True)
        _check_damping(self.damping)
        check_schedule(self)

    def init(self, z: jax.Array) -> State:
        """Return the state of a search that begins at z [d]."""
        return _start(self.damping, z, jnp.zeros((0, 0), z.dtype))

    def step(self, state: State, problem: FlatProblem) -> tuple[State, Trial]:
        """Return the state after one linear solve, and the point that it measured first."""
        # r and J'r at the trial point
        r, pull_back = jax.vjp(problem.residual, state.trial)
        here = _measure(state, problem, r, state.normal, pull_back(r)[0])
        state = _accept(self.damping, state, here, state)
        # J at the accepted point as products: J v by `push`, J'u by its transpose
        _, push = jax.linearize(problem.residual, state.z)
        pull_back = jax.linear_transpose(push, state.z)
        weight, pull = _weights(state, problem)
        slope = weight * state.gradient + pull * _offset(state.z, problem)

        # A v = weight J'(J v) + pull v
        def curvature(v: jax.Array) -> jax.Array:
            return weight * pull_back(push(v))[0] + pull * v

        # the diagonal of A is not at hand: the curvature along the gradient scales the damping
        scale = ratio(slope @ curvature(slope), slope @ slope)

        def product(v: jax.Array) -> jax.Array:
            return curvature(v) + state.damping * scale * v

        # (A + lambda scale I) move = -gradient, as far as `cg_steps` products lead
        move, _ = jax.scipy.sparse.linalg.cg(product, -slope, maxiter=self.cg_steps)
        return state._replace(trial=_finite_move(state, move)), Trial(
            here.z, jnp.mean(jnp.square(r))
        )

    def evaluations(self, size: int) -> float:
        """Return the cost of one step: products of 3, and the residuals with their gradient."""
        del size
        return 3 * self.cg_steps + 3

    def kernel(self) -> Self:
        """Return the solver without its schedule."""
        return without_schedule(self)


def _check_damping(damping: Damping) -> None:
    if not isinstance(damping, Damping):
        raise InputError(f"damping is {damping!r}; it is a Damping(...)")


def value_and_jacobian(
    fn: ResidualFn,
    z: jax.Array,
    tangents: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> tuple[jax.Array, jax.Array]:
    """Return the value [n] of a function at z [d] and its Jacobian [n, d], by forward mode.

    `tangents` is entered while the function is traced.
    """
    return _with_jacobian(lambda z: (fn(z),) * 2, z, tangents)[:2]


def _with_jacobian(
    residuals: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    z: jax.Array,
    tangents: Callable[[], AbstractContextManager[None]],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the first residual, its Jacobian, and the second residual."""

    def push(v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return jax.jvp(residuals, (z,), (v,), has_aux=True)

    # one tangent for each number of z; they share the primal pass and the weights
    with tangents():
        r, jacobian, other = jax.vmap(push, out_axes=(None, 1, None))(
            jnp.eye(z.size, dtype=z.dtype)
        )
    return r, jacobian, other


def _start(damping: Damping, z: jax.Array, normal: jax.Array) -> State:
    infinity, first = (jnp.asarray(number, z.dtype) for number in (jnp.inf, damping.first))
    none = jnp.int32(0)
    return State(z, infinity, infinity, normal, jnp.zeros_like(z), z, first, none, none)


def _leave_logits(damping: Damping, state: State) -> State:
    """Return the state, begun anew from its best point after the last stretched step.

    Objectives of the two domains do not compare.
    """
    anew = _start(damping, state.z, state.normal)._replace(
        steps=state.steps, logit_steps=state.logit_steps
    )
    leaves = (state.steps > 0) & (state.steps == state.logit_steps)
    return jax.tree.map(lambda new, old: jnp.where(leaves, new, old), anew, state)


def _weights(state: State, problem: FlatProblem) -> tuple[jax.Array, jax.Array]:
    """Return what multiplies J'J, and what the prior adds to its diagonal."""
    # 1 / (m n)
    weight = 1.0 / ((state.square + problem.variance_floor) * problem.size)
    if problem.prior is None:
        return weight, jnp.zeros_like(weight)
    # 1 / (n scale^2)
    return weight, 1.0 / (problem.size * jnp.square(problem.prior.scale))


def _offset(z: jax.Array, problem: FlatProblem) -> jax.Array:
    """Return z - mean of the prior [d]; zeros where there is none."""
    return jnp.zeros_like(z) if problem.prior is None else z - problem.prior.mean


def _measure(
    state: State, problem: FlatProblem, r: jax.Array, normal: jax.Array, gradient: jax.Array
) -> State:
    """Return the state as if the trial point were accepted."""
    # log(m) + |(z - mean) / scale|^2 / n
    square = jnp.mean(jnp.square(r))
    objective = jnp.log(square + problem.variance_floor)
    if problem.prior is not None:
        objective += jnp.mean(jnp.square(_offset(state.trial, problem) / problem.prior.scale)) * (
            state.z.size / problem.size
        )
    return state._replace(
        z=state.trial, objective=objective, square=square, normal=normal, gradient=gradient
    )


def _joined(state: State, here: State) -> State:
    """Return the accepted point with the mean of its linear model and the refused point's."""
    # gradient of the other model, carried to the accepted point: g - J'J (z' - z)
    gradient = here.gradient - here.normal @ (here.z - state.z)
    sound = _finite(here)
    return state._replace(
        normal=jnp.where(sound, (state.normal + here.normal) / 2, state.normal),
        gradient=jnp.where(sound, (state.gradient + gradient) / 2, state.gradient),
    )


def _finite(here: State) -> jax.Array:
    return (
        jnp.isfinite(here.objective)
        & jnp.isfinite(here.normal).all()
        & jnp.isfinite(here.gradient).all()
    )


def _accept(damping: Damping, state: State, here: State, refused: State) -> State:
    """Return the point here if it is better, else `refused`, with the damping changed."""
    accepted = _finite(here) & (here.objective < state.objective)
    low, high = damping.bounds
    eased = here._replace(damping=jnp.maximum(here.damping * damping.ease, low))
    tightened = refused._replace(damping=jnp.minimum(state.damping * damping.tighten, high))
    # the first point has nothing to be better than: it says nothing about the damping
    first = ~jnp.isfinite(state.objective)
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), eased, tightened)
    return chosen._replace(
        damping=jnp.where(first, state.damping, chosen.damping), steps=state.steps + 1
    )


def _scales(diagonal: jax.Array, smallest: float) -> jax.Array:
    """Return Marquardt's scales [d], kept above 0 for directions that change nothing."""
    return jnp.maximum(diagonal, smallest * jnp.max(diagonal) + 1e-20)


def _finite_move(state: State, move: jax.Array) -> jax.Array:
    """Return the next trial point [d]; the accepted one where the equations had no solution."""
    return state.z + jnp.where(jnp.isfinite(move).all(), move, 0.0)
