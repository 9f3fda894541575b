"""`convert`: a weights file of PyTorch becomes a generator folder or a feature folder.

An architecture card describes it, or its own content does.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jattr.distances.feature_folder import FEATURE_FOLDER, check_feature_folder
from jattr.distances.networks import FeatureNetwork
from jattr.errors import ConversionError
from jattr.folders import check_folder
from jattr.folders.kinds import FolderKind, problem_of
from jattr.generators import autoencoder_kl
from jattr.generators.base import Generator
from jattr.generators.card import Card, read_card
from jattr.generators.card_fields import CardBase
from jattr.generators.family import FAMILIES, graph_of
from jattr.generators.family_card import architecture_to_json, parse_family_card
from jattr.generators.store import check_generator_folder, save_generator
from jattr.generators.stored import Params, as_tree
from jattr.typing import JsonObject

from .detect import Match, detect, not_read
from .features import FeatureFormat, convert_features
from .layered import convert_layered, state_of_card
from .reading_limits import Tree
from .rules import Format, convert_by_rows
from .weights_folder import Weights, is_weights_index, read_weights


class Conversion(NamedTuple):
    """What is to be written: a card and its stored tensors, and the weights that they come from."""

    card: CardBase
    params: Params
    weights: Weights
    notes: tuple[str, ...] = ()  # what is to be said about the choice of them
    key: str = ""  # where in the file they lay


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    card: str | os.PathLike[str] | None = None,
    arch: str | None = None,
    name: str | None = None,
    settings: Mapping[str, object] | None = None,
    image_size: tuple[int, int] | None = None,
    overwrite: bool = False,
    key: str | None = None,
) -> Generator | FeatureNetwork:
    """Write a generator or feature folder from a weights file; return the generator or network.

    What was chosen or made on the way (averaged weights before others, folded normalisation, an
    estimated mean style, values that were not read) stands in the card, as `source.notes`.

    Args:
      source: a weights file; a folder of one, or of shards and their index; a `vae/` folder of
        diffusers, or the root folder of a pipeline that has one; a folder of LPIPS' two files,
        backbone and heads; or a card (`.json`), whose `weights` lie beside it.
      destination: the folder to make.
      card: an architecture card (`docs/architecture_card.md`); None: the family is told from the
        file.
      arch: the name of a known layout (`jattr.converters.detect.FORMATS`), where several fit; or
        "stylegan2-discriminator": not the generator but the discriminator beside it.
      name: the generator's; None: the card's, or the destination folder's.
      settings: psi, cutoff and noise of a style-based generator, stored in its card.
      image_size: (height, width) of the images, for autoencoders, which fit any; None: what the
        file suggests.
      overwrite: replace a folder that is there, if it is a generator's or feature folder and holds
        nothing else.
      key: where in the file the network lies, such as "g" or "state_dict.generator"; None: wherever
        it is found, averaged weights before others; with a card, as it says.

    Raises:
      ConversionError: no family fits the file, or card and weights do not fit; the message lists
        every mismatch. Or the file is not the one whose SHA-256 the card states.
      CardError, CheckpointError: the card, the weights file cannot be read.
      OutputError: the folder exists and may not be replaced, or cannot be written.
    """
    source, settings = Path(source), settings or {}
    inputs = [source] if card is None else [source, Path(card)]
    # before any work
    check_folder(destination, kind=CONVERTED, overwrite=overwrite, protected=inputs)
    is_card = source.suffix.lower() == ".json" and not is_weights_index(source)
    by_card = card is not None or (is_card and not source.is_dir())
    if by_card and (arch is not None or settings or image_size is not None):
        raise ConversionError(
            "a card states the whole architecture; omit --arch, --psi, --cutoff, --noise and"
            " --image-size"
        )
    name = name or (None if by_card else Path(os.path.abspath(destination)).name)
    if by_card:
        conversion = _by_card(source, card, key)
    else:
        weights = read_weights(source)
        match = detect(weights, arch, key)
        if isinstance(match.format, FeatureFormat):
            if settings or image_size is not None:
                raise ConversionError(
                    f"{source} is {match.format.title}; omit all settings and --image-size"
                )
            return convert_features(
                match, weights, destination, str(name), overwrite=overwrite, protected=inputs
            )
        conversion = _by_detection(weights, match, name or "", settings, image_size)
    named = dataclasses.replace(conversion.card, name=name) if name else conversion.card
    final = _with_source(named, conversion)
    inputs += conversion.weights.files
    return save_generator(
        destination, final, conversion.params, overwrite=overwrite, protected=inputs
    )


def _check_converted(folder: Path) -> None:
    """Check that a folder is a generator's or a feature folder, as it is not yet known which."""
    check = (
        check_feature_folder
        if problem_of(folder, FEATURE_FOLDER) is None
        else check_generator_folder
    )
    check(folder)


