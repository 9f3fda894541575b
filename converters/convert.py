"""`convert`: a weights file of PyTorch and an architecture card become a generator folder."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from converters.layered import convert_layered
from converters.torch_file import find_state_dict, read_checkpoint
from jattr.errors import ConversionError, OutputError
from jattr.generators.base import Generator
from jattr.generators.card import Card, read_card
from jattr.generators.store import save_generator

StateDict: TypeAlias = Mapping[str, np.ndarray]

CONVERTERS: dict[str, Callable[[Card, StateDict], dict[str, Any]]] = {"layered": convert_layered}  # by card kind
ARCHITECTURES: dict[str, Callable[[StateDict], Card]] = {}  # --arch name -> card of a state dict


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    card: str | os.PathLike[str] | None = None,
    arch: str | None = None,
    overwrite: bool = False,
) -> Generator:
    """Write a generator folder from a weights file and return the generator.

    Args:
      source: a weights file, then with `card`; or a card (`.json`), whose `weights` lie beside it.
      destination: the folder to make.
      card: an architecture card (`docs/architecture_card.md`).
      arch: the name of a known architecture, in place of a card.
      overwrite: replace a folder that is there.

    Raises:
      ConversionError: card and weights do not fit; the message lists every mismatch. Or the file is not the one whose
        SHA-256 the card states.
      CardError, CheckpointError: the card, the weights file cannot be read.
      OutputError: the folder exists and may not be replaced, or cannot be written.
    """
    if os.path.lexists(destination) and not overwrite:  # before any work; `save_generator` looks again
        raise OutputError(f"{destination} exists already; choose another place, or --overwrite to replace it")
    weights, parsed = _find_parts(Path(source), card, arch)
    state_dict = find_state_dict(read_checkpoint(weights), parsed.state_dict_key)
    try:
        params = CONVERTERS[parsed.kind](parsed, state_dict)
    except ConversionError as error:
        raise ConversionError(f"{weights}: {error}") from error
    return save_generator(destination, _with_source(parsed, weights), params, overwrite=overwrite)


def _find_parts(source: Path, card: str | os.PathLike[str] | None, arch: str | None) -> tuple[Path, Card]:
    """Return the weights file and the card."""
    if arch is not None:
        legal = ", ".join(ARCHITECTURES) or "none yet"
        raise ConversionError(f"there is no architecture {arch!r} (known: {legal}); describe it in a card: --card CARD")
    if source.is_dir():
        raise ConversionError(f"{source} is a folder; give a weights file and --card CARD, or the card itself")
    if card is not None:
        return source, read_card(card)
    if source.suffix.lower() != ".json":
        raise ConversionError(f"{source} needs its architecture; give --card CARD, or the card in place of the file")
    parsed = read_card(source)
    if parsed.weights is None:
        raise ConversionError(f"{source} names no `weights` file; add the field, or give the file and --card {source}")
    return source.parent / parsed.weights, parsed


def _with_source(card: Card, weights: Path) -> Card:
    """Return the card with the weights file's name and SHA-256 in its `source`.

    Raises:
      ConversionError: the card states another SHA-256.
    """
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    stated = None if card.source is None else json.loads(card.source)
    source = {"text": stated} if isinstance(stated, str) else dict(stated or {})
    if source.setdefault("sha256", found) != found:
        raise ConversionError(
            f"{weights} has the SHA-256 {found}, but card {card.name!r} states {source['sha256']!r} in source.sha256:"
            " this is another file; fetch the right one, or correct the card"
        )
    source.setdefault("file", weights.name)
    return dataclasses.replace(card, source=json.dumps(source, ensure_ascii=False))
