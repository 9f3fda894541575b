"""Paths that are never replaced: what is read, the current and the home folder, jattr itself.

Files and folders are compared by what they are, device and number, not by how their paths are
written: links, `..`, and names that differ in case alone are seen through.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from jattr.errors import OutputError

try:
    import pwd
except ImportError:  # not on Windows
    pwd = None  # type: ignore[assignment]

Identity = tuple[int, int]  # device, number
PACKAGE = Path(__file__).parents[1]


def check_apart(target: Path, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Check that a place is none of the inputs, and does not lie in one.

    Raises:
      OutputError: it does.
    """
    above = _lineage(target)
    for path in inputs:
        if identity(path) in above:
            raise OutputError(
                f"{path_text(target)} is, or lies in, {path_text(path)}, which this command reads;"
                " choose another place"
            )


def check_replaceable(target: Path, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Check that a folder does not hold an input, under any name, nor the current folder, the home
    folder or jattr.

    Raises:
      OutputError: it does.
    """
    inputs, own = tuple(inputs), identity(target)
    for fixed, name in _never_replaced():
        if own in _lineage(fixed):
            raise OutputError(
                f"{path_text(target)} is or holds {name}, and is not replaced; choose another place"
            )
    if identity(PACKAGE) in _lineage(target):
        raise OutputError(
            f"{path_text(target)} is a part of jattr, and is not replaced; choose another place"
        )
    for path in inputs:
        if own in _lineage(path):
            raise OutputError(
                f"{path_text(target)} is or holds {path_text(path)}, which this command uses, and"
                " is not replaced; choose another place"
            )
    _check_holds_none(target, inputs)


def _check_holds_none(target: Path, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Check that no file below a folder is an input under another name (a hard link).

    Raises:
      OutputError: one is.
    """
    input_of = {identity(path): path for path in inputs}
    for folder, _, files in os.walk(target):
        for name in files:
            own = identity(os.path.join(folder, name))
            if own is not None and own in input_of:
                raise OutputError(
                    f"{path_text(target)} holds {path_text(input_of[own])}, which this command"
                    f" uses, as {name!r}, and is not replaced; choose another place"
                )


def identity(path: str | os.PathLike[str]) -> Identity | None:
    """Return device and number of a file or folder; None if it is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null character
        return None
    return status.st_dev, status.st_ino


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as messages show it, on one line."""
    text = os.fspath(path)
    return text if text and text.isprintable() else repr(text)


def resolve_parent(path: str | os.PathLike[str]) -> Path:
    """Return the place that a path names, absolute, without `..` and without links above it.

    A link there is not followed, and a slash after its name is dropped.

    Raises:
      OSError: the path is relative, and the current folder is gone.
    """
    whole = Path(os.getcwd(), path)
    if whole.name in ("", ".."):
        return Path(os.path.realpath(whole))
    return Path(os.path.realpath(whole.parent), whole.name)


def _lineage(path: str | os.PathLike[str]) -> set[Identity]:
    """Return a place and all folders above it, and those of what it links to."""
    try:
        paths = {resolve_parent(path), Path(os.path.realpath(path))}
    except (OSError, ValueError):
        return set()
    above = [identity(each) for path in paths for each in (path, *path.parents)]
    return {each for each in above if each is not None}


def _never_replaced() -> Iterator[tuple[str | Path, str]]:
    """Yield what no command may replace, and its name."""
    yield PACKAGE, "jattr itself"
    with contextlib.suppress(OSError):
        yield os.getcwd(), "the current folder"
    with contextlib.suppress(OSError, RuntimeError):
        yield Path.home(), "the home folder"
    with contextlib.suppress(AttributeError, OSError, KeyError):
        yield pwd.getpwuid(os.getuid()).pw_dir, "the home folder"
