"""Exports of a store: CSV, Parquet, figures and a page, all pure functions of it.

Files whose names begin with `timing`, and the page, hold what depends on the clock; all others are
the same bytes for every run of a sweep on one machine, in whatever order its cells were done.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jattr.errors import InputError, suggest
from jattr.folders import AnyPath, new_folder
from jattr.folders.kinds import FolderKind, check_names, file_names, read_object
from jattr.sweep.report.effort import ProfilePoint, RestartPoint, TimeToTarget, ToTarget
from jattr.sweep.report.figures import FIGURES, draw
from jattr.sweep.report.groups import Metric
from jattr.sweep.report.held_out import ReliabilityBin, TippettPoint
from jattr.sweep.report.measured import Measured, measure
from jattr.sweep.report.metrics import Attributed, Confusion
from jattr.sweep.report.open_set import OscrPoint
from jattr.sweep.report.page import report_page
from jattr.sweep.report.solvers import SolverRow, solver_rows
from jattr.sweep.report.tables import Results, read, rows_table, split_timing
from jattr.sweep.store import PROJECT, Store, Table
from jattr.typing import Json

FORMATS = ("csv", "parquet", "png", "svg", "html")
USUAL = ("csv", "png", "svg", "html")
PAGE, ORIGIN = "report.html", "origin.json"
TABLES = (
    "cells",
    "pictures",
    "restarts",
    "attributions",
    "metrics",
    "confusion",
    "oscr",
    "restart_success",
    "to_target",
    "data_profile",
    "reliability",
    "tippett",
    "timing",
    "timing_to_target",
    "timing_solvers",
)
CELL_FACTS = (
    "number",
    "source",
    "maker",
    "first",
    "pictures",
    "attack",
    "alteration",
    "candidate",
    "setting",
    "seed",
)


def export(
    store: Store,
    folder: AnyPath,
    *,
    formats: Sequence[str] = USUAL,
    overwrite: bool = False,
    inputs: Iterable[AnyPath] = (),
) -> tuple[str, ...]:
    """Write tables, figures and `report.html` of a store into a folder, whole or not at all.

    Args:
      store: of a sweep, finished or not.
      folder: to make.
      formats: some of FORMATS.
      overwrite: replace a folder that is there, if it is an export and holds nothing else.
      inputs: files and folders of the sweep; `folder` must not be, hold or lie in one of them.

    Returns:
      The names of the files.

    Raises:
      InputError: there is no such format, Parquet's library is missing, or the store cannot be
        read.
      OutputError: the folder exists or cannot be written.
    """
    unknown = next((name for name in formats if name not in FORMATS), None)
    if unknown is not None or not formats:
        raise InputError(f"format {unknown!r}; {suggest(str(unknown), list(FORMATS))}")
    if "parquet" in formats:
        _parquet()
    results = read(store)
    measured = measure(results)
    new = new_folder(
        folder, kind=EXPORT_FOLDER, overwrite=overwrite, inputs=inputs, protected=[store.folder]
    )
    with new as work:
        write(work, results, measured, formats)
        return tuple(sorted(path.name for path in work.iterdir()))


def check_export_folder(folder: Path) -> None:
    """Check that a folder holds exports of a sweep, in whichever formats.

    Raises:
      InputError: it does not, or holds anything else.
    """
    possible = {f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")}
    possible |= {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    check_names(file_names(folder), (ORIGIN,), possible | {PAGE})
    origin = read_object(folder / ORIGIN)
    if "spec" not in origin or origin.get("project") != PROJECT:
        raise InputError(f"{ORIGIN!r} is not that of a sweep")


EXPORT_FOLDER = FolderKind("an export of a sweep", check_export_folder)


def write(work: Path, results: Results, measured: Measured, formats: Sequence[str]) -> None:
    """Write everything into a folder that is there."""
    for name, table in all_tables(results, measured).items():
        if "csv" in formats:
            (work / f"{name}.csv").write_bytes(csv_bytes(table))
        if "parquet" in formats:
            write_parquet(table, work / f"{name}.parquet")
    kinds = [
        kind for kind in ("png", "svg") if kind in formats or (kind == "svg" and "html" in formats)
    ]
    figures = draw(measured, kinds) if kinds else []
    for figure in figures:
        for kind in set(kinds) & set(formats):
            (work / f"{figure.name}.{kind}").write_bytes(figure.files[kind])
    if "html" in formats:
        (work / PAGE).write_text(
            report_page(results, measured, figures), encoding="utf-8", newline="\n"
        )
    facts = {"spec": results.spec_json, **results.origin}
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (work / ORIGIN).write_text(text, encoding="utf-8", newline="\n")


def all_tables(results: Results, measured: Measured) -> dict[str, Table]:
    """Return every table by the name of its file."""
    cells, seconds = split_timing(results.cells, CELL_FACTS)
    return {
        "cells": cells,
        "pictures": results.pictures,
        "restarts": results.restarts,
        "attributions": rows_table(Attributed, measured.attributed),
        "metrics": rows_table(Metric, measured.metrics),
        "confusion": rows_table(Confusion, measured.confusion),
        "oscr": rows_table(OscrPoint, measured.oscr),
        "restart_success": rows_table(RestartPoint, measured.restart_points),
        "to_target": rows_table(ToTarget, measured.to_target),
        "data_profile": rows_table(ProfilePoint, measured.profile),
        "reliability": rows_table(ReliabilityBin, measured.reliability),
        "tippett": rows_table(TippettPoint, measured.tippett),
        "timing": seconds,
        "timing_to_target": rows_table(TimeToTarget, measured.times),
        "timing_solvers": rows_table(SolverRow, solver_rows(measured)),
    }


def csv_bytes(table: Table) -> bytes:
    """Return a table as CSV (RFC 4180, but lines end with a line feed): floats as they read back,
    nothing for None.

    >>> csv_bytes(Table(("a", "b"), [(0.1, None), (True, "x,y")]))
    b'a,b\\n0.1,\\n1,"x,y"\\n'
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_text(value) for value in row] for row in table.rows)
    return file.getvalue().encode()


def write_parquet(table: Table, path: Path) -> None:
    """Write a table as Parquet; a column of nothing but None is one of floats.

    Raises:
      InputError: the library is missing.
    """
    pyarrow, parquet = _parquet()
    kinds = {
        bool: pyarrow.bool_(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        str: pyarrow.string(),
    }
    columns = {}
    for name in table.columns:
        values = table.column(name)
        result = {type(value) for value in values if value is not None}
        kind = result.pop() if len(result) == 1 else float
        columns[name] = pyarrow.array(values, kinds[kind])
    parquet.write_table(pyarrow.table(columns), path)


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError(
            "Parquet needs pyarrow, which is not installed; install it with `pip install"
            " 'jattr[parquet]'`, or export"
            " csv"
        ) from error
    return pyarrow, parquet


def _text(value: Json) -> Json:
    if value is None:
        return ""
    return (
        int(value)
        if isinstance(value, bool)
        else repr(value)
        if isinstance(value, float)
        else value
    )
