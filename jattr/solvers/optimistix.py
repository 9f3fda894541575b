"""Solvers of optimistix, step by step in our loop.

Needs the package (`pip install "jattr[optimistix]"`), and imports nothing before a solver is given.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from jattr.errors import InputError
from jattr.solvers.base import FlatProblem, PyTree, Trial, check_number, check_schedule
from jattr.solvers.base import without_schedule as _without_schedule


class OptimistixState(NamedTuple):
    """Where a search stands."""

    z: jax.Array  # [d], the last accepted point
    arrays: PyTree  # of optimistix' state
    static: "Static"  # what else it holds
    done: jax.Array  # [] bool, whether its own test has ended the search


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Static:
    """The part of a state that is not arrays; the first one serves all steps.

    All are equal: they hold programs, which compare by identity though they are the same.
    """

    value: Any

    def __eq__(self, other: object) -> bool:
        """Return whether the other is one, too."""
        return isinstance(other, Static)

    def __hash__(self) -> int:
        """Return the same for all."""
        return 0


@dataclass(frozen=True)
class Optimistix:
    """An optimistix minimiser or least-squares solver, as `optimistix.BFGS(rtol, atol)`.

    A step is one of its steps. It minimises half the sum of squared residuals, as optimistix does,
    and takes no account of a prior. Where its own test ends a search, further steps change nothing.
    States of least-squares solvers depend on the residuals: `solve` takes those, multi-starts take
    minimisers.
    """

    dense: ClassVar[bool] = False
    polish: ClassVar[bool] = True

    solver: Any  # optimistix.AbstractMinimiser or AbstractLeastSquaresSolver
    steps: int = 200
    segment: int = 25
    patience: int = 0
    stall: float = 0.1
    cost: float = 2.0  # of one step, in forward passes; optimistix does not say it

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: optimistix is not installed, the solver is none of it, or a number is not
            legal.
        """
        optimistix = _package("optimistix")
        kinds = (optimistix.AbstractMinimiser, optimistix.AbstractLeastSquaresSolver)
        if not isinstance(self.solver, kinds):
            raise InputError(
                f"solver of Optimistix is {self.solver!r}; it is a minimiser or a least-squares"
                " solver of optimistix, as optimistix.BFGS(rtol=1e-6, atol=1e-6)"
            )
        check_number(self, "cost", 0, 1e9)
        check_schedule(self)

    @property
    def least_squares(self) -> bool:
        """Whether the solver takes residuals, and not their sum."""
        return isinstance(self.solver, _package("optimistix").AbstractLeastSquaresSolver)

    def init(self, z: jax.Array) -> OptimistixState:
        """Return the state of a search that begins at z [d].

        Raises:
          InputError: the state of this solver depends on the residuals.
        """
        if self.least_squares:
            raise InputError(
                f"states of {type(self.solver).__name__} depend on the residuals: jattr.solve takes"
                " it; here take a minimiser, as Optimistix(optimistix.BFGS(rtol, atol)), or"
                " jattr.solvers.LevenbergMarquardt()"
            )
        # of a minimiser the state depends on z alone
        return self.init_for(z, FlatProblem(lambda z: z, z.size))

    def init_for(self, z: jax.Array, problem: FlatProblem) -> OptimistixState:
        """Return the state of a search of one problem that begins at z [d]."""
        fn = self._objective(problem)
        value, measured = jax.eval_shape(fn, z, None)
        state = self.solver.init(fn, z, None, {}, value, measured, frozenset())
        arrays, static = _package("equinox").partition(state, _package("equinox").is_array)
        return OptimistixState(z, arrays, Static(static), jnp.bool_(False))

    def step(self, state: OptimistixState, problem: FlatProblem) -> tuple[OptimistixState, Trial]:
        """Return the state after one step, and the point that its last accepted one measured."""
        equinox, fn = _package("equinox"), self._objective(problem)
        inner = equinox.combine(state.static.value, state.arrays)
        z, inner, measured = self.solver.step(fn, state.z, None, {}, inner, frozenset())
        done, _ = self.solver.terminate(fn, z, None, {}, inner, frozenset())
        arrays = equinox.filter(inner, equinox.is_array)
        after = OptimistixState(z, arrays, state.static, state.done | done)
        kept = jax.tree.map(lambda new, old: jnp.where(state.done, old, new), after, state)
        return kept, Trial(*measured)

    def evaluations(self, size: int) -> float:
        """Return the cost of one step, as it was stated."""
        del size
        return self.cost

    def kernel(self) -> Self:
        """Return the solver without its schedule."""
        return _without_schedule(self)

    def _objective(self, problem: FlatProblem) -> Any:
        """Return `fn(z, args) -> (what is minimised, (z, mean squared residual))`."""

        def fn(z: jax.Array, args: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            del args
            residuals = problem.residual(z)
            loss = jnp.mean(jnp.square(residuals))
            half_sum = loss * (residuals.size / 2)
            return residuals if self.least_squares else half_sum, (z, loss)

        return fn


def _package(name: str) -> ModuleType:
    """Return a package of the extra.

    Raises:
      InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            'Optimistix needs the package optimistix: pip install "jattr[optimistix]"'
        ) from None
