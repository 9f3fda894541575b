"""Cut-outs, mirror images, turns and shifts: pixels that only move."""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

from jattr.alterations.base import Alteration, Shape, SmoothFn, clip, number_text
from jattr.alterations.separable import MAX_SIDE, Separable
from jattr.errors import InputError
from jattr.images.orientation import upright
from jattr.typing import PyTree

TURNS = {90: 6, 180: 3, 270: 8}  # degrees -> the EXIF orientation that asks a viewer for them


@dataclass(frozen=True)
class Crop(Separable):
    """A cut-out, the rest thrown away."""

    height: int
    width: int
    top: int = 0
    left: int = 0
    name: ClassVar[str] = "crop"
    copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the size and the place."""
        if (
            min(self.height, self.width) < 1
            or min(self.top, self.left) < 0
            or self.bottom > MAX_SIDE
        ):
            raise InputError(
                f"crop is {self.text.partition(':')[2]}; give HEIGHTxWIDTH+TOP+LEFT inside the"
                " image"
            )

    @property
    def bottom(self) -> int:
        """The largest edge."""
        return max(self.top + self.height, self.left + self.width)

    @property
    def text(self) -> str:
        """As `crop:58x58+3+3`."""
        return f"crop:{self.height}x{self.width}+{self.top}+{self.left}"

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of the identity."""
        if self.top + self.height > shape[0] or self.left + self.width > shape[1]:
            raise InputError(f"{self.text} does not lie within an image of {shape[0]}x{shape[1]}")
        rows = np.eye(shape[0], dtype=np.float32)[self.top : self.top + self.height]
        return rows, np.eye(shape[1], dtype=np.float32)[self.left : self.left + self.width]


@dataclass(frozen=True)
class Centre(Separable):
    """A cut-out of the middle, a fraction of each side."""

    fraction: float
    name: ClassVar[str] = "centre"
    copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the fraction."""
        if not 0 < self.fraction <= 1:
            raise InputError(
                f"centre has fraction {self.fraction!r}; give a number above 0, at most 1"
            )

    @property
    def text(self) -> str:
        """As `centre:0.9`."""
        return f"centre:{number_text(self.fraction)}"

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of the identity."""
        height, width = (max(1, math.floor(side * self.fraction + 0.5)) for side in shape[:2])
        return Crop(height, width, (shape[0] - height) // 2, (shape[1] - width) // 2).matrices(
            shape
        )


@dataclass(frozen=True)
class Flip(Separable):
    """A mirror image: left and right exchanged, or top and bottom."""

    axis: str = "horizontal"
    name: ClassVar[str] = "flip"
    copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the axis."""
        if self.axis not in ("horizontal", "vertical"):
            raise InputError(
                f"flip is {self.axis!r}; it is horizontal (left and right exchanged) or vertical"
            )

    @property
    def text(self) -> str:
        """As `flip:horizontal`."""
        return f"flip:{self.axis}"

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return the identity and its mirror image."""
        rows, columns = np.eye(shape[0], dtype=np.float32), np.eye(shape[1], dtype=np.float32)
        return (rows, columns[::-1]) if self.axis == "horizontal" else (rows[::-1], columns)


@dataclass(frozen=True)
class Turn(Alteration):
    """Quarter turns, clockwise: height and width change places at 90 and 270 degrees."""

    degrees: int
    name: ClassVar[str] = "turn"
    copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the angle."""
        if self.degrees not in TURNS:
            raise InputError(f"turn is {self.degrees!r}; it is 90, 180 or 270 degrees, clockwise")

    @property
    def text(self) -> str:
        """As `turn:90`."""
        return f"turn:{self.degrees}"

    @property
    def swaps(self) -> bool:
        """By a quarter."""
        return self.degrees != 180

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape, height and width exchanged by a quarter."""
        height, width, channels = shape
        return (width, height, channels) if self.swaps else shape

    @property
    def smooth(self) -> SmoothFn:
        """One program for each angle."""
        return _make_turn(TURNS[self.degrees])

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what moving pixels gives."""
        return np.ascontiguousarray(upright(pixels, TURNS[self.degrees]))


@functools.lru_cache(maxsize=8)
def _make_turn(orientation: int) -> SmoothFn:
    def turned(parameters: PyTree, x: jax.Array) -> jax.Array:
        del parameters
        return clip(upright(x, orientation))

    return turned


_FLIP, _FALL = Flip("horizontal"), Flip("vertical")
# EXIF orientation -> what a viewer does to the stored image
UPRIGHT: dict[int, tuple[Alteration, ...]] = {
    1: (),
    2: (_FLIP,),
    3: (Turn(180),),
    4: (_FALL,),
    5: (Turn(90), _FLIP),
    6: (Turn(90),),
    7: (Turn(90), _FALL),
    8: (Turn(270),),
}


def only_tagged(orientation: int, *, jpeg: bool) -> str:
    """Return the alteration that only states an EXIF orientation, as a chain's text.

    In it `jpeg` stands for the file's own compression. Empty for orientation 1.

    >>> only_tagged(6, jpeg=True), only_tagged(1, jpeg=True)
    ('turn:90,jpeg', '')
    """
    steps = [step.text for step in UPRIGHT[orientation]]
    return ",".join([*steps, "jpeg"] if jpeg and steps else steps)


@dataclass(frozen=True)
class Shift(Separable):
    """A move by whole pixels, the edge repeated where nothing was: so pixels do not only move."""

    down: int
    right: int
    name: ClassVar[str] = "shift"

    def __post_init__(self) -> None:
        """Check the distance."""
        if max(abs(self.down), abs(self.right)) > MAX_SIDE:
            raise InputError(
                f"shift is {self.down}, {self.right}; give numbers of pixels up to {MAX_SIDE}"
            )

    @property
    def text(self) -> str:
        """As `shift:2:-1`."""
        return f"shift:{self.down}:{self.right}"

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of the identity, the outermost repeated."""
        rows = np.clip(np.arange(shape[0]) - self.down, 0, shape[0] - 1)
        columns = np.clip(np.arange(shape[1]) - self.right, 0, shape[1] - 1)
        return np.eye(shape[0], dtype=np.float32)[rows], np.eye(shape[1], dtype=np.float32)[columns]
