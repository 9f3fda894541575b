"""Resizing and blurring against Pillow, cut-outs against slices."""

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from jattr.alterations.chain import Chain, smooth_of_bytes
from jattr.alterations.geometry import UPRIGHT
from jattr.alterations.registry import parse_chain
from jattr.alterations.resample import FILTERS, blur_matrix, resize_matrix
from jattr.images import to_byte
from jattr.images.orientation import as_stored, upright

SIZES = [
    ((33, 47), (20, 71)),
    ((33, 47), (50, 31)),
    ((7, 64), (64, 7)),
    ((28, 28), (5, 61)),
    ((1, 9), (4, 1)),
]
# overshoots stay within bytes
CALM = np.random.default_rng(0).integers(60, 196, (2, 33, 47, 3)).astype(np.uint8)


def smooth_bytes(text, pixels):
    """The smooth form's values, in bytes, unrounded."""
    return (smooth_of_bytes(parse_chain(text), pixels).astype(np.float64) + 1) * 127.5


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("size", "new"), SIZES)
def test_resize_matrices_are_pillows(name, size, new):
    """Mode "F" does not round.

    Pillow's weights are float64, ours float32: 1e-6 of the range, not the 1e-4 asked.
    """
    image = np.random.default_rng(1).uniform(0, 255, size).astype(np.float32)
    theirs = np.asarray(Image.fromarray(image).resize(new[::-1], FILTERS[name][0]))
    vertical, horizontal = (
        resize_matrix(size[0], new[0], name),
        resize_matrix(size[1], new[1], name),
    )
    ours = vertical.astype(np.float64) @ image @ horizontal.T
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 255e-6


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", [(20, 30), (50, 60), (33, 20), (50, 47)])
def test_resize_differs_from_pillow_by_its_roundings(name, size):
    """Half a byte from each pass, the first one's multiplied by what the second's weights sum up
    to, without signs.

    0.01: float32, and Pillow's weights of 22 bits.
    """
    text = f"resize:{size[0]}x{size[1]}:{name}"
    made, smooth = parse_chain(text).discrete(CALM), smooth_bytes(text, CALM)
    theirs = [np.asarray(Image.fromarray(p).resize(size[::-1], FILTERS[name][0])) for p in CALM]
    np.testing.assert_array_equal(made, theirs)
    second = np.abs(resize_matrix(33, size[0], name)).sum(1).max()
    assert np.abs(made - smooth).max() < 0.5 + 0.5 * second + 0.01
    assert np.abs(made - np.floor(smooth + 0.5)).max() <= 1
    # two roundings of 0.29 against a step of 1: about 3 of 4
    assert (made == np.floor(smooth + 0.5)).mean() > 0.65


def test_one_pass_is_rounded_once():
    """One axis keeps its size, so Pillow skips it: only ties, and float32, decide the byte."""
    smooth = smooth_bytes("resize:33x20:lanczos", CALM)
    made = parse_chain("resize:33x20:lanczos").discrete(CALM)
    assert np.abs(made - smooth).max() < 0.5 + 1e-3  # of a byte; Pillow's weights have 22 bits
    assert (made == np.floor(smooth + 0.5)).mean() > 0.999


def test_resize_to_the_same_size_changes_nothing():
    np.testing.assert_array_equal(parse_chain("resize:33x47").discrete(CALM), CALM)
    # of a byte; float32
    np.testing.assert_allclose(smooth_bytes("resize:33x47", CALM), CALM, atol=1e-4)


@pytest.mark.parametrize(("factor", "size"), [(0.75, (25, 35)), (1.5, (50, 71)), (0.01, (1, 1))])
def test_rescale_is_a_resize_to_whole_pixels(factor, size):
    chain = parse_chain(f"rescale:{factor}:bicubic")
    assert chain.out_shape(CALM.shape[1:]) == (*size, 3)
    np.testing.assert_array_equal(
        chain.discrete(CALM), parse_chain(f"resize:{size[0]}x{size[1]}:bicubic").discrete(CALM)
    )


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.7, 10.0])
@pytest.mark.parametrize("size", [1, 5, 33])
def test_blur_matrix_is_a_mean(sigma, size):
    """Weights are positive, sum to 1 (float32: 1e-6), and treat both ends alike.

    Their variance is sigma's.
    """
    matrix = blur_matrix(size, sigma)
    np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-6)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)
    wide = blur_matrix(201, sigma)[100].astype(np.float64)
    # the edge is far away
    assert wide @ (np.arange(201.0) - 100) ** 2 == pytest.approx(sigma**2, rel=1e-3)


