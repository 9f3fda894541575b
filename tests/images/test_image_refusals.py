"""Every way an image file can be bad: one clear error, and no memory spent."""

import os
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from image_files import RGB, RGBA, chunk, encoded, png
from PIL import Image
from privileges import without_privileges

from jattr.errors import ImageError
from jattr.images import load_image
from jattr.images import reading as reading_module


@pytest.fixture
def load(tmp_path):
    def load_bytes(data):
        path = tmp_path / "picture"
        path.write_bytes(data)
        return load_image(path)

    return load_bytes


JPEG = encoded(RGB, "JPEG")
WEBP = encoded(RGB, "WEBP", lossless=True)
PNG = encoded(RGB, "PNG")
FRAMES = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]


def oversized(kind):
    """A tiny file whose header claims 30000 x 30000 pixels."""
    if kind == "PNG":
        return png([b""], 30000, height=30000)
    if kind == "JPEG":
        at = JPEG.index(b"\xff\xc0") + 5
        return JPEG[:at] + struct.pack(">HH", 30000, 30000) + JPEG[at + 4 :]
    canvas = (29999).to_bytes(3, "little") * 2
    return (
        b"RIFF"
        + struct.pack("<I", 22 + len(WEBP[12:]))
        + b"WEBPVP8X\x0a\0\0\0"
        + bytes(4)
        + canvas
        + WEBP[12:]
    )


def boxed(brand):
    """The beginning of a file of the ISO base media format."""
    return struct.pack(">I4s4sI", 20, b"ftyp", brand, 0) + b"mif1"


