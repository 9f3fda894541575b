"""Latents of any structure: arrays for the engine, the function's own pytree for the function."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jattr.errors import GeneratorError
from jattr.generators.forward import ApplyFn
from jattr.typing import PyTree


@dataclass(frozen=True)
class LatentTree:
    """The structure of one latent, a pytree of float32 arrays."""

    treedef: jax.tree_util.PyTreeDef
    shapes: tuple[tuple[int, ...], ...]  # of the leaves, without the axis of latents

    @property
    def size(self) -> int:
        """Numbers of one latent, d."""
        return sum(math.prod(shape) for shape in self.shapes)

    def unravel(self, z: jax.Array) -> PyTree:
        """Return latents [..., d] as a pytree of leaves [..., *shape]."""
        leaves, begin = [], 0
        for shape in self.shapes:
            end = begin + math.prod(shape)
            leaves.append(z[..., begin:end].reshape(*z.shape[:-1], *shape))
            begin = end
        return jax.tree.unflatten(self.treedef, leaves)

    def stated(self) -> dict[str, list[int]]:
        """Return the shapes by path, as digests name them."""
        leaves = jax.tree_util.tree_flatten_with_path(self.example(0))[0]
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape[1:])
            for path, leaf in leaves
        }

    def example(self, n: int) -> PyTree:
        """Return n abstract latents."""
        leaves = [jax.ShapeDtypeStruct((n, *shape), jnp.float32) for shape in self.shapes]
        return jax.tree.unflatten(self.treedef, leaves)

    def ravel(self, latents: PyTree) -> jax.Array:
        """Return a pytree of leaves [n, *shape] as latents [n, d] float32.

        Raises:
          GeneratorError: another structure or shape.
        """
        leaves, treedef = jax.tree.flatten(latents)
        arrays = [jnp.asarray(leaf, jnp.float32) for leaf in leaves]
        fits = treedef == self.treedef and all(
            array.shape[1:] == shape and array.ndim == len(shape) + 1
            for array, shape in zip(arrays, self.shapes, strict=True)
        )
        if not fits or len({len(array) for array in arrays}) != 1:
            got = jax.tree.map(jnp.shape, latents)
            legal = jax.tree.unflatten(self.treedef, [("n", *shape) for shape in self.shapes])
            raise GeneratorError(f"latents of shapes {got} do not fit; legal are {legal}")
        return jnp.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


@dataclass(frozen=True)
class OfTree:
    """An `apply` of latents [n, d] for one that takes them as a pytree."""

    first: ApplyFn
    tree: LatentTree

    def __call__(self, state: PyTree, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        """Return the images of the latents."""
        return self.first(state, self.tree.unravel(z), label=label)


def is_shape(value: object) -> bool:
    """Return whether a value is a tuple or list of whole numbers."""
    return isinstance(value, (tuple, list)) and all(
        isinstance(size, int) and not isinstance(size, bool) for size in value
    )


def latent_tree(latent: PyTree) -> LatentTree | None:
    """Return the structure that a pytree of shapes states; None for one plain shape.

    Raises:
      GeneratorError: a leaf is no shape, or there is not one number.
    """
    single = is_shape(latent)
    shapes, treedef = jax.tree.flatten(latent, is_leaf=_is_leaf)
    shapes = [getattr(shape, "shape", shape) for shape in shapes]
    for shape in shapes:
        if not is_shape(shape) or min(shape, default=1) < 1:
            raise GeneratorError(
                f"latent is {latent!r}; it is the shape of one latent, such as (64,), or a pytree"
                " of shapes, such as {'content': (8,), 'style': (4, 4)}, of whole numbers from 1"
            )
    if not shapes:
        raise GeneratorError(f"latent is {latent!r}, which has no numbers; give a shape: (64,)")
    if single and not shapes[0]:
        raise GeneratorError(f"latent is {latent!r}, one number without an axis; give (1,)")
    return None if single else LatentTree(treedef, tuple(map(tuple, shapes)))


def _is_leaf(value: object) -> bool:
    return is_shape(value) or value is None or hasattr(value, "shape")
