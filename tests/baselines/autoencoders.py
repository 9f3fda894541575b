"""Autoencoders for tests: a small random AutoencoderKL, and a linear one that reproduces what it
makes almost.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jattr.generators.base import Generator, sample_normal
from jattr.generators.family import graph_of
from jattr.generators.registry import parse_any_card
from jattr.generators.store import make_generator

ARCHITECTURE = {
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "latent_channels": 2,
    "latent_height": 4,
    "latent_width": 4,
    "norm_num_groups": 2,
    "scaling_factor": 1.0,
}
SHAPE = (8, 8, 3)
KEPT = 0.95  # of a latent: what the linear autoencoder's encoder gives back


def make_autoencoder(seed):
    """A random AutoencoderKL of 8x8 RGB with its encoder."""
    name = f"autoencoder_{seed}"
    card = parse_any_card(
        {
            "card_version": 1,
            "kind": "autoencoder_kl",
            "name": name,
            "image_shape": [3, 8, 8],
            "architecture": ARCHITECTURE,
        }
    )
    rng = np.random.default_rng(seed)
    params = {}
    for path, shape in graph_of("autoencoder_kl", card.architecture)[1].items():
        array = rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1])) + path.endswith("scale")
        place = params
        *folders, leaf = path.split("/")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = array.astype(np.float32)
    return make_generator(card, params)


def apply_linear(matrix, z, *, label=None):
    return (z @ matrix).reshape(-1, *SHAPE)


def encode_linear(matrix, images):
    return KEPT * (images.reshape(len(images), -1) @ jnp.linalg.pinv(matrix))


def make_linear_autoencoder(seed):
    """One of 24 latents whose images are orthonormal mixtures; nearly exact on what it makes."""
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(192, 24)))[0].T * 1.5
    gen = Generator.from_function(
        apply_linear,
        jnp.asarray(matrix, jnp.float32),
        name=f"linear_{seed}",
        version="1",
        latent=(24,),
        image_shape=SHAPE,
        sample=sample_normal((24,)),
        prior="normal",
    )
    return dataclasses.replace(gen, encoder=encode_linear)
