"""Damaged notes, keys, policies, proofs, receipts, tiles, bundles, requests, leaves.

Each refused, by a clear error.

10,000 damaged files; JATTR_FUZZ=100000 tries more. A damaged file may be accepted only where it
says the same as the sound one in everything that is trusted (an unknown signature more, say), or,
for what nothing authenticates, where it is itself spelt as what was read is written. Every flipped
bit of logs up to 100 entries is tried besides.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from ledger_mutations import mutated
from ledger_trees import tree_of

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.encoding import encode_base64, parse_base64, parse_decimal
from jattr.ledger.keys import COSIGNATURE, ML_DSA_44, Signer, parse_skey, parse_vkey
from jattr.ledger.leaves import IntentLeaf, KeyLeaf, parse_leaf
from jattr.ledger.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from jattr.ledger.note import open_note, parse_note, sign_note
from jattr.ledger.policy import OpenedCheckpoint, Policy, parse_policy
from jattr.ledger.tiles import encode_bundle, nodes_from, parse_bundle, parse_tile_path
from jattr.ledger.tlog_proof import TlogProof, parse_tlog_proof
from jattr.ledger.witness import Witness, make_request, parse_request
from jattr.ledger.witness_store import WitnessStore

COUNT = int(os.environ.get("JATTR_FUZZ", "10000"))
COUNTS = pytest.mark.parametrize("count", [1000, pytest.param(COUNT, marks=pytest.mark.corpus)])
LOG = Signer("example.com/log", 1, bytes(range(32)))
WITNESS = Signer("example.com/witness", COSIGNATURE, bytes(range(1, 33)))
LARGE = Signer("example.com/large", ML_DSA_44, bytes(range(2, 34)))
TREE = tree_of(200)
SIZE, OLD, INDEX = 200, 77, 123
RULES = f"""# whom we trust
log {LOG.verifier.vkey} https://example.com/log
witness w1 {WITNESS.verifier.vkey} https://witness.example
witness w2 {LARGE.verifier.vkey}
group both all w1 w2
quorum both
"""
BOTH = parse_policy(RULES.encode())
POLICY = parse_policy(
    f"log {LOG.verifier.vkey}\nwitness w {WITNESS.verifier.vkey}\nquorum w\n".encode()
)


def checkpoint(size: int) -> bytes:
    text = Checkpoint("example.com/log", size, TREE.root(size)).text
    return sign_note(text, [LOG, WITNESS], time=1_700_000_000)


NOTE = checkpoint(SIZE)
TALL = sign_note(
    parse_note(NOTE).text, [LARGE], time=1_700_000_000, existing=parse_note(NOTE).signatures
)
RECEIPT = TlogProof(INDEX, tuple(inclusion_proof(INDEX, SIZE, TREE.node)), NOTE).data
INCLUSION = b"".join(inclusion_proof(INDEX, SIZE, TREE.node))
CONSISTENCY = b"".join(consistency_proof(OLD, SIZE, TREE.node))
BUNDLE = encode_bundle(TREE.entries)
TILE = b"".join(TREE.node(0, index) for index in range(SIZE))
ROTATION = KeyLeaf.signed(LOG, Signer("example.com/log", 1, bytes(32)))
INTENT = IntentLeaf(
    3, "ab" * 32, None, {"psi": "0.5", "noise": True, "psi_cutoff": 8}, "\N{EM DASH} beacon"
)


def same(ok: bool, data: bytes) -> bytes:
    if not ok:
        raise VerificationError("another root")
    return data


def hashes(data: bytes) -> list[bytes]:
    return [data[place : place + 32] for place in range(0, len(data), 32)]


def trusted(opened: OpenedCheckpoint) -> bytes:
    times = sorted((key.vkey, time) for key, time in opened.witnesses.items())
    return repr((opened.checkpoint, opened.log, times)).encode()


def read_receipt(data: bytes) -> bytes:
    proof = parse_tlog_proof(data)
    assert proof.data == data
    return repr((proof.index, proof.hashes)).encode() + trusted(
        proof.verify(TREE.entries[INDEX], POLICY)
    )


def read_inclusion(data: bytes) -> bytes:
    verify_inclusion(leaf_hash(TREE.entries[INDEX]), INDEX, SIZE, hashes(data), TREE.root(SIZE))
    return data


def read_consistency(data: bytes) -> bytes:
    verify_consistency(OLD, SIZE, TREE.root(OLD), TREE.root(SIZE), hashes(data))
    return data


def read_bundle(data: bytes) -> bytes:
    entries = parse_bundle(data, SIZE)
    assert encode_bundle(entries) == data
    return same(root_of(map(leaf_hash, entries)) == TREE.root(SIZE), data)


def read_rotation(data: bytes) -> bytes:
    leaf = parse_leaf(data)
    assert isinstance(leaf, KeyLeaf)
    leaf.verify()
    return leaf.data


def read_policy(data: bytes) -> bytes:
    """Write the policy that was read. Comments, blanks and the order of lines mean nothing."""
    written = policy_words(parse_policy(data))
    as_it_stands = sorted(filter(None, map(words, data.split(b"\n"))))
    return data if sorted(written) == as_it_stands else repr(written).encode()


def words(line: bytes) -> list[bytes]:
    """Return the words of a line that is no comment, the rule of a group as a number."""
    found = [word for word in line.replace(b"\t", b" ").split(b" ") if word]
    if found and found[0].startswith(b"#"):
        return []
    if found[:1] == [b"group"]:
        counts = {b"any": b"1", b"all": b"%d" % len(found[3:])}
        found[2] = counts.get(found[2], found[2])
    return found


def policy_words(policy: Policy) -> list[list[bytes]]:
    lines = [[b"log", log.key.vkey.encode(), *filter(None, [log.url])] for log in policy.logs]
    for name, party in policy.witnesses.items():
        lines.append([b"witness", name, party.key.vkey.encode(), *filter(None, [party.url])])
    lines += [
        [b"group", name, b"%d" % group.threshold, *group.members]
        for name, group in policy.groups.items()
    ]
    return [*lines, [b"quorum", policy.quorum]]


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    sound: bytes
    read: Callable[[bytes], bytes]  # raises, or returns what was read in the one way to write it
    authentic: bool = False  # nothing but what the sound file says may be accepted


TARGETS = {
    "note": Target(NOTE, lambda data: open_note(data, [LOG.verifier]).text.encode(), True),
    "checkpoint": Target(NOTE, lambda data: trusted(POLICY.open(data)), True),
    "large checkpoint": Target(TALL, lambda data: trusted(BOTH.open(data)), True),
    "receipt": Target(RECEIPT, read_receipt, True),
    "inclusion proof": Target(INCLUSION, read_inclusion, True),
    "consistency proof": Target(CONSISTENCY, read_consistency, True),
    "bundle": Target(BUNDLE, read_bundle, True),
    "tile": Target(TILE, lambda data: same(root_of(hashes(data)) == TREE.root(SIZE), data), True),
    "nodes of a tile": Target(
        TILE,
        lambda data: same(
            tree_root(SIZE, nodes_from(lambda *_: data)) == TREE.root(SIZE), data[: SIZE * 32]
        ),
        True,
    ),
    "rotation": Target(ROTATION.data, read_rotation, True),
    "spelling of a note": Target(NOTE, lambda data: parse_note(data).data),
    "text of a checkpoint": Target(
        parse_note(NOTE).text.encode(), lambda data: bytes_of(parse_checkpoint(text_of(data)).text)
    ),
    "vkey": Target(
        LOG.verifier.vkey.encode(), lambda data: bytes_of(parse_vkey(text_of(data)).vkey)
    ),
    "long vkey": Target(
        LARGE.verifier.vkey.encode(), lambda data: bytes_of(parse_vkey(text_of(data)).vkey)
    ),
    "skey": Target(LOG.skey.encode(), lambda data: bytes_of(parse_skey(text_of(data)).skey)),
    "policy": Target(RULES.encode(), read_policy),
    "path of a tile": Target(
        b"tile/0/x001/x234/067.p/5", lambda data: bytes_of(str(parse_tile_path(text_of(data))))
    ),
    "request": Target(
        make_request(OLD, hashes(CONSISTENCY), NOTE).data, lambda data: parse_request(data).data
    ),
    "leaf": Target(INTENT.data, lambda data: parse_leaf(data).data),
    "number": Target(b"1234567890123456789", lambda data: b"%d" % parse_decimal(data, "it")),
    "base64": Target(
        encode_base64(bytes(range(34))).encode(),
        lambda data: encode_base64(parse_base64(data, "it")).encode(),
    ),
}
SOUND = [target.sound for target in TARGETS.values()]


def clear(error: Exception, *, secret: str = "") -> bool:
    """Whether the message is one line that can be printed, not too long, and without what is
    secret.
    """
    message = str(error)
    return (
        0 < len(message) < 1500 and message.isprintable() and (not secret or secret not in message)
    )


@COUNTS
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_refused(name: str, count: int) -> None:
    target, rng = TARGETS[name], random.Random(name)
    expected = target.read(target.sound)
    assert target.authentic or expected == target.sound
    refused = 0
    for number in range(-(-count // len(TARGETS))):
        data = mutated(target.sound, rng, SOUND)
        read = outcome(target, data)
        if isinstance(read, Exception):
            assert clear(read, secret=LOG.skey[-40:-4] if name == "skey" else ""), (
                number,
                str(read),
            )
            refused += 1
        else:
            assert read == (expected if target.authentic else data), (number, data)
    assert refused


def outcome(target: Target, data: bytes) -> bytes | LedgerError | VerificationError:
    try:
        return target.read(data)
    except (LedgerError, VerificationError) as error:
        return error


@COUNTS
def test_a_witness_cosigns_no_damaged_request(tmp_path: Path, count: int) -> None:
    rng, sound = random.Random("witness"), make_request(OLD, hashes(CONSISTENCY), NOTE).data
    statuses: dict[int, int] = {}
    with WitnessStore.create(tmp_path, [WITNESS]) as store:
        witness = Witness(store, [LOG.verifier], clock=lambda: 1_800_000_000)
        assert witness.add_checkpoint(make_request(0, [], checkpoint(OLD)).data).status == 200
        bodies = [mutated(sound, rng, SOUND) for _ in range(count // len(TARGETS))]
        answers = [(body, witness.add_checkpoint(body)) for body in bodies]
        for body, answer in answers:
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            # signatures of others may be damaged, and so may a second line of the log
            if answer.status == 200:
                assert parse_request(body).checkpoint == parse_request(sound).checkpoint
            assert answer.body.decode().count("\n") == 1
            assert answer.body.decode()[:-1].isprintable()
        assert set(statuses) <= {200, 400, 403, 404, 409, 422}
        assert {400, 403, 422} <= set(statuses)


def every_flip(data: bytes) -> Sequence[bytes]:
    """Every way to flip one bit."""
    return [
        data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        for place in range(len(data))
        for bit in range(8)
    ]


def accepts(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except (LedgerError, VerificationError):
        return False
    return True


ALL = "JATTR_FUZZ" in os.environ  # every size and place, not some of each
SIZES = [1, 3, 8, *(pytest.param(size, marks=pytest.mark.corpus) for size in (2, 37, 64, 99, 100))]


@pytest.mark.parametrize("size", range(1, 101) if ALL else SIZES)
def test_every_flipped_bit_of_a_proof(size: int) -> None:
    for index in range(size) if ALL else {0, 37 % size, size - 1}:
        proof = TlogProof(index, tuple(inclusion_proof(index, size, TREE.node)), b"a checkpoint")

        def read_proof(data: bytes, index: int = index) -> None:
            found = parse_tlog_proof(data + b"\n\na checkpoint")
            verify_inclusion(
                leaf_hash(TREE.entries[index]), found.index, size, found.hashes, TREE.root(size)
            )

        sound = proof.data.removesuffix(b"\n\na checkpoint")
        read_proof(sound)
        assert [bad for bad in every_flip(sound) if accepts(read_proof, bad)] == []
    for old in range(1, size + 1) if ALL else {1, 37 % size or 1, size}:

        def read_hashes(data: bytes, old: int = old) -> None:
            verify_consistency(old, size, TREE.root(old), TREE.root(size), hashes(data))

        sound = b"".join(consistency_proof(old, size, TREE.node))
        read_hashes(sound)
        assert [bad for bad in every_flip(sound) if accepts(read_hashes, bad)] == []


@pytest.mark.parametrize("size", range(1, 101) if ALL else [1, 100])
def test_every_flipped_bit_of_a_checkpoint(size: int) -> None:
    sound = sign_note(
        Checkpoint("example.com/log", size, TREE.root(size)).text,
        [LOG, WITNESS],
        time=1_700_000_000,
    )
    assert accepts(POLICY.open, sound)
    assert [bad for bad in every_flip(sound) if accepts(POLICY.open, bad)] == []
