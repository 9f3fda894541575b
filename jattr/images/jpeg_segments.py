"""A JPEG file cut into its segments, and what its tables say.

ITU-T T.81, annex B; JFIF 1.02 and Adobe's TN 5116 (which segments name the colours).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jattr.errors import ImageError, UnreadableJpegError
from jattr.images.headers import AS_FIRST_SAVED, LOSSY_COPY
from jattr.images.jpeg_codes import ORDER

SCAN = 0xDA
_HUFFMAN, _QUANTISATION, _RESTARTS, _END, _APP0, _APP14 = 0xC4, 0xDB, 0xDD, 0xD9, 0xE0, 0xEE
_SCAN_END = re.compile(rb"\xff(?![\x00\xd0-\xd7])")


@dataclass(eq=False)
class Tables:
    """What DQT, DHT, DRI and the application segments have said so far."""

    quantisation: dict[int, NDArray[np.uint16]] = field(default_factory=dict)
    huffman: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # by class * 16 + slot
    interval: int = 0  # MCUs between restart markers; 0: no such markers
    is_jfif: bool = False
    transform: int | None = None  # of the Adobe segment


def damaged(what: str) -> UnreadableJpegError:
    """The error for a file that breaks the format's rules."""
    return UnreadableJpegError(f"damaged JPEG: {what}; fetch it again")


def refusal(actual: str, legal: str, *, kind: type[ImageError] = ImageError) -> ImageError:
    """The error for a legal file of a kind that is not read."""
    return kind(f"JPEG is {actual}; read are {legal}: {AS_FIRST_SAVED} ({LOSSY_COPY})")


def segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, body and the coded bytes that follow (of a scan; else none), up to the end marker."""
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":  # padding before a marker is legal
            at += 1
        head = data[at : at + 4]
        if head[:2] == bytes([0xFF, _END]):
            return
        if len(head) < 4:
            raise UnreadableJpegError("truncated JPEG: it has no end marker; fetch it again")
        if head[0] != 0xFF or head[1] in (0x00, 0x01, *range(0xD0, 0xD9)):
            raise damaged(f"no segment begins at byte {at} of those that are read")
        end = at + 2 + int.from_bytes(head[2:], "big")
        body = data[at + 4 : end]
        if end < at + 4 or end > len(data):
            raise UnreadableJpegError("truncated JPEG: a segment is cut off; fetch it again")
        at = end
        if head[1] == SCAN:
            match = _SCAN_END.search(data, at)
            at = match.start() if match else len(data)
        yield head[1], body, data[end:at]


def parse_table(marker: int, body: bytes, tables: Tables) -> None:
    """Add what a segment that is neither frame nor scan says to `tables`; raises ImageError."""
    if marker == _QUANTISATION:
        tables.quantisation.update(_quantisation_tables(body))
    elif marker == _HUFFMAN:
        tables.huffman.update(_huffman_codes(body))
    elif marker == _RESTARTS:
        tables.interval = int.from_bytes(body[:2], "big")
    elif marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        tables.is_jfif = True
    elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
        tables.transform = body[11]


def _quantisation_tables(body: bytes) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    at = 0
    while at < len(body):
        wide, slot = body[at] >> 4, body[at] & 15
        step = 128 if wide else 64
        if wide > 1 or slot > 3 or at + 1 + step > len(body):
            raise damaged("a quantisation table is cut off or illegal")
        table = np.empty(64, np.uint16)
        table[ORDER] = np.frombuffer(body, ">u2" if wide else np.uint8, 64, at + 1)
        if not table.all():
            raise damaged("a quantisation table has a zero, legal are steps of 1 and more")
        yield slot, table.reshape(8, 8)
        at += 1 + step


def _huffman_codes(body: bytes) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    at = 0
    while at < len(body):
        counts = body[at + 1 : at + 17]
        end = at + 17 + sum(counts)
        if body[at] & 0xEC or sum(counts) > 256 or end > len(body):
            raise damaged("a Huffman table is cut off or illegal")
        yield body[at], (counts, body[at + 17 : end])
        at = end
