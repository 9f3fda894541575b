"""`jattr sweep`: run, resume, status, export, compare."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from jattr.cli.device import add_device, start_jax
from jattr.cli.options import Progress, add_action, distance_paths, emit
from jattr.cli.parser import Parser
from jattr.errors import InputError
from jattr.folders import check_folder
from jattr.printable import shown
from jattr.runtime import jax_defaults
from jattr.sweep.cells import make_plan
from jattr.sweep.estimate import estimate
from jattr.sweep.on_ray import make_executor
from jattr.sweep.report.compare import compare
from jattr.sweep.report.export import EXPORT_FOLDER, export
from jattr.sweep.report.tables import summary
from jattr.sweep.run import (
    Executor,
    Ran,
    check_size,
    compute_here,
    resume_plan,
    run_plan,
    stored_plan,
)
from jattr.sweep.spec import Spec
from jattr.sweep.spec_file import load_spec
from jattr.sweep.store import FAILED, counts, open_for_reading

FORMATS = ("csv", "parquet", "png", "svg", "html")
USUAL = ("csv", "png", "svg", "html")
REPORT_FOLDER = "report"  # subfolder of a sweep with its tables, figures and page


def add_arguments(parser: Parser) -> None:
    """Add the arguments and the actions."""
    parser.description = (
        "Run a sweep of images x candidates x settings; docs/sweeps.md shows a spec. A run that"
        " was stopped, by whatever, goes on where it was."
    )
    below = parser.add_subparsers(metavar="ACTION", required=True)
    run = add_action(below, "run", run_sweep, "run a spec, or go on with it")
    run.add_argument("spec", metavar="SPEC", help="TOML file")
    run.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder of the store; it is begun or gone on with",
    )
    run.add_argument("--dry-run", action="store_true", help="say what there is to do, and stop")
    run.add_argument("--yes", action="store_true", help="a great number of cells is meant")
    resume = add_action(below, "resume", resume_sweep, "go on with a sweep")
    resume.add_argument("folder", metavar="DIR")
    resume.add_argument("--again", action="store_true", help="try cells that failed again")
    for action in (run, resume):
        action.add_argument(
            "--no-report", action="store_true", help="write no tables, figures and page at the end"
        )
        action.add_argument(
            "--ray", metavar="ADDRESS", help="compute on a Ray cluster (local: begin one here)"
        )
        add_device(action)
    add_action(below, "status", status, "say how far a sweep is").add_argument(
        "folder", metavar="DIR"
    )
    export = add_action(
        below, "export", export_sweep, "write tables, figures and the page of a sweep"
    )
    export.add_argument("folder", metavar="DIR")
    export.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    export.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the folder if it is an export and nothing else",
    )
    export.add_argument("--format", nargs="+", choices=FORMATS, default=list(USUAL))
    compare = add_action(below, "compare", compare_sweeps, "compare two sweeps, cell by cell")
    compare.add_argument("first", metavar="A")
    compare.add_argument("second", metavar="B")


@jax_defaults(devices=False)
def run_sweep(args: argparse.Namespace) -> int:
    """Run a spec.

    Raises:
      InputError: it cannot be run; or, after everything else was done, some cells could not.
    """
    spec, _ = load_spec(args.spec)
    start_jax(args.device)
    return run_spec(args, spec)


def run_spec(args: argparse.Namespace, spec: Spec) -> int:
    """Run a spec with the options of a run, or say what there is to do.

    Raises:
      InputError: as `run_sweep`.
    """
    if args.dry_run:
        return _dry_run(args, spec)
    _check_report(args, args.out, spec)
    plan = make_plan(spec)
    progress = Progress(len(plan.cells), "cells")
    ran = run_plan(
        plan,
        args.out,
        yes=args.yes,
        executor=_executor(args),
        progress=lambda _, kept: progress.reach(kept),
    )
    return _report(args, args.out, ran)


@jax_defaults(devices=False)
def resume_sweep(args: argparse.Namespace) -> int:
    """Go on with a sweep.

    Raises:
      InputError: as `run_sweep`.
    """
    start_jax(args.device)
    plan = stored_plan(args.folder)
    _check_report(args, args.folder, plan.spec)
    progress = Progress(len(plan.cells), "cells")
    ran = resume_plan(
        plan,
        args.folder,
        again=args.again,
        executor=_executor(args),
        progress=lambda _, kept: progress.reach(kept),
    )
    return _report(args, args.folder, ran)


def _executor(args: argparse.Namespace) -> Executor:
    if args.ray is None:
        return compute_here
    return make_executor(args.ray)


def _dry_run(args: argparse.Namespace, spec: Spec) -> int:
    """Print what a run would do."""
    plan = make_plan(spec)
    check_size(plan, yes=args.yes)
    cost = estimate(plan)
    hours = cost.seconds / 3600
    time = (
        f"{hours:.1f} hours"
        if hours > 1
        else f"{cost.seconds / 60:.0f} minutes"
        if hours > 0.05
        else "minutes"
    )
    text = (
        f"{cost.cells} cells, {cost.searches} searches at most; {cost.evaluations:.2g}"
        f" evaluations, about {time} if none stops early, {cost.memory_bytes / 2**30:.1f} GiB"
        f" memory (at {cost.flops_per_second / 1e9:.0f} GFLOP/s)"
    )
    emit(args, dataclasses.asdict(cost), text)
    return 0


def _check_report(args: argparse.Namespace, folder: str, spec: Spec) -> None:
    """Check, before the long run, that the report may be written at its end.

    Raises:
      OutputError: where it goes is something else than an earlier report.
    """
    if not args.no_report:
        check_folder(
            Path(folder) / REPORT_FOLDER,
            kind=EXPORT_FOLDER,
            overwrite=True,
            inputs=_inputs(spec),
            protected=[folder],
        )


def _inputs(spec: Spec) -> list[str]:
    """Return what a sweep reads, or may."""
    paths = [*spec.candidates]
    for pictures in spec.pictures:
        paths += [*pictures.generators, pictures.folder]
    for setting in spec.settings:
        if isinstance(setting.config.distance, str):
            paths += distance_paths(setting.config.distance)
    return [path for path in paths if path]


def _report(args: argparse.Namespace, folder: str, ran: Ran) -> int:
    """Write the report and print how it went.

    Raises:
      InputError: some cells failed; their errors are in the store.
    """
    with open_for_reading(folder) as store:
        text, cells = summary(store), store.table("cells")
        if not args.no_report:
            export(
                store, Path(folder) / REPORT_FOLDER, overwrite=True, inputs=_inputs(ran.plan.spec)
            )
    rows = [dict(zip(cells.columns, row, strict=True)) for row in cells.rows]
    errors = [row for row in rows if row["status"] == FAILED]
    where = (
        ""
        if args.no_report
        else f"\nwritten to {shown(folder, 200)}: {REPORT_FOLDER}/report.html and its tables"
    )
    harness = 0.0 if not ran.computed else 1 - ran.search_seconds / ran.seconds
    result = {
        **ran.counts,
        "computed": ran.computed,
        "seconds": ran.seconds,
        "harness_share": harness,
    }
    emit(args, result, f"{text}{where}")
    if errors:
        raise InputError(
            f"{len(errors)} of {len(ran.plan.cells)} cells could not be done and are failed rows"
            f" in {folder}; the first, number {errors[0]['number']}: {errors[0]['error']}"
        )
    return 0


def status(args: argparse.Namespace) -> int:
    """Say how far a sweep is."""
    with open_for_reading(args.folder) as store:
        plan = stored_plan(args.folder)
        num_cells = counts(store, len(plan.cells))
        spent = sum(store.table("cells").column("timing_seconds"))
    text = (
        f"{shown(plan.spec.name, 80)}: {num_cells['done']} of {num_cells['cells']} cells done,"
        f" {num_cells['failed']} failed, {num_cells['left']} left; {spent:.0f} s of searches"
    )
    emit(args, {**num_cells, "timing_seconds": spent}, text)
    return 0


def export_sweep(args: argparse.Namespace) -> int:
    """Write tables, figures and the page."""
    with open_for_reading(args.folder) as store:
        files = export(store, args.out, formats=tuple(args.format), overwrite=args.overwrite)
    emit(args, {"files": list(files)}, f"written to {shown(args.out, 200)}: {', '.join(files)}")
    return 0


def compare_sweeps(args: argparse.Namespace) -> int:
    """Compare two sweeps."""
    with open_for_reading(args.first) as first, open_for_reading(args.second) as second:
        comparison = compare(first, second)
    tables = {
        name: [dict(zip(t.columns, row, strict=True)) for row in t.rows]
        for name, t in comparison.tables.items()
    }
    emit(
        args,
        {"settings": comparison.settings, "notes": comparison.notes, **tables},
        comparison.text,
    )
    return 0
