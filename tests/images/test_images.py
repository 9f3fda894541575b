"""Every rule of docs/images.md; `test_image_refusals` has what is refused."""

import hashlib
import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from image_files import GREY, RGB, RGBA, RNG, chunk, encoded, png
from PIL import Image, ImageCms, ImageOps

from jattr.errors import ImageError, OutputError
from jattr.images import fit, fit_notes, load_image, read_image, to_byte, to_float, write_png
from jattr.images.colour import COLORANTS
from jattr.images.reading import decode


@pytest.fixture
def load(tmp_path):
    def load_bytes(data):
        path = tmp_path / "picture"
        path.write_bytes(data)
        return load_image(path)

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
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


# Kinds of files


@pytest.mark.parametrize("pixels", [GREY, RGB, RGBA], ids=["grey", "rgb", "rgba"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})],
    ids=["png", "webp"],
)
def test_lossless_files_are_read_exactly(load, pixels, kind, options):
    data = encoded(pixels, kind, **options)
    image = load(data)
    expected = np.repeat(pixels, 3, -1) if kind == "WEBP" and pixels is GREY else pixels
    assert image.pixels.dtype == np.uint8
    assert np.array_equal(image.pixels, expected)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert image.notes == ()


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
    # components named 1, 2, 3 and not R, G, B: only the Adobe segment says RGB
    for number in range(3):
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
    keyed = load(
        png(
            [row],
            3,
            depth=depth,
            colour_type=0,
            extra=chunk(b"tRNS", struct.pack(">H", 2**depth - 1)),
        )
    )
    assert keyed.pixels[0, :, 3].tolist() == [255 if v != 2**depth - 1 else 0 for v in values]
    assert keyed.pixels[0, :, 1].tolist() == [v * scale for v in values]


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_palette(load, depth):
    palette = chunk(b"PLTE", bytes([9, 8, 7, 40, 50, 60, 1, 2, 3]))
    row = int("".join(f"{v:0{depth}b}" for v in [2, 0, 1]).ljust(24, "0"), 2).to_bytes(3, "big")[
        : (3 * depth + 7) // 8
    ]
    colours = [[1, 2, 3], [9, 8, 7], [40, 50, 60]]
    assert (
        load(png([row], 3, depth=depth, colour_type=3, extra=palette)).pixels[0].tolist() == colours
    )
    clear = load(
        png([row], 3, depth=depth, colour_type=3, extra=palette + chunk(b"tRNS", b"\x80\x00"))
    )
    assert clear.pixels[0].tolist() == [[1, 2, 3, 255], [9, 8, 7, 128], [40, 50, 60, 0]]


def test_grey_with_alpha_and_rgb_with_a_transparent_colour(load):
    assert load(png([[5, 6, 7, 8]], 2, colour_type=4)).pixels[0].tolist() == [
        [5, 5, 5, 6],
        [7, 7, 7, 8],
    ]
    key = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    assert load(png([[1, 2, 3, 1, 2, 4]], 2, extra=key)).pixels[0].tolist() == [
        [1, 2, 3, 0],
        [1, 2, 4, 255],
    ]


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
    plain, tagged = (
        load(encoded(RGB, kind, **options)),
        load(encoded(RGB, kind, icc_profile=b"profile", **options)),
    )
    assert np.array_equal(plain.pixels, tagged.pixels)
    assert plain.notes == ()
    assert "profile" in tagged.notes[0]
    assert (plain.srgb, tagged.srgb) == (True, False)


def profile(curve, *, colorants=COLORANTS, kind=b"RGB XYZ ", extra=()):
    """An ICC profile with one curve for red, green and blue."""
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * v) for v in xyz))
        for name, xyz in colorants.items()
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve) | dict.fromkeys(extra, b"mft2")
    table, bodies = b"", b""
    for name, body in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(bodies), len(body))
        bodies += body
    return (
        bytes(16)
        + kind
        + bytes(12)
        + b"acsp"
        + bytes(88)
        + struct.pack(">I", len(tags))
        + table
        + bodies
    )


def curve_table(light):
    """The tag of a tone curve given by its values in [0, 1]."""
    return b"curv\0\0\0\0" + struct.pack(
        f">I{len(light)}H", len(light), *(round(65535 * v) for v in light)
    )


def srgb_light(count):
    x = np.arange(count) / (count - 1)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