@pytest.mark.parametrize(("sigma", "bias"), [(0.5, 0.0), (1.0, -0.5), (3.0, 0.0)])
def test_blur_is_pillows_up_to_six_roundings(sigma, bias):
    """Three passes each way, each rounded: 0.5 byte each, averaged by the next ones.

    Sigma 1 truncates, measured.
    """
    text = f"blur:{sigma}"
    made, smooth = parse_chain(text).discrete(CALM).astype(np.float64), smooth_bytes(text, CALM)
    theirs = [np.asarray(Image.fromarray(p).filter(ImageFilter.GaussianBlur(sigma))) for p in CALM]
    np.testing.assert_array_equal(made, theirs)
    assert np.abs(made - smooth).max() < 2.5
    assert (made - smooth).std() < 0.7
    # 9306 bytes of 0.6: 0.01, and neighbours depend on each other
    assert abs((made - smooth).mean() - bias) < 0.05


CUTS = {
    "crop:20x30+3+4": lambda p: p[:, 3:23, 4:34],
    "centre:0.8": lambda p: p[:, 3:29, 4:42],  # 26 of 33, 38 of 47
    "centre:1": lambda p: p,
    "flip": lambda p: p[:, :, ::-1],
    "flip:vertical": lambda p: p[:, ::-1],
    "turn:90": lambda p: np.rot90(p, -1, (1, 2)),
    "turn:180": lambda p: np.rot90(p, 2, (1, 2)),
    "turn:270": lambda p: np.rot90(p, 1, (1, 2)),
    "turn:90,crop:30x20+3+4,flip:vertical": lambda p: np.rot90(p, -1, (1, 2))[:, 3:33, 4:24][
        :, ::-1
    ],
    "shift:2:-1": lambda p: np.concatenate(
        [
            np.concatenate([p[:, :1], p[:, :1], p[:, :-2]], 1)[:, :, 1:],
            np.concatenate([p[:, :1], p[:, :1], p[:, :-2]], 1)[:, :, -1:],
        ],
        2,
    ),
    "shift:0:0": lambda p: p,
    "crop:20x30+3+4,flip,shift:0:0": lambda p: p[:, 3:23, 4:34][:, :, ::-1],
}


@pytest.mark.parametrize("text", CUTS)
def test_pixels_that_move_are_exact(text):
    chain, pixels = (
        parse_chain(text),
        np.random.default_rng(2).integers(0, 256, (2, 33, 47, 3)).astype(np.uint8),
    )
    expected = CUTS[text](pixels)
    np.testing.assert_array_equal(chain.discrete(pixels), expected)
    np.testing.assert_array_equal(to_byte(smooth_of_bytes(chain, pixels)), expected)
    assert np.abs(smooth_bytes(text, pixels) - expected).max() < 1e-4  # of a byte; float32
    assert chain.copies == ("shift" not in text)  # a repeated edge is no new number
    assert chain.proves
    assert chain.out_shape(pixels.shape[1:]) == expected.shape[1:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_what_viewers_do(orientation):
    """As steps, as one function of arrays, and its inverse; against Pillow."""
    pixels = np.random.default_rng(2).integers(0, 256, (33, 47, 3)).astype(np.uint8)
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = Image.fromarray(pixels)
    image.getexif().update(tags)
    expected = np.asarray(ImageOps.exif_transpose(image))
    chain = Chain(UPRIGHT[orientation])
    np.testing.assert_array_equal(chain.discrete(pixels[None])[0], expected)
    np.testing.assert_array_equal(upright(pixels, orientation), expected)
    np.testing.assert_array_equal(as_stored(expected, orientation), pixels)
    assert chain.copies
    assert parse_chain(chain.text) == chain


def test_what_gets_through_a_turn_is_counted_on_the_right_side():
    """A column of 33 pixels that is 1 pixel wide, and the same after it was turned."""
    for text in ("resize:33x1:box,turn:90,resize:47x33", "turn:270,resize:1x33:box"):
        assert parse_chain(text).num_independent((33, 47, 1)) == 33


def test_a_chain_that_computes_is_no_copy():
    assert not parse_chain("flip,blur:1").copies
    assert not parse_chain("resize:33x47").copies


def test_grey_images_keep_their_channel():
    grey = CALM[..., :1]
    for text in ("blur:1", "resize:20x30", "flip", "brightness:1.2", "contrast:0.7"):
        assert parse_chain(text).discrete(grey).shape == smooth_bytes(text, grey).shape
        assert np.abs(parse_chain(text).discrete(grey) - smooth_bytes(text, grey)).max() < 2.5
