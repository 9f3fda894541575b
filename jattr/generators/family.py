"""Families: generators whose network is written in code, in the sizes that an `Architecture` gives.

A family is one module with `Architecture`, `Net` and `prepare`. Its stored tensors are the
parameters of `Net`, by path; a card of its kind holds the architecture and the settings.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.errors import GeneratorError
from jattr.generators import autoencoder_kl, progan, stylegan, stylegan2, stylegan3
from jattr.generators.card_problems import listed
from jattr.generators.stored import Shape, tensor_problems


class Architecture(Protocol):
    """What every family's `Architecture` has, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __hash__(self) -> int:
        """By value: programs are kept by architecture."""

    @property
    def latent_shape(self) -> Shape:
        """Shape of one z."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""

    @property
    def num_classes(self) -> int:
        """Number of labels; 0: unconditional."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""


class StyledArchitecture(Architecture, Protocol):
    """What that of a style-based family has besides."""

    @property
    def w_dim(self) -> int:
        """Width of w."""

    @property
    def num_ws(self) -> int:
        """Number of styles."""

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of each noise map."""


class Family(NamedTuple):
    """What a family's module gives."""

    architecture: type  # frozen dataclass: everything that shapes and computation depend on
    net: type  # nnx.Module of an architecture
    prepare: Callable[
        [Any, Mapping[str, np.ndarray]], dict[str, np.ndarray]
    ]  # stored tensors -> what Net computes with
    styled: bool  # whether Net has `mapping` and `synthesis`; else it is called on latents


FAMILIES: dict[str, Family] = {
    "autoencoder_kl": Family(
        autoencoder_kl.Architecture, autoencoder_kl.Net, autoencoder_kl.prepare, styled=False
    ),
    "progan": Family(progan.Architecture, progan.Net, progan.prepare, styled=False),
    "stylegan": Family(stylegan.Architecture, stylegan.Net, stylegan.prepare, styled=True),
    "stylegan2": Family(stylegan2.Architecture, stylegan2.Net, stylegan2.prepare, styled=True),
    "stylegan3": Family(stylegan3.Architecture, stylegan3.Net, stylegan3.prepare, styled=True),
}


@functools.lru_cache(maxsize=256)
def graph_of(kind: str, arch: Architecture) -> tuple[Any, dict[str, Shape]]:
    """Return a family's graph definition and the shapes of its parameters by path."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: FAMILIES[kind].net(arch)))
    return graphdef, {path: tuple(leaf.shape) for path, leaf in _leaves(state).items()}


def check_tensors(kind: str, name: str, arch: Architecture, shapes: Mapping[str, Shape]) -> None:
    """Check that stored tensors, by path, are those of the architecture.

    Raises:
      GeneratorError: some are missing, left over or of a wrong shape; the message lists all.
    """
    problems = tensor_problems(shapes, graph_of(kind, arch)[1])
    if problems:
        raise GeneratorError(
            f"the stored tensors are not those of card {name!r}: {'; '.join(listed(problems))};"
            " convert it again"
        )


def net_state(kind: str, arch: Architecture, tensors: Mapping[str, np.ndarray]) -> nnx.State:
    """Return the state of a family's network from its stored tensors by path."""
    _, state = nnx.split(nnx.eval_shape(lambda: FAMILIES[kind].net(arch)))
    arrays = jax.device_put(FAMILIES[kind].prepare(arch, tensors))
    flat = {
        path: leaf.replace(arrays["/".join(map(str, path))])
        for path, leaf in nnx.to_flat_state(state)
    }
    return nnx.from_flat_state(flat)


@functools.lru_cache(maxsize=256)
def plain_apply(kind: str, arch: Architecture) -> Callable[..., jax.Array]:
    """Return `apply(state, z, *, label=None)` of a family without styles, one an architecture."""
    graphdef, _ = graph_of(kind, arch)

    def apply(state: nnx.State, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        return nnx.merge(graphdef, state)(z, label)

    return apply


@functools.lru_cache(maxsize=256)
def plain_encoder(kind: str, arch: Architecture) -> Callable[..., jax.Array] | None:
    """Return `encode(state, images [n, H, W, C]) -> z`, the mean of the posterior, or None."""
    if not getattr(arch, "has_encoder", False):
        return None
    graphdef, _ = graph_of(kind, arch)

    def encode(state: nnx.State, images: jax.Array) -> jax.Array:
        mean, _ = nnx.merge(graphdef, state).encode(images)
        return jnp.asarray(mean)

    return encode


def _leaves(state: nnx.State) -> dict[str, Any]:
    return {"/".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}
