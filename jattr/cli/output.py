"""Output folders of subcommands: `new_folder` writes beside the target and renames once."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from jattr import folders
from jattr.folders.cache import cache_folders
from jattr.folders.kinds import FolderKind


@contextlib.contextmanager
def new_folder(
    path: str | os.PathLike[str],
    *,
    kind: FolderKind,
    overwrite: bool,
    inputs: Iterable[str | None] = (),
    kept: Iterable[str] = (),
) -> Iterator[Path]:
    """Give the folder that a subcommand writes into, as `jattr.folders.new_folder` does; the cache
    is kept, too.

    Args:
      path: likewise.
      kind: likewise.
      overwrite: likewise.
      inputs: files, folders and names that the subcommand was given to read; None: an option that
        was left away.
      kept: likewise.

    Raises:
      OutputError: likewise.
    """
    given = [one for one in inputs if one is not None]
    both = [*kept, *map(str, cache_folders())]
    with folders.new_folder(path, kind=kind, overwrite=overwrite, inputs=given, kept=both) as work:
        yield work


def distance_paths(spec: str | None) -> list[str]:
    """Return what may be paths of feature folders in the text of a distance, such as
    `lpips:FOLDER*0.5+l2`.

    >>> distance_paths("lpips:a*0.5+b")
    ['lpips:a*0.5+b', 'lpips:a', 'a', 'lpips', 'b']
    """
    found = [] if spec is None else [spec]
    for term in (spec or "").split("+"):
        name = (term.rpartition("*")[0] or term).strip()
        after = name.partition(":")[2]
        found += [name, after, name.rpartition(":")[0], after.rpartition(":")[0]]
    return [text for text in dict.fromkeys(found) if text]
