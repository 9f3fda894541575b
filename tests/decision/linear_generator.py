"""A generator that is one matrix.

Null draws and near misses are cheap, and least squares is exact.
"""

import jax.numpy as jnp
import numpy as np

from jattr.generators.base import PRIORS, Generator
from jattr.inversion.problem import STEP

SHAPE = (10, 10, 3)
PIXELS = 300
SIZE = 8


def apply_linear(state, z, *, label=None):
    return (z @ state["w"] + state["b"]).reshape(-1, *SHAPE)


def make_linear(rng, *, spread=20.0, middle=0.0, size=SIZE, rounding="round"):
    """A matrix that moves the image by `spread` rounding steps for each unit of the latent."""
    state = {
        "w": jnp.asarray(
            rng.normal(size=(size, PIXELS)) * spread * STEP / np.sqrt(size), jnp.float32
        ),
        "b": jnp.asarray(rng.uniform(-0.2, 0.2, PIXELS) + middle, jnp.float32),
    }
    return Generator.from_function(
        apply_linear, state, name="linear", version="1", latent=(size,), image_shape=SHAPE,
        sample=PRIORS["normal"]((size,)), rounding=rounding,
    )  # fmt: skip


def unrounded(gen, z):
    """The image [PIXELS] in float64."""
    return np.asarray(z, np.float64) @ np.asarray(gen.state["w"], np.float64) + np.asarray(
        gen.state["b"], np.float64
    )


def to_bytes(values, rounding="round"):
    scaled = (np.clip(values, -1, 1) + 1) * 127.5
    return np.floor(scaled + (0.5 if rounding == "round" else 0.0)).astype(np.uint8).reshape(SHAPE)


def least_squares(gen, pixels, rounding="round"):
    """The latent [SIZE] float32 that fits the unclipped bytes best."""
    use = ((pixels > 0) & (pixels < 255)).ravel()
    centre = pixels.ravel() / 127.5 - 1 + (STEP / 2 if rounding == "truncate" else 0.0)
    w, b = (np.asarray(gen.state[name], np.float64) for name in ("w", "b"))
    return np.linalg.lstsq(w[:, use].T, (centre - b)[use], rcond=None)[0].astype(np.float32)
