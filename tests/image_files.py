"""Image files made in memory, for the tests that read them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3), np.uint8)
RGBA = RNG.integers(0, 256, (9, 7, 4), np.uint8)
GREY = RNG.integers(0, 256, (9, 7, 1), np.uint8)


def chunk(type_, body=b""):
    return struct.pack(">I", len(body)) + type_ + body + struct.pack(">I", zlib.crc32(type_ + body))


def png(rows, width, *, depth=8, colour_type=2, extra=b"", interlacing=0, height=None):
    """A PNG file of unfiltered rows, written without Pillow."""
    header = struct.pack(
        ">IIBBBBB", width, height or len(rows), depth, colour_type, 0, 0, interlacing
    )
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", data)
        + chunk(b"IEND")
    )


def encoded(pixels, kind, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
