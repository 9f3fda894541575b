"""StyleGAN2's weights as NVlabs (stylegan2-ada-pytorch), rosinality and genforce write them.

Only names, shapes and filter taps are read to tell the architecture. Sources for the names: the
programs' own state dicts, https://github.com/NVlabs/stylegan2-ada-pytorch,
https://github.com/rosinality/stylegan2-pytorch, https://github.com/genforce/genforce.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from jattr.errors import ConversionError
from jattr.generators.style_parts import GAIN, MAPPING_RATE, PIXEL_NORM_EPSILON, SLOPE
from jattr.generators.stylegan2 import Architecture

from .reading_limits import Tree
from .rules import Description, Format, Row, StateDict, UnfitError, attributes_of, need, side


def describe_nvlabs(tensors: StateDict, tree: Tree) -> Description:
    """Return the architecture of a state dict of NVlabs' `Generator`."""
    if any(name.startswith("b4.out.") or ".fromrgb." in name for name in tensors):
        raise UnfitError("this is a discriminator (it has fromrgb layers); the generator is G_ema")
    sizes = _sizes(tensors, r"synthesis\.b(\d+)\.conv1\.weight")
    if not sizes or "synthesis.b4.const" not in tensors:
        raise UnfitError("no synthesis.b4.const and synthesis.b4.conv1.weight")
    need(tensors, "mapping.fc0.weight", "mapping.w_avg", "synthesis.b4.resample_filter")
    form = "skip" if "synthesis.b4.torgb.weight" in tensors else "orig"
    form = "resnet" if "synthesis.b8.skip.weight" in tensors else form
    widths = _widths(tensors, "mapping.fc{}.weight")
    embedded, classes = 0, 0
    if "mapping.embed.weight" in tensors:
        embedded, classes = (side(tensors, "mapping.embed.weight", i, axes=2) for i in range(2))
    return Description(
        Architecture(
            channels=tuple(side(tensors, f"synthesis.b{size}.conv1.weight", 0) for size in sizes),
            z_dim=side(tensors, "mapping.fc0.weight", 1) - embedded,
            mapping_widths=widths,
            num_classes=classes,
            form=form,
            image_channels=side(tensors, f"synthesis.b{sizes[-1]}.torgb.weight", 0),
            clamp=attributes_of(tree).get("synthesis.b4.conv1.conv_clamp"),
            taps=_taps(tensors["synthesis.b4.resample_filter"]),
        )
    )


def rows_nvlabs(arch: Architecture) -> Iterator[Row]:
    """Yield the table of NVlabs' `Generator`."""
    yield from _mapping_rows(arch, "mapping.fc{}")
    yield Row("mapping.w_avg", "w_avg")
    if arch.num_classes:
        yield Row("mapping.embed.weight", "mapper/embed/kernel", "linear")
        yield Row("mapping.embed.bias", "mapper/embed/bias")
    taps = _outer(arch, 1.0)
    for level in range(len(arch.channels)):
        block, target = f"synthesis.b{4 << level}", f"blocks/{level}"
        yield Row(f"{block}.resample_filter", None, expected=taps)
        if not level:
            yield Row(f"{block}.const", "constant", "constant")
        for conv in ("conv0", "conv1")[level == 0 :]:
            yield from _conv_rows(f"{block}.{conv}", f"{target}/{conv}", "conv", "affine")
            yield Row(f"{block}.{conv}.bias", f"{target}/{conv}/bias")
            yield Row(f"{block}.{conv}.noise_strength", f"{target}/{conv}/noise_strength", "scalar")
            yield Row(f"{block}.{conv}.noise_const", f"noise/{_map_index(level, conv)}")
            yield Row(f"{block}.{conv}.resample_filter", None, expected=taps)
        if _has_image(arch, level):
            yield from _conv_rows(f"{block}.torgb", f"{target}/to_image", "conv", "affine")
            yield Row(f"{block}.torgb.bias", f"{target}/to_image/bias")
        if level and arch.form == "resnet":
            yield Row(f"{block}.skip.weight", f"{target}/skip", "conv")
            yield Row(f"{block}.skip.resample_filter", None, expected=taps)


