"""Output folders: whole or not there at all."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from jattr.errors import OutputError


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder beside `path` to write into; it becomes `path` when the block ends without an error.

    If the block fails, nothing of it is left, and a folder that was to be replaced is as it was.

    Args:
      path: the folder to make; its parents are made as well.
      overwrite: replace a folder that is there; else that is an error, before the block runs.

    Raises:
      OutputError: `path` exists, or cannot be written; OSErrors of the block become this error, too.
    """
    with _as_output_error(path):
        target = _checked_target(path, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        work = target.parent / f".{target.name[:100]}.{uuid.uuid4().hex}.tmp"
        work.mkdir()
        try:
            yield work
            _put_in_place(work, target, overwrite)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _checked_target(path: str | os.PathLike[str], overwrite: bool) -> Path:
    if "\0" in os.fspath(path):
        raise OutputError(f"cannot write {os.fspath(path)!r}: a path has no null characters; choose another place")
    target = Path(os.path.abspath(path))
    if not os.path.lexists(target):
        return target
    if target.is_symlink() or not target.is_dir():
        raise OutputError(f"{path} is not a folder and will not be replaced; choose another place")
    if not overwrite:
        raise OutputError(f"{path} exists already; choose another place, or --overwrite (overwrite=True) to replace it")
    return target


def _put_in_place(work: Path, target: Path, overwrite: bool) -> None:
    """Rename `work` to `target`; an old `target` steps aside first and returns if that fails."""
    if not os.path.lexists(target):
        work.rename(target)
        return
    _checked_target(target, overwrite)  # it may have appeared meanwhile
    old = work.with_suffix(".old")
    target.rename(old)
    try:
        work.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _as_output_error(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {os.fspath(path)!r}: {reason}; choose another place or make room") from error
