"""SQLite files as the stores of jattr keep them: opened, made durable, read and written in one way.

Write-ahead log and `synchronous = FULL`: what was committed survives the end of the process and of
the machine.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jattr.errors import JattrError

BUSY_SECONDS = 30.0  # how long a connection waits for another one to end its transaction
DURABLE = ("journal_mode = WAL", "synchronous = FULL")

Action: TypeAlias = Literal["open", "read", "write", "write again", "close"]
Row: TypeAlias = tuple[Any, ...]  # whatever the columns hold
# (what was tried, the file, what went wrong) -> the error to raise in its place
ErrorOf: TypeAlias = Callable[[Action, Path, Exception | str], JattrError]


class SQLiteFile:
    """One connection to a file, which threads may share: one statement or transaction at a time."""

    def __init__(
        self,
        path: Path,
        error_of: ErrorOf,
        *,
        mode: Literal["ro", "rw", "rwc"] = "rw",
        pragmas: Sequence[str] = DURABLE,
        fail_stop: bool = False,
    ) -> None:
        """Open a file.

        Args:
          path: the file.
          error_of: makes the store's own errors of SQLite's; here and in everything below.
          mode: of SQLite's URIs: read only, read and write, or also create.
          pragmas: settings of the connection.
          fail_stop: write no more after a transaction has failed, whatever the cause. The kernel
            may have dropped pages that it could not write and report the next fsync as good.
        """
        self.path, self._error_of = path, error_of
        self._fail_stop, self._failure = fail_stop, ""
        self._lock = threading.Lock()
        with self.errors("open"), contextlib.ExitStack() as stack:
            uri = f"{path.resolve().as_uri()}?mode={mode}"
            self.connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
            )
            stack.callback(self.connection.close)
            for pragma in pragmas:
                self.connection.execute(f"PRAGMA {pragma}")
            stack.pop_all()

    def close(self) -> None:
        """Close the connection, once nobody is within a transaction."""
        with self._lock, self.errors("close"):
            self.connection.close()

    def rows(
        self, query: str, values: Sequence[object] = (), *, action: Action = "read"
    ) -> list[Row]:
        """Return all rows that a query gives; `action` is what its errors are said to come from."""
        with self._lock, self.errors(action):
            return self.connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Let nobody else write within the block.

        When the block is left, all that it wrote is on the disk; if it fails, nothing of it is.
        """
        with self._lock, self.errors("write"):
            if self._fail_stop and self._failure:
                raise self._error_of("write again", self.path, self._failure)
            try:
                # IMMEDIATE: the lock on writing is taken before anything that the block reads
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException as error:
                self._failure = str(error) or type(error).__name__
                self._rollback()
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that is read within the block be of one moment."""
        with self.errors("read"):
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self._rollback()

    def create(
        self,
        tables: Iterable[str],
        meta: Iterable[tuple[object, object]],
        rows: Mapping[str, Iterable[Row]] | None = None,
    ) -> None:
        """Begin a store in one transaction, so that it is there as a whole or not at all.

        Args:
          tables: statements that make its tables, `meta` among them.
          meta: rows of `meta`, which say what the file is.
          rows: statement -> the rows that it inserts besides.
        """
        with self.transaction() as db:
            for statement in tables:
                db.execute(statement)
            db.executemany("INSERT INTO meta VALUES (?, ?)", meta)
            for statement, values in (rows or {}).items():
                db.executemany(statement, values)

    def empty_wal(self, *, action: Action) -> bool:
        """Copy the write-ahead log into the database and cut it to nothing; tell whether it was.

        It is not as long as another connection reads from it.
        """
        busy = self.rows("PRAGMA wal_checkpoint(TRUNCATE)", action=action)[0][0]
        return not busy

    @contextlib.contextmanager
    def errors(self, action: Action) -> Iterator[None]:
        """Turn SQLite's and the system's errors within the block into the store's own."""
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise self._error_of(action, self.path, error) from error

    def _rollback(self) -> None:
        # SQLite ends a transaction itself after some errors, and refuses to do it twice.
        with contextlib.suppress(sqlite3.Error):
            self.connection.execute("ROLLBACK")
