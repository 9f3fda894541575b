"""Options that several subcommands have, and what they do before the work begins."""

import argparse
import json
import sys
import time
from typing import Any

from jattr.errors import InputError

# option -> JAX platforms, the first does the work
DEVICES = {"cpu": "cpu", "gpu": "gpu,cpu", "tpu": "tpu,cpu"}


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every subcommand."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on stdout in place of text"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add `--out` and `--overwrite`, for `new_folder`."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the folder if this command wrote it and all that is in it",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device", choices=DEVICES, help="where to compute (default: what JAX finds)"
    )


def whole_number(low: int, high: int) -> Any:
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


def start_jax(device: str | None) -> None:
    """Turn on the compilation cache and choose the device.

    Raises:
      InputError: there is no such device.
    """
    import jax

    from jattr.runtime import enable_compilation_cache

    enable_compilation_cache()
    if device is None:
        return
    jax.config.update("jax_platforms", DEVICES[device])
    try:
        jax.devices()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device {device} cannot be used here: {reason}; leave --device away"
        ) from error


NOISE_NOTES = {  # of the choices beyond a card's
    "random": "; random: drawn for each image, and kept with its latent",
    "search": "; search: unknown, which leaves no certificate",
}


def add_settings(parser: Any, noise: tuple[str, ...], *, grid: bool = False) -> None:
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


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given."""
    return {
        name: getattr(args, name)
        for name in ("psi", "cutoff", "noise")
        if getattr(args, name) is not None
    }


def emit(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Print the result: one JSON object with `--json`, else the text."""
    print(json.dumps(result, ensure_ascii=True, allow_nan=False) if args.json else text)


class Progress:
    """Says on stderr how far the work is, at most every two seconds, and nothing about work that
    takes less.
    """

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
            print(f"jattr: {self.done} of {self.total} {self.what}", file=sys.stderr, flush=True)
