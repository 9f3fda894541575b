"""Programs that are told to stop: what is held back, and what is removed even then.

A signal becomes an exception in the main thread wherever that is. Between two renames it would
leave both folders under hidden names, so it waits there. Where the main thread cannot be reached,
or a second signal comes, what is unfinished is removed without it.
"""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

_unfinished: set[Path] = set()  # hidden folders and files that are being written
_held: list[BaseException] = []  # exceptions that wait; filled and emptied by the main thread
_depth = 0  # of `uninterrupted` blocks in the main thread


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Name a hidden folder or file that is removed if the program is ended within the block.

    It is also removed at the end of the block, if it is still there.
    """
    _unfinished.add(path)
    try:
        yield
    finally:
        _remove(path)
        _unfinished.discard(path)


def remove_unfinished() -> None:
    """Remove what is being written, of all threads, just before the process ends."""
    for path in tuple(_unfinished):
        _remove(path)


def interrupt(exception: BaseException) -> None:
    """Raise an exception in the main thread, from a signal handler, or hold it back."""
    if is_interruptible():
        raise exception
    _held.append(exception)


def is_interruptible() -> bool:
    """Return whether the main thread is in no `uninterrupted` block."""
    return not _depth


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back what `interrupt` is given until the block ends; then raise it."""
    global _depth
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main one
        yield
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth and _held:
            exception = _held[0]
            _held.clear()
            raise exception


def _remove(path: Path) -> None:
    """Remove a folder or a file, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
