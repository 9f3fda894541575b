"""Inception v3, a network for classifying images, whose activations are features.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception Architecture for Computer Vision,
arXiv 1512.00567, with the names of torchvision. Two variants: "torchvision", and "fid", the weights
of TensorFlow of 2015 by which Frechet distances are measured
(https://github.com/mseitzer/pytorch-fid): there averages do not count what lies beyond the border,
and the last block takes maxima in their place.
"""

from typing import TypedDict

import jax
import jax.numpy as jnp
from flax import nnx

from jattr.distances.layers import ConvNorm, average_pool, max_pool
from jattr.generators.style_parts import Dense

INCEPTION_SIDE = 299  # pixels of the images that it was trained on
CLASSES = {"torchvision": 1000, "fid": 1008}  # variant -> outputs of the last layer
LAYERS = (
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3",
    "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e",
    "Mixed_7a", "Mixed_7b", "Mixed_7c", "avgpool", "logits",
)  # fmt: skip
POOLED_BEFORE = ("Conv2d_3b_1x1", "Mixed_5b")


class Window(TypedDict):
    """Size and padding, (rows, columns), of a convolution that keeps height and width."""

    size: tuple[int, int]
    padding: tuple[int, int]


ROW: Window = {"size": (1, 7), "padding": (0, 3)}
COLUMN: Window = {"size": (7, 1), "padding": (3, 0)}
SHORT_ROW: Window = {"size": (1, 3), "padding": (0, 1)}
SHORT_COLUMN: Window = {"size": (3, 1), "padding": (1, 0)}
SQUARE: Window = {"size": (3, 3), "padding": (1, 1)}


class BlockA(nnx.Module):
    """1x1, 5x5, two 3x3 and an average: [n, 35, 35, inputs] to [n, 35, 35, 224 + pooled]."""

    def __init__(self, inputs: int, pooled: int, *, fid: bool):
        self.fid = fid
        self.branch1x1 = ConvNorm(inputs, 64)
        self.branch5x5_1 = ConvNorm(inputs, 48)
        self.branch5x5_2 = ConvNorm(48, 64, (5, 5), padding=(2, 2))
        self.branch3x3dbl_1 = ConvNorm(inputs, 64)
        self.branch3x3dbl_2 = ConvNorm(64, 96, **SQUARE)
        self.branch3x3dbl_3 = ConvNorm(96, 96, **SQUARE)
        self.branch_pool = ConvNorm(inputs, pooled)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        return jnp.concatenate(
            [
                self.branch1x1(x),
                self.branch5x5_2(self.branch5x5_1(x)),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                self.branch_pool(average_pool(x, count_padding=not self.fid)),
            ],
            axis=-1,
        )


class BlockB(nnx.Module):
    """From 35 to 17 pixels a side: [n, 35, 35, 288] to [n, 17, 17, 768]."""

    def __init__(self) -> None:
        self.branch3x3 = ConvNorm(288, 384, (3, 3), stride=2)
        self.branch3x3dbl_1 = ConvNorm(288, 64)
        self.branch3x3dbl_2 = ConvNorm(64, 96, **SQUARE)
        self.branch3x3dbl_3 = ConvNorm(96, 96, (3, 3), stride=2)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return jnp.concatenate([self.branch3x3(x), double, max_pool(x, 3, stride=2)], axis=-1)


class BlockC(nnx.Module):
    """1x1, 1x7 then 7x1, that twice, and an average: [n, 17, 17, 768] to the same shape."""

    def __init__(self, width: int, *, fid: bool):
        self.fid = fid
        self.branch1x1 = ConvNorm(768, 192)
        self.branch7x7_1 = ConvNorm(768, width)
        self.branch7x7_2 = ConvNorm(width, width, **ROW)
        self.branch7x7_3 = ConvNorm(width, 192, **COLUMN)
        self.branch7x7dbl_1 = ConvNorm(768, width)
        self.branch7x7dbl_2 = ConvNorm(width, width, **COLUMN)
        self.branch7x7dbl_3 = ConvNorm(width, width, **ROW)
        self.branch7x7dbl_4 = ConvNorm(width, width, **COLUMN)
        self.branch7x7dbl_5 = ConvNorm(width, 192, **ROW)
        self.branch_pool = ConvNorm(768, 192)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return jnp.concatenate(
            [
                self.branch1x1(x),
                self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
                self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
                self.branch_pool(average_pool(x, count_padding=not self.fid)),
            ],
            axis=-1,
        )


