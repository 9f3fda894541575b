"""THE loop: many steps of one optimiser on one image, with the best point so far; and its compiled,
batched form.

`advance` is written for one lane (one image, one restart). `Engine` is what the host calls: the
same under `vmap` and `jit`, one compiled program per architecture, image shape, method and number
of lanes; weights are an argument.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jattr.inversion.problem import Prior, Problem, Target, make_problem
from jattr.solvers.base import Optimiser, StepFn
from jattr.solvers.quasi_newton import METHODS

TRACES: dict[Any, int] = {}  # how often a method's `step` was traced; tests assert on it


class Carry(NamedTuple):
    """One lane between two segments."""

    optimiser: Any  # its state
    best: jax.Array  # [d], the latent with the lowest loss measured
    loss: jax.Array  # [], mean squared residual there, images in [-1, 1]; inf before the first
    last: jax.Array  # [], the loss measured last; not finite: this lane diverged


def begin(optimiser: Optimiser, z: jax.Array) -> Carry:
    """Return the carry of a lane that starts at z [d]."""
    return Carry(optimiser.init(z), z, jnp.float32(jnp.inf), jnp.float32(jnp.inf))


def advance(step_fn: StepFn, problem: Problem, carry: Carry, steps: int) -> Carry:
    """Return the carry after `steps` steps of an optimiser's `step`. NaN never becomes the best."""

    def step(carry: Carry, _: None) -> tuple[Carry, None]:
        inner, trial = step_fn(carry.optimiser, problem)
        better = trial.loss < carry.loss
        best = jnp.where(better, trial.z, carry.best)
        return Carry(inner, best, jnp.where(better, trial.loss, carry.loss), trial.loss), None

    return jax.lax.scan(step, carry, None, length=steps)[0]


class Engine(NamedTuple):
    """Compiled programs over lanes; every argument but the weights and the prior has a leading
    lane axis.
    """

    begin: Callable[..., Carry]  # (z [lanes, d]) -> carry
    # (state, prior, target, label, carry) -> carry; the carry is donated
    advance: Callable[..., Carry]
    segment: int  # steps of one `advance`
    compile: Callable[..., object]  # arguments as of `advance`: compile it now


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
    segment = min(METHODS[method].segment, steps)
    advance_fn = make_steps(apply, shape, METHODS[method].make(steps).step, segment, precision)
    return Engine(
        make_begin(method, steps),
        advance_fn,
        segment,
        lambda *args: advance_fn.lower(*args).compile(),
    )


@functools.lru_cache(maxsize=256)
def make_begin(method: str, steps: int) -> Callable[..., Carry]:
    """Return the program that starts lanes: one for all architectures."""
    return jax.jit(jax.vmap(functools.partial(begin, METHODS[method].make(steps))))


@functools.lru_cache(maxsize=256)
def make_steps(
    apply: Callable[..., jax.Array],
    shape: tuple[int, ...],
    step: StepFn,
    segment: int,
    precision: str,
) -> Any:
    """Return the program of `segment` steps: methods of one `step` share it."""

    def one(
        state: Any, prior: Prior, target: Target, label: jax.Array | None, carry: Carry
    ) -> Carry:
        TRACES[step] = TRACES.get(step, 0) + 1
        problem = make_problem(apply, state, target, shape, label, prior)
        return advance(step, problem, carry, segment)

    def run(
        state: Any, prior: Prior, target: Target, label: jax.Array | None, carry: Carry
    ) -> Carry:
        with jax.default_matmul_precision(precision):
            return jax.vmap(one, in_axes=(None, None, 0, 0, 0))(state, prior, target, label, carry)

    return jax.jit(run, donate_argnums=(4,))
