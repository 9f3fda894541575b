"""Coefficients of JPEG files against Pillow's decoder and libjpeg's encoder rewritten in NumPy, and every refusal."""

import io
import random
import re
import struct
import time

import jpeg_encoder
import numpy as np
import pytest
import scipy.fft
from image_files import encoded
from PIL import Image

from jattr.errors import ImageError
from jattr.images.jpeg import JpegFormat, encode_jpeg, quality_format, read_coefficients
from jattr.images.jpeg_file import SAMPLINGS


def photograph(height, width, channels):
    """Waves and a little noise: coefficients of many sizes, runs of zeros of many lengths."""
    rng = np.random.default_rng([height, width, channels])
    y, x = np.mgrid[:height, :width]
    waves = [128 + 110 * np.sin(x / 7 + c) * np.cos(y / 9 - c) for c in range(channels)]
    return (np.stack(waves, -1) + rng.normal(0, 9, (height, width, channels))).clip(0, 255).astype(np.uint8)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


COLOUR, GREY, ODD = photograph(64, 64, 3), photograph(28, 28, 1), photograph(33, 47, 3)
PLAIN = encoded(COLOUR, "JPEG", quality=75)
SCANS = encoded(ODD, "JPEG", quality=85, progressive=True)
RESTARTS = encoded(ODD, "JPEG", quality=75, restart_marker_blocks=2)

