"""The loop: many steps of one solver on one problem; and its compiled form over many lanes.

`advance` is written for one lane (one image, one restart). An `Engine` is what the host calls: the
same under `vmap` and `jit`, one compiled program per kind of problem, solver and number of lanes;
weights are an argument.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jattr.solvers.base import Array, Prior, Problem, PyTree, Solver, StepFn

# (state, prior, target, label) of one lane -> problem
ProblemFn: TypeAlias = Callable[[PyTree, Prior, PyTree, jax.Array | None], Problem]


class Carry(NamedTuple):
    """One lane between two segments."""

    solver_state: PyTree
    best: jax.Array  # [d], the latent with the lowest loss measured
    loss: jax.Array  # [], mean squared residual there; inf before the first
    last: jax.Array  # [], the loss measured last; not finite: this lane diverged


def begin(solver: Solver, z: jax.Array) -> Carry:
    """Return the carry of a lane that starts at z [d]."""
    return Carry(solver.init(z), z, jnp.float32(jnp.inf), jnp.float32(jnp.inf))


def advance(step_fn: StepFn, problem: Problem, carry: Carry, steps: int) -> Carry:
    """Return the carry after `steps` steps of a solver's `step`."""

    def step(carry: Carry, _: None) -> tuple[Carry, None]:
        state, trial = step_fn(carry.solver_state, problem)
        # NaN compares false, so it never becomes the best
        better = trial.loss < carry.loss
        best = jnp.where(better, trial.z, carry.best)
        return Carry(state, best, jnp.where(better, trial.loss, carry.loss), trial.loss), None

    return jax.lax.scan(step, carry, None, length=steps)[0]


# (state, prior, target, label, carry) -> carry, all but the weights and the prior [lanes, ...]
AdvanceFn: TypeAlias = Callable[[PyTree, Prior, PyTree, Array | None, Carry], Carry]


class Engine(NamedTuple):
    """Compiled programs over lanes."""

    begin: Callable[[Array], Carry]  # z [lanes, d] -> carry
    advance: AdvanceFn  # one segment of steps; the carry is donated
    segment: int  # steps of one `advance`
    compile: Callable[..., object]  # arguments as of `advance`: compile it now


@functools.lru_cache(maxsize=256)
def make_engine(problem_fn: ProblemFn, solver: Solver, steps: int, precision: str) -> Engine:
    """Return the programs of one kind of problem and one solver.

    Args:
      problem_fn: makes the problem of one lane.
      solver: with its schedule.
      steps: of a whole restart, for schedules.
      precision: of matrix products: "default", "high", "highest".
    """
    solver, segment = dataclasses.replace(solver, steps=steps), min(solver.segment, steps)
    advance_fn = make_steps(problem_fn, solver.kernel(), segment, precision)
    return Engine(
        make_begin(solver),
        advance_fn,
        segment,
        lambda *args: advance_fn.lower(*args).compile(),
    )


@functools.lru_cache(maxsize=256)
def make_begin(solver: Solver) -> Callable[[Array], Carry]:
    """Return the program that starts lanes: one for all kinds of problems."""
    return jax.jit(jax.vmap(functools.partial(begin, solver)))


@functools.lru_cache(maxsize=256)
def make_steps(
    problem_fn: ProblemFn, kernel: Solver, segment: int, precision: str
) -> jax.stages.Wrapped:
    """Return the program of `segment` steps; solvers with equal kernels share it."""

    def one(
        state: PyTree, prior: Prior, target: PyTree, label: jax.Array | None, carry: Carry
    ) -> Carry:
        return advance(kernel.step, problem_fn(state, prior, target, label), carry, segment)

    def run(
        state: PyTree, prior: Prior, target: PyTree, label: jax.Array | None, carry: Carry
    ) -> Carry:
        with jax.default_matmul_precision(precision):
            return jax.vmap(one, in_axes=(None, None, 0, 0, 0))(state, prior, target, label, carry)

    return jax.jit(run, donate_argnums=(4,))
