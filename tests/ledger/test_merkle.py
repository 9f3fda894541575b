"""Proofs of the Merkle tree against published probes, and against every bit flip."""

import base64
import hashlib
from collections.abc import Callable

import pytest
from ledger_vectors import vectors

from jattr.errors import VerificationError
from jattr.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    range_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)


def nodes(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node


def decoded(hashes: list[str] | None) -> list[bytes]:
    return [base64.b64decode(hash) for hash in hashes or []]


def agrees(check: Callable[[], None]) -> bool:
    try:
        check()
    except VerificationError:
        return False
    return True


@pytest.mark.reference
def test_inclusion_probes() -> None:
    probes = vectors("rfc6962_inclusion_probes")["vectors"]
    for probe in probes:
        leaf, root = base64.b64decode(probe["leafHash"]), base64.b64decode(probe["root"])
        args = leaf, probe["leafIdx"], probe["treeSize"], decoded(probe["proof"]), root
        assert agrees(lambda args=args: verify_inclusion(*args)) is not probe["wantErr"], probe[
            "_path"
        ]
    assert len(probes) == 98


@pytest.mark.reference
def test_consistency_probes() -> None:
    probes = vectors("rfc6962_consistency_probes")["vectors"]
    for probe in probes:
        roots = base64.b64decode(probe["root1"]), base64.b64decode(probe["root2"])
        args = probe["size1"], probe["size2"], *roots, decoded(probe["proof"])
        assert agrees(lambda args=args: verify_consistency(*args)) is not probe["wantErr"], probe[
            "_path"
        ]
    assert len(probes) == 98


@pytest.mark.reference
def test_hashes_and_small_tree() -> None:
    reference = vectors("rfc6962_reference_tree")
    assert EMPTY_ROOT.hex() == reference["hasher"]["empty_root"]
    for case in reference["hasher"]["leaf_hashes"]:
        assert leaf_hash(bytes.fromhex(case["leaf_hex"])).hex() == case["hash"]
    for case in reference["hasher"]["node_hashes"]:
        assert (
            node_hash(bytes.fromhex(case["left_hex"]), bytes.fromhex(case["right_hex"])).hex()
            == case["hash"]
        )
    tree = reference["tree8"]
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in tree["leaf_inputs_hex"]]
    for level, hashes in enumerate(tree["node_hashes_by_level"]):
        assert [nodes(leaves)(level, index).hex() for index in range(len(hashes))] == hashes
    for size, root in enumerate(tree["roots_by_size"]):
        assert root_of(leaves[:size]).hex() == tree_root(size, nodes(leaves)).hex() == root


@pytest.mark.reference
def test_golden_roots() -> None:
    golden = {
        int(size): base64.b64decode(root)
        for size, root in vectors("rfc6962_reference_tree")["golden_roots"]["roots_b64"].items()
    }
    tree = Frontier()
    seen = 0
    for index in range(max(golden)):
        tree.append(leaf_hash(bytes([index & 0xFF, index >> 8 & 0xFF])))
        if tree.size in golden:
            assert tree.root() == golden[tree.size]
            seen += 1
    assert seen == len(golden) == 11


@pytest.fixture(scope="module")
def hundred() -> list[bytes]:
    return [leaf_hash(f"leaf {index}".encode()) for index in range(100)]


def test_every_proof_to_100_leaves(hundred: list[bytes]) -> None:
    node = nodes(hundred)
    for size in range(1, 101):
        root = tree_root(size, node)
        for index in range(size):
            verify_inclusion(hundred[index], index, size, inclusion_proof(index, size, node), root)
        for old in range(1, size + 1):
            verify_consistency(
                old, size, tree_root(old, node), root, consistency_proof(old, size, node)
            )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 31, 64, 65, 100])
def test_every_bit_flip_of_an_inclusion_proof_is_rejected(hundred: list[bytes], size: int) -> None:
    root = tree_root(size, nodes(hundred))
    for index in {0, size // 2, size - 1}:

        def proves(leaf: bytes, *proof: bytes, index: int = index) -> bool:
            return agrees(lambda: verify_inclusion(leaf, index, size, proof[:-1], proof[-1]))

        proof = inclusion_proof(index, size, nodes(hundred))
        assert proves(hundred[index], *proof, root)
        assert not any(proves(*bad) for bad in flips([hundred[index], *proof, root]))
        assert not proves(hundred[index], *proof, root, root)
        assert not proof or not proves(hundred[index], *proof[:-1], root)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 31, 64, 65, 100])
def test_every_bit_flip_of_a_consistency_proof_is_rejected(hundred: list[bytes], size: int) -> None:
    root = tree_root(size, nodes(hundred))
    for old in {1, (size + 1) // 2, size}:

        def proves(old_root: bytes, *proof: bytes, old: int = old) -> bool:
            return agrees(lambda: verify_consistency(old, size, old_root, proof[-1], proof[:-1]))

        proof, old_root = (
            consistency_proof(old, size, nodes(hundred)),
            tree_root(old, nodes(hundred)),
        )
        assert proves(old_root, *proof, root)
        assert not any(proves(*bad) for bad in flips([old_root, *proof, root]))
        assert not proves(old_root, *proof, root, root)
        assert not proof or not proves(old_root, *proof[:-1], root)


def flips(hashes: list[bytes]) -> list[list[bytes]]:
    """Every way to flip one bit of one hash."""
    flipped = []
    for place, hash in enumerate(hashes):
        for bit in range(256):
            changed = bytearray(hash)
            changed[bit // 8] ^= 1 << bit % 8
            flipped.append([*hashes[:place], bytes(changed), *hashes[place + 1 :]])
    return flipped


def test_a_proof_from_nothing_is_refused() -> None:
    with pytest.raises(VerificationError, match="from 0 to 5"):
        verify_consistency(0, 5, EMPTY_ROOT, hashlib.sha256(b"").digest(), [])


def test_the_tree_refuses_what_it_cannot_prove(hundred: list[bytes]) -> None:
    node = nodes(hundred)
    for call in (
        lambda: inclusion_proof(5, 5, node),
        lambda: consistency_proof(0, 5, node),
        lambda: range_hash(3, 3, node),
        lambda: Frontier(3, [b""]),
    ):
        with pytest.raises(ValueError, match=r"leaf|leaves"):
            call()


def test_a_frontier_goes_on_where_another_stood(hundred: list[bytes]) -> None:
    for split in range(101):
        first = Frontier()
        for leaf in hundred[:split]:
            first.append(leaf)
        second = Frontier(first.size, first.hashes)
        for leaf in hundred[split:]:
            second.append(leaf)
        assert second.root() == tree_root(100, nodes(hundred))
