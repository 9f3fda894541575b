"""JPEG coefficients exactly as a file stores them, and the encoder that writes such files.

The decoder is our own: bindings of libjpeg fill a truncated scan with zeros and say so on stderr at
best. ITU-T T.81; the encoder is Pillow's, which is libjpeg-turbo with its default, accurate integer
DCT.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jattr.errors import ImageError
from jattr.images import headers, reading
from jattr.images.jpeg_file import SAMPLINGS, Component, decode_frame
from jattr.images.jpeg_writing import component_planes, write_scan
from jattr.images.orientation import as_stored

# 2048 x 2048; generators make smaller images, and a scan costs up to 60 ns a coefficient
MAX_CODED_PIXELS = 2**22
# noise at quality 100 is 17; decoding costs about 10 bytes of memory and 0.7 us for each
MAX_CODED_BYTES = 24 * 2**20
MAX_JPEG_SIDE = 65500  # libjpeg's
ORIENTATION = 0x0112  # EXIF's tag
RGB = "rgb"  # three components that are red, green and blue
_PILLOWS = ("4:4:4", "4:2:2", "4:2:0")  # what Pillow writes


@dataclass(frozen=True, eq=False)
class JpegFormat:
    """What an encoder was told; equal by value: files of one format can be searched together."""

    # one a component, [8, 8], quantiser steps [vertical, horizontal frequency]
    tables: tuple[NDArray[np.uint16], ...]
    # one a component, (vertical, horizontal) factors; greyscale ((1, 1),)
    sampling: tuple[tuple[int, int], ...]
    rgb: bool = False  # three components are red, green and blue, not luma and chroma

    @property
    def key(self) -> tuple[object, ...]:
        """The same as plain numbers, and "rgb" where it is that."""
        tables = tuple(tuple(table.reshape(-1).tolist()) for table in self.tables)
        return (tables, self.sampling, RGB) if self.rgb else (tables, self.sampling)

    def __eq__(self, other: object) -> bool:
        """Same tables, same sampling."""
        return isinstance(other, JpegFormat) and self.key == other.key

    def __hash__(self) -> int:
        """Of what equality compares."""
        return hash(self.key)


@dataclass(frozen=True, eq=False)
class JpegCoefficients:
    """The image of a JPEG file before any decoding that rounds, as stored.

    `orientation` says how it is shown.
    """

    # One a component, [block rows, block columns, 8, 8], natural order [vertical, horizontal
    # frequency], in units of the quantiser's steps. Only the blocks that the image needs, see
    # `read_coefficients`.
    quantised: tuple[NDArray[np.int16], ...]
    format: JpegFormat
    size: tuple[int, int]  # height, width in pixels
    progressive: bool
    # one component; luma, blue and red chroma; or red, green and blue
    colour: Literal["grey", "ycc", "rgb"]
    # EXIF's, 1 to 8: the coefficients are those of the image before it is turned upright
    orientation: int


def read_coefficients(data: bytes) -> JpegCoefficients:
    """The coefficients of a JPEG file as stored: quantised DCT, tables and sampling factors.

    An encoder pads each component to whole MCUs (16x16 pixels at 4:2:0); of component c with
    factors (v, h), where the largest are (V, H), are kept the ceil(ceil(height v / V) / 8) x
    ceil(ceil(width h / H) / 8) blocks with a sample of the image in them. Samples of a kept block
    that lie outside the image are the encoder's choice, too. Read are 8-bit baseline and
    progressive files with Huffman codes, greyscale, YCbCr in one of `SAMPLINGS`, or RGB. Raises
    ImageError, and nothing else, for any other bytes: UnreadableJpegError where they are damaged,
    or coded in a way that is not decoded here. A scan that is cut off is refused, never filled up.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        raise ImageError(
            f"not a JPEG image (it begins with {data[:8].hex()}); only JPEG files store"
            " coefficients"
        )
    header = headers.parse_jpeg(data)
    reading.check_bounds(header.size, len(data))
    height, width = header.size
    if height * width > MAX_CODED_PIXELS:
        raise ImageError(
            f"JPEG of {height}x{width} pixels; jattr reads coefficients of up to {MAX_CODED_PIXELS}"
            " pixels"
        )
    if len(header.data) > MAX_CODED_BYTES:
        raise ImageError(
            f"JPEG of {len(header.data)} bytes; jattr reads coefficients of up to"
            f" {MAX_CODED_BYTES >> 20} MiB"
        )
    frame = decode_frame(header.data)
    tables = tuple(component.table for component in frame.components if component.table is not None)
    return JpegCoefficients(
        quantised=tuple(_needed_blocks(component) for component in frame.components),
        format=JpegFormat(tables, frame.sampling, frame.rgb),
        size=frame.size,
        progressive=frame.progressive,
        colour="grey" if len(frame.components) == 1 else "rgb" if frame.rgb else "ycc",
        orientation=header.orientation,
    )


