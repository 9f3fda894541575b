"""Files that are whole or not there, also after the machine loses power.

Temporary file, fsync, rename, fsync of the folder.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from jattr.errors import LedgerError

# ends the name of a file that is not yet in place; one that a killed process left is overwritten
TEMPORARY = ".jattr-new"


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put a file in place of whatever is there.

    When this returns it is on the disk, but for its name (`sync_folder`).

    Raises:
      OSError: it cannot be written; what was there still is.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
    except BaseException:  # a signal as well
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk.

    Raises:
      OSError: the disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put a file in place; when this returns it and its name are on the disk.

    Raises:
      OSError: it cannot be written.
    """
    write_file(path, data, mode=mode)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing, their names durable.

    Raises:
      OSError: it cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextlib.contextmanager
def held(path: Path, flags: int, refusal: str) -> Iterator[None]:
    """Hold the lock on a file or folder in the block, against other processes and threads.

    Args:
      path: what is locked.
      flags: how it is opened, `os.O_...`.
      refusal: the message when another one holds the lock.

    Raises:
      LedgerError: the lock is held, or `path` cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LedgerError(
            f"cannot open {path} to write beside it: {error.strerror}; mend its permissions or"
            " choose another place"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LedgerError(refusal) from error
        yield
    finally:
        os.close(descriptor)
