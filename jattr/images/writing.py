"""Images to PNG files: lossless, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jattr.errors import OutputError
from jattr.images.fitting import check_pixels

MAX_WEBP = 16_383  # pixels of a side, by the format


def write_png(path: str | os.PathLike[str], pixels: NDArray[np.uint8]) -> None:
    """Write pixels, uint8 [H, W, 1 | 3 | 4], as a lossless PNG.

    A file at `path` is replaced in one step. Raises ImageError for arrays that are not images,
    OutputError when the file cannot be written; then no part of it is left behind.
    """
    encoded = encode_png(pixels)
    target = Path(path)
    sibling = target.parent / f".jattr-{uuid.uuid4().hex}.tmp"
    try:
        with sibling.open("xb") as file:
            file.write(encoded)
        sibling.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError, ValueError):
            sibling.unlink()
        if not isinstance(error, (OSError, ValueError)):  # ValueError: a NUL byte in the name
            raise
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot write image {os.fspath(path)!r}: {reason}; choose another place"
        ) from error


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels, uint8 [H, W, 1 | 3 | 4], as a lossless PNG.

    Raises ImageError for arrays that are not images.
    """
    check_pixels(pixels)
    encoded = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(encoded, "PNG")
    return encoded.getvalue()


def lossless_bits(pixels: NDArray[np.uint8]) -> int:
    """Return the size of an image, uint8 [H, W, C], as a file without loss.

    As WebP, or as PNG beyond the sizes of that; channels that are no colours follow each other.
    """
    flat = pixels if pixels.shape[2] == 3 else np.concatenate(np.moveaxis(pixels, 2, 0))
    encoded = io.BytesIO()
    if max(flat.shape[:2]) <= MAX_WEBP:
        Image.fromarray(flat).save(encoded, "WEBP", lossless=True, quality=100, method=4)
    else:
        Image.fromarray(flat).save(encoded, "PNG", optimize=True)
    return 8 * len(encoded.getvalue())
