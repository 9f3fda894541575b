"""ProGAN generators: two 3x3 convolutions at each size from 4x4 pixels, each with pixel norm.

Karras, Aila, Laine, Lehtinen, Progressive Growing of GANs for Improved Quality, Stability, and
Variation, arXiv 1710.10196: network in table 2, equalised learning rate in section 4.1, pixel norm
in section 4.2.

Programs differ in which gains their equalised learning rate has; that is in the `Architecture`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.generators import ops
from jattr.generators.style_parts import GAIN, SLOPE, Pyramid, normalise


@dataclass(frozen=True, kw_only=True)
class Architecture(Pyramid):
    """Everything that shapes and computation depend on."""

    channels: tuple[int, ...]  # feature maps at 4x4, 8x8, ... pixels
    z_dim: int
    image_channels: int = 3
    # of the dense layer's kernel, over the root of its fan in; others have sqrt(2)
    first_gain: float = GAIN / 4
    image_gain: float = 1.0  # of the kernel that makes the image, likewise
    scaled_bias: bool = False  # a layer's gain multiplies its bias too
    # the dense layer has one bias for each of the 4x4 pixels, not one for all
    first_bias_maps: bool = False
    tanh: bool = False  # behind the image

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        yield from self.size_problems()
        if min((*self.channels, self.z_dim, self.image_channels)) < 1:
            yield "channels, z_dim and image_channels must be 1 or more"
        if not (self.first_gain > 0 and self.image_gain > 0):
            yield (
                f"first_gain is {self.first_gain}, image_gain {self.image_gain}; they must be above"
                " 0"
            )

    @property
    def num_classes(self) -> int:
        """0: the networks are unconditional."""
        return 0


class Layer(nnx.Module):
    """Kernel and bias of a layer."""

    def __init__(self, kernel_shape: tuple[int, ...], bias_shape: tuple[int, ...]):
        self.kernel = nnx.Param(jnp.zeros(kernel_shape))
        self.bias = nnx.Param(jnp.zeros(bias_shape))


class Net(nnx.Module):
    """The generator: z [n, z_dim] to images [n, H, W, C]."""

    def __init__(self, arch: Architecture):
        first, last = arch.channels[0], arch.channels[-1]
        self.tanh = arch.tanh
        self.first = Layer(
            (arch.z_dim, 4, 4, first), (4, 4, first) if arch.first_bias_maps else (first,)
        )
        shapes = [
            (3, 3, a, b) for a, b in pairwise(width for width in arch.channels for _ in range(2))
        ]
        self.layers = nnx.List([Layer(shape, shape[-1:]) for shape in shapes])
        self.to_image = Layer((1, 1, last, arch.image_channels), (arch.image_channels,))

    def __call__(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Return the images [n, H, W, C] of latents z [n, z_dim]; there are no labels."""
        kernel = self.first.kernel[...]
        x = (normalise(z) @ kernel.reshape(kernel.shape[0], -1)).reshape(-1, *kernel.shape[1:])
        x = _behind(x + self.first.bias[...])
        for index, layer in enumerate(self.layers):
            kernel = layer.kernel[...]
            x = upsampled_conv(x, kernel) if index % 2 else ops.conv(x, kernel, padding=1)
            x = _behind(x + layer.bias[...])
        x = ops.conv(x, self.to_image.kernel[...]) + self.to_image.bias[...]
        return jnp.tanh(x) if self.tanh else x


def upsampled_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return x [n, H, W, I] doubled, then convolved: [n, 2H, 2W, O].

    Every pixel is repeated; the kernel is [3, 3, I, O]. Taps that meet the same pixel are added
    first. That leaves 4x4 taps of a transposed convolution, and 16 products for each pixel of x in
    place of 36. What programs call a fused upscale is this with the taps in opposite order.
    """
    # The four shifted copies of the flipped kernel: one for each of the 2x2 equal pixels.
    taps = jnp.pad(kernel[::-1, ::-1], ((1, 1), (1, 1), (0, 0), (0, 0)))
    taps = taps[1:] + taps[:-1]
    return ops.conv_transpose(x, taps[:, 1:] + taps[:, :-1], stride=2, padding=1)


def _behind(x: jax.Array) -> jax.Array:
    """Return what follows a layer: leaky ReLU, then pixel norm."""
    return normalise(jax.nn.leaky_relu(x, SLOPE))


def prepare(arch: Architecture, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the stored tensors, by path, with their equalised learning rates multiplied in."""
    prepared = {}
    for path, array in tensors.items():
        layer, _, leaf = path.rpartition("/")
        gain = (
            1.0
            if leaf == "bias" and not arch.scaled_bias
            else _gain(arch, layer, tensors[f"{layer}/kernel"].shape)
        )
        prepared[path] = array * np.float32(gain)
    return prepared


def _gain(arch: Architecture, layer: str, shape: tuple[int, ...]) -> float:
    """Return the gain of a layer over the root of its fan in, by the shape of its kernel."""
    if layer == "first":
        return arch.first_gain / math.sqrt(shape[0])
    return (arch.image_gain if layer == "to_image" else GAIN) / math.sqrt(math.prod(shape[:3]))
