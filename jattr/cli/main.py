"""The command `jattr`: finds the subcommand, runs it, and turns errors into exit codes.

0 done; 1 an error of jattr itself; 2 bad input, said in one message on stderr; 3 a check was
carried out and failed; 4 a check found nothing wrong, but could not verify everything; 128 and a
signal's number: 130 SIGINT, 143 SIGTERM, 129 SIGHUP; 141 nobody reads the output.
"""

import argparse
import contextlib
import os
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from jattr._version import __version__
from jattr.cli.parser import BAD_INPUT, Command, Parser, add_command
from jattr.cli.signals import exit_code, handle_signals
from jattr.cli.streams import drop_output, flush, note, open_standard_streams
from jattr.errors import InputError, UnverifiedError, VerificationError

COMMANDS = {  # in the order of the help
    "demo": Command(
        "jattr.cli.demo", "see it work: bundled generators, images made on the spot, the report"
    ),
    "convert": Command(
        "jattr.cli.convert",
        "turn a PyTorch checkpoint into a generator folder, or a feature folder",
    ),
    "generate": Command("jattr.cli.generate", "make images with a generator"),
    "attribute": Command("jattr.cli.attribute", "tell which generator made an image"),
    "verify": Command(
        "jattr.cli.verify", "compute a result again: certificates, verdicts, sentences"
    ),
    "calibrate": Command(
        "jattr.cli.calibrate", "measure error rates of candidates on known images"
    ),
    "sweep": Command(
        "jattr.cli.sweep", "search many known images in many ways, and keep every result"
    ),
    "bench": Command(
        "jattr.cli.bench", "ready sweeps: optimisers, restarts, robustness, the paper's recipe, ..."
    ),
    "log": Command("jattr.cli.log", "keep a public, tamper-evident log of a model's uses"),
    "evidence": Command(
        "jattr.cli.evidence",
        "make or verify evidence that an image was, or was not, a logged use of a model",
    ),
}
OUR_FAULT, CHECK_FAILED, NOT_VERIFIED, BROKEN_PIPE = 1, 3, 4, 141


def make_parser() -> Parser:
    """Return the parser of the whole command line; nothing of a subcommand is imported yet."""
    parser = Parser(
        prog="jattr", description="Tells which generative model made an image.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"jattr {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        add_command(subparsers, name, command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    code = _guarded(lambda: _run(make_parser().parse_args(argv)))
    flushed = _guarded(flush)  # what is still buffered, of a failed command as well
    return code or flushed


def _guarded(work: Callable[[], int]) -> int:
    """Return what a part of the program returns, or the exit code of its error, which is said."""
    try:
        return work()
    except SystemExit as stop:  # argparse: 0 after --help, 2 after an error
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except InputError as error:
        return _say(BAD_INPUT, f"error: {error}")
    except VerificationError as error:
        return _say(CHECK_FAILED, f"check failed: {error}")
    except UnverifiedError as error:
        return _say(NOT_VERIFIED, f"not verified: {error}")
    except KeyboardInterrupt as stop:
        return _say(exit_code(stop), "interrupted; nothing half-written is left")
    except BrokenPipeError:  # whoever read our output has gone
        drop_output()
        return BROKEN_PIPE
    except Exception as error:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exc()
        fault = f"{type(error).__name__}: {error}"
        return _say(OUR_FAULT, f"internal error: {fault}; please report it with the lines above")


def console() -> NoReturn:
    """Run as a program, and leave at once: JAX would take half a second, and all is written."""
    open_standard_streams()
    handle_signals()
    os._exit(main())


def _run(args: argparse.Namespace) -> int:
    from absl import logging  # here: `jattr --help` needs none of it

    logging.set_verbosity(logging.ERROR)  # orbax and jax warn of what does not concern the user
    code: int = args.run(args)
    return code


def _say(code: int, message: str) -> int:
    note(message)
    return code
