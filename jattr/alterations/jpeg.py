"""JPEG as a part of the model: what an encoder quantises, as a smooth function of the image.

A JPEG file states its quantised DCT coefficients exactly: each is an interval one quantisation step
wide around the encoder's value. Up to the quantiser the encoder is linear but for two roundings
(ITU-T T.81, annex A; T.871): bytes to luma and chroma, chroma averaged over 2x2 or 2x1 pixels,
edges repeated to whole blocks, 8x8 DCT.
"""

import dataclasses
import functools
import hashlib
import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jattr.alterations.base import Alteration, Shape, SmoothFn
from jattr.alterations.pointwise import LUMA_WEIGHTS
from jattr.errors import InputError
from jattr.images.jpeg import RGB, JpegFormat, encode_jpeg, quality_format, read_coefficients
from jattr.images.jpeg_file import SAMPLINGS
from jattr.images.orientation import as_stored
from jattr.images.reading import decode
from jattr.typing import PyTree

BLOCK = 8
GREY = "grey"  # one component
DECODED = "decoded"
EXIF = "exif"  # followed by an orientation
FAR_FROM_MULTIPLE = 0.2  # of a step
# decoding moves coefficients of smaller steps to other multiples: their noise counts that
SMALL_STEP = 2
RED, BLUE = 1.402, 1.772  # Cr = (R - Y) / 1.402, Cb = (B - Y) / 1.772


def to_ycc() -> np.ndarray:
    """Return the matrix from RGB to Y, Cb, Cr about 0 [3, 3], to be multiplied from the right."""
    luma = np.array(LUMA_WEIGHTS)
    blue, red = (np.array([0, 0, 1.0]) - luma) / BLUE, (np.array([1.0, 0, 0]) - luma) / RED
    return np.stack([luma, blue, red], axis=1)


def dct_matrix() -> np.ndarray:
    """Return the orthonormal DCT of 8 values [8, 8], frequencies along rows."""
    k, n = np.arange(BLOCK)[:, None], np.arange(BLOCK)[None]
    rows = np.sqrt(2.0 / BLOCK) * np.cos((2 * n + 1) * k * np.pi / (2 * BLOCK))
    rows[0] /= math.sqrt(2.0)
    return rows


