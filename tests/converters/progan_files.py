"""Small ProGAN state dicts in each format, and their conversion.

What the tests of these formats share.
"""

import numpy as np
from flax import nnx
from jattr.converters.progan import FORMATS
from jattr.converters.rules import convert_by_rows

from jattr.generators.progan import Net

BY_NAME = {format.name: format for format in FORMATS}
GENFORCE, FUSED, ZOO, OLD_ZOO = (
    "progan-genforce",
    "progan-genforce-fused",
    "progan-ganzoo",
    "progan-ganzoo-old",
)
CHANNELS = (6, 6, 5, 3)
Z_DIM = 7


def random_tensors(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def genforce_tensors(*, channels=CHANNELS, fused=False, image_channels=3):
    shapes = {"lod": (), "layer0.weight": (channels[0], Z_DIM, 4, 4), "layer0.bias": (channels[0],)}
    for level, width in enumerate(channels):
        if level:
            inputs = channels[level - 1]
            shapes[f"layer{2 * level}.weight"] = (
                *((inputs, width) if fused else (width, inputs)),
                3,
                3,
            )
            shapes[f"layer{2 * level}.bias"] = (width,)
        shapes[f"layer{2 * level + 1}.weight"] = (width, width, 3, 3)
        shapes[f"layer{2 * level + 1}.bias"] = (width,)
        shapes[f"output{level}.weight"] = (image_channels, width, 1, 1)
        shapes[f"output{level}.bias"] = (image_channels,)
    return random_tensors(shapes) | {"lod": np.zeros((), np.float32)}


def zoo_tensors(*, channels=CHANNELS, inner=".module"):
    layers = {"groupScale0.0": (channels[0], channels[0])}
    for level in range(1, len(channels)):
        layers[f"scaleLayers.{level - 1}.0"] = (channels[level], channels[level - 1])
        layers[f"scaleLayers.{level - 1}.1"] = (channels[level], channels[level])
    shapes = {f"{name}{inner}.weight": (*sides, 3, 3) for name, sides in layers.items()}
    shapes |= {f"{name}{inner}.bias": sides[:1] for name, sides in layers.items()}
    shapes |= {
        f"toRGBLayers.{level}{inner}.weight": (3, width, 1, 1)
        for level, width in enumerate(channels)
    }
    shapes |= {f"toRGBLayers.{level}{inner}.bias": (3,) for level in range(len(channels))}
    shapes |= {
        f"formatLayer{inner}.weight": (16 * channels[0], Z_DIM),
        f"formatLayer{inner}.bias": (16 * channels[0],),
    }
    return random_tensors(shapes)


FILES = {
    GENFORCE: genforce_tensors(),
    FUSED: genforce_tensors(fused=True),
    ZOO: zoo_tensors(),
    OLD_ZOO: zoo_tensors(inner=""),
}


def shapes_of(arch):
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}


def convert(name, tensors, tree=None):
    found = BY_NAME[name].describe(tensors, tree)
    return found.architecture, convert_by_rows(
        BY_NAME[name], found, tensors, shapes_of(found.architecture)
    )
