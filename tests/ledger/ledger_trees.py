"""Small logs in memory, for tests."""

from dataclasses import dataclass, field

from jattr.ledger.merkle import leaf_hash, node_hash, tree_root


@dataclass
class Tree:
    """A log of entries that are all there; as the store does, it gives nodes and roots."""

    entries: list[bytes]
    known: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a full subtree."""
        if (level, index) not in self.known:
            self.known[level, index] = (
                node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))
                if level
                else leaf_hash(self.entries[index])
            )
        return self.known[level, index]

    def root(self, size: int) -> bytes:
        """Return the root of the first entries."""
        return tree_root(size, self.node)


def tree_of(size: int, *, salt: bytes = b"entry") -> Tree:
    """Return a log whose entries are all different."""
    return Tree([b"%s %d" % (salt, index) for index in range(size)])
