"""Finds the family and the layout of a weights file: every known `Format` is tried.

No name decides anything: a format looks at the tensors' names and shapes. Where none fits, or
several do, the error lists what was tried and why it failed.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from jattr.errors import CardError, CheckpointError, ConversionError, show
from jattr.generators.card import Card
from jattr.generators.card_json import plain, read_json

from . import (
    autoencoder_kl,
    dcgan,
    features,
    nvlabs_pickle,
    progan,
    stylegan,
    stylegan2,
    stylegan3,
)
from .reading_limits import Tree
from .rules import Description, Format, StateDict, UnfitError
from .torch_file import find_state_dict, read_checkpoint, strip_module_prefix


class CardFormat(NamedTuple):
    """A layout of weights whose architecture card is written from the tensors themselves."""

    name: str  # as --arch takes it
    title: str  # whose files these are
    keys: tuple[str, ...]  # as in `Format`
    describe: Callable[[StateDict, Tree], Card]  # raises UnfitError


AnyFormat: TypeAlias = Format | CardFormat | features.FeatureFormat
_ALL: tuple[AnyFormat, ...] = (
    *progan.FORMATS,
    *stylegan.FORMATS,
    *stylegan2.FORMATS,
    *stylegan3.FORMATS,
    *autoencoder_kl.FORMATS,
    CardFormat(
        "dcgan",
        "DCGAN of pytorch/examples",
        ("netG", "generator", "state_dict", ""),
        lambda tensors, tree: dcgan.card_of(tensors),
    ),
    *features.FORMATS,
)
FORMATS: dict[str, AnyFormat] = {format.name: format for format in _ALL}
ON_REQUEST = tuple(format for format in features.FORMATS if format.on_request)
CONFIG = "config.json"
FOLDER_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# what pickles may name besides PyTorch's own
PICKLE_NAMES = nvlabs_pickle.NVLABS_NAMES | progan.GAN_ZOO_NAMES
MAX_KEYS = 8  # shown in an error


class Weights(NamedTuple):
    """A weights file as read."""

    path: Path  # of the file with the tensors
    tree: Tree  # what it holds; for a folder {"config": ..., "tensors": ...}


class Match(NamedTuple):
    """A format that fits a file."""

    format: AnyFormat
    description: Description | Card  # a card describes a layered generator
    tensors: StateDict
    key: str  # where they lay


def read_weights(source: Path) -> Weights:
    """Return the content of a weights file.

    Also of a `vae/` folder of diffusers, or of a folder of two files (LPIPS).

    Raises:
      CheckpointError, ConversionError: it cannot be read, or the folder has no weights.
    """
    if not source.is_dir():
        return Weights(
            source, nvlabs_pickle.flat_modules(read_checkpoint(source, names=PICKLE_NAMES))
        )
    files = [source / name for name in FOLDER_WEIGHTS if (source / name).is_file()]
    if not files or not (source / CONFIG).is_file():
        if together := features.read_folder(source):
            return Weights(source, together)
        raise ConversionError(
            f"{source} is a folder without {CONFIG} and {' or '.join(FOLDER_WEIGHTS)}, as diffusers"
            " writes a vae/ folder, and without two weights files, LPIPS' backbone and heads; give"
            " such a folder, or a weights file"
        )
    try:
        config = plain(read_json(source / CONFIG))
    except CardError as error:
        raise ConversionError(
            f"{source / CONFIG}: {str(error).replace('the card', 'the configuration')}"
        ) from error
    return Weights(
        files[0], {"config": config, "tensors": find_state_dict(read_checkpoint(files[0]))}
    )


def detect(weights: Weights, arch: str | None = None) -> Match:
    """Return the one format that fits.

    Args:
      weights: the file as read.
      arch: the name of a format; None: any but those that are only looked for by name.

    Raises:
      ConversionError: none fits, or several do; or there is no such format.
    """
    if arch is not None and arch not in FORMATS:
        raise ConversionError(f"there is no architecture {arch!r}; known: {', '.join(FORMATS)}")
    matches: list[Match] = []
    tried: list[str] = []
    candidates = (
        [FORMATS[arch]]
        if arch
        else [format for format in FORMATS.values() if format not in ON_REQUEST]
    )
    for format in candidates:
        match = _first_match(format, weights.tree, tried)
        matches += [match] if match else []
    if len(matches) == 1:
        return matches[0]
    if candidates[0] in ON_REQUEST:
        raise ConversionError(
            f"{weights.path} has no {candidates[0].title} that can be used: {'; '.join(tried)}"
        )
    if matches:
        names = ", ".join(match.format.name for match in matches)
        raise ConversionError(f"{weights.path}: {names} all fit; say which with --arch NAME")
    raise ConversionError(
        "\n  ".join(
            [
                f"{weights.path} {_kind_of(weights.tree)}; tried:",
                *tried,
                *_also(weights.tree),
                NAME_THE_FAMILY,
            ]
        )
    )


NAME_THE_FAMILY = (
    "give the right file, or describe the network in an architecture card: --card CARD.json"
)


def _also(tree: Tree) -> Iterator[str]:
    """Yield what else a file has, of the formats that are only looked for by name."""
    for format in ON_REQUEST:
        if _first_match(format, tree, []):
            yield (
                f"it has a {format.title}: --arch {format.name} makes a feature folder of it, for"
                " distances"
            )


def _first_match(format: AnyFormat, tree: Tree, tried: list[str]) -> Match | None:
    """Return the match at the first place of the file that fits, noting why the others do not."""
    candidates = list(_candidates(format, tree))
    if not candidates:
        tried.append(
            f"{format.name}: nothing under {' or '.join(show(key) for key in format.keys if key)}"
        )
    for key, tensors, context in candidates:
        try:
            return Match(format, format.describe(tensors, context), tensors, key)
        except UnfitError as reason:
            tried.append(f"{format.name}{f' under {show(key)}' if key else ''}: {reason}")
    return None


def _candidates(format: AnyFormat, tree: Tree) -> Iterator[tuple[str, StateDict, Tree]]:
    """Yield (key, tensors, the tree that they lie in) where in a file a format may be."""
    for key in format.keys:
        part = tree
        for name in key.split(".") if key else ():
            part = part.get(name) if isinstance(part, dict) else None
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("tensors"), dict):  # a module of NVlabs, or a folder
            yield key, part["tensors"], part
            continue
        try:
            tensors = find_state_dict(part)
        except CheckpointError:
            continue
        if key or not any(isinstance(value, dict) for value in part.values()):
            yield key, strip_module_prefix(tensors), tree


def _kind_of(tree: Tree) -> str:
    """Return what can be said of a file that no format fits."""
    if isinstance(tree, dict) and any(isinstance(value, Mapping) for value in tree.values()):
        keys = ", ".join(show(key) for key in list(tree)[:MAX_KEYS])
        return (
            f"holds {keys}{', ...' if len(tree) > MAX_KEYS else ''}, of which none is a generator"
            " of a known family"
        )
    if isinstance(tree, (dict, np.ndarray)):
        return "is of no known family"
    return "holds no state dict"
