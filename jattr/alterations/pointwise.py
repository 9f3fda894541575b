"""Alterations of each pixel by itself: brightness, contrast, gamma, greyscale, noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance

from jattr.alterations.base import Alteration, Shape, SmoothFn, clip, number_text
from jattr.alterations.separable import each
from jattr.errors import InputError
from jattr.typing import PyTree

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # Rec. 601
FREE = "?"  # in place of a factor
DARKEST = 1e-3  # of a gamma's argument: its derivative stays finite


def _scaled(factor: PyTree, x: jax.Array) -> jax.Array:
    """Return images whose bytes are multiplied by a factor."""
    return clip((x + 1.0) * factor - 1.0)


def _contrasted(factor: PyTree, x: jax.Array) -> jax.Array:
    """Return images whose distances from their own mean luma are multiplied by a factor."""
    weights = jnp.asarray(LUMA_WEIGHTS if x.shape[-1] == 3 else (1.0,), jnp.float32)
    mean = jnp.mean(x @ weights, axis=(1, 2), keepdims=True)[..., None]
    return clip(mean + factor * (x - mean))


def _to_power(power: PyTree, x: jax.Array) -> jax.Array:
    """Return images raised to a power, [0, 1] units."""
    return 2.0 * jnp.power(jnp.clip((x + 1.0) / 2.0, DARKEST, 1.0), power) - 1.0


def _unchanged(parameters: PyTree, x: jax.Array) -> jax.Array:
    return x


def _alone(factors: jax.Array) -> jax.Array:
    return factors[0]


def _negative(parameters: PyTree, x: jax.Array) -> jax.Array:
    """Return negatives: byte v becomes 255 - v."""
    return clip(-x)


def _mixed(matrix: PyTree, x: jax.Array) -> jax.Array:
    """Return images with their channels mixed."""
    return x @ matrix


@dataclass(frozen=True)
class Factor(Alteration):
    """A step with one factor; None: unknown, to be fitted before the step can be carried out."""

    factor: float | None

    def __post_init__(self) -> None:
        """Check the factor."""
        if self.factor is not None and not 0.01 <= self.factor <= 100:
            raise InputError(
                f"{self.name} has factor {self.factor!r}; give a number from 0.01 to 100 (1 changes"
                " nothing), or ?"
            )

    @property
    def text(self) -> str:
        """As `brightness:1.2`, or `brightness:?`."""
        return f"{self.name}:{FREE if self.factor is None else number_text(self.factor)}"

    @property
    def required_factor(self) -> float:
        """The factor.

        Raises:
          InputError: it is unknown.
        """
        if self.factor is None:
            raise InputError(
                f"the factor of {self.text} is not known; give a number, or fit it first"
            )
        return self.factor

    def parameters(self, shape: Shape) -> np.ndarray:
        """Return the factor."""
        del shape
        return np.asarray(self.required_factor, np.float32)

    @property
    def num_free(self) -> int:
        """The factor, if it is unknown."""
        return int(self.factor is None)

    def with_factors(self, factors: Sequence[float]) -> Self:
        """Return the step with its factor given."""
        return replace(self, factor=factors[0])

    @property
    def free_parameters(self) -> Callable[[jax.Array], PyTree]:
        """The factor itself."""
        return _alone


@dataclass(frozen=True)
class Brightness(Factor):
    """Bytes times a factor, as Pillow's ImageEnhance.Brightness."""

    name: ClassVar[str] = "brightness"

    @property
    def smooth(self) -> SmoothFn:
        """One program for all factors."""
        return _scaled

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what Pillow makes."""
        return each(
            pixels, lambda image: ImageEnhance.Brightness(image).enhance(self.required_factor)
        )


@dataclass(frozen=True)
class Contrast(Factor):
    """Distances from the mean luma times a factor, as Pillow's ImageEnhance.Contrast."""

    name: ClassVar[str] = "contrast"

    @property
    def smooth(self) -> SmoothFn:
        """One program for all factors."""
        return _contrasted

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what Pillow makes."""
        return each(
            pixels, lambda image: ImageEnhance.Contrast(image).enhance(self.required_factor)
        )


@dataclass(frozen=True)
class Gamma(Factor):
    """Values in [0, 1] to a power, rounded."""

    name: ClassVar[str] = "gamma"

    @property
    def smooth(self) -> SmoothFn:
        """One program for all powers."""
        return _to_power

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what a table of 256 entries makes."""
        table = np.floor(255.0 * (np.arange(256) / 255.0) ** self.required_factor + 0.5).astype(
            np.uint8
        )
        return table[pixels]


