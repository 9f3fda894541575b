"""What commitments hide: salts and values, in one file that never leaves its owner.

A leaf shows a commitment; only who has the salt and the value can open it. They are durable before
the leaf is, because a commitment without its salt stays shut for ever. Deleting them is how a use
is erased: the log and its proofs stay.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from jattr.errors import LedgerError, OutputError
from jattr.ledger.commitments import Opening
from jattr.ledger.durable import sync_folder
from jattr.ledger.leaves import EraseLeaf, IntentLeaf, ResultLeaf, commitments_of, parse_leaf
from jattr.ledger.store import LogStore
from jattr.sqlite import DURABLE, Action, SQLiteFile

FILE = "private.sqlite"
PROJECT = "jattr ledger, private"
TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE openings (commitment BLOB PRIMARY KEY, field TEXT NOT NULL, salt BLOB NOT NULL,"
    " value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pictures (commitment BLOB PRIMARY KEY, png BLOB NOT NULL) WITHOUT ROWID",
)
# erased salts are overwritten, not only unlinked
PRAGMAS = (*DURABLE, "secure_delete = ON")


class PrivateStore:
    """Openings by their commitments, and the images of uses by the commitments to their pixels.

    Threads may share one. After an error in writing it is not written to again, whatever the cause.
    """

    def __init__(self, file: SQLiteFile) -> None:
        """Wrap a file; `create` and `open` make one."""
        self.path, self.file = file.path, file

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
                file = SQLiteFile(path, _error, pragmas=PRAGMAS, fail_stop=True)
                stack.enter_context(contextlib.closing(file))
                file.create(TABLES, [("project", PROJECT)])
                sync_folder(path.parent)
                stack.pop_all()
        except (OSError, LedgerError, OutputError) as error:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            why = error.__cause__ or error
            raise OutputError(
                f"cannot write {path}: {why}; make room or choose another place"
            ) from error
        return cls(file)

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
                " back from a copy; if there is none, the entries count as unopened for ever, and"
                " a new log is the way on"
            )
        with contextlib.ExitStack() as stack:
            file = SQLiteFile(path, _error, pragmas=PRAGMAS, fail_stop=True)
            stack.enter_context(contextlib.closing(file))
            query = "SELECT value FROM meta WHERE name = 'project'"
            if file.rows(query, action="open")[:1] != [(PROJECT,)]:
                raise LedgerError(f"{path} is no private store of a log; put it back from a copy")
            stack.pop_all()
        return cls(file)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close the file."""
        self.file.close()

    def put(self, openings: Iterable[Opening], images: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Keep openings, and PNGs by the commitments to their pixels, durably."""
        # Made before the transaction: an error in them is not one in writing.
        opening_rows = [(o.commitment, o.field, o.salt, o.value) for o in openings]
        image_rows = list(images)
        with self.file.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO openings VALUES (?, ?, ?, ?)", opening_rows)
            db.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?)", image_rows)

    def opening(self, commitment: bytes) -> Opening | None:
        """Return what opens a commitment; None if it was erased or was never here.

        Raises:
          LedgerError: what is kept does not open it.
        """
        query = "SELECT field, salt, value FROM openings WHERE commitment = ?"
        rows = self.file.rows(query, (commitment,))
        if not rows:
            return None
        # What is damaged may be of any type.
        with contextlib.suppress(LedgerError, TypeError, AttributeError):
            opening = Opening(*rows[0])
            if opening.commitment == commitment:
                return opening
        raise LedgerError(
            f"{self.path} is damaged: an opening is not that of its commitment; put a copy back"
        )

    def image(self, commitment: bytes) -> bytes | None:
        """Return the PNG whose pixels are committed to, where it was kept.

        Raises:
          LedgerError: what is kept in its place is no bytes.
        """
        rows = self.file.rows("SELECT png FROM pictures WHERE commitment = ?", (commitment,))
        if not rows:
            return None
        (png,) = rows[0]
        if not isinstance(png, bytes):  # a number here would be as many zero bytes
            raise LedgerError(f"{self.path} is damaged: an image is no bytes; put a copy back")
        return png

    def erase(self, commitments: Sequence[bytes]) -> int:
        """Delete openings and images, so that the file holds nothing of them; count the openings.

        Copies of the file elsewhere are not reached.

        Raises:
          OutputError: they cannot be deleted, or are deleted while a file still holds copies of
            them; erasing the same ones again completes it.
        """
        keys = [(commitment,) for commitment in commitments]
        with self.file.transaction() as db:
            num_openings = db.executemany(
                "DELETE FROM openings WHERE commitment = ?", keys
            ).rowcount
            db.executemany("DELETE FROM pictures WHERE commitment = ?", keys)
        # The write-ahead log holds old pages, too. Emptying it writes them into the database.
        if not self.file.empty_wal(action="write"):
            raise OutputError(
                f"the openings are deleted, but {self.path}-wal still holds copies of them while"
                " another process reads: erase the same entries again when it has ended"
            )
        return max(num_openings, 0)


def erase(
    log: LogStore, private: PrivateStore, entries: Sequence[int], reason: str
) -> tuple[int, int]:
    """Erase uses: delete what their RESULT and INTENT leaves hide, and say so in an ERASE leaf.

    Leaves, root and proofs stay, but nobody can open the commitments any more, and a window with
    erased uses supports no denial. The leaf comes first: if the process ends between, erasing the
    same entries again completes it.

    Returns:
      The entry of the ERASE leaf, and how many openings were deleted.

    Raises:
      LedgerError: an entry is no RESULT leaf, or the reason is no text of a leaf. Nothing is
        deleted then.
    """
    commitments: list[bytes] = []
    for number in entries:
        if number >= log.size:
            raise LedgerError(f"entry {number} is not in the log of {log.size} entries")
        leaf = parse_leaf(log.entry(number))
        if not isinstance(leaf, ResultLeaf):
            raise LedgerError(
                f"entry {number} is a {leaf.kind} leaf; give entries of results: `jattr log status`"
            )
        intent = parse_leaf(log.entry(leaf.intent))
        both = (leaf, intent) if isinstance(intent, IntentLeaf) else (leaf,)
        commitments += [bytes.fromhex(value) for each in both for _, value in commitments_of(each)]
    entry = log.append([EraseLeaf(tuple(sorted(set(entries))), reason).data])[0]
    return entry, private.erase(commitments)


def _error(action: Action, path: Path, cause: Exception | str) -> LedgerError | OutputError:
    if action == "write again":
        return OutputError(f"{path} could not be written before ({cause}); open the log anew")
    if action == "write":
        return OutputError(f"cannot write {path}: {cause}; make room or set its permissions right")
    if action == "open":
        return LedgerError(f"{path} is no private store of a log: {cause}; put it back from a copy")
    return LedgerError(f"cannot read {path}: {cause}; put it back from a copy")
