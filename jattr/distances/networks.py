"""Feature networks: architecture name -> its module, its layers and its rules.

And networks with their weights.

A `FeatureNetwork` is what a feature folder holds (`feature_folder`). One architecture and variant
has one graph definition, so that networks of other weights share compiled programs. Architectures
of any size (`Sized`) write their sizes in the variant; `network_of` gives what is true of a
variant.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from jattr.distances import discriminator, inception, lpips_nets
from jattr.errors import InputError, show
from jattr.generators.card_problems import listed
from jattr.generators.digest import function_digest, tensors_digest
from jattr.generators.stored import Shape, tensor_problems
from jattr.typing import Json, PyTree


class Network(NamedTuple):
    """One architecture, of one or few variants."""

    module: Callable[[str], nnx.Module]  # of a variant
    variants: tuple[str, ...]  # the first is the default
    layers: tuple[str, ...]
    default_layer: str
    side: int | None = None  # pixels that images are resized to; None: as they are
    smallest: int = 1  # pixels a side that all layers fit
    only: int | None = None  # pixels a side that images must have; None: any
    channels: int = 3  # of images; where they are 3, grey ones are repeated


class Sized(NamedTuple):
    """One architecture whose variants are texts that state its sizes."""

    variants: tuple[str, ...]  # examples
    # what is true of a variant; raises InputError where the text is none
    of: Callable[[object], Network]


def _lpips(name: str) -> Network:
    backbone = lpips_nets.BACKBONES[name]
    layers = tuple(backbone.taps)
    return Network(
        lambda _: lpips_nets.LpipsNet(name),
        ("0.1",),
        layers,
        layers[-1],
        smallest=backbone.smallest,
    )


def _discriminator(text: object) -> Network:
    variant = discriminator.parse(text)
    layers, channels = variant.layers, variant.image_channels
    return Network(
        lambda _: discriminator.DiscriminatorNet(variant), (str(text),), layers, layers[-1],
        only=variant.side, channels=channels,
    )  # fmt: skip


NETWORKS: dict[str, Network | Sized] = {
    "inception-v3": Network(
        inception.InceptionV3,
        tuple(inception.CLASSES),
        inception.LAYERS,
        "Mixed_7a",
        inception.INCEPTION_SIDE,
    ),
    **{f"lpips-{name}": _lpips(name) for name in lpips_nets.BACKBONES},
    "stylegan2-discriminator": Sized(("resnet 3-6-8-10-12",), _discriminator),
}


def network_of(architecture: str, variant: object) -> Network:
    """Return what is true of a variant of an architecture, a key of NETWORKS.

    Raises:
      InputError: there is no such variant.
    """
    network = NETWORKS[architecture]
    if isinstance(network, Sized):
        return network.of(variant)
    if variant not in network.variants:
        raise InputError(f"variant is {show(variant)}; legal: {', '.join(network.variants)}")
    return network


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureNetwork:
    """A network whose activations are compared."""

    name: str
    architecture: str  # a key of NETWORKS
    variant: str
    state: PyTree = field(repr=False)  # nnx.State, its parameters
    weights_digest: str
    digest: str
    card: Mapping[str, Json] = field(repr=False)  # what `card.json` holds


@functools.cache
def graph_of(architecture: str, variant: str) -> tuple[Any, dict[str, Shape]]:
    """Return the graph definition of a network and the shapes of its stored tensors by path."""
    graphdef, state = _abstract(architecture, variant)
    return graphdef, {
        "/".join(map(str, path)): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(state)
    }


def make_network(card: Mapping[str, Json], tensors: Mapping[str, np.ndarray]) -> FeatureNetwork:
    """Return the network of a card (checked by `feature_folder`) and its stored tensors by path.

    Raises:
      InputError: tensors that are not the architecture's, not finite float32, or a head's weight
        below 0.
    """
    check_shapes(card, {path: tuple(array.shape) for path, array in tensors.items()})
    for path, array in tensors.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise InputError(
                f"tensor {path} is {array.dtype}, or holds infinities or NaN; the file is damaged"
            )
        if path.startswith("heads/") and (array < 0).any():
            raise InputError(
                f"tensor {path} holds {array.min():g}; the weights of LPIPS' heads are 0 or above,"
                " else it is no distance: give the heads of version 0.1"
            )
    architecture, variant = card["architecture"], card["variant"]
    arrays = jax.device_put(dict(tensors))
    _, state = _abstract(architecture, variant)
    flat = {
        path: leaf.replace(arrays["/".join(map(str, path))])
        for path, leaf in nnx.to_flat_state(state)
    }
    weights = tensors_digest(tensors)
    digest = function_digest(
        weights, {name: card[name] for name in ("kind", "architecture", "variant")}
    )
    return FeatureNetwork(
        name=card["name"],
        architecture=architecture,
        variant=variant,
        state=nnx.from_flat_state(flat),
        weights_digest=weights,
        digest=digest,
        card={**card, "weights_digest": weights, "digest": digest},
    )


def check_shapes(card: Mapping[str, Json], shapes: Mapping[str, Shape]) -> None:
    """Check that stored tensors, by path, are those of a card's architecture.

    Raises:
      InputError: some are missing, left over or of a wrong shape; the message lists all.
    """
    problems = tensor_problems(shapes, graph_of(card["architecture"], card["variant"])[1])
    if problems:
        raise InputError(
            f"the stored tensors are not those of {card['architecture']}:"
            f" {'; '.join(listed(problems))}; convert them again"
        )


def _abstract(architecture: str, variant: str) -> PyTree:
    """Return graph definition and state, without numbers, of a network."""
    return nnx.split(nnx.eval_shape(lambda: network_of(architecture, variant).module(variant)))
