"""What an optimiser is to the loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jattr.inversion.problem import Problem


class Trial(NamedTuple):
    """A point that a step measured."""

    z: jax.Array  # [d]
    loss: jax.Array  # [], mean squared residual there


class Optimiser(NamedTuple):
    """A method: `init(z) -> state`, `step(state, problem) -> (state, Trial)`. Written for one latent; `vmap` it."""

    init: Callable[[jax.Array], Any]
    step: Callable[[Any, Problem], tuple[Any, Trial]]
