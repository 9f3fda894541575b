"""Solvers by their names, and whatever else is accepted as a solver: read here and nowhere else."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax

from jattr.errors import InputError
from jattr.solvers.base import (
    SCHEDULE,
    FlatProblem,
    PyTree,
    Solver,
    Trial,
    check_schedule,
    without_schedule,
)
from jattr.solvers.first_order import FirstOrder, Optax, parse_first_order
from jattr.solvers.levenberg_marquardt import GaussNewtonCG, LevenbergMarquardt
from jattr.solvers.quasi_newton import BFGS, LBFGS

METHODS: dict[str, Solver] = {
    # the paper's recipe
    "adam-paper": FirstOrder("adam", 0.1, b1=0.0, b2=0.99),
    "adam-cosine": FirstOrder("adam", 0.1, "cosine", b1=0.9, b2=0.99),
    "bfgs": BFGS(),
    "lbfgs": LBFGS(),
    "levenberg-marquardt": LevenbergMarquardt(),
    # 4 plain steps before it may stall: a segment after the last step in the logit domain
    "levenberg-marquardt-logit": LevenbergMarquardt(logit_steps=16, steps=60, patience=20),
    "gauss-newton-cg": GaussNewtonCG(),
}


class Steps(Protocol):
    """The least that a solver of the caller's own has."""

    def init(self, z: jax.Array) -> PyTree:
        """Return the state of a search that begins at z [d]."""

    def step(self, state: PyTree, problem: FlatProblem) -> tuple[PyTree, Any]:
        """Return the state after one step, and (z [d], loss []) that it measured."""


SolverLike: TypeAlias = str | Solver | optax.GradientTransformation | Steps
LEGAL = (
    "a solver of jattr.solvers, an optax.GradientTransformation, an object with init(z) and"
    f" step(state, problem), or a text: {', '.join(METHODS)}, or NAME:RATE[:SCHEDULE] as"
    " adam:0.05:cosine"
)


@dataclass(frozen=True)
class Custom:
    """A solver of the caller's own, with the schedule that it does not state itself."""

    dense: ClassVar[bool] = False
    polish: ClassVar[bool] = True

    solver: Steps
    steps: int = 100
    segment: int = 10
    patience: int = 0
    stall: float = 0.1
    cost: float = 2.0  # of one step, in forward passes

    def __post_init__(self) -> None:
        """Check the schedule.

        Raises:
          InputError: a number is not legal.
        """
        check_schedule(self)

    def init(self, z: jax.Array) -> PyTree:
        """Return the state of a search that begins at z [d]."""
        return self.solver.init(z)

    def step(self, state: PyTree, problem: FlatProblem) -> tuple[PyTree, Trial]:
        """Return the state after one step, and the point that it measured."""
        returned = self.solver.step(state, problem)
        try:
            state, (z, loss) = returned
            trial = Trial(jnp.asarray(z), jnp.asarray(loss))
        except (TypeError, ValueError):
            raise InputError(
                f"step of {self.solver!r} returns {returned!r}; it returns (state, (z, loss))"
            ) from None
        if trial.z.ndim != 1 or trial.loss.ndim != 0:
            raise InputError(
                f"step of {self.solver!r} measured z of shape {trial.z.shape} and a loss of shape"
                f" {trial.loss.shape}; it measures one point, z [d] and loss []"
            )
        return state, trial

    def evaluations(self, size: int) -> float:
        """Return the cost of one step, in forward passes."""
        del size
        return self.cost

    def kernel(self) -> Self:
        """Return the solver without its schedule."""
        return without_schedule(self)


def method_named(text: str) -> Solver:
    """Return the solver of this name: one of METHODS, or `NAME:RATE[:SCHEDULE]` of optax.

    Raises:
      InputError: the text names none.

    >>> method_named("lbfgs").steps
    100
    """
    if text in METHODS:
        return METHODS[text]
    if ":" in text:
        return parse_first_order(text)
    raise InputError(f"solver is {text!r}; it is one of {', '.join(METHODS)}, or as adam:0.05")


def name_of(solver: Solver) -> str:
    """Return the text that names a solver.

    Raises:
      InputError: no text does.

    >>> name_of(FirstOrder("adam", 0.05, "cosine"))
    'adam:0.05:cosine'
    """
    for name, named in METHODS.items():
        if named == solver:
            return name
    if isinstance(solver, FirstOrder):
        text = f"{solver.optimiser}:{solver.rate!r}"
        for spelling in (text, f"{text}:{solver.schedule}"):
            if parse_first_order(spelling) == solver:
                return spelling
    raise InputError(f"no text names the solver {solver!r}: it has numbers that texts cannot say")


def as_solver(solver: SolverLike, name: str = "solver") -> Solver:
    """Return a solver, whatever was given for one.

    Args:
      solver: a solver object, an optax transformation, an object with `init` and `step`, or a
        text.
      name: of the argument, for the error.

    Raises:
      InputError: it is none of these, or cannot be hashed.
    """
    if isinstance(solver, str):
        if solver not in METHODS and ":" not in solver:
            raise InputError(f"{name} is {solver!r}; it is {LEGAL}")
        return method_named(solver)
    if isinstance(solver, optax.GradientTransformation):
        return _checked(Optax(solver))
    if isinstance(solver, type) or not all(
        callable(getattr(solver, part, None)) for part in ("init", "step")
    ):
        raise InputError(f"{name} is {solver!r}; it is {LEGAL}")
    try:
        hash(solver)
    except TypeError:
        raise InputError(
            f"{name} is {solver!r}, which has no hash; make its class a frozen dataclass, for"
            " equal solvers share compiled programs"
        ) from None
    return cast(Solver, solver) if _is_complete(solver) else Custom(solver)


def _checked(solver: Optax) -> Optax:
    """Return the solver, its update traced once for the errors that this may raise."""
    z = jax.ShapeDtypeStruct((2,), jnp.float32)
    problem = FlatProblem(lambda z: z, 2)
    jax.eval_shape(lambda z: solver.step(solver.init(z), problem), z)
    return solver


def _is_complete(solver: Any) -> bool:
    """Return whether an object states its own schedule and cost."""
    parts = (*SCHEDULE, "dense", "polish", "evaluations", "kernel")
    return dataclasses.is_dataclass(solver) and all(hasattr(solver, part) for part in parts)
