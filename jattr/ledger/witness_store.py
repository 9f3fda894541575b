"""What a witness remembers: its private keys and what it cosigned last, in one SQLite file.

Keys and memory lie together because they are worth something together only: a key without its
memory would cosign a log's second history. Whoever puts an old copy of the file back can still make
it forget; nothing can prevent that.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jattr.errors import LedgerError, OutputError
from jattr.ledger.keys import COSIGNATURE, ML_DSA_44, Signer, parse_skey
from jattr.sqlite import Action, SQLiteFile

FILE = "witness.sqlite"
PROJECT, SCHEMA = "jattr witness", 1
TABLES = (  # databases keep the text of each statement, so none is wrapped anew
    "CREATE TABLE meta (project TEXT NOT NULL, schema INTEGER NOT NULL)",
    "CREATE TABLE keys (skey TEXT PRIMARY KEY)",
    (
        "CREATE TABLE seen (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL,"
        " time INTEGER NOT NULL,\n  note BLOB NOT NULL)"
    ),
    (
        "CREATE TABLE split_views (origin TEXT PRIMARY KEY, first BLOB NOT NULL, second BLOB NOT"
        " NULL)"
    ),
    (
        "CREATE TRIGGER never_back BEFORE UPDATE ON seen\n"
        "  WHEN NEW.size < OLD.size OR NEW.time < OLD.time"
        " OR (NEW.size = OLD.size AND NEW.root <> OLD.root)\n"
        "  BEGIN SELECT RAISE(ABORT, 'a witness never goes back'); END"
    ),
    (
        "CREATE TRIGGER never_forgets BEFORE DELETE ON seen\n"
        "  BEGIN SELECT RAISE(ABORT, 'a witness never forgets'); END"
    ),
)


@dataclass(frozen=True)
class LastCosigned:
    """The last checkpoint that a witness cosigned of a log."""

    size: int  # entries
    root: bytes
    time: int  # of the cosignature, seconds since 1970
    note: bytes  # with the log's signatures


@dataclass(frozen=True)
class SplitView:
    """Two checkpoints of one size with two roots, both signed by the log: proof that it cheats."""

    origin: str
    first: bytes  # signed note
    second: bytes


class WitnessStore:
    """The memory of a witness, open, to be used in a `with` block.

    Threads and processes may share it.
    """

    def __init__(self, folder: Path, file: SQLiteFile, signers: Sequence[Signer]) -> None:
        """Wrap a file; `create` and `open` make one."""
        self.folder, self.file, self.signers = folder, file, tuple(signers)

    @classmethod
    def create(cls, folder: str | os.PathLike[str], signers: Sequence[Signer]) -> Self:
        """Begin a witness that cosigns with Ed25519 cosignature keys, ML-DSA-44 keys, or both.

        Raises:
          LedgerError: there is one already, or a key is of the wrong type.
          OutputError: it cannot be written; nothing is left of it.
        """
        if not signers or {signer.kind for signer in signers} - {COSIGNATURE, ML_DSA_44}:
            raise LedgerError(
                "a witness cosigns with keys of the types cosignature (0x04) and ml-dsa-44 (0x06)"
            )
        path = Path(folder) / FILE
        if path.exists():
            raise LedgerError(f"{path} is there already; a witness is begun once")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise OutputError(
                f"cannot write {str(path)!r}: {error.strerror or error}; choose another place"
            ) from error
        keys = [(signer.skey,) for signer in signers]
        try:
            with contextlib.closing(SQLiteFile(path, _error)) as file:
                file.create(TABLES, [(PROJECT, SCHEMA)], {"INSERT INTO keys VALUES (?)": keys})
        except BaseException:
            # Nobody has seen a key of it: what is half begun would only be in the way.
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            raise
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Go on with a witness.

        Raises:
          LedgerError: there is none, or its file is damaged. One whose file is lost must not go on
            under its old key.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise LedgerError(
                f"{folder} has no {FILE}, so it is no folder of a witness; begin one there"
            )
        with contextlib.ExitStack() as stack:
            file = SQLiteFile(path, _error)
            stack.enter_context(contextlib.closing(file))
            if not file.rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                raise LedgerError(
                    f"{path} is no memory of a witness; delete it if it is what a crash has left"
                )
            if file.rows("SELECT project, schema FROM meta") != [(PROJECT, SCHEMA)]:
                raise LedgerError(
                    f"{path} is not a witness of schema {SCHEMA}; use the jattr that wrote it"
                )
            keys = [skey for (skey,) in file.rows("SELECT skey FROM keys ORDER BY rowid")]
            if not keys or not all(isinstance(skey, str) for skey in keys):
                raise LedgerError(
                    f"{path} is damaged: it has no keys to cosign with; begin a witness with a new"
                    " key in another folder"
                )
            signers = [parse_skey(skey) for skey in keys]
            stack.pop_all()
        return cls(Path(folder), file, signers)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close the file, once nobody is within a transaction."""
        self.file.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator["WitnessTransaction"]:
        """Let nobody else write within the block.

        When it is left, all that it wrote is on the disk; if it fails, nothing of it is.

        Raises:
          OutputError: it cannot be written.
        """
        with self.file.transaction() as db:
            yield WitnessTransaction(db)

    def split_views(self) -> list[SplitView]:
        """Return the first proof of cheating of each log that was caught."""
        rows = self.file.rows("SELECT * FROM split_views ORDER BY origin")
        return [SplitView(*row) for row in rows]


class WitnessTransaction:
    """The memory within a transaction."""

    def __init__(self, db: sqlite3.Connection):
        """Wrap the connection of a transaction that has begun."""
        self._db = db

    def last_cosigned(self, origin: str) -> LastCosigned | None:
        """Return what was cosigned last of a log."""
        row = self._db.execute(
            "SELECT size, root, time, note FROM seen WHERE origin = ?", (origin,)
        ).fetchone()
        return LastCosigned(*row) if row else None

    def last_time(self) -> int:
        """Return the time of the last cosignature of any log, seconds since 1970; 0 before it."""
        return int(self._db.execute("SELECT coalesce(max(time), 0) FROM seen").fetchone()[0])

    def replace(self, origin: str, cosigned: LastCosigned) -> None:
        """Remember a checkpoint in place of the one before. The file itself refuses to go back."""
        self._db.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size ="
            " excluded.size, root = excluded.root, time = excluded.time, note = excluded.note",
            (origin, cosigned.size, cosigned.root, cosigned.time, cosigned.note),
        )

    def add_split_view(self, origin: str, second: bytes) -> None:
        """Keep a checkpoint that contradicts the one remembered. The first such is enough."""
        self._db.execute(
            "INSERT OR IGNORE INTO split_views SELECT origin, note, ? FROM seen WHERE origin = ?",
            (second, origin),
        )


def _error(action: Action, path: Path, cause: Exception | str) -> LedgerError | OutputError:
    if isinstance(cause, sqlite3.OperationalError):
        return OutputError(f"cannot use {path}: {cause}; make room or set its permissions right")
    return LedgerError(f"{path} is no memory of a witness: {cause}")
