"""Reading a log: entries, nodes of its tree, proofs, checkpoints and receipts."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.database import Database, Signed
from jattr.ledger.identity import Identity
from jattr.ledger.merkle import consistency_proof, inclusion_proof, leaf_hash, tree_root
from jattr.ledger.note import parse_note
from jattr.ledger.tile_tree import TileTree
from jattr.ledger.tiles import WIDTH, nodes_from
from jattr.ledger.tlog_proof import TlogProof

CACHED_TILES = 256  # of level 0, 8 KB each


class LogView:
    """What can be asked of a log that is open."""

    def __init__(self, folder: Path, identity: Identity, database: Database) -> None:
        """Hash all entries that the database holds.

        Raises:
          LedgerError: the database is damaged.
        """
        self.folder, self.identity = folder, identity
        self._database, self._tree = database, rebuilt_tree(database, folder)
        self._leaves = functools.lru_cache(CACHED_TILES)(database.hashes)  # they never change
        # (level, index) -> hash of that full subtree
        self.node: Callable[[int, int], bytes] = nodes_from(self.tile)

    @property
    def origin(self) -> str:
        """The name of the log."""
        return self.identity.origin

    @property
    def size(self) -> int:
        """The number of entries, all of them durable."""
        return self._tree.size

    def entry(self, index: int) -> bytes:
        """Return one entry."""
        return next(self.entries(index, index + 1))

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Return the entries `start` to `end` - 1, one after the other.

        Raises:
          LedgerError: there are not so many, or (while they come) the database cannot be read.
        """
        if not 0 <= start <= end <= self.size:
            raise LedgerError(f"no entries {start} to {end}: the log has {self.size}")
        return self._database.entries(start, end)

    def hashes(self, start: int, end: int) -> bytes:
        """Return the leaf hashes of the entries `start` to `end` - 1, joined."""
        return self._database.hashes(start, end)

    def tile(self, level: int, index: int) -> bytes:
        """Return the hashes of a tile, as many as there are."""
        if level:
            return self._tree.tile(level, index)
        start = index * WIDTH
        return self._leaves(start, min(start + WIDTH, self.size)) if start < self.size else b""

    def root_at(self, size: int) -> bytes:
        """Return the root over the first `size` entries."""
        self._check_size(size)
        return tree_root(size, self.node)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the proof that entry `index` is in the tree of the first `size` entries."""
        self._check_size(size)
        if not 0 <= index < size:
            raise LedgerError(f"entry {index} is not among the first {size} entries")
        return inclusion_proof(index, size, self.node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of the first `new` entries extends that of the first
        `old`.
        """
        self._check_size(new)
        if not 0 < old <= new:
            raise LedgerError(
                f"a consistency proof leads from 1 entry or more to at least as many, not {old} to"
                f" {new}"
            )
        return consistency_proof(old, new, self.node)

    def last_checkpoint(self) -> bytes | None:
        """Return the signed checkpoint of the most entries; None before the first."""
        last = self._database.last_checkpoint()
        return None if last is None else last.note

    def checkpoints(self, first: int = 0) -> list[Signed]:
        """Return every checkpoint that was signed over at least `first` entries, by size."""
        return self._database.checkpoints(first)

    def own_checkpoint(self, note: bytes) -> Checkpoint:
        """Return what a checkpoint states if this log signed it; cosignatures may have been added.

        Raises:
          LedgerError: it did not, or a signature of the log was changed.
        """
        found = parse_note(note)
        checkpoint = parse_checkpoint(found.text)
        kept = self._database.checkpoint(checkpoint.size)
        ours = None if kept is None else parse_note(kept.note)
        if (
            ours is None
            or ours.text != found.text
            or not set(ours.signatures) <= set(found.signatures)
        ):
            raise LedgerError(
                f"the log {self.origin} has not signed this checkpoint of {checkpoint.size}"
                " entries of"
                f" {checkpoint.origin}; give one of its own, as it was signed"
            )
        return checkpoint

    def receipt(self, index: int, checkpoint: bytes) -> TlogProof:
        """Return the receipt of an entry under a checkpoint of this log.

        Raises:
          LedgerError: the checkpoint is not this log's, or does not reach as far as the entry.
        """
        size = self.own_checkpoint(checkpoint).size
        return TlogProof(index, tuple(self.inclusion(index, size)), checkpoint)

    def check_extends(self, note: bytes) -> None:
        """Check that the log begins with what a checkpoint of its own states.

        Raises:
          VerificationError: it does not, so entries were lost or altered after it was signed.
        """
        signed = parse_checkpoint(parse_note(note).text)
        if signed.origin != self.origin:
            raise VerificationError(
                f"the last checkpoint in {self.folder} is of the log {signed.origin}"
            )
        if signed.size > self.size:
            raise VerificationError(
                f"the log in {self.folder} has {self.size} entries, but has signed a checkpoint of"
                f" {signed.size}: an"
                " older copy of its database was put back. Restore a newer one; what was published"
                " holds the entries"
            )
        if self.root_at(signed.size) != signed.root:
            raise VerificationError(
                f"the first {signed.size} entries in {self.folder} are not those of the checkpoint"
                " that was signed:"
                " the database was altered or damaged. Restore a good copy; what was published"
                " holds the entries"
            )

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise LedgerError(f"no tree of {size} entries: the log has {self.size}")


def rebuilt_tree(database: Database, folder: Path) -> TileTree:
    """Return the tree over all entries of a database, hashed anew.

    Raises:
      LedgerError: an entry is missing, or is not what was appended.
    """
    tree, end = TileTree(), database.last_number() + 1

    def leaves() -> Iterator[bytes]:
        for number, (kept, entry) in enumerate(database.entries(0, end, "hash, data")):
            leaf = leaf_hash(entry)
            if leaf != kept:
                raise LedgerError(
                    f"entry {number} of the log in {folder} is damaged; restore it from a copy"
                )
            yield leaf

    tree.extend(leaves())
    return tree
