"""Optimisers of one latent, as `init` and `step`; the loop is `search`, and `vmap` makes lanes of
it.

Each step costs one value-and-gradient. The quasi-Newton methods have no inner line search: every
step tries one point; an Armijo test accepts it, or shrinks the step for the next try by quadratic
interpolation. So lanes never wait for each other under `vmap`. (Nocedal and Wright, Numerical
Optimization, 2nd ed., algorithms 6.1 and 7.4, section 3.5.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jattr.errors import InputError
from jattr.inversion.problem import Problem
from jattr.solvers.base import Optimiser, Trial
from jattr.solvers.levenberg_marquardt import CG_STEPS, gauss_newton_cg, levenberg_marquardt

ARMIJO = 1e-4  # sufficient decrease, Nocedal and Wright (3.6a)
SHRINK = (0.1, 0.5)  # bounds of one shrinking, section 3.5
# length of the first step: a fraction of the prior's standard deviation in each direction
FIRST_STEP = 0.3
LOGIT_STEPS = 16  # of levenberg-marquardt-logit in the logit domain
LARGEST_STEP = 3.0  # per direction, root mean square: the prior is no wider


def loss_and_gradient(problem: Problem, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean squared residual at z and its gradient [d]."""
    return jax.value_and_grad(lambda z: jnp.mean(jnp.square(problem.residual(z))))(z)


class QuasiNewtonState(NamedTuple):
    """Where a quasi-Newton search stands, and the point that it tries next."""

    z: jax.Array  # [d], the last accepted point
    loss: jax.Array  # [], there; inf before the first
    gradient: jax.Array  # [d], there
    direction: jax.Array  # [d], of the step being tried
    size: jax.Array  # [], its fraction
    memory: Any  # of the curvature


class Curvature(NamedTuple):
    """How a quasi-Newton method learns: `init(d)`, `update(memory, s, y)`, `direction(memory,
    gradient)`.
    """

    init: Callable[[int], Any]
    update: Callable[[Any, jax.Array, jax.Array], Any]
    direction: Callable[[Any, jax.Array], jax.Array]


def gradient_method(transform: optax.GradientTransformation) -> Optimiser:
    """Return any optax transformation as an optimiser."""

    def init(z: jax.Array) -> Any:
        return z, transform.init(z)

    def step(state: Any, problem: Problem) -> tuple[Any, Trial]:
        z, inner = state
        loss, gradient = loss_and_gradient(problem, z)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats inside
            updates, inner = transform.update(gradient, inner, z)
        return (optax.apply_updates(z, updates), inner), Trial(z, loss)

    return Optimiser(init, step)


def quasi_newton(curvature: Curvature) -> Optimiser:
    """Return the quasi-Newton method with this memory, one evaluation a step."""

    def init(z: jax.Array) -> QuasiNewtonState:
        zero = jnp.zeros_like(z)
        return QuasiNewtonState(
            z, jnp.float32(jnp.inf), zero, zero, jnp.float32(0.0), curvature.init(z.size)
        )

    def step(state: QuasiNewtonState, problem: Problem) -> tuple[QuasiNewtonState, Trial]:
        trial = state.z + state.size * state.direction
        loss, gradient = loss_and_gradient(problem, trial)
        slope = state.gradient @ state.direction
        accepted = jnp.isfinite(loss) & (
            (loss <= state.loss + ARMIJO * state.size * slope) | ~jnp.isfinite(state.loss)
        )
        shrunk = state.size * jnp.clip(_interpolate(state, loss, slope), *SHRINK)
        memory = curvature.update(state.memory, trial - state.z, gradient - state.gradient)
        memory = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), memory, state.memory)
        direction = _descent(curvature.direction(memory, gradient), gradient)
        moved = QuasiNewtonState(trial, loss, gradient, direction, jnp.float32(1.0), memory)
        stayed = state._replace(size=shrunk)
        return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, stayed), Trial(
            trial, loss
        )

    return Optimiser(init, step)


def _interpolate(state: QuasiNewtonState, loss: jax.Array, slope: jax.Array) -> jax.Array:
    """Return the minimiser of the parabola through loss, slope and the failed loss: a fraction
    of the failed step.
    """
    rise = loss - state.loss - state.size * slope
    fraction = -state.size * slope / (2.0 * jnp.where(rise > 0, rise, jnp.inf))
    return jnp.where(jnp.isfinite(fraction), fraction, SHRINK[0])


def _descent(direction: jax.Array, gradient: jax.Array) -> jax.Array:
    """Return the direction, kept from growing beyond the prior; steepest descent if it does not
    descend.
    """
    root = jnp.sqrt(jnp.float32(direction.size))
    norm = jnp.linalg.norm(direction)
    steep = -gradient * (FIRST_STEP * root / jnp.maximum(jnp.linalg.norm(gradient), 1e-30))
    good = jnp.isfinite(norm) & (direction @ gradient < 0)
    return jnp.where(
        good, direction * jnp.minimum(1.0, LARGEST_STEP * root / jnp.maximum(norm, 1e-30)), steep
    )


class DenseMemory(NamedTuple):
    """An approximation of the inverse Hessian."""

    inverse: jax.Array  # [d, d]
    pairs: jax.Array  # [], learnt so far


