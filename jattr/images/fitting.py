"""An image in a generator's shape: channels by stated rules, size only when asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jattr.errors import ImageError

CHANNELS = {1: "greyscale", 3: "RGB", 4: "RGBA"}


def fit(
    pixels: NDArray[np.uint8], image_shape: tuple[int, int, int], *, resize: bool = False
) -> NDArray[np.uint8]:
    """Pixels [h, w, 1 | 3 | 4] as [H, W, C] = image_shape; exact where nothing has to change.

    A size that differs is resized by Lanczos when `resize` is set. Raises ImageError when it is not
    set, and for arrays and shapes that are not images.
    """
    height, width, channels = image_shape
    check_size(pixels, (height, width), resize=resize)
    return resized(with_channels(pixels, channels), (height, width))


def shape_advice(shape: tuple[int, ...], image_shape: tuple[int, int, int]) -> str:
    """Return what to do with images of a shape where [n, H, W, C] is wanted; "" if unknown.

    >>> shape_advice((3, 32, 32), (32, 32, 3))
    '; channels come last: np.moveaxis(images, -3, -1)[None]'
    """
    height, width, channels = image_shape
    batch = "[None]" if len(shape) == 3 else ""
    if shape == image_shape:
        return "; of one image give image[None]"
    if len(shape) in (3, 4) and shape[-3:] == (channels, height, width):
        return f"; channels come last: np.moveaxis(images, -3, -1){batch}"
    if channels == 1 and shape[-2:] == (height, width) and len(shape) in (2, 3):
        return f"; channels come last: images[..., None]{'[None]' if len(shape) == 2 else ''}"
    if len(shape) == 4 and shape[1:3] == (height, width) and shape[3] in CHANNELS:
        return f"; {CHANNELS[shape[3]]} was given, {CHANNELS.get(channels, channels)} is wanted"
    return ""


def fit_notes(pixels: NDArray[np.uint8], image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """What `fit` changes beyond copying samples, one sentence for each."""
    notes = list(channel_notes(pixels, image_shape[2]))
    if pixels.shape[:2] != tuple(image_shape[:2]):
        notes.append(
            f"resized from {_size_text(pixels.shape)} to {_size_text(image_shape)} by Lanczos"
        )
    return tuple(notes)


def check_pixels(pixels: NDArray[np.uint8]) -> None:
    """Raise ImageError unless `pixels` is an image: uint8, [H, W, 1 | 3 | 4], not empty."""
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] not in CHANNELS
        or not pixels.size
    ):
        raise ImageError(
            f"got an array of shape {pixels.shape} and type {pixels.dtype}; legal is uint8 [H, W,"
            " 1|3|4]"
        )


def check_size(pixels: NDArray[np.uint8], size: tuple[int, int], *, resize: bool) -> None:
    """Raise ImageError when `pixels` is not of `size` (H, W) and may not be resized."""
    if pixels.shape[:2] == tuple(size) or resize:
        return
    raise ImageError(
        f"the image is {_size_text(pixels.shape)} pixels (height x width), not {_size_text(size)};"
        " give the image as it was generated, or pass --resize (resize=True)"
    )


def with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Pixels with 1, 3 or 4 channels, by the rules of docs/images.md."""
    check_pixels(pixels)
    if channels not in CHANNELS:
        raise ImageError(
            f"{channels} channels were asked for; legal are 1 (greyscale), 3 (RGB) and 4 (RGBA)"
        )
    if pixels.shape[2] == channels:
        return pixels
    if channels == 4:
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        return np.concatenate([with_channels(pixels, 3), opaque], -1)
    if pixels.shape[2] == 4:
        return with_channels(_over_white(pixels), channels)
    if channels == 3:
        return np.repeat(pixels, 3, -1)
    if is_grey(pixels):
        return np.ascontiguousarray(pixels[..., :1])
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def channel_notes(pixels: NDArray[np.uint8], channels: int) -> tuple[str, ...]:
    """What `with_channels` changes beyond copying samples."""
    notes = []
    if pixels.shape[2] == 4 and channels < 4 and not is_opaque(pixels):
        notes.append("transparent pixels composited over white")
    if channels == 1 and not is_grey(with_channels(pixels, 3)):
        notes.append("colours reduced to grey by Rec. 601 luma")
    return tuple(notes)


def resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pixels at `size` (H, W) by Pillow's Lanczos filter.

    Colours are weighted by alpha where there is one.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    height, width = size
    if height < 1 or width < 1:
        raise ImageError(f"size {_size_text(size)} was asked for; it must be at least 1x1")
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    result = np.array(image.resize((width, height), Image.Resampling.LANCZOS))
    return result.reshape(height, width, pixels.shape[2])


def _over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA over white as RGB, rounded to nearest; opaque pixels keep their bytes exactly."""
    if is_opaque(pixels):
        return np.ascontiguousarray(pixels[..., :3])
    colour, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    # At most 255 * 255 + 127 = 65152, which uint16 holds.
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def is_opaque(pixels: NDArray[np.uint8]) -> bool:
    """Whether RGBA pixels [H, W, 4] hide everything behind them."""
    return bool((pixels[..., 3] == 255).all())


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels [H, W, 1 | 3] have no colours."""
    return bool((pixels[..., :1] == pixels[..., 1:]).all())


def _size_text(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
