"""What style-based generators have in common: mapping network, filters, modulated convolution.

Karras, Laine, Aila, A Style-Based Generator Architecture for Generative Adversarial Networks, arXiv
1812.04948; Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958.

Weights come with their equalised learning rate multiplied in (`mapping_gains`): no step of a search
pays for it.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from jattr.generators import ops
from jattr.generators.filters import Axis, resample

PIXEL_NORM_EPSILON = 1e-8
SLOPE = 0.2  # of the leaky ReLU
GAIN = math.sqrt(2.0)  # keeps the variance behind it
MAPPING_RATE = 0.01  # learning-rate multiplier of the mapping network


class Pyramid:
    """Shared by architectures that begin at 4x4 pixels and double the size block by block."""

    channels: tuple[int, ...]
    z_dim: int
    image_channels: int

    @property
    def resolution(self) -> int:
        """Height and width of an image."""
        return 2 << len(self.channels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        return self.resolution, self.resolution, self.image_channels

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return (self.z_dim,)

    def size_problems(self, fewest: int = 1) -> Iterator[str]:
        """Yield what is out of range in the numbers that give sizes; `fewest`: of `channels`."""
        if not fewest <= len(self.channels) <= 10:
            yield (
                f"channels has {len(self.channels)} numbers; it must have {fewest} to 10, one for"
                " each size from 4x4 pixels"
            )


class StyledPyramid(Pyramid):
    """A pyramid with a mapping network before it and two styles for each size."""

    mapping_widths: tuple[int, ...]
    num_classes: int

    @property
    def w_dim(self) -> int:
        """Width of w."""
        return self.mapping_widths[-1]

    @property
    def num_ws(self) -> int:
        """Number of styles: two for each size."""
        return 2 * len(self.channels)

    def size_problems(self, fewest: int = 1) -> Iterator[str]:
        """Yield what is out of range in the numbers that give sizes; `fewest`: of `channels`."""
        yield from super().size_problems(fewest)
        if not self.mapping_widths:
            yield (
                "mapping_widths is empty; it must have a width for each layer of the mapping"
                " network"
            )
        sizes = (*self.channels, *self.mapping_widths, self.z_dim, self.image_channels)
        if min(sizes) < 1 or self.num_classes < 0:
            yield (
                "channels, mapping_widths, z_dim and image_channels must be 1 or more, num_classes"
                " 0 or more"
            )


class Dense(nnx.Module):
    """A dense layer on the last axis: [..., inputs] to [..., outputs]."""

    def __init__(self, inputs: int, outputs: int):
        self.kernel = nnx.Param(jnp.zeros((inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs [..., outputs]."""
        return x @ self.kernel[...] + self.bias[...]


class MappingNet(nnx.Module):
    """The mapping network: latents z [n, z_dim] and labels [n] to w [n, w_dim].

    A label's embedding stands beside z: each normalised alone after a dense layer on the one-hot
    label ("dense", NVlabs), or both together after a table look-up ("table", as in the first
    StyleGAN2).
    """

    def __init__(
        self, z_dim: int, widths: Sequence[int], num_classes: int = 0, embedding: str = "dense"
    ):
        joint = embedding == "table"
        width = (z_dim if joint else widths[-1]) if num_classes else 0
        self.embed: Dense | nnx.Param[jax.Array] | None
        if not num_classes:
            self.embed = None
        elif joint:
            self.embed = nnx.Param(jnp.zeros((num_classes, width)))
        else:
            self.embed = Dense(num_classes, width)
        self.layers = nnx.List([Dense(a, b) for a, b in pairwise((z_dim + width, *widths))])

    def __call__(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Return w [n, w_dim], before truncation."""
        if self.embed is None:
            x = normalise(z)
        else:
            assert label is not None, "a conditional network takes labels"
            if isinstance(self.embed, Dense):
                row = jnp.take(self.embed.kernel[...], label, axis=0) + self.embed.bias[...]
                x = jnp.concatenate([normalise(z), normalise(row)], axis=-1)
            else:
                x = normalise(
                    jnp.concatenate([z, jnp.take(self.embed[...], label, axis=0)], axis=-1)
                )
        for layer in self.layers:
            x = leaky(layer(x))
        return x


def mapping_gains(path: str, shape: tuple[int, ...]) -> float:
    """Return the run-time factor of a stored tensor of `MappingNet`, by its path inside it."""
    if path.startswith("layers/"):
        return MAPPING_RATE / math.sqrt(shape[0]) if path.endswith("kernel") else MAPPING_RATE
    return 1.0 / math.sqrt(shape[0]) if path == "embed/kernel" else 1.0


def leaky(x: jax.Array, gain: float = 1.0, clamp: float | None = None) -> jax.Array:
    """Return the leaky ReLU of x times sqrt(2) `gain`, clamped to +-`clamp` times `gain`."""
    x = jnp.where(x >= 0, x, SLOPE * x) * (GAIN * gain)
    return x if clamp is None else jnp.clip(x, -clamp * gain, clamp * gain)


def normalise(x: jax.Array) -> jax.Array:
    """Return x [n, d] scaled to mean square 1 (pixel norm)."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + PIXEL_NORM_EPSILON)


def modulated_conv(
    x: jax.Array, kernel: jax.Array, style: jax.Array, *, demodulate: bool = True, up: bool = False
) -> jax.Array:
    """Return x [n, H, W, I] convolved with `kernel` [k, k, I, O], modulated by `style` [n, I].

    The style scales the kernel's input channels. The activations are scaled before and after one
    convolution with shared weights: the same numbers as a kernel for every image, without a grouped
    convolution. `up`: transposed, stride 2, [n, 2H + 1, 2W + 1, O] for k = 3.
    """
    # Modulation, w'_ijk = s_i w_ijk (arXiv 1912.04958, equation 1), on the activations.
    x = x * style[:, None, None, :]
    if up:
        x = ops.conv_transpose(x, kernel, stride=2)
    else:
        x = ops.conv(x, kernel, padding=kernel.shape[0] // 2)
    if not demodulate:
        return x
    # Demodulation by the norm of each output's modulated kernel (equation 3):
    # sum_ik (s_i w_ijk)^2 = sum_i s_i^2 sum_k w_ijk^2.
    squares = jnp.sum(jnp.square(kernel), axis=(0, 1))
    return x * jax.lax.rsqrt(jnp.square(style) @ squares + PIXEL_NORM_EPSILON)[:, None, None, :]


def smooth(x: jax.Array, taps: Sequence[float], size: int) -> jax.Array:
    """Return x [n, H, W, C] between zeros, convolved with `taps` along both axes.

    The result is [n, size, size, C]. Of an odd number of zeros the larger half stands in front.
    """
    # A full filter of K taps needs K - 1 more inputs than it has outputs.
    zeros = size + len(taps) - 1 - x.shape[1]
    return resample(x, jnp.asarray(taps, x.dtype), Axis(size, before=(zeros + 1) // 2))


def upsample(x: jax.Array, taps: Sequence[float]) -> jax.Array:
    """Return x [n, H, W, C] upsampled by 2 and filtered: [n, 2H, 2W, C].

    `taps` are an even number, of sum 2.
    """
    return resample(
        x, jnp.asarray(taps, x.dtype), Axis(2 * x.shape[1], up=2, before=len(taps) // 2)
    )
