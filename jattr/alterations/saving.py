"""How programs save values that are no bytes yet: stretched, cut off, wrapped around.

These steps come first in a chain, and take the generator's values instead of its bytes: nothing is
rounded before them. All but `Stretch` without ends are linear in the value, so that one smooth
program serves them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jattr.alterations.base import Alteration, Shape, SmoothFn, number_text
from jattr.alterations.pointwise import FREE
from jattr.errors import InputError
from jattr.images.values import to_float
from jattr.typing import PyTree

MIDDLE, WHITE = 127.5, 255.0  # bytes of the values 0 and 1
DIGITS = 3  # after the point of fitted ends: less than a hundredth of a byte
MAX_END = 25_500.0  # of an end, in bytes
LEAST_RANGE = 1.0  # between two ends, in bytes
LEAST_OWN_RANGE = 1e-5  # of values, as torchvision has it


def _linear(parameters: PyTree, x: jax.Array) -> jax.Array:
    """Return values times a gain plus an offset, in bytes; not cut off, since bytes are."""
    gain, offset = parameters[0], parameters[1]
    return ((x + 1.0) * MIDDLE * gain + offset) / MIDDLE - 1.0


def _to_own_ends(parameters: PyTree, x: jax.Array) -> jax.Array:
    """Return images whose least value is -1 and whose largest is 1."""
    axes = (1, 2, 3)
    low, high = jnp.min(x, axes, keepdims=True), jnp.max(x, axes, keepdims=True)
    return 2.0 * (x - low) / jnp.maximum(high - low, LEAST_OWN_RANGE) - 1.0


def _wrapped(parameters: PyTree, x: jax.Array) -> jax.Array:
    """Return values of bytes modulo 256, cut off towards 0 before that.

    A byte stands for the middle of the values that lead to it: half a byte above it, or below where
    the value was negative.
    """
    y = (x + 1.0) * MIDDLE * parameters[0] + parameters[1]
    turns = jnp.where(y >= 0.0, jnp.floor(y / 256.0), jnp.ceil((y + 1.0) / 256.0) - 1.0)
    turns = jax.lax.stop_gradient(jnp.where((y > -1.0) & (y < 0.0), 0.0, turns))
    inside = y - 256.0 * turns + jnp.where(y >= 0.0, -0.5, 0.5)
    return inside / MIDDLE - 1.0


def _gain_and_offset(factors: jax.Array) -> jax.Array:
    """Return gain and offset of factors [2]: of the contrast, and of the byte of middle grey."""
    return jnp.stack([factors[0], MIDDLE * (factors[1] - factors[0])])


@dataclass(frozen=True)
class Stretch(Alteration):
    """A linear map that makes one value black and another one white.

    Without ends the image's own least and largest value: `save_image(normalize=True)` of
    torchvision, `bytescale` and `imsave` of SciPy. A tile of a grid has the ends of all its tiles.
    """

    # in bytes, where the image has 0 to 255; None, None: the image's own least and largest value
    low: float | None = None
    high: float | None = None
    free: bool = False  # the ends are unknown, to be fitted before the step can be carried out
    name: ClassVar[str] = "stretch"
    saves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the ends."""
        if (self.low is None) != (self.high is None) or (self.free and self.low is not None):
            raise InputError("stretch has one end; give LOW and HIGH, both as numbers or both as ?")
        if self.low is None or self.high is None:
            return
        legal = max(abs(self.low), abs(self.high)) <= MAX_END
        if not legal or not abs(self.high - self.low) >= LEAST_RANGE:
            raise InputError(
                f"stretch has the ends {self.low!r} and {self.high!r}; give two bytes that differ"
                f" by at least {LEAST_RANGE:g}, as 20 and 200, beyond 0 and 255 too"
            )

    @property
    def text(self) -> str:
        """As `stretch`, `stretch:20:200` or `stretch:?:?`."""
        if self.free:
            return f"{self.name}:{FREE}:{FREE}"
        if self.low is None or self.high is None:
            return self.name
        return f"{self.name}:{number_text(self.low)}:{number_text(self.high)}"

    @property
    def num_free(self) -> int:
        """Both ends, where they are unknown."""
        return 2 if self.free else 0

    def with_factors(self, factors: Sequence[float]) -> Self:
        """Return the step with the ends that factors of contrast and middle grey give."""
        gain, middle = factors
        black = MIDDLE - MIDDLE * middle / gain
        low, high = round(black, DIGITS), round(black + WHITE / gain, DIGITS)
        return replace(self, low=low, high=high, free=False)

    @property
    def free_parameters(self) -> Callable[[jax.Array], PyTree]:
        """Gain and offset."""
        return _gain_and_offset

    def parameters(self, shape: Shape) -> PyTree:
        """Return gain and offset; nothing for the image's own ends."""
        del shape
        if self.free:
            raise InputError(f"the ends of {self.text} are not known; give numbers, or fit them")
        return () if self.low is None else _parameters(*self._ends())

    @property
    def smooth(self) -> SmoothFn:
        """The linear map; or the one to the image's own ends."""
        return _to_own_ends if self.low is None and not self.free else _linear

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what a program makes that takes bytes as values."""
        return self.saved(to_float(pixels))

    def saved(self, values: np.ndarray) -> np.ndarray:
        """Return bytes as torchvision makes them, in float32."""
        self.parameters(values.shape[1:])
        if self.low is not None:
            return _rounded(_linear_of(values, *self._ends()))
        low, high = (end(values, (1, 2, 3), keepdims=True) for end in (np.min, np.max))
        share = (values - low) / np.maximum(high - low, np.float32(LEAST_OWN_RANGE))
        return _rounded(share * np.float32(WHITE))

    def _ends(self) -> tuple[float, float]:
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high


@dataclass(frozen=True)
class ClipLow(Alteration):
    """Values in [-1, 1] saved as if they were in [0, 1]: all below 0 is black, contrast doubled."""

    name: ClassVar[str] = "clip-low"
    saves: ClassVar[bool] = True

    @property
    def text(self) -> str:
        """`clip-low`."""
        return self.name

    def parameters(self, shape: Shape) -> PyTree:
        """Return gain and offset."""
        del shape
        return _parameters(MIDDLE, WHITE)

    @property
    def smooth(self) -> SmoothFn:
        """The linear map."""
        return _linear

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what a program makes that takes bytes as values."""
        return self.saved(to_float(pixels))

    def saved(self, values: np.ndarray) -> np.ndarray:
        """Return bytes as torchvision's `save_image` makes them."""
        return _rounded(values * np.float32(WHITE))


