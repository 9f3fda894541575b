"""Alterations of each pixel by itself, against Pillow and tables of all bytes."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from jattr.alterations.chain import smooth_of_bytes
from jattr.alterations.registry import parse_chain

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (2, 33, 47, 3)).astype(np.uint8)
RAMP = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)  # every byte once


def both(text, pixels):
    """What programs make, and the smooth form, in bytes."""
    chain = parse_chain(text)
    return chain.discrete(pixels).astype(np.float64), (
        smooth_of_bytes(chain, pixels).astype(np.float64) + 1
    ) * 127.5


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.0, 1.3, 4.0])
def test_brightness_is_pillows(factor):
    """Pillow truncates: up to one byte less than the value. 1e-3: float32."""
    made, smooth = both(f"brightness:{factor}", PIXELS)
    theirs = [
        np.asarray(ImageEnhance.Brightness(Image.fromarray(p)).enhance(factor)) for p in PIXELS
    ]
    np.testing.assert_array_equal(made, theirs)
    assert (smooth - made).min() > -1e-3
    assert (smooth - made).max() < 1 + 1e-3
    ramp = both(f"brightness:{factor}", RAMP)[1].ravel()
    np.testing.assert_allclose(ramp, np.minimum(np.arange(256) * factor, 255), atol=1e-3)


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.0, 1.4])
def test_contrast_is_pillows(factor):
    """Pillow rounds the mean luma to a whole number, which the factor multiplies by |1 -
    factor|, and truncates.
    """
    made, smooth = both(f"contrast:{factor}", PIXELS)
    theirs = [np.asarray(ImageEnhance.Contrast(Image.fromarray(p)).enhance(factor)) for p in PIXELS]
    np.testing.assert_array_equal(made, theirs)
    # 0.02: luma of each pixel is rounded before the mean is taken
    mean = 0.5 * abs(1 - factor) + 0.02
    assert (smooth - made).min() > -mean
    assert (smooth - made).max() < 1 + mean


@pytest.mark.parametrize("power", [0.5, 1.0, 2.2])
def test_gamma_is_a_table(power):
    """Rounded to the nearest byte.

    The smooth form holds the darkest byte above 0, where its slope would be infinite.

    Its argument ends at 1e-3, a quarter of a byte, so only byte 0 differs: by 255 x 1e-3 ** power.
    1e-3: float32.
    """
    made, smooth = both(f"gamma:{power}", RAMP)
    table = 255 * (np.arange(256) / 255) ** power
    np.testing.assert_array_equal(made.ravel(), np.floor(table + 0.5))
    np.testing.assert_allclose(smooth.ravel()[1:], table[1:], atol=1e-3)
    assert smooth.ravel()[0] == pytest.approx(255 * 1e-3**power, abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_pillows(channels):
    """Pillow's luma has weights of 16 bits, rounded to the nearest: half a byte and 1e-2."""
    made, smooth = both(f"grey:{channels}", PIXELS)
    theirs = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in PIXELS])[..., None]
    np.testing.assert_array_equal(made, np.repeat(theirs, channels, -1))
    assert smooth.shape == made.shape
    assert np.abs(made - smooth).max() < 0.51


def test_noise_has_its_standard_deviation_and_no_smooth_form():
    """16,384 bytes of a mean grey: the standard deviation is known to 0.6 %, the mean to 0.1.

    4 of each.
    """
    pixels = np.full((1, 128, 128, 1), 128, np.uint8)
    made, smooth = both("noise:0.05", pixels)
    np.testing.assert_allclose(smooth, pixels, atol=1e-4)
    assert abs((made - 128).std() / 12.75 - 1) < 0.024
    assert abs((made - 128).mean()) < 0.4
    np.testing.assert_array_equal(made, both("noise:0.05", pixels)[0])  # the same seed
    assert not parse_chain("noise:0.05").proves
    assert not parse_chain("noise:0.05,jpeg:90").proves


@pytest.mark.slow
def test_images_are_altered_one_by_one():
    """Contrast looks at an image's own mean, nothing at its neighbours."""
    for text in ("contrast:0.5", "blur:1", "resize:20x30"):
        chain = parse_chain(text)
        np.testing.assert_array_equal(chain.discrete(PIXELS)[1:], chain.discrete(PIXELS[1:]))
        together, alone = smooth_of_bytes(chain, PIXELS)[1:], smooth_of_bytes(chain, PIXELS[1:])
        np.testing.assert_allclose(together, alone, atol=1e-6)  # float32, another order of sums
