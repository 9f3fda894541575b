"""What several subcommands have in common: options, progress, output."""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from jattr import folders
from jattr.cli.parser import Subparsers
from jattr.cli.streams import note, say
from jattr.folders.cache import cache_folders
from jattr.folders.kinds import FolderKind
from jattr.typing import JsonObject

NOISE_NOTES = {  # of the choices beyond a card's
    "random": "; random: drawn for each image, and kept with its latent",
    "search": "; search: unknown, which leaves no certificate",
}


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every subcommand."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on stdout in place of text"
    )


def add_action(
    below: Subparsers, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add an action of a subcommand, with the options of every subcommand."""
    parser = below.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_common(parser)
    parser.set_defaults(run=function)
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add `--out` and `--overwrite`, for `new_folder`."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the folder if this command wrote it and all that is in it",
    )


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number from low to high."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"got {text!r}; legal is a whole number from {low} to {high}"
            )
        return value

    return parse


def add_settings(
    parser: argparse.ArgumentParser, noise: tuple[str, ...], *, grid: bool = False
) -> None:
    """Add the settings of style-based generators; with `grid` psi is a list of one or more."""
    group = parser.add_argument_group("style-based generators")
    if grid:
        text = "truncation (default: the card's); of several each is tried"
        group.add_argument("--psi", type=float, nargs="+", metavar="PSI", help=text)
    else:
        group.add_argument(
            "--psi", type=float, metavar="PSI", help="truncation (default: the card's)"
        )
    group.add_argument(
        "--cutoff", type=whole_number(0, 1_000), metavar="N", help="styles that psi applies to"
    )
    group.add_argument(
        "--noise",
        choices=noise,
        help="noise maps (default: the card's)" + NOISE_NOTES.get(noise[-1], ""),
    )


def given_settings(args: argparse.Namespace) -> JsonObject:
    """Return the settings that were given."""
    return {
        name: getattr(args, name)
        for name in ("psi", "cutoff", "noise")
        if getattr(args, name) is not None
    }


def emit(args: argparse.Namespace, result: Mapping[str, object], text: str) -> None:
    """Print the result: one JSON object with `--json`, else the text."""
    say(json.dumps(result, ensure_ascii=True, allow_nan=False) if args.json else text)


class Progress:
    """Says on stderr how far the work is, at most every two seconds, and nothing before that."""

    def __init__(self, total: int, what: str):
        self.total, self.what, self.done, self.last = total, what, 0, time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count work as done."""
        self.reach(self.done + count)

    def reach(self, done: int) -> None:
        """Say that so much is done by now."""
        self.done = done
        if time.monotonic() - self.last >= 2 and self.done < self.total:
            self.last = time.monotonic()
            note(f"{self.done} of {self.total} {self.what}")


@contextlib.contextmanager
def new_folder(
    path: str | os.PathLike[str],
    *,
    kind: FolderKind,
    overwrite: bool,
    inputs: Iterable[str | None] = (),
    protected: Iterable[str] = (),
) -> Iterator[Path]:
    """Give the folder that a subcommand writes into, as `jattr.folders.new_folder` does.

    The user's cache is protected, too.

    Args:
      path: likewise.
      kind: likewise.
      overwrite: likewise.
      inputs: files, folders and names that the subcommand was given to read; None: an option that
        was omitted.
      protected: likewise.

    Raises:
      OutputError: likewise.
    """
    given = [one for one in inputs if one is not None]
    both = [*protected, *map(str, cache_folders())]
    with folders.new_folder(
        path, kind=kind, overwrite=overwrite, inputs=given, protected=both
    ) as work:
        yield work


def distance_paths(spec: str | None) -> list[str]:
    """Return what may be paths of feature folders in the text of a distance, such as
    `lpips:FOLDER*0.5+l2`.

    >>> distance_paths("lpips:a*0.5+b")
    ['lpips:a*0.5+b', 'lpips:a', 'a', 'lpips', 'b']
    """
    paths = [] if spec is None else [spec]
    for term in (spec or "").split("+"):
        name = (term.rpartition("*")[0] or term).strip()
        after = name.partition(":")[2]
        paths += [name, after, name.rpartition(":")[0], after.rpartition(":")[0]]
    return [text for text in dict.fromkeys(paths) if text]
