"""Structural similarity.

Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment: From Error Visibility to Structural
Similarity, IEEE Trans. Image Process. 13 (2004): windows weighted by a Gaussian of 11x11 pixels and
sigma 1.5, K1 = 0.01, K2 = 0.03; only windows that lie wholly in the image. Each channel by itself,
then the mean over all.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattr.distances.base import Distance, digest_of
from jattr.errors import InputError

SMALLEST = 1e-12  # of 1 - SSIM, whose square root has no derivative at 0


class Constants(NamedTuple):
    """What SSIM is computed with; images run from 0 to 1."""

    weights: jax.Array  # [window], a Gaussian of sum 1
    c1: jax.Array  # [], K1^2
    c2: jax.Array  # [], K2^2


def ssim(*, window: int = 11, sigma: float = 1.5, k1: float = 0.01, k2: float = 0.03) -> Distance:
    """Return 1 - mean SSIM, from 0 (equal) to 2.

    Args:
      window: pixels along a side of a window, odd.
      sigma: standard deviation of its Gaussian, in pixels.
      k1: steadies the comparison of means.
      k2: steadies the comparison of variances.

    Raises:
      InputError: a setting is out of range. When applied: the image is smaller than a window.
    """
    if window not in range(1, 100, 2):
        raise InputError(
            f"ssim has a window of {window} pixels; legal is an odd number from 1 to 99"
        )
    if not all(math.isfinite(value) and value > 0 for value in (sigma, k1, k2)):
        raise InputError(
            f"ssim has sigma {sigma:g}, k1 {k1:g}, k2 {k2:g}; all must be finite and above 0"
        )
    weights = np.exp(-((np.arange(window) - window // 2) ** 2) / (2.0 * sigma**2))
    settings = {"window": int(window), "sigma": float(sigma), "k1": float(k1), "k2": float(k2)}
    return Distance(
        name="ssim",
        apply=_residual,
        digest=digest_of("ssim", settings),
        smooth_squares=False,
        state=Constants(
            jnp.asarray(weights / weights.sum(), jnp.float32),
            jnp.float32(k1**2),
            jnp.float32(k2**2),
        ),
    )


def _residual(state: Constants, a: jax.Array, b: jax.Array) -> jax.Array:
    """Return sqrt(1 - SSIM) of each window and channel; where that is 0, so is its derivative."""
    missing = _dissimilarity(state, (a + 1.0) / 2.0, (b + 1.0) / 2.0).ravel()
    positive = missing > SMALLEST
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, missing, 1.0)), 0.0)


def _dissimilarity(state: Constants, a: jax.Array, b: jax.Array) -> jax.Array:
    """Return 1 - l cs of each window [H', W', C], as (1 - l) + l (1 - cs).

    Of means l and variances cs. Each term is a difference of the images over a sum, so that nothing
    cancels where they are nearly equal.
    """
    size = state.weights.size
    if min(a.shape[:2]) < size:
        raise InputError(
            f"images of {a.shape[0]}x{a.shape[1]} are smaller than the {size}x{size} window of ssim"
        )
    # All four local means in one pass: of a, b, a^2 + b^2 and (a - b)^2.
    difference = a - b
    maps = jnp.concatenate([a, b, jnp.square(a) + jnp.square(b), jnp.square(difference)], axis=-1)
    mean_a, mean_b, squares, squared_difference = jnp.split(
        _filtered(maps, state.weights), 4, axis=-1
    )
    means = jnp.square(mean_a) + jnp.square(mean_b)
    variances = jnp.maximum(squares - means, 0.0)
    variance_of_difference = jnp.maximum(squared_difference - jnp.square(mean_a - mean_b), 0.0)
    # 1 - l = (mu_a - mu_b)^2 / (mu_a^2 + mu_b^2 + C1) of the paper's equation 6, and
    # 1 - cs = var(a - b) / (var a + var b + C2) of equations 9 and 10 together.
    unlike_means = jnp.square(mean_a - mean_b) / (means + state.c1)
    unlike_structure = variance_of_difference / (variances + state.c2)
    return unlike_means + (1.0 - unlike_means) * unlike_structure


def _filtered(x: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the weighted means of the windows of x [H, W, C].

    [H - window + 1, W - window + 1, C].
    """
    height, width = (side - weights.size + 1 for side in x.shape[:2])
    # The Gaussian is separable: along rows, then along columns.
    rows: Any = sum(weights[i] * x[i : i + height] for i in range(weights.size))
    columns: Any = sum(weights[i] * rows[:, i : i + width] for i in range(weights.size))
    return jnp.asarray(columns)
