"""What a window must have, and what in it leaves a gap.

Witnesses, ends, orphans, erased uses, other models, keys.
"""

from pathlib import Path

import pytest
from recorded_logs import Owner, owner
from tiny_world import (
    DENIED,
    FOREIGN,
    NONCE,
    World,
    Z,
    both,
    file_of,
    log_uses,
    made_of,
    pixels_of,
    stranger,
    tiny,
    verified,
)

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.evidence.judge import CONSISTENT, INCOMPLETE, NOT_SUPPORTED, SUPPORTED
from jattr.ledger.evidence.make import EvidenceRequest, make_evidence
from jattr.ledger.evidence.verify import verify_evidence
from jattr.ledger.keys import Signer
from jattr.ledger.leaves import IntentLeaf, KeyLeaf, parse_leaf
from jattr.ledger.policy import parse_policy
from jattr.ledger.private import erase
from jattr.ledger.reader import PublishedLog


def test_without_a_witness_no_denial(mine: Owner) -> None:
    log_uses(mine)
    verdict = both(mine, FOREIGN, mine.publish(witnessed=False))
    assert verdict.kind == INCOMPLETE
    assert verdict.weaknesses == (
        "no independent witness has cosigned both ends of the window: another log may have been"
        " shown",
    )


def test_a_witness_that_the_verifier_does_not_trust_counts_for_nothing(world: World) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    log, witness = world.mine.keys[0].vkey, world.mine.witness_key.vkey
    # nobody's choice cosigned
    asks_nobody = parse_policy(f"log {log}\nwitness w {witness}\nquorum none\n".encode())
    stranger_only = parse_policy(f"log {log}\nquorum none\n".encode())
    for policy in (asks_nobody, stranger_only):
        with pytest.raises(VerificationError, match=r"window, verdict: .*no independent witness"):
            verify_evidence(data, world.mine.public, policy, gen=tiny(), nonce=NONCE)


def test_a_window_that_does_not_begin_with_the_log(mine: Owner) -> None:
    """Model and intents stand before it; uses before it are not its matter."""
    log_uses(mine, (5,))
    waiting = mine.recorder.intend(tiny(), Z[[0, 1]])
    start = mine.publish()
    results = mine.recorder.release(waiting, pixels_of(tiny(), Z[[0, 1]]))
    later = log_uses(mine, (2,))
    end = mine.publish()
    for place, use in ((0, results[0].entry), (2, later[0])):
        verdict = both(mine, file_of(place), end, start=start)
        assert (verdict.kind, verdict.use, verdict.weaknesses) == (CONSISTENT, use, ())
    assert both(mine, file_of(5), end, start=start).kind == NOT_SUPPORTED
    assert both(mine, file_of(5), end).kind == CONSISTENT
    assert both(mine, FOREIGN, end, start=start).kind == SUPPORTED
    made = made_of(mine, FOREIGN, end, start=start)
    assert made.bundle.examined["counts"]["of_the_model"] == 3
    assert made.bundle.examined["counts"]["orphans"] == 0


def test_the_start_of_a_window_must_be_witnessed_as_well(mine: Owner) -> None:
    log_uses(mine, (5,))
    start = mine.publish(witnessed=False)
    log_uses(mine, (0, 1))
    end = mine.publish()
    assert both(mine, FOREIGN, end).kind == SUPPORTED
    assert both(mine, FOREIGN, end, start=start).kind == INCOMPLETE


def test_a_window_that_ends_early_says_nothing_of_later_uses(mine: Owner) -> None:
    log_uses(mine, (0, 1))
    end = mine.publish()
    log_uses(mine, (2,))
    mine.publish()
    assert both(mine, file_of(2), end).kind == NOT_SUPPORTED
    # what is published now still begins with the window
    assert both(mine, FOREIGN, end).kind == SUPPORTED


def test_a_use_that_died_before_its_result_is_found(mine: Owner) -> None:
    log_uses(mine, (0,))
    (orphan,) = mine.recorder.intend(tiny(), Z[1:2])
    end = mine.publish()
    verdict = both(mine, file_of(1), end)
    assert (verdict.kind, verdict.use) == (CONSISTENT, orphan)
    assert both(mine, FOREIGN, end).kind == SUPPORTED
    leaf = parse_leaf(mine.log.entry(orphan))
    assert isinstance(leaf, IntentLeaf)
    mine.private.erase([bytes.fromhex(leaf.latent)])  # a salt that is lost
    verdict = both(mine, FOREIGN, end)
    assert (verdict.kind, len(verdict.weaknesses)) == (INCOMPLETE, 1)
    assert f"the first: {orphan}" in verdict.weaknesses[0]


