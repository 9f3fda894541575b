"""Accused pictures as they come in: one check at the door."""

from typing import Any

import numpy as np

from jattr.errors import ImageError
from jattr.generators.base import Generator
from jattr.images import to_byte


def check_pixels(gen: Generator, images: Any) -> np.ndarray:
    """Return pictures as uint8 [n, H, W, C] of the generator's shape.

    Raises:
      ImageError: another shape or type, or values outside [-1, 1].
    """
    array = np.asarray(images)
    if array.shape[1:] != gen.image_shape or array.ndim != 4 or not len(array):
        raise ImageError(
            f"pictures have shape {array.shape}; generator {gen.name!r} makes [n, H, W, C] = {gen.image_shape}"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f" or not np.isfinite(array).all() or np.abs(array).max() > 1.0 + 1e-6:
        raise ImageError(f"pictures are {array.dtype}; they must be uint8, or floats in [-1, 1]")
    return to_byte(array)
