"""The smooth model of JPEG compression against the real encoder, and what is learnt from files."""

import functools

import numpy as np
import pytest
import scipy.ndimage
from image_files import encoded
from PIL import Image

from jattr.alterations.chain import Chain, smooth_of_bytes
from jattr.alterations.files import AlteredImages, from_jpeg
from jattr.alterations.jpeg import Jpeg, blocks_of, dct_matrix, read_jpeg, to_ycc
from jattr.alterations.registry import parse_chain
from jattr.errors import ImageError, InputError
from jattr.images.jpeg import JpegFormat
from jattr.images.reading import decode

SIZES = [(64, 64), (28, 28), (33, 47)]
KINDS = ["4:4:4", "4:2:2", "4:4:0", "4:2:0", "4:1:1", "4:1:0", "rgb", "grey"]


@functools.lru_cache(maxsize=32)
def photo(size, channels, count=2):
    """Images with soft shapes and some grain, of all frequencies."""
    rng = np.random.default_rng(0)
    soft = scipy.ndimage.gaussian_filter(rng.normal(size=(count, *size, channels)), (0, 2, 2, 0))
    values = 128 + 50 * soft / soft.std() + 4 * rng.normal(size=soft.shape)
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def jpeg_of(kind, quality):
    return Jpeg.of_quality(quality, "4:4:4" if kind == "grey" else kind, 1 if kind == "grey" else 3)


def case(kind, size, quality=90):
    """The compression, images, and the smooth form's coefficients of them in bytes [n, N]."""
    jpeg, pixels = jpeg_of(kind, quality), photo(size, 1 if kind == "grey" else 3)
    smooth = smooth_of_bytes(Chain((jpeg,)), pixels).astype(np.float64) * 127.5
    return jpeg, pixels, smooth.reshape(len(pixels), -1)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_smooth_form_differs_by_the_roundings_of_colour(kind, size):
    """An orthonormal transform keeps a rounding's sqrt(1/12) = 0.29.

    That of chroma means adds up to as much: 0.41.

    In 4:2:2 that one is not small against the bias of 1/4 that alternates. Grey and RGB
    are not converted: float32.
    """
    jpeg, pixels, smooth = case(kind, size)
    rounding = jpeg.unquantised(pixels) - smooth
    variance = rounding.var() - 1 / 12  # without that of the whole numbers that `unquantised` gives
    if kind in ("grey", "rgb"):
        assert np.abs(rounding).max() < 0.8  # half a number, and the integer DCT's own roundings
        assert abs(variance) < 0.03
        return
    assert 0.25**2 < variance < 0.45**2
    # the half of a byte that truncation would leave shows at frequency 0 only
    assert abs(rounding.mean()) < 0.05
    assert np.abs(rounding).max() < 0.5 * 8 * 2  # a block of 64 half bytes of one sign, twice


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quality", [50, 90])
def test_coefficients_are_those_of_the_file(kind, size, quality):
    """The encoder's integer DCT is off by about 0.08.

    Steps of 3 and more hide that but for 2 % of the coefficients.

    The smooth form is off by roundings besides: half a byte all over a block, as where a corner is
    repeated, is 4.
    """
    jpeg, pixels, smooth = case(kind, size, quality)
    steps = jpeg.steps(pixels.shape[1:])
    expected = np.round(smooth / steps)
    for i in range(len(pixels)):
        stored, found = read_jpeg(jpeg.encode(pixels[i]))
        assert found == jpeg
        assert (
            stored.shape == steps.shape == expected[i].shape == jpeg.groups(pixels.shape[1:]).shape
        )
        assert (stored == expected[i]).mean() >= 0.95
        assert (np.abs(stored * steps - smooth[i]) - steps / 2).max() < 4
        telling = stored != 0  # mostly zeros would agree in any order
        assert telling.sum() > 50
        assert (stored == expected[i])[telling].mean() >= 0.85


