"""THE loop: many steps of one optimiser on one picture, with the best point so far; and its compiled, batched form.

`advance` is written for one lane (one picture, one restart). `Engine` is what the host calls: the same under `vmap`
and `jit`, one compiled program per architecture, image shape, method and number of lanes; weights are an argument.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jattr.inversion.gauss_newton import residual_and_jacobian
from jattr.inversion.optimisers import METHODS
from jattr.inversion.problem import Prior, Problem, Target, make_problem
from jattr.inversion.protocol import Optimiser

TRACES: dict[str, int] = {}  # how often each program was traced; tests assert on it


class Carry(NamedTuple):
    """One lane between two segments."""

    optimiser: Any  # its state
    best: jax.Array  # [d], the latent with the lowest loss measured
    loss: jax.Array  # [], mean squared residual there, images in [-1, 1]; inf before the first
    last: jax.Array  # [], the loss measured last; not finite: this lane diverged


def begin(optimiser: Optimiser, z: jax.Array) -> Carry:
    """Return the carry of a lane that starts at z [d]."""
    return Carry(optimiser.init(z), z, jnp.float32(jnp.inf), jnp.float32(jnp.inf))


def advance(optimiser: Optimiser, problem: Problem, carry: Carry, steps: int) -> Carry:
    """Return the carry after `steps` steps. NaN never becomes the best."""

    def step(carry: Carry, _: None) -> tuple[Carry, None]:
        inner, trial = optimiser.step(carry.optimiser, problem)
        better = trial.loss < carry.loss
        best = jnp.where(better, trial.z, carry.best)
        return Carry(inner, best, jnp.where(better, trial.loss, carry.loss), trial.loss), None

    return jax.lax.scan(step, carry, None, length=steps)[0]


class Engine(NamedTuple):
    """Compiled programs over lanes; every argument but the weights and the prior has a leading lane axis."""

    begin: Callable[..., Carry]  # (z [lanes, d]) -> carry
    advance: Callable[..., Carry]  # (state, prior, target, label, carry) -> carry; the carry is donated
    segment: int  # steps of one `advance`


@functools.lru_cache(maxsize=256)
def make_engine(
    apply: Callable[..., jax.Array],
    shape: tuple[int, ...],
    method: str,
    steps: int,
    precision: str,
) -> Engine:
    """Return the programs of one architecture and method.

    Args:
      apply: the generator's pure function.
      shape: of one latent.
      method: a key of METHODS.
      steps: of a whole restart, for schedules.
      precision: of matrix products: "default", "high", "highest".
    """
    optimiser = METHODS[method].make(steps)
    segment = min(METHODS[method].segment, steps)

    def one(state: Any, prior: Prior, target: Target, label: jax.Array | None, carry: Carry) -> Carry:
        TRACES[method] = TRACES.get(method, 0) + 1
        problem = make_problem(apply, state, target, shape, label, prior)
        return advance(optimiser, problem, carry, segment)

    def run(state: Any, prior: Prior, target: Target, label: jax.Array | None, carry: Carry) -> Carry:
        with jax.default_matmul_precision(precision):
            return jax.vmap(one, in_axes=(None, None, 0, 0, 0))(state, prior, target, label, carry)

    start = jax.jit(jax.vmap(functools.partial(begin, optimiser)))
    return Engine(start, jax.jit(run, donate_argnums=(4,)), segment)


@functools.lru_cache(maxsize=64)
def make_linearise(apply: Callable[..., jax.Array], shape: tuple[int, ...]) -> Callable[..., Any]:
    """Return compiled `fn(state, target, label, z) -> (picture, residual, Jacobian)` at full float32 precision.

    The residual of a clipped byte counts from the middle of its interval, as those of the others do.
    """

    def fn(state: Any, target: Target, label: Any, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        with jax.default_matmul_precision("highest"):
            problem = make_problem(apply, state, target._replace(slack=jnp.zeros_like(target.slack)), shape, label)
            residual, jacobian = residual_and_jacobian(problem, z.ravel())
            given = None if label is None else label[None]
            return apply(state, z.reshape(1, *shape), label=given)[0], residual, jacobian

    return jax.jit(fn)
