"""Running, stopping and resuming sweeps of tiny generators."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from compilations import counted_compilations

from jattr.errors import InputError, OutputError
from jattr.sweep import run, store
from jattr.sweep.cells import make_plan
from jattr.sweep.compute import CellResult, _altered
from jattr.sweep.run import Failure, outcome_of, resume_sweep, run_sweep
from jattr.sweep.spec import Pictures, Spec, grid

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spec(tiny_folders):
    return Spec(
        candidates=(str(tiny_folders["tiny"]), str(tiny_folders["tiny_b"])),
        pictures=(Pictures(kind="own", count=3),),
        settings=grid({"restarts": [2], "pool": [64]}),
    )


def contents(folder):
    with store.open_for_reading(folder) as opened:
        found = {}
        for name in ("cells", "restarts", "pictures"):
            table = opened.table(name)
            kept = [i for i, column in enumerate(table.columns) if not column.startswith("timing")]
            found[name] = [tuple(row[i] for i in kept) for row in table.rows]
        numbers = opened.table("cells").column("number")
        return found, [
            opened.array(n, a).tobytes() for n in numbers for a in ("z", "trace", "trace_rows")
        ]


def test_a_sweep_finds_and_certifies_own_images(spec, tmp_path):
    ran = run_sweep(spec, tmp_path / "out")
    assert ran.counts == {"cells": 4, "done": 4, "failed": 0, "left": 0}
    with store.open_for_reading(tmp_path / "out") as opened:
        cells, pictures, restarts = (
            opened.table(name) for name in ("cells", "pictures", "restarts")
        )
        own = [
            n
            for n, maker, name in zip(
                *map(cells.column, ("number", "maker", "candidate")), strict=True
            )
            if maker == name
        ]
        certified = {n: [] for n in cells.column("number")}
        for cell, holds in zip(pictures.column("cell"), pictures.column("certified"), strict=True):
            certified[cell].append(holds)
        assert all(certified[n] == [1, 1, 1] for n in own)
        assert all(certified[n] == [0, 0, 0] for n in certified if n not in own)
        z, lengths = opened.array(own[0], "z"), opened.array(own[0], "trace_rows")
        rows = [row for row in restarts.rows if row[0] == own[0]]
        assert len(z) == len(lengths) == len(rows)
        assert opened.array(own[0], "trace").shape == (lengths.sum(), 2)
        assert all(row[3] < 1e-5 and row[6] == "arrived" and row[7] > 0 for row in rows)


def test_a_stopped_sweep_goes_on_and_ends_as_if_it_had_not_been(spec, tmp_path):
    run_sweep(spec, tmp_path / "whole")

    def stopping(plan, cells):
        for number, cell in enumerate(cells):
            if number == 2:
                raise KeyboardInterrupt
            yield cell, outcome_of(plan, cell)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path / "out", executor=stopping)
    with store.open_for_reading(tmp_path / "out") as opened:
        assert len(opened.statuses()) == 2
    kept = []
    assert (
        resume_sweep(tmp_path / "out", progress=lambda _, count: kept.append(count)).computed == 2
    )
    assert kept == [3, 4]  # with those of the run before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert run_sweep(spec, tmp_path / "out").computed == 0


def test_results_do_not_depend_on_the_order_of_cells(spec, tmp_path):
    def backwards(plan, cells):
        return ((cell, outcome_of(plan, cell)) for cell in reversed(cells))

    run_sweep(spec, tmp_path / "a")
    run_sweep(spec, tmp_path / "b", executor=backwards)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.slow
def test_cells_of_one_shape_share_their_programs(spec, tmp_path):
    """Whatever tests ran before, the first cells must compile; programs have a few sizes."""
    jax.clear_caches()
    settings = grid({"restarts": [2], "pool": [64], "steps": [37]})
    counts = []

    def counting(plan, cells):
        for cell in cells:
            with counted_compilations() as compiled:
                outcome = outcome_of(plan, cell)
            yield cell, outcome
            counts.append(len(compiled))

    pictures = (Pictures(kind="own", count=6),)
    two = Spec(candidates=spec.candidates, pictures=pictures, settings=settings, block=3)
    assert run_sweep(two, tmp_path / "out", executor=counting).counts["done"] == 8
    assert counts[0] > 0
    assert counts[4:] == [0] * 4  # images of another maker, of the same architecture


def test_a_failed_cell_is_a_row_and_is_tried_again_when_asked(spec, tmp_path):
    def failing(plan, cells):
        return (
            (cell, Failure("no luck", 0.1) if cell.number == 1 else outcome_of(plan, cell))
            for cell in cells
        )

    assert run_sweep(spec, tmp_path / "out", executor=failing).counts["failed"] == 1
    with store.open_for_reading(tmp_path / "out") as opened:
        assert [opened.table("cells").column(name)[1] for name in ("status", "error")] == [
            "failed",
            "no luck",
        ]
    assert resume_sweep(tmp_path / "out").computed == 0
    assert resume_sweep(tmp_path / "out", again=True).counts == {
        "cells": 4,
        "done": 4,
        "failed": 0,
        "left": 0,
    }


@pytest.mark.slow
def test_an_error_of_one_cell_does_not_end_the_others(tiny_folders, tmp_path):
    spec = Spec(
        candidates=(str(tiny_folders["tiny"]),),
        pictures=(Pictures(kind="renderer", count=1), Pictures(kind="own", count=2)),
        settings=grid({"restarts": [1], "pool": [64]}),
    )
    assert run_sweep(spec, tmp_path / "out").counts == {
        "cells": 2,
        "done": 1,
        "failed": 1,
        "left": 0,
    }
    with store.open_for_reading(tmp_path / "out") as opened:
        assert "the renderer makes" in opened.table("cells").column("error")[0]


def test_two_writers_are_one_too_many(spec, tmp_path):
    run_sweep(spec, tmp_path / "out")
    with store.open_for_writing(tmp_path / "out"):
        with pytest.raises(InputError, match="another process writes to"):
            run_sweep(spec, tmp_path / "out")
        with store.open_for_reading(tmp_path / "out") as opened:
            assert len(opened.statuses()) == 4


def test_a_store_of_something_else_is_left_alone(spec, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("dear")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / store.FILE).write_text("no database, but more than a page of text " * 100)
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / store.FILE) as db:
        db.execute("CREATE TABLE meta (name, value)")
        db.execute("INSERT INTO meta VALUES ('project', '\"stamps\"')")
    db.close()
    for name, words in (
        ("folder", "of something else"),
        ("text", "not a database"),
        ("other", "project 'stamps'"),
    ):
        before = sorted(path.name for path in (tmp_path / name).iterdir())
        with pytest.raises(InputError, match=words):
            run_sweep(spec, tmp_path / name)
        after = sorted(path.name for path in (tmp_path / name).iterdir() if path.name != store.LOCK)
        assert after == before


def test_another_schema_spec_generator_or_code_is_refused(
    spec, tiny_folders, tmp_path, monkeypatch
):
    copy = tmp_path / "mine"
    shutil.copytree(tiny_folders["tiny"], copy)
    mine = Spec(candidates=(str(copy),), pictures=spec.pictures, settings=spec.settings)
    run_sweep(mine, tmp_path / "out")
    with pytest.raises(InputError, match="the sweep of another spec"):
        run_sweep(spec, tmp_path / "out")
    monkeypatch.setattr(
        run, "run_facts", lambda: {"code": "0" * 64, "jattr": "0", "jax": "0", "platform": "cpu"}
    )
    with pytest.raises(InputError, match="was begun with code"):
        resume_sweep(tmp_path / "out")
    monkeypatch.undo()
    shutil.rmtree(copy)
    from jattr.converters.layered import convert_layered
    from tiny_generator import tiny_card_data, tiny_weights

    from jattr.generators.card import parse_card
    from jattr.generators.store import save_generator

    card = parse_card(tiny_card_data(name="tiny"))
    save_generator(copy, card, convert_layered(card, tiny_weights(seed=9)))
    with pytest.raises(InputError, match="its digest differs"):
        resume_sweep(tmp_path / "out")
    with sqlite3.connect(tmp_path / "out" / store.FILE) as db:
        db.execute("UPDATE meta SET value = '\"2\"' WHERE name = 'schema'")
    db.close()
    with pytest.raises(InputError, match="has schema '2'"):
        resume_sweep(tmp_path / "out")


def test_a_great_number_of_cells_needs_a_yes(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "MAX_CELLS", 3)
    with pytest.raises(InputError, match="4 cells, more than 3; pass --yes"):
        run_sweep(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run_sweep(spec, tmp_path / "out", yes=True).computed == 4


def test_a_full_disk_is_said_and_what_was_done_is_kept(spec, tmp_path):
    plan = make_plan(spec)
    small = CellResult(restarts=[], pictures=[], arrays={}, seconds=0.0)
    large = CellResult(restarts=[], pictures=[], arrays={"z": np.zeros(1 << 20)}, seconds=0.0)
    with store.create_or_open(tmp_path / "out", {"spec": {}}) as opened:
        opened.add(plan.cells[0], small)
        pages = opened.file.connection.execute("PRAGMA page_count").fetchone()[0]
        # SQLite's own word for a full disk
        opened.file.connection.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(OutputError, match="disk is full; make room"):
            opened.add(plan.cells[1], large)
        opened.add(plan.cells[2], small)
    with store.open_for_reading(tmp_path / "out") as opened:
        assert opened.table("cells").column("number") == [0, 2]
        assert opened.table("restarts").rows == []


def test_a_store_that_cannot_be_written_is_said(spec, tmp_path):
    run_sweep(spec, tmp_path / "out")
    with store.open_for_writing(tmp_path / "out") as opened:
        # what a file without permission does; the tests may run as root
        opened.file.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(OutputError, match=r"cannot write to .* readonly database"):
            opened.forget_failures()
    with pytest.raises(OutputError, match="cannot write"):
        run_sweep(spec, tmp_path / "out" / store.FILE / "below")


def test_the_same_cell_is_never_replaced(spec, tmp_path):
    plan = make_plan(spec)
    small = CellResult(restarts=[], pictures=[], arrays={}, seconds=1.0)
    with store.create_or_open(tmp_path / "out", {"spec": {}}) as opened:
        opened.add(plan.cells[0], small)
        with pytest.raises(OutputError, match="UNIQUE"):
            opened.add(plan.cells[0], small)
        assert len(opened.statuses()) == 1


@pytest.mark.slow
def test_kills_lose_and_double_nothing(tiny_folders):
    script = str(ROOT / "scripts" / "kill_sweep.py")
    folders = [str(tiny_folders[name]) for name in ("tiny", "tiny_b")]
    options = [
        *("--kills", "5", "--images", "4", "--seeds", "4", "--longest", "3"),
        "--candidates",
        *folders,
    ]
    done = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["kills"], found["lost"], found["duplicated"], found["identical"]) == (
        5,
        0,
        0,
        True,
    )


def test_batches_have_noise_of_their_own(tiny_folders):
    spec = Spec(
        candidates=(str(tiny_folders["tiny"]), str(tiny_folders["tiny_b"])),
        pictures=(Pictures(kind="own", count=4),),
        settings=grid({"restarts": [1], "pool": [64]}),
        alterations=("noise:0.05",),
        block=2,
    )
    plan, grey = make_plan(spec), np.full((2, 8, 8, 3), 128, np.uint8)
    seen = {}
    for cell in plan.cells:
        noisy = _altered(grey, cell, plan.candidates[cell.candidate]).pixels
        assert (noisy[0] != noisy[1]).any()
        # of every candidate
        assert seen.setdefault(cell.batch_digest, noisy.tobytes()) == noisy.tobytes()
    assert len(set(seen.values())) == len(seen) > 2
