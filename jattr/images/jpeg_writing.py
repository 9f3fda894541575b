"""Baseline JPEG files in samplings that Pillow does not write: 4:4:0, 4:1:1, 4:1:0.

Every block goes through Pillow's own encoder, as a greyscale image; the steps before, from RGB to
averaged chroma, are libjpeg's in integers (jccolor.c, jcprepct.c and jcsample.c of libjpeg 6b), and
the scan is coded here (ITU-T T.81, F.1.2) with the Huffman tables that Pillow writes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from jattr.images.jpeg_codes import ORDER
from jattr.images.jpeg_segments import SCAN, Tables, parse_table, segments

Block = tuple[int, list[int]]  # the component's index, and coefficients in zigzag order
Codes = dict[int, str]  # of one Huffman table: symbol -> bits

FRAME = 0xC0  # baseline
_HALF = 1 << 15  # of the 16 fractional bits of the weights
# from RGB to luma, blue and red chroma, 16 fractional bits
_WEIGHTS = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))


def component_planes(
    pixels: NDArray[np.uint8], sampling: tuple[tuple[int, int], ...]
) -> list[NDArray[np.uint8]]:
    """Return the samples of luma and both chroma components, edges repeated to whole blocks.

    Args:
      pixels: uint8 [H, W, 3].
      sampling: one (vertical, horizontal) factor a component; luma's are the largest.
    """
    (down, across), (height, width, _) = sampling[0], pixels.shape
    # Columns are repeated to whole blocks of chroma, rows to whole averages only (jcprepct.c).
    room = ((0, -height % down), (0, -width % (8 * across)), (0, 0))
    wide = np.pad(pixels, room, "edge").astype(np.int64)
    luma, blue, red = np.moveaxis(wide @ np.array(_WEIGHTS).T, 2, 0)
    centre = (128 << 16) + _HALF - 1
    planes = [(luma + _HALF) >> 16, (blue + centre) >> 16, (red + centre) >> 16]
    return [
        _whole_blocks(plane if index == 0 else _averaged(plane, down, across), height, width, index)
        for index, plane in enumerate(planes)
    ]


def _averaged(plane: NDArray[np.int64], down: int, across: int) -> NDArray[np.int64]:
    """Return means over cells, rounded as `int_downsample` does."""
    rows, columns = plane.shape
    sums = plane.reshape(rows // down, down, columns // across, across).sum((1, 3))
    return (sums + down * across // 2) // (down * across)


def _whole_blocks(
    plane: NDArray[np.int64], height: int, width: int, index: int
) -> NDArray[np.uint8]:
    """Return a plane cut to the blocks that the image needs, its last row repeated to whole ones.

    Of luma only: chroma is as wide as its blocks already.
    """
    if index == 0:
        plane = plane[:height, : -(-width // 8) * 8]
    return np.pad(plane, ((0, -len(plane) % 8), (0, 0)), "edge").astype(np.uint8)


def write_scan(
    header: bytes, sampling: Sequence[tuple[int, int]], blocks: Sequence[NDArray[np.int16]]
) -> bytes:
    """Return the file that a header and coefficients make.

    Args:
      header: a baseline file of the image's size and tables at 4:4:4, whose frame header is
        changed and whose scan is replaced.
      sampling: one (vertical, horizontal) factor a component.
      blocks: one array a component [rows, columns, 8, 8], natural order, quantised.
    """
    frame, scan = _position(header, FRAME), _position(header, SCAN)
    head = bytearray(header[: scan + 2 + struct.unpack_from(">H", header, scan + 2)[0]])
    for index, (v, h) in enumerate(sampling):
        head[frame + 11 + 3 * index] = h << 4 | v
    tables = Tables()
    for marker, body, _ in segments(header):
        if marker != SCAN:
            parse_table(marker, body, tables)
    codes = {slot: _codes(*table) for slot, table in tables.huffman.items()}
    height, width = struct.unpack_from(">HH", header, frame + 5)
    mcus = _mcus((height, width), sampling, blocks)
    bits = "".join(_coded(mcus, lambda index, ac: codes[16 * ac + (index > 0)]))
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return bytes(head) + re.sub(rb"\xff", b"\xff\0", data) + b"\xff\xd9"


def _position(data: bytes, marker: int) -> int:
    """Return where the first segment of a marker begins."""
    at = 2
    while data[at + 1] != marker:
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    return at


def _codes(counts: bytes, symbols: bytes) -> Codes:
    """Return a Huffman table's codes (annex C)."""
    codes, code, given = {}, 0, iter(symbols)
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            codes[next(given)] = format(code, f"0{length}b")
            code += 1
        code <<= 1
    return codes


def _mcus(
    size: tuple[int, int],
    sampling: Sequence[tuple[int, int]],
    blocks: Sequence[NDArray[np.int16]],
) -> Iterator[Block]:
    """Yield the blocks in the order of a scan of all components (A.2.3)."""
    most_v, most_h = (max(factor[axis] for factor in sampling) for axis in (0, 1))
    rows, columns = -(-size[0] // (8 * most_v)), -(-size[1] // (8 * most_h))
    padded = []
    for (v, h), part in zip(sampling, blocks, strict=True):
        # What lies outside the image repeats the last DC coefficient: it costs the fewest bits.
        room = ((0, rows * v - part.shape[0]), (0, columns * h - part.shape[1]), (0, 0))
        flat = part.reshape(*part.shape[:2], 64)[..., ORDER]
        whole = np.pad(flat, room, "edge")
        whole[part.shape[0] :, :, 1:] = whole[:, part.shape[1] :, 1:] = 0
        padded.append(whole.tolist())
    for row in range(rows):
        for column in range(columns):
            for index, (v, h) in enumerate(sampling):
                for y in range(v):
                    for x in range(h):
                        yield index, padded[index][row * v + y][column * h + x]


def _coded(blocks: Iterator[Block], table: Callable[[int, bool], Codes]) -> Iterator[str]:
    """Yield the bits of blocks (F.1.2)."""
    last = [0, 0, 0]
    for index, block in blocks:
        # DC: the difference from the component's block before.
        size, bits = _magnitude(block[0] - last[index])
        last[index] = block[0]
        yield table(index, False)[size] + bits
        # AC: runs of zeros and values; 0xF0 stands for sixteen zeros, 0 for the rest of the block.
        ac, run = table(index, True), 0
        end = max((at for at in range(1, 64) if block[at]), default=0)
        for value in block[1 : end + 1]:
            if not value:
                run += 1
                continue
            yield ac[0xF0] * (run // 16)
            size, bits = _magnitude(value)
            yield ac[16 * (run % 16) + size] + bits
            run = 0
        if end < 63:
            yield ac[0]


def _magnitude(value: int) -> tuple[int, str]:
    """Return the number of bits of a value and these; negative ones are one's complements."""
    size = abs(value).bit_length()
    coded = value if value > 0 else value + (1 << size) - 1
    return size, format(coded, f"0{size}b") if size else ""