FILES = {
    "plain": (COLOUR, {}),
    "quality 100": (noise(40, 40, 3), {"quality": 100, "subsampling": "4:4:4"}),
    "quality 5": (COLOUR, {"quality": 5}),
    "4:4:4": (ODD, {"quality": 90, "subsampling": "4:4:4"}),
    "4:2:2": (ODD, {"quality": 90, "subsampling": "4:2:2"}),
    "4:2:0": (ODD, {"quality": 90, "subsampling": "4:2:0"}),
    "optimised": (ODD, {"quality": 95, "optimize": True}),
    "progressive": (COLOUR, {"quality": 90, "progressive": True}),
    "progressive odd": (noise(33, 47, 3), {"quality": 95, "progressive": True, "subsampling": "4:2:2"}),
    "progressive grey": (photograph(31, 70, 1), {"quality": 98, "progressive": True}),
    "progressive flat": (photograph(200, 200, 1) // 8 * 8, {"quality": 10, "progressive": True}),  # long runs of blocks
    "restarts": (ODD, {"quality": 75, "restart_marker_blocks": 1}),
    "restart rows": (COLOUR, {"quality": 75, "restart_marker_rows": 1, "progressive": True}),
    "grey": (GREY, {"quality": 60}),
    "six pixels": (noise(3, 2, 3), {}),
    "metadata": (ODD, {"comment": b"a" * 300, "icc_profile": b"b" * 99, "exif": b"Exif\0\0" + b"c" * 40}),
}


def decoded(quantised, table):
    """Samples of whole blocks, as the standard defines them."""
    blocks = scipy.fft.idctn(quantised * table.astype(float), axes=(-2, -1), norm="ortho") + 128
    rows, columns = blocks.shape[:2]
    return blocks.swapaxes(1, 2).reshape(8 * rows, 8 * columns).clip(0, 255)


@pytest.mark.parametrize(("pixels", "options"), FILES.values(), ids=FILES)
def test_coefficients_tables_and_sampling_agree_with_pillow(pixels, options):
    data = encoded(pixels, "JPEG", **options)
    height, width, channels = pixels.shape
    found = read_coefficients(data)
    image = Image.open(io.BytesIO(data))
    assert found.size == (height, width)
    assert found.progressive == options.get("progressive", False)
    assert found.colour == {1: "grey", 3: "ycc"}[channels]
    expected = [image.quantization[slot] for _, _, _, slot in image.layer]  # natural order since Pillow 8.3
    np.testing.assert_array_equal(found.format.tables, np.reshape(expected, (-1, 8, 8)))
    luma = (1, 1) if channels == 1 else SAMPLINGS[options.get("subsampling", "4:2:0")]
    assert found.format.sampling == (luma, *[(1, 1)] * (channels - 1))
    image.draft("YCbCr" if channels == 3 else "L", image.size)
    samples = np.asarray(image).reshape(height, width, channels)
    whole = [at for at, factors in enumerate(found.format.sampling) if factors == luma]  # others Pillow interpolates
    for at in whole:
        own = decoded(found.quantised[at], found.format.tables[at])[:height, :width]
        # Pillow's inverse DCT in integers rounds its sample, and is off the exact one by less than half a level more.
        assert np.abs(own - samples[:, :, at]).max() < 1


@pytest.mark.parametrize("kind", SAMPLINGS)
@pytest.mark.parametrize("quality", [1, 50, 75, 95, 100])
@pytest.mark.parametrize("pixels", [noise(33, 47, 3), COLOUR, ODD, noise(28, 28, 1)], ids=lambda x: f"{x.shape}")
def test_coefficients_are_those_that_libjpegs_encoder_computed(pixels, quality, kind):
    """Every one of them: the emulation is exact, so any coefficient in the wrong place or off by one fails."""
    format = quality_format(quality, kind, pixels.shape[2])
    found = read_coefficients(encode_jpeg(pixels, format))
    assert found.format == format
    for quantised, whole in zip(found.quantised, jpeg_encoder.encode(pixels, format), strict=True):
        assert quantised.dtype == np.int16
        rows, columns = quantised.shape[:2]
        np.testing.assert_array_equal(quantised, whole[:rows, :columns])


@pytest.mark.parametrize(("quality", "share"), [(95, 0.98), (75, 0.996), (50, 0.998)])
@pytest.mark.parametrize("kind", ["4:4:4", "4:2:0"])
def test_an_exact_dct_differs_by_a_step_in_few_coefficients(quality, share, kind):
    """What a search that models the encoder with floats can hope for; measured 0.984, 0.997, 0.9987 and more."""
    pixels, format = noise(256, 256, 3), quality_format(quality, kind, 3)
    pairs = zip(
        read_coefficients(encode_jpeg(pixels, format)).quantised,
        jpeg_encoder.encode(pixels, format, jpeg_encoder.float_dct),
        strict=True,
    )
    differences = np.abs(np.concatenate([(one - other).ravel() for one, other in pairs]))
    assert differences.max() <= 1
    assert np.mean(differences == 0) > share


def test_only_blocks_with_a_sample_of_the_picture_are_kept():
    shapes = {
        "4:4:4": [(5, 6)] * 3,
        "4:2:2": [(5, 6), (5, 3), (5, 3)],
        "4:2:0": [(5, 6), (3, 3), (3, 3)],  # stored: 6 x 6 blocks of luma, 3 x 3 of chroma
    }
    for kind, expected in shapes.items():
        found = read_coefficients(encode_jpeg(ODD, quality_format(80, kind, 3)))
        assert [part.shape for part in found.quantised] == [(*shape, 8, 8) for shape in expected]


@pytest.mark.parametrize("optimize", [False, True])
def test_progressive_files_hold_the_coefficients_of_baseline_ones(optimize):
    for pixels in (noise(40, 72, 3), COLOUR, GREY):
        plain = read_coefficients(encoded(pixels, "JPEG", quality=92))
        scans = read_coefficients(encoded(pixels, "JPEG", quality=92, progressive=True, optimize=optimize))
        for one, other in zip(plain.quantised, scans.quantised, strict=True):
            np.testing.assert_array_equal(one, other)


def test_components_may_come_in_scans_of_their_own():
    """Three greyscale files put together; equal factors above one mean 4:4:4."""
    planes = [photograph(33, 47, 1), photograph(33, 47, 1) // 2, noise(33, 47, 1)]
    parts = [encoded(plane, "JPEG", quality=80) for plane in planes]
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 33, 47, 3) + bytes([1, 0x22, 0, 2, 0x22, 0, 3, 0x22, 0])
    scans = [b"\xff\xda\0\x08\x01" + bytes([at]) + part[sos(part) + 6 : -2] for at, part in enumerate(parts, 1)]
    data = segment(parts[0], 0xC0, lambda _: frame)
    data = data[: sos(data)] + b"".join(scans) + b"\xff\xd9"
    Image.open(io.BytesIO(data)).load()  # Pillow takes it, too
    found = read_coefficients(data)
    assert found.format.sampling == ((1, 1),) * 3
    for quantised, part in zip(found.quantised, parts, strict=True):
        np.testing.assert_array_equal(quantised, read_coefficients(part).quantised[0])


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_quality_format_is_what_pillow_writes(quality):
    for kind in SAMPLINGS:
        assert (
            quality_format(quality, kind, 3)
            == read_coefficients(encoded(COLOUR, "JPEG", quality=quality, subsampling=kind)).format
        )
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality  # jcparam.c
    steps = (np.array([16, 11, 10, 16, 24, 40, 51, 61]) * scale + 50) // 100
    np.testing.assert_array_equal(quality_format(quality, "4:4:4", 1).tables[0][0], steps.clip(1, 255))


def test_any_tables_are_written_and_read_back():
    tables = tuple(np.random.default_rng(at).integers(1, 256, (8, 8), dtype=np.uint16) for at in range(3))
    for kind, luma in SAMPLINGS.items():
        format = JpegFormat(tables, (luma, (1, 1), (1, 1)))
        assert read_coefficients(encode_jpeg(ODD, format)).format == format, kind
    assert (
        read_coefficients(encode_jpeg(GREY, JpegFormat(tables[:1], ((1, 1),)))).format.tables[0][0, 1]
        == tables[0][0, 1]
    )


def test_tables_of_16_bits_are_read():
    """Steps above 255, which no 8-bit picture needs but the standard allows in extended files."""
    narrow = PLAIN[PLAIN.index(b"\xff\xdb") + 5 :][:64]
    wide = b"\xff\xdb" + struct.pack(">HB", 131, 0x10) + struct.pack(">64H", *(step + 300 for step in narrow))
    found = read_coefficients(segment(PLAIN, 0xDB, lambda _: wide))
    np.testing.assert_array_equal(found.format.tables[0], read_coefficients(PLAIN).format.tables[0] + 300)


def test_a_table_is_that_of_the_components_first_scan():
    other = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([99] * 64)
    found = read_coefficients(SCANS[: sos(SCANS, 5)] + other + SCANS[sos(SCANS, 5) :])
    assert found.format == read_coefficients(SCANS).format


def test_a_jfif_file_is_luma_and_chroma_whatever_its_components_are_called():
    """As libjpeg, hence the reader of pixels, has it."""
    data = PLAIN
    for at, name in enumerate(b"RGB"):
        data = poke(poke(data, 0xC0, 10 + 3 * at, name), 0xDA, 5 + 2 * at, name)
    image = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(PLAIN))))
    assert read_coefficients(data).colour == "ycc"


