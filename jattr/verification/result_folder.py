"""The folder of a result: `result.json` and `latents.npz`, written and read."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jattr.attribution.result_json import parse_result
from jattr.errors import InputError
from jattr.folders.kinds import FolderKind, check_names, file_names, read_object
from jattr.typing import JsonObject
from jattr.verification.latents import LATENTS
from jattr.verification.npz import read_npz

RESULT = "result.json"
SHEET, REPORT = "contact_sheet.png", "report.html"
FIELDS = {"schema", "settings", "versions", "candidates", "latents", "pictures"}
MAX_RESULT_BYTES = 256 << 20
MAX_LATENTS_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class SavedResult:
    """A result folder, read and checked."""

    data: JsonObject  # result.json
    z: tuple[np.ndarray, ...]  # by candidate, [images, *latent_shape] float32
    label: np.ndarray  # [images, candidates] int32, -1: none
    found: np.ndarray  # [images, candidates] bool: whether there is a latent
    digests: tuple[str, ...]  # of the candidates, as latents.npz states them
    latents_sha256: str  # of latents.npz as it is now
    # of the candidates' latents, as latents.npz states it; None: it does not
    spaces: tuple[str, ...] | None = None
    settings: tuple[str, ...] = ()  # of the candidates, likewise


def check_result_folder(folder: Path) -> None:
    """Check that a folder is a result whose two files belong together, whatever it says.

    Raises:
      InputError: it is not, or holds anything else.
    """
    check_names(file_names(folder), (RESULT, LATENTS, SHEET, REPORT))
    data = read_object(folder / RESULT)
    if set(data) - {"timing_seconds"} != FIELDS:
        raise InputError(f"{RESULT!r} is no result of `jattr attribute`")
    if data["latents"]["sha256"] != file_sha256(folder / LATENTS):
        raise InputError(f"{LATENTS!r} is not the file that {RESULT!r} states")


RESULT_FOLDER = FolderKind("a result", check_result_folder)


def write_latents(
    path: Path,
    z: Sequence[np.ndarray],
    label: np.ndarray,
    found: np.ndarray,
    digests: Sequence[str],
    space: str | Sequence[str],
    settings: Sequence[str] = (),
) -> str:
    """Write `latents.npz` and return its SHA-256.

    Args:
      path: the file.
      z: by candidate, [images, *latent_shape]; zeros where nothing was found.
      label: [images, candidates], -1: none.
      found: [images, candidates] bool.
      digests: of the candidates.
      space: of the latents; of each candidate, where their spaces may differ.
      settings: of the candidates, see `settings_text`; none: they have none.
    """
    same = len({array.shape for array in z}) == 1
    latents = (
        {"z": np.stack(z, axis=1)}
        if same
        else {f"z_{number}": array for number, array in enumerate(z)}
    )
    arrays: dict[str, Any] = {name: array.astype(np.float32) for name, array in latents.items()}
    arrays |= {"label": label.astype(np.int32), "found": found, "digest": np.array(list(digests))}
    spaces = [space] if isinstance(space, str) else list(space)
    # one text for all, where that says it: other versions read it
    arrays |= {"space": np.array(spaces[0] if len(set(spaces)) == 1 else spaces)} | (
        {"settings": np.array(list(settings))} if any(settings) else {}
    )
    with path.open("xb") as file:
        np.savez(file, **arrays)
    return file_sha256(path)


def write_result(path: Path, data: JsonObject) -> None:
    """Write `result.json`; ASCII, so that file names of any bytes survive."""
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="ascii")


def read_result(folder: str | os.PathLike[str]) -> SavedResult:
    """Return what a folder of `jattr attribute` holds.

    Raises:
      InputError: a file is missing, damaged, too large or not what the schema says, or the two do
        not fit together.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(
            f"{os.fspath(folder)!r} is no folder; give the one that `jattr attribute` wrote"
        )
    data = _read_json(path / RESULT)
    arrays = _read_latents(path / LATENTS)
    try:
        z = tuple(_latents_of(arrays, number, data) for number in range(len(data["candidates"])))
        shape = len(data["pictures"]), len(data["candidates"])
        label = _array(arrays, "label", shape, np.dtype(np.int32))
        found = _array(arrays, "found", shape, np.dtype(np.bool_))
        digests = arrays.get("digest", np.array(""))
        if digests.dtype.kind != "U" or digests.shape != (len(data["candidates"]),):
            raise InputError(
                f"has digest {digests.dtype} {list(digests.shape)}; it is one text for each"
                " candidate"
            )
    except InputError as error:
        raise InputError(f"{path / LATENTS} {error}") from error
    return SavedResult(
        data,
        z,
        label,
        found,
        tuple(str(d) for d in digests),
        file_sha256(path / LATENTS),
        _spaces(arrays, len(data["candidates"])),
        tuple(str(text) for text in arrays["settings"].ravel()) if "settings" in arrays else (),
    )


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 (hex) of a file.

    Raises:
      InputError: it is not an ordinary file, or cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: a pipe would wait for ever
            raise InputError(f"{os.fspath(path)!r} is not an ordinary file; give the file itself")
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {os.fspath(path)!r}: {reason}") from error


def _read_json(path: Path) -> JsonObject:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_RESULT_BYTES:
            raise InputError(
                f"is no file of up to {MAX_RESULT_BYTES} bytes; give a folder of `jattr attribute`"
            )
        return parse_result(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    except ValueError as error:  # InputError, or a UnicodeDecodeError
        raise InputError(f"{path} {error}") from error


def _read_latents(path: Path) -> dict[str, np.ndarray]:
    if path.is_file() and path.stat().st_size > MAX_LATENTS_BYTES:
        raise InputError(f"{path} is larger than {MAX_LATENTS_BYTES} bytes, the most that is read")
    return read_npz(path)


def _latents_of(arrays: dict[str, np.ndarray], number: int, data: JsonObject) -> np.ndarray:
    images, candidates = len(data["pictures"]), len(data["candidates"])
    shape = tuple(data["candidates"][number]["latent_shape"])
    if "z" in arrays:
        return _array(arrays, "z", (images, candidates, *shape), np.dtype(np.float32))[:, number]
    return _array(arrays, f"z_{number}", (images, *shape), np.dtype(np.float32))


def _spaces(arrays: dict[str, np.ndarray], count: int) -> tuple[str, ...] | None:
    """Return the space of each candidate's latents: one text for all, or one for each."""
    if "space" not in arrays:
        return None
    stated = [str(space) for space in arrays["space"].ravel()]
    return tuple(stated * count if len(stated) == 1 else stated)


def _array(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"has no {name!r}; it has {', '.join(list(arrays)[:10]) or 'nothing'}")
    array = arrays[name]
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"has {name} {array.dtype} {list(array.shape)}; {RESULT} says {dtype} {list(shape)}"
        )
    return array
