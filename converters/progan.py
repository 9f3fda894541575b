"""ProGAN's weights as genforce and GAN zoo (facebookresearch/pytorch_GAN_zoo) write them.

Sources for names and gains: https://github.com/genforce/genforce, models/pggan_generator.py;
https://github.com/facebookresearch/pytorch_GAN_zoo, models/networks/progressive_conv_net.py and
custom_layers.py.

Weights alone do not say whether learning rates are equalised, a label stands beside z, or a tanh
follows: taken as both programs have it unless told otherwise, which is yes, no and no. GAN zoo's
`config` beside the weights says it.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count, pairwise

from jattr.errors import CheckpointError
from jattr.generators.progan import Architecture

from .pickle_machine import NewObject, Unfinished
from .reading_limits import Tree, shown
from .rules import Description, Format, Row, StateDict, UnfitError, need, side

NOT_PROGAN = {  # names of files that are taken for a ProGAN generator -> what they are
    "*input0.weight": "a discriminator of genforce",
    "*fromRGBLayers.*": "a discriminator of GAN zoo",
    "*layer0.style.*": "a StyleGAN or StyleGAN2 of genforce",
    "*early_layer.*": "a StyleGAN2 of genforce",
    "*baseScale0": "a StyleGAN of GAN zoo",
    "*formatLayer.*": "a generator of GAN zoo, in another format",
    "*progression*.conv*": "a generator of rosinality, which has no format here",
    "layer*.conv.weight": "a ProGAN of GAN dissection or InterFaceGAN, which has no format here",
}
ZOO_CONFIG = {  # setting of GAN zoo -> the value that is converted, and what another one would mean
    "alpha": (0, "the last size is still blended in: training stopped on the way"),
    "categoryVectorDim": (0, "a label stands beside z"),
    "leakyReluLeak": (0.2, "another slope of the leaky ReLU"),
    "perChannelNormalization": (True, "no pixel norm"),
    "equalizedlR": (True, "no equalised learning rate"),
}
ZOO_TANH = ("MSE", "DCGAN")  # losses with which GAN zoo puts a tanh behind the image


class SavedConfig(Unfinished):
    """GAN zoo's `BaseConfig`, an object without methods, read as the dict of its settings."""

    def finish(self, state: Tree) -> dict[str, Tree]:
        """Return the settings."""
        if type(state) is not dict:
            raise CheckpointError(
                f"has a config of GAN zoo that is {shown(state)} in place of settings"
            )
        return state


# for `read_checkpoint`
GAN_ZOO_NAMES: dict[str, Tree] = {"models.utils.config.BaseConfig": NewObject(SavedConfig)}


def describe_genforce(tensors: StateDict, tree: Tree, *, fused: bool) -> Description:
    """Return the architecture of genforce's `PGGANGenerator`.

    Its fused upscales store their kernels [in, out, 3, 3], the others [out, in, 3, 3]. Where no
    size changes the number of channels that cannot be seen, and they are taken as not fused, as
    genforce has it unless told otherwise.
    """
    need(tensors, "layer0.weight", "output0.weight", near=NOT_PROGAN)
    check_finished(tensors, "lod")
    levels = number_of(tensors, "output{}.weight")
    channels = tuple(
        side(tensors, f"layer{2 * level + 1}.weight", 0, axes=4) for level in range(levels)
    )
    has_fused = any(
        inputs != outputs and tensors[f"layer{2 * level}.weight"].shape[:2] == (inputs, outputs)
        for level, (inputs, outputs) in enumerate(pairwise(channels), 1)
        if f"layer{2 * level}.weight" in tensors
    )
    if has_fused != fused:
        raise UnfitError(
            "its upscales are fused: kernels [in, out, 3, 3]; that is format progan-genforce-fused"
            if has_fused
            else "no upscale whose kernel is [in, out, 3, 3] with another number out than in"
        )
    return Description(
        Architecture(
            channels=channels,
            z_dim=side(tensors, "layer0.weight", 1, axes=4),
            image_channels=side(tensors, f"output{levels - 1}.weight", 0, axes=4),
        )
    )


def rows_genforce(arch: Architecture, *, fused: bool) -> Iterator[Row]:
    """Yield the table of genforce's `PGGANGenerator`.

    Its first layer is a convolution of one pixel padded by 3.
    """
    yield Row("layer0.weight", "first/kernel", "pixel_to_map")
    yield Row("layer0.bias", "first/bias")
    for index in range(2 * len(arch.channels) - 1):
        layout = "flipped_conv_transpose" if fused and index % 2 else "conv"
        yield Row(f"layer{index + 1}.weight", f"layers/{index}/kernel", layout)
        yield Row(f"layer{index + 1}.bias", f"layers/{index}/bias")
    yield Row(f"output{len(arch.channels) - 1}.weight", "to_image/kernel", "conv")
    yield Row(f"output{len(arch.channels) - 1}.bias", "to_image/bias")


