"""Cut-outs, mirror images, turns and shifts: pixels that only move."""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

from jattr.alterations.base import Alteration, Shape, SmoothFn, clip, number_text
from jattr.alterations.separable import MAX_SIDE, Separable, mixed
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

    @property
    def inverse(self) -> Alteration:
        """The same."""
        return self

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

    @property
    def inverse(self) -> Alteration:
        """The turn that completes a whole one."""
        return Turn(360 - self.degrees)

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


WRAP = "wrap"  # what left on one side comes in on the other


@dataclass(frozen=True)
class Moved(Alteration):
    """A move by whole pixels that repeats none: what comes in is one byte, or what left."""

    down: int
    right: int
    # `WRAP`, as `numpy.roll`; or the byte, 0 to 255, of all channels where nothing was
    filled: str = WRAP
    name: ClassVar[str] = "shift"
    copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the distance, and what is filled in."""
        if max(abs(self.down), abs(self.right)) > MAX_SIDE:
            raise InputError(
                f"shift is {self.down}, {self.right}; give numbers of pixels up to {MAX_SIDE}"
            )
        if self.filled != WRAP and self.byte is None:
            raise InputError(
                f"shift is filled with {self.filled!r}; it is {WRAP} or a byte from 0 to 255, and"
                " without it the edge is repeated"
            )

    @property
    def byte(self) -> int | None:
        """The byte that is filled in; None where there is none."""
        return int(self.filled) if self.filled in map(str, range(256)) else None

    @property
    def text(self) -> str:
        """As `shift:1:0:wrap`."""
        return f"shift:{self.down}:{self.right}:{self.filled}"

    @property
    def inverse(self) -> Alteration | None:
        """The move back, where nothing was lost."""
        return Moved(-self.down, -self.right) if self.byte is None else None

    def transfer_matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray, int]:
        """Return both matrices, and all channels."""
        return self._matrix(shape[0], self.down), self._matrix(shape[1], self.right), shape[2]

    def parameters(self, shape: Shape) -> PyTree:
        """Return both matrices, and the value that is filled in, [-1, 1] units."""
        value = (self.byte or 0) / 127.5 - 1.0
        return *self.transfer_matrices(shape)[:2], np.float32(value)

    @property
    def smooth(self) -> SmoothFn:
        """One program for all of them."""
        return _moved

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what moving pixels gives."""
        pixels = np.roll(pixels, (self.down, self.right), (1, 2))
        if self.byte is not None:
            pixels[:, ~self._inside(pixels.shape[1], self.down)] = self.byte
            pixels[:, :, ~self._inside(pixels.shape[2], self.right)] = self.byte
        return pixels

    def _inside(self, size: int, distance: int) -> np.ndarray:
        """Return which pixels of an axis [size] come from within the image."""
        sources = np.arange(size) - distance
        return (sources >= 0) & (sources < size)

    def _matrix(self, size: int, distance: int) -> np.ndarray:
        """Return what moves pixels along one axis [size, size]."""
        matrix = np.roll(np.eye(size, dtype=np.float32), distance, 0)
        return matrix if self.byte is None else matrix * self._inside(size, distance)[:, None]


def _moved(parameters: tuple[jax.Array, jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    """Return images moved along rows and columns; where nothing comes from, the value."""
    vertical, horizontal, value = parameters
    return clip(mixed((vertical, horizontal), x - value) + value)


@dataclass(frozen=True)
class Border(Alteration):
    """A frame of one byte around the image, as of a tile that was cut out with its padding."""

    size: int  # pixels on each side
    byte: int = 0  # of all channels
    name: ClassVar[str] = "border"
    copies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the size and the byte."""
        if not 1 <= self.size <= MAX_SIDE:
            raise InputError(f"border is {self.size} pixels; give a number from 1 to {MAX_SIDE}")
        if not 0 <= self.byte <= 255:
            raise InputError(f"border has the byte {self.byte}; give a number from 0 to 255")

    @property
    def text(self) -> str:
        """As `border:2`, or `border:2:255`."""
        return f"border:{self.size}" + (f":{self.byte}" if self.byte else "")

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape with the frame."""
        height, width = (side + 2 * self.size for side in shape[:2])
        if max(height, width) > MAX_SIDE:
            raise InputError(f"{self.text} makes {height}x{width}; sides are at most {MAX_SIDE}")
        return height, width, shape[2]

    def transfer_matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray, int]:
        """Return rows and columns of the identity, and of zeros for the frame."""
        rows, columns = (
            np.pad(np.eye(side, dtype=np.float32), ((self.size, self.size), (0, 0)))
            for side in shape[:2]
        )
        return rows, columns, shape[2]

    def parameters(self, shape: Shape) -> PyTree:
        """Return both matrices, and the frame's value, [-1, 1] units."""
        return *self.transfer_matrices(shape)[:2], np.float32(self.byte / 127.5 - 1.0)

    @property
    def smooth(self) -> SmoothFn:
        """One program with moves that fill in a byte."""
        return _moved

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return the images with the frame."""
        widths = ((0, 0), (self.size, self.size), (self.size, self.size), (0, 0))
        return np.pad(pixels, widths, constant_values=self.byte)


@dataclass(frozen=True)
class Cover(Alteration):
    """A rectangle of which nothing is said, as under a mark that was pasted on.

    It is black in the model and in what is compared of the image: byte 0, below which everything
    fits, so that no test counts it.
    """

    height: int
    width: int
    top: int = 0
    left: int = 0
    name: ClassVar[str] = "cover"
    copies: ClassVar[bool] = True
    hides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the size and the place."""
        sides = (self.top + self.height, self.left + self.width)
        if (
            min(self.height, self.width) < 1
            or min(self.top, self.left) < 0
            or max(sides) > MAX_SIDE
        ):
            raise InputError(
                f"cover is {self.text.partition(':')[2]}; give HEIGHTxWIDTH+TOP+LEFT inside the"
                " image"
            )

    @property
    def text(self) -> str:
        """As `cover:3x3+0+29`."""
        return f"cover:{self.height}x{self.width}+{self.top}+{self.left}"

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape, if the rectangle lies within it."""
        if self.top + self.height > shape[0] or self.left + self.width > shape[1]:
            raise InputError(f"{self.text} does not lie within an image of {shape[0]}x{shape[1]}")
        if (self.height, self.width) == shape[:2]:
            raise InputError(f"{self.text} covers the whole image; leave something to compare")
        return shape

    def parameters(self, shape: Shape) -> np.ndarray:
        """Return which pixels stay [H, W, 1]: 1, and 0 in the rectangle."""
        self.out_shape(shape)
        stays = np.ones((*shape[:2], 1), np.float32)
        stays[self.top : self.top + self.height, self.left : self.left + self.width] = 0.0
        return stays

    @property
    def smooth(self) -> SmoothFn:
        """One program for all rectangles."""
        return _covered

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return the images with the rectangle in black, whatever was there."""
        return pixels * self.parameters(pixels.shape[1:]).astype(np.uint8)


def _covered(stays: PyTree, x: jax.Array) -> jax.Array:
    """Return images, black where nothing stays."""
    return clip((x + 1.0) * stays - 1.0)
