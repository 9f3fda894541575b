"""Quasi-Newton methods for one latent: BFGS and limited-memory BFGS.

Each step costs one value-and-gradient. There is no inner line search: every step tries one point;
an Armijo test accepts it, or shrinks the step for the next try by quadratic interpolation. So lanes
never wait for each other under `vmap`. (Nocedal and Wright, Numerical Optimization, 2nd ed.,
algorithms 6.1 and 7.4, section 3.5.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from jattr.errors import InputError
from jattr.solvers.base import (
    FlatProblem,
    PyTree,
    Trial,
    check_number,
    check_schedule,
    ratio,
    without_schedule,
)
from jattr.solvers.first_order import loss_and_gradient


@dataclass(frozen=True, kw_only=True)
class Backtracking:
    """How a step is accepted or shortened: one point a step, no inner search."""

    armijo: float = 1e-4  # sufficient decrease, Nocedal and Wright (3.6a)
    shrink: tuple[float, float] = (0.1, 0.5)  # bounds of one shrinking, section 3.5
    # length of the first step: a fraction of the prior's standard deviation in each direction
    first_step: float = 0.3
    largest_step: float = 3.0  # per direction, root mean square: the prior is no wider
    # a pair teaches if s'y is above this fraction of |s| |y|: well above rounding
    least_curvature: float = 1e-7

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
          InputError: one is not legal.
        """
        check_number(self, "armijo", 0, 1)
        check_number(self, "first_step", 0, 1e6)
        check_number(self, "largest_step", 0, 1e6)
        check_number(self, "least_curvature", 0, 1)
        if not (len(self.shrink) == 2 and 0 < self.shrink[0] <= self.shrink[1] < 1):
            raise InputError(
                f"shrink of Backtracking is {self.shrink!r}; it is two numbers, the lower bound"
                " first, both between 0 and 1"
            )


class QuasiNewtonState(NamedTuple):
    """Where a quasi-Newton search stands, and the point that it tries next."""

    z: jax.Array  # [d], the last accepted point
    loss: jax.Array  # [], there; inf before the first
    gradient: jax.Array  # [d], there
    direction: jax.Array  # [d], of the step being tried
    size: jax.Array  # [], its fraction
    memory: PyTree  # of the curvature


class Curvature(NamedTuple):
    """How a quasi-Newton method learns from pairs of a step s and a change y of the gradient."""

    init: Callable[[jax.Array], PyTree]  # z [d] -> memory
    update: Callable[[PyTree, jax.Array, jax.Array], PyTree]  # (memory, s, y) -> memory
    direction: Callable[[PyTree, jax.Array], jax.Array]  # (memory, gradient) -> direction


@dataclass(frozen=True, kw_only=True)
class BFGS:
    """BFGS with the whole inverse Hessian [d, d], for small latents; one evaluation a step."""

    dense: ClassVar[bool] = False
    polish: ClassVar[bool] = True

    line_search: Backtracking = Backtracking()
    steps: int = 200
    segment: int = 25
    patience: int = 0
    stall: float = 0.1

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        _check_line_search(self.line_search)
        check_schedule(self)

    @property
    def curvature(self) -> Curvature:
        """How it learns."""
        return dense_curvature(self.line_search.least_curvature)

    def init(self, z: jax.Array) -> QuasiNewtonState:
        """Return the state of a search that begins at z [d]."""
        return _init(self.curvature, z)

    def step(self, state: QuasiNewtonState, problem: FlatProblem) -> tuple[QuasiNewtonState, Trial]:
        """Return the state after one evaluation, and the point that it measured."""
        return _step(self.curvature, self.line_search, state, problem)

    def evaluations(self, size: int) -> float:
        """Return the cost of one step: forward and backward."""
        del size
        return 2

    def kernel(self) -> Self:
        """Return the solver without its schedule."""
        return without_schedule(self)


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """Limited-memory BFGS, for latents of any size; one evaluation a step."""

    dense: ClassVar[bool] = False
    polish: ClassVar[bool] = True

    memory: int = 20  # pairs of steps and gradient changes
    line_search: Backtracking = Backtracking()
    steps: int = 100
    segment: int = 20
    patience: int = 0
    stall: float = 0.1

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_number(self, "memory", 1, 10_000, whole=True)
        _check_line_search(self.line_search)
        check_schedule(self)

    @property
    def curvature(self) -> Curvature:
        """How it learns."""
        return limited_curvature(self.memory, self.line_search.least_curvature)

    def init(self, z: jax.Array) -> QuasiNewtonState:
        """Return the state of a search that begins at z [d]."""
        return _init(self.curvature, z)

    def step(self, state: QuasiNewtonState, problem: FlatProblem) -> tuple[QuasiNewtonState, Trial]:
        """Return the state after one evaluation, and the point that it measured."""
        return _step(self.curvature, self.line_search, state, problem)

    def evaluations(self, size: int) -> float:
        """Return the cost of one step: forward and backward."""
        del size
        return 2

    def kernel(self) -> Self:
        """Return the solver without its schedule."""
        return without_schedule(self)