def describe_rosinality(tensors: StateDict, tree: Tree) -> Description:
    """Return the architecture of rosinality's `Generator`, and its `latent_avg`."""
    if any(name.startswith("final_linear.") for name in tensors):
        raise UnfitError("this is a discriminator (it has final_linear); the generator is g_ema")
    need(tensors, "input.input", "conv1.conv.weight", "style.1.weight", "to_rgb1.conv.weight")
    convs = _sizes(tensors, r"convs\.(\d+)\.conv\.weight")
    if convs != list(range(len(convs))) or len(convs) % 2 or not convs:
        raise UnfitError(
            f"convs numbered {convs[:4]}...; they must be 0, 1, ... and two for each size"
        )
    channels = [side(tensors, "conv1.conv.weight", 1)]
    channels += [side(tensors, f"convs.{i}.conv.weight", 1) for i in range(1, len(convs), 2)]
    kernel = tensors.get("convs.0.conv.blur.kernel")
    if kernel is None:
        raise UnfitError("no convs.0.conv.blur.kernel: the taps of the resampling filter")
    average = _mean_style(tree, tensors)
    return Description(
        Architecture(
            channels=tuple(channels),
            z_dim=side(tensors, "style.1.weight", 1),
            mapping_widths=_widths(tensors, "style.{}.weight", first=1),
            image_channels=side(tensors, "to_rgb1.conv.weight", 1),
            equalised=True,
            taps=_taps(kernel),
        ),
        extra={} if average is None else {"latent_avg": average},
        estimate=partial(MeanStyle().estimate, tensors) if average is None else None,
        notes=(MeanStyle().note,) if average is None else (),
    )


def _mean_style(tree: Tree, tensors: StateDict) -> np.ndarray | None:
    """Return `latent_avg`, the mean style, of a file that has it; encoders repeat it in rows."""
    beside = tree.get("latent_avg") if isinstance(tree, Mapping) else None
    average = tensors.get("latent_avg", beside)
    if not isinstance(average, np.ndarray) or average.ndim not in (1, 2) or not average.size:
        return None
    rows = np.atleast_2d(average)
    return None if (rows != rows[0]).any() else rows[0]


@dataclass(frozen=True)
class MeanStyle:
    """The mean style, estimated from the mapping network as rosinality's `mean_latent` does.

    Training checkpoints lack it. The same file gives the same numbers on every machine: the draws
    are of numpy's frozen `RandomState`, the sums of float64, and the mean is rounded to `step`,
    which is far below its own standard error.
    """

    draws: int = 1 << 14  # of z; the program itself takes 4,096
    batch: int = 1 << 12  # of z at a time
    seed: int = 0
    step: float = 2.0**-12

    @property
    def note(self) -> str:
        """What is to be said of it."""
        return (
            "the file has no latent_avg, the mean style: it is estimated, as the mean of the"
            f" mapping network over {self.draws} latents; images with psi 1 do not depend on it"
        )

    def estimate(self, tensors: StateDict) -> dict[str, np.ndarray]:
        """Return {"latent_avg": [w_dim]} of a state dict of rosinality's.

        Raises:
          ConversionError: the layers of its mapping network do not fit each other.
        """
        layers: list[tuple[np.ndarray, np.ndarray]] = []
        while f"style.{len(layers) + 1}.weight" in tensors:
            name = f"style.{len(layers) + 1}"
            weight, bias = (
                np.asarray(tensors.get(f"{name}.{leaf}", np.empty(0)), np.float64)
                for leaf in ("weight", "bias")
            )
            inputs = layers[-1][0].shape[0] if layers else (*weight.shape, 0, 0)[1]
            if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != inputs:
                raise ConversionError(
                    f"{name} of the mapping network has a weight {list(weight.shape)} and a bias"
                    f" {list(bias.shape)}, which do not fit"
                )
            layers.append((weight, bias))
        random = np.random.RandomState(self.seed)
        total = np.zeros(layers[-1][0].shape[0])
        for start in range(0, self.draws, self.batch):
            size = (min(self.batch, self.draws - start), layers[0][0].shape[1])
            x = random.standard_normal(size)
            x /= np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + PIXEL_NORM_EPSILON)
            for weight, bias in layers:
                x = x @ weight.T * (MAPPING_RATE / math.sqrt(weight.shape[1])) + MAPPING_RATE * bias
                x = np.where(x >= 0, x, SLOPE * x) * GAIN
            total += x.sum(axis=0)
        mean = np.round(total / self.draws / self.step) * self.step
        return {"latent_avg": mean.astype(np.float32)}


