"""The least-squares problem of one picture and one generator, with 8-bit rounding understood.

A byte says that the value before rounding lay in an interval; the bytes 0 and 255 also stand for everything beyond the
range, so there the problem is one-sided.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jattr.generators.base import ApplyFn

STEP = 2.0 / 255.0  # between neighbouring bytes, in [-1, 1] units
FLOOR = STEP**2 / 12.0  # mean squared error of rounding alone: 5.1e-6
ROUNDINGS = ("round", "truncate")


class Target(NamedTuple):
    """What a reproduction is compared with."""

    center: jax.Array  # [H, W, C], middle of each byte's interval, [-1, 1] units
    below: jax.Array  # [H, W, C] bool: everything below the centre fits as well (byte 0)
    above: jax.Array  # [H, W, C] bool: everything above the centre fits as well (byte 255)


class Problem(NamedTuple):
    """One picture to reproduce, as functions of the latent z [d], flat."""

    residual: Callable[[jax.Array], jax.Array]  # z -> [pixels], [-1, 1] units
    size: int  # number of residuals


def target_of(image: jax.Array, rounding: str = "round") -> Target:
    """Return the target of a picture.

    Args:
      image: [..., H, W, C]; uint8, or float32 in [-1, 1] units, where -1 and 1 are clipped values.
      rounding: how bytes were made from values: "round", or "truncate" (`(x * 255).astype(uint8)`).
    """
    if image.dtype == jnp.uint8:
        below, above = image == 0, image == 255
        center = image.astype(jnp.float32) / 127.5 - 1.0
    else:
        center = image.astype(jnp.float32)
        below, above = center <= -1.0, center >= 1.0
    if rounding == "truncate":
        center = center + STEP / 2
    return Target(center, below, above)


def deviation(reproduction: jax.Array, target: Target) -> jax.Array:
    """Return reproduction - picture, zero where a clipped byte stands for the reproduction's value too."""
    difference = reproduction - target.center
    fits = (target.below & (difference < 0)) | (target.above & (difference > 0))
    return jnp.where(fits, 0.0, difference)


def make_problem(apply: ApplyFn, state: object, target: Target, shape: tuple[int, ...], label: object) -> Problem:
    """Return the problem of one picture; latents of `shape` are flat in it."""

    def residual(z: jax.Array) -> jax.Array:
        given = None if label is None else jnp.asarray(label)[None]
        reproduction = apply(state, z.reshape(1, *shape), label=given)[0]
        return deviation(reproduction, target).ravel()

    return Problem(residual, target.center.size)
