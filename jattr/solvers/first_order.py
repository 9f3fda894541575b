"""First-order methods: any optax transformation, and those that a text names.

A text is an optax optimiser with its rate and schedule, as `adam:0.05:cosine`.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jattr.errors import InputError, suggest
from jattr.solvers.base import (
    FlatProblem,
    PyTree,
    Trial,
    check_number,
    check_schedule,
    without_schedule,
)

Rate: TypeAlias = float | optax.Schedule
OptaxState: TypeAlias = tuple[jax.Array, PyTree]  # z [d], state of the transformation

OPTIMISERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "nadam": optax.nadam,
    "adabelief": optax.adabelief,
    "rmsprop": optax.rmsprop,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "sgd": optax.sgd,
}
NUMBERS = ("b1", "b2", "eps", "decay", "momentum")  # fields of `FirstOrder` that optax takes


def loss_and_gradient(problem: FlatProblem, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean squared residual at z and its gradient [d]."""
    return jax.value_and_grad(lambda z: jnp.mean(jnp.square(problem.residual(z))))(z)


def optax_step(
    transform: optax.GradientTransformation, state: OptaxState, problem: FlatProblem
) -> tuple[OptaxState, Trial]:
    """Return the state after one update of an optax transformation, and the point before it."""
    z, inner = state
    loss, gradient = loss_and_gradient(problem, z)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats inside
        updates, inner = _update(transform, gradient, inner, z)
    # the loss belongs to the point before the update
    return (optax.apply_updates(z, updates), inner), Trial(z, loss)


def _update(
    transform: optax.GradientTransformation, gradient: jax.Array, inner: PyTree, z: jax.Array
) -> tuple[jax.Array, PyTree]:
    try:
        updates, inner = transform.update(gradient, inner, z)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise InputError(
            f"the optax transformation wants more than gradients and parameters ({error}); legal"
            " are those whose update needs nothing else: instead of optax.lbfgs() take"
            " jattr.solvers.LBFGS()"
        ) from error
    return updates, inner


@dataclass(frozen=True)
class Optax:
    """Any optax transformation as a solver.

    Equal only with the same transformation object; it can be pickled where that can be. A
    transformation that needs more than gradients and parameters raises an InputError when its
    update is traced.
    """

    dense: ClassVar[bool] = False
    polish: ClassVar[bool] = True

    transform: optax.GradientTransformation
    steps: int = 500
    segment: int = 50
    patience: int = 0
    stall: float = 0.1
    # what stored results are kept under; change the version whenever the transformation changes
    name: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        """Check the transformation and the schedule.

        Raises:
          InputError: one is not legal.
        """
        if not isinstance(self.transform, optax.GradientTransformation):
            raise InputError(
                f"transform of Optax is {self.transform!r}; it is an optax.GradientTransformation,"
                " as optax.adam(0.05) or optax.chain(...)"
            )
        check_schedule(self)

    def init(self, z: jax.Array) -> OptaxState:
        """Return the state of a search that begins at z [d]."""
        return z, self.transform.init(z)

    def step(self, state: OptaxState, problem: FlatProblem) -> tuple[OptaxState, Trial]:
        """Return the state after one update, and the point before it."""
        return optax_step(self.transform, state, problem)

    def evaluations(self, size: int) -> float:
        """Return the cost of one step: forward and backward."""
        del size
        return 2

    def kernel(self) -> Self:
        """Return the solver without its schedule."""
        return without_schedule(self)


