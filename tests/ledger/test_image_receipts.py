"""An image and its receipt show offline that a log holds it."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ledger_mutations import mutated
from recorded_logs import FakeGenerator, Owner, latents_of, owner

from jattr.errors import LedgerError, VerificationError
from jattr.images import encode_png
from jattr.ledger.canonical import encode_canonical, parse_canonical
from jattr.ledger.encoding import encode_base64
from jattr.ledger.image_receipts import CheckedReceipt, check_receipt, make_receipt, renewed
from jattr.ledger.keys import Signer
from jattr.ledger.policy import Policy, parse_policy
from jattr.ledger.tlog_proof import TlogProof, parse_tlog_proof

FAKE = FakeGenerator()
Z = latents_of(0, 3)
PIXELS = FAKE.pixels(Z)
FILES = [encode_png(one) for one in PIXELS]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    with owner(tmp_path_factory.mktemp("receipts")) as found:
        yield found


@pytest.fixture(scope="module")
def receipts(mine: Owner) -> list[bytes]:
    released = mine.use(FAKE, Z, PIXELS)
    checkpoint = mine.publish()
    return [make_receipt(mine.log, one, checkpoint) for one in released]


def check(
    receipt: bytes, policy: Policy, *, file: bytes = FILES[0], pixels: Any = PIXELS[0]
) -> CheckedReceipt:
    return check_receipt(receipt, file, pixels, policy)


def with_extra(receipt: bytes, change: Any) -> bytes:
    """A receipt whose extra line was changed."""
    proof = parse_tlog_proof(receipt)
    facts = parse_canonical(proof.extra or b"", "it", 10**6)
    return dataclasses.replace(proof, extra=encode_canonical(change(facts))).data


def test_this_very_file_or_its_pixels(mine: Owner, receipts: list[bytes]) -> None:
    found = check(receipts[0], mine.policy)
    assert (found.matches, found.recipient, found.entry) == ("file", "Ada", 4)
    assert found.checkpoint.witnesses
    saved_again = check(receipts[0], mine.policy, file=FILES[0] + b"more after the end")
    assert saved_again.matches == "pixels"


def test_another_image_is_refused(mine: Owner, receipts: list[bytes]) -> None:
    with pytest.raises(VerificationError, match="of another image"):
        check(receipts[1], mine.policy)
    nearly = PIXELS[0].copy()
    nearly[0, 0, 0] ^= 1
    with pytest.raises(VerificationError, match="of another image"):
        check(receipts[0], mine.policy, file=encode_png(nearly), pixels=nearly)
    turned = PIXELS[0].reshape(4, 16, 3)  # the same bytes in another shape
    with pytest.raises(VerificationError, match="of another image"):
        check(receipts[0], mine.policy, file=encode_png(turned), pixels=turned)


def test_a_receipt_before_publishing_lacks_the_witness(tmp_path: Path) -> None:
    with owner(tmp_path) as mine:
        (one,) = mine.use(FAKE, Z[:1], PIXELS[:1])
        early = make_receipt(mine.log, one, mine.log.sign_checkpoint())
        assert check(early, mine.policy.without_quorum()).checkpoint.witnesses == {}
        with pytest.raises(VerificationError, match="lacks the quorum"):
            check(early, mine.policy)
        later = renewed(mine.log, early, mine.publish())
        assert check(later, mine.policy).matches == "file"
        mine.use(FAKE, Z[1:2], PIXELS[1:2])
        assert check(renewed(mine.log, later, mine.publish()), mine.policy).entry == one.entry
        assert check(later, mine.policy).entry == one.entry  # the old one stays good


def test_a_checkpoint_must_reach_as_far(tmp_path: Path) -> None:
    with owner(tmp_path) as mine:
        mine.use(FAKE, Z[:1], PIXELS[:1])
        early = mine.publish()
        (one,) = mine.use(FAKE, Z[1:2], PIXELS[1:2])
        with pytest.raises(LedgerError, match="not among the first 3"):
            make_receipt(mine.log, one, early)


def test_receipts_of_another_log_are_not_renewed(tmp_path: Path, receipts: list[bytes]) -> None:
    with owner(tmp_path) as other:
        with pytest.raises(LedgerError, match="not of entry 4"):
            renewed(other.log, receipts[0], other.log.sign_checkpoint())
        other.use(FAKE, latents_of(5, 3), PIXELS)
        with pytest.raises(LedgerError, match="not of entry 4"):
            renewed(other.log, receipts[0], other.log.sign_checkpoint())


def test_only_a_log_that_is_trusted(mine: Owner, receipts: list[bytes]) -> None:
    stranger = Signer.generate(mine.log.origin).verifier
    policy = parse_policy(f"log {stranger.vkey}\nquorum none\n".encode())
    with pytest.raises(VerificationError, match="no trusted key"):
        check(receipts[0], policy)


def salted_anew(openings: list[Any]) -> list[Any]:
    return [{**openings[0], "salt": "0" * 64}, *openings[1:]]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda f: {**f, "openings": salted_anew(f["openings"])},
            VerificationError,
            "false opening",
        ),
        (
            lambda f: {**f, "openings": [*f["openings"], f["openings"][0]]},
            LedgerError,
            "opens a field twice",
        ),
        (lambda f: {**f, "openings": []}, VerificationError, "another image"),
        (lambda f: {"openings": f["openings"]}, LedgerError, "no object of a leaf"),
        (lambda f: {**f, "leaf": "!"}, LedgerError, "the leaf of the receipt"),
        (lambda f: {**f, "leaf": 7}, LedgerError, "no text"),
        (lambda f: {**f, "openings": {}}, LedgerError, "no object of a leaf"),
        (lambda f: [], LedgerError, "no object of a leaf"),
        (lambda f: {**f, "more": 1}, LedgerError, "no object of a leaf"),
    ],
)
def test_what_the_proof_does_not_cover_is_checked(
    mine: Owner, receipts: list[bytes], change: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        check(with_extra(receipts[0], change), mine.policy)


def test_other_leaves_speak_of_no_image(mine: Owner, receipts: list[bytes]) -> None:
    checkpoint = parse_tlog_proof(receipts[0]).checkpoint
    proof = mine.log.receipt(1, checkpoint)
    facts = {"leaf": encode_base64(mine.log.entry(1)), "openings": []}
    with pytest.raises(LedgerError, match="only result leaves"):
        check(
            TlogProof(proof.index, proof.hashes, proof.checkpoint, encode_canonical(facts)).data,
            mine.policy,
        )


def test_fields_that_were_not_opened_cannot_be_shown(mine: Owner, receipts: list[bytes]) -> None:
    leaf = mine.log.entry(4)
    commitment = bytes.fromhex(parse_canonical(leaf, "it", 10**5)["perceptual"])
    opening = mine.private.opening(commitment)
    assert opening is not None
    more = with_extra(receipts[0], lambda f: {**f, "openings": [*f["openings"], opening.json]})
    with pytest.raises(LedgerError, match="perceptual"):
        check(more, mine.policy)


def test_damaged_receipts_are_refused_or_say_the_same(mine: Owner, receipts: list[bytes]) -> None:
    rng, sound, policy = random.Random("receipts"), receipts[0], mine.policy
    expected, refused = check(sound, policy), 0
    for _ in range(1500):
        found = outcome(mutated(sound, rng, receipts), policy)
        if isinstance(found, Exception):
            assert str(found).isprintable()
            assert len(str(found)) < 1500
            refused += 1
        else:  # an unknown signature more, an opening less
            assert (found.entry, found.checkpoint.checkpoint) == (
                expected.entry,
                expected.checkpoint.checkpoint,
            )
            assert found.recipient in (expected.recipient, None)
    assert refused > 1400


def outcome(receipt: bytes, policy: Policy) -> CheckedReceipt | LedgerError | VerificationError:
    try:
        return check(receipt, policy)
    except (LedgerError, VerificationError) as error:
        return error


def test_pixels_alone(mine: Owner) -> None:
    """Arrays leave without a file: the receipt opens their pixels."""
    z = latents_of(9, 1)
    pixels = FAKE.pixels(z)
    (one,) = mine.recorder.release(mine.recorder.intend(FAKE, z), pixels)
    receipt = make_receipt(mine.log, one, mine.publish())
    found = check_receipt(receipt, b"any file", pixels[0], mine.policy)
    assert (found.matches, found.recipient) == ("pixels", None)
    with pytest.raises(VerificationError):
        check_receipt(receipt, b"any file", np.zeros_like(pixels[0]), mine.policy)
