"""StyleGAN2 generators.

Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958 (configs
"skip", "resnet" and "orig" of the synthesis network: section 4.1); class-conditional as in Karras
et al., arXiv 2006.06676.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.generators import ops
from jattr.generators.style_parts import (
    Dense,
    MappingNet,
    StyledPyramid,
    leaky,
    mapping_gains,
    modulated_conv,
    smooth,
    upsample,
)

FORMS = ("skip", "resnet", "orig")
EMBEDDINGS = ("dense", "table")


@dataclass(frozen=True, kw_only=True)
class Architecture(StyledPyramid):
    """Everything that shapes and computation depend on."""

    channels: tuple[int, ...]  # feature maps at 4x4, 8x8, ... pixels
    z_dim: int
    mapping_widths: tuple[int, ...]  # of the mapping network's layers; the last is w's
    num_classes: int = 0
    embedding: str = "dense"  # of labels, see `MappingNet`
    form: str = "skip"  # of the synthesis network
    image_channels: int = 3
    # whether 3x3 kernels are scaled by 1 / sqrt(fan in); demodulation hides it but for its eps
    equalised: bool = False
    clamp: float | None = None  # of activations (NVlabs: conv_clamp)
    taps: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)  # of the resampling filter, before normalisation

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        yield from self.size_problems(2)
        if self.form not in FORMS or self.embedding not in EMBEDDINGS:
            yield (
                f"form is {self.form!r}, embedding {self.embedding!r}; legal:"
                f" {', '.join((*FORMS, *EMBEDDINGS))}"
            )
        if len(self.taps) < 2 or len(self.taps) % 2 or sum(self.taps) == 0:
            yield (
                f"taps is {list(self.taps)}; it must have an even number of taps whose sum is not 0"
            )

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of each noise map: one at 4x4 pixels, two at each larger size."""
        sizes = [4 << level for level in range(len(self.channels)) for _ in range(2)]
        return tuple((size, size) for size in sizes[1:])