@dataclass(frozen=True)
class Round(Alteration):
    """Values rounded to the nearest byte, where the model's card states another rule."""

    name: ClassVar[str] = "round"
    saves: ClassVar[bool] = True
    offset: ClassVar[float] = 0.0  # in bytes, added before rounding

    @property
    def text(self) -> str:
        """The name."""
        return self.name

    def parameters(self, shape: Shape) -> PyTree:
        """Return gain and offset."""
        del shape
        return np.array([1.0, self.offset], np.float32)

    @property
    def smooth(self) -> SmoothFn:
        """The linear map."""
        return _linear

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return the images: values that are bytes are so by either rule."""
        return pixels.copy()

    def saved(self, values: np.ndarray) -> np.ndarray:
        """Return bytes by the rule."""
        scaled = (values + np.float32(1)) * np.float32(MIDDLE)
        return _rounded(scaled + np.float32(self.offset))


@dataclass(frozen=True)
class Truncate(Round):
    """Values cut off to bytes, `astype(uint8)`, where the model's card states another rule."""

    name: ClassVar[str] = "truncate"
    offset: ClassVar[float] = -0.5


@dataclass(frozen=True)
class Wrap(Alteration):
    """Values that become bytes modulo 256: `astype(uint8)` without cutting off at the ends."""

    # the values that make 0 and 255, in bytes, where the image has 0 to 255: 127.5 and 255 where
    # values in [-1, 1] were taken for ones in [0, 1]
    low: float = 0.0
    high: float = WHITE
    name: ClassVar[str] = "wrap"
    saves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the ends."""
        Stretch(self.low, self.high)

    @property
    def text(self) -> str:
        """As `wrap`, or `wrap:127.5:255`."""
        if (self.low, self.high) == (0.0, WHITE):
            return self.name
        return f"{self.name}:{number_text(self.low)}:{number_text(self.high)}"

    def parameters(self, shape: Shape) -> PyTree:
        """Return gain and offset."""
        del shape
        return _parameters(self.low, self.high)

    @property
    def smooth(self) -> SmoothFn:
        """The linear map, modulo 256."""
        return _wrapped

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what a program makes that takes bytes as values."""
        return self.saved(to_float(pixels))

    def saved(self, values: np.ndarray) -> np.ndarray:
        """Return bytes as NumPy's `astype` makes them: cut off towards 0, modulo 256."""
        scaled = np.trunc(_linear_of(values, self.low, self.high))
        return (scaled.astype(np.int64) & 255).astype(np.uint8)


def _parameters(low: float, high: float) -> np.ndarray:
    """Return gain and offset [2] of the map that makes these bytes 0 and 255."""
    gain = WHITE / (high - low)
    return np.array([gain, -low * gain], np.float32)


def _linear_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values float32, [-1, 1] units, in bytes after the map that makes these 0 and 255."""
    gain, offset = (np.float32(number) for number in _parameters(low, high))
    return (values + np.float32(1)) * np.float32(MIDDLE) * gain + offset


def _rounded(scaled: np.ndarray) -> np.ndarray:
    """Return values in bytes as bytes: rounded, and cut off at the ends."""
    return np.clip(np.floor(scaled + np.float32(0.5)), 0, 255).astype(np.uint8)
