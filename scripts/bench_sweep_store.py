"""How long a sweep's store takes.

To write, to go on with, to export, at a number of rows that no test waits for.

    python scripts/bench_sweep_store.py --rows 100000

The results are made up; plan, keys, transactions and tables are the real ones. Prints one line of
JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from bench_accuracy import origin
from bench_json import add_json_option, write_json

from jattr.sweep.cells import make_plan
from jattr.sweep.compute import CellResult
from jattr.sweep.report.export import export
from jattr.sweep.run import resume_plan, run_plan, stored_plan
from jattr.sweep.spec import Pictures, Spec, grid
from jattr.sweep.store import open_for_reading

RESTARTS = 4


def made_up(count: int, size: int = 64) -> CellResult:
    """Return a result of so many images, four restarts each."""
    rows = [
        (i, r, 1e-3, 1e-3, 100, "stalled", 200.0, -1) for i in range(count) for r in range(RESTARTS)
    ]
    pictures = [(i, 1e-3, 0, 0, 0, None, None, None) for i in range(count)]
    points = np.tile([[100.0, 1e-2], [200.0, 1e-3]], (len(rows), 1))
    arrays = {
        "z": np.zeros((len(rows), size), np.float32),
        "trace": points,
        "trace_rows": np.full(len(rows), 2, np.int32),
    }
    return CellResult(restarts=rows, pictures=pictures, arrays=arrays, seconds=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="of restarts (default 100000)")
    add_json_option(parser)
    args = parser.parse_args()
    pictures = Pictures(kind="own", count=-(-args.rows // (RESTARTS * 4)))
    spec = Spec(
        candidates=("dcgan_a", "dcgan_b"),
        pictures=(pictures,),
        settings=grid({"restarts": [RESTARTS]}),
    )
    with tempfile.TemporaryDirectory() as folder:
        out, seconds = Path(folder) / "store", {}

        def timed(name: str, start: float) -> float:
            seconds[name] = round(time.perf_counter() - start, 2)
            return time.perf_counter()

        start = time.perf_counter()
        plan = make_plan(spec)
        start = timed("plan", start)
        run_plan(
            plan,
            out,
            executor=lambda plan, cells: ((cell, made_up(cell.batch.count)) for cell in cells),
        )
        start = timed("write", start)
        resumed = resume_plan(stored_plan(out), out)
        start = timed("resume", start)
        with open_for_reading(out) as store:
            rows = len(store.table("restarts").rows)
            start = time.perf_counter()
            export(store, Path(folder) / "report", formats=("csv",))
        timed("export", start)
        size = sum(path.stat().st_size for path in out.iterdir())
    facts = {
        "rows": rows,
        "cells": len(plan.cells),
        "computed_again": resumed.computed,
        "mib": round(size / 2**20, 1),
    }
    print(json.dumps({**facts, "seconds": seconds, **origin()}))
    write_json(args, [{**facts, "seconds": seconds}], count=rows)


if __name__ == "__main__":
    main()
