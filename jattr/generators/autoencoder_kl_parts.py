"""Layers of the autoencoder of latent diffusion.

Group normalisation, residual blocks, attention, resampling.

Wu, He, Group Normalization, arXiv 1803.08494; Vaswani et al., Attention Is All You Need, arXiv
1706.03762 (one head). All activations are NHWC.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jattr.generators import ops
from jattr.generators.style_parts import Dense

GROUP_NORM_EPSILON = 1e-6  # of every group normalisation


class Conv(nnx.Module):
    """A convolution that keeps height and width: x [n, H, W, inputs] to [n, H, W, outputs]."""

    def __init__(self, inputs: int, outputs: int, size: int = 3):
        self.kernel = nnx.Param(jnp.zeros((size, size, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the convolved activations."""
        return ops.conv(x, self.kernel[...], padding=self.kernel.shape[0] // 2) + self.bias[...]


class Downsample(Conv):
    """A 3x3 convolution of stride 2: [n, H, W, C] to [n, H/2, W/2, C].

    Its zeros stand only below and on the right.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations at half the size."""
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        return ops.conv(x, self.kernel[...], stride=2) + self.bias[...]


class Upsample(Conv):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution: [n, H, W, C] to [n, 2H, 2W, C].

    Both are one transposed convolution with the 4x4 kernel of `upsampling_kernel`: 4 products for
    each output pixel instead of 9. Measured on CPU, value 2 to 9 times and gradient 2 to 5 times
    faster.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations at twice the size."""
        return (
            ops.conv_transpose(x, upsampling_kernel(self.kernel[...]), stride=2, padding=1)
            + self.bias[...]
        )


class GroupNorm(nnx.Module):
    """Normalises groups of channels to mean 0 and variance 1, then scales and shifts.

    A group is some neighbouring channels of one image. Two passes, mean first: the mean of squares
    less the square of the mean loses all digits where a group's mean is large beside its deviation,
    as it is in trained decoders. Sums run over pixels first: channels stay vectors.
    """

    def __init__(self, channels: int, num_groups: int):
        self.num_groups = num_groups
        self.scale = nnx.Param(jnp.zeros(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return x [n, H, W, channels] normalised."""
        x = x - self._spread(self._group_mean(x))
        variance = self._group_mean(jnp.square(x))
        return (
            x * (self._spread(jax.lax.rsqrt(variance + GROUP_NORM_EPSILON)) * self.scale[...])
            + self.bias[...]
        )

    def _group_mean(self, x: jax.Array) -> jax.Array:
        """Return the mean of each group: [n, num_groups]."""
        return x.mean((1, 2)).reshape(len(x), self.num_groups, -1).mean(2)

    def _spread(self, values: jax.Array) -> jax.Array:
        """Return what each channel's group has: [n, num_groups] to [n, 1, 1, channels]."""
        return jnp.repeat(values, self.scale.size // self.num_groups, axis=1)[:, None, None, :]


class ResnetBlock(nnx.Module):
    """x plus two convolutions of it, each behind a normalisation and SiLU.

    x goes through a 1x1 convolution where widths differ.
    """

    def __init__(self, inputs: int, outputs: int, num_groups: int):
        self.norm1, self.conv1 = GroupNorm(inputs, num_groups), Conv(inputs, outputs)
        self.norm2, self.conv2 = GroupNorm(outputs, num_groups), Conv(outputs, outputs)
        self.conv_shortcut = Conv(inputs, outputs, 1) if inputs != outputs else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations [n, H, W, outputs] of x [n, H, W, inputs]."""
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nnx.Module):
    """x plus self-attention among its pixels, with one head as wide as there are channels."""

    def __init__(self, channels: int, num_groups: int):
        self.group_norm = GroupNorm(channels, num_groups)
        self.to_q = Dense(channels, channels)
        self.to_k = Dense(channels, channels)
        self.to_v = Dense(channels, channels)
        self.to_out = Dense(channels, channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations [n, H, W, C] of x [n, H, W, C].

        Takes n (H W)^2 numbers of memory.
        """
        n, height, width, channels = x.shape
        # softmax(Q K^T / sqrt(C)) V over the pixels (arXiv 1706.03762, equation 1).
        tokens = self.group_norm(x).reshape(n, height * width, channels)
        q = self.to_q(tokens) * channels**-0.5
        weights = jax.nn.softmax(jnp.einsum("nqc,nkc->nqk", q, self.to_k(tokens)), axis=-1)
        return x + self.to_out(weights @ self.to_v(tokens)).reshape(x.shape)


class MidBlock(nnx.Module):
    """Two residual blocks at the smallest size, attention between them."""

    def __init__(self, channels: int, num_groups: int, *, attention: bool):
        self.resnets = nnx.List([ResnetBlock(channels, channels, num_groups) for _ in range(2)])
        self.attention = Attention(channels, num_groups) if attention else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations [n, H, W, C] of x [n, H, W, C]."""
        first, second = self.resnets
        x = first(x)
        return second(x if self.attention is None else self.attention(x))


class Block(nnx.Module):
    """The residual blocks of one size, then `resample` to the next size where there is one."""

    def __init__(self, widths: Sequence[tuple[int, int]], num_groups: int, resample: Conv | None):
        self.resnets = nnx.List(
            [ResnetBlock(inputs, outputs, num_groups) for inputs, outputs in widths]
        )
        self.resample = resample

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations [n, H', W', C'] of x [n, H, W, C]."""
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.resample is None else self.resample(x)


def upsampling_kernel(kernel: jax.Array) -> jax.Array:
    """Return the 4x4 kernel that upsamples and applies `kernel` 3x3.

    By its transposed convolution of stride 2 and padding 1. Each output pixel sees 2x2 different
    input pixels: the taps that fall on one of them are summed. (Sums, not a product with zeros and
    ones: products are rounded to fewer digits on some devices.)
    """
    rows = jnp.stack([kernel[2], kernel[1] + kernel[2], kernel[0] + kernel[1], kernel[0]])
    return jnp.stack(
        [rows[:, 2], rows[:, 1] + rows[:, 2], rows[:, 0] + rows[:, 1], rows[:, 0]], axis=1
    )
