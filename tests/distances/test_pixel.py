"""Distances of pixels against values by hand."""

import numpy as np
import pytest

from jattr.distances import multiscale, pixel_huber, pixel_l1, pixel_l2
from jattr.distances.pixel import L1_EPSILON
from jattr.errors import InputError

A = np.float32([[[0.0], [0.5]], [[-1.0], [1.0]]])
B = np.float32([[[0.0], [0.25]], [[-0.95], [-1.0]]])  # differences 0, 0.25, -0.05, 2


def test_squared():
    assert np.isclose(pixel_l2()(A, B), (0.25**2 + 0.05**2 + 4) / 4, rtol=1e-6)


def test_absolute():
    exact = (0.25 + 0.05 + 2) / 4
    assert exact - L1_EPSILON <= pixel_l1()(A, B) <= exact
    rounded_off = [np.sqrt(d**2 + L1_EPSILON**2) - L1_EPSILON for d in (0.25, 0.05, 2)]
    assert np.isclose(pixel_l1()(A, B), sum(rounded_off) / 4, rtol=1e-6)


def test_huber():
    assert np.isclose(
        pixel_huber(delta=0.1)(A, B), (0.1 * (0.25 - 0.05) + 0.05**2 / 2 + 0.1 * (2 - 0.05)) / 4
    )
    assert np.isclose(pixel_huber(delta=5.0)(A, B), pixel_l2()(A, B) / 2)
    assert pixel_huber().name == "huber:0.1"


def test_huber_is_continuous_at_delta():
    zero = np.zeros((1, 1, 1), np.float32)
    below, above = (
        pixel_huber(delta=0.3)(zero + np.float32(0.3) * factor, zero) for factor in (0.9999, 1.0001)
    )
    assert np.isclose(below, above, rtol=5e-4)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan"), float("inf")])
def test_deltas_that_are_refused(delta):
    with pytest.raises(InputError, match="huber has delta"):
        pixel_huber(delta=delta)


def test_multiscale():
    coarse = ((0 + 0.25 - 0.05 + 2) / 4) ** 2
    assert np.isclose(multiscale(levels=2)(A, B), (pixel_l2()(A, B) + coarse) / 2, rtol=1e-6)
    assert np.isclose(multiscale(levels=1)(A, B), pixel_l2()(A, B), rtol=1e-6)


def test_multiscale_of_odd_sides_counts_the_last_line_twice():
    a, b = np.float32([[[1.0], [3.0], [5.0]]]), np.zeros((1, 3, 1), np.float32)
    a, b = np.concatenate([a, a]), np.concatenate([b, b])
    assert np.isclose(
        multiscale(levels=2)(a, b), ((1 + 9 + 25) / 3 + (2**2 + 5**2) / 2) / 2, rtol=1e-6
    )


def test_multiscale_of_images_that_are_too_small():
    with pytest.raises(InputError, match="2x2 cannot be halved 2 times"):
        multiscale(levels=3)(A, B)


@pytest.mark.parametrize("levels", [0, 13, 2.5])
def test_levels_that_are_refused(levels):
    with pytest.raises(InputError, match="from 1 to 12"):
        multiscale(levels=levels)
