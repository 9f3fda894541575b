"""Layers of feature networks as PyTorch computes them: convolutions, pooling, resizing; NHWC.

Pooling is maxima and sums of shifted images, one direction after the other: all derivatives, in
both modes and under `vmap`, are then of the same cheap kind.
"""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.generators import ops

INCEPTION_NORM_EPSILON = 1e-3  # of Inception's batch normalisation


class Conv(nnx.Module):
    """A convolution with bias: x [n, H, W, inputs] to [n, H', W', outputs]."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0):
        self.stride, self.padding = stride, padding
        self.kernel = nnx.Param(jnp.zeros((size, size, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the convolved activations."""
        return (
            ops.conv(x, self.kernel[...], stride=self.stride, padding=self.padding) + self.bias[...]
        )


class StridedConv(Conv):
    """The same for a large kernel and stride.

    Blocks of stride x stride pixels become channels, and the stride 1. The kernel is filled up with
    zero taps. AlexNet, whose first layer has 11x11, compiles three times faster so.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the convolved activations."""
        size, _, inputs, outputs = self.kernel.shape
        step, blocks = self.stride, -(-size // self.stride)  # blocks: along a side of the kernel
        more = blocks * step - size
        kernel = jnp.pad(self.kernel[...], ((0, more), (0, more), (0, 0), (0, 0)))
        kernel = kernel.reshape(blocks, step, blocks, step, inputs, outputs).transpose(
            0, 2, 1, 3, 4, 5
        )
        x = _padded(x, self.padding, self.padding)
        # Space to depth: blocks of x that windows reach, the last one filled up with zeros.
        counts = [(side - size) // step + blocks for side in x.shape[1:3]]
        short = [
            max(0, count * step - side) for count, side in zip(counts, x.shape[1:3], strict=True)
        ]
        x = jnp.pad(x, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)))[
            :, : counts[0] * step, : counts[1] * step
        ]
        x = x.reshape(-1, counts[0], step, counts[1], step, inputs).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, *counts, step * step * inputs)
        return ops.conv(x, kernel.reshape(blocks, blocks, -1, outputs)) + self.bias[...]


class ConvNorm(nnx.Module):
    """A convolution without bias, batch normalisation by stored statistics, and ReLU.

    The normalisation is a factor of the kernel and a bias: 2 operations a weight instead of 2 an
    activation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int] = (1, 1),
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
    ):
        self.stride, self.padding = stride, padding
        self.kernel = nnx.Param(jnp.zeros((*size, inputs, outputs)))
        self.scale, self.bias = nnx.Param(jnp.zeros(outputs)), nnx.Param(jnp.zeros(outputs))
        self.mean, self.var = nnx.Param(jnp.zeros(outputs)), nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations [n, H', W', outputs] of x [n, H, W, inputs]."""
        gain = self.scale[...] * jax.lax.rsqrt(self.var[...] + INCEPTION_NORM_EPSILON)
        x = _padded(x, *self.padding)
        x = ops.conv(x, self.kernel[...] * gain, stride=self.stride)
        return jax.nn.relu(x + (self.bias[...] - self.mean[...] * gain))


class Relu(nnx.Module):
    """max(x, 0)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the rectified activations."""
        return jax.nn.relu(x)


class MaxPool(nnx.Module):
    """The largest value of each window.

    With `ceil` also of windows that reach beyond the border.
    """

    def __init__(self, size: int, *, stride: int, ceil: bool = False):
        self.size, self.stride, self.ceil = size, stride, ceil

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return x [n, H, W, C] pooled."""
        return max_pool(x, self.size, stride=self.stride, ceil=self.ceil)


def max_pool(
    x: jax.Array, size: int, *, stride: int, padding: int = 0, ceil: bool = False
) -> jax.Array:
    """Return the largest value of each size x size window, as PyTorch's MaxPool2d.

    Of x [n, H, W, C].

    >>> x = jnp.ones((1, 8, 8, 1))
    >>> [max_pool(x, 3, stride=2, ceil=ceil).shape[1:3] for ceil in (False, True)]
    [(3, 3), (4, 4)]
    """
    # With `ceil`, room for one more window that begins inside.
    more = [-(side + 2 * padding - size) % stride if ceil else 0 for side in x.shape[1:3]]
    sides = ((0, 0), (padding, padding + more[0]), (padding, padding + more[1]), (0, 0))
    return _pooled(jnp.pad(x, sides, constant_values=-jnp.inf), size, stride, jnp.maximum)


def average_pool(x: jax.Array, *, count_padding: bool) -> jax.Array:
    """Return the mean of the 3x3 window around each pixel of x [n, H, W, C].

    Beyond the border are zeros, which the mean counts (PyTorch's default) or not (TensorFlow's).
    """
    total = _pooled(_padded(x, 1, 1), 3, 1, operator.add)
    if count_padding:
        return total / 9.0
    rows, columns = (
        np.minimum(np.arange(side) + 2, side) - np.maximum(np.arange(side) - 1, 0)
        for side in x.shape[1:3]
    )
    return total / jnp.asarray(np.outer(rows, columns)[:, :, None], x.dtype)


def resize_bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
    """Return x [H, W, C] at another size, bilinear.

    As PyTorch's F.interpolate(mode="bilinear", align_corners=False). Pixels are squares that tile
    the image, and no filter acts before images shrink.
    """
    if x.shape[0] != height:
        x = jnp.einsum("oh,hwc->owc", _resampling(x.shape[0], height), x, precision="highest")
    if x.shape[1] != width:
        x = jnp.einsum("ow,hwc->hoc", _resampling(x.shape[1], width), x, precision="highest")
    return x


def _resampling(inputs: int, outputs: int) -> np.ndarray:
    """Return the matrix [outputs, inputs] of linear interpolation along one side."""
    # Middles of output pixels in units of input pixels, not before the first one's middle.
    position = np.maximum((np.arange(outputs) + 0.5) * (inputs / outputs) - 0.5, 0.0)
    left = np.minimum(position.astype(int), inputs - 1)
    right = np.minimum(left + 1, inputs - 1)
    part = position - left
    eye = np.eye(inputs)
    return ((1.0 - part)[:, None] * eye[left] + part[:, None] * eye[right]).astype(np.float32)


def _padded(x: jax.Array, rows: int, columns: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def _pooled(
    x: jax.Array, size: int, stride: int, combine: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """Return the windows of x [n, H, W, C], each combined to one value."""
    height, width = ((side - size) // stride * stride + 1 for side in x.shape[1:3])
    x = functools.reduce(combine, [x[:, i : i + height : stride] for i in range(size)])
    return functools.reduce(combine, [x[:, :, i : i + width : stride] for i in range(size)])
