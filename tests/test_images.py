"""Every rule of docs/pictures.md, and every way a picture file can be bad."""

import hashlib
import io
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from jattr.errors import ImageError, OutputError
from jattr.images import fit, fit_notes, load_picture, read_image, to_byte, to_float, write_png
from jattr.images import reading as reading_module

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3), np.uint8)
RGBA = RNG.integers(0, 256, (9, 7, 4), np.uint8)
GREY = RNG.integers(0, 256, (9, 7, 1), np.uint8)


def chunk(type_, body=b""):
    return struct.pack(">I", len(body)) + type_ + body + struct.pack(">I", zlib.crc32(type_ + body))


def png(rows, width, *, depth=8, colour_type=2, extra=b"", interlacing=0, height=None):
    """A PNG file of unfiltered rows, written without Pillow."""
    header = struct.pack(">IIBBBBB", width, height or len(rows), depth, colour_type, 0, 0, interlacing)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND")


def encoded(pixels, kind, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def load(tmp_path):
    def load_bytes(data):
        path = tmp_path / "picture"
        path.write_bytes(data)
        return load_picture(path)

    return load_bytes


# Values


def test_bytes_to_floats_and_back_are_the_identity():
    every = np.arange(256, dtype=np.uint8)
    floats = to_float(every)
    assert floats.dtype == np.float32
    assert (floats[0], floats[255]) == (-1, 1)
    assert np.array_equal(floats, np.arange(256, dtype=np.float32) / np.float32(127.5) - 1)
    assert np.array_equal(to_byte(floats), every)


def test_round_changes_byte_halfway_and_truncate_at_the_byte():
    just_below = np.nextafter(np.float32(0), np.float32(-1))
    assert to_byte(np.float32([-1, 0, 1])).tolist() == [0, 128, 255]
    assert to_byte(np.float32([-1, 0, 1]), rule="truncate").tolist() == [0, 127, 255]
    assert to_byte(np.float32([-5, 5, np.inf, -np.inf])).tolist() == [0, 255, 255, 0]
    middle = np.float32(100.5 / 127.5 - 1)
    assert to_byte(middle - np.float32(1e-3)) == 100
    assert to_byte(middle + np.float32(1e-3)) == 101
    assert to_byte(just_below, rule="truncate") == 127


def test_truncate_is_what_other_programs_do():
    x = RNG.uniform(-1, 1, 200_000).astype(np.float32)
    theirs = ((x + 1) / 2 * 255).astype(np.uint8)
    assert np.array_equal(to_byte(x, rule="truncate"), theirs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_byte(np.float32([0]), rule="floor"), "legal are round, truncate"),
        (lambda: to_byte(np.float32([np.nan])), "NaN"),
        (lambda: to_byte(np.array([1])), "must be floats"),
        (lambda: to_float(np.float32([0])), "must be uint8"),
    ],
)
def test_values_are_checked(call, message):
    with pytest.raises(ImageError, match=message):
        call()


def test_importing_images_does_not_import_jax():
    code = "import sys, jattr.images.reading as r; sys.exit('jax' in sys.modules and 'jax' or 0)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


# Kinds of files


@pytest.mark.parametrize("pixels", [GREY, RGB, RGBA], ids=["grey", "rgb", "rgba"])
@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})], ids=["png", "webp"]
)
def test_lossless_files_are_read_exactly(load, pixels, kind, options):
    data = encoded(pixels, kind, **options)
    picture = load(data)
    expected = np.repeat(pixels, 3, -1) if kind == "WEBP" and pixels is GREY else pixels
    assert picture.pixels.dtype == np.uint8
    assert np.array_equal(picture.pixels, expected)
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert picture.notes == ()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_jpeg_is_the_decoders_samples(load, pixels, progressive):
    data = encoded(pixels, "JPEG", quality=70, progressive=progressive, comment=b"dropped")
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image).reshape(pixels.shape)
    assert np.array_equal(load(data).pixels, expected)


