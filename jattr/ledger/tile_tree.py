"""The tree of a log in memory: what appending and proofs need besides the entries themselves."""

from collections.abc import Iterable

from jattr.errors import LedgerError
from jattr.ledger.merkle import tree_root
from jattr.ledger.tiles import TILE_BYTES, WIDTH, nodes_from, subtree_hash, tile_path


class TileTree:
    """A growing tree: all hashes of tile levels 1 and up (32 bytes for 256 entries), and the last
    tile of level 0.

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
            if len(self._last) == WIDTH:
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
        if index != self.size // WIDTH:
            raise LedgerError(f"{tile_path(0, index)} is not kept in memory")
        return b"".join(self._last)

    def root(self) -> bytes:
        """Return the root over all entries."""
        return tree_root(self.size, nodes_from(self.tile))

    def _carry(self, hash: bytes) -> None:
        """Add the hash of a full tile of level 0, and those of the tiles that it fills."""
        for row in self._rows:
            row += hash
            if len(row) % TILE_BYTES:
                return
            hash = subtree_hash(bytes(row[-TILE_BYTES:]))
        self._rows.append(bytearray(hash))