CONVERTED = FolderKind("a generator folder or feature folder", _check_converted)


def _by_card(source: Path, card: str | os.PathLike[str] | None, key: str | None) -> Conversion:
    parsed = read_card(source if card is None else card)
    if card is None and parsed.weights is None:
        raise ConversionError(
            f"{source} names no `weights` file; add the field, or give the file and --card {source}"
        )
    weights = read_weights(source if card is not None else source.parent / str(parsed.weights))
    state = state_of_card(parsed, weights.tree, key or parsed.state_dict_key)
    return _layered(parsed, weights, state.tensors, (*weights.notes, *state.notes))


def _layered(
    card: Card, weights: Weights, tensors: Mapping[str, np.ndarray], notes: tuple[str, ...]
) -> Conversion:
    try:
        return Conversion(card, convert_layered(card, tensors), weights, notes)
    except ConversionError as error:
        lines = [f"{weights.path}: {error}", *not_read(weights.tree)]
        raise ConversionError("\n  ".join(lines)) from error


def _by_detection(
    weights: Weights,
    match: Match,
    name: str,
    settings: Mapping[str, object],
    image_size: tuple[int, int] | None,
) -> Conversion:
    kind = match.format.kind if isinstance(match.format, Format) else "layered"
    if settings and not (kind in FAMILIES and FAMILIES[kind].styled):
        raise ConversionError(
            f"{weights.path} is a {match.format.title}, which has no {', '.join(settings)}"
        )
    described = match.description
    if not isinstance(match.format, Format) or isinstance(described, Card):
        assert isinstance(described, Card)
        if image_size is not None:
            raise _fixed_size(weights.path, described.image_shape[1:])
        named = dataclasses.replace(described, name=name)
        conversion = _layered(named, weights, match.tensors, (*weights.notes, *match.notes))
        return conversion._replace(key=match.key)
    architecture = _sized(described.architecture, image_size, weights.path)
    data: JsonObject = {
        "card_version": 1,
        "kind": kind,
        "name": name,
        "architecture": architecture_to_json(architecture),
        "source": {"layout": match.format.name} | ({"key": match.key} if match.key else {}),
    }
    if FAMILIES[kind].styled:
        data["settings"] = dict(described.settings) | dict(settings)
    card = parse_family_card(data)
    shapes = graph_of(card.kind, card.architecture)[1]
    try:
        stored = convert_by_rows(match.format, described, match.tensors, shapes)
    except ConversionError as error:
        lines = [f"{weights.path}: {error}", *not_read(weights.tree)]
        raise ConversionError("\n  ".join(lines)) from error
    notes = (*weights.notes, *match.notes, *described.notes)
    return Conversion(card, as_tree(stored), weights, notes)


def _sized(architecture: Any, size: tuple[int, int] | None, weights: Path) -> Tree:
    """Return the architecture for images of a size, where the weights do not fix it."""
    if size is None:
        return architecture
    if not isinstance(architecture, autoencoder_kl.Architecture):
        raise _fixed_size(weights, architecture.image_shape[:2])
    return autoencoder_kl.with_image_size(architecture, *size)


def _fixed_size(weights: Path, size: tuple[int, int]) -> ConversionError:
    height, width = size
    return ConversionError(
        f"{weights} makes images of {height}x{width} only; omit --image-size, which is for"
        " autoencoders"
    )


def _with_source(card: CardBase, conversion: Conversion) -> CardBase:
    """Return the card with name and SHA-256 of each weights file, and the notes, in its `source`.

    Raises:
      ConversionError: the card states another SHA-256.
    """
    digests = {}
    for path in conversion.weights.files:
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    stated = None if card.source is None else json.loads(card.source)
    source = {"text": stated} if isinstance(stated, str) else dict(stated or {})
    if len(digests) > 1:
        source.setdefault("files", digests)
    else:
        ((name, digest),) = digests.items()
        if source.setdefault("sha256", digest) != digest:
            raise ConversionError(
                f"{conversion.weights.path} has the SHA-256 {digest}, but card {card.name!r} states"
                f" {source['sha256']!r} in source.sha256: this is another file; fetch the right"
                " one, or correct the card"
            )
        source.setdefault("file", name)
    if conversion.key:
        source.setdefault("key", conversion.key)
    unread = not_read(conversion.weights.tree)
    if notes := [*conversion.notes, *unread]:
        source.setdefault("notes", notes)
    return dataclasses.replace(card, source=json.dumps(source, ensure_ascii=False))
