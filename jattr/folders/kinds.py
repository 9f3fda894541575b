"""Kinds of folders that jattr writes, and how one is told from every other folder.

Each kind is described beside the code that writes it. What is told apart decides what `--overwrite`
may delete.
"""

import os
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from jattr.bounded_json import read_json_text
from jattr.errors import InputError
from jattr.typing import JsonObject

MAX_JSON = 1 << 30  # bytes


class FolderKind(NamedTuple):
    """A kind of folder."""

    name: str  # with its article, as "a result"
    # raises an InputError that says what does not belong, or is missing
    check: Callable[[Path], None]


def problem_of(folder: Path, kind: FolderKind) -> str | None:
    """Return why a folder is not one of a kind, whole and nothing else; None if it is."""
    try:
        kind.check(folder)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    # InputError, or other content
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return (
            " ".join(str(error).split())
            if isinstance(error, InputError)
            else "a file has another content"
        )
    return None


def file_names(folder: Path, *, folders: Collection[str] = ()) -> set[str]:
    """Return the names of the files in a folder, hidden ones as well.

    Args:
      folder: looked at, not below.
      folders: names that may be subfolders.

    Raises:
      InputError: anything else is neither a plain file nor one of these subfolders: a link, a pipe,
        a folder.
    """
    names = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                names.add(entry.name)
            elif not (stat.S_ISDIR(mode) and entry.name in folders):
                raise InputError(f"it holds {entry.name!r}, which jattr did not write there")
    return names


def check_names(
    names: Collection[str], needed: Collection[str], possible: Collection[str] = ()
) -> None:
    """Check the names of a folder's files.

    Raises:
      InputError: one that is needed is missing, or there is one that is neither needed nor
        possible.
    """
    missing = sorted(set(needed) - set(names))
    if missing:
        raise InputError(f"it has no {missing[0]!r}")
    others = sorted(set(names) - set(needed) - set(possible))
    if others:
        raise InputError(f"it holds {others[0]!r}, which jattr did not write there")


def read_object(path: Path) -> JsonObject:
    """Return the JSON object in a file.

    Raises:
      InputError: it is no plain file, too long, or holds something else.
      OSError: it cannot be read.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_JSON:
        raise InputError(f"{path.name!r} is no file of up to {MAX_JSON} bytes")
    try:
        data = read_json_text(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path.name!r} is no JSON") from error
    if not isinstance(data, dict):
        raise InputError(f"{path.name!r} holds no JSON object")
    return data
