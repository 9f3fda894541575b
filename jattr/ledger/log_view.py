"""Reading a log: entries, nodes of its tree, proofs, checkpoints and receipts."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.database import Database, Signed
from jattr.ledger.identity import Identity
from jattr.ledger.merkle import Node, consistency_proof, inclusion_proof, leaf_hash, tree_root
from jattr.ledger.note import parse_note
from jattr.ledger.tiles import TILE_BYTES, TILE_WIDTH, nodes_from, subtree_hash, tile_path
from jattr.ledger.tlog_proof import TlogProof

CACHED_TILES = 256  # of level 0, 8 KB each


class TileTree:
    """The tree of a log in memory: what appending and proofs need besides the entries.

    That is the hashes of tile levels 1 and up (32 bytes for 256 entries) and the last tile of level
    0; the database has the others.

    >>> from jattr.ledger.merkle import leaf_hash
    >>> tree = TileTree()
    >>> tree.extend([leaf_hash(b"one")])
    >>> tree.size, tree.root() == leaf_hash(b"one")
    (1, True)
    """

    def __init__(self) -> None:
        """Start from no entries."""
        self.size = 0
        self._last: list[bytes] = []  # hashes of the entries after the last full tile of level 0
        self._rows: list[bytearray] = []  # hashes of tile levels 1, 2, ...; they only ever grow

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes."""
        for leaf in leaves:
            self._last.append(leaf)
            if len(self._last) == TILE_WIDTH:
                self._carry(subtree_hash(b"".join(self._last)))
                self._last = []
            self.size += 1

    def tile(self, level: int, index: int) -> bytes:
        """Return the hashes of a tile, as far as they are there. Of level 0 only the last tile is.

        Raises:
          LedgerError: another tile of level 0.
        """
        if level:
            row = self._rows[level - 1] if level <= len(self._rows) else b""
            return bytes(row[index * TILE_BYTES : (index + 1) * TILE_BYTES])
        if index != self.size // TILE_WIDTH:
            raise LedgerError(f"{tile_path(0, index)} is not kept in memory")
        return b"".join(self._last)

    def root(self) -> bytes:
        """Return the root over all entries."""
        return tree_root(self.size, nodes_from(self.tile))

    def _carry(self, hash: bytes) -> None:
        """Add the hash of a full tile of level 0, and those of the tiles that it fills."""
        # As in counting: a full row of 256 becomes one hash of the next level.
        for row in self._rows:
            row += hash
            if len(row) % TILE_BYTES:
                return
            hash = subtree_hash(bytes(row[-TILE_BYTES:]))
        self._rows.append(bytearray(hash))


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
        self.node: Node = nodes_from(self.tile)

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

    def tile(self, level: int, index: int) -> bytes:
        """Return the hashes of a tile, as many as there are."""
        if level:
            return self._tree.tile(level, index)
        start = index * TILE_WIDTH
        return self._leaves(start, min(start + TILE_WIDTH, self.size)) if start < self.size else b""

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
        """Return the proof that the tree of `new` entries extends that of `old` entries."""
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
        given = parse_note(note)
        checkpoint = parse_checkpoint(given.text)
        signed = self._database.checkpoint(checkpoint.size)
        own = None if signed is None else parse_note(signed.note)
        if (
            own is None
            or own.text != given.text
            or not set(own.signatures) <= set(given.signatures)
        ):
            raise LedgerError(
                f"the log {self.origin} has not signed this checkpoint of {checkpoint.size}"
                f" entries of {checkpoint.origin}; give one of its own, as it was signed"
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
                f" {signed.size}: an older copy of its database was put back. Restore a newer one;"
                " what was published holds the entries"
            )
        if self.root_at(signed.size) != signed.root:
            raise VerificationError(
                f"the first {signed.size} entries in {self.folder} are not those of the checkpoint"
                " that was signed: the database was altered or damaged. Restore a good copy; what"
                " was published holds the entries"
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
        for number, (stored_hash, entry) in enumerate(database.hashed_entries(0, end)):
            leaf = leaf_hash(entry)
            if leaf != stored_hash:
                raise LedgerError(
                    f"entry {number} of the log in {folder} is damaged; restore it from a copy"
                )
            yield leaf

    tree.extend(leaves())
    return tree
