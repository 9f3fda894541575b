"""The Merkle tree of RFC 6962 (RFC 9162, section 2): hashes, roots, inclusion and consistency
proofs.

A proof says nothing by itself: it ties an entry to a root, and only a verified checkpoint ties a
root to a log. Nodes of full subtrees are addressed by (level, index): the node covers the leaves
index * 2^level to (index + 1) * 2^level - 1. https://www.rfc-editor.org/rfc/rfc9162
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence

from jattr.errors import VerificationError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_PROOF = 63  # hashes; a tree of 2^63 - 1 leaves needs no more

Node = Callable[[int, int], bytes]  # (level, index) -> hash of that full subtree


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry, domain-separated from that of a node."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node from those of its children."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The full subtrees of a growing tree: all that appending and the root need.

    >>> tree = Frontier()
    >>> tree.root() == EMPTY_ROOT
    True
    >>> tree.append(leaf_hash(b"one"))
    >>> tree.size, tree.root() == leaf_hash(b"one")
    (1, True)
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Start from a tree of `size` leaves whose full subtrees, from the largest, are
        `hashes`.
        """
        if len(hashes) != size.bit_count():
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} full subtrees, not {len(hashes)}"
            )
        self.size, self.hashes = size, list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        size = self.size
        while size & 1:
            leaf = hashlib.sha256(b"\1" + self.hashes.pop() + leaf).digest()
            size >>= 1
        self.hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def range_hash(start: int, end: int, node: Node) -> bytes:
    """Return the hash of the leaves `start` to `end` - 1 of a subtree as RFC 9162 splits it."""
    width = end - start
    if width < 1:
        raise ValueError(f"no leaves from {start} to {end}")
    level = (width - 1).bit_length()
    if width == 1 << level:
        return node(level, start >> level)
    middle = start + (1 << level - 1)
    return node_hash(range_hash(start, middle, node), range_hash(middle, end, node))


def tree_root(size: int, node: Node) -> bytes:
    """Return the root of the first `size` leaves."""
    return range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves, from its sibling up
    (section 2.1.3.1).
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
    start, end, proof = 0, size, []
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """Return the proof that the tree of `new` leaves extends that of `old` leaves (section
    2.1.4.1).
    """
    if not 0 < old <= new:
        raise ValueError(
            f"a consistency proof leads from 1 leaf or more to at least as many, not from {old} to"
            f" {new}"
        )
    start, end, proof, whole = 0, new, [], True
    while old != end:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if old <= middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start, whole = middle, False
    if not whole:
        proof.append(range_hash(start, end, node))
    return proof[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that a leaf hash and its proof lead to (section 2.1.3.2).

    Raises:
      VerificationError: the proof has the wrong length for that place in a tree of that size.
    """
    if not 0 <= index < size:
        raise VerificationError(f"entry {index} cannot be in a log of {size} entries")
    last, root = size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise VerificationError(
                f"the inclusion proof of entry {index} of {size} is too long: {len(proof)} hashes"
            )
        if index & 1 or index == last:
            root = node_hash(sibling, root)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise VerificationError(
            f"the inclusion proof has only {len(proof)} hashes, too few for a log of {size} entries"
        )
    return root


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that leaf hash `leaf` is number `index` of the tree of `size` leaves with this root.

    Raises:
      VerificationError: it is not, or the proof does not show it.
    """
    _check_lengths(leaf, root, *proof)
    if not hmac.compare_digest(root_from_inclusion(leaf, index, size, proof), root):
        raise VerificationError(
            f"the inclusion proof of entry {index} does not lead to the root of the {size} entries"
        )


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `new` leaves begins with the tree of `old` leaves (section 2.1.4.2).

    A tree of size 0 is consistent with everything, so a proof from it proves nothing and is
    refused.

    Raises:
      VerificationError: it does not, or the proof does not show it.
    """
    _check_lengths(*proof)
    if not 0 < old <= new:
        raise VerificationError(f"no consistency proof leads from {old} to {new} entries")
    if old == new:
        if proof or not hmac.compare_digest(old_root, new_root):
            raise VerificationError(
                f"two different roots, or a needless proof, for one size of {old} entries"
            )
        return
    hashes = list(proof)
    if old & (old - 1) == 0:
        # the old tree is one full subtree, so its root is where the path starts
        hashes.insert(0, old_root)
    if not hashes:
        raise VerificationError(f"the consistency proof from {old} to {new} entries is empty")
    first, second, index, last = hashes[0], hashes[0], old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    for sibling in hashes[1:]:
        if last == 0:
            raise VerificationError(
                f"the consistency proof from {old} to {new} entries is too long"
            )
        if index & 1 or index == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise VerificationError(f"the consistency proof from {old} to {new} entries is too short")
    if not hmac.compare_digest(first, old_root) or not hmac.compare_digest(second, new_root):
        raise VerificationError(
            f"the log of {new} entries does not begin with that of {old} entries"
        )


def _check_lengths(*hashes: bytes) -> None:
    for hash in hashes:
        if len(hash) != HASH_BYTES:
            raise VerificationError(
                f"a hash of {len(hash)} bytes in the proof: SHA-256 has {HASH_BYTES}"
            )
