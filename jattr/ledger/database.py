"""The SQLite file of a log: entries with their hashes, and the checkpoints that were signed.

After any error in writing the connection must not be used to write again (`store.py` sees to it),
because the kernel may have dropped pages that it could not write and report the next fsync as good.
Opening copies the write-ahead log into the database and empties it, so that everything is written
and flushed once more.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jattr.errors import LedgerError
from jattr.ledger.durable import sync_folder
from jattr.ledger.encoding import HASH_BYTES
from jattr.sqlite import BUSY_SECONDS, Action, Row, SQLiteFile

FILE = "log.sqlite"
PROJECT, DATABASE_SCHEMA = "jattr log", "1"
ENTRIES_PER_READ = 256  # entries read at a time: at most 16 MB
TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, data BLOB NOT NULL)",
    (
        "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, time INTEGER NOT NULL, note BLOB NOT"
        " NULL, published BLOB)"
    ),
)


class Signed(NamedTuple):
    """A row of the table of checkpoints."""

    size: int
    time: int  # when it was signed by the log's clock, seconds since 1970
    note: bytes  # as the log signed it
    published: bytes | None  # with the cosignatures that it was published with


class Database:
    """Two connections to one file: one writes, the other reads what is committed."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        """Open a database that is there.

        Raises:
          LedgerError: it is missing, damaged or of something else, or cannot be written.
        """
        self._path = path
        self._writer: SQLiteFile | None = None
        if not path.is_file():
            raise LedgerError(
                f"{path} is missing; restore it from a copy: without it the log cannot go on"
            )
        with contextlib.ExitStack() as stack:
            if writable:
                self._writer = stack.enter_context(contextlib.closing(SQLiteFile(path, _error)))
                self._flush(self._writer)
            reader = SQLiteFile(path, _error, mode="ro", pragmas=())
            self._reader = stack.enter_context(contextlib.closing(reader))
            meta: dict[str, object] = dict(
                reader.rows("SELECT name, value FROM meta", action="open")
            )
            if (meta.get("project"), meta.get("schema")) != (PROJECT, DATABASE_SCHEMA):
                raise LedgerError(
                    f"{path} is not the database of a log of schema {DATABASE_SCHEMA}: {meta}"
                )
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close both connections."""
        self._stack.close()

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the entries `start` to `end` - 1.

        Raises:
          LedgerError: (while they come) one is missing or damaged.
        """
        for (entry,) in self._columns("data", start, end):
            yield entry

    def hashed_entries(self, start: int, end: int) -> Iterator[tuple[bytes, ...]]:
        """Yield (leaf hash, entry) of the entries `start` to `end` - 1; errors as of `entries`."""
        return self._columns("hash, data", start, end)

    def hashes(self, start: int, end: int) -> bytes:
        """Return the leaf hashes of entries, joined."""
        hashes = b"".join(leaf for (leaf,) in self._columns("hash", start, end))
        if len(hashes) != HASH_BYTES * (end - start):
            raise LedgerError(
                f"{self._path} is damaged between entries {start} and {end}; restore it from a copy"
            )
        return hashes

    def _columns(self, columns: str, start: int, end: int) -> Iterator[tuple[bytes, ...]]:
        query = f"SELECT number, {columns} FROM entries WHERE number >= ? AND number < ?"
        while start < end:
            # One query a chunk: a reader that takes its time holds no lock on the file.
            bounds = (start, min(end, start + ENTRIES_PER_READ))
            chunk = self._reader.rows(f"{query} ORDER BY number", bounds)
            for number, *values in chunk or [(-1,)]:
                if number != start or not all(isinstance(value, bytes) for value in values):
                    raise LedgerError(
                        f"{self._path} is damaged at entry {start}; restore it from a copy"
                    )
                yield tuple(values)
                start += 1

    def last_number(self) -> int:
        """Return the number of the last entry; -1 if there is none."""
        number = self._reader.rows("SELECT max(number) FROM entries")[0][0]
        return -1 if number is None else int(number)

    def checkpoints(self, first: int = 0) -> list[Signed]:
        """Return the signed checkpoints of at least `first` entries, by size."""
        query = "SELECT size, time, note, published FROM checkpoints WHERE size >= ? ORDER BY size"
        return [self._signed(row) for row in self._reader.rows(query, (first,))]

    def checkpoint(self, size: int) -> Signed | None:
        """Return the checkpoint that was signed over so many entries."""
        query = "SELECT size, time, note, published FROM checkpoints WHERE size = ?"
        return next((self._signed(row) for row in self._reader.rows(query, (size,))), None)

    def last_checkpoint(self) -> Signed | None:
        """Return the largest checkpoint that was signed."""
        query = "SELECT size, time, note, published FROM checkpoints ORDER BY size DESC LIMIT 1"
        return next((self._signed(row) for row in self._reader.rows(query)), None)

    def add_entries(self, first: int, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep (hash, entry) pairs under the numbers from `first`, durably."""
        numbered = ((number, *row) for number, row in enumerate(rows, first))
        with self._transaction() as db:
            db.executemany("INSERT INTO entries VALUES (?, ?, ?)", numbered)

    def add_checkpoint(self, signed: Signed) -> None:
        """Keep a checkpoint; when this returns it is on the disk."""
        with self._transaction() as db:
            db.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?)", signed)

    def set_published(self, size: int, note: bytes) -> None:
        """Keep with which cosignatures a checkpoint was published."""
        with self._transaction() as db:
            db.execute("UPDATE checkpoints SET published = ? WHERE size = ?", (note, size))

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        """Let everything that the block reads be of one moment."""
        return self._reader.snapshot()

    def _transaction(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        assert self._writer is not None
        return self._writer.transaction()

    def _signed(self, row: Row) -> Signed:
        size, time, note, published = row
        if (
            type(time) is not int
            or not isinstance(note, bytes)
            or not isinstance(published, bytes | None)
        ):
            raise LedgerError(
                f"{self._path} is damaged at the checkpoint of {size} entries; restore it from a"
                " copy"
            )
        return Signed(size, time, note, published)

    def _flush(self, writer: SQLiteFile) -> None:
        if not writer.empty_wal(action="open"):
            raise LedgerError(
                f"another program has been reading {self._path} for {BUSY_SECONDS:.0f} s; try again"
            )
        # the name of the write-ahead log, too: SQLite ignores when that fails
        with writer.errors("open"):
            sync_folder(self._path.parent)


def create_database(path: Path) -> None:
    """Make the database of an empty log where none is.

    Raises:
      LedgerError: it cannot be written.
    """

    def error_of(action: Action, path: Path, cause: Exception | str) -> LedgerError:
        return _error("make", path, cause)

    with contextlib.closing(SQLiteFile(path, error_of, mode="rwc")) as file:
        file.create(TABLES, [("project", PROJECT), ("schema", DATABASE_SCHEMA)])


def _error(action: str, path: Path, cause: Exception | str) -> LedgerError:
    return LedgerError(
        f"cannot {action} {path}: {cause}; make room, mend its permissions or restore it from a"
        " copy"
    )