def test_formats_compare_by_value():
    format = quality_format(75, "4:2:0", 3)
    assert format == read_coefficients(PLAIN).format
    assert (
        len({format, quality_format(75, "4:2:0", 3), quality_format(75, "4:4:4", 3), quality_format(76, "4:2:0", 3)})
        == 3
    )
    assert format != "4:2:0"


@pytest.mark.parametrize(
    ("pixels", "format", "says"),
    [
        (GREY, quality_format(75, "4:2:0", 3), "give uint8 [H, W, 3]"),
        (COLOUR, quality_format(75, "4:2:0", 1), "give uint8 [H, W, 1]"),
        (COLOUR / 255, quality_format(75, "4:2:0", 3), "float64"),
        (COLOUR[:0], quality_format(75, "4:2:0", 3), "0x64 pixels"),
        (GREY, JpegFormat((np.full((8, 8), 256, np.uint16),), ((1, 1),)), "steps outside 1 to 255"),
        (GREY, JpegFormat((np.zeros((8, 8), np.uint16),), ((1, 1),)), "steps outside 1 to 255"),
        (COLOUR, JpegFormat(quality_format(75, "4:2:0", 3).tables, ((2, 1), (1, 1), (1, 1))), "sampling factors"),
    ],
)
def test_encode_jpeg_refuses_what_the_format_cannot_hold(pixels, format, says):
    with pytest.raises(ImageError, match=re.escape(says)):
        encode_jpeg(pixels, format)


@pytest.mark.parametrize("arguments", [(0, "4:2:0", 3), (101, "4:2:0", 3), (75, "4:4:0", 3), (75, "4:2:0", 4)])
def test_quality_format_refuses_what_libjpeg_has_not(arguments):
    with pytest.raises(ImageError, match="legal are"):
        quality_format(*arguments)


def sos(data, number=0):
    """Where the scan of this number begins."""
    return [match.start() for match in re.finditer(rb"\xff\xda", data)][number]


def segment(data, marker, change):
    """The file with its first segment of this kind replaced."""
    at = data.index(bytes([0xFF, marker]))
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + change(data[at:end]) + data[end:]


def poke(data, marker, offset, *values):
    """The file with bytes of its first segment of this kind overwritten, counted from the marker."""
    at = data.index(bytes([0xFF, marker])) + offset
    return data[:at] + bytes(values) + data[at + len(values) :]


def without_scan(number):
    """A progressive file without one of its scans and the codes defined for it, the end marker in place."""
    begin, end = (
        SCANS.find(b"\xff\xc4", sos(SCANS, at - 1) if at else 0, sos(SCANS, at)) for at in (number, number + 1)
    )
    return SCANS[: sos(SCANS, number) if begin < 0 else begin] + SCANS[sos(SCANS, number + 1) if end < 0 else end :]


