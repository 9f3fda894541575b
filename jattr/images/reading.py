"""Image files to exact bytes: PNG, JPEG and WebP, by content; every refusal is one ImageError."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from jattr.errors import ImageError
from jattr.images import fitting, png
from jattr.images.colour import is_srgb_profile
from jattr.images.headers import (
    AS_FIRST_SAVED,
    Header,
    exif_orientation,
    is_lossless_webp,
    parse_jpeg,
    parse_webp,
    unread,
)
from jattr.images.orientation import upright

MAX_PIXELS = 4096 * 4096
MAX_FILE_BYTES = 80 * 2**20  # an incompressible RGBA image of MAX_PIXELS, with room for metadata
# An image of up to FREE_PIXELS may compress as far as it likes: decoding costs at most about 20
# bytes a pixel (WebP), hence 40 MiB. A larger one must have a byte for every MAX_PIXELS_PER_BYTE
# pixels, so memory follows the file's size.
FREE_PIXELS = 2**21
MAX_PIXELS_PER_BYTE = 16

_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    # Named, not found by Image.open: that would also try the multi-image form of JPEG and parse its
    # tables.
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
}


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the bytes of an image file hold."""

    pixels: NDArray[np.uint8]  # [H, W, 1 | 3 | 4], upright
    notes: tuple[str, ...]  # what was ignored or changed on the way, one sentence each
    compressed: bool  # with loss
    jpeg: bool  # the file is a JPEG
    orientation: int  # EXIF's, by which the pixels were turned upright; 1: they are as stored
    srgb: bool  # no colours but sRGB's are stated
    reduced: str = ""  # how the file says that its colours were reduced, as a noun; "": it does not


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image as its file stores it, or as fitted to a generator."""

    path: str  # as given by the user
    pixels: NDArray[np.uint8]  # [H, W, C], C = 1 greyscale, 3 RGB, 4 straight-alpha RGBA
    sha256: str  # hexadecimal, of the file's bytes
    notes: tuple[str, ...] = ()  # what was ignored or changed on the way, one sentence each
    compressed: bool = False  # with loss: the pixels are not those that were saved
    jpeg: bool = False  # the file is a JPEG
    orientation: int = 1  # EXIF's, by which `pixels` were turned upright
    srgb: bool = True  # no colours but sRGB's are stated; other ones were ignored
    reduced: str = ""  # how the file says that its colours were reduced, as a noun; "": it does not

    def fit(self, image_shape: tuple[int, int, int], *, resize: bool = False) -> LoadedImage:
        """The same image in a generator's shape (H, W, C), with notes of what was changed.

        Raises ImageError as `fit`.
        """
        try:
            pixels = fitting.fit(self.pixels, image_shape, resize=resize)
        except ImageError as error:
            raise ImageError(f"{self.path!r}: {error}") from None
        notes = self.notes + fitting.fit_notes(self.pixels, image_shape)
        return dataclasses.replace(self, pixels=pixels, notes=notes)


def load_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Decode a PNG, JPEG or WebP file once, in its own size and kind.

    `LoadedImage.fit` gives each generator's form of it. Raises ImageError, and nothing else,
    whatever the bytes of the file are.
    """
    name = os.fspath(path)
    data = read_bytes(name)
    try:
        decoded = decode(data)
    except ImageError as error:
        raise ImageError(f"{name!r}: {error}") from None
    sha256 = hashlib.sha256(data).hexdigest()
    return LoadedImage(path=name, sha256=sha256, **vars(decoded))


def read_image(
    path: str | os.PathLike[str],
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    resize: bool = False,
) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 [H, W, C], by the rules of docs/images.md.

    `channels`: 1 greyscale, 3 RGB, 4 straight-alpha RGBA, None the file's own kind.
    `size`: (H, W), None the file's own. Raises ImageError for files and sizes that jattr refuses.
    """
    image = load_image(path)
    height, width, own = image.pixels.shape
    height, width = (height, width) if size is None else size
    return image.fit((height, width, own if channels is None else channels), resize=resize).pixels


def decode(data: bytes) -> Decoded:
    """What a PNG, JPEG or WebP file's bytes hold; raises ImageError, and nothing else."""
    try:
        return _decode(data)
    except ImageError:
        raise
    except Exception as error:  # a decoder given hostile bytes fails with errors of many types
        reason = " ".join(str(error).split())[:120]
        raise ImageError(
            f"damaged or truncated image ({reason or type(error).__name__}); fetch it again"
        ) from error


