"""Distances of pixels: squared, absolute, Huber, and squared at several scales.

They need no weights.

Huber, Robust Estimation of a Location Parameter, Ann. Math. Statist. 35 (1964).
"""

import functools
import math

import jax
import jax.numpy as jnp

from jattr.distances.base import Distance, ResidualFn, digest_of, join
from jattr.errors import InputError
from jattr.typing import PyTree

L1_EPSILON = 1e-4  # where |d| is rounded off, in [-1, 1] units: 1/78 of the step between bytes
DELTA = 0.1  # of Huber's function, in [-1, 1] units: 13 steps between bytes
MAX_LEVELS = 12


def pixel_l2() -> Distance:
    """Return the mean squared difference."""
    return Distance(name="l2", apply=_l2, digest=digest_of("l2", {}), smooth_squares=True)


def pixel_l1() -> Distance:
    """Return the mean absolute difference, rounded off at 0.

    |d| is sqrt(d^2 + eps^2) - eps, eps = 1e-4. That is below |d| by at most eps, and finite are the
    residual's derivatives.
    """
    return Distance(
        name="l1", apply=_l1, digest=digest_of("l1", {"epsilon": L1_EPSILON}), smooth_squares=False
    )


def pixel_huber(*, delta: float = DELTA) -> Distance:
    """Return the mean of Huber's function: d^2 / 2 up to |d| = delta, then delta (|d| - delta / 2).

    Raises:
      InputError: `delta` is not a finite number above 0.
    """
    if not (math.isfinite(delta) and delta > 0):
        raise InputError(
            f"huber has delta {delta:g}; it is a finite number above 0, in [-1, 1] units"
        )
    return Distance(
        name=f"huber:{delta:g}",
        apply=_huber,
        digest=digest_of("huber", {"delta": float(delta)}),
        smooth_squares=False,
        state=jnp.float32(delta),
    )


def multiscale(*, levels: int = 4) -> Distance:
    """Return the mean over `levels` sizes of the mean squared difference.

    Each size is half of the one before. Sizes are halved by averages of 2x2 pixels; where a side is
    odd, its last line counts twice.

    Raises:
      InputError: `levels` is not from 1 to 12. When applied: the image cannot be halved that often.
    """
    if levels not in range(1, MAX_LEVELS + 1):
        raise InputError(
            f"multiscale has {levels} levels; legal is a whole number from 1 to {MAX_LEVELS}"
        )
    return Distance(
        name=f"multiscale:{levels}",
        apply=_multiscale(int(levels)),
        digest=digest_of("multiscale", {"levels": int(levels)}),
        smooth_squares=True,
    )


def _l2(_: PyTree, a: jax.Array, b: jax.Array) -> jax.Array:
    return (a - b).ravel()


def _l1(_: PyTree, a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the square root of sqrt(d^2 + eps^2) - eps, without cancellation.

    As d / sqrt(sqrt(d^2 + eps^2) + eps).
    """
    d = (a - b).ravel()
    return d * jax.lax.rsqrt(jnp.sqrt(jnp.square(d) + jnp.float32(L1_EPSILON**2)) + L1_EPSILON)


def _huber(delta: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    d = (a - b).ravel()
    size = jnp.maximum(jnp.abs(d), delta)  # so that the square root is never of 0
    far = jnp.sign(d) * jnp.sqrt(delta * (size - delta / 2))
    return jnp.where(jnp.abs(d) <= delta, d * jnp.float32(math.sqrt(0.5)), far)


@functools.cache
def _multiscale(levels: int) -> ResidualFn:
    def apply(_: PyTree, a: jax.Array, b: jax.Array) -> jax.Array:
        height, width, _ = a.shape
        if min(height, width) < 1 << (levels - 1):
            raise InputError(
                f"images of {height}x{width} cannot be halved {levels - 1} times; give multiscale"
                " fewer levels"
            )
        pyramid = [a - b]
        for _ in range(levels - 1):
            pyramid.append(_halved(pyramid[-1]))
        return join(pyramid, [1.0 / levels] * levels)

    return apply


def _halved(x: jax.Array) -> jax.Array:
    """Return x [H, W, C] averaged over 2x2 pixels: [ceil(H / 2), ceil(W / 2), C]."""
    height, width, channels = x.shape
    x = jnp.pad(x, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return x.reshape((height + 1) // 2, 2, (width + 1) // 2, 2, channels).mean((1, 3))