def blocks_of(shape: Shape, sampling: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Return the rows and columns of blocks of each component."""
    tallest, widest = (max(factor[axis] for factor in sampling) for axis in (0, 1))
    return [
        (
            math.ceil(math.ceil(shape[0] * v / tallest) / BLOCK),
            math.ceil(math.ceil(shape[1] * h / widest) / BLOCK),
        )
        for v, h in sampling
    ]


def _repeats(height: int, width: int, down: int, wide: int) -> tuple[tuple[int, int], ...]:
    """Return the padding of images [n, H, W] by repeated edges before libjpeg averages.

    Columns are repeated up to a whole block, rows only up to a whole average: below that, averages
    are repeated.
    """
    return (0, 0), (0, -height % down), (0, wide - width)


@functools.lru_cache(maxsize=64)
def make_coefficients(
    sampling: tuple[tuple[int, int], ...], orientation: int = 1, *, rgb: bool = False
) -> SmoothFn:
    """Return `fn(parameters, images [n, H, W, C]) -> [n, 1, N, 1]`, smooth coefficients over 127.5.

    Images are as shown, coefficients those of the image as an EXIF orientation stores it, block
    after block. `parameters` are none; there is one function for each way of sampling and storing,
    whatever the tables.
    """
    tallest, widest = (max(factor[axis] for factor in sampling) for axis in (0, 1))
    dct, ycc = dct_matrix().astype(np.float32), to_ycc().astype(np.float32)

    def fn(parameters: PyTree, x: jax.Array) -> jax.Array:
        del parameters
        x = as_stored(x, orientation)
        # RGB to luma and chroma (T.871), in units of 127.5.
        n, height, width, channels = x.shape
        planes = x @ ycc if channels == 3 and not rgb else x
        # bytes are centred about 128, [-1, 1] about 127.5
        offset = jnp.float32(1.0 - 128.0 / 127.5)
        parts = []
        for index, (rows, columns) in enumerate(blocks_of((height, width, channels), sampling)):
            # Average chroma over the pixels of one sample; the edge is repeated first.
            down, across = tallest // sampling[index][0], widest // sampling[index][1]
            plane = planes[..., index] + (offset if index == 0 or rgb else 0.0)
            plane = jnp.pad(
                plane, _repeats(height, width, down, columns * BLOCK * across), mode="edge"
            )
            plane = plane.reshape(n, -1, down, columns * BLOCK, across).mean((2, 4))
            # Repeat the last row up to whole blocks, then transform each: D block D^T (A.3.3).
            plane = jnp.pad(
                plane, ((0, 0), (0, rows * BLOCK - plane.shape[1]), (0, 0)), mode="edge"
            )
            blocks = plane.reshape(n, rows, BLOCK, columns, BLOCK)
            coefficients = jnp.einsum("ui,nribj,vj->nrbuv", dct, blocks, dct)
            parts.append(coefficients.reshape(n, -1))
        return jnp.concatenate(parts, 1)[:, None, :, None]

    return fn


@dataclass(frozen=True)
class Jpeg(Alteration):
    """Compression by an encoder with these tables and sampling; the last alteration of a chain.

    Images are as a viewer shows them, also where the file stores them turned; shapes are of images
    as shown.
    """

    format: JpegFormat
    # saved again without loss: coefficients are those of a second, identical compression
    decoded: bool = False
    orientation: int = 1  # EXIF's: the image was turned or mirrored by its inverse, then compressed
    name: ClassVar[str] = "jpeg"

    @staticmethod
    def of_quality(
        quality: int,
        subsampling: str = "4:2:0",
        channels: int = 3,
        *,
        decoded: bool = False,
        orientation: int = 1,
    ) -> "Jpeg":
        """Return the compression that Pillow and libjpeg make of a quality."""
        if not 1 <= quality <= 100:
            raise InputError(f"jpeg has quality {quality!r}; give a whole number from 1 to 100")
        if subsampling not in (*SAMPLINGS, RGB, GREY):
            raise InputError(
                f"jpeg has subsampling {subsampling!r}; it is one of"
                f" {', '.join((*SAMPLINGS, RGB, GREY))}"
            )
        if subsampling == GREY:
            subsampling, channels = "4:4:4", 1
        return Jpeg(quality_format(quality, subsampling, channels), decoded, orientation)

    @property
    def text(self) -> str:
        """As `jpeg:75:4:2:0`.

        With other tables than libjpeg's of a quality, as `jpeg:own-` and their digest. Followed by
        `:exif6` where it was stored turned, with that EXIF orientation, and by `:decoded` where it
        was saved again without loss.
        """
        after = f":{EXIF}{self.orientation}" if self.orientation != 1 else ""
        after += f":{DECODED}" if self.decoded else ""
        names = {luma: name for name, luma in SAMPLINGS.items()}
        kind = names[self.format.sampling[0]] if len(self.format.tables) == 3 else GREY
        kind = RGB if self.format.rgb else kind
        quality = _quality_of(self.format, kind)
        if quality is not None:
            return f"jpeg:{quality}:{kind}{after}"
        key = hashlib.sha256(repr(self.format.key).encode()).hexdigest()[:16]
        return f"jpeg:own-{key}:{kind}{after}"

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape, which compression keeps."""
        components = len(self.format.tables)
        if shape[2] != components:
            advice = f"write jpeg:QUALITY:{GREY}" if shape[2] == 1 else "they must agree"
            if components == 1:
                advice = "if the file was made of the image's grey, write grey,jpeg"
            raise InputError(
                f"the JPEG has {components} component{'s' * (components > 1)}, the images"
                f" {shape[2]} channel{'s' * (shape[2] > 1)}; {advice}"
            )
        return shape

    @property
    def smooth(self) -> SmoothFn:
        """What the encoder quantises."""
        return make_coefficients(self.format.sampling, self.orientation, rgb=self.format.rgb)

    def grids(self, shape: Shape) -> list[tuple[int, int]]:
        """Return the rows and columns of blocks of each component.

        Of images of a shape (H, W, C) as shown.
        """
        height, width, channels = shape
        return blocks_of(
            (width, height, channels) if self.orientation >= 5 else shape, self.format.sampling
        )

    def steps(self, shape: Shape) -> np.ndarray:
        """Return the quantisation step of each coefficient [N], in the order of `smooth`."""
        grids = self.grids(shape)
        tables = zip(self.format.tables, grids, strict=True)
        return np.concatenate(
            [np.broadcast_to(t, (*g, BLOCK, BLOCK)).ravel() for t, g in tables]
        ).astype(np.float64)

    def groups(self, shape: Shape) -> np.ndarray:
        """Return which coefficients [N] are of one kind: 64 frequencies of each component."""
        grids = self.grids(shape)
        kinds = np.arange(len(grids) * BLOCK * BLOCK).reshape(-1, BLOCK, BLOCK)
        return np.concatenate(
            [
                np.broadcast_to(k, (*g, BLOCK, BLOCK)).ravel()
                for k, g in zip(kinds, grids, strict=True)
            ]
        )

    def encode(self, pixels: np.ndarray) -> bytes:
        """Return the file that a real encoder makes of an image [H, W, C]."""
        return encode_jpeg(pixels, self.format, self.orientation)

    def quantised(self, pixels: np.ndarray) -> np.ndarray:
        """Return the quantised coefficients [n, N] of a real encoder, of images uint8 [n, H, W, C].

        Of decoded ones, those of the second compression.
        """
        if self.decoded:
            return self.requantised(self.discrete(pixels))
        return np.stack([read_jpeg(self.encode(image))[0] for image in pixels])

    def unquantised(self, pixels: np.ndarray) -> np.ndarray:
        """Return what a real encoder quantises [n, N], rounded to whole numbers (steps of 1)."""
        ones = tuple(np.ones_like(table) for table in self.format.tables)
        plain = dataclasses.replace(
            self, format=dataclasses.replace(self.format, tables=ones), decoded=False
        )
        return plain.quantised(pixels)

    def requantised(self, decoded: np.ndarray) -> np.ndarray:
        """Return the quantised coefficients [n, N] of decoded images, compressed once more.

        They are nearly all those of the first compression: decoding moves a coefficient by less
        than its interval.
        """
        return dataclasses.replace(self, decoded=False).quantised(decoded)

    def uncertain(self, decoded: np.ndarray) -> np.ndarray:
        """Return which coefficients [n, N] of decoded images may not be the first compression's.

        Those are all that do not lie near a multiple of their step, and all of blocks where
        decoding clipped values at 0 or 255. None of a file's own.
        """
        steps = self.steps(decoded.shape[1:])
        if not self.decoded:
            return np.zeros((len(decoded), len(steps)), bool)
        distance = np.abs(self.unquantised(decoded) - self.requantised(decoded) * steps)
        off = (distance > FAR_FROM_MULTIPLE * steps) & (steps > SMALL_STEP)
        return np.asarray(off | self.cut_off(decoded))

    def cut_off(self, decoded: np.ndarray) -> np.ndarray:
        """Return which coefficients [n, N] are of blocks with pixels at 0 or 255."""
        # A chroma block covers several luma blocks: a cut-off pixel counts for all over it.
        stored = as_stored(decoded, self.orientation)
        cut = ((stored == 0) | (stored == 255)).any(-1)
        tallest, widest = (max(factor[axis] for factor in self.format.sampling) for axis in (0, 1))
        parts = []
        for (v, h), (rows, columns) in zip(
            self.format.sampling, self.grids(decoded.shape[1:]), strict=True
        ):
            down, across = BLOCK * tallest // v, BLOCK * widest // h
            room = ((0, 0), (0, rows * down - cut.shape[1]), (0, columns * across - cut.shape[2]))
            blocks = np.pad(cut, room).reshape(len(cut), rows, down, columns, across).any((2, 4))
            parts.append(np.repeat(blocks.reshape(len(cut), -1), BLOCK * BLOCK, axis=1))
        return np.concatenate(parts, axis=1)

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return the decoded images."""
        return np.stack([decode(self.encode(p)).pixels for p in pixels])


def read_jpeg(data: bytes) -> tuple[np.ndarray, Jpeg]:
    """Return the quantised coefficients [N] of a JPEG file, and its compression.

    They are in the order of `Jpeg.smooth`.

    Raises:
      ImageError: it is no JPEG that jattr reads.
    """
    stored = read_coefficients(data)
    coefficients = np.concatenate([part.ravel() for part in stored.quantised])
    return coefficients, Jpeg(stored.format, orientation=stored.orientation)


@functools.lru_cache(maxsize=256)
def _quality_of(format: JpegFormat, kind: str) -> int | None:
    """Return the quality at which libjpeg has these tables, or None."""
    return next((q for q in range(1, 101) if Jpeg.of_quality(q, kind).format == format), None)
