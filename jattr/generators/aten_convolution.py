"""PyTorch's convolution, `aten.convolution`, through `ops`, in whose forms its gradient is fast."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators import ops


def has_form(x: Any, weight: Any, bias: Any, *options: Any) -> bool:
    """Return whether `convolution` is aten.convolution for these arguments."""
    stride, padding, dilation, _, output_padding, _ = options
    symmetric = all(len(set(values)) == 1 for values in (stride, padding, output_padding))
    return len(stride) == 2 and set(dilation) == {1} and symmetric


def convolution(
    x: jax.Array, weight: jax.Array, bias: jax.Array | None, *options: Any
) -> jax.Array:
    """Return aten.convolution of x [n, I, H, W], alike in both dimensions and without dilation."""
    stride, padding, _, transposed, output_padding, groups = options
    if transposed:  # weight [I, O / groups, kh, kw]
        axes, extra = (0, 3, 4, 1, 2), {"output_padding": output_padding[0]}
    else:  # weight [O, I / groups, kh, kw]
        axes, extra = (0, 3, 4, 2, 1), {}
    convolve: Any = ops.conv_transpose if transposed else ops.conv
    convolve = functools.partial(convolve, stride=stride[0], padding=padding[0], **extra)
    # [groups, kh, kw, I / groups, O / groups]
    kernel = weight.reshape(groups, -1, *weight.shape[1:]).transpose(axes)
    x = x.transpose(0, 2, 3, 1)
    if kernel.shape[3:] == (1, 1) and not transposed:
        y = _filter(x, kernel[..., 0, 0], stride[0], padding[0])
    elif groups == 1:
        y = convolve(x, kernel[0])
    else:
        y = jax.vmap(convolve, in_axes=(3, 0), out_axes=3)(
            x.reshape(*x.shape[:3], groups, -1), kernel
        )
        y = y.reshape(*y.shape[:3], -1)
    return (y if bias is None else y + bias).transpose(0, 3, 1, 2)


def _filter(x: jax.Array, taps: jax.Array, stride: int, padding: int) -> jax.Array:
    """Return x [n, H, W, C], each channel filtered with its own taps [C, kh, kw].

    As shifted sums: on CPU the fastest form.
    """
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    _, kh, kw = taps.shape
    height, width = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    parts = [
        taps[:, row, column] * x[:, row : row + height : stride, column : column + width : stride]
        for row, column in np.ndindex(kh, kw)
    ]
    return functools.reduce(operator.add, parts)
