"""Writing a folder beside its target, and renaming it to that in one step."""

import contextlib
import os
import stat
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from jattr.errors import OutputError
from jattr.folders.interruption import unfinished, uninterrupted
from jattr.folders.kinds import FolderKind, problem_of
from jattr.folders.protected import check_apart, check_replaceable, path_text, resolve_parent

AnyPath: TypeAlias = str | os.PathLike[str]


@contextlib.contextmanager
def new_folder(
    path: AnyPath,
    *,
    kind: FolderKind | None = None,
    overwrite: bool = False,
    inputs: Iterable[AnyPath] = (),
    protected: Iterable[AnyPath] = (),
) -> Iterator[Path]:
    """Give an empty folder beside `path` to write into.

    It becomes `path` when the block ends without an error.

    If the block fails, nothing of it is left, and a folder that was to be replaced is as it was.

    Args:
      path: the folder to make; its parents are made as well.
      kind: of the folder that is written; None: of no kind that could be told, so only an empty one
        is replaced.
      overwrite: replace a folder that is there; else that is an error, before the block runs. Only
        one that is empty, or of this kind, whole and with nothing else in it, is ever replaced.
      inputs: files and folders that are read for it; the folder is none of them, holds none and
        lies in none.
      protected: files and folders that the folder neither is nor holds.

    Raises:
      OutputError: `path` exists and may not be replaced, or cannot be written; OSErrors of the
        block become this error, too.
    """
    with _as_output_error(path):
        # `..` stays as it is written: behind a link it is another folder than the text says
        here = os.getcwd()
        inputs = [os.path.join(here, one) for one in inputs]
        protected = [os.path.join(here, one) for one in protected]
        target = absolute_path(path)
        check_folder(path, kind=kind, overwrite=overwrite, inputs=inputs, protected=protected)
        with _parents(target):
            work = name_beside(target, ".tmp")
            with unfinished(work):
                work.mkdir()
                yield work
                # it may have appeared, or changed, meanwhile
                _check_target(target, path, overwrite, inputs, protected)
                if overwrite:
                    with uninterrupted():
                        _put_in_place(work, target, kind)
                else:
                    work.rename(target)  # fails if anything but an empty folder has appeared


def check_folder(
    path: AnyPath,
    *,
    kind: FolderKind | None = None,
    overwrite: bool = False,
    inputs: Iterable[AnyPath] = (),
    protected: Iterable[AnyPath] = (),
) -> None:
    """Check that `new_folder` may make a folder, with the same arguments, before any work.

    Raises:
      OutputError: it may not.
    """
    with _as_output_error(path):
        target = absolute_path(path)
        _check_target(target, path, overwrite, tuple(inputs), tuple(protected))
        if target.is_dir():
            _check_kind(target, target, kind)


def absolute_path(path: AnyPath) -> Path:
    """Return the place that a path names, absolute; see `resolve_parent`.

    Raises:
      OutputError: it has a null character, or is relative and the current folder is gone.
    """
    if "\0" in os.fspath(path):
        raise OutputError(
            f"cannot write {os.fspath(path)!r}: a path has no null characters; choose another place"
        )
    with _as_output_error(path):
        return resolve_parent(path)


def name_beside(target: Path, suffix: str) -> Path:
    """Return a hidden name beside a place that nothing has; not longer than file systems allow."""
    start = os.fsdecode(os.fsencode(target.name)[:100])
    return target.with_name(f".{start}.{uuid.uuid4().hex}{suffix}")


@contextlib.contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Make the folders above a place; if the block fails, those that were made are removed."""
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody else has put something there
            for parent in missing:
                parent.rmdir()
        raise


def _check_target(
    target: Path,
    path: AnyPath,
    overwrite: bool,
    inputs: Collection[AnyPath],
    protected: Collection[AnyPath],
) -> None:
    """Check where a folder is to be, whatever lies in it; `path` is how the user wrote it.

    Raises:
      OutputError: it must not be there.
    """
    check_apart(target, inputs)
    if not os.path.lexists(target):
        return
    _check_is_folder(target, path)
    if not overwrite:
        raise OutputError(
            f"{path_text(path)} exists already; choose another place, or --overwrite"
            " (overwrite=True) to replace it"
        )
    check_replaceable(target, (*inputs, *protected))


def _check_is_folder(folder: Path, path: AnyPath) -> None:
    """Check that something is a folder and no link to one; `path` is how messages call it.

    Raises:
      OutputError: it is not.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise OutputError(
            f"{path_text(path)} is not a folder and will not be replaced; choose another place"
        )


def _check_kind(folder: Path, path: AnyPath, kind: FolderKind | None) -> None:
    """Check that a folder is empty, or of a kind, whole and with nothing else in it.

    `path` is how messages call it.

    Raises:
      OutputError: it is not.
    """
    names = sorted(os.listdir(folder))
    if not names:
        return
    if kind is None:
        raise OutputError(
            f"{path_text(path)} holds {names[0]!r} and is not replaced; choose another place"
        )
    problem = problem_of(folder, kind)
    if problem is not None:
        raise OutputError(
            f"{path_text(path)} is not {kind.name} as jattr wrote it, and is not replaced:"
            f" {problem}; choose another place, or move it away first"
        )


def _put_in_place(work: Path, target: Path, kind: FolderKind | None) -> None:
    """Rename `work` to `target`.

    An old `target` steps aside first, and is deleted last, or returns if that fails.
    """
    if not os.path.lexists(target):
        work.rename(target)
        return
    old = work.with_suffix(".old")
    try:
        target.rename(old)
        _check_is_folder(old, target)
        checked = _contents(old)
        _check_kind(old, target, kind)  # nobody finds it there to put anything into it
        work.rename(target)
    except BaseException:
        if os.path.lexists(old) and os.path.lexists(work):
            _bring_back(old, target)
        raise
    _delete(checked)


def _contents(folder: Path) -> list[tuple[Path, bool]]:
    """Return a folder and all that is in it, and whether it is a folder.

    What lies in a folder comes before it.
    """
    contents: list[tuple[Path, bool]] = []
    for path in folder.iterdir():
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
        contents += _contents(path) if is_folder else [(path, False)]
    return [*contents, (folder, True)]


def _delete(checked: Iterable[tuple[Path, bool]]) -> None:
    """Delete what was checked, and nothing that has come since.

    Whoever was in the folder when it stepped aside can still write there.
    """
    for path, is_folder in checked:
        with contextlib.suppress(OSError):
            if is_folder:
                path.rmdir()
            else:
                path.unlink()


def _bring_back(old: Path, target: Path) -> None:
    """Rename an old folder back.

    Raises:
      OutputError: that fails; it says where the folder is.
    """
    try:
        old.rename(target)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"cannot put {path_text(target)} back ({reason}); it is kept as {path_text(old)}:"
            " rename it"
        ) from error


@contextlib.contextmanager
def _as_output_error(path: AnyPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {os.fspath(path)!r}: {reason}; choose another place or make room"
        ) from error
