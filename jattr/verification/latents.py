"""`latents.npz`: latents and labels of one generator, or of every candidate of a result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jattr.bounded_json import read_json_text
from jattr.errors import InputError
from jattr.folders.kinds import FolderKind, check_names, file_names
from jattr.generators.base import Generator
from jattr.generators.settings import Settings
from jattr.verification.npz import read_npz

Arrays = Mapping[str, np.ndarray]
LATENTS = "latents.npz"
RECEIPT = ".tlog-proof"  # ends the name of an image's receipt


def write_latents(path: Path, generator: Generator, z: np.ndarray, label: np.ndarray) -> None:
    """Write latents [n, *latent_shape] and labels [n] (-1: none) of one generator."""
    arrays: dict[str, Any] = {
        "z": np.asarray(z, np.float32),
        "label": np.asarray(label, np.int32),
        "digest": np.array(generator.digest),
        "space": np.array(generator.space),
    }
    if generator.settings is not None:
        arrays["settings"] = np.array(settings_text(generator))
    with path.open("xb") as file:
        np.savez(file, **arrays)


def check_image_folder(folder: Path) -> None:
    """Check that a folder holds `latents.npz` and an image of each latent.

    Raises:
      InputError: it does not, or holds anything else.
    """
    check_names(file_names(folder), (LATENTS, *_image_names(folder)))


def check_logged_folder(folder: Path) -> None:
    """Check that a folder holds `latents.npz` and an image of each latent, with its receipt.

    Raises:
      InputError: it does not, or holds anything else.
    """
    images = _image_names(folder)
    check_names(file_names(folder), (LATENTS, *images, *(name + RECEIPT for name in images)))


IMAGE_FOLDER = FolderKind("a folder of images", check_image_folder)
LOGGED_FOLDER = FolderKind("a folder of logged images", check_logged_folder)


def _image_names(folder: Path) -> list[str]:
    """Return the names of the images that belong to a folder's latents."""
    arrays = read_npz(folder / LATENTS)
    if (
        set(arrays) - {"settings"} != {"z", "label", "digest", "space"}
        or arrays["digest"].ndim
        or not arrays["z"].ndim
    ):
        raise InputError(f"{LATENTS!r} is not that of such a folder")
    return [f"{number:05d}.png" for number in range(len(arrays["z"]))]


def settings_text(generator: Generator) -> str:
    """Return a generator's settings as JSON text; "" if it has none."""
    return "" if generator.settings is None else json.dumps(generator.settings.to_json())


class StoredLatents(NamedTuple):
    """Latents of a file that are one generator's."""

    generator: Generator  # in the file's space and settings
    z: np.ndarray  # float32 [n, *latent_shape]
    label: np.ndarray  # int32 [n], -1: none
    missing: tuple[int, ...]  # images, from 0, for which the file has no latent


def read_latents(
    path: str | os.PathLike[str], generator: Generator, *, limit: int
) -> StoredLatents:
    """Return the latents of a generator; at most `limit`, and all of them finite.

    Raises:
      InputError: the file cannot be read, has another form, or has no finite latents of this
        generator.
    """
    arrays = read_npz(path)
    try:
        column = _column_of(arrays, generator) if _digests(arrays).ndim else None
        generator = _viewed(arrays, generator, column)
        missing: tuple[int, ...] = ()
        if column is None:
            z, label = _plain(arrays, generator)
        else:
            z, label, missing = _of_candidate(arrays, column)
        z, label = _checked(z, generator, limit), _checked_labels(label, len(z), generator)
        return StoredLatents(generator, z, label, missing)
    except InputError as error:
        raise InputError(f"{os.fspath(path)} {error}") from error


def _plain(arrays: Arrays, generator: Generator) -> tuple[np.ndarray, np.ndarray | None]:
    stated = str(_digests(arrays))
    if stated and stated != generator.digest:
        raise InputError(
            f"was made with digest {stated}, but {generator.name!r} has {generator.digest}:"
            " another model"
        )
    return _array(arrays, "z"), arrays.get("label")


def _viewed(arrays: Arrays, generator: Generator, column: int | None) -> Generator:
    """Return the generator in the space and under the settings that the file states."""
    texts = arrays.get("settings", np.array(""))
    known = texts.dtype.kind == "U" and texts.size > (column or 0)
    text = str(texts.ravel()[column or 0]) if known else ""
    try:
        settings = read_json_text(text) if text else {}
        given = Settings(**settings).to_json() if settings else {}
        return generator.view(_text(arrays, "space", "z", column), **given)
    except (ValueError, TypeError) as error:  # GeneratorError is a ValueError
        raise InputError(f"states a space or settings that cannot be used: {error}") from error


