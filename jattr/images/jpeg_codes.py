"""Decodes the entropy-coded data of sequential and progressive Huffman-coded JPEGs.

ITU-T T.81, annexes C (codes), F.2 (sequential) and G.2 (progressive). Pure Python over table
lookups, with no state but the position in the bits: about 0.4 us a coefficient. Codes that no
encoder writes are refused, never repaired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jattr.errors import UnreadableJpegError

# length in bits, then the two halves of the symbol: run of zeros, bits that follow
Code = tuple[int, int, int]
Table = list[Code]  # [65536], indexed by the next 16 bits

DAMAGED_SCAN = (
    "damaged or truncated JPEG: its scan holds too few codes, or illegal ones; fetch it again"
)

# Zigzag index -> natural index 8 v + h: along the anti-diagonals, upwards on the even ones.
ORDER = [
    8 * v + h for v, h in sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[sum(at) % 2 == 0]))
]
_MASK = [(1 << bits) - 1 for bits in range(16)]
_UNUSED: Code = (0, 0, 16)  # _MASK has no entry 16: looking an unused code up ends in IndexError


@dataclass(frozen=True, eq=False)
class Slot:
    """One of the blocks that make up a scan's MCU."""

    component: int  # 0, 1 or 2
    coefficients: memoryview  # int16, flat: where the component's blocks are decoded to
    dc: Table | None
    ac: Table | None


@dataclass(frozen=True)
class Band:
    """Which coefficients a scan codes, and which of their bits."""

    start: int  # zigzag index of the first
    end: int  # zigzag index of the last
    high: int  # the bit that was coded last before this scan; 0: this is the first scan
    low: int  # the lowest bit that this scan codes


@lru_cache(maxsize=16)  # half a MiB each; nearly all files use the same four tables
def build_table(counts: bytes, symbols: bytes) -> Table:
    """Return the lookup table of a Huffman code (annex C).

    There are counts[i] codes of i + 1 bits; `symbols` are theirs, in order.
    """
    table, at, symbol = [_UNUSED] * 65536, 0, iter(symbols)
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            value, width = next(symbol), 1 << 16 - length
            if at + width > len(table):
                raise UnreadableJpegError(
                    "damaged JPEG: a Huffman table has more codes than fit; fetch it again"
                )
            table[at : at + width] = [(length, value >> 4, value & 15)] * width
            at += width
    return table


def decode_interval(
    coded: bytes, mcus: list[list[int]], slots: tuple[Slot, ...], band: Band, progressive: bool
) -> None:
    """Decode the MCUs between two restart markers.

    `coded`: the bytes with stuffing removed. `mcus`: where the blocks of each MCU begin, one a
    slot.
    """
    decode: Callable[..., int]
    if not progressive:
        decode = _sequential
    elif band.start == 0:
        decode = _refine_dc if band.high else _first_dc
    else:
        decode = _refine_ac if band.high else _first_ac
    try:
        end = decode(_windows(coded), mcus, slots, band)
    # a code that is unused, past the end, or of a value above 16 bits
    except (IndexError, ValueError):
        raise UnreadableJpegError(DAMAGED_SCAN) from None
    if not len(coded) - 1 < end / 8 <= len(coded):
        raise UnreadableJpegError(
            DAMAGED_SCAN
            if end > 8 * len(coded)
            else "damaged JPEG: a scan has bytes to spare; fetch it again"
        )


def _windows(coded: bytes) -> memoryview:
    """The 40 bits from each byte on; a position three bytes past the end is an IndexError."""
    padded = np.frombuffer(coded + bytes(7), np.uint8)
    windows: NDArray[np.uint64] = np.zeros(len(coded) + 3, np.uint64)
    for first in range(5):
        windows <<= np.uint64(8)
        windows |= padded[first : first + len(windows)]
    return windows.data


def _sequential(
    windows: memoryview, mcus: list[list[int]], slots: tuple[Slot, ...], band: Band
) -> int:
    position, last = 0, [0, 0, 0]
    for mcu in mcus:
        for slot, block in zip(slots, mcu, strict=True):
            # DC: the difference from the component's block before (F.2.2.1).
            position, difference = _difference(windows, position, slot.dc)
            last[slot.component] += difference
            slot.coefficients[block] = last[slot.component]
            # AC: runs of zeros and values up to the end of the block (F.2.2.2).
            position, run = _band_of_block(
                windows, position, slot.ac, slot.coefficients, block, 1, 63, 0
            )
            if run:
                raise UnreadableJpegError(DAMAGED_SCAN)
    return position


def _first_dc(
    windows: memoryview, mcus: list[list[int]], slots: tuple[Slot, ...], band: Band
) -> int:
    position, last = 0, [0, 0, 0]
    for mcu in mcus:
        for slot, block in zip(slots, mcu, strict=True):
            position, difference = _difference(windows, position, slot.dc)
            last[slot.component] += difference
            slot.coefficients[block] = last[slot.component] << band.low
    return position


def _refine_dc(
    windows: memoryview, mcus: list[list[int]], slots: tuple[Slot, ...], band: Band
) -> int:
    position = 0
    for mcu in mcus:
        for slot, block in zip(slots, mcu, strict=True):
            slot.coefficients[block] |= _bit(windows, position) << band.low
            position += 1
    return position


