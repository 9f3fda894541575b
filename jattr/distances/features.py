"""Distances of features: activations of a network trained on other images, in a feature folder.

Mean squared differences of one layer, as in On Attribution of Deepfakes, arXiv 2008.09194
(Inception v3, Mixed_7a); and LPIPS, arXiv 1801.03924, version 0.1: at every pixel of several layers
the vector of channels is scaled to length 1, squared differences are weighed by channel, averaged
over pixels and added up.

Images are in [-1, 1] units, which is what all these networks take. For Inception they are resized
to 299x299 pixels as pytorch-fid does it (bilinear, half-pixel centres, no filter); LPIPS takes them
as they are, as its program does; a discriminator takes those of its own size only. Grey images are
repeated to three channels.
"""

import functools
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jattr.distances.base import CompareFn, Distance, EncodeFn, ResidualFn, digest_of, join
from jattr.distances.feature_folder import load_features
from jattr.distances.layers import resize_bilinear
from jattr.distances.networks import FeatureNetwork, graph_of, network_of
from jattr.errors import InputError, suggest
from jattr.typing import PyTree

NORM_EPSILON = 1e-10  # added to the length of a vector of channels


class Functions(NamedTuple):
    """The pure functions of a distance of features."""

    apply: ResidualFn
    encode: EncodeFn
    compare: CompareFn


def features(
    folder: str | os.PathLike[str] | FeatureNetwork, *, layer: str | None = None
) -> Distance:
    """Return the mean squared difference of the activations of one layer.

    Args:
      folder: a feature folder that `jattr convert` wrote, or what `load_features` gave.
      layer: its name, of `network_of(architecture, variant).layers`; None: Mixed_7a of Inception,
        else the last.

    Raises:
      InputError: the folder cannot be used, or there is no such layer. When applied: images of a
        wrong number of channels, or of a wrong size.
    """
    network = _loaded(folder)
    legal = network_of(network.architecture, network.variant)
    layer = legal.default_layer if layer is None else layer
    if layer not in legal.layers:
        raise InputError(
            f"{network.architecture} has no layer {layer!r}; {suggest(layer, legal.layers)}"
        )
    functions = _functions_of_layer(network.architecture, network.variant, layer)
    return Distance(
        name=f"{network.name}:{layer}",
        digest=digest_of("features", {"network": network.digest, "layer": layer}),
        smooth_squares=True,
        state=network.state,
        **functions._asdict(),
    )


def lpips(folder: str | os.PathLike[str] | FeatureNetwork) -> Distance:
    """Return the distance LPIPS, version 0.1.

    Args:
      folder: a feature folder of architecture lpips-alex, lpips-vgg or lpips-squeeze, or what
        `load_features` gave.

    Raises:
      InputError: the folder cannot be used, or is of another architecture. When applied: as for
        `features`.
    """
    network = _loaded(folder)
    if not network.architecture.startswith("lpips-"):
        raise InputError(
            f"{network.name!r} is {network.architecture}, which has no heads of LPIPS; use it as"
            " features, by a layer"
        )
    return Distance(
        name=network.name,
        digest=digest_of("lpips", {"network": network.digest}),
        smooth_squares=True,
        state=network.state,
        **_functions_of_lpips(network.architecture, network.variant)._asdict(),
    )


def image_for(architecture: str, variant: str, image: jax.Array) -> jax.Array:
    """Return an image [H, W, C'] as [1, H', W', C], of the size and channels that a network takes.

    Raises:
      InputError: another number of channels, or an image of a wrong size.
    """
    height, width, channels = image.shape
    network = network_of(architecture, variant)
    legal = (1, 3) if network.channels == 3 else (network.channels,)
    if channels not in legal:
        raise InputError(
            f"{architecture} takes images of {' or '.join(map(str, legal))} channels, not"
            f" {channels}; {'drop an alpha channel, or ' if channels == 4 else ''}use a distance of"
            " pixels"
        )
    if network.only is not None and (height, width) != (network.only, network.only):
        raise InputError(
            f"this {architecture} takes images of {network.only}x{network.only} pixels, as its own"
            f" generator makes them, not {height}x{width}; use another distance"
        )
    if min(height, width) < network.smallest:
        raise InputError(
            f"{architecture} takes images of {network.smallest} pixels a side or more, not"
            f" {height}x{width}; use a distance of pixels"
        )
    if network.side is not None:
        image = resize_bilinear(image, network.side, network.side)
    return jnp.broadcast_to(image, (*image.shape[:2], network.channels))[None]


def _loaded(folder: str | os.PathLike[str] | FeatureNetwork) -> FeatureNetwork:
    return folder if isinstance(folder, FeatureNetwork) else load_features(folder)


@functools.cache
def _functions_of_layer(architecture: str, variant: str, layer: str) -> Functions:
    """Return the functions of the mean squared difference of a layer, the same for all weights."""
    graphdef, _ = graph_of(architecture, variant)

    def encode(state: PyTree, image: jax.Array) -> jax.Array:
        (activations,) = nnx.merge(graphdef, state)(
            image_for(architecture, variant, image), (layer,)
        )
        return jnp.ravel(activations)

    def compare(state: PyTree, a: jax.Array, code: jax.Array) -> jax.Array:
        return encode(state, a) - code

    return Functions(lambda state, a, b: compare(state, a, encode(state, b)), encode, compare)


@functools.cache
def _functions_of_lpips(architecture: str, variant: str) -> Functions:
    """Return the functions of LPIPS: the same objects for all weights."""
    graphdef, _ = graph_of(architecture, variant)

    def encode(state: PyTree, image: jax.Array) -> tuple[jax.Array, ...]:
        """Return the activations [h, w, c] of each layer as LPIPS compares them.

        They have length 1 at each pixel, times the heads' square roots.
        """
        net = nnx.merge(graphdef, state)
        activations = net(
            image_for(architecture, variant, image), network_of(architecture, variant).layers
        )
        return tuple(
            _of_length_one(x[0]) * jnp.sqrt(head[...])
            for x, head in zip(activations, net.heads, strict=True)
        )

    def compare(state: PyTree, a: jax.Array, code: tuple[jax.Array, ...]) -> jax.Array:
        """Return the residual of LPIPS.

        A layer's term is a sum over channels of means over pixels: c times its mean.
        """
        differences = [x - y for x, y in zip(encode(state, a), code, strict=True)]
        return join(differences, [float(difference.shape[-1]) for difference in differences])

    return Functions(lambda state, a, b: compare(state, a, encode(state, b)), encode, compare)


def _of_length_one(x: jax.Array) -> jax.Array:
    """Return x [h, w, c] over its length along c; 0 stays 0, with finite derivatives."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    return x / (length + NORM_EPSILON)
