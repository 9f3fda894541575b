"""Stores of sweeps that were never run: every restart is made up, so that the answers are known."""

import hashlib
import json

import numpy as np

from jattr.inversion.config import InvertConfig
from jattr.sweep.cells import Cell
from jattr.sweep.compute import CellResult
from jattr.sweep.sources import batches_of
from jattr.sweep.spec import Pictures, Setting, Spec, to_json
from jattr.sweep.store import create_or_open

FLOOR = 5.1e-6
RUN = {"code": "0" * 64, "jattr": "0.1.0", "jax": "0.10.2", "platform": "cpu"}


def made_spec(**changes):
    """Two candidates, "a" and "b".

    Four own images of each and four of the renderer; one setting.
    """
    values = {
        "candidates": ("a", "b"),
        "pictures": (Pictures(kind="own", count=4), Pictures(kind="renderer", count=4)),
        "settings": (Setting(name="first", config=InvertConfig(restarts=3)),),
    }
    return Spec(**(values | changes))


def cells_of(spec):
    """Return the cells of a spec as the plan has them.

    Generators are called as the spec calls them.
    """
    places = {
        name: name
        for pictures in spec.pictures
        for name in (*spec.candidates, *pictures.generators)
    }
    cells = []
    for batch in batches_of(spec, list(spec.candidates), places):
        digest = hashlib.sha256(
            json.dumps(batch.facts(places), sort_keys=True).encode()
        ).hexdigest()
        alone = spec.against == "maker" and batch.source == "own"
        for alteration in spec.alterations:
            for candidate in [batch.maker] if alone else spec.candidates:
                for setting in spec.settings:
                    for seed in spec.seeds:
                        cells.append(
                            Cell(
                                number=len(cells),
                                key=f"{len(cells):064x}",
                                batch=batch,
                                candidate=candidate,
                                batch_digest=digest,
                                setting=setting,
                                alteration=alteration,
                                seed=seed,
                            )
                        )
    return cells


def run(*points, status=None):
    """Return a restart from its trace of (evaluations, residual)."""
    best = points[-1][1]
    return points, status or ("arrived" if best <= 1.2 * FLOOR else "stalled")


def usual(cell, picture):
    """Return restarts: own images arrive at the first, others stay far away, the renderer's
    farther still.
    """
    if cell.batch.maker == cell.candidate:
        return [run((10.0, 5e-4), (20.0, FLOOR))]
    far = (2e-2 if cell.batch.maker else 5e-2) * (1 + 0.1 * picture)
    return [run((10.0, 2 * far), (30.0, far))] * 3


def result_of(cell, runs_of, seconds):
    """Return a cell's result from the restarts of each of its images."""
    restarts, pictures, traces = [], [], []
    for i in range(cell.batch.count):
        runs = runs_of(cell, cell.batch.first + i)
        for r, (points, status) in enumerate(runs):
            best = points[-1][1] if status != "failed" else None
            restarts.append((i, r, best, best, 10, status, float(points[-1][0]), -1))
            traces.append(np.array(points, np.float64))
        losses = [points[-1][1] if status != "failed" else np.inf for points, status in runs]
        proof = (1, 1, 1.0, 100.0, 0.5) if min(losses) <= 1.2 * FLOOR else (0, 0, None, None, None)
        residual = None if np.isinf(min(losses)) else float(min(losses))
        pictures.append((i, residual, int(np.argmin(losses)), *proof))
    arrays = {
        "z": np.zeros((len(restarts), 2), np.float32),
        "trace": np.concatenate([np.zeros((0, 2)), *traces]),
        "trace_rows": np.array([len(trace) for trace in traces], np.int32),
    }
    return CellResult(restarts=restarts, pictures=pictures, arrays=arrays, seconds=seconds)


def make_store(
    folder, spec, *, runs_of=usual, order=None, seconds=1.0, failed=(), left=(), digests=None
):
    """Write a store.

    Args:
      folder: where.
      spec: of the sweep.
      runs_of: from a cell and an image's number to its restarts, as `run` gives them.
      order: of the cells; None: the plan's.
      seconds: of each cell, and a little more for each.
      failed: numbers of cells that failed.
      left: numbers of cells that are not there.
      digests: of some generators, by name.
    """
    names = sorted(
        {*spec.candidates, *(name for pictures in spec.pictures for name in pictures.generators)}
    )
    meta = {
        "candidates": list(spec.candidates),
        "spec": to_json(spec),
        "generators": {name: name * 64 for name in names} | (digests or {}),
        "run": RUN,
    }
    cells = cells_of(spec)
    with create_or_open(folder, json.loads(json.dumps(meta))) as store:
        for number in order or range(len(cells)):
            if number in failed:
                store.add_failure(cells[number], "OutOfMemory: too large", seconds)
            elif number not in left:
                store.add(
                    cells[number], result_of(cells[number], runs_of, seconds * (1 + 0.01 * number))
                )
    return folder