class BlockD(nnx.Module):
    """From 17 to 8 pixels a side: [n, 17, 17, 768] to [n, 8, 8, 1280]."""

    def __init__(self) -> None:
        self.branch3x3_1 = ConvNorm(768, 192)
        self.branch3x3_2 = ConvNorm(192, 320, (3, 3), stride=2)
        self.branch7x7x3_1 = ConvNorm(768, 192)
        self.branch7x7x3_2 = ConvNorm(192, 192, **ROW)
        self.branch7x7x3_3 = ConvNorm(192, 192, **COLUMN)
        self.branch7x7x3_4 = ConvNorm(192, 192, (3, 3), stride=2)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        single = self.branch3x3_2(self.branch3x3_1(x))
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return jnp.concatenate([single, long, max_pool(x, 3, stride=2)], axis=-1)


class BlockE(nnx.Module):
    """Branches that end in 1x3 and 3x1, and a pool: [n, 8, 8, inputs] to [n, 8, 8, 2048]."""

    def __init__(self, inputs: int, *, pool: str):
        self.pool = pool  # "average", "average_inside" (of what lies in the image), "max"
        self.branch1x1 = ConvNorm(inputs, 320)
        self.branch3x3_1 = ConvNorm(inputs, 384)
        self.branch3x3_2a = ConvNorm(384, 384, **SHORT_ROW)
        self.branch3x3_2b = ConvNorm(384, 384, **SHORT_COLUMN)
        self.branch3x3dbl_1 = ConvNorm(inputs, 448)
        self.branch3x3dbl_2 = ConvNorm(448, 384, **SQUARE)
        self.branch3x3dbl_3a = ConvNorm(384, 384, **SHORT_ROW)
        self.branch3x3dbl_3b = ConvNorm(384, 384, **SHORT_COLUMN)
        self.branch_pool = ConvNorm(inputs, 192)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        if self.pool == "max":
            pooled = max_pool(x, 3, stride=1, padding=1)
        else:
            pooled = average_pool(x, count_padding=self.pool == "average")
        return jnp.concatenate(
            [
                self.branch1x1(x),
                self.branch3x3_2a(single),
                self.branch3x3_2b(single),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(pooled),
            ],
            axis=-1,
        )


class InceptionV3(nnx.Module):
    """Images [n, 299, 299, 3] in [-1, 1] units to the activations of a layer."""

    def __init__(self, variant: str = "torchvision"):
        fid = variant == "fid"
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, **SQUARE)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, (3, 3))
        self.Mixed_5b, self.Mixed_5c = BlockA(192, 32, fid=fid), BlockA(256, 64, fid=fid)
        self.Mixed_5d = BlockA(288, 64, fid=fid)
        self.Mixed_6a = BlockB()
        self.Mixed_6b, self.Mixed_6c = BlockC(128, fid=fid), BlockC(160, fid=fid)
        self.Mixed_6d, self.Mixed_6e = BlockC(160, fid=fid), BlockC(192, fid=fid)
        self.Mixed_7a = BlockD()
        self.Mixed_7b = BlockE(1280, pool="average_inside" if fid else "average")
        self.Mixed_7c = BlockE(2048, pool="max" if fid else "average")
        self.fc = Dense(2048, CLASSES[variant])

    def __call__(self, x: jax.Array, layers: tuple[str, ...]) -> tuple[jax.Array, ...]:
        """Return the activations [n, h, w, c] of `layers` (of LAYERS).

        "avgpool" and "logits" have h = w = 1.
        """
        activations = {}
        for name in LAYERS[: max(map(LAYERS.index, layers)) + 1]:
            if name in POOLED_BEFORE:
                x = max_pool(x, 3, stride=2)
            if name == "avgpool":
                x = x.mean((1, 2), keepdims=True)
            elif name == "logits":
                x = self.fc(x)
            else:
                x = getattr(self, name)(x)
            activations[name] = x
        return tuple(activations[name] for name in layers)
