"""Alterations of an image: what happened to it after it was generated, as a part of the model.

Each is stated twice: `smooth`, differentiable and without rounding, for the search; and `discrete`,
from bytes to bytes as programs do it, from which is learnt how far the first lies from the second.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jattr.typing import PyTree

Shape: TypeAlias = tuple[int, int, int]  # (H, W, C)
# (parameters, images [n, H, W, C]) -> altered ones
SmoothFn: TypeAlias = Callable[[PyTree, jax.Array], jax.Array]


class Alteration(ABC):
    """One step. Frozen dataclasses implement it; equal ones are the same alteration."""

    name: ClassVar[str]  # in `REGISTRY`
    deterministic: ClassVar[bool] = True  # whether the same bytes give the same bytes
    # whether bytes only move, vanish or change places with others one to one: then nothing is
    # rounded anew
    copies: ClassVar[bool] = False
    # whether it is how a program saved values that were not bytes yet: the first step of a chain
    saves: ClassVar[bool] = False
    # whether it takes a part of the image out of the comparison: the last steps of a chain
    hides: ClassVar[bool] = False

    @property
    @abstractmethod
    def text(self) -> str:
        """The alteration as `parse_alteration` reads it."""

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape of the altered image.

        Raises:
          InputError: it cannot be applied to images of this shape.
        """
        return shape

    @property
    def swaps(self) -> bool:
        """Whether rows become columns."""
        return False

    def parameters(self, shape: Shape) -> PyTree:
        """Return the arrays that `smooth` takes, for images of this shape."""
        del shape
        return ()

    def transfer_matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the matrices of rows [H', H] and columns [W', W], and the number of channels.

        The number counts those that come out independent. Where the step swaps, rows and columns
        are those after it. For counting what gets through; how values are changed does not matter.
        """
        height, width, channels = self.out_shape(shape)
        return np.eye(height), np.eye(width), channels

    @property
    def inverse(self) -> "Alteration | None":
        """The step that undoes this one on bytes; None where something is lost."""
        return None

    @property
    def num_free(self) -> int:
        """How many of its numbers are unknown."""
        return 0

    def with_factors(self, factors: Sequence[float]) -> Self:
        """Return the step with its unknown numbers given, each by a factor that is 1 by default."""
        del factors
        return self

    @property
    def free_parameters(self) -> Callable[[jax.Array], PyTree]:
        """From factors [num_free] to what `smooth` takes, where numbers are unknown."""
        raise NotImplementedError

    @property
    @abstractmethod
    def smooth(self) -> SmoothFn:
        """The differentiable form, in [-1, 1] units; alterations share it where they can."""

    def drawn(self, *numbers: int) -> Self:
        """Return the step with its random choices drawn by these numbers too, each at least 0.

        A step without random choices returns itself.
        """
        del numbers
        return self

    @abstractmethod
    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return the altered images, uint8 [n, H, W, C] to uint8 [n, H', W', C']."""

    def saved(self, values: np.ndarray) -> np.ndarray:
        """Return values float32 [n, H, W, C], [-1, 1] units, not clipped, as bytes.

        Only of a step that `saves`.
        """
        raise NotImplementedError


def clip(x: jax.Array) -> jax.Array:
    """Return values cut off at the ends of the range, as bytes are."""
    return jnp.clip(x, -1.0, 1.0)


def number_text(value: float) -> str:
    """Return a number in short that is read back as the same.

    >>> number_text(1.0), number_text(0.123456789)
    ('1', '0.123456789')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
