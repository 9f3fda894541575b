"""What the loop needs of a solver, and the least-squares problem that a solver sees."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeAlias

import jax
import numpy as np

from jattr.typing import PyTree

Array: TypeAlias = jax.Array | np.ndarray
ResidualFn: TypeAlias = Callable[[jax.Array], jax.Array]  # z [d] -> residuals [n]


class Prior(NamedTuple):
    """Mean and standard deviation of the latents that the generator is fed with."""

    mean: jax.Array  # [d]
    scale: jax.Array  # [d]


class Problem(NamedTuple):
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


StepFn: TypeAlias = Callable[[PyTree, Problem], tuple[PyTree, Trial]]


class Solver(NamedTuple):
    """Two functions, `init(z) -> state` and `step(state, problem) -> (state, Trial)`.

    Written for one latent; `vmap` makes lanes of it.
    """

    init: Callable[[jax.Array], PyTree]
    step: StepFn


class Method(NamedTuple):
    """A solver with its schedule as data."""

    make: Callable[[int], Solver]  # from the number of steps
    steps: int  # default number of steps of one restart
    segment: int  # steps between two looks at what can stop
    # cost of one step by latent size; forward 1, forward and backward 2
    evaluations: Callable[[int], float]
    polish: bool = True  # whether Levenberg-Marquardt follows
    dense: bool = False  # whether a step takes the whole Jacobian
    patience: int = 0  # steps before which no restart counts as stalled
    stall: float = 0.1  # a restart stops when a segment lowers its loss by less than this fraction
