"""StyleGAN3's weights as NVlabs' program writes them, configurations T and R alike.

Source for names, defaults and the way from settings to layers: https://github.com/NVlabs/stylegan3,
training/networks_stylegan3.py. Its pickles state the settings as attributes of the modules. A
plain state dict does not: what cannot be told from names and shapes then is as in all official
networks (`DEFAULTS`).
"""

import re
from collections.abc import Iterator, Mapping

from jattr.errors import show
from jattr.generators.stylegan3 import Architecture

from .reading_limits import Tree
from .rules import Description, Format, Row, StateDict, UnfitError, attributes_of, looks_like, side

# L<index>_<pixels along a side>_<channels>
LAYER = r"synthesis\.(L(\d{1,4})_(\d{1,5})_\d+)\.weight"
DEFAULTS = {  # attribute, {} being the first layer -> value; None is legal for conv_clamp only
    "{}.down_factor": 2,  # of the leaky ReLUs' oversampling
    "{}.conv_clamp": 256,
    "synthesis.input.bandwidth": 2.0,
    "synthesis.output_scale": 0.25,
    "mapping.fc0.bias_gain": 0.01,  # learning-rate multiplier of the mapping network
}
MAX_SETTING = 1e6
NUM_TAPS = 12  # of the downsampling filters of all official networks
NOT_STYLEGAN3 = {  # names of files that are taken for a StyleGAN3 generator -> what they are
    "G.*": "a training checkpoint without the averaged generator G_ema",
    "D.*": "a training checkpoint without the averaged generator G_ema",
    "*fromrgb.weight": "a discriminator; the generator is G_ema",
    "encoder.*": "an encoder that inverts generators",
    "*synthesis.L0_*": "a StyleGAN3 generator beside other parts, or under another name",
    "L0_*": "the synthesis network of StyleGAN3 without its mapping network",
    "*synthesis.b4.const": "a StyleGAN2 of NVlabs",
}


def describe(tensors: StateDict, tree: Tree) -> Description:
    """Return the architecture of a state dict of NVlabs' `Generator`.

    `tree` holds its attributes if it was a pickle.
    """
    names, sizes = _layers(tensors)
    settings = _settings(tree, f"synthesis.{names[0]}")
    filter_size, oversampling = _filters(tensors, names[0], settings, tree)
    w_dim, classes = side(tensors, "mapping.w_avg", 0), 0
    if "mapping.embed.weight" in tensors:
        classes = side(tensors, "mapping.embed.weight", 1)
    clamp = settings["{}.conv_clamp"]
    arch = Architecture(
        channels=(
            side(tensors, "synthesis.input.weight", 0),
            *(side(tensors, f"synthesis.{name}.weight", 0) for name in names),
        ),
        sizes=(sizes[0], *sizes),
        rates=_rates(tensors, names, sizes, filter_size * oversampling),
        z_dim=side(tensors, "mapping.fc0.weight", 1) - (w_dim if classes else 0),
        w_dim=w_dim,
        mapping_layers=next(
            count for count in range(1, len(tensors)) if f"mapping.fc{count}.weight" not in tensors
        ),
        num_classes=classes,
        kernel_size=side(tensors, f"synthesis.{names[0]}.weight", 2),
        num_radial=sum(tensors[f"synthesis.{name}.down_filter"].ndim == 2 for name in names[:-1]),
        filter_size=filter_size,
        oversampling=oversampling,
        bandwidth=float(settings["synthesis.input.bandwidth"]),
        clamp=None if clamp is None else float(clamp),
        output_scale=float(settings["synthesis.output_scale"]),
    )
    problems = list(arch.problems())
    if problems:
        raise UnfitError(f"its architecture is not possible: {'; '.join(problems)}")
    return Description(arch)


def rows(arch: Architecture) -> Iterator[Row]:
    """Yield the table of NVlabs' `Generator`."""
    yield Row("mapping.w_avg", "w_avg")
    for source, target in _dense_names(arch):
        yield Row(f"{source}.weight", f"{target}/kernel", "linear")
        yield Row(f"{source}.bias", f"{target}/bias")
    yield Row("synthesis.input.weight", "features/kernel", "linear")
    for name in ("transform", "freqs", "phases"):
        yield Row(f"synthesis.input.{name}", f"features/{name}")
    for source, target in _layer_names(arch):
        yield Row(f"{source}.weight", f"{target}/kernel", "conv")
        yield Row(f"{source}.bias", f"{target}/bias")
        yield Row(f"{source}.magnitude_ema", f"{target}/magnitude_ema", "scalar")
        if target != "to_image":
            yield Row(f"{source}.up_filter", f"{target}/up_filter")
            yield Row(f"{source}.down_filter", f"{target}/down_filter")


FORMATS = (Format("stylegan3", "stylegan3", "StyleGAN3 of NVlabs", ("G_ema", ""), describe, rows),)


