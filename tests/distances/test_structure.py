"""SSIM against its definition, window by window in float64."""

import math

import numpy as np
import pytest

from jattr.distances import ssim
from jattr.errors import InputError


def slow_ssim(a, b, window=11, sigma=1.5, k1=0.01, k2=0.03):
    """Mean SSIM of images [H, W, C] in [-1, 1], by the paper's formulas for values from 0 to
    255.
    """
    a, b = ((np.float64(x) + 1) * 127.5 for x in (a, b))
    c1, c2 = (k1 * 255) ** 2, (k2 * 255) ** 2
    around = range(-(window // 2), window // 2 + 1)
    weights = np.array(
        [[math.exp(-(i * i + j * j) / (2 * sigma**2)) for j in around] for i in around]
    )
    weights /= weights.sum()
    values = []
    for row in range(a.shape[0] - window + 1):
        for column in range(a.shape[1] - window + 1):
            for channel in range(a.shape[2]):
                x, y = (p[row : row + window, column : column + window, channel] for p in (a, b))
                mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
                var_x, var_y = (
                    (weights * (x - mean_x) ** 2).sum(),
                    (weights * (y - mean_y) ** 2).sum(),
                )
                both = (weights * (x - mean_x) * (y - mean_y)).sum()
                values.append(
                    (2 * mean_x * mean_y + c1)
                    * (2 * both + c2)
                    / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
                )
    return np.mean(values)


@pytest.mark.parametrize("noise", [1.0, 0.1, 0.01])
def test_ssim_is_that_of_the_paper(noise):
    rng = np.random.default_rng(0)
    a = np.clip(rng.normal(0, 0.5, (17, 14, 2)), -1, 1).astype(np.float32)
    b = np.clip(a + rng.normal(0, noise, a.shape), -1, 1).astype(np.float32)
    # variances are differences of float32 squares
    assert abs(ssim()(a, b) - (1 - slow_ssim(a, b))) <= 1e-5
    other = {"window": 7, "sigma": 1.0, "k1": 0.02, "k2": 0.05}
    assert abs(ssim(**other)(a, b) - (1 - slow_ssim(a, b, **other))) <= 1e-5


def test_an_image_and_its_negative():
    a = np.random.default_rng(0).uniform(-1, 1, (16, 16, 1)).astype(np.float32)
    assert 1.5 < ssim()(a, -a) <= 2


def test_small_images_are_refused():
    image = np.zeros((10, 20, 3), np.float32)
    with pytest.raises(InputError, match="10x20 are smaller than the 11x11 window"):
        ssim()(image, image)


@pytest.mark.parametrize(
    "setting", [{"window": 10}, {"window": 0}, {"sigma": 0.0}, {"k1": -1.0}, {"k2": float("nan")}]
)
def test_settings_that_are_refused(setting):
    with pytest.raises(InputError, match="ssim has"):
        ssim(**setting)
