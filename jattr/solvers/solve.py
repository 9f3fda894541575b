"""`solve`, and the loop in it: many steps of one solver on one problem; and it over many lanes.

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

from jattr.errors import InputError
from jattr.runtime import CALLERS, jax_defaults
from jattr.solvers.base import Array, FlatProblem, Prior, PyTree, Solver, Status, StepFn, Trial
from jattr.solvers.problem import Problem, flatten
from jattr.solvers.registry import Custom, SolverLike, as_solver

# (state, prior, target, label) of one lane -> problem
ProblemFn: TypeAlias = Callable[[PyTree, Prior, PyTree, jax.Array | None], FlatProblem]


class Carry(NamedTuple):
    """One lane between two segments."""

    solver_state: PyTree
    best: jax.Array  # [d], the latent with the lowest loss measured
    loss: jax.Array  # [], mean squared residual there; inf before the first
    last: jax.Array  # [], the loss measured last; not finite: this lane diverged


def begin(solver: Solver, z: jax.Array, problem: FlatProblem | None = None) -> Carry:
    """Return the carry of a lane that starts at z [d].

    A solver whose state depends on the problem has `init_for(z, problem)` beside `init`.
    """
    init_for = getattr(solver, "init_for", None)
    state = solver.init(z) if problem is None or init_for is None else init_for(z, problem)
    infinity = jnp.asarray(jnp.inf, z.dtype)
    return Carry(state, z, infinity, infinity)


def advance(step_fn: StepFn, problem: FlatProblem, carry: Carry, steps: int) -> Carry:
    """Return the carry after `steps` steps of a solver's `step`."""
    return advance_traced(step_fn, problem, carry, steps, trace=False)[0]


def advance_traced(
    step_fn: StepFn, problem: FlatProblem, carry: Carry, steps: int, *, trace: bool
) -> tuple[Carry, jax.Array | None]:
    """Return the carry after `steps` steps, and the losses that they measured [steps] or None."""

    def step(carry: Carry, _: None) -> tuple[Carry, jax.Array | None]:
        state, trial = step_fn(carry.solver_state, problem)
        _check_step(carry, state, trial)
        # NaN compares false, so it never becomes the best
        better = trial.loss < carry.loss
        best = jnp.where(better, trial.z, carry.best)
        after = Carry(state, best, jnp.where(better, trial.loss, carry.loss), trial.loss)
        return after, trial.loss if trace else None

    return jax.lax.scan(step, carry, None, length=steps)


def _check_step(carry: Carry, state: PyTree, trial: Trial) -> None:
    """Check what a step returned, by shapes alone.

    Raises:
      InputError: the state changed its form, or the trial is no latent and one number.
    """
    measured = jnp.shape(trial.z), jnp.shape(trial.loss)
    if measured != (carry.best.shape, ()):
        raise InputError(
            f"step of the solver measured z of shape {measured[0]} with a loss of shape"
            f" {measured[1]}; z has the shape {carry.best.shape}, the loss ()"
        )
    before, after = (
        (jax.tree.structure(part), [jnp.shape(leaf) for leaf in jax.tree.leaves(part)])
        for part in (carry.solver_state, state)
    )
    if before != after:
        raise InputError(
            f"step of the solver returns a state {after}; it keeps the structure and the shapes of"
            f" what init returned, {before}"
        )


class Solution(NamedTuple):
    """What `solve` found."""

    latent: PyTree  # like z0: the one with the lowest loss measured
    loss: jax.Array  # [], mean squared residual there; inf if nothing was finite
    last: jax.Array  # [], the loss measured last; not finite: the search diverged
    status: jax.Array  # [] int32, a `Status`: ARRIVED, SPENT or FAILED
    steps: jax.Array  # [] int32
    evaluations: jax.Array  # [] float32, in forward passes (forward 1, forward and backward 2)
    trace: jax.Array | None  # [steps], the loss that each step measured


@jax_defaults(keep=CALLERS, devices=False)
def solve(
    problem: Problem,
    solver: SolverLike,
    z0: PyTree,
    *,
    steps: int | None = None,
    trace: bool = False,
) -> Solution:
    """Search the latent whose residuals are smallest, from one start.

    Pure: `jit`, `vmap`, shard or export it, and differentiate through its fixed number of steps;
    `jattr.solvers.implicit_gradient` does so without them. Under `jit` a search that fails has the
    status FAILED; else it raises.

    Args:
      problem: the residuals, see `Problem` and `problem_of`.
      solver: a solver of `jattr.solvers`, an optax transformation, an object with `init` and
        `step`, or a text as "lbfgs" or "adam:0.05:cosine".
      z0: the latent where the search begins, any pytree of floats.
      steps: how many; None: the solver's own number.
      trace: whether the losses of all steps are returned.

    Raises:
      InputError: one of them is not legal, or no residual was finite.

    >>> import jax.numpy as jnp
    >>> problem = Problem(lambda z: z["rate"] ** 2 - jnp.array([2.0, 2.0]))
    >>> solution = solve(problem, "levenberg-marquardt", {"rate": jnp.float32(1.0)})
    >>> round(float(solution.latent["rate"]), 3)
    1.414
    """
    if not isinstance(problem, Problem):
        raise InputError(
            f"problem is {problem!r}; it is a jattr.Problem(residual_fn), or"
            " jattr.problem_of(generator, image)"
        )
    chosen = as_solver(solver)
    if steps is not None:
        chosen = dataclasses.replace(chosen, steps=steps)
    flat = flatten(problem, z0)
    carry, losses = advance_traced(
        chosen.step,
        flat.problem,
        begin(chosen, flat.z, flat.problem),
        chosen.steps,
        trace=trace,
    )
    failed = ~jnp.isfinite(carry.loss)
    if not isinstance(failed, jax.core.Tracer) and bool(failed):
        own = ""
        if isinstance(chosen, Custom):
            own = f", or look at the loss that {chosen.solver!r} returns"
        raise InputError(
            "residual_fn gives no finite number at z0, nor anywhere that the search went; begin"
            " where residuals are finite" + own
        )
    floor = jnp.asarray(problem.floor, carry.loss.dtype)
    reached = jnp.where(carry.loss <= floor, int(Status.ARRIVED), int(Status.SPENT))
    return Solution(
        flat.unravel(carry.best),
        carry.loss,
        carry.last,
        jnp.where(failed, int(Status.FAILED), reached).astype(jnp.int32),
        jnp.int32(chosen.steps),
        jnp.float32(chosen.steps * chosen.evaluations(flat.z.size)),
        losses,
    )


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
