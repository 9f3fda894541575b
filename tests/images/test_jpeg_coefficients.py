"""Coefficients of JPEG files against Pillow's decoder and libjpeg's encoder rewritten in NumPy."""

import io
import re
import struct

import jpeg_encoder
import numpy as np
import pytest
import scipy.fft
from image_files import encoded
from jpeg_files import COLOUR, GREY, ODD, PLAIN, SCANS, noise, photograph, poke, segment, sos
from PIL import Image

from jattr.errors import ImageError
from jattr.images.jpeg import JpegFormat, encode_jpeg, quality_format, read_coefficients
from jattr.images.jpeg_file import SAMPLINGS

FILES = {
    "plain": (COLOUR, {}),
    "quality 100": (noise(40, 40, 3), {"quality": 100, "subsampling": "4:4:4"}),
    "quality 5": (COLOUR, {"quality": 5}),
    "4:4:4": (ODD, {"quality": 90, "subsampling": "4:4:4"}),
    "4:2:2": (ODD, {"quality": 90, "subsampling": "4:2:2"}),
    "4:2:0": (ODD, {"quality": 90, "subsampling": "4:2:0"}),
    "optimised": (ODD, {"quality": 95, "optimize": True}),
    "progressive": (COLOUR, {"quality": 90, "progressive": True}),
    "progressive odd": (
        noise(33, 47, 3),
        {"quality": 95, "progressive": True, "subsampling": "4:2:2"},
    ),
    "progressive grey": (photograph(31, 70, 1), {"quality": 98, "progressive": True}),
    # long runs of blocks
    "progressive flat": (photograph(200, 200, 1) // 8 * 8, {"quality": 10, "progressive": True}),
    "restarts": (ODD, {"quality": 75, "restart_marker_blocks": 1}),
    "restart rows": (COLOUR, {"quality": 75, "restart_marker_rows": 1, "progressive": True}),
    "grey": (GREY, {"quality": 60}),
    "six pixels": (noise(3, 2, 3), {}),
    "metadata": (
        ODD,
        {"comment": b"a" * 300, "icc_profile": b"b" * 99, "exif": b"Exif\0\0" + b"c" * 40},
    ),
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
    # natural order since Pillow 8.3
    expected = [image.quantization[slot] for _, _, _, slot in image.layer]
    np.testing.assert_array_equal(found.format.tables, np.reshape(expected, (-1, 8, 8)))
    luma = (1, 1) if channels == 1 else SAMPLINGS[options.get("subsampling", "4:2:0")]
    assert found.format.sampling == (luma, *[(1, 1)] * (channels - 1))
    image.draft("YCbCr" if channels == 3 else "L", image.size)
    samples = np.asarray(image).reshape(height, width, channels)
    # others Pillow interpolates
    whole = [at for at, factors in enumerate(found.format.sampling) if factors == luma]
    for at in whole:
        own = decoded(found.quantised[at], found.format.tables[at])[:height, :width]
        # Pillow's inverse DCT in integers rounds its sample, and is off the exact one by less than
        # half a level more.
        assert np.abs(own - samples[:, :, at]).max() < 1


@pytest.mark.parametrize("quality", [1, 50, 75, 95, 100])
@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (pixels, kind)
        for pixels in (noise(33, 47, 3), COLOUR, ODD, noise(28, 28, 1))
        for kind in (*SAMPLINGS, "rgb")
        if kind != "rgb" or pixels.shape[2] == 3
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.shape}",
)
def test_coefficients_are_those_that_libjpegs_encoder_computed(pixels, quality, kind):
    """Every one of them: the emulation is exact, so any coefficient in the wrong place or off by
    one fails.
    """
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
    """What a search that models the encoder with floats can hope for.

    Measured 0.984, 0.997, 0.9987 and more.
    """
    pixels, format = noise(256, 256, 3), quality_format(quality, kind, 3)
    pairs = zip(
        read_coefficients(encode_jpeg(pixels, format)).quantised,
        jpeg_encoder.encode(pixels, format, jpeg_encoder.float_dct),
        strict=True,
    )
    differences = np.abs(np.concatenate([(one - other).ravel() for one, other in pairs]))
    assert differences.max() <= 1
    assert np.mean(differences == 0) > share


def test_only_blocks_with_a_sample_of_the_image_are_kept():
    shapes = {
        "4:4:4": [(5, 6)] * 3,
        "4:2:2": [(5, 6), (5, 3), (5, 3)],
        "4:2:0": [(5, 6), (3, 3), (3, 3)],  # stored: 6 x 6 blocks of luma, 3 x 3 of chroma
        "4:4:0": [(5, 6), (3, 6), (3, 6)],
        "4:1:1": [(5, 6), (5, 2), (5, 2)],
        "4:1:0": [(5, 6), (3, 2), (3, 2)],
    }
    for kind, expected in shapes.items():
        found = read_coefficients(encode_jpeg(ODD, quality_format(80, kind, 3)))
        assert [part.shape for part in found.quantised] == [(*shape, 8, 8) for shape in expected]


