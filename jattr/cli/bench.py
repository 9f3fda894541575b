"""`jattr bench`: ready sweeps, and the speed of this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from jattr.cli.attribute import versions
from jattr.cli.device import add_device, start_jax
from jattr.cli.options import Progress, add_common, emit, new_folder
from jattr.cli.sweep import run_spec
from jattr.errors import InputError
from jattr.folders.kinds import FolderKind, check_names, file_names, read_object
from jattr.generators.candidates import load_candidates
from jattr.printable import shown
from jattr.runtime import jax_defaults
from jattr.sweep.speed import peak_memory, search_speeds, step_speeds
from jattr.sweep.suites import FAMILIES, PAIR, make_suite, paper_spec
from jattr.typing import JsonObject

OUT = "jattr-bench"
SPEED, SPEED_FILE = "speed", "speed.json"
SUITE_NAMES = (
    "optimisers",
    "restarts",
    "distances",
    "robustness",
    "adversarial",
    "open-set",
    "paper",
    SPEED,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Run a ready sweep over bundled generators, or others, and write its tables, figures and"
        " page. A run that was stopped goes on where it was. speed measures gradient steps and"
        " searches on this machine."
    )
    parser.add_argument("suite", choices=SUITE_NAMES)
    parser.add_argument(
        "--quick", action="store_true", help="few images, two candidates: a minute or two"
    )
    parser.add_argument(
        "--candidates", nargs="+", default=[], metavar="GEN", help="generator folders or names"
    )
    parser.add_argument(
        "--features", metavar="DIR", help="paper: the distance of its recipe, as a feature folder"
    )
    parser.add_argument("--out", metavar="DIR", help=f"folder of the store (default {OUT}/SUITE)")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do, and stop")
    parser.add_argument("--yes", action="store_true", help="a great number of cells is meant")
    parser.add_argument(
        "--no-report", action="store_true", help="write no tables, figures and page at the end"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="compute on a Ray cluster (local: begin one here)"
    )
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


@jax_defaults(devices=False)
def run(args: argparse.Namespace) -> int:
    """Run the suite.

    Raises:
      InputError: an option or a candidate cannot be used.
    """
    if args.features is not None and args.suite != "paper":
        raise InputError(
            f"--features belongs to the suite paper, not to {args.suite}; leave it away"
        )
    quick = "-quick" if args.quick else ""
    args.out = args.out or str(Path(OUT) / f"{args.suite}{quick}")
    start_jax(args.device)
    if args.suite == SPEED:
        return _speed(args)

    spec = make_suite(args.suite, quick=args.quick, candidates=args.candidates)
    if args.features is not None:
        spec = paper_spec(spec.candidates, count=spec.pictures[0].count, distance=args.features)
    return run_spec(args, spec)


def check_speed_folder(folder: Path) -> None:
    """Check that a folder holds speed.json alone.

    Raises:
      InputError: it does not.
    """
    check_names(file_names(folder), (SPEED_FILE,))
    if set(read_object(folder / SPEED_FILE)) != {"steps", "searches", "peak_memory", "versions"}:
        raise InputError(f"{SPEED_FILE!r} is not that of `jattr bench {SPEED}`")


SPEED_FOLDER = FolderKind(f"a folder of `jattr bench {SPEED}`", check_speed_folder)


def _speed(args: argparse.Namespace) -> int:
    """Measure, print and write speed.json."""
    with new_folder(args.out, kind=SPEED_FOLDER, overwrite=True, inputs=args.candidates) as work:
        generators = load_candidates(
            args.candidates or list(PAIR if args.quick else FAMILIES), resize=True
        )
        progress = Progress(2, "measurements")
        steps = step_speeds(generators, (1, 8) if args.quick else (1, 8, 32))
        progress.advance()
        searches = search_speeds(generators, 4 if args.quick else 16)
        result: JsonObject = {
            "steps": [dataclasses.asdict(one) for one in steps],
            "searches": [dataclasses.asdict(one) for one in searches],
            "peak_memory": peak_memory(),
            "versions": versions(),
        }
        (work / SPEED_FILE).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"{shown(one.generator, 40)}, {one.lanes} lanes: {one.milliseconds:.2f} ms a step of a"
        f" lane ({one.spread[0]:.2f} to {one.spread[1]:.2f}), {one.share_of_peak:.0%} of the"
        " matrix-product peak"
        for one in steps
    ]
    lines += [
        f"{shown(one.generator, 40)}: {one.arrived} of {one.pictures} own images at the floor in"
        f" {one.seconds:.1f} s, {one.pictures_per_minute:.0f} a minute"
        for one in searches
    ]
    lines.append(f"at most {result['peak_memory']['process_bytes'] / 2**20:.0f} MiB in use")
    emit(args, result, "\n".join([*lines, f"written to {shown(args.out, 200)}: speed.json"]))
    return 0
