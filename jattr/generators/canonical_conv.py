"""A convolution of stride 1 whose gradient is again a convolution in XLA's canonical form.

XLA on CPU is fast for NHWC activations and HWIO kernels only, and what JAX derives is of another
form and many times slower. The transpose of a convolution with zeros around is the convolution with
the turned kernel; this primitive says so, in both modes.
"""

from typing import Any

import jax
from jax import lax

from jattr.generators.bilinear import bilinear_primitive

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def canonical_conv(x: jax.Array, kernel: jax.Array, padding: tuple[int, int] = (0, 0)) -> jax.Array:
    """Return the cross-correlation of x [n, H, W, I] with kernel [kh, kw, I, O].

    Between `padding` zeros a side.
    """
    return _conv.bind(x, kernel, padding=padding)


def _native(x: jax.Array, kernel: jax.Array, *, padding: tuple[int, int]) -> jax.Array:
    sides = [(zeros, zeros) for zeros in padding]
    return lax.conv_general_dilated(x, kernel, (1, 1), sides, dimension_numbers=DIMENSIONS)


def _shape_of(x: Any, kernel: Any, *, padding: tuple[int, int]) -> tuple[int, ...]:
    sides = [
        a + 2 * zeros - k + 1
        for a, zeros, k in zip(x.shape[1:3], padding, kernel.shape[:2], strict=True)
    ]
    return x.shape[0], *sides, kernel.shape[3]


def _transpose_x(y: Any, x: Any, kernel: Any, *, padding: tuple[int, int]) -> jax.Array:
    """Return the cotangent of x from that of the output, y.

    Up to kernel - 1 zeros stand around y; of more, what they meet is cut off.
    """
    # Zeros beyond kernel - 1 met no input: the outputs there have no part in the cotangent.
    sizes = kernel.shape[:2]
    cut = [max(0, zeros - k + 1) for zeros, k in zip(padding, sizes, strict=True)]
    y = y[:, cut[0] : y.shape[1] - cut[0], cut[1] : y.shape[2] - cut[1]]
    # Full correlation with the flipped kernel, inputs and outputs exchanged.
    zeros = (sizes[0] - 1 - padding[0] + cut[0], sizes[1] - 1 - padding[1] + cut[1])
    return _conv.bind(y, kernel[::-1, ::-1].swapaxes(2, 3), padding=zeros)


_conv = bilinear_primitive(
    "canonical_conv", _native, shape_of=_shape_of, transpose_x=_transpose_x, static=("padding",)
)
