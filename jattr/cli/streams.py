"""Standard output and standard error, which may be closed, full, or read by nobody."""

import contextlib
import os
import sys
from collections.abc import Iterator

from jattr.errors import OutputError


def open_standard_streams() -> None:
    """Open what the process was started without, and let no character end it.

    A closed descriptor would be given to the next file that is opened, and Python has no
    `sys.stdout` then.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # the lowest that is free, which is this one
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    sys.stdin = sys.stdin or os.fdopen(0, "r", encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # not a stream of text over a file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(text: str, end: str = "\n") -> None:
    """Print on standard output.

    Raises:
      OutputError: it cannot be written to.
      BrokenPipeError: whoever read it has gone.
    """
    with _as_output_error():
        print(text, end=end)


def flush() -> int:
    """Write what is still buffered for standard output; return 0.

    Raises:
      OutputError: it cannot be written to.
      BrokenPipeError: whoever read it has gone.
    """
    if sys.stdout is not None:
        with _as_output_error():
            sys.stdout.flush()
    return 0


def note(text: str) -> None:
    """Print on standard error, if anybody can read it there."""
    if sys.stderr is None:  # `print` would take standard output
        return
    with contextlib.suppress(OSError, ValueError):  # full, or closed by whoever read it
        print(f"jattr: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _as_output_error() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise OutputError(
            f"cannot write to standard output: {error.strerror or error}; what was written to files"
            " is there: make room, or send the output elsewhere"
        ) from error


def drop_output() -> None:
    """Let nothing more be written to standard output: what is buffered is lost."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
