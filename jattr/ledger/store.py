"""The log that a developer keeps: durable entries, and checkpoints that only ever extend.

A folder holds `log.json` and `keys` (identity.py), `log.sqlite` (database.py), `last-checkpoint`
(what was signed last, beside the database, so that a database put back from an older copy is
noticed) and `lock`. One process writes; any number read. A whole folder put back from an older copy
looks like a log that never went further: only witnesses tell.
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time as seconds_since_1970
from typing import Self

from jattr.errors import LedgerError, VerificationError
from jattr.folders import absolute_path, name_beside
from jattr.folders.interruption import unfinished
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.database import FILE, Database, Signed, create_database
from jattr.ledger.durable import held, make_folder, replace_file, sync_folder
from jattr.ledger.identity import (
    Identity,
    identity_of,
    keep_private,
    read_identity,
    read_private,
    read_signers,
    write_identity,
)
from jattr.ledger.keys import ED25519, Signer
from jattr.ledger.leaves import KeyLeaf, parse_leaf
from jattr.ledger.log_view import LogView
from jattr.ledger.merkle import leaf_hash
from jattr.ledger.note import MAX_NOTE_BYTES, parse_note, sign_note
from jattr.ledger.tiles import check_entry

LOCK, LAST_CHECKPOINT = "lock", "last-checkpoint"


class _Batch:
    """Entries of one call of `append`."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.rows = [(leaf_hash(entry), entry) for entry in entries]
        self.numbers: range | None = None  # once they are on the disk


