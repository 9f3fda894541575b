"""Resizing and blurring, exactly as Pillow does them.

Resizing (Resample.c) is a filter whose support grows with the factor of reduction, first along
rows, then along columns, rounded to bytes in between. The Gaussian blur is three box blurs each way
(Gwosdek, Grewenig, Bruhn, Weickert, Theoretical Foundations of Gaussian Convolution by Extended Box
Filtering, 2011).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageFilter

from jattr.alterations.base import Shape, number_text
from jattr.alterations.separable import MAX_SIDE, Separable, each
from jattr.errors import InputError


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def _cubic(x: float) -> float:
    """Return Keys' cubic with a = -1/2."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1.0
    return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0 if x < 2 else 0.0


# Pillow's number, support, weight
FILTERS: dict[str, tuple[Image.Resampling, float, Callable[[float], float]]] = {
    "box": (Image.Resampling.BOX, 0.5, lambda x: 1.0 if -0.5 < x <= 0.5 else 0.0),
    "bilinear": (Image.Resampling.BILINEAR, 1.0, lambda x: max(0.0, 1.0 - abs(x))),
    "hamming": (
        Image.Resampling.HAMMING,
        1.0,
        lambda x: _sinc(x) * (0.54 + 0.46 * math.cos(math.pi * x)) if abs(x) < 1 else 0.0,
    ),
    "bicubic": (Image.Resampling.BICUBIC, 2.0, _cubic),
    "lanczos": (
        Image.Resampling.LANCZOS,
        3.0,
        lambda x: _sinc(x) * _sinc(x / 3) if abs(x) < 3 else 0.0,
    ),
}


@functools.lru_cache(maxsize=256)
def resize_matrix(size: int, new: int, name: str) -> np.ndarray:
    """Return Pillow's weights [new, size] of one axis; the identity where nothing changes."""
    if new == size:
        return np.eye(size, dtype=np.float32)
    _, support, weight = FILTERS[name]
    # Reducing, the filter grows with the factor and so averages; enlarging, it interpolates.
    scale = size / new
    stretch = max(scale, 1.0)
    matrix = np.zeros((new, size))
    for i in range(new):
        # The weights of the inputs whose middles lie within the support, of sum 1.
        center = (i + 0.5) * scale
        first = max(0, int(center - support * stretch + 0.5))
        last = min(size, int(center + support * stretch + 0.5))
        row = np.array([weight((j - center + 0.5) / stretch) for j in range(first, last)])
        matrix[i, first:last] = row / row.sum()
    return matrix.astype(np.float32)


@dataclass(frozen=True)
class Resize(Separable):
    """A resize to a size by one of Pillow's filters."""

    height: int
    width: int
    filter: str = "lanczos"
    name: ClassVar[str] = "resize"

    def __post_init__(self) -> None:
        """Check the size and the filter."""
        if self.filter not in FILTERS:
            raise InputError(
                f"resize has filter {self.filter!r}; it is one of {', '.join(FILTERS)}"
            )
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise InputError(
                f"resize is to {self.height}x{self.width}; sides are from 1 to {MAX_SIDE}"
            )

    @property
    def text(self) -> str:
        """As `resize:48x48:lanczos`."""
        return f"resize:{self.height}x{self.width}:{self.filter}"

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return the filter's weights."""
        return resize_matrix(shape[0], self.height, self.filter), resize_matrix(
            shape[1], self.width, self.filter
        )

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what Pillow makes."""
        if pixels.shape[1:3] == (self.height, self.width):
            return pixels
        return each(
            pixels, lambda image: image.resize((self.width, self.height), FILTERS[self.filter][0])
        )


@dataclass(frozen=True)
class Rescale(Separable):
    """A resize by a factor, sides rounded to whole pixels, by one of Pillow's filters."""

    factor: float
    filter: str = "lanczos"
    name: ClassVar[str] = "rescale"

    def __post_init__(self) -> None:
        """Check the factor and the filter."""
        if not 0.01 <= self.factor <= 100:
            raise InputError(f"rescale has factor {self.factor!r}; give a number from 0.01 to 100")
        Resize(1, 1, self.filter)

    @property
    def text(self) -> str:
        """As `rescale:0.75:lanczos`."""
        return f"rescale:{number_text(self.factor)}:{self.filter}"

    def to(self, shape: Shape) -> Resize:
        """Return the resize that this is for images of a shape."""
        height, width = (max(1, math.floor(side * self.factor + 0.5)) for side in shape[:2])
        return Resize(height, width, self.filter)

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return the filter's weights."""
        return self.to(shape).matrices(shape)

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what Pillow makes."""
        return self.to(pixels.shape[1:]).discrete(pixels)


@dataclass(frozen=True)
class Blur(Separable):
    """Pillow's GaussianBlur: three box blurs along rows, then three along columns."""

    sigma: float
    name: ClassVar[str] = "blur"

    def __post_init__(self) -> None:
        """Check the width."""
        if not 0 < self.sigma <= 100:
            raise InputError(
                f"blur has sigma {self.sigma!r}; give a number of pixels above 0, at most 100"
            )

    @property
    def text(self) -> str:
        """As `blur:1`."""
        return f"blur:{number_text(self.sigma)}"

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return the third powers of the box blur's matrices."""
        return blur_matrix(shape[0], self.sigma), blur_matrix(shape[1], self.sigma)

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what Pillow makes."""
        return each(pixels, lambda image: image.filter(ImageFilter.GaussianBlur(self.sigma)))


@functools.lru_cache(maxsize=64)
def blur_matrix(size: int, sigma: float, passes: int = 3) -> np.ndarray:
    """Return the weights [size, size] of Pillow's Gaussian blur of one axis, its edge repeated."""
    # The box of each pass has the variance sigma^2 / passes: 2 whole + 1 full weights, and two
    # partial ones that make up the rest (the paper's extended box filter).
    variance = sigma * sigma / passes
    whole = math.floor((math.sqrt(12.0 * variance + 1.0) - 1.0) / 2.0)
    part = (
        (2 * whole + 1)
        * (whole * (whole + 1) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1) ** 2))
    )
    box = np.zeros((size, size))
    for offset in range(-whole - 1, whole + 2):
        weight = part if abs(offset) == whole + 1 else 1.0
        box[np.arange(size), np.clip(np.arange(size) + offset, 0, size - 1)] += weight / (
            2 * (whole + part) + 1
        )
    return np.linalg.matrix_power(box, passes).astype(np.float32)