@dataclass(frozen=True)
class FirstOrder:
    """An optax optimiser by its name, with a schedule of its rate; picklable.

    Numbers that are None are those of optax; one that the optimiser does not have is an error.

    >>> FirstOrder("adam", 0.05, "cosine", b1=0.5).steps
    500
    """

    dense: ClassVar[bool] = False
    polish: ClassVar[bool] = True

    optimiser: str  # a key of OPTIMISERS
    rate: float
    schedule: str = "constant"  # a key of SCHEDULES
    b1: float | None = None
    b2: float | None = None
    eps: float | None = None
    decay: float | None = None
    momentum: float | None = None
    # "cosine": the rate rises over the first of so many parts of the steps
    rise_parts: int = 20
    last_rate_share: float = 0.01  # "exponential": of the rate, at the end
    steps: int = 500
    segment: int = 50
    patience: int = 0
    stall: float = 0.1

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal, or has no effect.
        """
        if self.optimiser not in OPTIMISERS:
            raise InputError(
                f"optimiser of FirstOrder is {self.optimiser!r};"
                f" {suggest(str(self.optimiser), list(OPTIMISERS))}"
            )
        if self.schedule not in SCHEDULES:
            raise InputError(
                f"schedule of FirstOrder is {self.schedule!r};"
                f" {suggest(str(self.schedule), list(SCHEDULES))}"
            )
        taken = inspect.signature(OPTIMISERS[self.optimiser]).parameters
        for name in NUMBERS:
            if getattr(self, name) is None:
                continue
            check_number(self, name, 0, 1)
            if name not in taken:
                legal = [other for other in NUMBERS if other in taken]
                raise InputError(
                    f"{name} of FirstOrder has no effect: {self.optimiser} takes {', '.join(legal)}"
                )
        for name, schedule in (("rise_parts", "cosine"), ("last_rate_share", "exponential")):
            if self.schedule != schedule and getattr(self, name) != getattr(FirstOrder, name):
                raise InputError(
                    f"{name} of FirstOrder has no effect with the schedule {self.schedule!r};"
                    f" it is of {schedule!r}"
                )
        check_number(self, "rate", 1e-30, 1e3)
        check_number(self, "rise_parts", 1, 1_000_000, whole=True)
        check_number(self, "last_rate_share", 1e-12, 1)
        check_schedule(self)

    @property
    def transform(self) -> optax.GradientTransformation:
        """The transformation, for a restart of `steps` steps."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        given = {name: value for name, value in numbers.items() if value is not None}
        return OPTIMISERS[self.optimiser](SCHEDULES[self.schedule](self), **given)

    def init(self, z: jax.Array) -> OptaxState:
        """Return the state of a search that begins at z [d]."""
        return z, self.transform.init(z)

    def step(self, state: OptaxState, problem: FlatProblem) -> tuple[OptaxState, Trial]:
        """Return the state after one update, and the point before it."""
        return optax_step(self.transform, state, problem)

    def evaluations(self, size: int) -> float:
        """Return the cost of one step: forward and backward."""
        del size
        return 2

    def kernel(self) -> Self:
        """Return the solver without its schedule, but for the steps that a falling rate reads."""
        return without_schedule(self, but=() if self.schedule == "constant" else ("steps",))


def _cosine(solver: FirstOrder) -> Rate:
    rise = max(1, solver.steps // solver.rise_parts)
    return optax.warmup_cosine_decay_schedule(0.0, solver.rate, rise, solver.steps)


SCHEDULES: dict[str, Callable[[FirstOrder], Rate]] = {
    "constant": lambda solver: solver.rate,
    "cosine": _cosine,
    "exponential": lambda solver: optax.exponential_decay(
        solver.rate, solver.steps, solver.last_rate_share
    ),
}


def parse_first_order(text: str) -> FirstOrder:
    """Return the solver that `NAME:RATE[:SCHEDULE]` describes.

    Raises:
      InputError: the optimiser or schedule does not exist, or the rate is not above 0.

    >>> parse_first_order("adam:0.05:cosine").rate
    0.05
    """
    name, rate_text, *rest = text.split(":")
    if name not in OPTIMISERS:
        raise InputError(
            f"optimiser {text!r} begins with {name!r}; {suggest(name, list(OPTIMISERS))}"
        )
    try:
        rate = float(rate_text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e3:
        raise InputError(
            f"optimiser {text!r} has the rate {rate_text!r}; it is a number above 0, up to 1000"
        )
    schedule = rest[0] if rest else "constant"
    if len(rest) > 1 or schedule not in SCHEDULES:
        raise InputError(
            f"optimiser {text!r} has the schedule {':'.join(rest)!r};"
            f" {suggest(schedule, list(SCHEDULES))}"
        )
    return FirstOrder(name, rate, schedule)
