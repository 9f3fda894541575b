"""Every refusal of a JPEG file whose coefficients are asked for, and mutated files."""

import random
import re
import struct

import numpy as np
import pytest
from image_files import encoded
from jpeg_files import COLOUR, GREY, ODD, PLAIN, RESTARTS, SCANS, poke, segment, sos
from PIL import Image

from jattr.errors import ImageError, UnreadableJpegError
from jattr.images.jpeg import read_coefficients


def without_scan(number):
    """A progressive file without one of its scans and the codes defined for it, the end marker
    in place.
    """
    begin, end = (
        SCANS.find(b"\xff\xc4", sos(SCANS, at - 1) if at else 0, sos(SCANS, at))
        for at in (number, number + 1)
    )
    return (
        SCANS[: sos(SCANS, number) if begin < 0 else begin]
        + SCANS[sos(SCANS, number + 1) if end < 0 else end :]
    )


def called_rgb(data):
    """A file whose components are called R, G, B, and that does not say it is JFIF."""
    for at, name in enumerate(b"RGB"):
        data = poke(poke(data, 0xC0, 10 + 3 * at, name), 0xDA, 5 + 2 * at, name)
    return segment(data, 0xE0, lambda _: b"")


RGB_FILE = encoded(COLOUR, "JPEG", keep_rgb=True)
FRAME = PLAIN[PLAIN.index(b"\xff\xc0") :][:19]
REFUSED = {
    "empty": (b"", "not a JPEG"),
    "png": (encoded(COLOUR, "PNG"), "not a JPEG"),
    "cmyk": (encoded(Image.new("CMYK", (8, 8)), "JPEG"), "4 components (CMYK"),
    "rgb averaged": (
        called_rgb(encoded(COLOUR, "JPEG", subsampling="4:2:2")),
        "RGB with samples averaged; read are 1x1",
    ),
    "adobe transform": (
        segment(RGB_FILE, 0xEE, lambda s: s[:-1] + b""),
        "of colour transform 2; read are 0",
    ),
    "12 bit": (poke(PLAIN, 0xC0, 4, 12), "12 bits"),
    "lossless": (poke(PLAIN, 0xC0, 1, 0xC3), "JPEG is lossless"),
    "hierarchical": (poke(PLAIN, 0xC0, 1, 0xC5), "JPEG is hierarchical"),
    "arithmetic": (poke(PLAIN, 0xC0, 1, 0xC9), "JPEG is arithmetic-coded"),
    "arithmetic progressive": (poke(PLAIN, 0xC0, 1, 0xCA), "JPEG is arithmetic-coded"),
    "size 0": (poke(PLAIN, 0xC0, 5, 0, 0), "its size is 0x64"),
    "bomb": (poke(PLAIN, 0xC0, 5, 0x75, 0x30, 0x75, 0x30), "30000x30000"),
    "taller than its scan": (poke(PLAIN, 0xC0, 5, 0, 96), "too few codes"),
    "lower than its scan": (poke(PLAIN, 0xC0, 5, 0, 32), "bytes to spare"),
    "3x1": (poke(PLAIN, 0xC0, 11, 0x31), "sampled 3x1, 1x1, 1x1; read are 4:4:4, 4:2:2, 4:4:0"),
    "1x4": (poke(PLAIN, 0xC0, 11, 0x14), "sampled 1x4, 1x1, 1x1"),
    "chroma of two kinds": (poke(PLAIN, 0xC0, 14, 0x21), "sampled 2x2, 2x1, 1x1"),
    "sampling 0": (poke(PLAIN, 0xC0, 11, 0x20), "illegal components"),
    "same component twice": (poke(PLAIN, 0xC0, 13, 1), "illegal components"),
    "two frames": (PLAIN.replace(FRAME, FRAME * 2), "two frame headers"),
    "frame after scan": (PLAIN[:-2] + FRAME + PLAIN[-2:], "several frames"),
    "no frame": (segment(PLAIN, 0xC0, lambda _: b""), "before a frame header"),
    "table with zero": (poke(PLAIN, 0xDB, 20, 0), "quantisation table has a zero"),
    "table missing": (segment(PLAIN, 0xDB, lambda _: b""), "quantisation table 0 is missing"),
    "table cut off": (
        segment(PLAIN, 0xDB, lambda s: s[:2] + b"\0\x20" + s[4:34]),
        "quantisation table is cut off",
    ),
    "codes missing": (segment(PLAIN, 0xC4, lambda _: b""), "Huffman table that is missing"),
    "too many codes": (poke(PLAIN, 0xC4, 5, 3, 1, 2), "more codes than fit"),
    "codes cut off": (poke(PLAIN, 0xC4, 5, 255), "Huffman table is cut off"),
    "scan missing": (PLAIN[: sos(PLAIN)] + b"\xff\xd9", "ends before its first scan"),
    "scan of an unknown component": (poke(PLAIN, 0xDA, 5, 9), "illegal components"),
    "scan twice": (PLAIN[:-2] + PLAIN[sos(PLAIN) :], "do not follow one another"),
    "first scan missing": (without_scan(0), "do not follow one another"),
    "chroma scan missing": (without_scan(2), "do not follow one another"),
    "refinement missing": (without_scan(5), "do not follow one another"),
    "refinement of no bit": (
        SCANS[: sos(SCANS, 9) + 9] + b"\x11" + SCANS[sos(SCANS, 9) + 10 :],
        "do not follow one another",
    ),
    "last scan missing": (
        SCANS[: SCANS.index(b"\xff\xc4", sos(SCANS, 8))] + b"\xff\xd9",
        "scans of a component are missing",
    ),
    "all scans but one missing": (
        SCANS[: SCANS.index(b"\xff\xc4", sos(SCANS))] + b"\xff\xd9",
        "component are missing",
    ),
    "large": (
        poke(PLAIN, 0xC0, 5, 8, 1, 8, 1) + bytes(2**18),
        "2049x2049 pixels; jattr reads coefficients of up to",
    ),
    "end marker missing": (PLAIN[:-2], "no end marker"),
    "scan cut off": (PLAIN[: (sos(PLAIN) + len(PLAIN)) // 2] + b"\xff\xd9", "too few codes"),
    "bytes to spare": (PLAIN[:-2] + b"\0" + PLAIN[-2:], "bytes to spare"),
    "restart marker missing": (RESTARTS.replace(b"\xff\xd1", b""), "too few codes"),
    "restart marker out of turn": (RESTARTS.replace(b"\xff\xd1", b"\xff\xd2"), "too few codes"),
    "restart marker out of place": (PLAIN[:-40] + b"\xff\xd0" + PLAIN[-40:], "too few codes"),
}


SOUND = (
    *("empty", "png", "size 0", "bomb", "large"),
    *("rgb averaged", "adobe transform", "3x1", "1x4", "chroma of two kinds"),
)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_clear_error(name):
    data, says = REFUSED[name]
    with pytest.raises(ImageError, match=re.escape(says)) as caught:
        read_coefficients(data)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UnreadableJpegError) == (name not in SOUND)


@pytest.mark.parametrize("data", [PLAIN, SCANS, RESTARTS], ids=["plain", "progressive", "restarts"])
def test_a_file_cut_off_anywhere_is_refused(data):
    for length in range(0, len(data), 7):
        for end in (b"", b"\xff\xd9"):
            with pytest.raises(ImageError):
                read_coefficients(data[:length] + end)


def bits(*fields):
    """Coded bytes of (value, number of bits) pairs."""
    text = "".join(format(value, f"0{number}b") for value, number in fields)
    return np.packbits([int(bit) for bit in text]).tobytes().replace(b"\xff", b"\xff\0")


def scan_of_nothing(band, blocks):
    """All blocks in runs: the codes of `all_scans_of_nothing` are 0 for 2^14 blocks and more, 10
    for one.
    """
    whole, rest = divmod(blocks, 2**14)
    data = bits(*[(0, 15)] * whole, *[(2, 2)] * rest)
    return b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, 1, 63, band]) + data


