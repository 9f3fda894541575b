"""Few colours and few levels: of files that say so, and of images beside a generator's own."""

import numpy as np
import pytest
from image_files import chunk, encoded, png
from PIL import Image
from scipy.ndimage import gaussian_filter

from jattr.images.reading import decode
from jattr.images.reduction import ReductionSettings, levels_of

SETTINGS = ReductionSettings()


def soft(count, channels=3, spread=45.0, seed=0):
    noise = np.random.default_rng(seed).normal(size=(count, 32, 32, channels))
    smooth = gaussian_filter(noise, (0, 2, 2, 0))
    return np.clip(128 + spread * smooth / smooth.std(), 0, 255).astype(np.uint8)


OWN = [levels_of(image) for image in soft(16)]


def palette(pixels, **options):
    return np.asarray(Image.fromarray(pixels).quantize(**options).convert("RGB"))


REDUCED = {
    "16 colours": lambda p: palette(p, colors=16, dither=0),
    "256 colours": lambda p: palette(p, colors=256),
    "the web's palette, dithered": lambda p: np.asarray(
        Image.fromarray(p).convert("P").convert("RGB")
    ),
    "16 levels": lambda p: p >> 4 << 4,
    "32 levels": lambda p: p >> 3 << 3,
    "16 levels, stretched": lambda p: (p >> 4) * 17,
    "2 levels": lambda p: np.where(p < 128, 0, 255).astype(np.uint8),
    "5, 6 and 5 bits": lambda p: p & np.array([0xF8, 0xFC, 0xF8], np.uint8),
}


@pytest.mark.parametrize("name", REDUCED)
def test_reduced_images_have_fewer_than_any_own_one(name):
    for image in soft(5, seed=1):
        levels = levels_of(REDUCED[name](image))
        assert levels.is_suspicious(SETTINGS)
        assert levels.is_reduced(OWN, SETTINGS)


def test_images_as_they_were_made_have_not():
    # nearly flat ones have few colours, side by side
    assert levels_of(soft(1, spread=1.0)[0]).colours <= SETTINGS.palette
    nearly_flat = soft(5, spread=1.0, seed=3)
    for image in (*soft(10, seed=2), *soft(5, spread=10.0, seed=3), *nearly_flat):
        assert not levels_of(image).is_reduced(OWN, SETTINGS)
    # a stretch leaves gaps, and all of the colours
    stretched = (soft(1, spread=30.0)[0].astype(int) * 2 - 128).clip(0, 255).astype(np.uint8)
    assert not levels_of(stretched).is_reduced(OWN, SETTINGS)


def test_a_generator_of_few_colours_makes_them_itself():
    own = [levels_of(REDUCED["16 levels"](image)) for image in soft(16)]
    image = REDUCED["16 levels"](soft(1, seed=4)[0])
    assert levels_of(image).is_suspicious(SETTINGS)
    assert not levels_of(image).is_reduced(own, SETTINGS)
    assert levels_of(REDUCED["2 levels"](image)).is_reduced(own, SETTINGS)


def test_grey_images_are_judged_by_their_levels():
    own = [levels_of(image) for image in soft(16, channels=1)]
    assert not any(levels_of(image).is_reduced(own, SETTINGS) for image in soft(5, 1, seed=5))
    assert levels_of(soft(1, 1, seed=5)[0] >> 4 << 4).is_reduced(own, SETTINGS)


def grey_file(depth):
    return png([[0] * 2] * 3, 2, depth=depth, colour_type=0)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (encoded(Image.fromarray(soft(1)[0]).quantize(7), "PNG"), "a palette of 7 colours"),
        (png([[0]], 1, colour_type=3, extra=chunk(b"PLTE", bytes(3))), "a palette of 1 colour"),
        (grey_file(1), "1 bit a sample"),
        (grey_file(4), "4 bits a sample"),
        (grey_file(8), ""),
        (encoded(soft(1)[0], "PNG"), ""),
        (png([[0] * 3], 1, extra=chunk(b"sBIT", b"\x05\x06\x05")), "5 bits a sample"),
        (png([[0] * 3], 1, extra=chunk(b"sBIT", b"\x08\x08\x08")), ""),
        (png([[0] * 3], 1, extra=chunk(b"sBIT", b"\0\0\0")), ""),
        (encoded(soft(1)[0], "JPEG"), ""),
    ],
)
def test_what_a_file_says_itself(file, says):
    assert decode(file).reduced == says