def _first_ac(
    windows: memoryview, mcus: list[list[int]], slots: tuple[Slot, ...], band: Band
) -> int:
    table, coefficients = slots[0].ac, slots[0].coefficients
    position = run = 0  # run: how many blocks to come have no further coefficient
    for (block,) in mcus:
        if run:
            run -= 1
            continue
        position, run = _band_of_block(
            windows, position, table, coefficients, block, band.start, band.end, band.low
        )
    return position


def _refine_ac(
    windows: memoryview, mcus: list[list[int]], slots: tuple[Slot, ...], band: Band
) -> int:
    slot, order = slots[0], np.array(ORDER[band.start : band.end + 1])
    blocks = np.frombuffer(slot.coefficients, np.int16).reshape(-1, 64)[np.array(mcus)[:, 0] // 64]
    rows, columns = np.nonzero(blocks[:, order])
    # of what is not zero before this scan, block by block: all that runs concern
    indices = order[columns].tolist()
    ends = np.searchsorted(rows, np.arange(len(mcus)), "right").tolist()
    position = run = begin = 0
    for (block,), end in zip(mcus, ends, strict=True):
        if run:
            for index in indices[begin:end]:
                _refine(windows, position, slot.coefficients, block + index, band.low)
                position += 1
            run -= 1
        else:
            position, run = _refine_block(windows, position, slot, block, band)
        begin = end
    return position


def _difference(windows: memoryview, position: int, table: Table | None) -> tuple[int, int]:
    """Position after a DC code, and the DC coefficient's difference from the block before."""
    word, shift = windows[position >> 3], 24 - (position & 7)
    length, run, size = table[word >> shift & 0xFFFF]  # type: ignore[index]  # the scan's header was checked
    if run:
        raise UnreadableJpegError(DAMAGED_SCAN)
    mask = _MASK[size]
    value = word >> shift + 16 - length - size & mask
    return position + length + size, value if value > mask >> 1 else value - mask


def _band_of_block(
    windows: memoryview,
    position: int,
    table: Table | None,
    coefficients: memoryview,
    block: int,
    start: int,
    end: int,
    low: int,
) -> tuple[int, int]:
    """Decode AC coefficients; position after, and how many blocks to come have none."""
    at = start
    while at <= end:
        word, shift = windows[position >> 3], 24 - (position & 7)
        length, run, size = table[word >> shift & 0xFFFF]  # type: ignore[index]
        position += length
        # EOBn: this block and 2^run - 1 + extra bits blocks more end here (G.1.2.2).
        if not size and run < 15:
            return position + run, (1 << run) - 1 + (word >> shift + 16 - length - run & _MASK[run])
        at += run
        if at > end:
            raise UnreadableJpegError(DAMAGED_SCAN)
        # EXTEND (F.2.2.1): the upper half of `size` bits are positive values, the lower negative.
        if size:
            mask = _MASK[size]
            value = word >> shift + 16 - length - size & mask
            coefficients[block + ORDER[at]] = (value if value > mask >> 1 else value - mask) << low
            position += size
        at += 1
    return position, 0


def _refine_block(
    windows: memoryview, position: int, slot: Slot, block: int, band: Band
) -> tuple[int, int]:
    """Read one more bit of the AC coefficients.

    Returns the position after, and how many blocks to come have no codes.
    """
    at = band.start
    while at <= band.end:
        word, shift = windows[position >> 3], 24 - (position & 7)
        length, run, size = slot.ac[word >> shift & 0xFFFF]  # type: ignore[index]
        position += length
        # The end of the block's new coefficients: those that are not zero still get their bits.
        if not size and run < 15:
            further = (1 << run) - 1 + (word >> shift + 16 - length - run & _MASK[run])
            position, _ = _refine_until(
                windows, position + run, slot.coefficients, block, at, band, 64
            )
            return position, further
        if size > 1:
            raise UnreadableJpegError(DAMAGED_SCAN)
        # A new coefficient, +-1, after `run` zeros; on the way others get their bits (G.1.2.3).
        positive = size and _bit(windows, position)
        position, at = _refine_until(
            windows, position + size, slot.coefficients, block, at, band, run
        )
        if at > band.end:
            raise UnreadableJpegError(DAMAGED_SCAN)
        if size:
            slot.coefficients[block + ORDER[at]] = (1 if positive else -1) << band.low
        at += 1
    return position, 0


def _refine_until(
    windows: memoryview,
    position: int,
    coefficients: memoryview,
    block: int,
    at: int,
    band: Band,
    zeros: int,
) -> tuple[int, int]:
    """Refine each coefficient that is not zero, up to the one after `zeros` that are.

    Returns the position, and that coefficient's number.
    """
    while at <= band.end:
        index = block + ORDER[at]
        if coefficients[index]:
            _refine(windows, position, coefficients, index, band.low)
            position += 1
        elif zeros:
            zeros -= 1
        else:
            break
        at += 1
    return position, at


def _refine(
    windows: memoryview, position: int, coefficients: memoryview, index: int, low: int
) -> None:
    """Move a coefficient away from zero if the next bit says so."""
    if _bit(windows, position):
        coefficients[index] += (1 if coefficients[index] > 0 else -1) << low


def _bit(windows: memoryview, position: int) -> int:
    return windows[position >> 3] >> 39 - (position & 7) & 1
