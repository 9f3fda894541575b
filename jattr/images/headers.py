"""What an image file says about itself, read before any pixel is decoded.

Each parser also drops what the decoder has no need of (text, profiles, EXIF): these are where a
small file can make a decoder spend unbounded memory, and no rule of jattr uses them beyond what
`Header` records.
JPEG: ITU-T T.81, annex B. WebP: RFC 9649. EXIF: CIPA DC-008, TIFF 6.0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from jattr.errors import ImageError, UnreadableJpegError
from jattr.images.colour import is_srgb_profile

# More scans than any encoder writes; each one costs a pass over all pixels however few bytes it
# has.
MAX_JPEG_SCANS = 64
MAX_JPEG_SEGMENTS = 4096
MAX_WEBP_CHUNKS = 64  # before the image: profile, alpha

# What settles a question that this file cannot, and what does not: see docs/images.md.
AS_FIRST_SAVED = "give the file as it was first saved"
LOSSY_COPY = 'a PNG made of this one keeps its losses, and no "none" can rest on it'

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
_DROPPED = frozenset(
    {*range(0xE1, 0xEE), 0xEF, 0xFE}
)  # APP1..APP13, APP15, comments; APP0 and APP14 choose the colours


@dataclass(frozen=True)
class Header:
    """An image file as described by its own header."""

    kind: str  # "PNG", "JPEG" or "WebP"
    size: tuple[int, int]  # height, width
    data: bytes  # the file without what the decoder has no need of
    orientation: int = 1  # EXIF orientation, 1..8
    srgb: bool = True  # no colour profile, gamma or primaries are stored but sRGB's
    colour_type: int = -1  # PNG only: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA
    depth: int = 8  # PNG only: bits per sample, 1, 2, 4 or 8
    palette: bytes = b""  # PNG only: RGB triples
    transparency: bytes = b""  # PNG only: the tRNS chunk
    significant: bytes = b""  # PNG only: the sBIT chunk, bits a channel that are the image's


# How files begin that are not read, by what they are: (offset, bytes, name).
_LOSSY = (
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    *((8, brand, "AVIF") for brand in (b"avif", b"avis")),
    *((8, brand, "HEIF") for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1")),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"%PDF", "PDF"),
)
_LOSSLESS = (
    (0, b"BM", "BMP"),
    (0, b"qoif", "QOI"),
    *((0, b"P%d" % kind, "PNM") for kind in range(1, 7)),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
)


def unread(data: bytes) -> str:
    """Return what is to be said of a file of a format that is not read."""
    for at, magic, name in _LOSSY:
        if data.startswith(magic, at):
            return (
                f"{name} is not read, only PNG, JPEG and WebP: {AS_FIRST_SAVED} before it became"
                f" {name} ({LOSSY_COPY})"
            )
    for at, magic, name in _LOSSLESS:
        if data.startswith(magic, at):
            return (
                f"{name} is not read, only PNG, JPEG and WebP: {AS_FIRST_SAVED}, or, where this is"
                " it and it was saved without loss, the same samples as PNG"
            )
    return (
        f"not a PNG, JPEG or WebP image (it begins with {data[:8].hex()}); {AS_FIRST_SAVED}, if"
        " it was one of these"
    )


def exif_orientation(block: bytes) -> int:
    """The orientation, 1..8, stored in an EXIF block; 1 where it is absent or illegal."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return 1
    (count,) = struct.unpack_from(order + "H", block, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, type_, _, value = struct.unpack_from(order + "HHIH", block, at)
        if tag == 0x0112:
            return value if type_ == 3 and 1 <= value <= 8 else 1
    return 1


def parse_jpeg(data: bytes) -> Header:
    """The header of a JPEG file up to its first scan; raises ImageError for what jattr refuses."""
    view = memoryview(data)
    parts: list[memoryview] = [view[:2]]
    size, orientation, srgb = None, None, True
    at = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        marker, body, end = _jpeg_segment(view, at)
        if marker in _START_OF_FRAME:
            if size is not None:
                raise UnreadableJpegError("damaged JPEG: it has two frame headers")
            size = _jpeg_size(body)
        if marker == 0xE1 and bytes(body[:6]) == b"Exif\0\0" and orientation is None:
            orientation = exif_orientation(bytes(body))
        if marker == 0xE2 and bytes(body[:12]) == b"ICC_PROFILE\0":
            # whole in one segment
            srgb &= bytes(body[12:14]) == b"\1\1" and is_srgb_profile(bytes(body[14:]))
        if marker == 0xDA:
            break
        if marker not in _DROPPED:
            parts.append(view[at:end])
        at = end
    else:
        raise ImageError(
            f"JPEG with more than {MAX_JPEG_SEGMENTS} segments in its header; {AS_FIRST_SAVED}"
        )
    if size is None:
        raise UnreadableJpegError("damaged JPEG: its first scan comes before a frame header")
    if data.count(b"\xff\xda", at) > MAX_JPEG_SCANS:
        raise ImageError(f"JPEG with more than {MAX_JPEG_SCANS} scans; {AS_FIRST_SAVED}")
    return Header("JPEG", size, b"".join([*parts, view[at:]]), orientation or 1, srgb)


def _jpeg_segment(view: memoryview, at: int) -> tuple[int, memoryview, int]:
    """Marker, body and end of the segment at `at`."""
    if at + 4 > len(view):
        raise UnreadableJpegError("truncated JPEG: it ends before its first scan")
    if view[at] != 0xFF:
        raise UnreadableJpegError(f"damaged JPEG: no marker at byte {at}")
    if view[at + 1] == 0xFF:  # padding before a marker is legal
        return 0xFE, view[at:at], at + 1
    if view[at + 1] in _WITHOUT_LENGTH:
        raise UnreadableJpegError(f"damaged JPEG: marker {view[at + 1]:#04x} in its header")
    end = at + 2 + int.from_bytes(view[at + 2 : at + 4], "big")
    if end < at + 4 or end > len(view):
        raise UnreadableJpegError("truncated JPEG: it ends before its first scan")
    return view[at + 1], view[at + 4 : end], end


def _jpeg_size(body: memoryview) -> tuple[int, int]:
    if len(body) < 6:
        raise UnreadableJpegError("damaged JPEG: its frame header is too short")
    depth, height, width, components = struct.unpack_from(">BHHB", body)
    if depth != 8:
        raise UnreadableJpegError(
            f"JPEG with {depth} bits per sample; jattr reads 8: {AS_FIRST_SAVED} ({LOSSY_COPY})"
        )
    if components not in (1, 3):
        hint = " (CMYK or YCCK)" if components == 4 else ""
        raise UnreadableJpegError(
            f"JPEG with {components} components{hint}; read are 1 (grey) and 3 (colour):"
            f" {AS_FIRST_SAVED} ({LOSSY_COPY})"
        )
    return height, width


def parse_webp(data: bytes) -> Header:
    """Return the canvas size of a WebP file; its decoder tells profile, orientation and frames."""
    if len(data) < 30:
        raise ImageError("truncated WebP: it ends within its header")
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageError("damaged WebP: its first chunk holds no image size")
    return Header("WebP", (height, width), data)


def is_lossless_webp(data: bytes) -> bool:
    """Return whether a WebP file's still image is coded without loss, whatever stands before it."""
    at = 12
    for _ in range(MAX_WEBP_CHUNKS):
        kind = data[at : at + 4]
        if kind in (b"VP8L", b"VP8 ", b""):
            return kind == b"VP8L"
        at += 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1) // 2 * 2
    return False
