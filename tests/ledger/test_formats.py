"""docs/formats.md and docs/vectors.

Its examples run, and its vectors are what the code makes and refuses.
"""

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from jattr.errors import LedgerError, VerificationError
from jattr.ledger import commitments
from jattr.ledger.keys import Signer
from jattr.ledger.leaves import LEAVES, KeyLeaf, parse_leaf
from jattr.ledger.merkle import leaf_hash

DOCS = Path(__file__).parents[2] / "docs"
FORMATS = (DOCS / "formats.md").read_text(encoding="utf-8")


def read(name: str) -> Any:
    return json.loads((DOCS / "vectors" / f"{name}.json").read_text(encoding="utf-8"))


OPENINGS, LEAF = read("commitments")["openings"], read("leaves")


def test_every_example_gives_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS.parent)
    parsed = doctest.DocTestParser().get_doctest(
        FORMATS.replace("```", ""), {}, "formats.md", "formats.md", 0
    )
    assert len(parsed.examples) > 20
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    runner.run(parsed, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


@pytest.mark.parametrize("case", OPENINGS, ids=[case["field"] for case in OPENINGS])
def test_commitment_vectors(case: dict[str, str]) -> None:
    value = bytes.fromhex(case["value"])
    opening = commitments.Opening(case["field"], bytes.fromhex(case["salt"]), value)
    assert opening.commitment.hex() == case["commitment"]
    again = {
        "latent": lambda: commitments.latent_value(*commitments.parse_latent(value)),
        "seed": lambda: commitments.seed_value(*commitments.parse_seed(value)),
        "recipient": lambda: commitments.recipient_value(commitments.parse_recipient(value)),
    }
    assert again.get(case["field"], lambda: value)() == value


def test_every_field_has_a_vector() -> None:
    assert {case["field"] for case in OPENINGS} == set(commitments.FIELDS)


@pytest.mark.parametrize("case", LEAF["good"], ids=range(len(LEAF["good"])))
def test_good_leaves(case: dict[str, str]) -> None:
    leaf = parse_leaf(case["entry"].encode())
    assert leaf.data == case["entry"].encode()
    assert leaf_hash(leaf.data).hex() == case["leaf_hash"]
    if isinstance(leaf, KeyLeaf):
        leaf.verify()
        signers = [Signer("example.com/log", 1, bytes.fromhex(seed)) for seed in LEAF["key_seeds"]]
        assert KeyLeaf.signed(*signers) == leaf  # Ed25519 signatures are the same every time


@pytest.mark.parametrize("case", LEAF["bad"], ids=[case["why"] for case in LEAF["bad"]])
def test_bad_leaves(case: dict[str, str]) -> None:
    with pytest.raises(LedgerError):
        parse_leaf(case["entry"].encode())


def test_a_false_signature_is_well_spelt_and_void() -> None:
    leaf = parse_leaf(LEAF["false_signature"].encode())
    assert isinstance(leaf, KeyLeaf)
    with pytest.raises(VerificationError):
        leaf.verify()


def test_the_document_names_every_key_of_every_leaf() -> None:
    kinds = {json.loads(case["entry"])["kind"] for case in LEAF["good"]}
    assert kinds == set(LEAVES)
    table = FORMATS[FORMATS.index("## Leaves") : FORMATS.index("The signatures of a `key` leaf")]
    for case in LEAF["good"]:
        for name in set(json.loads(case["entry"])) - {"jattr", "kind"}:
            assert f"`{name}`" in table, name
