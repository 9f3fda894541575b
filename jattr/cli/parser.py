"""Parsers of commands; the module of a subcommand is imported when that is chosen, and only then.

Such a module has `add_arguments(parser)`, which sets the default `run`: (arguments) -> exit code.
"""

import argparse
import os
import sys
import time
from importlib import import_module
from typing import NamedTuple, NoReturn, TypeAlias

from jattr.cli.streams import say
from jattr.errors import InputError

BAD_INPUT = 2


class Command(NamedTuple):
    """A subcommand as its parent knows it."""

    module: str
    help: str  # one line


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line; may take its arguments from a module."""

    module: str | None = None  # adds the arguments when they are needed

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        line = " ".join(message.split())
        self.exit(BAD_INPUT, f"{self.prog}: error: {line}; see {self.prog} --help\n")

    def _print_message(self, message, file=None):
        """Print as `argparse` does, which would not say that standard output is full."""
        if message and file is sys.stdout:
            say(message, end="")
        else:
            super()._print_message(message, file)

    def load(self) -> None:
        """Import the module and add its arguments, once; `import_seconds` says how long it took."""
        if self.module is None:
            return
        start = time.monotonic()
        try:
            module, self.module = import_module(self.module), None
        except ValueError as error:  # JAX reads its variables when it is imported
            names = [name for name in os.environ if name.startswith("JAX_")]
            if not names:
                raise
            raise InputError(
                f"JAX cannot be started with the environment's {', '.join(sorted(names))}:"
                f" {' '.join(str(error).split())}; unset what is wrong"
            ) from error
        module.add_arguments(self)
        self.set_defaults(import_seconds=time.monotonic() - start)

    def parse_known_args(self, args=None, namespace=None):
        """Parse as `argparse` does, which calls this for the subcommand that is chosen."""
        self.load()
        return super().parse_known_args(args, namespace)


Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_command(subparsers: Subparsers, name: str, command: Command) -> None:
    """Add a subcommand, whose module is imported when it is chosen."""
    subparsers.add_parser(name, help=command.help).module = command.module