def rows_rosinality(arch: Architecture) -> Iterator[Row]:
    """Yield the table of rosinality's `Generator`."""
    yield from _mapping_rows(arch, "style.{}", first=1)
    yield Row("latent_avg", "w_avg")
    yield Row("input.input", "constant", "batched_constant")
    taps = _outer(arch, 4.0)
    for level in range(len(arch.channels)):
        for conv in ("conv0", "conv1")[level == 0 :]:
            index = _map_index(level, conv)
            source = f"convs.{index - 1}" if level else "conv1"
            target = f"blocks/{level}/{conv}"
            yield from _conv_rows(f"{source}.conv", target, "modulated", "modulation")
            yield Row(f"{source}.noise.weight", f"{target}/noise_strength", "scalar")
            yield Row(f"{source}.activate.bias", f"{target}/bias")
            yield Row(f"noises.noise_{index}", f"noise/{index}", "map")
            if conv == "conv0":
                yield Row(f"{source}.conv.blur.kernel", None, expected=taps)
        source = f"to_rgbs.{level - 1}" if level else "to_rgb1"
        yield from _conv_rows(
            f"{source}.conv", f"blocks/{level}/to_image", "modulated", "modulation"
        )
        yield Row(f"{source}.bias", f"blocks/{level}/to_image/bias", "flat")
        if level:
            yield Row(f"{source}.upsample.kernel", None, expected=taps)


def describe_genforce(tensors: StateDict, tree: Tree) -> Description:
    """Return the architecture of genforce's `StyleGAN2Generator`."""
    if "synthesis.layer0.const" in tensors or "synthesis.lod" in tensors:
        raise UnfitError(
            "this is a StyleGAN, not a StyleGAN2 (it has synthesis.layer0.const or synthesis.lod)"
        )
    need(
        tensors,
        "synthesis.early_layer.const",
        "synthesis.layer0.style.weight",
        "mapping.dense0.weight",
    )
    need(tensors, "truncation.w_avg", "synthesis.layer1.filter.kernel")
    outputs = _sizes(tensors, r"synthesis\.output(\d+)\.weight")
    levels = 1 + len(_sizes(tensors, r"synthesis\.layer(\d+)\.weight")) // 2
    embedded, classes = 0, 0
    if "mapping.label_weight" in tensors:
        classes, embedded = (side(tensors, "mapping.label_weight", i, axes=2) for i in range(2))
    side(tensors, "synthesis.layer1.filter.kernel", 0, axes=4)
    return Description(
        Architecture(
            channels=tuple(
                side(tensors, f"synthesis.layer{2 * level}.weight", 0) for level in range(levels)
            ),
            z_dim=side(tensors, "mapping.dense0.weight", 1) - embedded,
            mapping_widths=_widths(tensors, "mapping.dense{}.weight"),
            num_classes=classes,
            embedding="table" if classes else "dense",
            form="skip" if len(outputs) > 1 else "orig",
            image_channels=side(tensors, f"synthesis.output{levels - 1}.weight", 0),
            equalised=True,
            taps=_taps(tensors["synthesis.layer1.filter.kernel"][0, 0]),
        )
    )


