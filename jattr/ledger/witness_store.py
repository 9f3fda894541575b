"""What a witness remembers: one SQLite file with its private keys and the last checkpoint that it
cosigned of each log.

Keys and memory lie together because they are worth something together only: a key without its
memory would cosign a log's second history. Whoever puts an old copy of the file back can still make
it forget; nothing can prevent that.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jattr.errors import LedgerError, OutputError
from jattr.ledger.keys import COSIGNATURE, ML_DSA_44, Signer, parse_skey

FILE = "witness.sqlite"
PROJECT, SCHEMA = "jattr witness", 1
TABLES = """
CREATE TABLE meta (project TEXT NOT NULL, schema INTEGER NOT NULL);
CREATE TABLE keys (skey TEXT PRIMARY KEY);
CREATE TABLE seen (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL,
  note BLOB NOT NULL);
CREATE TABLE split_views (origin TEXT PRIMARY KEY, first BLOB NOT NULL, second BLOB NOT NULL);
CREATE TRIGGER never_back BEFORE UPDATE ON seen
  WHEN NEW.size < OLD.size OR NEW.time < OLD.time OR (NEW.size = OLD.size AND NEW.root <> OLD.root)
  BEGIN SELECT RAISE(ABORT, 'a witness never goes back'); END;
CREATE TRIGGER never_forgets BEFORE DELETE ON seen
  BEGIN SELECT RAISE(ABORT, 'a witness never forgets'); END;
"""  # noqa: E501 - the text is kept in databases


@dataclass(frozen=True)
class Seen:
    """The last checkpoint that a witness cosigned of a log."""

    size: int  # entries
    root: bytes
    time: int  # of the cosignature, seconds since 1970
    note: bytes  # with the log's signatures


@dataclass(frozen=True)
class SplitView:
    """Two checkpoints of one size with different roots, both signed by the log: the proof that
    it cheats.
    """

    origin: str
    first: bytes  # signed note
    second: bytes


class WitnessStore:
    """The memory of a witness, open; use it in a `with` block. Threads and processes may share
    it.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, signers: Sequence[Signer]):
        """Wrap a connection; `create` and `open` make one."""
        self.folder, self.signers = folder, tuple(signers)
        self._db, self._lock = connection, threading.Lock()

    @classmethod
    def create(cls, folder: str | os.PathLike[str], signers: Sequence[Signer]) -> "WitnessStore":
        """Begin a witness that cosigns with `signers`: Ed25519 cosignature keys, ML-DSA-44 keys, or
        one of each.

        Raises:
          LedgerError: there is one already, or a key is of the wrong type.
          OutputError: it cannot be written.
        """
        if not signers or {signer.kind for signer in signers} - {COSIGNATURE, ML_DSA_44}:
            raise LedgerError(
                "a witness cosigns with keys of the types cosignature (0x04) and ml-dsa-44 (0x06)"
            )
        path = Path(folder) / FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError as error:
            raise LedgerError(f"{path} is there already; a witness is begun once") from error
        except OSError as error:
            raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
        with _errors(path), contextlib.closing(_connect(path)) as db:
            facts = [(signer.skey,) for signer in signers]
            db.executescript(f"BEGIN;{TABLES}INSERT INTO meta VALUES ('{PROJECT}', {SCHEMA});")
            db.executemany("INSERT INTO keys VALUES (?)", facts)
            db.execute("COMMIT")
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "WitnessStore":
        """Go on with a witness.

        Raises:
          LedgerError: there is none. One whose file is lost must not go on under its old key.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise LedgerError(
                f"{folder} has no {FILE}, so it is no folder of a witness; begin one there"
            )
        db = _connect(path)
        try:
            with _errors(path):
                if not db.execute(
                    "SELECT count(*) FROM sqlite_master WHERE name = 'meta'"
                ).fetchone()[0]:
                    raise LedgerError(
                        f"{path} is no memory of a witness; delete it if it is what a crash has"
                        " left"
                    )
                if db.execute("SELECT project, schema FROM meta").fetchall() != [(PROJECT, SCHEMA)]:
                    raise LedgerError(
                        f"{path} is not a witness of schema {SCHEMA}; use the jattr that wrote it"
                    )
                signers = [
                    parse_skey(skey)
                    for (skey,) in db.execute("SELECT skey FROM keys ORDER BY rowid")
                ]
            return cls(Path(folder), db, signers)
        except BaseException:
            db.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close the file, once nobody is within a transaction."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator["Kept"]:
        """Nobody else writes within the block; what it wrote is on the disk when it is left, or
        nothing of it is.

        Raises:
          OutputError: it cannot be written.
        """
        with self._lock, _errors(self.folder / FILE):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield Kept(self._db)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def split_views(self) -> list[SplitView]:
        """Return the first proof of cheating of each log that was caught."""
        with self._lock, _errors(self.folder / FILE):
            return [
                SplitView(*row)
                for row in self._db.execute("SELECT * FROM split_views ORDER BY origin")
            ]


class Kept:
    """The memory within a transaction."""

    def __init__(self, db: sqlite3.Connection):
        """Wrap the connection of a transaction that has begun."""
        self._db = db

    def seen(self, origin: str) -> Seen | None:
        """Return what was cosigned last of a log."""
        row = self._db.execute(
            "SELECT size, root, time, note FROM seen WHERE origin = ?", (origin,)
        ).fetchone()
        return Seen(*row) if row else None

    def last_time(self) -> int:
        """Return the time of the last cosignature of any log, seconds since 1970; 0 if there is
        none.
        """
        return int(self._db.execute("SELECT coalesce(max(time), 0) FROM seen").fetchone()[0])

    def replace(self, origin: str, seen: Seen) -> None:
        """Remember a checkpoint in place of the one before. The file itself refuses to go back."""
        self._db.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET"
            " size = excluded.size, root = excluded.root, time = excluded.time, note ="
            " excluded.note",
            (origin, seen.size, seen.root, seen.time, seen.note),
        )

    def add_split_view(self, origin: str, second: bytes) -> None:
        """Keep a checkpoint that contradicts the one remembered. The first such is enough."""
        self._db.execute(
            "INSERT OR IGNORE INTO split_views SELECT origin, note, ? FROM seen WHERE origin = ?",
            (second, origin),
        )


def _connect(path: Path) -> sqlite3.Connection:
    with _errors(path):
        db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"cannot use {path}: {error}; make room or set its permissions right"
        ) from error
    except sqlite3.Error as error:
        raise LedgerError(f"{path} is no memory of a witness: {error}") from error