def describe_zoo(tensors: StateDict, tree: Tree, *, inner: str) -> Description:
    """Return the architecture of GAN zoo's `GNet`.

    `inner` is the name that its layers give the convolution inside them.
    """
    need(tensors, f"formatLayer{inner}.weight", f"groupScale0.0{inner}.weight", near=NOT_PROGAN)
    levels = number_of(tensors, "toRGBLayers.{}" + inner + ".weight")
    last = f"toRGBLayers.{levels - 1}{inner}.weight"
    need(tensors, last, near=NOT_PROGAN)
    names = [
        f"groupScale0.0{inner}.weight",
        *(f"scaleLayers.{i}.1{inner}.weight" for i in range(levels - 1)),
    ]
    return Description(
        Architecture(
            channels=tuple(side(tensors, name, 0, axes=4) for name in names),
            z_dim=side(tensors, f"formatLayer{inner}.weight", 1, axes=2),
            image_channels=side(tensors, last, 0, axes=4),
            first_gain=math.sqrt(2.0),
            image_gain=math.sqrt(2.0),
            scaled_bias=True,
            first_bias_maps=True,
            tanh=_zoo_tanh(tree),
        )
    )


def _zoo_tanh(tree: Tree) -> bool:
    """Return whether a tanh follows, by the file's `config` if any; check its rest."""
    config = tree.get("config") if isinstance(tree, Mapping) else None
    if not isinstance(config, Mapping):
        return False
    for name, (value, meaning) in ZOO_CONFIG.items():
        stated = config.get(name, value)
        if not isinstance(stated, bool | int | float) or stated != value:
            raise UnfitError(
                f"its config has {name} {shown(stated)}, not {value}: {meaning}, which is not"
                " converted"
            )
    loss = config.get("lossCriterion")
    return isinstance(loss, str) and loss in ZOO_TANH


def rows_zoo(arch: Architecture, *, inner: str) -> Iterator[Row]:
    """Yield the table of GAN zoo's `GNet`."""
    yield Row(f"formatLayer{inner}.weight", "first/kernel", "dense_to_map")
    yield Row(f"formatLayer{inner}.bias", "first/bias", "flat_to_map")
    last = len(arch.channels) - 1
    layers = [
        "groupScale0.0",
        *(f"scaleLayers.{level}.{i}" for level in range(last) for i in range(2)),
    ]
    sources = {f"layers/{index}": source for index, source in enumerate(layers)} | {
        "to_image": f"toRGBLayers.{last}"
    }
    for target, source in sources.items():
        yield Row(f"{source}{inner}.weight", f"{target}/kernel", "conv")
        yield Row(f"{source}{inner}.bias", f"{target}/bias")


def check_finished(tensors: StateDict, name: str) -> None:
    """Check genforce's level of detail, if stored: how many sizes are still to come."""
    lod = tensors.get(name)
    if lod is not None and (lod.size != 1 or float(lod.reshape(())) != 0.0):
        values = ", ".join(f"{value:g}" for value in lod.reshape(-1)[:3].astype(float))
        raise UnfitError(
            f"{name} is {values}, not 0: the last sizes are not in use yet, training stopped on the"
            " way"
        )


def number_of(tensors: StateDict, name: str) -> int:
    """Return how many names, counted from 0, there are."""
    return next(number for number in count() if name.format(number) not in tensors)


GENFORCE_KEYS = ("generator_smooth", "models.generator_smooth", "generator", "models.generator", "")
GENFORCE_UNUSED = ("output*", "lod")  # at the last size only the last output layer makes an image
ZOO_KEYS, ZOO_UNUSED = ("avgG", "netG", ""), ("toRGBLayers.*",)  # likewise
FORMATS = (
    Format(
        "progan-genforce",
        "progan",
        "ProGAN of genforce",
        GENFORCE_KEYS,
        partial(describe_genforce, fused=False),
        partial(rows_genforce, fused=False),
        GENFORCE_UNUSED,
    ),
    Format(
        "progan-genforce-fused",
        "progan",
        "ProGAN of genforce with fused upscales",
        GENFORCE_KEYS,
        partial(describe_genforce, fused=True),
        partial(rows_genforce, fused=True),
        GENFORCE_UNUSED,
    ),
    Format(
        "progan-ganzoo",
        "progan",
        "ProGAN of GAN zoo",
        ZOO_KEYS,
        partial(describe_zoo, inner=".module"),
        partial(rows_zoo, inner=".module"),
        ZOO_UNUSED,
    ),
    Format(
        "progan-ganzoo-old",
        "progan",
        "ProGAN of GAN zoo with its older names",
        ZOO_KEYS,
        partial(describe_zoo, inner=""),
        partial(rows_zoo, inner=""),
        ZOO_UNUSED,
    ),
)
