"""What an optimiser is to the loop."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax

from jattr.inversion.problem import Problem


class Trial(NamedTuple):
    """A point that a step measured."""

    z: jax.Array  # [d]
    loss: jax.Array  # [], mean squared residual there


StepFn: TypeAlias = Callable[[Any, Problem], tuple[Any, Trial]]


class Optimiser(NamedTuple):
    """A method: `init(z) -> state`, `step(state, problem) -> (state, Trial)`. Written for one
    latent; `vmap` it.
    """

    init: Callable[[jax.Array], Any]
    step: StepFn


class Inversion(NamedTuple):
    """The result of inverting: of one search (`make_invert`), or of [images, restarts] searches
    (`invert`).
    """

    z: Any  # [..., *latent_shape] float32, the best latent of each search
    # [...], mean squared residual there, images in [-1, 1] units; inf if nothing was finite or not
    # run
    loss: Any
    label: Any  # [...] int32, the class; -1 if unconditional
    status: Any  # [...] int, a `Status`
    steps: Any  # [...] int
    evaluations: Any  # [...], forward passes (forward 1, forward and backward 2)
