"""The one place where bytes become floats in [-1, 1] and floats become bytes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jattr.errors import ImageError

BYTE_RULES = ("round", "truncate")
ValueRange: TypeAlias = tuple[float, float]
VALUE_RANGES: tuple[ValueRange, ...] = ((-1.0, 1.0), (0.0, 1.0))  # of floats that are images
ROUNDING = 1e-6  # beyond a range, of floats that were computed


def bytes_advice(dtype: np.dtype) -> str:
    """Return how images of a type become bytes, for messages of what takes bytes alone."""
    if dtype.kind != "f":
        return ""
    return (
        "; of floats in [0, 1] give np.round(255 * images).astype(np.uint8), of floats in [-1, 1]"
        " jattr.images.to_byte(images)"
    )


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


def as_bytes(images: object, value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Return images of any shape, uint8 or floats, as bytes; floats are rounded.

    Args:
      images: uint8, or floats of 16 bits or more.
      value_range: of floats, (-1, 1) or (0, 1). None: they are in [-1, 1], of which one must be
        negative: images of other programs are often in [0, 1], and would be taken for pale ones.

    Raises:
      ImageError: another type, values that are not finite or beyond the range, or without a
        negative one, or a range of bytes.

    >>> as_bytes(np.float32([0.0, 1.0]), (0, 1)).tolist(), as_bytes(np.float32([-1, 1])).tolist()
    ([0, 255], [0, 255])
    """
    array = as_array(images)
    if array.dtype == np.uint8:
        check_value_range(value_range, floats=False)
        return array.view(np.uint8)
    return to_byte(to_units(array, value_range))


def as_array(images: object) -> NDArray[np.generic]:
    """Return images as one array.

    Raises:
      ImageError: they are none.
    """
    try:
        array = np.asarray(images)
    except Exception as error:  # of any library whose arrays NumPy cannot read
        reason = str(error).partition("\n")[0]
        raise ImageError(
            f"images of type {type(images).__name__} cannot be made one array ({reason}); give a"
            " NumPy array, uint8 or floats in [-1, 1]"
        ) from error
    if array.dtype == object:
        raise ImageError(
            f"images of type {type(images).__name__} are of different shapes, or no numbers; give"
            " one array, uint8 or floats in [-1, 1]"
        )
    return array


def to_units(values: NDArray[np.generic], value_range: ValueRange | None = None) -> NDArray:
    """Return floats of any shape in [-1, 1] units, checked as `as_bytes` does.

    Raises:
      ImageError: as there.
    """
    scale = check_value_range(value_range, floats=True)
    check_dtype(values.dtype)
    if not values.size:
        raise ImageError(f"images have shape {values.shape}; give at least one image")
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise ImageError(
            f"images are {values.dtype} with {np.count_nonzero(~np.isfinite(values))} values that"
            " are NaN or infinite; they are finite, in [-1, 1]: look for what made them so"
        )
    span = f"images are {values.dtype} from {low:.4g} to {high:.4g}"
    least, most = (-1.0, 1.0) if scale is None else scale
    if low < least - ROUNDING or high > most + ROUNDING:
        advice = "clip them as they were when they were saved: np.clip(images, -1, 1)"
        if low >= 0 and 2 < high <= 255:
            advice = "of values from 0 to 255 give images.astype(np.uint8)"
        elif least == 0:
            advice = "say value_range=(-1, 1) where they are in [-1, 1]"
        raise ImageError(f"{span}; legal are uint8, or floats in [{least:g}, {most:g}]; {advice}")
    if scale is None and low >= 0:
        raise ImageError(
            f"{span}, none of them negative, and floats are taken to be in [-1, 1]; if they are in"
            " [0, 1], say value_range=(0, 1), or give 2 * images - 1, or uint8; if they are indeed"
            " in [-1, 1], say value_range=(-1, 1)"
        )
    return values * 2 - 1 if least == 0 else values


def check_dtype(dtype: np.dtype) -> None:
    """Check the type of images that are not bytes.

    Raises:
      ImageError: they are no floats of 16 bits or more with levels as fine as bytes.
    """
    if dtype.kind == "f" and dtype.itemsize >= 2:
        return
    advice = "convert them"
    if dtype.kind in "iu":
        advice = "of values from 0 to 255 give images.astype(np.uint8)"
    elif dtype.kind == "V":  # bfloat16 and smaller ones
        advice = "levels of this type are coarser than bytes: give them in float32, as computed"
    raise ImageError(f"images are {dtype}; legal are uint8, or floats in [-1, 1]; {advice}")


def check_value_range(value_range: object, *, floats: bool) -> ValueRange | None:
    """Return a range of values as it is.

    Raises:
      ImageError: it is none, or the images are no floats.
    """
    if value_range is None:
        return None
    if not isinstance(value_range, (tuple, list)) or tuple(value_range) not in VALUE_RANGES:
        raise ImageError(
            f"value_range is {value_range!r}; it is (-1, 1) or (0, 1), of floats, or None"
        )
    if not floats:
        raise ImageError(
            f"value_range is {tuple(value_range)} and the images are no floats, so it has no"
            " effect; leave it away"
        )
    return VALUE_RANGES[VALUE_RANGES.index(tuple(value_range))]
