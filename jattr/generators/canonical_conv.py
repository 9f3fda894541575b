"""A convolution of stride 1 whose gradient is again a convolution in XLA's canonical form.

XLA on CPU is fast for NHWC activations and HWIO kernels only, and what JAX derives is of another form and many times
slower. The transpose of a convolution with zeros around is the convolution with the turned kernel; this primitive says
so, in both modes.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def canonical_conv(x: jax.Array, kernel: jax.Array, padding: tuple[int, int] = (0, 0)) -> jax.Array:
    """Return the cross-correlation of x [n, H, W, I], between `padding` zeros a side, with kernel [kh, kw, I, O]."""
    return _conv.bind(x, kernel, padding=padding)


def _native(x: jax.Array, kernel: jax.Array, *, padding: tuple[int, int]) -> jax.Array:
    around = [(zeros, zeros) for zeros in padding]
    return lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=DIMENSIONS)


def _shape_of(x: Any, kernel: Any, *, padding: tuple[int, int]) -> Any:
    sides = [a + 2 * zeros - k + 1 for a, zeros, k in zip(x.shape[1:3], padding, kernel.shape[:2], strict=True)]
    return x.update(shape=(x.shape[0], *sides, kernel.shape[3]), weak_type=False)


def _transpose_x(y: Any, x: Any, kernel: Any, *, padding: tuple[int, int]) -> jax.Array:
    """Return what x gets from y: up to kernel - 1 zeros around y; more, and what they meet is cut off."""
    sizes = kernel.shape[:2]
    cut = [max(0, zeros - k + 1) for zeros, k in zip(padding, sizes, strict=True)]
    y = y[:, cut[0] : y.shape[1] - cut[0], cut[1] : y.shape[2] - cut[1]]
    zeros = (sizes[0] - 1 - padding[0] + cut[0], sizes[1] - 1 - padding[1] + cut[1])
    return _conv.bind(y, kernel[::-1, ::-1].swapaxes(2, 3), padding=zeros)


def _transpose_kernel(y: Any, x: Any, kernel: Any, **padding: Any) -> jax.Array:
    fn: Any = partial(_native, x, **padding)
    return jax.linear_transpose(fn, kernel.aval)(y)[0]


def _batch(args: Any, dims: Any, **padding: Any) -> tuple[jax.Array, int]:
    x, kernel = args
    if dims[1] is not None:  # a kernel for each: rare, and then without the fast derivative
        fn: Any = partial(_native, **padding)
        return jax.vmap(fn, in_axes=dims)(x, kernel), 0
    x = jnp.moveaxis(x, dims[0], 0)
    y = _conv.bind(x.reshape(-1, *x.shape[2:]), kernel, **padding)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0


_conv = Primitive("canonical_conv")
_conv.def_impl(jax.jit(_native, static_argnames=("padding",)))
_conv.def_abstract_eval(_shape_of)
ad.defbilinear(_conv, _transpose_x, _transpose_kernel)
batching.primitive_batchers[_conv] = _batch
mlir.register_lowering(_conv, mlir.lower_fun(_native, multiple_results=False))
