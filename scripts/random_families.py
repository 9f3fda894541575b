"""Generators of every family with random weights, for benchmarks where no trained ones lie."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.signal import firwin

from jattr.generators.base import Generator
from jattr.generators.family import FAMILIES, graph_of
from jattr.generators.family_card import architecture_to_json
from jattr.generators.registry import parse_any_card
from jattr.generators.store import make_generator
from jattr.generators.stored import as_tree

STYLES: dict[str, Any] = {"z_dim": 64, "mapping_widths": (64,) * 4}
ARCHITECTURES: dict[str, dict[str, Any]] = {  # family -> one of 32x32 or 64x64 pixels
    "progan": {"channels": (64, 64, 64, 32), "z_dim": 64},
    "stylegan": {"channels": (64, 64, 64, 32), **STYLES},
    "stylegan2": {"channels": (64, 64, 64, 32, 16), **STYLES},
    "stylegan3": {
        "channels": (32, 32, 32, 24, 16, 3),
        "sizes": (36, 36, 52, 52, 32, 32),
        "rates": (16, 16, 32, 32, 32, 32),
        "z_dim": 64,
        "w_dim": 64,
        "mapping_layers": 2,
        "output_scale": 1.0,
    },
    "autoencoder_kl": {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "latent_channels": 4,
        "latent_height": 16,
        "latent_width": 16,
        "norm_num_groups": 16,
    },
}
FILTER_SIZE = 6  # of StyleGAN3: taps for each step of a resampling factor
# their kernels are stored with deviation 1
EQUALISED = ("progan", "stylegan", "stylegan2", "stylegan3")
MAPPING = 100.0  # deviation of the mapping network's kernels, whose learning rate is a hundredth


def random_tensors(
    kind: str, arch: Any, seed: int = 0, styles: float = 1.0
) -> dict[str, np.ndarray]:
    """Return stored tensors by path.

    `styles` is the deviation of a style around its mean 1, training starts with 1.
    """
    rng = np.random.default_rng(seed)
    shapes: Mapping[str, tuple[int, ...]] = graph_of(kind, arch)[1]
    tensors = {path: _tensor(kind, path, shape, rng) for path, shape in shapes.items()}
    return {
        path: array * np.float32(styles if path.endswith("affine/kernel") else 1)
        for path, array in tensors.items()
    }


def random_generator(kind: str, *, seed: int = 0, styles: float = 1.0, **changes: Any) -> Generator:
    """Return a generator of a family with random weights; `changes` are of its architecture."""
    arch = FAMILIES[kind].architecture(**(ARCHITECTURES[kind] | changes))
    data = {
        "card_version": 1,
        "kind": kind,
        "name": f"random_{kind}_{seed}",
        "architecture": architecture_to_json(arch),
    }
    return make_generator(parse_any_card(data), as_tree(random_tensors(kind, arch, seed, styles)))


def _tensor(kind: str, path: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return one tensor: kernels that keep the variance, small biases, scales and styles about
    1.
    """
    noise = rng.normal(size=shape)
    leaf = path.rpartition("/")[2]
    if kind == "stylegan3" and (tensor := _aligned(path, shape)) is not None:
        return np.asarray(tensor, np.float32)
    if leaf in ("kernel", "skip"):
        fan = 1.0 if kind in EQUALISED else math.sqrt(2.0 / max(1, math.prod(shape[:-1])))
        noise *= MAPPING if "mapper" in path or "mapping" in path else fan
    elif leaf == "scale" or path.endswith("affine/bias"):
        noise = 1.0 + 0.1 * noise
    elif len(shape) < 2:
        noise *= 0.1
    return np.asarray(noise, np.float32)


def _aligned(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a tensor that StyleGAN3 does not start at random, None for the others.

    Those are low-pass filters, magnitudes, and the place of the features.
    """
    if path.endswith("_filter"):
        return firwin(shape[0], FILTER_SIZE / shape[0], window=("kaiser", 4.0))
    if path.endswith("magnitude_ema"):
        return np.ones(shape)
    if path.endswith("transform"):
        return np.eye(3)
    if path == "features/affine/kernel":
        return np.zeros(shape)
    if path == "features/affine/bias":
        return np.array([1.0, 0.0, 0.0, 0.0])
    return None
