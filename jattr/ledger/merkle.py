"""The Merkle tree of RFC 6962 (RFC 9162, section 2): hashes, roots and proofs.

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
    """Return the hash of an entry (section 2.1.1).

    Its prefix differs from that of a node, so that no node can be passed off as an entry.
    """
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node from those of its children (section 2.1.1)."""
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
        """Start from the full subtrees, the largest first, of a tree of `size` leaves."""
        if len(hashes) != size.bit_count():
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} full subtrees, not {len(hashes)}"
            )
        self.size, self.hashes = size, list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        # Section 2.1.2: as in counting, each trailing one bit of the size is a full subtree as wide
        # as the one that has just been completed, and merges with it.
        size, subtree = self.size, leaf
        while size & 1:
            # node_hash, spelt out: this line is most of the time of reading a log
            subtree = hashlib.sha256(b"\1" + self.hashes.pop() + subtree).digest()
            size >>= 1
        self.hashes.append(subtree)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        if not self.hashes:
            return EMPTY_ROOT
        # Section 2.1.2: the smaller subtrees are the right children, so they merge first.
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
    """Return the hash of the leaves `start` to `end` - 1 of a subtree (section 2.1.1)."""
    width = end - start
    if width < 1:
        raise ValueError(f"no leaves from {start} to {end}")
    level = (width - 1).bit_length()
    if width == 1 << level:
        return node(level, start >> level)
    middle = _split(start, end)
    return node_hash(range_hash(start, middle, node), range_hash(middle, end, node))


def _split(start: int, end: int) -> int:
    """Return where a subtree splits: its left part is the largest power of two less than it."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def tree_root(size: int, node: Node) -> bytes:
    """Return the root of the first `size` leaves."""
    return range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves (section 2.1.3.1).

    It holds the hashes of the siblings on the way to the root, that of the leaf's own first.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
    # From the root down to the leaf: the part without the leaf is the sibling on that level.
    start, end, proof = 0, size, []
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """Return the proof that a tree of `new` leaves extends one of `old` (section 2.1.4.1)."""
    if not 0 < old <= new:
        raise ValueError(
            f"a consistency proof leads from 1 leaf or more to at least as many, not from {old} to"
            f" {new}"
        )
    # SUBPROOF of the RFC, from the root down to the last full subtree of the old tree.
    start, end, proof = 0, new, []
    # Whether that subtree is the whole old tree: then its root is known to whoever verifies.
    whole = True
    while old != end:
        middle = _split(start, end)
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
    # fn and sn of the RFC: the places of the node and of the last node on the level reached.
    last, root = size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise VerificationError(
                f"the inclusion proof of entry {index} of {size} is too long: {len(proof)} hashes"
            )
        # A right child, or the last node of an incomplete level: the sibling is on the left.
        if index & 1 or index == last:
            root = node_hash(sibling, root)
            # A last node without a sibling moves up as it is.
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
        # Step 2: the old tree is one full subtree, so its root is where the path starts.
        hashes.insert(0, old_root)
    if not hashes:
        raise VerificationError(f"the consistency proof from {old} to {new} entries is empty")
    # Steps 3 to 5: fn, sn, fr and sr of the RFC. The path starts at the last full subtree of the
    # old tree, whose level is the number of trailing one bits of its last leaf's place.
    index, last = old - 1, new - 1
    first = second = hashes[0]
    while index & 1:
        index, last = index >> 1, last >> 1
    for sibling in hashes[1:]:
        if last == 0:
            raise VerificationError(
                f"the consistency proof from {old} to {new} entries is too long"
            )
        # Step 6: what is on the left belongs to both trees, what is on the right to the new one.
        if index & 1 or index == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise VerificationError(f"the consistency proof from {old} to {new} entries is too short")
    # Step 7: the path leads to both roots.
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