@dataclass(frozen=True)
class Grey(Alteration):
    """Rec. 601 luma, as Pillow's convert("L"); three equal channels where `channels` is 3."""

    channels: int = 1
    name: ClassVar[str] = "grey"

    def __post_init__(self) -> None:
        """Check the number of channels."""
        if self.channels not in (1, 3):
            raise InputError(f"grey has {self.channels!r} channels; give 1, or 3 equal ones")

    @property
    def text(self) -> str:
        """As `grey:1`."""
        return f"grey:{self.channels}"

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape with this number of channels."""
        if shape[2] != 3:
            raise InputError(f"grey was asked of images with {shape[2]} channels; it needs 3")
        return (*shape[:2], self.channels)

    def transfer_matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray, int]:
        """Return one channel, however often it is repeated."""
        return np.eye(shape[0]), np.eye(shape[1]), 1

    def parameters(self, shape: Shape) -> np.ndarray:
        """Return the luma of each colour [3, channels]."""
        return np.repeat(np.array(LUMA_WEIGHTS, np.float32)[:, None], self.channels, 1)

    @property
    def smooth(self) -> SmoothFn:
        """A product with a matrix."""
        return _mixed

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what Pillow makes."""
        grey = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in pixels])[..., None]
        return np.repeat(grey, self.channels, -1)


@dataclass(frozen=True)
class Noise(Alteration):
    """Gaussian noise of a standard deviation sigma in [0, 1] units, clipped and rounded."""

    sigma: float
    seed: int = 0
    name: ClassVar[str] = "noise"
    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the standard deviation and the seed."""
        if self.seed < 0:
            raise InputError(f"noise has seed {self.seed}; give a whole number, 0 or above")
        if not 0 < self.sigma <= 1:
            raise InputError(
                f"noise has sigma {self.sigma!r}; give a number above 0, at most 1 (of the range"
                " [0, 1])"
            )

    @property
    def text(self) -> str:
        """As `noise:0.05`."""
        return f"noise:{number_text(self.sigma)}" + (f":{self.seed}" if self.seed else "")

    @property
    def smooth(self) -> SmoothFn:
        """Nothing: the noise is what remains."""
        return _unchanged

    def drawn(self, *numbers: int) -> Self:
        """Return noise of the same strength, with a seed of its own and these numbers."""
        words = np.random.SeedSequence([self.seed, *numbers]).generate_state(4)
        return replace(self, seed=int.from_bytes(words.astype("<u4").tobytes(), "little"))

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return the images with noise, the same for the same seed."""
        noise = 255.0 * self.sigma * np.random.default_rng(self.seed).normal(size=pixels.shape)
        return np.clip(np.floor(pixels + noise + 0.5), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Channels(Alteration):
    """Channels in another order: RGB written as BGR, as by OpenCV's imwrite."""

    order: tuple[int, ...]  # which channel stands where
    name: ClassVar[str] = "channels"
    copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the order."""
        if not 1 < len(self.order) <= 4 or sorted(self.order) != list(range(len(self.order))):
            raise InputError(
                f"channels are {self.digits!r}; give each channel's number once, as 210 for blue,"
                " green, red of RGB"
            )

    @property
    def digits(self) -> str:
        """The order in digits."""
        return "".join(map(str, self.order))

    @property
    def text(self) -> str:
        """As `channels:210`."""
        return f"{self.name}:{self.digits}"

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape, if there are as many channels."""
        if shape[2] != len(self.order):
            raise InputError(
                f"{self.text} was asked of images with {shape[2]} channels; it needs"
                f" {len(self.order)}"
            )
        return shape

    def parameters(self, shape: Shape) -> np.ndarray:
        """Return the permutation [C, C]."""
        del shape
        return np.eye(len(self.order), dtype=np.float32)[:, list(self.order)]

    @property
    def smooth(self) -> SmoothFn:
        """A product with a matrix."""
        return _mixed

    @property
    def inverse(self) -> Alteration:
        """The channels in their old order."""
        return Channels(tuple(self.order.index(channel) for channel in range(len(self.order))))

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return the channels in the new order."""
        return np.ascontiguousarray(pixels[..., list(self.order)])


@dataclass(frozen=True)
class Bgr(Channels):
    """Red and blue exchanged: RGB written by a program that takes BGR."""

    order: tuple[int, ...] = (2, 1, 0)
    name: ClassVar[str] = "bgr"

    @property
    def text(self) -> str:
        """`bgr`."""
        return self.name


@dataclass(frozen=True)
class Invert(Alteration):
    """Negatives: byte v becomes 255 - v."""

    name: ClassVar[str] = "invert"
    copies: ClassVar[bool] = True

    @property
    def text(self) -> str:
        """`invert`."""
        return self.name

    @property
    def smooth(self) -> SmoothFn:
        """Values times -1."""
        return _negative

    @property
    def inverse(self) -> Alteration:
        """The same."""
        return self

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return 255 - v."""
        return np.uint8(255) - pixels
