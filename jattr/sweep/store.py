"""The store of a sweep: one SQLite file in a folder, every cell in one transaction, nothing ever
replaced.

Write-ahead log and `synchronous = FULL`: what was acknowledged survives the end of the process and
of the machine. One process writes at a time, which holds a lock on a file beside it; any number
read.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from jattr.bounded_json import read_json_text
from jattr.errors import InputError, OutputError
from jattr.sweep.cells import Cell
from jattr.sweep.compute import CellResult

FILE, LOCK = "store.sqlite", "lock"
PROJECT, SCHEMA = "jattr sweep", "1"
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
TABLES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cells ({", ".join(CELL)}, PRIMARY KEY (number), UNIQUE (key));
CREATE TABLE restarts ({", ".join(RESTART)}, PRIMARY KEY (cell, picture, restart)) WITHOUT ROWID;
CREATE TABLE pictures ({", ".join(IMAGE)}, PRIMARY KEY (cell, picture)) WITHOUT ROWID;
CREATE TABLE arrays (cell, name, dtype, shape, data BLOB, PRIMARY KEY (cell, name));
"""
PLACES = {"restarts": ", ".join("?" * len(RESTART)), "pictures": ", ".join("?" * len(IMAGE))}


class Table(NamedTuple):
    """Rows of the store, in the order of the plan."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def column(self, name: str) -> list[Any]:
        """Return one column."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


class Store:
    """A store that is open; use it in a `with` block."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: int | None):
        """Wrap a connection; `create`, `open_for_writing` and `open_for_reading` make one."""
        self.folder, self._db, self._lock = folder, connection, lock

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close the connection and give the lock back."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    def meta(self) -> dict[str, Any]:
        """Return what the store says of itself, by name."""
        with _reading(self.folder):
            return {
                name: read_json_text(value)
                for name, value in self._db.execute("SELECT name, value FROM meta")
            }

    def known(self) -> dict[str, str]:
        """Return the status of every cell that is there, by key."""
        with _reading(self.folder):
            return dict(self._db.execute("SELECT key, status FROM cells"))

    def add(self, cell: Cell, result: CellResult) -> None:
        """Keep the result of a cell; when this returns it is on the disk.

        Raises:
          OutputError: it cannot be written; nothing of it is there then.
        """
        number = cell.number
        with self._transaction() as db:
            self._add_cell(db, cell, DONE, "", result.seconds)
            rows = [(number, *row) for row in result.restarts]
            db.executemany(f"INSERT INTO restarts VALUES ({PLACES['restarts']})", rows)
            rows = [(number, *row) for row in result.pictures]
            db.executemany(f"INSERT INTO pictures VALUES ({PLACES['pictures']})", rows)
            for name, array in result.arrays.items():
                little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                facts = number, name, array.dtype.name, json.dumps(array.shape), little.tobytes()
                db.execute("INSERT INTO arrays VALUES (?, ?, ?, ?, ?)", facts)

    def add_failure(self, cell: Cell, error: str, seconds: float) -> None:
        """Keep that a cell failed, and why."""
        with self._transaction() as db:
            self._add_cell(db, cell, FAILED, error, seconds)

    def forget_failures(self) -> int:
        """Take away the cells that failed, so that they are tried again; return how many."""
        with self._transaction() as db:
            return int(db.execute("DELETE FROM cells WHERE status = ?", (FAILED,)).rowcount)

    def table(self, name: str) -> Table:
        """Return the whole table `cells`, `restarts` or `images`, ordered by its key."""
        columns = {"cells": CELL, "restarts": RESTART, "pictures": IMAGE}[name]
        order = {
            "cells": "number",
            "restarts": "cell, picture, restart",
            "pictures": "cell, picture",
        }[name]
        with _reading(self.folder):
            return Table(
                columns, self._db.execute(f"SELECT * FROM {name} ORDER BY {order}").fetchall()
            )

    def array(self, cell: int, name: str) -> np.ndarray:
        """Return an array of a cell.

        Raises:
          InputError: there is none.
        """
        with _reading(self.folder):
            query = "SELECT dtype, shape, data FROM arrays WHERE cell = ? AND name = ?"
            row = self._db.execute(query, (cell, name)).fetchone()
            if row is None:
                raise InputError(f"{self.folder} has no array {name!r} of cell {cell}")
            dtype = np.dtype(row[0]).newbyteorder("<")
            return (
                np.frombuffer(row[2], dtype)
                .reshape(read_json_text(row[1]))
                .astype(np.dtype(row[0]))
            )

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

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise OutputError(
                f"cannot write to {self.folder / FILE}: {error}; make room or set its permissions"
                " right, then resume:"
                " what was done is kept"
            ) from error


def create_or_open(folder: str | os.PathLike[str], meta: Mapping[str, Any]) -> Store:
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
    if entries and not entries & {FILE, LOCK}:
        raise InputError(
            f"{folder} is a folder of something else; choose another place, or the folder of a"
            " sweep"
        )
    store = _opened(folder)
    try:
        if not store._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            facts = {"project": PROJECT, "schema": SCHEMA, **meta}
            with store._transaction() as db:
                for statement in TABLES.strip().split(";\n"):
                    db.execute(statement.rstrip(";"))
                db.executemany(
                    "INSERT INTO meta VALUES (?, ?)", [(n, _json(v)) for n, v in facts.items()]
                )
        _check(store)
        return store
    except BaseException as error:
        store.__exit__()
        if isinstance(error, sqlite3.Error):
            raise InputError(
                f"{folder / FILE} is no store of a sweep: {error}; choose another place"
            ) from error
        raise


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
    try:
        path = (folder / FILE).resolve().as_uri()
        store = Store(
            folder,
            sqlite3.connect(f"{path}?mode=ro", uri=True, isolation_level=None, timeout=30),
            None,
        )
        _check(store)
        return store
    except sqlite3.Error as error:
        raise InputError(f"{folder / FILE} is no store of a sweep: {error}") from error


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
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        connection = sqlite3.connect(folder / FILE, isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return Store(folder, connection, lock)
    except BlockingIOError as error:
        os.close(lock)
        raise InputError(
            f"another process writes to {folder}; wait for it, or choose another place"
        ) from error
    except sqlite3.DatabaseError as error:
        os.close(lock)
        kind = OutputError if isinstance(error, sqlite3.OperationalError) else InputError
        raise kind(
            f"cannot use {folder / FILE}: {error}; mend its permissions or choose another place"
        ) from error


def _check(store: Store) -> None:
    """Raise an InputError if the store is of another project or schema."""
    try:
        meta = store.meta()
    except (sqlite3.Error, ValueError, InputError) as error:
        raise InputError(
            f"{store.folder / FILE} is no store of a sweep: {error}; choose another place"
        ) from error
    if meta.get("project") != PROJECT:
        raise InputError(
            f"{store.folder / FILE} is of the project {meta.get('project')!r}, not {PROJECT!r}"
        )
    if meta.get("schema") != SCHEMA:
        raise InputError(
            f"{store.folder / FILE} has schema {meta.get('schema')!r}, this jattr reads"
            f" {SCHEMA!r}; use the jattr that"
            " wrote it"
        )


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(f"cannot read {folder / FILE}: {error}") from error


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def counts(store: Store, cells: int) -> dict[str, int]:
    """Return how many of the plan's cells are done, failed and left."""
    known = list(store.known().values())
    return {
        "cells": cells,
        DONE: known.count(DONE),
        FAILED: known.count(FAILED),
        "left": cells - len(known),
    }