def encode_jpeg(pixels: NDArray[np.uint8], format: JpegFormat, orientation: int = 1) -> bytes:
    """Return a baseline JPEG file with exactly the tables and sampling of `format`.

    The image is uint8 [H, W, 1 | 3]. It is stored turned so that `orientation`, 1 to 8, which its
    EXIF block states unless it is 1, shows it as given.
    """
    channels = len(format.tables)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != channels:
        raise ImageError(
            f"{pixels.dtype} {list(pixels.shape)} cannot be encoded in a format of {channels}"
            f" components; give uint8 [H, W, {channels}]"
        )
    if not all(1 <= side <= MAX_JPEG_SIDE for side in pixels.shape[:2]):
        raise ImageError(
            f"{pixels.shape[0]}x{pixels.shape[1]} pixels; JPEG holds 1 to {MAX_JPEG_SIDE} a side"
        )
    if not all(table.min() >= 1 and table.max() <= 255 for table in format.tables):
        raise ImageError(
            "quantiser steps outside 1 to 255, the legal ones of baseline JPEG: choose another"
            " format"
        )
    tables = (
        format.tables[:2]
        if channels == 3 and (format.tables[1] == format.tables[2]).all()
        else format.tables
    )
    stored = np.ascontiguousarray(as_stored(pixels, orientation))
    tags = Image.Exif()
    if orientation != 1:
        tags[ORIENTATION] = orientation
    subsampling = _subsampling(format)
    exif = tags if orientation != 1 else b""
    if subsampling in _PILLOWS:
        samples = stored[:, :, 0] if channels == 1 else stored
        return _saved(samples, tables, subsampling=subsampling, exif=exif, keep_rgb=format.rgb)
    # Each component as a greyscale image, then all of them in one scan.
    planes = component_planes(stored, format.sampling)
    parts = [
        read_coefficients(_saved(plane, [table])).quantised[0]
        for plane, table in zip(planes, format.tables, strict=True)
    ]
    header = _saved(stored, tables, subsampling="4:4:4", exif=exif)
    return write_scan(header, format.sampling, parts)


def _saved(
    samples: NDArray[np.uint8], tables: Sequence[NDArray[np.uint16]], **options: Any
) -> bytes:
    """Return Pillow's file of samples [H, W] or [H, W, 3], with these quantiser steps."""
    file = io.BytesIO()
    qtables = [table.reshape(-1).tolist() for table in tables]
    Image.fromarray(samples).save(file, "JPEG", qtables=qtables, **options)
    return file.getvalue()


def quality_format(quality: int, subsampling: str, channels: int) -> JpegFormat:
    """Return the format of libjpeg, hence of Pillow, at a quality of 1 to 100.

    Sampling is one of `SAMPLINGS`, or "rgb" for red, green and blue as they are; channels are 1 or
    3.

    >>> quality_format(75, "4:2:0", 3).tables[0][0, :4].tolist()
    [8, 6, 5, 8]
    """
    legal = (*SAMPLINGS, RGB) if channels == 3 else tuple(SAMPLINGS)
    if not 1 <= quality <= 100 or subsampling not in legal or channels not in (1, 3):
        raise ImageError(
            f"quality {quality}, subsampling {subsampling!r}, {channels} channels; legal are 1 to"
            f" 100, {', '.join((*SAMPLINGS, RGB))}, and 1 or 3: choose among them"
        )
    file, rgb = io.BytesIO(), subsampling == RGB
    Image.new("L" if channels == 1 else "RGB", (8, 8)).save(
        file, "JPEG", quality=quality, subsampling="4:4:4", keep_rgb=rgb
    )
    format = read_coefficients(file.getvalue()).format
    if channels == 1 or rgb:
        return format
    return dataclasses.replace(format, sampling=(SAMPLINGS[subsampling], (1, 1), (1, 1)))


def _needed_blocks(component: Component) -> NDArray[np.int16]:
    rows, columns = component.blocks
    return np.ascontiguousarray(component.coefficients[:rows, :columns]).reshape(
        rows, columns, 8, 8
    )


def _subsampling(format: JpegFormat) -> str:
    if len(format.tables) == 1:
        return "4:4:4"
    names = [name for name, luma in SAMPLINGS.items() if format.sampling == (luma, (1, 1), (1, 1))]
    if not names or (format.rgb and names != ["4:4:4"]):
        raise ImageError(
            f"sampling factors {format.sampling}; legal are {', '.join(SAMPLINGS)}: choose among"
            " them"
        )
    return names[0]
