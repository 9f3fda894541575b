"""The networks of LPIPS: AlexNet, VGG16 and SqueezeNet 1.1.

Up to their last convolution, and a linear head a layer.

Zhang, Isola, Efros, Shechtman, Wang, The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric, arXiv 1801.03924, version 0.1 of
https://github.com/richzhang/PerceptualSimilarity. Layers are numbered as torchvision numbers them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.distances.layers import Conv, MaxPool, Relu, StridedConv

SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)  # ImageNet's mean colour, in [-1, 1] units
SCALE = np.array([0.458, 0.448, 0.450], np.float32)  # and its standard deviation


class Fire(nnx.Module):
    """SqueezeNet's block: few channels, then 1x1 and 3x3 side by side; each with ReLU."""

    def __init__(self, inputs: int, squeezed: int, expanded: int):
        self.squeeze = Conv(inputs, squeezed, 1)
        self.expand1x1 = Conv(squeezed, expanded, 1)
        self.expand3x3 = Conv(squeezed, expanded, 3, padding=1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations [n, H, W, 2 expanded] of x [n, H, W, inputs]."""
        x = jax.nn.relu(self.squeeze(x))
        return jax.nn.relu(jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], axis=-1))


def _alex() -> Iterator[nnx.Module]:
    yield from (StridedConv(3, 64, 11, stride=4, padding=2), Relu(), MaxPool(3, stride=2))
    yield from (Conv(64, 192, 5, padding=2), Relu(), MaxPool(3, stride=2))
    for inputs, outputs in ((192, 384), (384, 256), (256, 256)):
        yield from (Conv(inputs, outputs, 3, padding=1), Relu())


def _vgg() -> Iterator[nnx.Module]:
    inputs = 3
    for level, (outputs, number) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        if level:
            yield MaxPool(2, stride=2)
        for _ in range(number):
            yield from (Conv(inputs, outputs, 3, padding=1), Relu())
            inputs = outputs


def _squeeze() -> Iterator[nnx.Module]:
    yield from (Conv(3, 64, 3, stride=2), Relu(), MaxPool(3, stride=2, ceil=True))
    yield from (Fire(64, 16, 64), Fire(128, 16, 64), MaxPool(3, stride=2, ceil=True))
    yield from (Fire(128, 32, 128), Fire(256, 32, 128), MaxPool(3, stride=2, ceil=True))
    yield from (Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256))


class Backbone(NamedTuple):
    """A network, and where LPIPS looks at it."""

    layers: Callable[[], Iterator[nnx.Module]]  # as torchvision's `features`
    taps: dict[str, int]  # name of a layer -> the number of the module that gives its activations
    channels: tuple[int, ...]  # there
    smallest: int  # pixels a side of the smallest image that all layers fit


def _taps(names: Sequence[str], numbers: Sequence[int]) -> dict[str, int]:
    return dict(zip(names, numbers, strict=True))


_RELUS = tuple(f"relu{number}" for number in range(1, 8))
BACKBONES = {
    "alex": Backbone(_alex, _taps(_RELUS[:5], (1, 4, 7, 9, 11)), (64, 192, 384, 256, 256), 31),
    "vgg": Backbone(
        _vgg,
        _taps(("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), (3, 8, 15, 22, 29)),
        (64, 128, 256, 512, 512),
        16,
    ),
    "squeeze": Backbone(
        _squeeze, _taps(_RELUS, (1, 4, 7, 9, 10, 11, 12)), (64, 128, 256, 384, 384, 512, 512), 17
    ),
}


class LpipsNet(nnx.Module):
    """Images [n, H, W, 3] in [-1, 1] units to the activations of layers.

    `heads` weigh their channels.
    """

    def __init__(self, backbone: str):
        self.backbone = backbone
        self.features = nnx.List(list(BACKBONES[backbone].layers()))
        self.heads = nnx.List(
            [nnx.Param(jnp.zeros(width)) for width in BACKBONES[backbone].channels]
        )

    def __call__(self, x: jax.Array, layers: tuple[str, ...]) -> tuple[jax.Array, ...]:
        """Return the activations [n, h, w, c] of `layers`, names in `Backbone.taps`."""
        taps = BACKBONES[self.backbone].taps
        x = (x - SHIFT) / SCALE
        activations = {}
        for number, layer in enumerate(self.features[: max(taps[name] for name in layers) + 1]):
            x = layer(x)
            activations[number] = x
        return tuple(activations[taps[name]] for name in layers)
