"""The store of a sweep: one SQLite file in a folder, every cell in one transaction, nothing ever
replaced.

What was acknowledged survives the end of the process and of the machine. One process writes at a
time, which holds a lock on a file beside it; any number read.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from jattr.bounded_json import read_json_text
from jattr.errors import InputError, OutputError
from jattr.sqlite import Action, SQLiteFile
from jattr.sweep.cells import Cell
from jattr.sweep.compute import CellResult
from jattr.typing import Json, JsonObject

FILE, LOCK = "store.sqlite", "lock"
PROJECT, DATABASE_SCHEMA = "jattr sweep", "1"
DONE, FAILED = "done", "failed"
CELL = (
    "number",
    "key",
    "source",
    "pictures_seed",
    "batch",
    "maker",
    "first",
    "pictures",
    "attack",
    "alteration",
    "candidate",
    "setting",
    "modelled",
    "seed",
    "status",
    "error",
    "timing_seconds",
)
RESTART = ("cell", "picture", "restart", "best", "final", "steps", "status", "evaluations", "label")
IMAGE = (
    "cell",
    "picture",
    "residual",
    "restart",
    "certified",
    "bit_exact",
    "identical",
    "excess",
    "p_value",
)
TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"CREATE TABLE cells ({', '.join(CELL)}, PRIMARY KEY (number), UNIQUE (key))",
    (
        f"CREATE TABLE restarts ({', '.join(RESTART)}, PRIMARY KEY (cell, picture, restart))"
        " WITHOUT ROWID"
    ),
    f"CREATE TABLE pictures ({', '.join(IMAGE)}, PRIMARY KEY (cell, picture)) WITHOUT ROWID",
    "CREATE TABLE arrays (cell, name, dtype, shape, data BLOB, PRIMARY KEY (cell, name))",
)
PLACEHOLDERS = {"restarts": ", ".join("?" * len(RESTART)), "pictures": ", ".join("?" * len(IMAGE))}


class Table(NamedTuple):
    """Rows of the store, in the order of the plan."""

    columns: tuple[str, ...]
    rows: list[tuple[Json, ...]]

    def column(self, name: str) -> list[Json]:
        """Return one column."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


class Store:
    """A store that is open; use it in a `with` block."""

    def __init__(self, folder: Path, file: SQLiteFile, lock: int | None) -> None:
        """Wrap a file; `create_or_open`, `open_for_writing` and `open_for_reading` make one."""
        self.folder, self.file, self._lock = folder, file, lock

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close the connection and give the lock back."""
        self.file.close()
        if self._lock is not None:
            os.close(self._lock)

    def meta(self) -> JsonObject:
        """Return what the store says of itself, by name."""
        rows = self.file.rows("SELECT name, value FROM meta")
        return {name: read_json_text(value) for name, value in rows}

    def statuses(self) -> dict[str, str]:
        """Return the status of every cell that is there, by key."""
        return dict(self.file.rows("SELECT key, status FROM cells"))

    def add(self, cell: Cell, result: CellResult) -> None:
        """Keep the result of a cell; when this returns it is on the disk.

        Raises:
          OutputError: it cannot be written; nothing of it is there then.
        """
        number = cell.number
        with self.file.transaction() as db:
            self._add_cell(db, cell, DONE, "", result.seconds)
            rows = [(number, *row) for row in result.restarts]
            db.executemany(f"INSERT INTO restarts VALUES ({PLACEHOLDERS['restarts']})", rows)
            rows = [(number, *row) for row in result.pictures]
            db.executemany(f"INSERT INTO pictures VALUES ({PLACEHOLDERS['pictures']})", rows)
            for name, array in result.arrays.items():
                little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                facts = number, name, array.dtype.name, json.dumps(array.shape), little.tobytes()
                db.execute("INSERT INTO arrays VALUES (?, ?, ?, ?, ?)", facts)

    def add_failure(self, cell: Cell, error: str, seconds: float) -> None:
        """Keep that a cell failed, and why."""
        with self.file.transaction() as db:
            self._add_cell(db, cell, FAILED, error, seconds)

    def forget_failures(self) -> int:
        """Take away the cells that failed, so that they are tried again; return how many."""
        with self.file.transaction() as db:
            return int(db.execute("DELETE FROM cells WHERE status = ?", (FAILED,)).rowcount)

    def table(self, name: str) -> Table:
        """Return the whole table `cells`, `restarts` or `pictures`, ordered by its key."""
        columns = {"cells": CELL, "restarts": RESTART, "pictures": IMAGE}[name]
        order = {
            "cells": "number",
            "restarts": "cell, picture, restart",
            "pictures": "cell, picture",
        }[name]
        return Table(columns, self.file.rows(f"SELECT * FROM {name} ORDER BY {order}"))

    def array(self, cell: int, name: str) -> np.ndarray:
        """Return an array of a cell.

        Raises:
          InputError: there is none.
        """
        query = "SELECT dtype, shape, data FROM arrays WHERE cell = ? AND name = ?"
        rows = self.file.rows(query, (cell, name))
        if not rows:
            raise InputError(f"{self.folder} has no array {name!r} of cell {cell}")
        dtype, shape, data = rows[0]
        array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
        return array.reshape(read_json_text(shape)).astype(np.dtype(dtype))

    def _add_cell(
        self, db: sqlite3.Connection, cell: Cell, status: str, error: str, seconds: float
    ) -> None:
        batch = cell.batch
        values = (
            cell.number,
            cell.key,
            batch.source,
            None if batch.files else batch.seed,
            cell.batch_digest,
            batch.maker,
            batch.first,
            batch.count,
            batch.attack,
            cell.alteration,
            cell.candidate,
            cell.setting.name,
            int(cell.setting.modelled),
            cell.seed,
            status,
            error,
            seconds,
        )
        db.execute(f"INSERT INTO cells VALUES ({', '.join('?' * len(values))})", values)


def create_or_open(folder: str | os.PathLike[str], meta: Mapping[str, Json]) -> Store:
    """Return the store in a folder for writing.

    One that says `meta` of itself is begun where there is none.

    Raises:
      InputError: there is a store of something else there, or another process writes to it.
      OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise OutputError(
            f"cannot write {str(folder)!r}: {error.strerror or error}; choose another place"
        ) from error
    if FILE in entries:
        _check_own(folder)
    elif entries - {LOCK}:
        raise InputError(
            f"{folder} is a folder of something else; choose another place, or the folder of a"
            " sweep"
        )
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_opened(folder))
        if not store.file.rows("SELECT 1 FROM sqlite_master"):
            facts = {"project": PROJECT, "schema": DATABASE_SCHEMA, **meta}
            store.file.create(TABLES, [(name, _json(value)) for name, value in facts.items()])
        _check(store)
        stack.pop_all()
    return store