class StyledConv(nnx.Module):
    """A modulated 3x3 convolution, noise, bias and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, arch: Architecture, *, up: bool):
        self.up, self.clamp, self.taps = up, arch.clamp, unit_taps(arch)
        self.affine = Dense(arch.w_dim, inputs)
        self.kernel = nnx.Param(jnp.zeros((3, 3, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.noise_strength = nnx.Param(jnp.zeros(()))

    def __call__(
        self, x: jax.Array, w: jax.Array, noise: jax.Array, gain: float = 1.0
    ) -> jax.Array:
        """Return the activations [n, H', W', outputs] of x [n, H, W, inputs], w [n, w_dim]."""
        x = modulated_conv(x, self.kernel[...], self.affine(w), up=self.up)
        x = smooth(x, self.taps, x.shape[1] - 1) if self.up else x
        x = x + self.noise_strength[...] * noise[..., None] + self.bias[...]
        return leaky(x, gain, self.clamp)


class ToImage(nnx.Module):
    """A modulated 1x1 convolution to the image's channels, without demodulation."""

    def __init__(self, inputs: int, arch: Architecture):
        self.clamp = arch.clamp
        self.affine = Dense(arch.w_dim, inputs)
        self.kernel = nnx.Param(jnp.zeros((1, 1, inputs, arch.image_channels)))
        self.bias = nnx.Param(jnp.zeros(arch.image_channels))

    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Return the image [n, H, W, image_channels] of activations x under styles w [n, w_dim]."""
        x = modulated_conv(x, self.kernel[...], self.affine(w), demodulate=False) + self.bias[...]
        return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)


class Block(nnx.Module):
    """The layers of one size."""

    def __init__(self, level: int, arch: Architecture):
        self.form, self.taps = arch.form, unit_taps(arch)
        here, last = arch.channels[level], level == len(arch.channels) - 1
        self.conv0 = StyledConv(arch.channels[level - 1], here, arch, up=True) if level else None
        self.conv1 = StyledConv(here, here, arch, up=False)
        self.to_image = ToImage(here, arch) if last or arch.form == "skip" else None
        with_skip = level and arch.form == "resnet"
        self.skip = (
            nnx.Param(jnp.zeros((1, 1, arch.channels[level - 1], here))) if with_skip else None
        )

    def __call__(
        self, x: jax.Array, image: jax.Array | None, ws: jax.Array, noise: Sequence[jax.Array]
    ) -> tuple[jax.Array, jax.Array | None]:
        """Return activations and image after this block.

        `ws` is [n, 2 or 3, w_dim]; `noise` has one map a convolution.
        """
        # The linear branch of a residual block; sqrt(1/2) keeps the variance of the sum.
        residual = None
        if self.skip is not None:
            residual = upsample(ops.conv(x, self.skip[...]), self.taps) * math.sqrt(0.5)
        # One convolution at 4x4 pixels, two at each larger size.
        count = 0
        if self.conv0 is not None:
            x = self.conv0(x, ws[:, 0], noise[0])
            count = 1
        x = self.conv1(x, ws[:, count], noise[count], 1.0 if residual is None else math.sqrt(0.5))
        x = x if residual is None else x + residual
        # The image so far, at this block's size, and what the block adds ("skip"; section 4.1).
        if image is not None:
            image = upsample(image, self.taps)
        if self.to_image is not None:
            new = self.to_image(x, ws[:, count + 1])
            image = new if image is None else image + new
        return x, image


class Net(nnx.Module):
    """Mapping and synthesis network."""

    def __init__(self, arch: Architecture):
        self.mapper = MappingNet(arch.z_dim, arch.mapping_widths, arch.num_classes, arch.embedding)
        self.w_avg = nnx.Param(jnp.zeros(arch.w_dim))
        self.constant = nnx.Param(jnp.zeros((4, 4, arch.channels[0])))
        self.noise = nnx.List([nnx.Param(jnp.zeros(shape)) for shape in arch.noise_shapes])
        self.blocks = nnx.List([Block(level, arch) for level in range(len(arch.channels))])

    def mapping(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Return w [n, w_dim], before truncation, of z [n, z_dim] and labels [n]."""
        return self.mapper(z, label)

    def synthesis(self, ws: jax.Array, noise: Sequence[jax.Array]) -> jax.Array:
        """Return images [n, H, W, C] of styles ws [n, num_ws, w_dim] and noise maps.

        Each map is [H, W] or [n, H, W].
        """
        x = jnp.broadcast_to(self.constant[...], (len(ws), *self.constant.shape))
        image = None
        for level, block in enumerate(self.blocks):
            # an image's style is that of the next size's first convolution
            first = max(0, 2 * level - 1)
            x, image = block(x, image, ws[:, first : 2 * level + 2], noise[first : 2 * level + 1])
        assert image is not None, "the last block has an image"
        return image


def unit_taps(arch: Architecture) -> tuple[float, ...]:
    """Return the filter's taps with sum 2: upsampling keeps the mean."""
    return tuple(2.0 * tap / sum(arch.taps) for tap in arch.taps)


def prepare(arch: Architecture, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the stored tensors, by path, with their run-time factors multiplied in."""
    return {
        path: array * np.float32(_gain(arch, path, array.shape)) for path, array in tensors.items()
    }


def _gain(arch: Architecture, path: str, shape: tuple[int, ...]) -> float:
    if path.startswith("mapper/"):
        return mapping_gains(path.removeprefix("mapper/"), shape)
    if path.endswith("affine/kernel"):
        return 1.0 / math.sqrt(shape[0])
    if path.endswith(("to_image/kernel", "skip")) or (path.endswith("kernel") and arch.equalised):
        return 1.0 / math.sqrt(math.prod(shape[:3]))
    return 1.0
