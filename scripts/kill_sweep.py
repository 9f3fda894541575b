"""A sweep that is killed again and again (SIGKILL, at random moments) against one that is not.

    python scripts/kill_sweep.py --kills 100
    python scripts/kill_sweep.py --kills 10 --candidates DIR DIR --images 4

Counts what must be 0: cells that were acknowledged and are not in the store (lost), cells computed
again after they were acknowledged (duplicated), tables that differ from those of the uninterrupted
run. Prints one line of JSON; exit code 1 if anything is not 0.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_json import add_json_option, write_json

from jattr.runtime import enable_compilation_cache
from jattr.sweep.cells import Cell, Plan
from jattr.sweep.run import Outcome, outcome_of, run_sweep
from jattr.sweep.spec import Pictures, Spec, grid
from jattr.sweep.store import open_for_reading

TIMING = "timing"  # what begins with this may differ


def child(spec: Spec, out: Path, log: Path) -> int:
    """Begin a process that runs the sweep and logs every cell that it begins, and every one that
    is kept.
    """
    number = os.fork()  # no thread runs yet: JAX starts its own with the first computation
    if number:
        return number
    line = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def logged(plan: Plan, cells: Sequence[Cell]) -> Iterable[Outcome]:
        for cell in cells:
            os.write(line, f"begin {cell.key}\n".encode())
            yield cell, outcome_of(plan, cell)

    enable_compilation_cache()
    run_sweep(
        spec,
        out,
        executor=logged,
        progress=lambda cell, _: os.write(line, f"kept {cell.key}\n".encode()),
    )
    os._exit(0)


def log_of(log: Path) -> list[tuple[str, str]]:
    """Return (what, key) of every line."""
    words = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(what, key) for what, key in words]


def tables_of(out: Path) -> dict[str, object]:
    """Return everything in a store but times."""
    with open_for_reading(out) as store:
        result: dict[str, object] = {}
        for name in ("cells", "restarts", "pictures"):
            table = store.table(name)
            kept = [i for i, column in enumerate(table.columns) if not column.startswith(TIMING)]
            result[name] = [tuple(row[i] for i in kept) for row in table.rows]
        numbers = store.table("cells").column("number")
        result["arrays"] = [
            store.array(n, a).tobytes() for n in numbers for a in ("z", "trace", "trace_rows")
        ]
        return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--candidates", nargs="+", default=["dcgan_a", "dcgan_b"], metavar="GEN")
    parser.add_argument(
        "--images", "--pictures", type=int, default=8, help="of each candidate (default 8)"
    )
    parser.add_argument("--seeds", type=int, default=6, help="repeats of the search (default 6)")
    parser.add_argument(
        "--longest",
        type=float,
        default=8.0,
        help="seconds that a process lives at most (default 8)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    add_json_option(parser)
    args = parser.parse_args()
    settings = grid({"optimiser": ["auto", "lbfgs"], "restarts": [1, 2], "pool": [128]})
    spec = Spec(
        candidates=tuple(args.candidates),
        pictures=(Pictures(kind="own", count=args.images),),
        settings=settings,
        seeds=tuple(range(args.seeds)),
        block=4,
    )
    rng, lost, killed, moments = random.Random(args.seed), 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        out, log, whole = Path(folder) / "killed", Path(folder) / "log", Path(folder) / "whole"
        start = time.perf_counter()
        os.waitpid(child(spec, whole, Path(folder) / "other log"), 0)
        uninterrupted = time.perf_counter() - start
        while killed < args.kills:
            number, life = child(spec, out, log), rng.uniform(0.0, args.longest)
            moments.append(life)
            time.sleep(life)
            os.kill(number, signal.SIGKILL)
            ended = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
            killed += ended == -signal.SIGKILL
            kept = {key for what, key in log_of(log) if what == "kept"}
            if kept:
                with open_for_reading(out) as store:
                    lost += len(kept - set(store.statuses()))
            if ended == 0:  # it was done before: begin another one
                os.rename(out, Path(folder) / f"done {len(moments)}")
                os.rename(log, Path(folder) / f"log {len(moments)}")
        os.waitpid(child(spec, out, log), 0)
        seen: Counter[str] = Counter()
        duplicated = 0
        for what, key in log_of(log):
            duplicated += what == "begin" and seen[key] > 0
            seen[key] += what == "kept"
        with open_for_reading(whole) as store:
            cells = len(store.statuses())
        same = tables_of(whole) == tables_of(out)
    result = {
        "kills": killed,
        "cells": cells,
        "lost": lost,
        "duplicated": duplicated,
        "identical": same,
        "uninterrupted_seconds": round(uninterrupted, 1),
        "median_life": round(sorted(moments)[len(moments) // 2], 2),
    }
    print(json.dumps(result))
    write_json(args, [result], count=killed)
    sys.exit(0 if same and not lost and not duplicated else 1)


if __name__ == "__main__":
    main()