def _check_line_search(line_search: Backtracking) -> None:
    if not isinstance(line_search, Backtracking):
        raise InputError(f"line_search is {line_search!r}; it is a Backtracking(...)")


def _init(curvature: Curvature, z: jax.Array) -> QuasiNewtonState:
    zero = jnp.zeros_like(z)
    return QuasiNewtonState(
        z, jnp.asarray(jnp.inf, z.dtype), zero, zero, jnp.asarray(0.0, z.dtype), curvature.init(z)
    )


def _step(
    curvature: Curvature, search: Backtracking, state: QuasiNewtonState, problem: FlatProblem
) -> tuple[QuasiNewtonState, Trial]:
    # the only evaluation of this step: z + a p
    trial = state.z + state.size * state.direction
    loss, gradient = loss_and_gradient(problem, trial)
    # sufficient decrease, f(z + a p) <= f(z) + c a g'p (3.6a); the first point always counts
    slope = state.gradient @ state.direction
    accepted = jnp.isfinite(loss) & (
        (loss <= state.loss + search.armijo * state.size * slope) | ~jnp.isfinite(state.loss)
    )
    # if it fails: the same direction again, with a shorter step
    shrunk = state.size * jnp.clip(_interpolate(search, state, loss, slope), *search.shrink)
    stayed = state._replace(size=shrunk)
    # if it holds: the pair (s, y) teaches the curvature, and the next step is p = -H g in full
    memory = curvature.update(state.memory, trial - state.z, gradient - state.gradient)
    memory = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), memory, state.memory)
    direction = _descent(search, curvature.direction(memory, gradient), gradient)
    moved = QuasiNewtonState(
        trial, loss, gradient, direction, jnp.asarray(1.0, trial.dtype), memory
    )
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, stayed)
    return chosen, Trial(trial, loss)


def _interpolate(
    search: Backtracking, state: QuasiNewtonState, loss: jax.Array, slope: jax.Array
) -> jax.Array:
    """Return the minimiser of the parabola through loss, slope and failed loss (3.58).

    It is a fraction [] of the failed step.
    """
    rise = loss - state.loss - state.size * slope
    # a = -g'p a0^2 / (2 (f(a0) - f(0) - g'p a0)), over a0; no parabola opens upwards: shrink most
    fraction = -state.size * slope / (2.0 * jnp.where(rise > 0, rise, jnp.inf))
    return jnp.where(jnp.isfinite(fraction), fraction, search.shrink[0])


def _descent(search: Backtracking, direction: jax.Array, gradient: jax.Array) -> jax.Array:
    """Return the direction, no longer than the prior is wide; else steepest descent."""
    root = jnp.sqrt(jnp.asarray(direction.size, direction.dtype))
    # -g, as long as a fraction of the prior: before anything is learnt g has no scale of its own
    steep = -gradient * _per_length(search.first_step * root, gradient)
    good = jnp.isfinite(jnp.linalg.norm(direction)) & (direction @ gradient < 0)
    share = _per_length(search.largest_step * root, direction)
    return jnp.where(good, direction * jnp.minimum(1.0, share), steep)


@jax.custom_jvp
def _per_length(length: jax.Array, x: jax.Array) -> jax.Array:
    """Return a length over that of a vector; derivatives at 0, where a search has ended, are 0."""
    return length / jnp.maximum(jnp.linalg.norm(x), 1e-30)