def stored_file(image, orientation, quality, kind):
    """A file that Pillow makes of an image turned so that its EXIF orientation shows it upright."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    stored = {
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1], 5: image.swapaxes(0, 1),
        6: np.rot90(image), 7: image[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(image, -1),
    }[orientation]  # fmt: skip
    return encoded(
        np.ascontiguousarray(stored), "JPEG", quality=quality, subsampling=kind, exif=tags
    )


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["4:2:0", "4:2:2"])
def test_files_that_are_stored_turned_are_upright_images_with_coefficients_of_the_turned_ones(
    kind, orientation
):
    pixels = photo((33, 47), 3)
    files = [stored_file(image, orientation, 90, kind) for image in pixels]
    found = from_jpeg(files)
    jpeg = Jpeg.of_quality(90, kind, orientation=orientation)
    assert found.chain.steps == (jpeg,)
    assert found.chain.text == f"jpeg:90:{kind}" + (
        f":exif{orientation}" if orientation > 1 else ""
    )
    assert found.pixels.shape == pixels.shape
    assert np.abs(found.pixels.astype(int) - pixels).mean() < 8  # mean chroma of 4:2:0 leaves 6.6
    assert np.abs(found.pixels.astype(int) - pixels[:, ::-1]).mean() > 30
    np.testing.assert_array_equal(found.pixels, jpeg.discrete(pixels))
    np.testing.assert_array_equal(found.quantised, jpeg.quantised(pixels))
    smooth = (
        smooth_of_bytes(found.chain, pixels).astype(np.float64).reshape(len(pixels), -1) * 127.5
    )
    steps = jpeg.steps(pixels.shape[1:])
    telling = found.quantised != 0
    assert (np.abs(jpeg.unquantised(pixels) - smooth)).max() < 8
    assert (found.quantised == np.round(smooth / steps))[telling].mean() >= 0.85


@pytest.mark.parametrize("orientation", [2, 6])
def test_blocks_with_pixels_at_the_ends_are_those_of_the_stored_image(orientation):
    pixels = np.full((1, 24, 40, 3), 100, np.uint8)
    pixels[0, 3, 2] = 255
    jpeg = Jpeg.of_quality(90, "4:4:4", decoded=True, orientation=orientation)
    luma = jpeg.cut_off(pixels)[0][: 15 * 64].reshape(*jpeg.grids(pixels.shape[1:])[0], 64).all(-1)
    assert luma.shape == {2: (3, 5), 6: (5, 3)}[orientation]
    assert np.argwhere(luma).tolist() == {2: [[0, 4]], 6: [[4, 0]]}[orientation]


def test_another_order_would_not_agree():
    """What the test above relies on: transposed blocks, or blocks by columns, are far from the
    file's.
    """
    jpeg, pixels, _ = case("4:4:4", (64, 64))
    steps = jpeg.steps(pixels.shape[1:])
    stored = read_jpeg(jpeg.encode(pixels[0]))[0] * steps
    blocks = jpeg.unquantised(pixels)[0].reshape(3, 8, 8, 8, 8)
    for wrong in (blocks.swapaxes(3, 4), blocks.swapaxes(1, 2), blocks[[0, 2, 1]]):
        assert np.abs(wrong.ravel() - stored).max() > 20 * np.abs(blocks.ravel() - stored).max()


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_groups_follow_the_tables(kind):
    jpeg = jpeg_of(kind, 75)
    shape = (33, 47, len(jpeg.format.tables))
    grids = blocks_of(shape, jpeg.format.sampling)
    assert grids[0] == (5, 6)
    chroma = {"4:2:2": (5, 3), "4:4:0": (3, 6), "4:2:0": (3, 3), "4:1:1": (5, 2), "4:1:0": (3, 2)}
    assert grids[-1] == chroma.get(kind, (5, 6))
    steps, groups = jpeg.steps(shape), jpeg.groups(shape)
    assert len(steps) == len(groups) == 64 * sum(rows * columns for rows, columns in grids)
    tables = np.concatenate([table.ravel() for table in jpeg.format.tables])
    np.testing.assert_array_equal(steps, tables[groups])
    np.testing.assert_array_equal(
        np.bincount(groups), np.repeat([rows * columns for rows, columns in grids], 64)
    )


def test_transforms_are_the_standards():
    """Orthonormal, grey has no chroma, and pure colours are at the ends of the range (T.871)."""
    dct, ycc = dct_matrix(), to_ycc()
    np.testing.assert_allclose(dct @ dct.T, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(dct[0], 8**-0.5, atol=1e-12)
    np.testing.assert_allclose(np.ones(3) @ ycc, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose([ycc[2, 1], ycc[0, 2]], 0.5, atol=1e-12)


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "4:1:0", "rgb"])
def test_text_states_the_quality(quality, kind):
    jpeg = Jpeg.of_quality(quality, kind)
    assert jpeg.text == f"jpeg:{quality}:{kind}"
    assert parse_chain(jpeg.text).steps == (jpeg,)
    assert read_jpeg(jpeg.encode(photo((28, 28), 3)[0]))[1] == jpeg
    if kind in ("4:4:4", "4:2:2", "4:2:0"):  # which Pillow has a name for
        file = encoded(photo((28, 28), 3)[0], "JPEG", quality=quality, subsampling=kind)
        assert read_jpeg(file)[1] == jpeg


def test_own_tables_have_a_name_of_their_own():
    """They cannot be written as a text, so such a text is refused and files are read by
    `from_jpeg`.
    """
    plain = Jpeg.of_quality(75, "4:2:0").format
    changed = [table.copy() for table in plain.tables]
    changed[0][3, 4] += 1
    jpeg = Jpeg(JpegFormat(tuple(changed), plain.sampling))
    assert jpeg.text.startswith("jpeg:own-")
    assert jpeg.text.endswith(":4:2:0")
    assert jpeg != Jpeg(plain)
    again = JpegFormat((changed[0] + np.uint16(1), *changed[1:]), plain.sampling)
    assert Jpeg(again).text != jpeg.text
    assert read_jpeg(jpeg.encode(photo((28, 28), 3)[0]))[1] == jpeg
    with pytest.raises(InputError, match="it is written jpeg:QUALITY"):
        parse_chain(jpeg.text)


def test_files_become_altered_images():
    jpeg, pixels = Jpeg.of_quality(80), photo((33, 47), 3)
    found = from_jpeg([jpeg.encode(p) for p in pixels], parse_chain("flip"))
    assert found.chain.text == "flip:horizontal,jpeg:80:4:2:0"
    np.testing.assert_array_equal(found.pixels, [decode(jpeg.encode(p)).pixels for p in pixels])
    np.testing.assert_array_equal(found.pixels, jpeg.discrete(pixels))
    np.testing.assert_array_equal(found.quantised[1], read_jpeg(jpeg.encode(pixels[1]))[0])


def test_files_of_another_kind_are_refused_by_their_number():
    pixels = photo((33, 47), 3)
    first = Jpeg.of_quality(80).encode(pixels[0])
    turned = Jpeg.of_quality(80, orientation=3).encode(pixels[1])
    for other in (
        Jpeg.of_quality(81).encode(pixels[1]),
        Jpeg.of_quality(80).encode(pixels[1, :, :46]),
        turned,
    ):
        with pytest.raises(ImageError, match="JPEG 2 of 2 has another size or other tables"):
            from_jpeg([first, other])
    with pytest.raises(ImageError, match="not a JPEG"):
        from_jpeg([encoded(pixels[0], "PNG")])


PIXELS = np.zeros((2, 8, 8, 3), np.uint8)
REFUSED = [
    (PIXELS[0], "flip", None, "give uint8"),
    (PIXELS.astype(np.float32), "flip", None, "give uint8"),
    (PIXELS[:0], "flip", None, "give uint8"),
    (PIXELS, "jpeg:75", None, "use from_jpeg"),
    (PIXELS, "flip", np.zeros((2, 192)), "use from_jpeg"),
    (PIXELS, "jpeg:75:4:4:4", np.zeros((2, 191)), r"coefficients are \(2, 191\).*\(2, 192\)"),
    (PIXELS, "jpeg:75:4:4:4", np.zeros((1, 192)), r"coefficients are \(1, 192\)"),
]


@pytest.mark.parametrize(("pixels", "text", "quantised", "message"), REFUSED)
def test_images_that_do_not_fit_their_chain_are_refused(pixels, text, quantised, message):
    with pytest.raises(ImageError, match=message) as error:
        AlteredImages(pixels, parse_chain(text), quantised)
    assert "\n" not in str(error.value)
