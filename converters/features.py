"""Feature networks' weights in public files: Inception v3, and LPIPS in two, backbone and heads.

Discriminators, which lie beside their generators, have their tables in `discriminators`.

Sources for names: torchvision's models (inception.py, alexnet.py, vgg.py, squeezenet.py);
https://github.com/mseitzer/pytorch-fid, inception.py;
https://github.com/richzhang/PerceptualSimilarity, lpips.py and lpips/weights/v0.1. The two files of
LPIPS lie in one folder, under any names.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jattr.distances.feature_folder import FEATURES_KIND, make_card, save_features
from jattr.distances.inception import CLASSES
from jattr.distances.networks import FeatureNetwork, graph_of
from jattr.errors import ConversionError

from . import discriminators
from .reading_limits import Tree
from .rules import Description, Format, Row, StateDict, UnfitError, convert_by_rows
from .weights_folder import Weights

LEAVES_OF_CONV = {  # stored leaf -> (its name in the file, layout), of a convolution with bias
    "kernel": ("weight", "conv"),
    "bias": ("bias", "same"),
}
LEAVES_WITH_NORM = {  # of a convolution and its batch normalisation
    "kernel": ("conv.weight", "conv"),
    "scale": ("bn.weight", "same"),
    "bias": ("bn.bias", "same"),
    "mean": ("bn.running_mean", "same"),
    "var": ("bn.running_var", "same"),
}
LEAVES_OF_DENSE = {"kernel": ("weight", "linear"), "bias": ("bias", "same")}
SIGNS = {  # backbone -> a tensor of it and its shape, which no other has
    "alex": ("features.0.weight", (64, 3, 11, 11)),
    "vgg": ("features.2.weight", (64, 64, 3, 3)),
    "squeeze": ("features.3.squeeze.weight", (16, 64, 1, 1)),
}
LPIPS_HEAD_KEY = "lin0.model.1.weight"


class Architecture(NamedTuple):
    """What the tensors of a file say."""

    name: str  # a key of NETWORKS
    variant: str


class FeatureFormat(NamedTuple):
    """A layout of the weights of a feature network."""

    name: str  # as --arch takes it
    title: str  # whose files these are
    keys: tuple[str, ...]  # as in `Format`
    describe: Callable[[StateDict, Tree], Description]  # raises UnfitError
    table: Format
    # only looked for where --arch names it: it lies beside a generator, which comes first
    on_request: bool = False


def describe_inception(tensors: StateDict, tree: Tree) -> Description:
    """Return the architecture of Inception v3; the number of classes tells the variant."""
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight", "fc.weight"):
        if name not in tensors:
            raise UnfitError(f"no {name}")
    classes = tensors["fc.weight"].shape[0] if tensors["fc.weight"].ndim == 2 else None
    for variant, number in CLASSES.items():
        if classes == number:
            return Description(Architecture("inception-v3", variant))
    legal = " or ".join(f"{number} ({variant})" for variant, number in CLASSES.items())
    raise UnfitError(
        f"fc.weight has the shape {list(tensors['fc.weight'].shape)}; its first side must be"
        f" {legal}"
    )


def describe_lpips(tensors: StateDict, tree: Tree, *, backbone: str) -> Description:
    """Return the architecture of LPIPS with a backbone."""
    name, shape = SIGNS[backbone]
    array = tensors.get(name)
    if array is None or array.shape != shape:
        has = f"; it has the shape {list(array.shape)}" if array is not None else ""
        raise UnfitError(
            f"no {name} of shape {list(shape)}{has}"
            + (
                "; its heads alone are no network: put both files into one folder"
                if LPIPS_HEAD_KEY in tensors
                else ""
            )
        )
    if LPIPS_HEAD_KEY not in tensors:
        raise UnfitError(
            f"no {LPIPS_HEAD_KEY}; put this file and LPIPS' heads"
            f" (lpips/weights/v0.1/{backbone}.pth) into one folder and convert the folder"
        )
    return Description(Architecture(f"lpips-{backbone}", "0.1"))


def rows_inception(arch: Architecture) -> Iterator[Row]:
    """Yield the table of Inception v3."""
    for path in graph_of(*arch)[1]:
        module, leaf = path.rsplit("/", 1)
        source, layout = (LEAVES_OF_DENSE if module == "fc" else LEAVES_WITH_NORM)[leaf]
        yield Row(f"{module.replace('/', '.')}.{source}", path, layout)


def rows_lpips(arch: Architecture) -> Iterator[Row]:
    """Yield the table of LPIPS: a backbone's convolutions by torchvision's names, and the heads."""
    for path in graph_of(*arch)[1]:
        module, leaf = path.rsplit("/", 1)
        if module == "heads":
            yield Row(f"lin{leaf}.model.1.weight", path, "flat")
        else:
            source, layout = LEAVES_OF_CONV[leaf]
            yield Row(f"{module.replace('/', '.')}.{source}", path, layout)


def convert_features(
    match: Any,
    weights: Weights,
    destination: str | os.PathLike[str],
    name: str,
    *,
    overwrite: bool = False,
    protected: Iterable[str | os.PathLike[str]] = (),
) -> FeatureNetwork:
    """Write a feature folder and return the network.

    Args:
      match: what `jattr.converters.detect.detect` returned, of a `FeatureFormat`.
      weights: the file, or the folder of two, as read.
      destination: the folder to make.
      name: the network's.
      overwrite: replace a folder that is there, if it is a feature folder and holds nothing else.
      protected: what `destination` must neither be nor hold.

    Raises:
      ConversionError: tensors that are missing, left over, of a wrong shape, kind or value: all in
        one message.
      InputError: a head's weight below 0, or the folder cannot be written.
    """
    arch: Architecture | discriminators.Architecture = match.description.architecture
    try:
        shapes = graph_of(arch.name, arch.variant)[1]
        stored = convert_by_rows(match.format.table, match.description, match.tensors, shapes)
    except ConversionError as error:
        raise ConversionError(f"{weights.path}: {error}") from error
    card = make_card(
        name=name,
        architecture=arch.name,
        variant=arch.variant,
        source={"layout": match.format.name, "files": _digests(weights.files)}
        | ({"key": match.key} if match.key else {})
        | ({"notes": list(notes)} if (notes := (*weights.notes, *match.notes)) else {}),
    )
    return save_features(destination, card, stored, overwrite=overwrite, protected=protected)


def _digests(files: Iterable[Path]) -> Mapping[str, str]:
    """Return names and SHA-256 of files."""
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


_TABLES = (
    Format(
        "inception-v3", FEATURES_KIND, "Inception v3 of torchvision or pytorch-fid",
        ("", "state_dict"),
        describe_inception, rows_inception, ("AuxLogits.*", "*.num_batches_tracked"),
    ),
    *(
        Format(
            f"lpips-{backbone}", FEATURES_KIND,
            f"LPIPS 0.1 with torchvision's {title} and its heads", ("",),
            partial(describe_lpips, backbone=backbone), rows_lpips, ("classifier.*",),
        )
        for backbone, title in (
            ("alex", "AlexNet"), ("vgg", "VGG16"), ("squeeze", "SqueezeNet 1.1"),
        )
    ),
)  # fmt: skip
FORMATS = tuple(
    FeatureFormat(
        table.name, table.title, table.keys, table.describe, table, table is discriminators.TABLE
    )
    for table in (*_TABLES, discriminators.TABLE)
)
