"""PNG files: chunks checked before decoding; samples by palette, depth and transparency.

PNG specification, third edition: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from jattr.errors import ImageError
from jattr.images.colour import is_srgb_png
from jattr.images.headers import AS_FIRST_SAVED, Header, exif_orientation

# Encoders write chunks of 8 KiB and more; millions of empty ones would cost far more memory than
# the file has bytes.
MAX_CHUNKS = 65536

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples per pixel
_DEPTHS = {0: (1, 2, 4, 8), 2: (8,), 3: (1, 2, 4, 8), 4: (8,), 6: (8,)}
_DECODED = (b"IHDR", b"IDAT", b"IEND")
_DESCRIBING = frozenset({b"iCCP", b"gAMA", b"cHRM", b"cICP", b"PLTE", b"tRNS", b"sBIT", b"eXIf"})
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def parse_png(data: bytes) -> Header:
    """The header of a PNG file, every checksum that matters checked.

    Raises ImageError for what jattr refuses. `Header.data` keeps IHDR, IDAT and IEND only.
    """
    view = memoryview(data)
    chunks: list[memoryview] = [view[:8]]
    bodies: dict[bytes, bytes] = {}  # the first of each type that says something about the image
    for type_, body, whole in _chunks(view):
        if (type_ == b"IHDR") != (len(chunks) == 1):
            raise ImageError(f"damaged PNG: chunk {type_!r} where IHDR belongs, or IHDR twice")
        if type_ == b"fdAT":
            raise ImageError(f"animated PNG; jattr reads still images: {AS_FIRST_SAVED}")
        if type_ in _DECODED:
            chunks.append(whole)
        if type_ in _DESCRIBING and type_ not in bodies:
            bodies[type_] = bytes(body)
    if len(chunks) < 4:
        raise ImageError("damaged PNG: it holds no image data")
    width, height, depth, colour_type, _ = _ihdr(bytes(chunks[1][8:-4]))
    return Header(
        "PNG",
        (height, width),
        b"".join(chunks),
        exif_orientation(bodies.get(b"eXIf", b"")),
        is_srgb_png(bodies),
        colour_type,
        depth,
        bodies.get(b"PLTE", b""),
        bodies.get(b"tRNS", b""),
        bodies.get(b"sBIT", b""),
    )


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Type, body and whole of each chunk up to IEND."""
    at = 8
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(view):
            raise ImageError("truncated PNG: it ends before its IEND chunk")
        length, type_ = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view):
            raise ImageError(
                f"truncated or damaged PNG: chunk {type_!r} reaches past the end of the file"
            )
        is_critical = not type_[0] & 0x20
        if is_critical and type_ not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            raise ImageError(
                f"damaged PNG, or an extension of it: critical chunk {type_!r} is unknown"
            )
        is_checked = is_critical or type_ == b"tRNS"  # the others do not change a sample
        if is_checked and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end], "big"
        ):
            raise ImageError(
                f"damaged PNG: wrong checksum in chunk {type_!r}; fetch the file again"
            )
        yield type_, view[at + 8 : end - 4], view[at:end]
        if type_ == b"IEND":
            return
        at = end
    raise ImageError(f"PNG of more than {MAX_CHUNKS} chunks; {AS_FIRST_SAVED}")


def _ihdr(body: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, depth, colour type, interlacing."""
    if len(body) != 13:
        raise ImageError("damaged PNG: its IHDR chunk is not 13 bytes long")
    width, height, depth, colour_type, compression, filter_, interlacing = struct.unpack(
        ">IIBBBBB", body
    )
    if depth == 16:
        raise ImageError(
            f"PNG with 16 bits per sample; jattr reads up to 8: {AS_FIRST_SAVED}, with 8 bits"
        )
    if depth not in _DEPTHS.get(colour_type, ()) or compression or filter_ or interlacing > 1:
        raise ImageError(
            f"damaged PNG: its IHDR chunk is illegal (colour type {colour_type}, depth {depth})"
        )
    return width, height, depth, colour_type, interlacing


def reduced_colours(header: Header) -> str:
    """Return how a file says that its colours were reduced, as a noun; "" where it does not.

    A generator writes 8 bits a sample. A palette holds at most 256 colours, fewer bits have fewer
    levels, and sBIT states how many bits of a sample are the image's.
    """
    if header.colour_type == 3:
        count = len(header.palette) // 3
        return f"a palette of {count} colour{'s' * (count != 1)}"
    bits = min((header.depth, *(bit for bit in header.significant[:4] if bit)))
    return f"{bits} bit{'s' * (bits != 1)} a sample" if bits < 8 else ""


def check_complete(header: Header) -> None:
    """Raise ImageError unless the compressed stream holds every row.

    The decoder would leave missing rows black.
    """
    width, height, depth, colour_type, interlacing = _ihdr(header.data[16:29])
    expected = 0
    for x, y, across, down in _ADAM7 if interlacing else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // across), -((y - height) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * depth * _CHANNELS[colour_type] + 7) // 8)
    stream, count = zlib.decompressobj(), 0
    for type_, body, _ in _chunks(memoryview(header.data)):
        rest: bytes | memoryview = body if type_ == b"IDAT" else b""
        while rest and count < expected:
            count += len(stream.decompress(rest, 1 << 16))
            rest = stream.unconsumed_tail
    if count < expected and count + len(stream.flush()) < expected:
        raise ImageError("damaged PNG: its data ends before the last row")


def expand(samples: NDArray[np.uint8], header: Header) -> NDArray[np.uint8]:
    """Return the decoder's samples [H, W, 1 | 2 | 3 | 4] as [H, W, 1 | 3 | 4].

    Palette and alpha are resolved.
    """
    if header.colour_type == 3:
        return _palette_table(header, int(samples.max()))[samples[..., 0]]
    if header.colour_type == 4:
        return samples[..., [0, 0, 0, 1]]
    if header.colour_type == 6 or not header.transparency:
        return samples
    channels = samples.shape[-1]
    if len(header.transparency) != 2 * channels:
        raise ImageError("damaged PNG: its tRNS chunk does not fit its colour type")
    # The key is stored at the file's own depth; the decoder has already scaled the samples to
    # 0..255.
    key = np.array(struct.unpack(f">{channels}H", header.transparency)) * (
        255 // (2**header.depth - 1)
    )
    alpha = np.where((samples == key).all(-1, keepdims=True), 0, 255).astype(np.uint8)
    return np.concatenate([np.broadcast_to(samples, (*samples.shape[:2], 3)), alpha], -1)


def _palette_table(header: Header, largest: int) -> NDArray[np.uint8]:
    """The palette, [entries, 3], or [entries, 4] where the file stores transparency."""
    if len(header.palette) % 3 or largest >= len(header.palette) // 3:
        raise ImageError(
            f"damaged PNG: it uses colour {largest} of a palette of {len(header.palette) // 3}"
        )
    table = np.frombuffer(header.palette, np.uint8).reshape(-1, 3)
    if not header.transparency:
        return table
    alpha = np.full((len(table), 1), 255, np.uint8)
    stored = np.frombuffer(header.transparency, np.uint8)[: len(table)]
    alpha[: len(stored), 0] = stored
    return np.concatenate([table, alpha], -1)
