"""What the loop needs of a solver, and the least-squares problem that a solver sees."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jattr.errors import InputError
from jattr.solvers.prior import Prior
from jattr.typing import PyTree

Array: TypeAlias = jax.Array | np.ndarray
ResidualFn: TypeAlias = Callable[[jax.Array], jax.Array]  # z [d] -> residuals [n]


class Status(IntEnum):
    """How a search ended."""

    ARRIVED = 0  # at the rounding floor
    STALLED = 1  # no longer gets better, above the floor
    SPENT = 2  # all its steps
    FAILED = 3  # diverged: not a finite loss
    SKIPPED = 4  # never ran: another restart had arrived, or another candidate was far ahead


class FlatProblem(NamedTuple):
    """Residuals to make small, as functions of one flat latent z [d]."""

    residual: ResidualFn
    size: int  # number of residuals
    prior: Prior | None = None  # None: any latent is as good as another
    # (z, bool []) -> residuals, in another domain where true; and the plain ones
    stretched: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]] | None = None
    # mean squared residual below which the prior no longer gives way to the residuals
    variance_floor: float = 1e-7
    # entered while residuals are traced for many forward-mode tangents at once
    tangents: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


class Trial(NamedTuple):
    """A point that a step measured."""

    z: jax.Array  # [d]
    loss: jax.Array  # [], mean squared residual there


StepFn: TypeAlias = Callable[[PyTree, FlatProblem], tuple[PyTree, Trial]]


class Solver(Protocol):
    """A frozen dataclass: all numbers of a method, and its schedule.

    `init` and `step` are written for one latent; `vmap` makes lanes of it. Equal solvers share
    compiled programs.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # so that `dataclasses.replace` takes it

    def __hash__(self) -> int:
        """Return the same for equal solvers: programs are kept by them."""

    @property
    def steps(self) -> int:
        """Most steps of one restart."""

    @property
    def segment(self) -> int:
        """Steps between two looks at what can stop."""

    @property
    def patience(self) -> int:
        """Steps before which no restart counts as stalled."""

    @property
    def stall(self) -> float:
        """A restart stops when a segment lowers its loss by less than this fraction."""

    @property
    def dense(self) -> bool:
        """Whether a step takes the whole Jacobian, at `state.trial`."""

    @property
    def polish(self) -> bool:
        """Whether Gauss-Newton steps follow; False: these steps are such ones themselves."""

    def init(self, z: jax.Array) -> PyTree:
        """Return the state of a search that begins at z [d]."""

    def step(self, state: PyTree, problem: FlatProblem) -> tuple[PyTree, Trial]:
        """Return the state after one step, and the point that it measured."""

    def evaluations(self, size: int) -> float:
        """Return the cost of one step for latents of this size; forward 1, with backward 2."""

    def kernel(self) -> "Solver":
        """Return the solver with defaults for all that `step` does not read.

        Solvers with equal kernels share the program of their steps.
        """


SolverT = TypeVar("SolverT", bound=Solver)
SCHEDULE = ("steps", "segment", "patience", "stall")


def without_schedule(solver: SolverT, *, but: tuple[str, ...] = (), **values: Any) -> SolverT:
    """Return a solver with the defaults of its class for the schedule, `but` for some of it."""
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(solver)
        if field.name in SCHEDULE and field.name not in but
    }
    return dataclasses.replace(solver, **defaults, **values)


def check_schedule(solver: Solver) -> None:
    """Check the numbers that every solver has.

    Raises:
      InputError: one is not legal.
    """
    check_number(solver, "steps", 1, 1_000_000, whole=True)
    check_number(solver, "segment", 1, 1_000_000, whole=True)
    check_number(solver, "patience", 0, 1_000_000, whole=True)
    check_number(solver, "stall", 0, 1)


def check_number(
    settings: object, name: str, low: float, high: float, *, whole: bool = False
) -> None:
    """Check that a field of some settings is a number within bounds.

    Raises:
      InputError: it is not.
    """
    value = getattr(settings, name)
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise InputError(
            f"{name} of {type(settings).__name__} is {value!r};"
            f" it is a {kind} from {low:g} to {high:g}"
        )


def check_fields(settings: object, *, may_be_0: tuple[str, ...] = ()) -> None:
    """Check all numbers of some settings, by the kinds of their defaults.

    Whole numbers are from 1, but for those that may be 0; others finite and not below 0.

    Raises:
      InputError: one is not legal.
    """
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value, default = getattr(settings, field.name), field.default
        if not isinstance(default, (int, float, tuple)):
            continue
        low = 0 if field.name in may_be_0 else 1
        if not _is_like(value, default, low):
            legal = f"a tuple of such numbers as {default!r}"
            if not isinstance(default, tuple):
                legal = (
                    f"a whole number from {low}" if isinstance(default, int) else "a number >= 0"
                )
            raise InputError(
                f"{field.name} of {type(settings).__name__} is {value!r}; it is {legal}"
            )


def _is_like(value: object, default: object, low: int) -> bool:
    """Return whether a value is legal where another one is the default."""
    if isinstance(default, tuple):
        parts = value if isinstance(value, tuple) else ()
        return bool(parts) and all(_is_like(part, default[0], low) for part in parts)
    if isinstance(value, bool):
        return False
    if isinstance(default, int):
        return isinstance(value, int) and value >= low
    return isinstance(value, (int, float)) and 0 <= value < math.inf


@jax.custom_jvp
def ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a / b for b >= 0, with derivatives that are finite at 0."""
    return a / jnp.maximum(b, 1e-30)


@ratio.defjvp
def _ratio_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    value, b = ratio(*primals), jnp.maximum(primals[1], 1e-30)
    return value, tangents[0] / b - value * (tangents[1] / b)


def check_idle(settings: object, names: Sequence[str], *, idle: bool, why: str) -> None:
    """Check that fields which another one makes idle have their defaults.

    Raises:
      InputError: one has not.
    """
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if idle and field.name in names and value != field.default:
            raise InputError(
                f"{field.name} of {type(settings).__name__} is {value!r}, which has no effect:"
                f" {why}; leave one of them away"
            )
