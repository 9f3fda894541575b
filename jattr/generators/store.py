"""Generator folders: `card.json` and `params/` (Orbax).

Loading trusts nothing in them and checks all of it.

`docs/digests.md` says what the two digests in `card.json` are.
"""

import json
import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import numpy as np

from jattr.errors import CardError, GeneratorError
from jattr.folders import AnyPath, new_folder
from jattr.folders.kinds import FolderKind, check_names, file_names
from jattr.generators.base import Generator
from jattr.generators.card_fields import CardBase
from jattr.generators.card_json import plain, read_json
from jattr.generators.digest import flatten, function_digest, tensors_digest
from jattr.generators.params_files import read_params, read_shapes, write_params
from jattr.generators.registry import GENERATORS, parse_any_card
from jattr.generators.stored import Params
from jattr.runtime import jax_defaults

CARD_FILE = "card.json"
PARAMS_FOLDER = "params"
DIGESTS = ("weights_digest", "digest")


@jax_defaults()
def make_generator(card: CardBase, params: Params) -> Generator:
    """Return the generator of a card and its stored tensors (nested dicts of float32 arrays).

    Raises:
      GeneratorError: tensors that are not the card's, of another dtype, or not finite.
    """
    tensors = flatten(params)
    kind = GENERATORS[card.kind]
    kind.check_params(card, {path: array.shape for path, array in tensors.items()})
    for path, array in tensors.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise GeneratorError(
                f"card {card.name!r}: tensor {path} is {array.dtype}, or holds infinities or NaN;"
                " stored are finite float32 numbers: the file is damaged or training diverged"
            )
    built = kind.build(card, params)
    weights = tensors_digest(tensors)
    digest = function_digest(weights, kind.function_fields(card))
    channels, height, width = card.image_shape
    return Generator(
        name=card.name,
        image_shape=(height, width, channels),
        rounding=card.rounding,
        weights_digest=weights,
        digest=digest,
        card=kind.to_json(card) | {"weights_digest": weights, "digest": digest},
        **built._asdict(),
    )


@jax_defaults()
def save_generator(
    folder: AnyPath,
    card: CardBase,
    params: Params,
    *,
    overwrite: bool = False,
    protected: Iterable[AnyPath] = (),
) -> Generator:
    """Write a generator folder, whole or not at all, and return the generator.

    Args:
      folder: the folder to make.
      card: the card; its name becomes the generator's.
      params: stored tensors, nested dicts of float32 arrays.
      overwrite: replace a folder that is there, if it is a generator's and holds nothing else.
      protected: files and folders that the tensors come from; `folder` neither is nor holds one
        of them.

    Raises:
      GeneratorError: card and tensors do not fit (`make_generator`); nothing is written then.
      OutputError: the folder exists and may not be replaced, or cannot be written.
    """
    generator = make_generator(card, params)
    with new_folder(
        folder, kind=GENERATOR_FOLDER, overwrite=overwrite, protected=protected
    ) as work:
        write_params(work / PARAMS_FOLDER, params)
        text = json.dumps(generator.card, indent=1, ensure_ascii=False, allow_nan=False)
        (work / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    return generator


def check_generator_folder(folder: Path) -> None:
    """Check that a folder is a generator's, but for its digests: no array is read.

    Raises:
      InputError: it is not, or holds anything else.
    """
    check_names(file_names(folder, folders=(PARAMS_FOLDER,)), (CARD_FILE,))
    card, _ = _read_card_file(folder / CARD_FILE)
    GENERATORS[card.kind].check_params(card, read_shapes(folder / PARAMS_FOLDER, as_written=True))


GENERATOR_FOLDER = FolderKind("a generator folder", check_generator_folder)


@jax_defaults()
def load_generator(path_or_bundled_name: str | os.PathLike[str]) -> Generator:
    """Return the generator in a folder, or a bundled one by its name.

    Nothing in the folder is run, and no more memory used than the files in it have bytes (a few
    times).

    Raises:
      GeneratorError: there is no such generator, its tensors are not what its card says, not
        finite, or do not have the digests that `card.json` states.
      CardError: `card.json` is no sound card.
    """
    folder = find_generator(path_or_bundled_name)
    card, stated = _read_card_file(folder / CARD_FILE)
    shapes = read_shapes(folder / PARAMS_FOLDER)
    try:
        GENERATORS[card.kind].check_params(card, shapes)  # before any array is read
        generator = make_generator(card, read_params((folder / PARAMS_FOLDER).resolve(), shapes))
    except GeneratorError as error:
        raise GeneratorError(f"{folder}: {error}") from error
    for field in DIGESTS:
        value = getattr(generator, field)
        if stated[field] != value:
            raise GeneratorError(
                f"{folder} states the {field} {stated[field]} but has {value}: card or weights were"
                " changed after they were written; convert the generator again"
            )
    return generator


def find_generator(path_or_bundled_name: str | os.PathLike[str]) -> Path:
    """Return the folder of a generator, given its path or the name of a bundled one.

    Raises:
      GeneratorError: there is none.
    """
    path = Path(path_or_bundled_name)
    bundled = bundled_generators()
    if path.is_dir():
        if (path / CARD_FILE).is_file():
            return path
        raise GeneratorError(
            f"{path} has no {CARD_FILE}, so it is no generator folder; make one with `jattr"
            " convert`"
        )
    if str(path_or_bundled_name) in bundled:
        return bundled[str(path_or_bundled_name)]
    names = ", ".join(bundled) or "none"
    raise GeneratorError(
        f"there is no generator {os.fspath(path_or_bundled_name)!r}; give a folder that `jattr"
        f" convert` wrote, or the name of a bundled one ({names})"
    )


def bundled_generators() -> dict[str, Path]:
    """Return the folders of the generators that come with jattr, by name."""
    zoo = Path(str(resources.files("jattr"))) / "zoo" / "generators"
    return {card.parent.name: card.parent for card in sorted(zoo.glob(f"*/{CARD_FILE}"))}


def _read_card_file(path: Path) -> tuple[CardBase, dict[str, str]]:
    """Return the card in `card.json` and the digests it states."""
    try:
        data = plain(read_json(path))
        if not isinstance(data, dict):
            raise CardError(
                f"holds a {type(data).__name__}; it must be an object with the fields of a card"
            )
        stated = {field: data.pop(field, None) for field in DIGESTS}
        for field, value in stated.items():
            if not isinstance(value, str) or len(value) != 64:
                raise CardError(
                    f"has no {field} of 64 hexadecimal digits; write the folder with `jattr"
                    " convert`"
                )
        return parse_any_card(data), stated
    except CardError as error:
        raise CardError(f"{path}: {error}") from error
