"""Leaves: one spelling, and nothing that is not of the schema."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jattr.errors import LedgerError, VerificationError
from jattr.ledger import leaves
from jattr.ledger.canonical import encode_canonical
from jattr.ledger.keys import COSIGNATURE, Signer
from jattr.ledger.leaves import (
    EraseLeaf,
    IntentLeaf,
    KeyLeaf,
    Leaf,
    ModelLeaf,
    ResultLeaf,
    parse_leaf,
)

SETTINGS = settings(deadline=None, max_examples=150, database=None, derandomize=True)
A, B, C, D = ("abcd"[n] * 64 for n in range(4))
OLD, NEW = (Signer("example.com/log", 1, bytes([n]) * 32) for n in (1, 2))
EXAMPLES: list[Leaf] = [
    ModelLeaf(
        "dcgan",
        A,
        B,
        "jattr 0.1.0",
        C,
        {"psi": "0.7", "label": 3, "noise": None, "clip": True, "x": ""},
    ),
    IntentLeaf(0, A, B, {}, "drand 4711"),
    IntentLeaf(2**53 - 1, A, None, {"number": -1}, None),
    ResultLeaf(1, A, B, C, D),
    ResultLeaf(1, None, B, C, None),
    KeyLeaf.signed(OLD, NEW),
    EraseLeaf((1, 2, 70_000), "Art. 17 DSGVO, Größe"),
]
ids = [f"{leaf.kind}-{number}" for number, leaf in enumerate(EXAMPLES)]


@pytest.mark.parametrize("leaf", EXAMPLES, ids=ids)
def test_a_leaf_comes_back(leaf: Leaf) -> None:
    assert parse_leaf(leaf.data) == leaf
    assert parse_leaf(leaf.data).data == leaf.data
    assert json.loads(leaf.data)["kind"] == leaf.kind


def test_all_kinds_are_tried() -> None:
    assert {leaf.kind for leaf in EXAMPLES} == set(leaves.LEAVES)


@pytest.mark.parametrize("leaf", EXAMPLES, ids=ids)
def test_no_key_may_be_missing_or_more(leaf: Leaf) -> None:
    for name in leaf.json:
        with pytest.raises(LedgerError):
            parse_leaf(
                encode_canonical({key: value for key, value in leaf.json.items() if key != name})
            )
    for name in ("more", "data", "json", "__class__", "verify"):
        with pytest.raises(LedgerError, match="lacks keys, or has unknown ones"):
            parse_leaf(encode_canonical(leaf.json | {name: None}))


WRONG: list[Any] = [
    True,
    -1,
    2**53 - 1,
    "",
    "x" * 1001,
    "a\nb",
    "\x1b[2J",
    A.upper(),
    A[:-1],
    "é",
    [],
    [[]],
    {},
    {"a": []},
]


@pytest.mark.parametrize("leaf", EXAMPLES, ids=ids)
def test_a_field_of_another_type_is_refused(leaf: Leaf) -> None:
    """Whatever is put for a field either is refused or comes back as it was put."""
    for item in dataclasses.fields(leaf):
        refused = 0
        for wrong in WRONG:
            data = encode_canonical(leaf.json | {item.name: wrong})
            try:
                assert parse_leaf(data).data == data
            except LedgerError:
                refused += 1
        assert refused >= len(WRONG) - 3, item.name  # an index, a text, empty settings are legal


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"psi": 0.7}},
        {"settings": {"psi": {"deep": 1}}},
        {"settings": {"big": 2**53}},
        {"settings": {"a\n": 1}},
        {"settings": {str(number): 1 for number in range(201)}},
        {"settings": None},
        {"name": "\u202efdp.exe"},
        {"digest": A.upper()},
        {"weights_digest": None},
    ],
)
def test_models_that_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LedgerError):
        dataclasses.replace(EXAMPLES[0], **changes)


def test_settings_are_the_leafs_own() -> None:
    settings: dict[str, Any] = {"psi": "0.7"}
    leaf = IntentLeaf(0, A, None, settings, None)
    settings["psi"] = "0.8"
    assert leaf.settings == {"psi": "0.7"}


@pytest.mark.parametrize("entries", [(), (2, 1), (1, 1), (-1,), (True,), [1], (2**53,)])
def test_erasures_that_are_refused(entries: Any) -> None:
    with pytest.raises(LedgerError):
        EraseLeaf(entries, "why")


def test_a_leaf_is_no_larger_than_an_entry() -> None:
    fits = EraseLeaf(tuple(range(10_000)), "why")
    assert parse_leaf(fits.data) == fits
    with pytest.raises(LedgerError, match="at most 65535"):
        EraseLeaf(tuple(range(20_000)), "why").data  # noqa: B018


def test_a_rotation_is_signed_by_both_keys() -> None:
    leaf = KeyLeaf.signed(OLD, NEW)
    leaf.verify()
    third = Signer("example.com/log", 1, bytes([3]) * 32)
    forged = [
        dataclasses.replace(leaf, signatures=leaf.signatures[::-1]),
        dataclasses.replace(leaf, signatures=KeyLeaf.signed(OLD, third).signatures),
        dataclasses.replace(leaf, new=third.verifier.vkey),
        dataclasses.replace(leaf, old=NEW.verifier.vkey, new=OLD.verifier.vkey),
        dataclasses.replace(
            leaf, signatures=(leaf.signatures[0], KeyLeaf.signed(OLD, third).signatures[1])
        ),
    ]
    for wrong in forged:
        assert parse_leaf(wrong.data) == wrong  # well spelt
        with pytest.raises(VerificationError, match="void"):
            wrong.verify()


def test_a_rotation_signs_no_note() -> None:
    """What the old key signed begins with bytes that no note has, and is not the leaf itself."""
    leaf = KeyLeaf.signed(OLD, NEW)
    statement = encode_canonical(
        {key: value for key, value in leaf.json.items() if key != "signatures"}
    )
    assert leaves._rotation(leaf.old, leaf.new) == "jattr/key/v1\0" + statement.decode()
    for text in (statement.decode(), statement.decode() + "\n", leaf.data.decode()):
        with pytest.raises(VerificationError):
            OLD.verifier.verify(text, OLD.sign(leaves._rotation(leaf.old, leaf.new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, OLD),
        (OLD, Signer("example.com/other", 1, NEW.seed)),
        (OLD, Signer(OLD.name, COSIGNATURE, NEW.seed)),
    ],
)
def test_rotations_that_are_refused(old: Signer, new: Signer) -> None:
    with pytest.raises(LedgerError):
        KeyLeaf.signed(old, new)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"null",
            b"[]",
            b"{}",
            b'"leaf/v1"',
            b'{"jattr":"leaf/v1"}',
            b'{"jattr":"leaf/v1","kind":[]}',
        ),
        *(
            b'{"jattr":"leaf/v1","kind":"model"}',
            b'{"jattr":"leaf/v2","kind":"erase"}',
            b"\xff" * 9,
        ),
        *(b"[" * 65_535, b"1" * 65_536),
    ],
)
def test_entries_that_are_no_leaves(data: bytes) -> None:
    with pytest.raises(LedgerError):
        parse_leaf(data)


@SETTINGS
@given(
    st.sampled_from(EXAMPLES),
    st.integers(0, 10**6),
    st.integers(0, 255),
    st.sampled_from(["change", "insert", "cut"]),
)
def test_a_changed_byte_is_refused_or_another_leaf(
    leaf: Leaf, place: int, byte: int, how: str
) -> None:
    data, place = leaf.data, place % len(leaf.data)
    middle = {
        "change": bytes([byte]),
        "insert": bytes([byte]) + data[place : place + 1],
        "cut": b"",
    }[how]
    changed = data[:place] + middle + data[place + 1 :]
    try:
        found = parse_leaf(changed)
    except LedgerError:
        return
    assert found.data == changed
    assert (found == leaf) == (changed == data)


def test_commitments_of_leaves() -> None:
    intent, given, result = EXAMPLES[1], EXAMPLES[2], EXAMPLES[3]
    assert leaves.commitments_of(intent) == [("latent", A), ("seed", B)]
    assert leaves.commitments_of(given) == [("latent", A)]
    assert leaves.commitments_of(result) == [
        ("file", A),
        ("pixels", B),
        ("perceptual", C),
        ("recipient", D),
    ]
    assert leaves.commitments_of(EXAMPLES[0]) == []
