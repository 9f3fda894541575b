"""The frame of a JPEG file and its scans; whatever is not a plain 8-bit Huffman image is refused.

ITU-T T.81, annexes A.2 (order of the blocks), B (syntax) and G.1 (what a progressive scan may
code).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from numpy.typing import NDArray

from jattr.errors import UnreadableJpegError
from jattr.images.jpeg_codes import DAMAGED_SCAN, Band, Slot, Table, build_table, decode_interval
from jattr.images.jpeg_segments import SCAN, Tables, damaged, parse_table, refusal, segments

SAMPLINGS = {  # (vertical, horizontal) factors of luma; those of both chroma components are (1, 1)
    "4:4:4": (1, 1),
    "4:2:2": (1, 2),
    "4:4:0": (2, 1),
    "4:2:0": (2, 2),
    "4:1:1": (1, 4),
    "4:1:0": (2, 4),
}
RGB_SAMPLING = ((1, 1),) * 3  # the one sampling of files without luma and chroma that is read
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential, progressive; all with Huffman codes
_REFUSED = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCC), "arithmetic-coded"),
}
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")


@dataclass(eq=False)
class Component:
    """A colour component; `coefficients` and `lowest_bits` are filled scan by scan."""

    identity: int
    factors: tuple[int, int]  # vertical, horizontal, as stored: 2x2, 2x2, 2x2 is 4:4:4, too
    table_slot: int
    blocks: tuple[int, int]  # rows, columns that the image needs
    # [rows, columns, 64], natural order; the rows and columns of whole MCUs
    coefficients: NDArray[np.int16]
    # [8, 8], natural order, as it stood at the component's first scan
    table: NDArray[np.uint16] | None = None
    # zigzag order: lowest bit decoded so far
    lowest_bits: list[int | None] = field(default_factory=lambda: [None] * 64)


@dataclass(eq=False)
class Frame:
    """The image that a JPEG file stores."""

    size: tuple[int, int]  # height, width
    progressive: bool
    # one a component, vertical and horizontal, without common factors
    sampling: tuple[tuple[int, int], ...]
    components: tuple[Component, ...]
    rgb: bool = False  # the components are red, green and blue, not luma and chroma


def decode_frame(data: bytes) -> Frame:
    """Every coefficient of a JPEG file whose size and number of scans are checked.

    Raises ImageError.
    """
    tables, frame = Tables(), None
    for marker, body, coded in segments(data):
        if marker in _REFUSED:
            legal = "baseline and progressive with Huffman codes"
            raise refusal(_REFUSED[marker], legal, kind=UnreadableJpegError)
        if marker in _FRAMES:
            if frame is not None:
                raise UnreadableJpegError(
                    "JPEG with several frames; jattr reads one image a file: give the file"
                    " as it was first saved"
                )
            frame = _parse_frame(body, progressive=marker == 0xC2)
        elif marker == SCAN:
            if frame is None:
                raise damaged("its first scan comes before a frame header")
            _decode_scan(body, coded, frame, tables)
        else:
            parse_table(marker, body, tables)
    if frame is None:
        raise damaged("it has no frame header")
    _check_complete(frame, tables)
    return frame


def _parse_frame(body: bytes, *, progressive: bool) -> Frame:
    """A frame header; its depth, size and number of components have been checked."""
    height, width, count = struct.unpack_from(">xHHB", body)
    if len(body) != 6 + 3 * count:
        raise damaged("its frame header is of a wrong length")
    # identity, sampling factors, table
    fields = [body[at : at + 3] for at in range(6, len(body), 3)]
    factors = [(both >> 4, both & 15) for _, both, _ in fields]  # horizontal, vertical
    if len({identity for identity, _, _ in fields}) < count or not all(
        1 <= f <= 4 for pair in factors for f in pair
    ):
        raise damaged("its frame header names illegal components")
    common_h, common_v = (gcd(*values) for values in zip(*factors, strict=True))
    sampling = tuple((v // common_v, h // common_h) for h, v in factors)
    if count == 3 and (sampling[0] not in SAMPLINGS.values() or sampling[1:] != ((1, 1), (1, 1))):
        actual = ", ".join(f"{h}x{v}" for h, v in factors)
        raise refusal(f"sampled {actual}", f"{', '.join(SAMPLINGS)} (2x2, 1x1, 1x1)")
    # Blocks with a sample of the image in them, and the whole MCUs that a file stores (A.2.4).
    most_v, most_h = max(v for _, v in factors), max(h for h, _ in factors)
    mcus = (-(-height // (8 * most_v)), -(-width // (8 * most_h)))
    components = [
        Component(
            identity=identity,
            factors=(v, h),
            table_slot=slot,
            blocks=(-(-height * v // (8 * most_v)), -(-width * h // (8 * most_h))),
            coefficients=np.zeros((mcus[0] * v, mcus[1] * h, 64), np.int16),
        )
        for (identity, _, slot), (h, v) in zip(fields, factors, strict=True)
    ]
    return Frame((height, width), progressive, sampling, tuple(components))


def _decode_scan(body: bytes, coded: bytes, frame: Frame, tables: Tables) -> None:
    count = body[0] if body else 0
    if not 1 <= count <= 3 or len(body) != 4 + 2 * count:
        raise damaged("a scan header is of a wrong length")
    band = Band(body[-3], body[-2], body[-1] >> 4, body[-1] & 15)
    indices = {component.identity: index for index, component in enumerate(frame.components)}
    chosen = [(indices.get(body[at], -1), body[at + 1]) for at in range(1, 1 + 2 * count, 2)]
    order = [index for index, _ in chosen]
    if -1 in order or order != sorted(set(order)):
        raise damaged("a scan names illegal components")
    components = [frame.components[index] for index in order]
    for component in components:
        _check_band(band, component, count, frame.progressive)
        if component.table is None:
            if component.table_slot not in tables.quantisation:
                raise damaged(f"quantisation table {component.table_slot} is missing")
            component.table = tables.quantisation[component.table_slot]
    mcus = _mcus(components)
    slots = []
    for index, codes in chosen:
        component = frame.components[index]
        dc = _table(codes >> 4, tables) if band.start == 0 and not band.high else None
        ac = _table(16 + (codes & 15), tables) if band.end else None
        slot = Slot(index, component.coefficients.reshape(-1).data, dc, ac)
        slots += [slot] * (1 if count == 1 else component.factors[0] * component.factors[1])
    for part, interval in zip(*_intervals(coded, mcus, tables.interval), strict=True):
        decode_interval(part, interval, tuple(slots), band, frame.progressive)


def _check_band(band: Band, component: Component, count: int, progressive: bool) -> None:
    """Note a scan's progress; refuse one that does not continue its component's earlier scans."""
    last = band.high or None  # None: no scan before
    if progressive:
        legal = band.end == 0 if band.start == 0 else count == 1 and band.start <= band.end <= 63
        legal &= band.low <= 13 if last is None else band.low == last - 1
    else:
        legal = band == Band(0, 63, 0, 0)
    at = slice(band.start, band.end + 1)
    if not legal or any(bit != last for bit in component.lowest_bits[at]):
        raise damaged("its scans do not follow one another")
    component.lowest_bits[at] = [band.low] * (band.end + 1 - band.start)


def _table(slot: int, tables: Tables) -> Table:
    if slot not in tables.huffman:
        raise damaged("a scan uses a Huffman table that is missing")
    return build_table(*tables.huffman[slot])


def _mcus(components: list[Component]) -> list[list[int]]:
    """Return where each MCU's blocks begin in their components' flat coefficients.

    A component alone in its scan has no padding (A.2).
    """
    if len(components) == 1:
        rows, columns = components[0].blocks
        begins = np.arange(rows)[:, None] * components[0].coefficients.shape[1] + np.arange(columns)
        return (64 * begins.reshape(-1, 1)).tolist()
    parts = []
    for component in components:
        (rows, columns, _), (v, h) = component.coefficients.shape, component.factors
        begins = np.arange(rows * columns).reshape(rows // v, v, columns // h, h)
        parts.append(64 * begins.swapaxes(1, 2).reshape(-1, v * h))
    return np.concatenate(parts, 1).tolist()


def _intervals(
    coded: bytes, mcus: list[list[int]], length: int
) -> tuple[list[bytes], list[list[list[int]]]]:
    """Coded bytes, stuffing removed, and MCUs of each restart interval."""
    length = length or len(mcus)
    expected = -(-len(mcus) // length)
    pieces = _RESTART.split(coded, expected)
    parts, numbers = pieces[::2], pieces[1::2]
    if len(parts) != expected or any(
        number[0] != 0xD0 + at % 8 for at, number in enumerate(numbers)
    ):
        raise UnreadableJpegError(DAMAGED_SCAN)
    return (
        [part.replace(b"\xff\0", b"\xff") for part in parts],
        [mcus[at : at + length] for at in range(0, len(mcus), length)],
    )


def _check_complete(frame: Frame, tables: Tables) -> None:
    if any(bit != 0 for component in frame.components for bit in component.lowest_bits):
        raise UnreadableJpegError(
            "truncated JPEG: scans of a component are missing; fetch it again"
        )
    if len(frame.components) == 3 and not tables.is_jfif:  # the order of libjpeg's rules
        names = bytes(component.identity for component in frame.components)
        frame.rgb = tables.transform == 0 or (tables.transform is None and names == b"RGB")
        if tables.transform not in (None, 0, 1):
            raise refusal(
                f"of colour transform {tables.transform}", "0 (RGB) and 1 (luma and chroma)"
            )
        if frame.rgb and frame.sampling != RGB_SAMPLING:
            raise refusal("RGB with samples averaged", "1x1, 1x1, 1x1 for RGB")
