"""StyleGAN2's discriminator as files of NVlabs and rosinality hold it beside the generator.

Sources for names: training/networks.py of https://github.com/NVlabs/stylegan2-ada-pytorch
(StyleGAN3's pickles have the same, training/networks_stylegan2.py of
https://github.com/NVlabs/stylegan3), and model.py of
https://github.com/rosinality/stylegan2-pytorch. What follows the activations of 4x4 pixels is
ignored by name.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jattr.distances.discriminator import BLUR_TAPS, Variant, parse
from jattr.distances.feature_folder import FEATURES_KIND
from jattr.errors import InputError

from .reading_limits import Tree
from .rules import Description, Format, Row, StateDict, UnfitError, attributes_of, side

NAME = "stylegan2-discriminator"
FILTER = np.outer(BLUR_TAPS, BLUR_TAPS)
# behind the features
IGNORED = ("b4.conv.*", "b4.fc.*", "b4.out.*", "mapping.*", "final_conv.*", "final_linear.*")


class Architecture(NamedTuple):
    """What the tensors of a file say."""

    name: str  # a key of NETWORKS
    variant: str
    program: str = "nvlabs"  # whose names they have


def describe(tensors: StateDict, tree: Tree) -> Description:
    """Return the architecture of a state dict of a discriminator, of NVlabs or rosinality."""
    program = "rosinality" if "convs.0.0.weight" in tensors else "nvlabs"
    try:
        variant = str(_DESCRIBE[program](tensors, tree))
    except InputError as error:
        raise UnfitError(str(error)) from error
    return Description(Architecture(NAME, variant, program))


def rows(arch: Architecture) -> Iterator[Row]:
    """Yield the table of a discriminator up to its activations of 4x4 pixels."""
    yield from _ROWS[arch.program](parse(arch.variant))


def _describe_nvlabs(tensors: StateDict, tree: Tree) -> Variant:
    matches = (re.fullmatch(r"b([0-9]{1,5})\.conv0\.weight", name) for name in tensors)
    sizes = sorted((int(match[1]) for match in matches if match), reverse=True)
    if not sizes or sizes != [8 << level for level in reversed(range(len(sizes)))]:
        raise UnfitError("no b8.conv0.weight, b16.conv0.weight, ...: one block for each size")
    top = f"b{sizes[0]}.fromrgb.weight"
    residual, skip = "b8.skip.weight" in tensors, "b4.fromrgb.weight" in tensors
    return Variant(
        form="skip" if skip else "resnet" if residual else "orig",
        image_channels=side(tensors, top, 1, axes=4),
        widths=(
            *(side(tensors, f"b{size}.conv0.weight", 1, axes=4) for size in sizes),
            side(tensors, "b8.conv1.weight", 0, axes=4),
        ),
        clamp=_clamp(tree),
    )


def _clamp(tree: Tree) -> float | None:
    """Return the clamp of activations, which only pickles of modules tell."""
    attributes = attributes_of(tree)

    def values(attribute: str) -> list[Tree]:
        layers = re.compile(rf"b(?!4\.)[0-9]+\.(fromrgb|conv0|conv1)\.{attribute}")
        return list(
            dict.fromkeys(value for name, value in attributes.items() if layers.fullmatch(name))
        )

    if others := [value for value in values("activation") if value != "lrelu"]:
        raise UnfitError(f"its layers have the activation {others[0]!r}; only 'lrelu' is known")
    clamps = values("conv_clamp") or [None]
    if len(clamps) > 1 or not (clamps[0] is None or type(clamps[0]) in (int, float)):
        raise UnfitError(
            f"its layers have the clamps {clamps[:4]}; they must have one, a number or none"
        )
    return None if clamps[0] is None else float(clamps[0])


def _rows_nvlabs(variant: Variant) -> Iterator[Row]:
    for level, block in enumerate(variant.layers):
        if not level or variant.form == "skip":
            yield from _layer(f"{block}.fromrgb", f"from_image/{level}")
            yield Row(f"{block}.fromrgb.resample_filter", None, expected=FILTER)
        if block == "b4":
            return
        yield Row(f"{block}.resample_filter", None, expected=FILTER)
        for conv in ("conv0", "conv1"):
            yield from _layer(f"{block}.{conv}", f"blocks/{level}/{conv}")
            yield Row(f"{block}.{conv}.resample_filter", None, expected=FILTER)
        if variant.form == "resnet":
            yield Row(f"{block}.skip.weight", f"blocks/{level}/skip/kernel", "conv")
            yield Row(f"{block}.skip.resample_filter", None, expected=FILTER)


def _layer(source: str, target: str) -> Iterator[Row]:
    yield Row(f"{source}.weight", f"{target}/kernel", "conv")
    yield Row(f"{source}.bias", f"{target}/bias")


def _describe_rosinality(tensors: StateDict, tree: Tree) -> Variant:
    matches = (re.fullmatch(r"convs\.([0-9]{1,3})\.conv1\.0\.weight", name) for name in tensors)
    blocks = sorted(int(match[1]) for match in matches if match)
    if not blocks or blocks != list(range(1, len(blocks) + 1)):
        raise UnfitError(
            "no convs.1.conv1.0.weight, convs.2.conv1.0.weight, ...: one block for each size"
        )
    last = side(tensors, f"convs.{blocks[-1]}.conv2.1.weight", 0, axes=4)
    return Variant(
        form="resnet",
        image_channels=side(tensors, "convs.0.0.weight", 1, axes=4),
        widths=(
            *(side(tensors, f"convs.{block}.conv1.0.weight", 1, axes=4) for block in blocks),
            last,
        ),
    )


def _rows_rosinality(variant: Variant) -> Iterator[Row]:
    yield Row("convs.0.0.weight", "from_image/0/kernel", "conv")
    yield Row("convs.0.1.bias", "from_image/0/bias")
    for level in range(len(variant.widths) - 1):
        source, target = f"convs.{level + 1}", f"blocks/{level}"
        yield Row(f"{source}.conv1.0.weight", f"{target}/conv0/kernel", "conv")
        yield Row(f"{source}.conv1.1.bias", f"{target}/conv0/bias")
        yield Row(f"{source}.conv2.0.kernel", None, expected=FILTER)
        yield Row(f"{source}.conv2.1.weight", f"{target}/conv1/kernel", "conv")
        yield Row(f"{source}.conv2.2.bias", f"{target}/conv1/bias")
        yield Row(f"{source}.skip.0.kernel", None, expected=FILTER)
        yield Row(f"{source}.skip.1.weight", f"{target}/skip/kernel", "conv")


_DESCRIBE: dict[str, Callable[[StateDict, Tree], Variant]] = {
    "nvlabs": _describe_nvlabs,
    "rosinality": _describe_rosinality,
}
_ROWS: dict[str, Callable[[Variant], Iterator[Row]]] = {
    "nvlabs": _rows_nvlabs,
    "rosinality": _rows_rosinality,
}
TABLE = Format(
    NAME,
    FEATURES_KIND,
    "discriminator of StyleGAN2 or StyleGAN3",
    ("D", "d", ""),
    describe,
    rows,
    IGNORED,
)