RGB_FILE = encoded(COLOUR, "JPEG", keep_rgb=True)
FRAME = PLAIN[PLAIN.index(b"\xff\xc0") :][:19]
REFUSED = {
    "empty": (b"", "not a JPEG"),
    "png": (encoded(COLOUR, "PNG"), "not a JPEG"),
    "cmyk": (encoded(Image.new("CMYK", (8, 8)), "JPEG"), "4 components (CMYK"),
    "adobe rgb": (RGB_FILE, "stored as RGB"),
    "rgb by names": (segment(RGB_FILE, 0xEE, lambda _: b""), "stored as RGB"),
    "12 bit": (poke(PLAIN, 0xC0, 4, 12), "12 bits"),
    "lossless": (poke(PLAIN, 0xC0, 1, 0xC3), "JPEG is lossless"),
    "hierarchical": (poke(PLAIN, 0xC0, 1, 0xC5), "JPEG is hierarchical"),
    "arithmetic": (poke(PLAIN, 0xC0, 1, 0xC9), "JPEG is arithmetic-coded"),
    "arithmetic progressive": (poke(PLAIN, 0xC0, 1, 0xCA), "JPEG is arithmetic-coded"),
    "size 0": (poke(PLAIN, 0xC0, 5, 0, 0), "its size is 0x64"),
    "bomb": (poke(PLAIN, 0xC0, 5, 0x75, 0x30, 0x75, 0x30), "30000x30000"),
    "taller than its scan": (poke(PLAIN, 0xC0, 5, 0, 96), "too few codes"),
    "lower than its scan": (poke(PLAIN, 0xC0, 5, 0, 32), "bytes to spare"),
    "4:4:0": (poke(PLAIN, 0xC0, 11, 0x12), "sampled 1x2, 1x1, 1x1; legal are 4:4:4, 4:2:2, 4:2:0"),
    "4:1:1": (poke(PLAIN, 0xC0, 11, 0x41), "sampled 4x1, 1x1, 1x1"),
    "sampling 0": (poke(PLAIN, 0xC0, 11, 0x20), "illegal components"),
    "same component twice": (poke(PLAIN, 0xC0, 13, 1), "illegal components"),
    "two frames": (PLAIN.replace(FRAME, FRAME * 2), "two frame headers"),
    "frame after scan": (PLAIN[:-2] + FRAME + PLAIN[-2:], "several frames"),
    "no frame": (segment(PLAIN, 0xC0, lambda _: b""), "before a frame header"),
    "table with zero": (poke(PLAIN, 0xDB, 20, 0), "quantisation table has a zero"),
    "table missing": (segment(PLAIN, 0xDB, lambda _: b""), "quantisation table 0 is missing"),
    "table cut off": (segment(PLAIN, 0xDB, lambda s: s[:2] + b"\0\x20" + s[4:34]), "quantisation table is cut off"),
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
    "all scans but one missing": (SCANS[: SCANS.index(b"\xff\xc4", sos(SCANS))] + b"\xff\xd9", "component are missing"),
    "large": (poke(PLAIN, 0xC0, 5, 8, 1, 8, 1) + bytes(2**18), "2049x2049 pixels; jattr reads coefficients of up to"),
    "end marker missing": (PLAIN[:-2], "no end marker"),
    "scan cut off": (PLAIN[: (sos(PLAIN) + len(PLAIN)) // 2] + b"\xff\xd9", "too few codes"),
    "bytes to spare": (PLAIN[:-2] + b"\0" + PLAIN[-2:], "bytes to spare"),
    "restart marker missing": (RESTARTS.replace(b"\xff\xd1", b""), "too few codes"),
    "restart marker out of turn": (RESTARTS.replace(b"\xff\xd1", b"\xff\xd2"), "too few codes"),
    "restart marker out of place": (PLAIN[:-40] + b"\xff\xd0" + PLAIN[-40:], "too few codes"),
}


@pytest.mark.parametrize(("data", "says"), REFUSED.values(), ids=REFUSED)
def test_refused_with_one_clear_error(data, says):
    with pytest.raises(ImageError, match=re.escape(says)) as caught:
        read_coefficients(data)
    assert "\n" not in str(caught.value)


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
    """All blocks in runs: the codes of `all_scans_of_nothing` are 0 for 2^14 blocks and more, 10 for one."""
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


def test_a_tiny_file_with_many_scans_of_nothing_costs_little():
    data = all_scans_of_nothing(1024)
    assert len(data) < 3000
    begin = time.process_time()
    found = read_coefficients(data)
    assert not np.any(found.quantised[0])
    assert time.process_time() - begin < 2  # 0.15 s here; 14 passes over every coefficient in Python would be 5 s


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
    files = [encoded(GREY, "JPEG"), SCANS, RESTARTS, encoded(ODD, "JPEG", optimize=True, subsampling=0)]
    for at in range(300):
        try:
            found = read_coefficients(mutated(files[at % len(files)], rng))
        except ImageError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert all(table.all() for table in found.format.tables)
    assert min(outcomes.values()) > 20, outcomes
