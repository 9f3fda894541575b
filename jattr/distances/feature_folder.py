"""Feature folders: `card.json` and `params/` (Orbax), as generators have them; loading checks all.

The card: card_version 1, kind "features", name, architecture, variant, source (whose file it is),
weights_digest and digest. `jattr convert` writes such folders from public files; nothing is ever
downloaded.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from jattr.distances.networks import (
    NETWORKS,
    FeatureNetwork,
    check_shapes,
    make_network,
    network_of,
)
from jattr.errors import GeneratorError, InputError, show, suggest
from jattr.folders import AnyPath, new_folder
from jattr.folders.kinds import FolderKind, check_names, file_names
from jattr.generators.card_json import plain, read_json
from jattr.generators.digest import flatten
from jattr.generators.params_files import read_params, read_shapes, write_params
from jattr.generators.store import CARD_FILE, DIGESTS, PARAMS_FOLDER
from jattr.generators.stored import as_tree
from jattr.typing import JsonObject

FEATURES_KIND = "features"
CARD_FIELDS = ("card_version", "kind", "name", "architecture", "variant", "source", *DIGESTS)
CONVERT_FEATURES = "make one with `jattr convert`"


def make_card(
    *, name: str, architecture: str, variant: str, source: Mapping[str, object]
) -> JsonObject:
    """Return the card of a network, without digests."""
    fields = {
        "name": name,
        "architecture": architecture,
        "variant": variant,
        "source": dict(source),
    }
    return {"card_version": 1, "kind": FEATURES_KIND, **fields}


def save_features(
    folder: AnyPath,
    card: Mapping[str, object],
    tensors: Mapping[str, np.ndarray],
    *,
    overwrite: bool = False,
    protected: Iterable[AnyPath] = (),
) -> FeatureNetwork:
    """Write a feature folder, whole or not at all, and return the network.

    Args:
      folder: the folder to make.
      card: from `make_card`.
      tensors: stored tensors by path, float32.
      overwrite: replace a folder that is there, if it is a feature folder and holds nothing else.
      protected: files and folders that the tensors come from; `folder` neither is nor holds one
        of them.

    Raises:
      InputError: card and tensors do not fit, the folder exists and may not be replaced, or cannot
        be written.
    """
    network = make_network(checked_card(card), tensors)
    with new_folder(folder, kind=FEATURE_FOLDER, overwrite=overwrite, protected=protected) as work:
        write_params(work / PARAMS_FOLDER, as_tree(tensors))
        text = json.dumps(network.card, indent=1, ensure_ascii=False, allow_nan=False)
        (work / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    return network


def check_feature_folder(folder: Path) -> None:
    """Check that a folder is a feature folder, but for its digests: no array is read.

    Raises:
      InputError: it is not, or holds anything else.
    """
    check_names(file_names(folder, folders=(PARAMS_FOLDER,)), (CARD_FILE,))
    card = checked_card(plain(read_json(folder / CARD_FILE)))
    check_shapes(card, read_shapes(folder / PARAMS_FOLDER, as_written=True))


FEATURE_FOLDER = FolderKind("a feature folder", check_feature_folder)


def load_features(folder: str | os.PathLike[str]) -> FeatureNetwork:
    """Return the network in a feature folder.

    Nothing in the folder is run, and no more memory used than the files in it have bytes (a few
    times).

    Raises:
      InputError: it is no feature folder, its tensors are not what its card says, or not those it
        states digests of.
    """
    folder = Path(folder)
    if not (folder / CARD_FILE).is_file():
        raise InputError(
            f"{folder} has no {CARD_FILE}, so it is no feature folder; {CONVERT_FEATURES}"
        )
    try:
        data = plain(read_json(folder / CARD_FILE))
        card = checked_card(data)
        shapes = read_shapes(folder / PARAMS_FOLDER)
        check_shapes(card, shapes)  # before any array is read
        network = make_network(
            card, flatten(read_params((folder / PARAMS_FOLDER).resolve(), shapes))
        )
    except InputError as error:
        text = str(error)
        text = (
            text.replace("the generator again", "the features again")
            if isinstance(error, GeneratorError)
            else text
        )
        raise InputError(f"{folder}: {text}") from error
    for name in DIGESTS:
        if data.get(name) != getattr(network, name):
            raise InputError(
                f"{folder} states the {name} {show(data.get(name))} but has"
                f" {getattr(network, name)}: card or weights were changed after they were written;"
                " convert the features again"
            )
    return network


def checked_card(data: object) -> JsonObject:
    """Return the card without its digests.

    Raises:
      InputError: it is none of a feature network; the message lists every problem.
    """
    if not isinstance(data, Mapping) or data.get("kind") != FEATURES_KIND:
        kind = data.get("kind") if isinstance(data, Mapping) else None
        raise InputError(
            f"{CARD_FILE} has the kind {show(kind)}, not {show(FEATURES_KIND)}: this is no feature"
            f" folder; {CONVERT_FEATURES}"
        )
    problems = [f"the field {show(name)} is unknown" for name in data if name not in CARD_FIELDS]
    if data.get("card_version") != 1:
        problems.append(f"card_version is {show(data.get('card_version'))}; it must be 1")
    name, architecture, variant = data.get("name"), data.get("architecture"), data.get("variant")
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
        problems.append(f"name is {show(name)}; it must be a text of 1 to 100 printable characters")
    if not isinstance(architecture, str) or architecture not in NETWORKS:
        problems.append(
            f"architecture is {show(architecture)}; {suggest(str(architecture), list(NETWORKS))}"
        )
    else:
        problems += _problems_of(architecture, variant)
    if not isinstance(data.get("source", {}), Mapping):
        problems.append("source is no object")
    if problems:
        raise InputError(f"{CARD_FILE}: {'; '.join(problems)}")
    return {field: data[field] for field in CARD_FIELDS if field in data and field not in DIGESTS}


def _problems_of(architecture: str, variant: object) -> list[str]:
    try:
        network_of(architecture, variant)
    except InputError as error:
        return [str(error)]
    return []
