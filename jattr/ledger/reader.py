"""Reading a published log whose server is not trusted: what matters is recomputed."""

import functools
import os
from collections.abc import Callable, Iterator

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.encoding import HASH_BYTES
from jattr.ledger.merkle import Frontier, Node, leaf_hash
from jattr.ledger.note import MAX_NOTE_BYTES
from jattr.ledger.sources import source_of
from jattr.ledger.tiles import (
    MAX_BUNDLE,
    TILE_BYTES,
    TILE_WIDTH,
    TilePath,
    nodes_from,
    parse_bundle,
    tile_width,
)

CACHED_TILES = 256  # 8 KB each
CACHED_BUNDLES = 4  # at most 17 MB each; single entries are often asked for one after the other


class PublishedLog:
    """A log as it is published. Nothing here is verified: `verify_window` and proofs do that."""

    def __init__(self, location: str | os.PathLike[str]) -> None:
        """Read from a folder or an http(s) URL, under which `checkpoint` and `tile/` are."""
        self.location = os.fspath(location)
        self._read = source_of(location)
        self._tile = functools.lru_cache(CACHED_TILES)(self._read_tile)
        self._bundle = functools.lru_cache(CACHED_BUNDLES)(self._read_bundle)

    def checkpoint(self) -> bytes:
        """Return the signed checkpoint that is published now.

        Raises:
          LedgerError: there is none, or it cannot be read.
        """
        data = self._read("checkpoint", MAX_NOTE_BYTES)
        if data is None:
            raise LedgerError(f"{self.location} has no checkpoint, so no log is published there")
        return data

    def entries(self, start: int, end: int, size: int) -> Iterator[bytes]:
        """Yield the entries `start` to `end` - 1 of the tree of `size` entries, bundle by bundle.

        Raises:
          LedgerError: a bundle is missing, cut off or too large.
        """
        if not 0 <= start <= end <= size:
            raise LedgerError(f"no entries {start} to {end} in a log of {size}")
        for index in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            width = tile_width(None, index, size)
            yield from self._bundle(index, width)[
                max(start - index * TILE_WIDTH, 0) : min(end - index * TILE_WIDTH, width)
            ]

    def node(self, level: int, index: int, size: int) -> bytes:
        """Return the hash of a full subtree of the tree of `size` entries, as the tiles state it.

        Raises:
          LedgerError: a tile is missing or of the wrong length, or the tree has no such node.
        """
        return self.nodes(size)(level, index)

    def nodes(self, size: int) -> Node:
        """Return the nodes of the tree of `size` entries, from which proofs are made."""
        return nodes_from(
            lambda level, index: self._tile(level, index, tile_width(level, index, size))
        )

    def _read_bundle(self, index: int, width: int) -> list[bytes]:
        data, path = self._file(TilePath(None, index, width), MAX_BUNDLE)
        try:
            return parse_bundle(data, path.width)
        except LedgerError as error:
            raise LedgerError(f"{self.location}, {path}: {error}") from error

    def _read_tile(self, level: int, index: int, width: int) -> bytes:
        if not width:
            return b""
        data, path = self._file(TilePath(level, index, width), TILE_BYTES)
        if len(data) != path.width * HASH_BYTES:
            raise LedgerError(
                f"{self.location}, {path}: {len(data)} bytes, not {path.width} hashes"
            )
        return data[: width * HASH_BYTES]

    def _file(self, tile: TilePath, limit: int) -> tuple[bytes, TilePath]:
        """Return a file and which it is.

        tlog-tiles, "Partial Tiles": a partial one may be deleted once the full one is there.
        """
        for path in dict.fromkeys((tile, tile.full)):
            data = self._read(str(path), limit)
            if data is not None:
                return data, path
        raise LedgerError(
            f"{self.location} withholds {tile}, which its checkpoint promises; ask for another copy"
        )


def verify_window(
    log: PublishedLog,
    start: Checkpoint | None,
    end: Checkpoint,
    each: Callable[[int, bytes], None] | None = None,
) -> int:
    """Recompute the root over all entries between two checkpoints; return how many there are.

    The checkpoints must have been verified (`Policy.open`). Every entry of the window is appended
    to the start's tree, whose root is recomputed, and the root must become the end's. So no entry
    was left out, added or changed.

    Args:
      log: where the entries are.
      start: the window begins after its entries; None for the beginning of the log.
      end: the window ends with its entries.
      each: called with the number and the bytes of every entry. What it saw counts only once this
        function returns.

    Raises:
      LedgerError: entries or tiles are missing or malformed.
      VerificationError: the entries are not those that the checkpoints state.
    """
    first = 0 if start is None else start.size
    if start is not None and start.origin != end.origin:
        raise VerificationError(
            f"the window begins in the log {start.origin} and ends in {end.origin}"
        )
    if first > end.size:
        raise VerificationError(
            f"the window begins after {first} entries and ends after {end.size}"
        )
    # RFC 9162, section 2.1.2: the start's full subtrees lead to its root, and with every
    # entry appended to the end's. The server states the subtrees; the start's root binds them.
    tree = Frontier(first, _full_subtrees(first, log.nodes(end.size)))
    if start is not None and tree.root() != start.root:
        raise VerificationError(
            f"the first {first} entries are not those that the checkpoint of the start states"
        )
    for number, entry in enumerate(log.entries(first, end.size, end.size), first):
        tree.append(leaf_hash(entry))
        if each is not None:
            each(number, entry)
    if tree.root() != end.root:
        raise VerificationError(
            f"the {end.size - first} entries of the window do not lead to the root of the"
            " checkpoint of its end: entries were left out, added or changed"
        )
    return end.size - first


def _full_subtrees(size: int, node: Node) -> list[bytes]:
    """Return the hashes of the full subtrees of a tree, from the largest."""
    levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
    return [node(level, (size >> level) - 1) for level in levels]
