"""Families whose last layer is one linear layer, the same for every image: how to take it off.

ProGAN and StyleGAN end in a 1x1 convolution. StyleGAN2 and StyleGAN3 do not count: theirs is
modulated by the style.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jattr.generators.base import FinalLayer, Generator
from jattr.generators.family import plain_apply
from jattr.typing import PyTree

Path = tuple[str, ...]


def final_of(kind: str, arch: Any) -> Callable[[Generator], FinalLayer] | None:
    """Return the function that splits generators of an architecture before their last layer.

    None where that is not one linear layer for all images.
    """
    if kind == "progan":
        bare = plain_apply(kind, dataclasses.replace(arch, tanh=False))
        output = "tanh" if arch.tanh else "identity"
        return lambda gen: _split(bare, ("to_image", "kernel"), ("to_image", "bias"), output)
    if kind == "stylegan":
        return lambda gen: _split(gen.apply, ("image_kernel",), ("image_bias",), "identity")
    return None


@functools.lru_cache(maxsize=256)
def _split(
    apply: Callable[..., jax.Array], kernel_path: Path, bias_path: Path, output: str
) -> FinalLayer:
    """Return the split of a network that ends in a 1x1 convolution, by its kernel and bias paths.

    The convolution's inputs are what the same network returns with the identity in its place.
    """

    def activations(state: PyTree, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        inputs = _leaf(state, kernel_path).shape[2]
        changed = {kernel_path: jnp.eye(inputs)[None, None], bias_path: jnp.zeros(inputs)}
        return apply(_with(state, changed), z, label=label)

    def linear(state: PyTree, x: jax.Array) -> jax.Array:
        return x @ _leaf(state, kernel_path)[0, 0] + _leaf(state, bias_path)

    return FinalLayer(activations, linear, output)


def _net(state: PyTree) -> nnx.State:
    """Return the network's part of a state: styled generators have settings beside it."""
    return state["net"] if isinstance(state, dict) else state


def _leaf(state: PyTree, path: Path) -> jax.Array:
    node: Any = _net(state)
    for name in path:
        node = node[name]
    return jnp.asarray(node[...])


def _with(state: PyTree, changed: Mapping[Any, jax.Array]) -> PyTree:
    """Return a state with other arrays at some of its network's paths."""
    flat = {
        path: leaf.replace(changed[path]) if path in changed else leaf
        for path, leaf in nnx.to_flat_state(_net(state))
    }
    net = nnx.from_flat_state(flat)
    return state | {"net": net} if isinstance(state, dict) else net
