"""Generators of one layer, quick to compile: what the tests of the search invert."""

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import PRIORS, Generator

SHAPE = (6, 6, 3)
PIXELS = 108


def apply_tanh(state, z, *, label=None):
    hidden = z @ state["w"] + state["b"]
    return jnp.tanh(hidden).reshape(-1, *SHAPE)


def apply_classes(state, z, *, label=None):
    hidden = z @ state["w"] + state["b"][label]
    return jnp.tanh(hidden).reshape(-1, *SHAPE)


def make_toy(
    *, seed=0, name="toy", size=4, prior="normal", num_classes=0, apply=None, rounding=None
):
    rng = np.random.default_rng(seed)
    rows = (num_classes, PIXELS) if num_classes else (PIXELS,)
    state = {
        "w": jnp.asarray(rng.normal(size=(size, PIXELS), scale=0.2), jnp.float32),
        "b": jnp.asarray(rng.normal(size=rows, scale=0.3), jnp.float32),
    }
    return Generator.from_function(
        apply or (apply_classes if num_classes else apply_tanh),
        state,
        name=name,
        version="1",
        latent=(size,),
        image_shape=SHAPE,
        sample=PRIORS[prior]((size,)),
        num_classes=num_classes,
        prior=prior,
        rounding=rounding,
    )


def to_bytes(images, rounding="round"):
    """Images in [-1, 1] as bytes, in float64, written out once more so that a wrong rule in
    jattr would show.
    """
    scaled = (np.clip(np.asarray(images, np.float64), -1, 1) + 1) * 127.5
    return np.floor(scaled + (0.5 if rounding == "round" else 0.0)).astype(np.uint8)


def own_images(gen, count, *, seed=7, rounding="round", label=None):
    """Latents and 8-bit images of a generator."""
    z = gen.sample_latent(jax.random.key(seed), count)
    return np.asarray(z), to_bytes(gen.generate(z, label=label), rounding)
