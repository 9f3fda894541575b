"""What commitments hide: salts and values, in one file that never leaves its owner.

A leaf shows a commitment; only who has the salt and the value can open it. They are durable before
the leaf is, because a commitment without its salt stays shut for ever. Deleting them is how a use
is erased: the log and its proofs stay.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from jattr.errors import LedgerError, OutputError
from jattr.ledger.commitments import Opening
from jattr.ledger.durable import sync_folder

FILE = "private.sqlite"
PROJECT = "jattr ledger, private"
TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE openings (commitment BLOB PRIMARY KEY, field TEXT NOT NULL, salt BLOB NOT NULL,"
    " value BLOB NOT NULL)"
    " WITHOUT ROWID",
    "CREATE TABLE pictures (commitment BLOB PRIMARY KEY, png BLOB NOT NULL) WITHOUT ROWID",
)


class PrivateStore:
    """Openings by their commitments, and the images of uses by the commitments to their pixels.

    Threads may share one. After an error in writing it is not written to again, whatever the cause:
    the kernel may have dropped what it could not write, and report the next flush as good.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection):
        """Wrap a connection; `create` and `open` make one."""
        self.path, self._db, self._lock, self._broken = path, connection, threading.Lock(), ""

    @classmethod
    def create(cls, folder: str | os.PathLike[str]) -> Self:
        """Begin a store in the folder of a log, readable by its owner only.

        Raises:
          OutputError: it is there already, or cannot be written.
        """
        path = Path(folder) / FILE
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError as error:
            raise OutputError(
                f"{path} exists already; it holds what a log's commitments hide: keep it"
            ) from error
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}; choose another place"
            ) from error
        try:
            with contextlib.ExitStack() as stack:
                store = cls(path, stack.enter_context(contextlib.closing(_connect(path))))
                with store._writing() as db:
                    for statement in TABLES:
                        db.execute(statement)
                    db.execute("INSERT INTO meta VALUES ('project', ?)", (PROJECT,))
                sync_folder(path.parent)
                stack.pop_all()
        except (OSError, sqlite3.Error, OutputError) as error:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            raise OutputError(
                f"cannot write {path}: {error}; make room or choose another place"
            ) from error
        return store

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Open the store of a log.

        Raises:
          LedgerError: it is lost, or is something else.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise LedgerError(
                f"{path} is missing: without it nothing of this log can be opened or shown. Put it"
                " back from a copy;"
                " if there is none, the entries count as unopened for ever, and a new log is the"
                " way on"
            )
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(contextlib.closing(_connect(path)))
                found = connection.execute(
                    "SELECT value FROM meta WHERE name = 'project'"
                ).fetchone()
            except sqlite3.Error as error:
                raise LedgerError(
                    f"{path} is no private store of a log: {error}; put it back from a copy"
                ) from error
            if found != (PROJECT,):
                raise LedgerError(f"{path} is no private store of a log; put it back from a copy")
            stack.pop_all()
        return cls(path, connection)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def put(self, openings: Iterable[Opening], images: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Keep openings, and PNGs by the commitments to their pixels; on return they are on the
        disk.
        """
        rows, kept = [(o.commitment, o.field, o.salt, o.value) for o in openings], list(images)
        with self._writing() as db:
            db.executemany("INSERT OR IGNORE INTO openings VALUES (?, ?, ?, ?)", rows)
            db.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?)", kept)

    def opening(self, commitment: bytes) -> Opening | None:
        """Return what opens a commitment; None if it was erased or was never here."""
        with self._reading():
            query = "SELECT field, salt, value FROM openings WHERE commitment = ?"
            row = self._db.execute(query, (commitment,)).fetchone()
        if row is None:
            return None
        with contextlib.suppress(LedgerError, TypeError, AttributeError):
            opening = Opening(*row)
            if opening.commitment == commitment:
                return opening
        raise LedgerError(
            f"{self.path} is damaged: an opening is not that of its commitment; put a copy back"
        )

    def image(self, commitment: bytes) -> bytes | None:
        """Return the PNG whose pixels are committed to, where it was kept."""
        with self._reading():
            row = self._db.execute(
                "SELECT png FROM pictures WHERE commitment = ?", (commitment,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def erase(self, commitments: Sequence[bytes]) -> int:
        """Delete openings and images so that the file holds nothing of them; return how many
        openings went.

        Copies of the file elsewhere are not reached.
        """
        keys = [(commitment,) for commitment in commitments]
        with self._writing() as db:
            gone = db.executemany("DELETE FROM openings WHERE commitment = ?", keys).rowcount
            db.executemany("DELETE FROM pictures WHERE commitment = ?", keys)
        with self._reading():  # the log of writes holds old pages, too
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise OutputError(
                f"the openings are deleted, but {self.path}-wal still holds copies of them while"
                " another process reads:"
                " erase the same entries again when it has ended"
            )
        return max(gone, 0)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._broken:
                raise OutputError(
                    f"{self.path} could not be written before ({self._broken}); open the log anew"
                )
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                self._broken = str(error) or type(error).__name__
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    why = f"{error}; make room or set its permissions right"
                    raise OutputError(f"cannot write {self.path}: {why}") from error
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"cannot read {self.path}: {error}; put it back from a copy"
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # erased salts are overwritten, not only unlinked
        connection.execute("PRAGMA secure_delete = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