class LogStore(LogView):
    """A log that is open; use it in a `with` block. `create` and `open` make one.

    After an error in writing it is not written to again, whatever the cause: open it anew, and
    everything that was acknowledged is there.
    """

    def __init__(
        self, folder: Path, identity: Identity, signers: Sequence[Signer], database: Database
    ) -> None:
        """Wrap what `open` has found."""
        super().__init__(folder, identity, database)
        self.signers = tuple(signers)  # none if it was opened to be read
        self._writing, self._waiting = threading.Lock(), list[_Batch]()
        self._refusal = "" if signers else "it was opened to be read"
        self._held = contextlib.ExitStack()

    @classmethod
    def create(cls, folder: str | os.PathLike[str], origin: str, signers: Sequence[Signer]) -> Self:
        """Make an empty log in a folder that is empty or not there, and open it for writing.

        Args:
          folder: where.
          origin: the log's name, best a URL without its scheme; it cannot be changed later.
          signers: an Ed25519 key and, if wanted, an ML-DSA-44 key after it, both named `origin`.

        Raises:
          LedgerError: the folder is taken or cannot be written, or the name or the keys will not
            do.
        """
        identity_of(origin, signers)
        folder = absolute_path(folder)
        work = name_beside(folder, ".new")
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise LedgerError(f"{folder} exists already; choose another place")
            with unfinished(work):
                make_folder(work)
                create_database(work / FILE)
                write_identity(work, origin, signers)
                work.rename(folder)
            sync_folder(folder.parent)
        except OSError as error:
            raise LedgerError(
                f"cannot make a log in {folder}: {error.strerror}; choose another place"
            ) from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, writable: bool = True) -> Self:
        """Open a log: hash all its entries and compare with the checkpoint that was signed last.

        Args:
          folder: where it is.
          writable: hold the lock and read the private keys. A log opened to be read stays as it was
            at that moment.

        Raises:
          LedgerError: there is none, a file is missing or damaged, or another process writes to it.
          VerificationError: the entries are not those that were signed, or fewer: the database was
            put back or altered.
        """
        folder = Path(folder)
        read_identity(folder)  # where there is no log, no lock is made
        with contextlib.ExitStack() as stack:
            if writable:
                refusal = f"another process writes to the log in {folder}; wait for it to end"
                stack.enter_context(held(folder / LOCK, os.O_RDWR | os.O_CREAT, refusal))
            # within the lock: before it, another process may have rotated the keys
            identity = read_identity(folder)
            signers = read_signers(folder, identity) if writable else ()
            beside = _last_beside(folder)  # first: a writer may sign while a reader opens
            database = stack.enter_context(
                contextlib.closing(Database(folder / FILE, writable=writable))
            )
            with database.snapshot():
                store = cls(folder, identity, signers, database)
                for note in filter(None, (store.last_checkpoint(), beside)):
                    store.check_extends(note)
                # after the first, a kill may have come between
                if beside is None and len(store.checkpoints()) > 1:
                    raise LedgerError(
                        f"{folder / LAST_CHECKPOINT} is missing, without which an older copy of"
                        " the database would pass; put the newest checkpoint there that you have,"
                        " such as the published one"
                    )
            store._held = stack.pop_all()
        return store

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the database and give the lock back."""
        with self._writing:
            self._refusal = self._refusal or "it is closed"
            self._held.close()

    @property
    def root(self) -> bytes:
        """The root over all entries."""
        with self._writing:
            return self._tree.root()

    def append(self, entries: Sequence[bytes]) -> range:
        """Add entries and return their numbers; when this returns they are on the disk.

        Threads that call at the same time share one flush of the disk. The entries of one call stay
        together.

        Raises:
          LedgerError: an entry is too long, or they cannot be written. Then none is acknowledged,
            though they may be there when the log is opened again.
        """
        for entry in entries:
            check_entry(entry)
        batch = _Batch(entries)
        self._waiting.append(batch)
        with self._writing:
            if batch.numbers is None:
                self._commit_waiting()
        assert batch.numbers is not None
        return batch.numbers

    def sign_checkpoint(self, *, time: int | None = None, clock_was_ahead: bool = False) -> bytes:
        """Return a signed checkpoint of all entries, durable before it is returned.

        A log that has not grown since the last one has that one only.

        Args:
          time: seconds since 1970, by default the system's; kept beside it, and stated by an
            ML-DSA-44 signature.
          clock_was_ahead: sign although the clock has run back since the last one, whose time was
            wrong.

        Raises:
          LedgerError: the clock has run back, or the checkpoint cannot be kept.
          VerificationError: the log does not extend the checkpoint that was signed last. Nothing is
            signed.
        """
        now = int(seconds_since_1970()) if time is None else time
        with self._write() as database:
            last = database.last_checkpoint()
            if last is not None:
                self.check_extends(last.note)
                if last.size == self.size:
                    return last.note
                if now < last.time and not clock_was_ahead:
                    raise LedgerError(
                        f"the clock says {now}, but the last checkpoint was signed at {last.time}"
                        " (seconds since 1970): set the clock right; if it was ahead then, sign"
                        " once with clock_was_ahead"
                    )
            text = Checkpoint(self.origin, self.size, self._tree.root()).text
            note = sign_note(text, self.signers, time=now)
            with self._all_or_broken():
                database.add_checkpoint(Signed(self.size, now, note, None))
                replace_file(self.folder / LAST_CHECKPOINT, note)
            return note

    def keep_published(self, note: bytes) -> None:
        """Keep a checkpoint of this log with its cosignatures, as it is published.

        Raises:
          LedgerError: the log has not signed it, or it cannot be kept.
        """
        size = self.own_checkpoint(note).size
        with self._write() as database, self._all_or_broken():
            database.set_published(size, note)

    def keep_key(self, signer: Signer) -> None:
        """Keep a private key that does not sign yet; when this returns it is on the disk.

        Raises:
          LedgerError: it cannot be kept.
        """
        with self._write(), self._all_or_broken():
            keep_private(self.folder, [signer])

    def rotate(self, signers: Sequence[Signer]) -> None:
        """Sign with other keys from now on. `announce_key` appends the entry that announces them.

        Raises:
          LedgerError: the keys will not do, or cannot be kept.
        """
        identity = identity_of(self.origin, signers)
        with self._write(), self._all_or_broken():
            write_identity(self.folder, self.origin, signers)
            self.identity, self.signers = identity, tuple(signers)

    def _commit_waiting(self) -> None:
        """Put on the disk what all callers wait for. Holds `_writing`."""
        self._check_writable()
        with self._all_or_broken():  # what is taken out of the queue is kept or said to be lost
            batches, first = [], self.size
            while self._waiting:
                batches.append(self._waiting.pop(0))
            rows = [row for batch in batches for row in batch.rows]
            if rows:
                self._database.add_entries(first, rows)
            self._tree.extend(leaf for leaf, _ in rows)
            for batch in batches:
                batch.numbers = range(first, first + len(batch.rows))
                first += len(batch.rows)

    @contextlib.contextmanager
    def _write(self) -> Iterator[Database]:
        """Let one thread write."""
        with self._writing:
            self._check_writable()
            yield self._database

    @contextlib.contextmanager
    def _all_or_broken(self) -> Iterator[None]:
        """Let nothing be written any more once the block has failed: disk and memory may differ."""
        try:
            yield
        except BaseException as error:
            self._refusal = f"it could not be written before ({error})"
            if isinstance(error, OSError):
                raise LedgerError(
                    f"cannot write to the log in {self.folder}: {error.strerror}"
                ) from error
            raise

    def _check_writable(self) -> None:
        if self._refusal:
            raise LedgerError(
                f"cannot write to the log in {self.folder}: {self._refusal}; open it anew"
            )


def announce_key(log: LogStore) -> tuple[int, Signer]:
    """Keep a new Ed25519 key, then append the leaf that announces it; `LogStore.rotate` follows.

        the new key is on the disk -> the KEY leaf is -> (policies take both keys)
        -> the log signs with the new key

    A process that dies at any point leaves a log that opens and can go on. A leaf whose key was
    lost would announce a key with which nobody can ever sign; a key that no leaf announces is one
    line too many in a file. Where an earlier rotation ended after its leaf, it is continued.

    Returns:
      The entry of the leaf, and the new key.

    Raises:
      LedgerError: the key or the leaf cannot be written; the log signs with the old key.
    """
    if begun := _begun_rotation(log):
        return begun
    new = Signer.generate(log.origin, ED25519)
    log.keep_key(new)
    return log.append([KeyLeaf.signed(log.signers[0], new).data])[0], new


def _begun_rotation(log: LogStore) -> tuple[int, Signer] | None:
    """Return the last rotation away from the key that signs now, if its new key is here."""
    old, begun = log.signers[0].verifier.vkey, None
    signers = {key.vkey: signer for key, signer in read_private(log.folder).items()}
    for number, entry in enumerate(log.entries(0, log.size)):
        if b'"kind":"key"' not in entry:
            continue
        try:
            leaf = parse_leaf(entry)
            if isinstance(leaf, KeyLeaf) and leaf.old == old and leaf.new in signers:
                leaf.verify()
                begun = number, signers[leaf.new]
        except (LedgerError, VerificationError):
            continue  # somebody else's entry
    return begun


def _last_beside(folder: Path) -> bytes | None:
    """Return the checkpoint that is kept beside the database."""
    path = folder / LAST_CHECKPOINT
    try:
        with path.open("rb") as file:
            note = file.read(MAX_NOTE_BYTES + 1)
        parse_checkpoint(parse_note(note).text)
        return note
    except FileNotFoundError:
        return None
    except LedgerError as error:
        raise LedgerError(
            f"{path} is damaged: {error}; put the newest checkpoint there, as published"
        ) from error
    except OSError as error:
        raise LedgerError(f"cannot read {path}: {error.strerror}; mend its permissions") from error
