"""What leaves say together, and which of them a nonce chooses."""

import random
from collections import Counter

import pytest

from jattr.errors import LedgerError
from jattr.ledger.evidence.window import Leaves, sample_entries
from jattr.ledger.leaves import EraseLeaf, IntentLeaf, Leaf, ModelLeaf, ResultLeaf

ZERO = "0" * 64
MODEL = ModelLeaf("m", ZERO, ZERO, "code", ZERO, {})


def intent(model: int) -> IntentLeaf:
    return IntentLeaf(model, ZERO, None, {}, None)


def result(of: int) -> ResultLeaf:
    return ResultLeaf(of, None, ZERO, ZERO, None)


def read(log: list[Leaf | bytes], first: int = 0) -> Leaves:
    entries = [leaf if isinstance(leaf, bytes) else leaf.data for leaf in log]
    leaves = Leaves(lambda number: entries[number] if number < len(entries) else None)
    for number in range(first, len(entries)):
        leaves.read(number, entries[number])
    return leaves


def test_a_result_leads_to_its_intent_and_its_model() -> None:
    log: list[Leaf | bytes] = [MODEL, intent(0), b"", intent(0), result(1), EraseLeaf((4,), "why")]
    leaves = read(log)
    assert (leaves.entries, leaves.unreadable, leaves.erased, leaves.orphans()) == (6, 1, {4}, [3])
    assert leaves.model_of(4) == MODEL
    assert leaves.model_of(3) == MODEL
    late = read(log, 2)  # model and intent stand before the window, and are fetched
    assert (late.entries, late.model_of(4), late.orphans()) == (4, MODEL, [3])


@pytest.mark.parametrize("of", [0, 2, 3, 4, 5, 10**9])
def test_a_result_that_leads_elsewhere_has_no_model(of: int) -> None:
    """To a model, to no leaf, to another result, to itself, to an intent after it, to nothing."""
    leaves = read([MODEL, intent(0), b"", result(1), result(of), intent(0)])
    assert leaves.model_of(4) is None
    assert leaves.model_of(3) == MODEL
    assert leaves.commitment(4, "latent") is None
    assert leaves.commitment(4, "pixels") == bytes(32)


def test_entries_before_the_window_commit_to_nothing_in_it() -> None:
    leaves = read([MODEL, intent(0), result(1)], 2)
    assert leaves.commitment(1, "latent") is None
    assert leaves.commitment(2, "latent") == bytes(32)
    assert leaves.commitment(2, "seed") is None


def test_an_entry_that_is_withheld_is_no_entry_that_is_missing() -> None:
    def withheld(number: int) -> bytes:
        raise LedgerError("withheld")

    leaves = Leaves(withheld)
    leaves.read(7, result(1).data)
    with pytest.raises(LedgerError, match="withheld"):
        leaves.model_of(7)


def test_the_sample_depends_on_root_nonce_and_entries_alone() -> None:
    entries = list(range(100, 400, 3))
    sample = sample_entries(entries, "a nonce", 8, bytes(32))
    assert len(set(sample)) == 8
    assert list(sample) == sorted(sample)
    assert set(sample) <= set(entries)
    shuffled = random.Random(0).sample(entries, len(entries))
    assert sample_entries(shuffled, "a nonce", 8, bytes(32)) == sample
    assert sample_entries(entries, "another", 8, bytes(32)) != sample
    assert sample_entries(entries, "a nonce", 8, bytes([1] * 32)) != sample
    assert sample_entries(entries, "a nonce", 1000, bytes(32)) == tuple(entries)
    assert (
        sample_entries(entries, "a nonce", 0, bytes(32))
        == sample_entries([], "a nonce", 8, bytes(32))
        == ()
    )
    assert set(sample_entries(entries, "a nonce", 7, bytes(32))) < set(sample)


def test_every_entry_is_chosen_as_often_as_any_other() -> None:
    """2,000 nonces, 2 of 10 entries: 400 of each are expected, with a deviation of 18.

    5 of those are allowed.
    """
    found = Counter(
        entry for n in range(2000) for entry in sample_entries(range(10), f"{n}", 2, bytes(32))
    )
    assert sum(found.values()) == 4000
    assert max(abs(found[entry] - 400) for entry in range(10)) <= 90