def test_jpeg_stored_as_rgb_is_not_taken_for_ycbcr(load):
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    data = bytearray(encoded(flat, "JPEG", quality=100, keep_rgb=True))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number in range(3):  # components named 1, 2, 3 and not R, G, B: only the Adobe segment says RGB
        data[frame + 10 + 3 * number] = data[scan + 5 + 2 * number] = number + 1
    assert b"Adobe" in data
    assert abs(load(data).pixels.astype(int) - flat).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_of_every_depth_spans_0_to_255(load, depth):
    values = [0, 2**depth - 1, 1]
    packed = int("".join(f"{v:0{depth}b}" for v in values).ljust(24, "0"), 2).to_bytes(3, "big")
    row = packed[: (3 * depth + 7) // 8]
    scale = 255 // (2**depth - 1)
    data = png([row], 3, depth=depth, colour_type=0)
    assert load(data).pixels[0, :, 0].tolist() == [v * scale for v in values]
    # The transparent grey value is stored at the file's own depth.
    keyed = load(png([row], 3, depth=depth, colour_type=0, extra=chunk(b"tRNS", struct.pack(">H", 2**depth - 1))))
    assert keyed.pixels[0, :, 3].tolist() == [255 if v != 2**depth - 1 else 0 for v in values]
    assert keyed.pixels[0, :, 1].tolist() == [v * scale for v in values]


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_palette(load, depth):
    palette = chunk(b"PLTE", bytes([9, 8, 7, 40, 50, 60, 1, 2, 3]))
    row = int("".join(f"{v:0{depth}b}" for v in [2, 0, 1]).ljust(24, "0"), 2).to_bytes(3, "big")[: (3 * depth + 7) // 8]
    colours = [[1, 2, 3], [9, 8, 7], [40, 50, 60]]
    assert load(png([row], 3, depth=depth, colour_type=3, extra=palette)).pixels[0].tolist() == colours
    clear = load(png([row], 3, depth=depth, colour_type=3, extra=palette + chunk(b"tRNS", b"\x80\x00")))
    assert clear.pixels[0].tolist() == [[1, 2, 3, 255], [9, 8, 7, 128], [40, 50, 60, 0]]


def test_grey_with_alpha_and_rgb_with_a_transparent_colour(load):
    assert load(png([[5, 6, 7, 8]], 2, colour_type=4)).pixels[0].tolist() == [[5, 5, 5, 6], [7, 7, 7, 8]]
    key = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    assert load(png([[1, 2, 3, 1, 2, 4]], 2, extra=key)).pixels[0].tolist() == [[1, 2, 3, 0], [1, 2, 4, 255]]


def test_interlaced_png_is_read_and_must_be_complete(load):
    # Adam7 of 2x2: passes 1 (0,0), 6 (1,0), 7 (0,1) and (1,1).
    rows = [[10], [20], [30, 40]]
    data = png(rows, 2, height=2, colour_type=0, interlacing=1)
    assert load(data).pixels[..., 0].tolist() == [[10, 20], [30, 40]]
    with pytest.raises(ImageError, match="ends before the last row"):
        load(png(rows[:2], 2, height=2, colour_type=0, interlacing=1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_profiles_are_ignored_and_noted(load, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    plain, tagged = load(encoded(RGB, kind, **options)), load(encoded(RGB, kind, icc_profile=b"profile", **options))
    assert np.array_equal(plain.pixels, tagged.pixels)
    assert plain.notes == ()
    assert "profile" in tagged.notes[0]


def test_gamma_is_ignored_and_noted(load):
    picture = load(png([[1, 2, 3]], 1, extra=chunk(b"gAMA", struct.pack(">I", 100000))))
    assert picture.pixels[0, 0].tolist() == [1, 2, 3]
    assert "gamma" in picture.notes[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied_as_viewers_do(load, kind, orientation, order):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHHII", 2, 0x0100, 4, 1, 7) + struct.pack(
        order + "HHIHH", 0x0112, 3, 1, orientation, 0
    )
    exif = b"Exif\0\0" + mark + struct.pack(order + "I", 8) + entries + bytes(4)
    data = encoded(RGB, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = load(data)
    assert np.array_equal(picture.pixels, expected)
    assert len(picture.notes) == (2 <= orientation <= 8)


def test_the_name_of_the_file_does_not_matter(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(RGB, "PNG"))
    assert np.array_equal(read_image(path), RGB)


# Channels and size


def test_grey_and_rgb_conversions():
    assert np.array_equal(fit(GREY, (9, 7, 3)), np.repeat(GREY, 3, -1))
    assert np.array_equal(fit(np.repeat(GREY, 3, -1), (9, 7, 1)), GREY)
    assert fit_notes(np.repeat(GREY, 3, -1), (9, 7, 1)) == ()
    assert np.array_equal(fit(RGB, (9, 7, 4))[..., :3], RGB)
    assert (fit(RGB, (9, 7, 4))[..., 3] == 255).all()
    assert (fit(GREY, (9, 7, 4))[..., 3] == 255).all()
    luma = (RGB.astype(np.int64) @ [19595, 38470, 7471] + 32768) >> 16
    assert np.array_equal(fit(RGB, (9, 7, 1))[..., 0], luma)
    assert "luma" in fit_notes(RGB, (9, 7, 1))[0]


def test_alpha_is_dropped_when_opaque_else_composited_over_white():
    opaque = np.dstack([RGB, np.full((9, 7), 255, np.uint8)])
    assert np.array_equal(fit(opaque, (9, 7, 3)), RGB)
    assert fit_notes(opaque, (9, 7, 3)) == ()
    colour, alpha = np.indices((256, 256))
    every = np.dstack([colour, colour, colour, alpha]).astype(np.uint8)
    # Sums over 255 are never halfway between two bytes, so rounding to nearest leaves no choice.
    nearest = np.rint((colour * alpha + 255 * (255 - alpha)) / 255)
    assert np.array_equal(fit(every, (256, 256, 1))[..., 0], nearest)
    assert "white" in fit_notes(RGBA, (9, 7, 3))[0]
    assert np.array_equal(fit(RGBA, (9, 7, 1)), fit(fit(RGBA, (9, 7, 3)), (9, 7, 1)))
    assert len(fit_notes(RGBA, (9, 7, 1))) == 2


@pytest.mark.parametrize("pixels", [GREY, RGB, RGBA], ids=["grey", "rgb", "rgba"])
def test_size_changes_only_when_asked(pixels, tmp_path):
    channels = pixels.shape[2]
    with pytest.raises(ImageError, match=r"is 9x7 .* wanted is 18x14; .*--resize"):
        fit(pixels, (18, 14, channels))
    large = fit(pixels, (18, 14, channels), resize=True)
    assert large.shape == (18, 14, channels)
    image = Image.fromarray(pixels.squeeze()).resize((14, 18), Image.Resampling.LANCZOS)
    assert np.array_equal(large, np.asarray(image).reshape(large.shape))
    assert "from 9x7 to 18x14" in fit_notes(pixels, (18, 14, channels))[0]
    assert fit(pixels, (9, 7, channels), resize=True) is pixels


def test_read_image_converts_and_a_picture_records_what_was_done(tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(encoded(RGBA, "PNG"))
    assert np.array_equal(read_image(path, channels=3), fit(RGBA, (9, 7, 3)))
    assert read_image(path, size=(4, 5), resize=True).shape == (4, 5, 4)
    with pytest.raises(ImageError, match=r"p\.png.*9x7.*4x5"):
        read_image(path, size=(4, 5))
    with pytest.raises(ImageError, match="legal are 1"):
        read_image(path, channels=2)
    with pytest.raises(ImageError, match="at least 1x1"):
        read_image(path, size=(0, 5), resize=True)
    fitted = load_picture(path).fit((4, 5, 1), resize=True)
    assert fitted.pixels.shape == (4, 5, 1)
    assert [note.split()[0] for note in fitted.notes] == ["transparent", "colours", "resized"]


# Refusals

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
    return b"RIFF" + struct.pack("<I", 22 + len(WEBP[12:])) + b"WEBPVP8X\x0a\0\0\0" + bytes(4) + canvas + WEBP[12:]


REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is no picture", "not a PNG, JPEG or WebP"),
    "gif": (encoded(RGB, "GIF"), "not a PNG, JPEG or WebP"),
    "bmp": (encoded(RGB, "BMP"), "not a PNG, JPEG or WebP"),
    "tiff": (encoded(RGB, "TIFF"), "not a PNG, JPEG or WebP"),
    "cmyk": (encoded(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK"),
    "png 16 bit grey": (png([bytes(6)], 3, depth=16, colour_type=0), "16 bits"),
    "png 16 bit rgb": (png([bytes(18)], 3, depth=16), "16 bits"),
    "png odd depth": (png([bytes(3)], 3, depth=4, colour_type=2), "IHDR chunk is illegal"),
    "apng": (encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "animated PNG"),
    "animated webp": (encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "animated WebP"),
    "png bomb": (oversized("PNG"), "30000x30000; the most jattr decodes"),
    "jpeg bomb": (oversized("JPEG"), "30000x30000; the most jattr decodes"),
    "webp bomb": (oversized("WEBP"), "30000x30000; the most jattr decodes"),
    "flat large png": (png([bytes(3 * 2000)] * 2000, 2000), "claim 2000x2000"),
    "png of no width": (png([b""], 0), "its size is 1x0"),
    "png without rows": (png([[1, 2, 3]], 1, height=2), "ends before the last row"),
    "png without data": (PNG[:33] + chunk(b"IEND"), "no picture data"),
    "png bad checksum": (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "wrong checksum"),
    "png unknown critical": (png([[1, 2, 3]], 1, extra=chunk(b"CgBI")), "critical chunk"),
    "png two headers": (png([[1, 2, 3]], 1, extra=PNG[8:33]), "IHDR twice"),
    "png no palette": (png([[0]], 1, colour_type=3), "palette of 0"),
    "png beyond palette": (png([[2]], 1, colour_type=3, extra=chunk(b"PLTE", bytes(6))), "colour 2 of a palette of 2"),
    "png bad trns": (png([[2]], 1, colour_type=0, extra=chunk(b"tRNS", bytes(6))), "tRNS"),
    "png bad stream": (PNG[:33] + chunk(b"IDAT", b"no zlib") + chunk(b"IEND"), "damaged or truncated"),
    "png bad filter": (
        PNG[:33] + chunk(b"IDAT", zlib.compress(b"\x09" * 22 * 9)) + chunk(b"IEND"),
        "damaged or truncated",
    ),
    "png chunks": (PNG[:33] + chunk(b"teXt") * 70000 + PNG[33:], "more than 65536 chunks"),
    "jpeg segments": (JPEG[:2] + b"\xff\xfe\0\2" * 5000 + JPEG[2:], "more than 4096 segments"),
    "jpeg scans": (JPEG[:-2] + b"\xff\xda" * 70, "more than 64 scans"),
    "jpeg two frames": (JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :][:19] + JPEG[2:], "two frame headers"),
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
        load_picture(tmp_path)
    with pytest.raises(ImageError, match="No such file"):
        load_picture(tmp_path / "absent.png")
    with pytest.raises(ImageError, match=r"null (byte|character)"):
        load_picture("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="not an ordinary file"):
        load_picture(tmp_path / "pipe")
    with pytest.raises(ImageError, match="cannot read") as caught:
        load_picture(tmp_path / ("line\nbreak" + "x" * 300))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(PNG)
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        load_picture(path)


def test_huge_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_module, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "p.png"
    path.write_bytes(bytes(2**20 + 1))
    with pytest.raises(ImageError, match="larger than 1 MiB"):
        load_picture(path)


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        png([[0, 1, 2]], 3, colour_type=3, extra=chunk(b"PLTE", bytes(9)) + chunk(b"tRNS", b"\1")),
        encoded(RGB, "JPEG", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0"),
        WEBP,
        encoded(RGBA, "WEBP"),
    ],
    ids=["png", "palette", "jpeg", "webp", "webp-alpha"],
)
def test_mutated_files_give_a_picture_or_an_image_error(load, data):
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


# Writing


@pytest.mark.parametrize("pixels", [GREY, RGB, RGBA, GREY[:1, :1]], ids=["grey", "rgb", "rgba", "one"])
def test_written_pictures_are_read_back_exactly(tmp_path, pixels):
    path = tmp_path / "p.png"
    path.write_bytes(b"old")
    write_png(path, pixels)
    assert np.array_equal(read_image(path), pixels)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.png"]


def test_writing_fails_with_one_error_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="No such file"):
        write_png(tmp_path / "absent" / "p.png", RGB)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=r"folder\.png"):
        write_png(tmp_path / "folder.png", RGB)
    (tmp_path / "p.png").write_bytes(b"old")

    def disk_full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", disk_full)
    with pytest.raises(OutputError, match="No space left"):
        write_png(tmp_path / "p.png", RGB)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder.png", "p.png"]
    assert (tmp_path / "p.png").read_bytes() == b"old"


@pytest.mark.parametrize("pixels", [RGB[..., 0], RGB[..., :2], RGB.astype(np.float32), RGB[:0]])
def test_only_pictures_are_written(tmp_path, pixels):
    with pytest.raises(ImageError, match="legal is uint8"):
        write_png(tmp_path / "p.png", pixels)
