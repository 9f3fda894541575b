"""What a script measured, with its origin, as a file: `--json FILE`.

A file states the command, the settings and the seed, the digests of the generators, versions,
commit, device and load, and the rows. `make_benchmarks_page.py` makes `docs/benchmarks.md` of all
such files under `docs/benchmarks/`.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import jattr

SCHEMA = "jattr-benchmark/1"
PACKAGES = ("jax", "flax", "numpy", "scipy", "torch")

# Options that name places on the machine. They say nothing about the measurement, so a file states
# a word for each.
PLACES = {
    "--reference": "REF", "--work": "DIR", "--out": "DIR", "--figure": "FILE", "--table": "FILE",
    "--photographs": "DIR", "--old": "DIR", "--new": "DIR", "--default": "FILE", "--rest": "FILE",
}  # fmt: skip


class Named(Protocol):
    """What has a name and a digest: a generator."""

    name: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the function."""
        ...


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json FILE` to a script's options."""
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write what was measured, with its origin, as JSON",
    )


def command_of(arguments: Sequence[str]) -> str:
    """Return the command that was given, without `--json` and without places of this machine.

    >>> command_of(["scripts/bench_x.py", "--work", "/tmp/a", "--seed", "1", "--json", "x.json"])
    'python scripts/bench_x.py --work DIR --seed 1'
    """
    words, rest = [f"scripts/{Path(arguments[0]).name}"], list(arguments[1:])
    while rest:
        option, _, value = rest.pop(0).partition("=")
        if option != "--json" and option not in PLACES:
            words.append(option + (f"={value}" if value else ""))
            continue
        if not value and rest:
            rest.pop(0)
        if option in PLACES:
            words += [option, PLACES[option]]
    return "python " + shlex.join(words)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    Of those that are installed.
    """
    result = {"python": platform.python_version(), "jattr": jattr.__version__}
    for package in PACKAGES:
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            continue
    return result


def commit() -> str:
    """Return the commit that is measured, short, with a plus where files were changed since."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--exclude=*",
    ]
    return (
        subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        or "unknown"
    )


def device() -> str:
    """Return the accelerator's kind where JAX was used, else the processor's architecture.

    And the number of cores.
    """
    kind = (
        sys.modules["jax"].devices()[0].device_kind if "jax" in sys.modules else platform.machine()
    )
    return f"{kind}, {len(os.sched_getaffinity(0))} cores"


def benchmark_of(
    args: argparse.Namespace,
    rows: Sequence[Mapping[str, Any]],
    *,
    generators: Iterable[Named] = (),
    count: int | None = None,
) -> dict[str, Any]:
    """Return what a file holds.

    Args:
      args: the script's options as they were used.
      rows: what was measured: flat or nested mappings of names to numbers and texts.
      generators: the generators whose digests are stated.
      count: the number of images, cases or entries behind the rows, where it is one for all.
    """
    left_out = {"json", "child", *(option.removeprefix("--") for option in PLACES)}
    settings = {name: value for name, value in vars(args).items() if name not in left_out}
    return {
        "schema": SCHEMA,
        "command": command_of(sys.argv),
        "config": settings,
        "seed": settings.get("seed"),
        "digests": {gen.name: gen.digest for gen in generators},
        "versions": versions(),
        "commit": commit(),
        "device": device(),
        "load_average": round(os.getloadavg()[0], 2),
        "count": count,
        "rows": list(rows),
    }


def write_json(
    args: argparse.Namespace,
    rows: Sequence[Mapping[str, Any]],
    *,
    generators: Iterable[Named] = (),
    count: int | None = None,
) -> None:
    """Write `args.json`, if the option was given; the arguments are those of `benchmark_of`."""
    if args.json is None:
        return
    result = benchmark_of(args, rows, generators=generators, count=count)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False, default=str)
    args.json.write_text(text + "\n", encoding="utf-8")