@_per_length.defjvp
def _per_length_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (length, x), (length_dot, x_dot) = primals, tangents
    share = _per_length(length, x)
    # d(l / |x|) = dl / |x| - (l / |x|) x'dx / |x|^2; 1e-15: its square is no smaller than a float
    norm = jnp.maximum(jnp.linalg.norm(x), 1e-15)
    return share, length_dot / norm - share * ((x / norm) @ (x_dot / norm))


class DenseMemory(NamedTuple):
    """An approximation of the inverse Hessian."""

    inverse: jax.Array  # [d, d]
    pairs: jax.Array  # [], learnt so far


def dense_curvature(least_curvature: float) -> Curvature:
    """Return BFGS with the whole inverse Hessian [d, d], for small latents."""

    def init(z: jax.Array) -> DenseMemory:
        return DenseMemory(jnp.zeros((z.size, z.size), z.dtype), jnp.int32(0))

    def update(memory: DenseMemory, s: jax.Array, y: jax.Array) -> DenseMemory:
        sy, yy = s @ y, y @ y
        # before the first update H has the size of the true inverse Hessian along y (6.20)
        fresh = jnp.eye(s.size, dtype=s.dtype) * ratio(sy, yy)
        inverse = jnp.where(memory.pairs == 0, fresh, memory.inverse)
        # H+ = (I - rho s y') H (I - rho y s') + rho s s' (6.17), multiplied out: O(d^2)
        hy = inverse @ y
        # without positive curvature H+ would not be positive definite: the pair is left out
        useful = _useful(s, y, least_curvature)
        rho = 1.0 / jnp.where(useful, sy, jnp.inf)
        outer = jnp.outer(s, hy)
        inverse = inverse - rho * (outer + outer.T) + (rho + rho * rho * (y @ hy)) * jnp.outer(s, s)
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


def limited_curvature(history: int, least_curvature: float) -> Curvature:
    """Return limited-memory BFGS by the two-loop recursion."""

    def init(z: jax.Array) -> PairMemory:
        none = jnp.zeros((history, z.size), z.dtype)
        return PairMemory(none, none, jnp.zeros(history, z.dtype))

    def update(memory: PairMemory, s: jax.Array, y: jax.Array) -> PairMemory:
        # a pair without positive curvature is left out; else it pushes the oldest one out
        useful = _useful(s, y, least_curvature)
        rho = 1.0 / jnp.where(useful, s @ y, jnp.inf)
        pushed = PairMemory(
            *(jnp.roll(a, -1, 0).at[-1].set(b) for a, b in zip(memory, (s, y, rho), strict=True))
        )
        return jax.tree.map(lambda new, old: jnp.where(useful, new, old), pushed, memory)

    def direction(memory: PairMemory, gradient: jax.Array) -> jax.Array:
        # algorithm 7.4, first loop, newest pair first: a_i = rho_i s_i'q, q <- q - a_i y_i
        def backward(q: jax.Array, pair: PairMemory) -> tuple[jax.Array, jax.Array]:
            alpha = pair.rho * (pair.s @ q)
            return q - alpha * pair.y, alpha

        # second loop, oldest pair first: r <- r + s_i (a_i - rho_i y_i'r)
        def forward(
            q: jax.Array, pair_alpha: tuple[PairMemory, jax.Array]
        ) -> tuple[jax.Array, None]:
            pair, alpha = pair_alpha
            return q + (alpha - pair.rho * (pair.y @ q)) * pair.s, None

        q, alphas = jax.lax.scan(backward, gradient, memory, reverse=True)
        # in between r = H0 q with H0 = s'y / y'y of the newest pair (7.20)
        y = memory.y[-1]
        q = ratio(q, memory.rho[-1] * (y @ y))
        q, _ = jax.lax.scan(forward, q, (memory, alphas))
        # nothing learnt: zero, which `_descent` turns into steepest descent
        return jnp.where(memory.rho[-1] > 0, -q, jnp.zeros_like(q))

    return Curvature(init, update, direction)


def _useful(s: jax.Array, y: jax.Array, least_curvature: float) -> jax.Array:
    """Return whether a pair has positive curvature well above rounding."""
    return s @ y > least_curvature * jnp.linalg.norm(s) * jnp.linalg.norm(y)