LOSSY = {
    "gif": (encoded(RGB, "GIF"), "GIF is not read"),
    "avif": (boxed(b"avif"), "AVIF is not read"),
    "heif": (boxed(b"heic"), "HEIF is not read"),
    "heif of several brands": (boxed(b"mif1"), "HEIF is not read"),
    "jpeg xl": (b"\xff\x0a" + bytes(9), "JPEG XL is not read"),
    "jpeg xl in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not read"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 is not read"),
    "cmyk": (encoded(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK"),
}
REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is no image", "not a PNG, JPEG or WebP"),
    **LOSSY,
    "bmp": (encoded(RGB, "BMP"), "BMP is not read"),
    "tiff": (encoded(RGB, "TIFF"), "TIFF is not read"),
    "pnm": (encoded(RGB, "PPM"), "PNM is not read"),
    "png 16 bit grey": (png([bytes(6)], 3, depth=16, colour_type=0), "16 bits"),
    "png 16 bit rgb": (png([bytes(18)], 3, depth=16), "16 bits"),
    "png odd depth": (png([bytes(3)], 3, depth=4, colour_type=2), "IHDR chunk is illegal"),
    "apng": (encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "animated PNG"),
    "animated webp": (
        encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]),
        "animated WebP",
    ),
    "png bomb": (oversized("PNG"), "30000x30000; the most jattr decodes"),
    "jpeg bomb": (oversized("JPEG"), "30000x30000; the most jattr decodes"),
    "webp bomb": (oversized("WEBP"), "30000x30000; the most jattr decodes"),
    "flat large png": (png([bytes(3 * 2000)] * 2000, 2000), "claim 2000x2000"),
    "png of no width": (png([b""], 0), "its size is 1x0"),
    "png without rows": (png([[1, 2, 3]], 1, height=2), "ends before the last row"),
    "png without data": (PNG[:33] + chunk(b"IEND"), "no image data"),
    "png bad checksum": (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "wrong checksum"),
    "png unknown critical": (png([[1, 2, 3]], 1, extra=chunk(b"CgBI")), "critical chunk"),
    "png two headers": (png([[1, 2, 3]], 1, extra=PNG[8:33]), "IHDR twice"),
    "png no palette": (png([[0]], 1, colour_type=3), "palette of 0"),
    "png beyond palette": (
        png([[2]], 1, colour_type=3, extra=chunk(b"PLTE", bytes(6))),
        "colour 2 of a palette of 2",
    ),
    "png bad trns": (png([[2]], 1, colour_type=0, extra=chunk(b"tRNS", bytes(6))), "tRNS"),
    "png bad stream": (
        PNG[:33] + chunk(b"IDAT", b"no zlib") + chunk(b"IEND"),
        "damaged or truncated",
    ),
    "png bad filter": (
        PNG[:33] + chunk(b"IDAT", zlib.compress(b"\x09" * 22 * 9)) + chunk(b"IEND"),
        "damaged or truncated",
    ),
    "png chunks": (PNG[:33] + chunk(b"teXt") * 70000 + PNG[33:], "more than 65536 chunks"),
    "jpeg segments": (JPEG[:2] + b"\xff\xfe\0\2" * 5000 + JPEG[2:], "more than 4096 segments"),
    "jpeg scans": (JPEG[:-2] + b"\xff\xda" * 70, "more than 64 scans"),
    "jpeg two frames": (
        JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :][:19] + JPEG[2:],
        "two frame headers",
    ),
    "jpeg no scan": (JPEG[:100], "truncated JPEG"),
    "jpeg junk": (JPEG[:2] + b"\xff\xd8" + JPEG[2:], "damaged JPEG"),
    "webp short": (WEBP[:25], "truncated WebP"),
    "webp half": (WEBP[: len(WEBP) // 2], "damaged or truncated"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_files_give_one_line_that_names_the_file(load, data, message):
    with pytest.raises(ImageError, match=message) as caught:
        load(data)
    assert "picture'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [data for data, _ in LOSSY.values()], ids=LOSSY)
def test_nobody_is_told_to_hide_a_loss(load, data):
    """A PNG made of such a file can be read, and proves nothing."""
    with pytest.raises(ImageError, match="give the file as it was first saved") as caught:
        load(data)
    assert 'a PNG made of this one keeps its losses, and no "none" can rest on it' in str(
        caught.value
    )


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
def test_every_truncation_is_refused(load, data):
    # JPEG: without its last two bytes, the end marker, every sample is still there.
    for length in range(len(data) - (2 if data is JPEG else 0)):
        with pytest.raises(ImageError):
            load(data[:length])


def test_compressed_text_is_never_inflated(load):
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))
    data = PNG[:33] + text * 4 + PNG[33:]
    tracemalloc.start()
    try:
        assert np.array_equal(load(data).pixels, RGB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20 + 4 * len(data)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="No such file"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match=r"null (byte|character)"):
        load_image("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="not an ordinary file"):
        load_image(tmp_path / "pipe")
    with pytest.raises(ImageError, match="cannot read") as caught:
        load_image(tmp_path / ("line\nbreak" + "x" * 300))
    assert "\n" not in str(caught.value)


def test_unreadable_file(tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(PNG)
    path.chmod(0)
    with without_privileges(), pytest.raises(ImageError, match="Permission denied"):
        load_image(path)


def test_huge_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_module, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "p.png"
    path.write_bytes(bytes(2**20 + 1))
    with pytest.raises(ImageError, match="larger than 1 MiB"):
        load_image(path)


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        png([[0, 1, 2]], 3, colour_type=3, extra=chunk(b"PLTE", bytes(9)) + chunk(b"tRNS", b"\1")),
        encoded(
            RGB,
            "JPEG",
            progressive=True,
            exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0",
        ),
        WEBP,
        encoded(RGBA, "WEBP"),
    ],
    ids=["png", "palette", "jpeg", "webp", "webp-alpha"],
)
def test_mutated_files_give_an_image_or_an_image_error(load, data):
    draw = random.Random(0)
    outcomes = set()
    for _ in range(300):
        mutated = bytearray(data)
        for _ in range(draw.choice([1, 1, 2, 8])):
            mutated[draw.randrange(len(mutated))] = draw.choice([0, 255, draw.randrange(256)])
        try:
            pixels = load(bytes(mutated)).pixels
        except ImageError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert pixels.dtype == np.uint8
            assert pixels.shape[2] in (1, 3, 4)
    assert "refused" in outcomes
