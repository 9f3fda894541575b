"""Erasing deletes what commitments hide; leaves, root and proofs stay."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded_logs import FakeGenerator, Owner, latents_of, owner

from jattr.errors import LedgerError, OutputError
from jattr.images import encode_png
from jattr.ledger.image_receipts import check_receipt, make_receipt
from jattr.ledger.leaves import EraseLeaf, IntentLeaf, ResultLeaf, commitments_of, parse_leaf
from jattr.ledger.private import erase
from jattr.ledger.reader import verify_window

FAKE = FakeGenerator()
Z = latents_of(0, 3)
PIXELS = FAKE.pixels(Z)


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Owner]:
    with owner(tmp_path) as found:
        yield found


def hidden(mine: Owner, entry: int) -> list[bytes]:
    """The commitments of a result and of its intent."""
    leaf = parse_leaf(mine.log.entry(entry))
    assert isinstance(leaf, ResultLeaf)
    both = (leaf, parse_leaf(mine.log.entry(leaf.intent)))
    return [bytes.fromhex(value) for one in both for _, value in commitments_of(one)]


def test_everything_of_a_use_goes_and_nothing_else(mine: Owner) -> None:
    first, second, third = mine.use(FAKE, Z, PIXELS, seed=3)
    mine.publish()
    root, size = mine.log.root_at(7), mine.log.size
    place, gone = erase(mine.log, mine.private, [third.entry, first.entry], "on request")
    assert (place, gone) == (size, 2 * 6)  # file, pixels, perceptual, recipient; latent, seed
    assert parse_leaf(mine.log.entry(place)) == EraseLeaf((first.entry, third.entry), "on request")
    for one in (first, third):
        assert [mine.private.opening(c) for c in hidden(mine, one.entry)] == [None] * 6
        assert mine.private.image(one.openings[1].commitment) is None
    assert all(mine.private.opening(c) for c in hidden(mine, second.entry))
    assert mine.log.root_at(7) == root
    checkpoint = mine.publish()
    assert verify_window(mine.public, None, mine.policy.open(checkpoint).checkpoint) == size + 1
    receipt = make_receipt(mine.log, first, checkpoint)  # the recipient still has what opens it
    assert check_receipt(receipt, encode_png(PIXELS[0]), PIXELS[0], mine.policy).recipient == "Ada"


def test_erasing_again_completes_what_was_interrupted(
    mine: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, *_) = mine.use(FAKE, Z, PIXELS)

    def full(commitments: Any) -> int:
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(mine.private, "erase", full)
        with pytest.raises(OutputError):
            erase(mine.log, mine.private, [one.entry], "on request")
    assert isinstance(parse_leaf(mine.log.entry(mine.log.size - 1)), EraseLeaf)
    assert erase(mine.log, mine.private, [one.entry], "on request")[1] == 5
    assert erase(mine.log, mine.private, [one.entry, one.entry], "on request")[1] == 0


@pytest.mark.parametrize("entries", [[], [0], [1], [7], [4, 2**53 - 1], [4, 1]])
def test_only_results_can_be_erased(mine: Owner, entries: list[int]) -> None:
    released = mine.use(FAKE, Z, PIXELS)
    assert [one.entry for one in released] == [4, 5, 6]
    with pytest.raises(LedgerError):
        erase(mine.log, mine.private, entries, "on request")
    assert mine.log.size == 7
    assert all(mine.private.opening(c) for one in released for c in hidden(mine, one.entry))


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 1001])
def test_a_reason_is_a_text_of_a_leaf(mine: Owner, reason: str) -> None:
    (one, *_) = mine.use(FAKE, Z, PIXELS)
    with pytest.raises(LedgerError, match="reason"):
        erase(mine.log, mine.private, [one.entry], reason)
    assert all(mine.private.opening(c) for c in hidden(mine, one.entry))


def test_a_result_without_an_intent_is_erased_as_far_as_it_goes(mine: Owner) -> None:
    (one, *_) = mine.use(FAKE, Z, PIXELS)
    leaf = parse_leaf(mine.log.entry(one.entry))
    assert isinstance(leaf, ResultLeaf)
    # it names the model
    odd = ResultLeaf(0, leaf.file, leaf.pixels, leaf.perceptual, leaf.recipient)
    (place,) = mine.log.append([odd.data])
    assert erase(mine.log, mine.private, [place], "on request")[1] == 4
    intent = parse_leaf(mine.log.entry(one.intent))
    assert isinstance(intent, IntentLeaf)
    assert mine.private.opening(bytes.fromhex(intent.latent))