def dense_curvature() -> Curvature:
    """Return BFGS with the whole inverse Hessian: a rank-two update of [d, d], for small
    latents.
    """

    def init(d: int) -> DenseMemory:
        return DenseMemory(jnp.zeros((d, d)), jnp.int32(0))

    def update(memory: DenseMemory, s: jax.Array, y: jax.Array) -> DenseMemory:
        sy, yy = s @ y, y @ y
        fresh = jnp.eye(s.size) * (sy / jnp.maximum(yy, 1e-30))
        inverse = jnp.where(memory.pairs == 0, fresh, memory.inverse)
        hy = inverse @ y
        rho = 1.0 / jnp.where(sy > 0, sy, jnp.inf)
        outer = jnp.outer(s, hy)
        inverse = inverse - rho * (outer + outer.T) + (rho + rho * rho * (y @ hy)) * jnp.outer(s, s)
        useful = _useful(s, y)
        return DenseMemory(
            jnp.where(useful, inverse, memory.inverse), memory.pairs + jnp.where(useful, 1, 0)
        )

    def direction(memory: DenseMemory, gradient: jax.Array) -> jax.Array:
        return -(memory.inverse @ gradient)

    return Curvature(init, update, direction)


class PairMemory(NamedTuple):
    """The last pairs of steps and gradient changes, newest last."""

    s: jax.Array  # [history, d]
    y: jax.Array  # [history, d]
    rho: jax.Array  # [history], 1 / (s . y); 0 where empty


def limited_curvature(history: int = 20) -> Curvature:
    """Return limited-memory BFGS by the two-loop recursion."""

    def init(d: int) -> PairMemory:
        return PairMemory(jnp.zeros((history, d)), jnp.zeros((history, d)), jnp.zeros(history))

    def update(memory: PairMemory, s: jax.Array, y: jax.Array) -> PairMemory:
        useful = _useful(s, y)
        rho = 1.0 / jnp.where(useful, s @ y, jnp.inf)
        pushed = PairMemory(
            *(jnp.roll(a, -1, 0).at[-1].set(b) for a, b in zip(memory, (s, y, rho), strict=True))
        )
        return jax.tree.map(lambda new, old: jnp.where(useful, new, old), pushed, memory)

    def direction(memory: PairMemory, gradient: jax.Array) -> jax.Array:
        def backward(q: jax.Array, pair: PairMemory) -> tuple[jax.Array, jax.Array]:
            alpha = pair.rho * (pair.s @ q)
            return q - alpha * pair.y, alpha

        def forward(
            q: jax.Array, pair_alpha: tuple[PairMemory, jax.Array]
        ) -> tuple[jax.Array, None]:
            pair, alpha = pair_alpha
            return q + (alpha - pair.rho * (pair.y @ q)) * pair.s, None

        q, alphas = jax.lax.scan(backward, gradient, memory, reverse=True)
        y = memory.y[-1]
        q = q / jnp.maximum(memory.rho[-1] * (y @ y), 1e-30)
        q, _ = jax.lax.scan(forward, q, (memory, alphas))
        return jnp.where(memory.rho[-1] > 0, -q, jnp.zeros_like(q))

    return Curvature(init, update, direction)


def _useful(s: jax.Array, y: jax.Array) -> jax.Array:
    """Return whether a pair has positive curvature well above rounding."""
    return s @ y > 1e-7 * jnp.linalg.norm(s) * jnp.linalg.norm(y)


def _adam_cosine(steps: int) -> Optimiser:
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, max(1, steps // 20), steps)
    return gradient_method(optax.adam(schedule, b1=0.9, b2=0.99))


class Method(NamedTuple):
    """A named method with its schedule as data."""

    make: Callable[[int], Optimiser]  # from the number of steps
    steps: int  # default number of steps of one restart
    segment: int  # steps between two looks at what can stop
    # cost of one step by latent size; forward 1, forward and backward 2
    evaluations: Callable[[int], float]
    polish: bool = True  # whether Levenberg-Marquardt follows
    dense: bool = False  # whether a step takes the whole Jacobian
    patience: int = 0  # steps before which no restart counts as stalled
    stall: float = 0.1  # a restart stops when a segment lowers its loss by less than this fraction


METHODS: dict[str, Method] = {
    "adam-paper": Method(
        lambda n: gradient_method(optax.adam(0.1, b1=0.0, b2=0.99)), 500, 50, lambda d: 2
    ),
    "adam-cosine": Method(_adam_cosine, 500, 50, lambda d: 2),
    "bfgs": Method(lambda n: quasi_newton(dense_curvature()), 200, 25, lambda d: 2),
    "lbfgs": Method(lambda n: quasi_newton(limited_curvature()), 100, 20, lambda d: 2),
    "levenberg-marquardt": Method(
        lambda n: levenberg_marquardt(), 40, 4, lambda d: d + 1, False, True, stall=0.02
    ),
    "levenberg-marquardt-logit": Method(
        lambda n: levenberg_marquardt(min(LOGIT_STEPS, n // 2)),
        60,
        4,
        lambda d: d + 1,
        False,
        True,
        LOGIT_STEPS + 4,
        0.02,
    ),
    "gauss-newton-cg": Method(
        lambda n: gauss_newton_cg(), 40, 4, lambda d: 3 * CG_STEPS + 3, False
    ),
}


def register_method(
    name: str, transform: optax.GradientTransformation, *, steps: int, segment: int = 50
) -> None:
    """Make any optax transformation a method by name.

    Raises:
      InputError: the name is taken.

    >>> register_method("sgd-doctest", optax.sgd(0.1), steps=100)
    >>> METHODS.pop("sgd-doctest").steps
    100
    """
    if name in METHODS:
        raise InputError(f"there is a method {name!r} already; choose another name")
    METHODS[name] = Method(lambda n: gradient_method(transform), steps, segment, lambda d: 2)
