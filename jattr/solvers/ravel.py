"""The one door between latents of any structure and the flat arrays that solvers see.

Latents are raveled on the way in, and dtype and structure come back on the way out. The arithmetic
of a search is float32, or float64 where a part of a latent is.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jattr.errors import InputError
from jattr.typing import PyTree


def ravel_latent(z0: PyTree) -> tuple[jax.Array, Callable[[jax.Array], PyTree]]:
    """Return a latent as one array [d], and the way back.

    Raises:
      InputError: it has no numbers, or some that are not floats.
    """
    leaves, structure = jax.tree.flatten(z0)
    try:
        arrays = [jnp.asarray(leaf) for leaf in leaves]
    except TypeError as error:
        raise InputError(f"z0 is {z0!r}; it is a pytree of arrays of floats ({error})") from None
    for array in arrays:
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise InputError(
                f"z0 has a part of dtype {array.dtype}; latents are floats: z0.astype(jnp.float32)"
            )
    if sum(array.size for array in arrays) == 0:
        raise InputError("z0 holds no numbers; it is a pytree of arrays of floats")
    wide = any(array.dtype == jnp.float64 for array in arrays)
    dtype = jnp.float64 if wide else jnp.float32
    shapes = [(array.shape, array.size, array.dtype) for array in arrays]

    def unravel(z: jax.Array) -> PyTree:
        parts, begin = [], 0
        for shape, size, own in shapes:
            parts.append(z[begin : begin + size].reshape(shape).astype(own))
            begin += size
        return jax.tree.unflatten(structure, parts)

    return joined([array.ravel().astype(dtype) for array in arrays]), unravel


def joined(parts: list[jax.Array]) -> jax.Array:
    """Return arrays of one axis, one after the other."""
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)