def _layer_names(arch: Architecture) -> list[tuple[str, str]]:
    """Return (source, target) of the layers behind the input."""
    parts = zip(arch.sizes[1:], arch.channels[1:], strict=True)
    sources = [
        f"synthesis.L{index}_{size}_{channels}" for index, (size, channels) in enumerate(parts)
    ]
    return list(
        zip(
            sources,
            [*(f"layers/{index}" for index in range(arch.num_layers)), "to_image"],
            strict=True,
        )
    )


def _dense_names(arch: Architecture) -> Iterator[tuple[str, str]]:
    """Yield (source, target) of the dense layers."""
    if arch.num_classes:
        yield "mapping.embed", "mapper/embed"
    for index in range(arch.mapping_layers):
        yield f"mapping.fc{index}", f"mapper/layers/{index}"
    yield "synthesis.input.affine", "features/affine"
    for source, target in _layer_names(arch):
        yield f"{source}.affine", f"{target}/affine"


def _layers(tensors: StateDict) -> tuple[list[str], list[int]]:
    """Return the names of the layers and the pixels along a side behind each.

    The last layer is that of the image.
    """
    layers = sorted(
        (match for name in tensors if (match := re.fullmatch(LAYER, name))),
        key=lambda match: int(match[2]),
    )
    needed = ["mapping.w_avg", "mapping.fc0.weight", "synthesis.input.weight"]
    missing = [] if len(layers) >= 2 else ["synthesis.L0_*.weight, synthesis.L1_*.weight"]
    missing += [name for name in needed if name not in tensors]
    if missing:
        raise UnfitError(f"no {', '.join(missing)}{looks_like(tensors, NOT_STYLEGAN3)}")
    if [int(match[2]) for match in layers] != list(range(len(layers))):
        raise UnfitError(
            f"layers numbered {', '.join(match[2] for match in layers)[:40]}; they must be 0, 1,"
            " ..."
        )
    names = [match[1] for match in layers]
    for name in names[:-1]:
        side(tensors, f"synthesis.{name}.up_filter", 0)
        side(tensors, f"synthesis.{name}.down_filter", 0)
    return names, [int(match[3]) for match in layers]


def _filters(
    tensors: StateDict, first: str, settings: Mapping[str, Tree], tree: Tree
) -> tuple[int, int]:
    """Return a filter's taps for each step of its factor, and the factor by which all go down."""
    taps = side(tensors, f"synthesis.{first}.down_filter", 0)
    factor = int(settings["{}.down_factor"])
    if factor < 1 or taps % factor:
        raise UnfitError(
            f"its downsampling filters have {taps} taps, which is no multiple of their factor"
            f" {factor}"
        )
    if taps != NUM_TAPS and not attributes_of(tree):
        raise UnfitError(
            f"its downsampling filters have {taps} taps, not {NUM_TAPS}: this is no official"
            " network, and only its pickle says by what factor they go down"
        )
    return taps // factor, factor


def _rates(
    tensors: StateDict, names: list[str], sizes: list[int], same_taps: int
) -> tuple[int, ...]:
    """Return the sampling rates of the input and behind each layer.

    From the lengths of the upsampling filters. The image's rate is its size, and all before stand
    at one distance from their sizes: the margin on both sides. `same_taps` is the length where the
    rate stays the same.
    """
    rates = [sizes[-1], sizes[-1]]
    for name in reversed(names[:-1]):
        taps = side(tensors, f"synthesis.{name}.up_filter", 0)
        if taps % same_taps or rates[0] % (taps // same_taps):
            raise UnfitError(
                f"synthesis.{name}.up_filter has {taps} taps, which no ratio of sampling rates"
                " gives"
            )
        rates.insert(0, rates[0] // (taps // same_taps))
    margins = {size - rate for size, rate in zip(sizes[:-2], rates[1:-2], strict=True)}
    if len(margins) > 1 or min(margins, default=0) < 0:
        raise UnfitError(
            f"its sizes {sizes} and the sampling rates {rates[1:]}, told from its filters,"
            " contradict"
        )
    return tuple(rates)


def _settings(tree: Tree, first: str) -> dict[str, Tree]:
    """Return the attributes that `DEFAULTS` lists: the file's, or else the default."""
    attributes = attributes_of(tree)
    settings = {
        name: attributes.get(name.format(first), default) for name, default in DEFAULTS.items()
    }
    for name, value in settings.items():
        number = type(value) in (int, float) and abs(value) <= MAX_SETTING
        if not number and not (value is None and name.endswith("clamp")):
            raise UnfitError(
                f"its attribute {name.format(first)} is {show(value)}; it must be a number, not too"
                " large"
            )
    if settings["mapping.fc0.bias_gain"] != DEFAULTS["mapping.fc0.bias_gain"]:
        raise UnfitError(
            f"its mapping network has the learning rate {settings['mapping.fc0.bias_gain']}, not"
            " 0.01"
        )
    return settings
