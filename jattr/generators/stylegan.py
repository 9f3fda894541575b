"""StyleGAN generators, the first of their name.

Karras, Laine, Aila, A Style-Based Generator Architecture for Generative Adversarial Networks, arXiv
1812.04948: network in figure 1, adaptive instance normalisation (AdaIN) in equation 1.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.generators import ops
from jattr.generators.progan import upsampled_conv
from jattr.generators.style_parts import (
    GAIN,
    PIXEL_NORM_EPSILON,
    SLOPE,
    Dense,
    MappingNet,
    StyledPyramid,
    mapping_gains,
    smooth,
)

BLUR = (0.25, 0.5, 0.25)  # behind a convolution that doubles the size


@dataclass(frozen=True, kw_only=True)
class Architecture(StyledPyramid):
    """Everything that shapes and computation depend on."""

    channels: tuple[int, ...]  # feature maps at 4x4, 8x8, ... pixels
    z_dim: int
    mapping_widths: tuple[int, ...]  # of the mapping network's layers; the last is w's
    num_classes: int = 0
    image_channels: int = 3

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        yield from self.size_problems()

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of each noise map: two for each size."""
        return tuple(
            (4 << level, 4 << level) for level in range(len(self.channels)) for _ in range(2)
        )


class Epilogue(nnx.Module):
    """What stands behind the constant and every convolution: noise, bias, leaky ReLU, AdaIN."""

    def __init__(self, width: int, w_dim: int):
        self.noise_strength = nnx.Param(jnp.zeros(width))
        self.bias = nnx.Param(jnp.zeros(width))
        self.affine = Dense(w_dim, 2 * width)

    def __call__(self, x: jax.Array, w: jax.Array, noise: jax.Array) -> jax.Array:
        """Return the activations [n, H, W, C] of x [n or 1, H, W, C] under styles w [n, w_dim].

        `noise` is [H, W] or [n, H, W].
        """
        x = _leaky_change(x + noise[..., None] * self.noise_strength[...], self.bias[...])
        # AdaIN (equation 1): each channel to mean 0 and variance 1, then scaled and shifted by w.
        x = x - jnp.mean(x, axis=(1, 2), keepdims=True)
        variance = jnp.mean(jnp.square(x), axis=(1, 2), keepdims=True)
        scale, shift = jnp.split(self.affine(w)[:, None, None, :], 2, axis=-1)
        return x * (jax.lax.rsqrt(variance + PIXEL_NORM_EPSILON) * (scale + 1)) + shift


class Net(nnx.Module):
    """Mapping and synthesis network."""

    def __init__(self, arch: Architecture):
        self.mapper = MappingNet(
            arch.z_dim, arch.mapping_widths, arch.num_classes, embedding="table"
        )
        self.w_avg = nnx.Param(jnp.zeros(arch.w_dim))
        self.constant = nnx.Param(jnp.zeros((4, 4, arch.channels[0])))
        self.noise = nnx.List([nnx.Param(jnp.zeros(shape)) for shape in arch.noise_shapes])
        widths = [width for width in arch.channels for _ in range(2)]
        self.kernels = nnx.List([nnx.Param(jnp.zeros((3, 3, a, b))) for a, b in pairwise(widths)])
        self.epilogues = nnx.List([Epilogue(width, arch.w_dim) for width in widths])
        self.image_kernel = nnx.Param(jnp.zeros((1, 1, arch.channels[-1], arch.image_channels)))
        self.image_bias = nnx.Param(jnp.zeros(arch.image_channels))

    def mapping(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Return w [n, w_dim], before truncation, of z [n, z_dim] and labels [n]."""
        return self.mapper(z, label)

    def synthesis(self, ws: jax.Array, noise: Sequence[jax.Array]) -> jax.Array:
        """Return images [n, H, W, C] of styles ws [n, num_ws, w_dim] and noise maps.

        Each map is [H, W] or [n, H, W].
        """
        # The network's input is learnt and constant; all that differs comes by styles and noise.
        x = self.epilogues[0](self.constant[...][None], ws[:, 0], noise[0])
        for index, kernel in enumerate(self.kernels):
            if index % 2:
                x = upsampled_conv(x, kernel[...])
                x = smooth(x, BLUR, x.shape[1])
            else:
                x = ops.conv(x, kernel[...], padding=1)
            x = self.epilogues[index + 1](x, ws[:, index + 1], noise[index + 1])
        return ops.conv(x, self.image_kernel[...]) + self.image_bias[...]


def _leaky_change(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Return leaky(x + bias) - leaky(bias) of activations x [..., C].

    AdaIN subtracts what is equal in all pixels of a channel; subtracting it here costs x no digits
    where it is large.
    """
    return SLOPE * x + (1 - SLOPE) * (jnp.maximum(x, -bias) + jnp.minimum(bias, 0))


def prepare(arch: Architecture, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the stored tensors, by path, with their equalised learning rates multiplied in.

    The constant's mean of each channel moves to the bias behind it (see `_leaky_change`).
    """
    prepared = {
        path: array * np.float32(_gain(path, array.shape)) for path, array in tensors.items()
    }
    mean = prepared["constant"].mean((0, 1))
    prepared["constant"] = prepared["constant"] - mean
    prepared["epilogues/0/bias"] = prepared["epilogues/0/bias"] + mean
    return prepared


def _gain(path: str, shape: tuple[int, ...]) -> float:
    if path.startswith("mapper/"):
        gain = mapping_gains(path.removeprefix("mapper/"), shape)
        # `MappingNet` multiplies by sqrt(2) behind the leaky ReLU. Here the kernel has that factor,
        # the bias has not.
        return gain / GAIN if path.endswith("bias") else gain
    if path.endswith("affine/kernel"):
        return 1.0 / math.sqrt(shape[0])
    if path == "image_kernel" or path.startswith("kernels/"):
        return (1.0 if path == "image_kernel" else GAIN) / math.sqrt(math.prod(shape[:3]))
    return 1.0
