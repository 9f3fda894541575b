"""Finds the family and the layout of a weights file: every known `Format` is tried.

No name decides anything: a format looks at the tensors' names and shapes. Where none fits, or
several do, the error lists what was tried and why it failed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from jattr.errors import ConversionError, show
from jattr.generators.card import Card

from . import (
    autoencoder_kl,
    dcgan,
    features,
    progan,
    stylegan,
    stylegan2,
    stylegan3,
)
from .checkpoint_tree import tensors_by_name, unread_values
from .places import (
    DATA_PARALLEL,
    Place,
    choice_note,
    places_in,
    preferred,
    without_data_parallel,
    without_outer,
)
from .reading_limits import Tree, shown
from .rules import Description, Format, StateDict, UnfitError
from .weights_folder import Weights, read_weights

__all__ = ["FORMATS", "Match", "Weights", "contents_of", "detect", "not_read", "read_weights"]


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
MAX_KEYS = 8  # shown in an error


class Match(NamedTuple):
    """A format that fits a file."""

    format: AnyFormat
    description: Description | Card  # a card describes a layered generator
    tensors: StateDict
    key: str  # where they lay
    notes: tuple[str, ...] = ()  # what is to be said about the choice


def detect(weights: Weights, arch: str | None = None, key: str | None = None) -> Match:
    """Return the one format that fits.

    Args:
      weights: the file as read.
      arch: the name of a format; None: any but those that are only looked for by name.
      key: where in the file the network lies, such as "g"; None: wherever it is found, averaged
        weights before others.

    Raises:
      ConversionError: none fits, or several do; or there is no such format.
    """
    if arch is not None and arch not in FORMATS:
        raise ConversionError(f"there is no architecture {arch!r}; known: {', '.join(FORMATS)}")
    candidates = (
        [FORMATS[arch]]
        if arch
        else [format for format in FORMATS.values() if format not in ON_REQUEST]
    )
    search = _search(weights.tree, candidates, key)
    matches = [match for format in candidates if (match := _match(format, search, weights.path))]
    if len(matches) == 1:
        return matches[0]
    tried = [line for format in candidates for line in _tried(format, search, weights.tree)]
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
                *([] if key is None else [f"nothing was looked for outside of --key {show(key)}"]),
                *_also(weights.tree),
                *contents_of(weights.tree),
                NAME_THE_FAMILY,
            ]
        )
    )


def contents_of(tree: Tree) -> Iterator[str]:
    """Yield what a file has, for an error: some names of tensors, and what was not read."""
    names = [show(name) for name in tensors_by_name(tree)]
    if names:
        more = f", ... ({len(names)} in all)" if len(names) > MAX_KEYS else ""
        yield f"its tensors are {', '.join(names[:MAX_KEYS])}{more}"
    yield from not_read(tree)


def not_read(tree: Tree) -> list[str]:
    """Return one line about the values of a file that were not read, [] if there are none."""
    values = unread_values(tree, MAX_KEYS + 1)
    parts = [f"{show(place)} ({shown(name)[1:-1]})" for place, name in values.items()]
    more = ", ..." if len(parts) > MAX_KEYS else ""
    return [f"not read, and never run: {', '.join(parts[:MAX_KEYS])}{more}"] if parts else []


NAME_THE_FAMILY = (
    "give the right file, or describe the network in an architecture card: --card CARD.json"
)


class Search(NamedTuple):
    """What formats say of the places of a file: by the format's name."""

    fits: dict[str, list[tuple[Place, Description | Card]]]
    reasons: dict[str, dict[str, str]]  # place -> why it does not fit


def _search(tree: Tree, formats: Sequence[AnyFormat], key: str | None = None) -> Search:
    """Return which formats fit which places."""
    search = Search({}, {})
    for place in places_in(tree, key):
        if not place.tensors:
            continue
        # a backbone beside a generator is no candidate: only where such files have it
        legal = [
            format
            for format in formats
            if not isinstance(format, features.FeatureFormat)
            or format.on_request
            or place.key in (*format.keys, DATA_PARALLEL)
        ]
        other_names = without_data_parallel(place)
        # a format that has the names as they are goes before one that needs them changed
        for variant in (place, *([other_names] if other_names else [])):
            if _try(legal, variant, place, search):
                break
    return search


def _try(formats: Sequence[AnyFormat], variant: Place, place: Place, search: Search) -> bool:
    """Note which formats fit a place under one spelling of its names; return whether any does."""
    found = False
    for format in formats:
        try:
            description = format.describe(variant.tensors, variant.context)
        except UnfitError as error:
            reason = f"{error}{place.fault and f'; {place.fault}'}"
            search.reasons.setdefault(format.name, {}).setdefault(place.key, reason)
        else:
            search.fits.setdefault(format.name, []).append((variant, description))
            found = True
    return found


def _match(format: AnyFormat, search: Search, path: Path) -> Match | None:
    """Return the match of a format, if it fits anywhere.

    Raises:
      ConversionError: it fits several places, and nothing tells which is meant.
    """
    fits = without_outer(search.fits.get(format.name, []))
    if not fits:
        return None
    fit = preferred(fits, format.keys)
    if fit is None:
        keys = ", ".join(show(place.key) for place, _ in fits[:MAX_KEYS])
        raise ConversionError(
            f"{path} holds a {format.title} under each of {keys}; say which with --key NAME"
        )
    place, description = fit
    return Match(
        format,
        description,
        place.tensors,
        place.key,
        (*choice_note(place, fits), *(f"folded: {what}" for what in place.folded)),
    )


def _tried(format: AnyFormat, search: Search, tree: Tree) -> Iterator[str]:
    """Yield why a format fits nowhere: by the places where such files have it."""
    reasons = search.reasons.get(format.name, {})
    flat = isinstance(tree, dict) and not any(isinstance(value, dict) for value in tree.values())
    keys = [key for key in format.keys if key in reasons and (key or flat)]
    for key in keys:
        yield f"{format.name}{f' under {show(key)}' if key else ''}: {reasons[key]}"
    if not keys:
        usual = " or ".join(show(key) for key in format.keys if key) or "no key"
        # the first other part of the file
        other = next((f"; under {show(key)}: {reasons[key]}" for key in reasons if key), "")
        yield f"{format.name}: nothing under {usual}{other}"


def _also(tree: Tree) -> Iterator[str]:
    """Yield what else a file has, of the formats that are only looked for by name."""
    search = _search(tree, ON_REQUEST)
    for format in ON_REQUEST:
        if search.fits.get(format.name):
            yield (
                f"it has a {format.title}: --arch {format.name} makes a feature folder of it, for"
                " distances"
            )


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