def test_erased_uses_leave_a_gap(mine: Owner) -> None:
    uses = log_uses(mine)
    before = mine.publish()
    erase(mine.log, mine.private, [uses[1]], "on request")
    after = mine.publish()
    verdict = both(mine, FOREIGN, after)
    assert verdict.kind == INCOMPLETE
    assert "1 outputs of the window were erased" in verdict.weaknesses[0]
    assert "1 outputs of the window were not opened" in both(mine, FOREIGN, before).weaknesses[0]
    made = made_of(mine, FOREIGN, after)
    counts = made.bundle.examined["counts"]
    assert (counts["results"], counts["opened"], counts["erased"], counts["unopened"]) == (
        4,
        3,
        1,
        0,
    )


def test_entries_of_another_schema_may_hide_uses(mine: Owner) -> None:
    log_uses(mine, (0,))
    mine.log.append([b"", b"{}"])
    verdict = both(mine, FOREIGN, mine.publish())
    assert (verdict.kind, verdict.weaknesses[0][:9]) == (INCOMPLETE, "2 entries")


def test_other_models_in_the_log_are_made_again_with_their_own_weights(mine: Owner) -> None:
    log_uses(mine, (0, 1))
    log_uses(mine, (4, 5), stranger())
    end = mine.publish()
    assert both(mine, FOREIGN, end, others=(stranger(),)).kind == SUPPORTED
    # the other model's outputs were not made again
    assert both(mine, FOREIGN, end).kind == INCOMPLETE
    theirs = file_of(4, True)
    verdict = both(mine, theirs, end, others=(stranger(),))
    assert verdict.kind == CONSISTENT  # the log names the use, of the other model
    made = made_of(mine, FOREIGN, end, others=(stranger(),))
    with pytest.raises(VerificationError, match=r"pictures, verdict: .*which was not given"):
        verified(mine, made.data)


def test_a_key_that_is_rotated_within_the_window(mine: Owner) -> None:
    log_uses(mine, (0,))
    start = mine.publish()
    old, new = mine.log.signers[0], Signer.generate(mine.log.origin)
    mine.log.append([KeyLeaf.signed(old, new).data])
    mine.log.rotate([new])
    mine.keys.append(new.verifier)
    log_uses(mine, (1,))
    end = mine.publish()
    assert both(mine, FOREIGN, end).kind == SUPPORTED
    assert both(mine, FOREIGN, end, start=start).kind == SUPPORTED
    data = made_of(mine, FOREIGN, end).data
    mine.keys.pop()  # who knows the old key only
    with pytest.raises(VerificationError, match="signature: no trusted key"):
        verified(mine, data)


def test_another_log_or_a_shorter_one_is_noticed(world: World, tmp_path: Path) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    with owner(tmp_path) as other:
        log_uses(other, (0,))
        other.publish()
        with pytest.raises(VerificationError, match="window: "):
            verify_evidence(data, other.public, world.mine.policy, gen=tiny(), nonce=NONCE)
    with pytest.raises(LedgerError, match="no checkpoint"):
        verify_evidence(data, PublishedLog(tmp_path), world.mine.policy, gen=tiny(), nonce=NONCE)


def test_every_entry_of_the_window_is_hashed(mine: Owner) -> None:
    log_uses(mine)
    data = made_of(mine, FOREIGN, mine.publish()).data
    verified(mine, data)
    (path,) = (mine.folder / "public" / "tile" / "entries").rglob("9")
    sound = path.read_bytes()
    path.write_bytes(sound[:-3] + bytes([sound[-3] ^ 1]) + sound[-2:])
    with pytest.raises(
        VerificationError, match=r"window: .*entries were left out, added or changed"
    ):
        verified(mine, data)
    path.unlink()
    with pytest.raises(LedgerError, match="withholds"):
        verified(mine, data)


def test_a_model_that_was_never_logged(world: World) -> None:
    asked = EvidenceRequest("a.png", FOREIGN, None, world.end)
    with pytest.raises(LedgerError, match="a log says nothing of a model that it does not name"):
        make_evidence(
            world.mine.log, world.mine.private, world.mine.policy, stranger(), DENIED, asked
        )


def test_a_checkpoint_of_another_log_is_no_window(world: World, tmp_path: Path) -> None:
    with owner(tmp_path) as other:
        log_uses(other, (0,))
        with pytest.raises(LedgerError, match="has not signed this checkpoint"):
            made_of(world.mine, FOREIGN, other.publish())
