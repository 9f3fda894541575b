"""JAX primitives of linear maps whose fastest derivative is known better to us than to XLA."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jattr.typing import PyTree


def bilinear_primitive(
    name: str,
    fn: Callable[..., jax.Array],
    *,
    shape_of: Callable[..., tuple[int, ...]],
    transpose_x: Callable[..., jax.Array],
    static: tuple[str, ...],
) -> Primitive:
    """Return the primitive of fn(x [n, ...], weights, **static), linear in x and in weights.

    It can be differentiated by both in both modes, any number of times, and mapped: over x by a
    larger n.

    Args:
      name: of the primitive.
      fn: the map; images do not act on each other.
      shape_of: `shape_of(x, weights, **static)`, the shape of what fn returns, from shapes alone.
      transpose_x: `transpose_x(y, x, weights, **static)`, what x gets from y; of x only the shape
        is known, `x.aval`. It must be fast; what the weights get is derived from `fn`.
      static: names of the options.
    """
    primitive = Primitive(name)

    def transpose_weights(y: Any, x: Any, weights: PyTree, **options: Any) -> jax.Array:
        of_weights: Any = partial(fn, x, **options)
        return jax.linear_transpose(of_weights, weights.aval)(y)[0]

    def batch(args: Any, dims: Any, **options: Any) -> tuple[jax.Array, int]:
        x, weights = args
        if dims[1] is not None:  # weights for each: rare, and then without the fast derivative
            of_both: Any = partial(fn, **options)
            return jax.vmap(of_both, in_axes=dims)(x, weights), 0
        x = jnp.moveaxis(x, dims[0], 0)
        y = primitive.bind(x.reshape(-1, *x.shape[2:]), weights, **options)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0

    primitive.def_impl(jax.jit(fn, static_argnames=static))
    primitive.def_abstract_eval(
        lambda x, weights, **options: x.update(
            shape=shape_of(x, weights, **options), weak_type=False
        )
    )
    ad.defbilinear(primitive, transpose_x, transpose_weights)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(fn, multiple_results=False))
    return primitive


def register_for_cpu(primitive: Primitive, fn: Callable[..., jax.Array]) -> None:
    """Compute a primitive by another function on CPU."""
    mlir.register_lowering(primitive, mlir.lower_fun(fn, multiple_results=False), platform="cpu")