def rows_genforce(arch: Architecture) -> Iterator[Row]:
    """Yield the table of genforce's `StyleGAN2Generator`.

    Styles add 1 to their bias; up-kernels are flipped.
    """
    yield from _mapping_rows(arch, "mapping.dense{}")
    yield Row("truncation.w_avg", "w_avg")
    if arch.num_classes:
        yield Row("mapping.label_weight", "mapper/embed")
    yield Row("synthesis.early_layer.const", "constant", "batched_constant")
    taps = _outer(arch, 4.0)[None, None]
    for level in range(len(arch.channels)):
        for conv in ("conv0", "conv1")[level == 0 :]:
            index = _map_index(level, conv)
            source, target = f"synthesis.layer{index}", f"blocks/{level}/{conv}"
            yield from _conv_rows(
                source, target, "conv" if conv == "conv1" else "flipped_conv", "style", "plus_one"
            )
            yield Row(f"{source}.bias", f"{target}/bias")
            yield Row(f"{source}.noise_strength", f"{target}/noise_strength", "scalar")
            yield Row(f"{source}.noise", f"noise/{index}", "map")
            if conv == "conv0":
                yield Row(f"{source}.filter.kernel", None, expected=taps)
        if _has_image(arch, level):
            source, target = f"synthesis.output{level}", f"blocks/{level}/to_image"
            yield from _conv_rows(source, target, "conv", "style", "plus_one")
            yield Row(f"{source}.bias", f"{target}/bias")
    if arch.form == "skip":
        yield Row("synthesis.upsample.kernel", None, expected=taps)


FORMATS = (
    Format(
        "stylegan2-nvlabs", "stylegan2", "StyleGAN2 of NVlabs (stylegan2-ada-pytorch)",
        ("G_ema", ""),
        describe_nvlabs, rows_nvlabs,
    ),
    Format(
        "stylegan2-rosinality", "stylegan2", "StyleGAN2 of rosinality (stylegan2-pytorch)",
        ("g_ema", ""),
        describe_rosinality, rows_rosinality,
    ),
    Format(
        "stylegan2-genforce", "stylegan2", "StyleGAN2 of genforce",
        ("generator_smooth", "generator", ""),
        describe_genforce, rows_genforce,
    ),
)  # fmt: skip


def _mapping_rows(arch: Architecture, name: str, first: int = 0) -> Iterator[Row]:
    for i in range(len(arch.mapping_widths)):
        source = name.format(i + first)
        yield Row(f"{source}.weight", f"mapper/layers/{i}/kernel", "linear")
        yield Row(f"{source}.bias", f"mapper/layers/{i}/bias")


def _conv_rows(
    source: str, target: str, layout: str, style: str, style_bias: str = "same"
) -> Iterator[Row]:
    yield Row(f"{source}.weight", f"{target}/kernel", layout)
    yield Row(f"{source}.{style}.weight", f"{target}/affine/kernel", "linear")
    yield Row(f"{source}.{style}.bias", f"{target}/affine/bias", style_bias)


def _has_image(arch: Architecture, level: int) -> bool:
    return arch.form == "skip" or level == len(arch.channels) - 1


def _map_index(level: int, conv: str) -> int:
    """Return the number of a convolution, and of its noise map, from the first."""
    return 2 * level - (conv == "conv0")


def _outer(arch: Architecture, total: float) -> np.ndarray:
    taps = np.outer(arch.taps, arch.taps)
    return taps * (total / taps.sum())


def _taps(kernel: np.ndarray) -> tuple[float, ...]:
    """Return the taps of one axis of a separable filter [k, k], the smallest of them 1."""
    kernel = np.asarray(kernel, np.float64)
    if (
        kernel.ndim != 2
        or kernel.shape[0] != kernel.shape[1]
        or not kernel.sum(0, initial=0.0).any()
    ):
        raise UnfitError(
            f"a resampling filter of shape {list(kernel.shape)}; it must be square and not of sum 0"
            " along both axes"
        )
    taps = kernel.sum(0)
    taps = taps / np.abs(taps[taps != 0]).min()
    return tuple(float(tap) for tap in np.round(taps, 4))


def _sizes(tensors: StateDict, pattern: str) -> list[int]:
    matches = (re.fullmatch(pattern, name) for name in tensors)
    return sorted(int(match[1]) for match in matches if match)


def _widths(tensors: StateDict, name: str, first: int = 0) -> tuple[int, ...]:
    widths: list[int] = []
    while name.format(first + len(widths)) in tensors:
        widths.append(side(tensors, name.format(first + len(widths)), 0))
    return tuple(widths)