def open_for_writing(folder: str | os.PathLike[str]) -> Store:
    """Return the store in a folder, to go on with it.

    Raises:
      InputError: there is none, it is of something else, or another process writes to it.
    """
    _there(Path(folder))
    return create_or_open(folder, {})


def open_for_reading(folder: str | os.PathLike[str]) -> Store:
    """Return the store in a folder, to look at it.

    Raises:
      InputError: there is none, or it is of something else.
    """
    folder = Path(folder)
    _there(folder)
    with contextlib.ExitStack() as stack:
        file = SQLiteFile(folder / FILE, _error, mode="ro", pragmas=())
        store = stack.enter_context(Store(folder, file, None))
        _check(store)
        stack.pop_all()
    return store


def _there(folder: Path) -> None:
    if not (folder / FILE).is_file():
        raise InputError(
            f"{folder} has no {FILE}, so it is no folder of a sweep; make one with `jattr sweep"
            " run`"
        )


def _opened(folder: Path) -> Store:
    """Return the store with its lock, whatever it holds."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(
            f"cannot write in {str(folder)!r}: {error.strerror or error}; choose another place"
        ) from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another process writes to {folder}; wait for it, or choose another place"
            ) from error
        store = Store(folder, SQLiteFile(folder / FILE, _error, mode="rwc"), lock)
        stack.pop_all()
    return store


def _check_own(folder: Path) -> None:
    """Check that a file which is there is a store, or an empty one that was never begun, before
    anything of it is changed.

    Raises:
      InputError: it is of something else.
    """
    with Store(folder, SQLiteFile(folder / FILE, _error, mode="ro", pragmas=()), None) as store:
        if store.file.rows("SELECT 1 FROM sqlite_master"):
            _check(store)


def _check(store: Store) -> None:
    """Raise an InputError if the store is of another project or schema."""
    try:
        meta = store.meta()
    except ValueError as error:
        raise InputError(
            f"{store.folder / FILE} is no store of a sweep: {error}; choose another place"
        ) from error
    if meta.get("project") != PROJECT:
        raise InputError(
            f"{store.folder / FILE} is of the project {meta.get('project')!r}, not {PROJECT!r}"
        )
    if meta.get("schema") != DATABASE_SCHEMA:
        raise InputError(
            f"{store.folder / FILE} has schema {meta.get('schema')!r}, this jattr reads"
            f" {DATABASE_SCHEMA!r}; use the jattr that wrote it"
        )


def _error(action: Action, path: Path, cause: Exception | str) -> InputError:
    if action == "open":
        kind = OutputError if isinstance(cause, sqlite3.OperationalError) else InputError
        return kind(f"cannot use {path}: {cause}; mend its permissions or choose another place")
    if action == "write":
        return OutputError(
            f"cannot write to {path}: {cause}; make room or set its permissions right, then"
            " resume: what was done is kept"
        )
    return InputError(f"cannot read {path}: {cause}")


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def counts(store: Store, cells: int) -> dict[str, int]:
    """Return how many of the plan's cells are done, failed and left."""
    statuses = list(store.statuses().values())
    return {
        "cells": cells,
        DONE: statuses.count(DONE),
        FAILED: statuses.count(FAILED),
        "left": cells - len(statuses),
    }
