"""The one place where bytes become floats in [-1, 1] and floats become bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jattr.errors import ImageError

BYTE_RULES = ("round", "truncate")


def to_float(bytes_: ArrayLike) -> NDArray[np.float32]:
    """Bytes as float32 in [-1, 1]: v / 127.5 - 1, in float32 arithmetic.

    Raises ImageError when the values are not uint8.

    >>> to_float(np.array([0, 255], np.uint8)).tolist()
    [-1.0, 1.0]
    """
    values = np.asarray(bytes_)
    if values.dtype != np.uint8:
        raise ImageError(
            f"got image bytes of type {values.dtype}; they must be uint8: convert with to_byte"
        )
    return values.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_byte(x: ArrayLike, *, rule: str = "round") -> NDArray[np.uint8]:
    """Floats in [-1, 1] as bytes, any shape; what lies outside is clipped first.

    `round` is floor((x + 1) * 127.5 + 0.5); `truncate` is floor((x + 1) * 127.5), what the common
    `(x01 * 255).astype(uint8)` does to x01 = (x + 1) / 2: the two agree to the last bit because
    127.5 is half of 255. Raises ImageError for an unknown rule, values that are not floats, and
    NaN.

    >>> to_byte(np.float32([-2, -1, 0, 1])).tolist()
    [0, 0, 128, 255]
    >>> to_byte(np.float32([0]), rule="truncate").tolist()
    [127]
    """
    if rule not in BYTE_RULES:
        raise ImageError(f"got rounding rule {rule!r}; legal are {', '.join(BYTE_RULES)}")
    values = np.asarray(x)
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(f"got image values of type {values.dtype}; they must be floats in [-1, 1]")
    values = values.astype(np.float32)
    if np.isnan(values).any():
        raise ImageError(
            "got NaN among the image values; they must be numbers: look for what made them NaN"
        )
    scaled = (np.clip(values, -1, 1) + np.float32(1)) * np.float32(127.5)
    half = np.float32(0.5 if rule == "round" else 0.0)
    return np.floor(scaled + half).astype(np.uint8)
