"""Noise-residual fingerprints: what a denoiser takes away of a source's images on average, and of
the given one.

Marra, Gragnaniello, Verdoliva, Poggi, Do GANs leave artificial fingerprints?, arXiv 1812.11842: an
image X has the residual R = X - f(X); a source's fingerprint F is the mean residual of its images;
an image goes to the source whose fingerprint its residual correlates with most, both of mean 0 and
norm 1. Ours: f is a local Wiener filter, not a wavelet or block-matching denoiser.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jattr.baselines.base import Attributor, checked_images, in_batches, to_unit
from jattr.errors import InputError
from jattr.generators.base import Generator

LEAST_NORM = 1e-12  # of a norm: a residual without any content correlates with nothing


@dataclass(frozen=True, kw_only=True)
class FingerprintConfig:
    """Settings of the denoiser."""

    window: int = 3  # side of the square that local mean and variance are of, pixels, odd
    sigma: float = 5.0  # standard deviation of what counts as noise, of 255

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if self.window < 3 or self.window % 2 == 0 or not self.sigma > 0:
            raise InputError(
                f"window {self.window}, sigma {self.sigma}: the window is odd and 3 or more, sigma"
                " above 0"
            )


def fit(
    generators: Sequence[Generator],
    images: Mapping[str, np.ndarray],
    key: jax.Array,
    *,
    config: FingerprintConfig | None = None,
) -> Attributor:
    """Return the fingerprints of sources as an attributor: scores are correlations, in [-1, 1].

    Args:
      generators: the sources.
      images: own images of each by its name, uint8 [n, H, W, C].
      key: not used: nothing is drawn.
      config: settings.

    Raises:
      InputError: images that are not the sources'.
      ImageError: images of another shape or type.
    """
    del key
    own = checked_images(generators, images)
    residual_fn = _make_residual(config or FingerprintConfig())
    means = np.stack([in_batches(residual_fn, part).mean(0, dtype=np.float64) for part in own])
    fingerprints = normalised(means)

    def score_fn(pixels: np.ndarray) -> np.ndarray:
        return normalised(in_batches(residual_fn, pixels)) @ fingerprints.T

    return Attributor(
        "fingerprint", tuple(gen.name for gen in generators), generators[0].image_shape, score_fn
    )


def normalised(residuals: np.ndarray) -> np.ndarray:
    """Return residuals [n, ...] as vectors [n, d] of mean 0 and norm 1, float64."""
    flat = residuals.reshape(len(residuals), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), LEAST_NORM)


def residual_of(x: jax.Array, window: int, sigma: float) -> jax.Array:
    """Return what the Wiener filter takes away of images x [n, H, W, C].

    (x - mean) min(1, sigma^2 / variance).
    """
    mean = _local_mean(x, window)
    variance = _local_mean(jnp.square(x - mean), window)
    return (x - mean) * jnp.minimum(1.0, sigma**2 / jnp.maximum(variance, LEAST_NORM))


def _local_mean(x: jax.Array, window: int) -> jax.Array:
    """Return the mean over squares of `window` pixels around each pixel, borders mirrored.

    Shifted sums, separable.
    """
    for axis in (1, 2):
        around = [(0, 0)] * 4
        around[axis] = (window // 2, window // 2)
        padded = jnp.pad(x, around, mode="symmetric")
        size = x.shape[axis]
        shifted = [jax.lax.slice_in_dim(padded, at, at + size, axis=axis) for at in range(window)]
        x = functools.reduce(jnp.add, shifted) / window
    return x


@functools.lru_cache(maxsize=16)
def _make_residual(config: FingerprintConfig) -> "jax.stages.Wrapped":
    return jax.jit(lambda pixels: residual_of(to_unit(pixels), config.window, config.sigma / 127.5))