def all_scans_of_nothing(side):
    """A progressive greyscale file of one tone, its AC coefficients refined bit by bit."""
    tables = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64)
    tables += b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + bytes([1, 0x11, 0])
    tables += b"\xff\xc4" + struct.pack(">HB", 20, 0) + bytes([1, *[0] * 15]) + b"\0"
    tables += b"\xff\xc4" + struct.pack(">HB", 21, 0x10) + bytes([1, 1, *[0] * 14]) + b"\xe0\0"
    blocks = (side // 8) ** 2
    dc = b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, 0, 0, 0]) + bytes(blocks // 8)
    scans = [scan_of_nothing(((low + 1) % 14) << 4 | low, blocks) for low in range(13, -1, -1)]
    return b"\xff\xd8" + tables + dc + b"".join(scans) + b"\xff\xd9"


def test_a_tiny_file_with_many_scans_of_nothing_is_read():
    data = all_scans_of_nothing(1024)
    assert len(data) < 3000
    found = read_coefficients(data)
    assert found.quantised[0].shape == (128, 128, 8, 8)
    assert not np.any(found.quantised[0])


def test_a_file_too_large_to_decode_in_bounded_time_is_refused(monkeypatch):
    monkeypatch.setattr("jattr.images.jpeg.MAX_CODED_BYTES", 1000)
    with pytest.raises(ImageError, match="MiB"):
        read_coefficients(PLAIN)


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(2, len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.randint(1, 9)]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 9))
    return bytes(data)


def test_mutated_files_are_read_or_refused():
    rng, outcomes = random.Random(0), {"read": 0, "refused": 0}
    files = [
        encoded(GREY, "JPEG"),
        SCANS,
        RESTARTS,
        encoded(ODD, "JPEG", optimize=True, subsampling=0),
    ]
    for at in range(300):
        try:
            found = read_coefficients(mutated(files[at % len(files)], rng))
        except ImageError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert all(table.all() for table in found.format.tables)
    assert min(outcomes.values()) > 20, outcomes
