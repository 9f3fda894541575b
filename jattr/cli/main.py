"""The command `jattr`: finds the subcommand, runs it, and turns errors into exit codes.

0 done; 1 an error of jattr itself; 2 bad input, said in one message on stderr; 3 a check was
carried out and failed.
"""

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from jattr._version import __version__
from jattr.cli import (
    attribute,
    bench,
    calibrate,
    convert,
    demo,
    evidence,
    generate,
    log,
    sweep,
    verify,
)
from jattr.errors import InputError, VerificationError

COMMANDS = [
    demo,
    convert,
    generate,
    attribute,
    verify,
    calibrate,
    sweep,
    bench,
    log,
    evidence,
]  # in the order of the help
DONE, OUR_FAULT, BAD_INPUT, CHECK_FAILED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        line = " ".join(message.split())
        self.exit(BAD_INPUT, f"{self.prog}: error: {line}; see {self.prog} --help\n")


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="jattr", description="Tells which generative model made an image.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"jattr {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as stop:  # argparse: 0 after --help, 2 after an error
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    try:
        code: int = _run(args)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _say(BAD_INPUT, f"error: {error}")
    except VerificationError as error:
        return _say(CHECK_FAILED, f"check failed: {error}")
    except KeyboardInterrupt:
        return _say(INTERRUPTED, "interrupted; nothing half-written is left")
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        traceback.print_exc()
        return _say(
            OUR_FAULT,
            (
                f"internal error: {type(error).__name__}: {error}; please report it with the lines"
                " above"
            ),
        )


def console() -> NoReturn:
    """Run as a program. Everything is written by then, so the half second that JAX takes to
    leave is spared.
    """
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed by whoever read it
            stream.flush()
    os._exit(code)


def _run(args: argparse.Namespace) -> int:
    from absl import logging

    logging.set_verbosity(logging.ERROR)  # orbax and jax warn of what does not concern the user
    code: int = args.run(args)
    return code


def _say(code: int, message: str) -> int:
    print(f"jattr: {message}", file=sys.stderr)
    return code