@pytest.mark.parametrize("optimize", [False, True])
def test_progressive_files_hold_the_coefficients_of_baseline_ones(optimize):
    for pixels in (noise(40, 72, 3), COLOUR, GREY):
        plain = read_coefficients(encoded(pixels, "JPEG", quality=92))
        scans = read_coefficients(
            encoded(pixels, "JPEG", quality=92, progressive=True, optimize=optimize)
        )
        for one, other in zip(plain.quantised, scans.quantised, strict=True):
            np.testing.assert_array_equal(one, other)


def test_components_may_come_in_scans_of_their_own():
    """Three greyscale files put together; equal factors above one mean 4:4:4."""
    planes = [photograph(33, 47, 1), photograph(33, 47, 1) // 2, noise(33, 47, 1)]
    parts = [encoded(plane, "JPEG", quality=80) for plane in planes]
    frame = (
        b"\xff\xc0"
        + struct.pack(">HBHHB", 17, 8, 33, 47, 3)
        + bytes([1, 0x22, 0, 2, 0x22, 0, 3, 0x22, 0])
    )
    scans = [
        b"\xff\xda\0\x08\x01" + bytes([at]) + part[sos(part) + 6 : -2]
        for at, part in enumerate(parts, 1)
    ]
    data = segment(parts[0], 0xC0, lambda _: frame)
    data = data[: sos(data)] + b"".join(scans) + b"\xff\xd9"
    Image.open(io.BytesIO(data)).load()  # Pillow takes it, too
    found = read_coefficients(data)
    assert found.format.sampling == ((1, 1),) * 3
    for quantised, part in zip(found.quantised, parts, strict=True):
        np.testing.assert_array_equal(quantised, read_coefficients(part).quantised[0])


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_quality_format_is_what_pillow_writes(quality):
    for kind in ("4:4:4", "4:2:2", "4:2:0"):
        assert (
            quality_format(quality, kind, 3)
            == read_coefficients(encoded(COLOUR, "JPEG", quality=quality, subsampling=kind)).format
        )
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality  # jcparam.c
    steps = (np.array([16, 11, 10, 16, 24, 40, 51, 61]) * scale + 50) // 100
    np.testing.assert_array_equal(
        quality_format(quality, "4:4:4", 1).tables[0][0], steps.clip(1, 255)
    )


def test_any_tables_are_written_and_read_back():
    tables = tuple(
        np.random.default_rng(at).integers(1, 256, (8, 8), dtype=np.uint16) for at in range(3)
    )
    for kind, luma in SAMPLINGS.items():
        format = JpegFormat(tables, (luma, (1, 1), (1, 1)))
        assert read_coefficients(encode_jpeg(ODD, format)).format == format, kind
    assert (
        read_coefficients(encode_jpeg(GREY, JpegFormat(tables[:1], ((1, 1),)))).format.tables[0][
            0, 1
        ]
        == tables[0][0, 1]
    )


def test_tables_of_16_bits_are_read():
    """Steps above 255, which no 8-bit image needs but the standard allows in extended files."""
    narrow = PLAIN[PLAIN.index(b"\xff\xdb") + 5 :][:64]
    wide = (
        b"\xff\xdb"
        + struct.pack(">HB", 131, 0x10)
        + struct.pack(">64H", *(step + 300 for step in narrow))
    )
    found = read_coefficients(segment(PLAIN, 0xDB, lambda _: wide))
    np.testing.assert_array_equal(
        found.format.tables[0], read_coefficients(PLAIN).format.tables[0] + 300
    )


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
        len(
            {
                format,
                quality_format(75, "4:2:0", 3),
                quality_format(75, "4:4:4", 3),
                quality_format(76, "4:2:0", 3),
            }
        )
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
        (
            COLOUR,
            JpegFormat(quality_format(75, "4:2:0", 3).tables, ((3, 1), (1, 1), (1, 1))),
            "sampling factors",
        ),
    ],
)
def test_encode_jpeg_refuses_what_the_format_cannot_hold(pixels, format, says):
    with pytest.raises(ImageError, match=re.escape(says)):
        encode_jpeg(pixels, format)


@pytest.mark.parametrize(
    "arguments",
    [(0, "4:2:0", 3), (101, "4:2:0", 3), (75, "4:4:1", 3), (75, "rgb", 1), (75, "4:2:0", 4)],
)
def test_quality_format_refuses_what_libjpeg_has_not(arguments):
    with pytest.raises(ImageError, match="legal are"):
        quality_format(*arguments)