SRGB_TABLE = curve_table(srgb_light(1024))
GAMMA = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.8 * 256))
PARAMETRIC = b"para\0\0\0\0" + struct.pack(
    ">HH5i", 3, 0, *(round(65536 * v) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)
ADOBE = COLORANTS | {b"gXYZ": (0.2053, 0.6257, 0.0609), b"rXYZ": (0.6097, 0.3111, 0.0195)}
OTHERS = {
    "other curve": profile(GAMMA),
    "no curve": profile(curve_table([])),
    "other primaries": profile(PARAMETRIC, colorants=ADOBE),
    "a table besides": profile(PARAMETRIC, extra=[b"A2B0"]),
    "grey": profile(PARAMETRIC, kind=b"GRAYXYZ "),
    "cut off": profile(SRGB_TABLE)[:900],
    "overflow": profile(b"para" + bytes(8) + struct.pack(">i", -(2**31))),
    "unknown function": profile(b"para\0\0\0\0\0\x09\0\0" + bytes(28)),
    "too large": profile(SRGB_TABLE) + bytes(1 << 17),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_profiles_of_srgb_are_known_and_need_no_note(load, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    pillows = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (pillows, profile(SRGB_TABLE), profile(PARAMETRIC)):
        image = load(encoded(RGB, kind, icc_profile=data, **options))
        assert (image.srgb, image.notes) == (True, ())
    for name, data in OTHERS.items():
        image = load(encoded(RGB, kind, icc_profile=data, **options))
        assert (image.srgb, len(image.notes)) == (False, 1), name


COLOUR_CHUNKS = [
    (b"gAMA", struct.pack(">I", 45455), True),
    (b"gAMA", struct.pack(">I", 45454), False),
    (b"gAMA", b"", False),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), True),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000), False),
    (b"cHRM", struct.pack(">8I", 2**32 - 1, 32900, 64000, 33000, 30000, 60000, 15000, 6000), False),
    (b"cHRM", bytes(31), False),
    (b"cICP", bytes((1, 13, 0, 1)), True),
    (b"cICP", bytes((9, 16, 0, 1)), False),
    (b"sRGB", b"\0", True),
    (b"iCCP", b"name\0\0damaged", False),
    (b"iCCP", b"", False),
]


@pytest.mark.parametrize(("type_", "body", "srgb"), COLOUR_CHUNKS)
def test_colours_of_png_chunks(load, type_, body, srgb):
    image = load(png([[1, 2, 3]], 1, extra=chunk(type_, body)))
    assert (image.srgb, len(image.notes)) == (srgb, 0 if srgb else 1)


def test_gamma_is_ignored_and_noted(load):
    image = load(png([[1, 2, 3]], 1, extra=chunk(b"gAMA", struct.pack(">I", 100000))))
    assert image.pixels[0, 0].tolist() == [1, 2, 3]
    assert "gamma" in image.notes[0]


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
    image = load(data)
    assert np.array_equal(image.pixels, expected)
    assert len(image.notes) == (2 <= orientation <= 8)
    assert image.orientation == (orientation if 2 <= orientation <= 8 else 1)


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
    with pytest.raises(ImageError, match=r"is 9x7 .* not 18x14; .*--resize"):
        fit(pixels, (18, 14, channels))
    large = fit(pixels, (18, 14, channels), resize=True)
    assert large.shape == (18, 14, channels)
    image = Image.fromarray(pixels.squeeze()).resize((14, 18), Image.Resampling.LANCZOS)
    assert np.array_equal(large, np.asarray(image).reshape(large.shape))
    assert "from 9x7 to 18x14" in fit_notes(pixels, (18, 14, channels))[0]
    assert fit(pixels, (9, 7, channels), resize=True) is pixels


def test_read_image_converts_and_an_image_records_what_was_done(tmp_path):
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
    fitted = load_image(path).fit((4, 5, 1), resize=True)
    assert fitted.pixels.shape == (4, 5, 1)
    assert [note.split()[0] for note in fitted.notes] == ["transparent", "colours", "resized"]


# Writing


@pytest.mark.parametrize(
    "pixels", [GREY, RGB, RGBA, GREY[:1, :1]], ids=["grey", "rgb", "rgba", "one"]
)
def test_written_images_are_read_back_exactly(tmp_path, pixels):
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
def test_only_images_are_written(tmp_path, pixels):
    with pytest.raises(ImageError, match="legal is uint8"):
        write_png(tmp_path / "p.png", pixels)


@pytest.mark.parametrize(
    ("name", "options", "compressed"),
    [
        ("a.png", {}, False),
        ("a.jpg", {}, True),
        ("a.webp", {"lossless": True}, False),
        ("b.webp", {}, True),
    ],
)
def test_an_image_knows_whether_its_file_lost_something(tmp_path, name, options, compressed):
    Image.new("RGB", (8, 8), (200, 30, 90)).save(tmp_path / name, **options)
    assert load_image(tmp_path / name).compressed is compressed


@pytest.mark.parametrize(
    "options", [{}, {"icc_profile": b"x" * 9}, {"exif": b"Exif\0\0" + b"y" * 9}]
)
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_file_is_lossless_whatever_stands_before_its_image(options, lossless):
    for pixels in (RGB, RGBA):
        data = encoded(pixels, "WEBP", lossless=lossless, exact=True, **options)
        assert decode(data).compressed != lossless