def read_bytes(name: str) -> bytes:
    """The bytes of an image file.

    Raises ImageError for what is no ordinary file, too large or empty.
    """
    try:
        status = os.stat(name)
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
            with open(name, "rb") as file:
                data = file.read(status.st_size)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot read image {name!r}: {reason}") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe or device may never end
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not an ordinary file"
        raise ImageError(f"{name!r} is {what}; give a PNG, JPEG or WebP image")
    if status.st_size > MAX_FILE_BYTES:
        raise ImageError(
            f"{name!r} is larger than {MAX_FILE_BYTES >> 20} MiB, the most jattr reads;"
            f" {AS_FIRST_SAVED}"
        )
    if not data:
        raise ImageError(f"{name!r} is empty; give a PNG, JPEG or WebP image")
    return data


def _decode(data: bytes) -> Decoded:
    header = _parse(data)
    check_bounds(header.size, len(data))
    if header.kind == "PNG":
        png.check_complete(header)
    with _OPENERS[header.kind](io.BytesIO(header.data)) as image:
        if (image.height, image.width) != header.size:
            raise ImageError(f"damaged {header.kind}: it states two sizes")
        if getattr(image, "n_frames", 1) > 1:
            raise ImageError(f"animated {header.kind}; jattr reads still images: {AS_FIRST_SAVED}")
        image.load()
        samples = np.array(image.convert("L") if image.mode == "1" else image)
        exif, profile = image.info.get("exif", b""), image.info.get("icc_profile")
    samples = samples.reshape(*header.size, -1)
    pixels = png.expand(samples, header) if header.kind == "PNG" else samples
    orientation = exif_orientation(exif) if header.kind == "WebP" else header.orientation
    srgb = header.srgb and (header.kind != "WebP" or not profile or is_srgb_profile(profile))
    exact = header.kind == "PNG" or (header.kind == "WebP" and is_lossless_webp(data))
    shown = np.ascontiguousarray(upright(pixels, orientation))
    return Decoded(
        pixels=shown,
        notes=_notes(srgb, orientation),
        compressed=not exact,
        jpeg=header.kind == "JPEG",
        orientation=orientation,
        srgb=srgb,
        reduced=png.reduced_colours(header) if header.kind == "PNG" else "",
    )


def _parse(data: bytes) -> Header:
    if data.startswith(png.SIGNATURE):
        return png.parse_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return parse_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return parse_webp(data)
    raise ImageError(unread(data))


def check_bounds(size: tuple[int, int], file_bytes: int) -> None:
    """Raise ImageError for sizes no image has, before memory is taken for them."""
    height, width = size
    if height < 1 or width < 1:
        raise ImageError(f"damaged image: its size is {height}x{width}")
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"the image is {height}x{width}; the most jattr decodes is {MAX_PIXELS} pixels:"
            f" {AS_FIRST_SAVED}"
        )
    if height * width > max(FREE_PIXELS, MAX_PIXELS_PER_BYTE * file_bytes):
        raise ImageError(
            f"{file_bytes} bytes claim {height}x{width} pixels; above {FREE_PIXELS} pixels a file"
            f" needs a byte for every {MAX_PIXELS_PER_BYTE}: {AS_FIRST_SAVED}"
        )


def _notes(srgb: bool, orientation: int) -> tuple[str, ...]:
    notes = []
    if not srgb:
        notes.append("embedded colour profile or gamma ignored: samples are used as stored")
    if orientation != 1:
        notes.append(f"turned upright as EXIF orientation {orientation} says")
    return tuple(notes)