def _column_of(arrays: Arrays, generator: Generator) -> int:
    """Return which candidate of the file this generator is."""
    digests = [str(digest) for digest in _digests(arrays).ravel()]
    if generator.digest not in digests:
        raise InputError(
            f"holds latents of {', '.join(digests)}, but not of {generator.digest}, which"
            f" {generator.name!r} has; give another file or generator"
        )
    return digests.index(generator.digest)


def _of_candidate(
    arrays: Arrays, column: int
) -> tuple[np.ndarray, np.ndarray | None, tuple[int, ...]]:
    """Return a candidate's latents and labels where there are any, and the images without."""
    digests = _digests(arrays)
    z = (
        _array(arrays, f"z_{column}")
        if "z" not in arrays
        else _column(arrays, "z", column, len(digests))
    )
    label = _column(arrays, "label", column, len(digests)) if "label" in arrays else None
    if "found" not in arrays:
        return z, label, ()
    found = _column(arrays, "found", column, len(digests)).astype(bool)
    if (
        z.ndim == 0
        or found.shape != z.shape[:1]
        or (label is not None and label.shape != found.shape)
    ):
        raise InputError("has z, label and found for different numbers of images; write it again")
    missing = tuple(int(image) for image in np.flatnonzero(~found))
    return z[found], None if label is None else label[found], missing


def _column(arrays: Arrays, name: str, column: int, count: int) -> np.ndarray:
    """Return one candidate's part of an array [images, candidates, ...]."""
    array = arrays[name]
    if array.ndim < 2 or array.shape[1] != count:
        raise InputError(
            f"has {name} of shape {list(array.shape)}; it must be [images, {count}, ...]"
        )
    return array[:, column]


def _checked(z: np.ndarray, generator: Generator, limit: int) -> np.ndarray:
    if z.dtype != np.float32 or z.shape[1:] != generator.latent_shape or not 0 < len(z) <= limit:
        wanted = ", ".join(["n", *(str(side) for side in generator.latent_shape)])
        raise InputError(
            f"has latents {z.dtype} {list(z.shape)}; {generator.name!r} takes float32 [{wanted}],"
            f" n from 1 to {limit}"
        )
    finite = np.isfinite(z).reshape(len(z), -1).all(axis=1)
    if not finite.all():
        raise InputError(
            f"has latents that are not finite: {np.flatnonzero(~finite)[:10].tolist()}; leave them"
            " out"
        )
    return z


def _checked_labels(label: np.ndarray | None, n: int, generator: Generator) -> np.ndarray:
    label = np.full(n, -1, np.int32) if label is None else label
    low, high = (0, generator.num_classes - 1) if generator.num_classes else (-1, -1)
    if (
        label.shape != (n,)
        or label.dtype.kind not in "iu"
        or label.min() < low
        or label.max() > high
    ):
        legal = (
            f"whole numbers from {low} to {high}"
            if generator.num_classes
            else "-1, since it has no classes"
        )
        raise InputError(
            f"has labels {label.dtype} {list(label.shape)}; {generator.name!r} takes {n}, {legal}"
        )
    return label.astype(np.int32)


def _digests(arrays: Arrays) -> np.ndarray:
    digests = arrays.get("digest", np.array(""))
    if digests.dtype.kind != "U" or digests.ndim > 1:
        raise InputError(
            f"has digest {digests.dtype} {list(digests.shape)}; it must be one text, or one a"
            " candidate"
        )
    return digests


def _text(arrays: Arrays, name: str, default: str, column: int | None) -> str:
    """Return a text of the file, or of one of its candidates."""
    array = arrays.get(name, np.array(default))
    if column is not None and array.dtype.kind == "U" and array.ndim == 1:
        if array.size <= column:
            raise InputError(f"has {array.size} texts of {name}; it must be one for each candidate")
        array = array[column]
    if array.dtype.kind != "U" or array.ndim:
        raise InputError(f"has {name} {array.dtype} {list(array.shape)}; it must be one text")
    return str(array)


def _array(arrays: Arrays, name: str) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"has no {name!r}; it has {', '.join(list(arrays)[:10]) or 'nothing'}")
    return arrays[name]
