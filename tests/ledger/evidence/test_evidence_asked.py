"""What whoever verifies asks for, and tricks that only asking defeats.

Samples, windows, settings, turned copies.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_logs import Owner, latents_of, owner
from tiny_world import (
    DENIED,
    FOREIGN,
    UNLOGGED,
    World,
    Z,
    both,
    file_of,
    inverted,
    log_uses,
    made_of,
    pixels_of,
    stranger,
    tiny,
    verified,
)

from jattr.errors import LedgerError, VerificationError
from jattr.images import encode_png
from jattr.images.reading import decode
from jattr.ledger.commitments import Opening, pixels_value
from jattr.ledger.encoding import encode_base64
from jattr.ledger.evidence import bundle as bundles
from jattr.ledger.evidence.bundle import encode_bundle, parse_bundle
from jattr.ledger.evidence.judge import EDITED, INCOMPLETE, NOT_SUPPORTED, SUPPORTED, UNCONFIRMED
from jattr.ledger.leaves import ModelLeaf, ResultLeaf
from jattr.ledger.perceptual import HASH_BYTES, distance, near, perceptual_hash, turned_hashes
from jattr.ledger.reader import PublishedLog
from jattr.ledger.recording import model_leaf

# The sample.


def test_a_sample_that_was_ground_out_after_the_nonce_is_refused(mine: Owner) -> None:
    """Two of eighteen outputs are lies.

    Entries are added until the nonce, known by then, misses them all.
    """
    z = latents_of(9, 16)
    true = [one.entry for one in mine.use(tiny(), z, pixels_of(tiny(), z))]
    intents = mine.recorder.intend(tiny(), Z[[0, 1]])
    lies = [one.entry for one in mine.recorder.release(intents, pixels_of(stranger(), Z[[4, 5]]))]
    kept = mine.publish()  # what stood when the nonce was given out
    for turn in range(40):
        end = kept if not turn else mine.publish()
        made = made_of(mine, FOREIGN, end, DENIED)
        if made.verdict.kind == SUPPORTED and turn:
            break
        mine.log.append([dataclasses.replace(model_leaf(tiny()), code=f"harmless {turn}").data])
    else:
        pytest.fail("no root pleased in 40 turns")
    assert set(made.bundle.examined["sample"]) <= set(true)
    assert not set(made.bundle.examined["sample"]) & set(lies)
    said: dict[str, Any] = {"image": FOREIGN, "invert": lambda *_: DENIED}
    assert "give the checkpoint that you kept" in verified(mine, made.data, **said).unchecked[0]
    with pytest.raises(
        VerificationError,
        match=r"window: it ends with .* entries, the checkpoint that you kept with",
    ):
        verified(mine, made.data, end=kept, **said)


def test_the_checkpoint_that_was_kept_is_of_this_log(world: World, tmp_path: Path) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    with owner(tmp_path / "other", origin="example.com/other") as other:
        log_uses(other, (0,))
        foreign = other.publish()
    with pytest.raises(VerificationError, match="the checkpoint that you kept: no log key"):
        verified(world.mine, data, end=foreign)
    with pytest.raises(LedgerError, match="the checkpoint that you kept"):
        verified(world.mine, data, end=b"no note")


# The window.


def test_what_lies_outside_the_window_is_listed_unless_it_was_asked_for(mine: Owner) -> None:
    log_uses(mine, (5,))
    start = mine.publish()
    log_uses(mine, (0, 1))
    end = mine.publish()
    log_uses(mine, (2,))
    now = mine.publish()
    sizes = [int(note.split(b"\n")[1]) for note in (start, end, now)]
    made = made_of(mine, FOREIGN, end, start=start)
    assert made.verdict.kind == SUPPORTED
    said: dict[str, Any] = {"image": FOREIGN, "nonce": made.bundle.nonce}
    before, after = verified(mine, made.data, **said).unchecked[1:]
    assert before.startswith(f"the {sizes[0]} entries before the window")
    assert after.startswith(
        f"the {sizes[2] - sizes[1]} entries that were published after the window"
    )
    assert verified(mine, made.data, window=(sizes[0], sizes[1]), end=end, **said).unchecked == ()
    # the end was asked for, the start not
    assert len(verified(mine, made.data, end=end, **said).unchecked) == 1
    with pytest.raises(
        VerificationError, match=rf"window: it is {sizes[0]}:{sizes[1]}, you asked for 0:{sizes[1]}"
    ):
        verified(mine, made.data, window=(0, sizes[1]), **said)


def test_a_window_without_the_models_uses_supports_no_denial(mine: Owner) -> None:
    log_uses(mine)
    start = mine.publish()
    mine.log.append([model_leaf(stranger()).data])
    verdict = both(mine, FOREIGN, mine.publish(), start=start)
    assert verdict.kind == INCOMPLETE
    assert "no output by this model" in verdict.weaknesses[0]


# The log.


def false_result(mine: Owner, pixels: np.ndarray, intent: int) -> int:
    """A RESULT that commits to an image, whatever its intent says."""
    openings = {
        "pixels": Opening.new("pixels", pixels_value(pixels)),
        "perceptual": Opening.new("perceptual", perceptual_hash(pixels)),
    }
    mine.private.put(list(openings.values()))
    said = {name: opening.commitment.hex() for name, opening in openings.items()}
    (entry,) = mine.log.append([ResultLeaf(intent, None, recipient=None, **said).data])
    return entry


def test_a_result_before_its_intent_hides_no_orphan(mine: Owner) -> None:
    log_uses(mine)
    false_result(mine, pixels_of(stranger(), Z[4:5])[0], mine.log.size + 1)
    (orphan,) = mine.recorder.intend(tiny(), Z[UNLOGGED : UNLOGGED + 1])
    made = made_of(mine, FOREIGN, mine.publish())
    assert made.bundle.examined["orphans"] == [orphan]
    assert made.bundle.examined["counts"]["astray"] == 1
    assert made.verdict.kind == INCOMPLETE


def test_a_second_result_of_one_intent_is_astray(mine: Owner) -> None:
    log_uses(mine)
    intents = mine.recorder.intend(tiny(), Z[3:4])
    mine.recorder.release(intents, pixels_of(tiny(), Z[3:4]))
    false_result(mine, pixels_of(stranger(), Z[4:5])[0], intents[0])
    made = made_of(mine, FOREIGN, mine.publish())
    assert (made.bundle.examined["counts"]["astray"], made.verdict.kind) == (1, INCOMPLETE)


def test_a_use_off_the_log_is_not_confirmed_by_logging_it_afterwards(mine: Owner) -> None:
    log_uses(mine)
    observation = file_of(UNLOGGED)
    assert both(mine, observation, mine.publish()).kind == NOT_SUPPORTED
    # another latent: the true one would be a true use
    intents = mine.recorder.intend(tiny(), Z[3:4])
    late = mine.recorder.release(intents, decode(observation).pixels[None])[0].entry
    verdict = both(mine, observation, mine.publish())
    assert (verdict.kind, verdict.use) == (UNCONFIRMED, late)
    hash_alone = made_of(mine, observation, mine.publish(), level="perceptual")
    assert hash_alone.verdict.kind == UNCONFIRMED


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_logged_image_turned_or_mirrored_is_found(
    world: World, quarter: int, mirrored: bool
) -> None:
    pixels = decode(file_of(0)).pixels
    turned = np.rot90(pixels[:, ::-1] if mirrored else pixels, quarter)
    made = made_of(world.mine, encode_png(np.ascontiguousarray(turned)), world.end, DENIED)
    assert made.bundle.examined["closest"] == 0
    if mirrored or quarter:
        assert (made.verdict.kind, made.verdict.use) == (EDITED, world.uses[0])


def test_the_eight_hashes_are_of_eight_images() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    hashes = turned_hashes(pixels)
    assert len(set(hashes)) == 8
    assert hashes[0] == perceptual_hash(pixels)
    assert set(turned_hashes(pixels[::-1])) == set(hashes)
    assert not any(near(hashes[0], other) for other in hashes[1:])
    assert distance(hashes[0], hashes[2]) <= 8 * HASH_BYTES


# The model.


def test_settings_that_the_log_names_and_nobody_searched_are_listed(mine: Owner) -> None:
    own = model_leaf(tiny())
    for settings in (
        {"space": "w+", "psi": "0.7"},
        {"space": "z"},
        {"space": "z", "rounding": "truncate"},
    ):
        mine.log.append(
            [
                ModelLeaf(
                    own.name, own.digest, own.weights_digest, own.code, own.code_digest, settings
                ).data
            ]
        )
    log_uses(mine)
    end = mine.publish()
    data = made_of(mine, FOREIGN, end).data
    (unchecked,) = verified(mine, data, image=FOREIGN, end=end).unchecked
    assert unchecked.startswith("uses of the model with psi 0.7, space w+")
    fits = made_of(mine, file_of(0), end).data  # what was found needs no further search
    assert verified(mine, fits, image=file_of(0), end=end).unchecked == ()


# Hostile bundles.


def signed_anew(mine: Owner, data: bytes, **fields: Any) -> bytes:
    bundle = parse_bundle(data, mine.keys)
    found = dataclasses.replace(bundle.attribution, **fields)
    return encode_bundle(dataclasses.replace(bundle, attribution=found), mine.log.signers)


def test_an_alteration_through_huge_images_is_not_carried_out(world: World) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    bomb = signed_anew(world.mine, data, alteration="resize:4096x4096,resize:8x8")
    start = time.perf_counter()
    with pytest.raises(
        VerificationError, match=r"attribution \(alteration\): .* 4096 x 4096 pixels"
    ):
        verified(world.mine, bomb)
    assert time.perf_counter() - start < 20


def test_an_infinite_residual_is_no_number(world: World) -> None:
    made = made_of(world.mine, file_of(UNLOGGED), world.end)
    assert made.bundle.attribution.residual is not None
    with pytest.raises(LedgerError, match=r"attribution \(residual\): it is no decimal number"):
        verified(world.mine, signed_anew(world.mine, made.data, residual="1e+999"))


def test_a_checkpoint_is_no_signature_of_a_bundle(world: World) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    head = b'"signature":"'
    at = data.index(head) + len(head)
    checkpoint = encode_base64(world.end).encode()
    swapped = data[:at] + checkpoint + data[data.index(b'"', at) :]
    with pytest.raises(VerificationError, match="signature: it is that of another text"):
        verified(world.mine, swapped)


def test_a_bundle_of_very_many_parts_is_not_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    parts = sum(map(data.count, (b",", b":", b"[", b"{")))
    monkeypatch.setattr(bundles, "MAX_PARTS", parts)
    verified(world.mine, data)
    monkeypatch.setattr(bundles, "MAX_PARTS", parts - 1)
    with pytest.raises(
        LedgerError, match=f"the bundle has {parts} parts; at most {parts - 1} are read"
    ):
        verified(world.mine, data)
    with pytest.raises(LedgerError, match="choose a shorter window"):
        made_of(world.mine, FOREIGN, world.end)


def test_entries_one_by_one_do_not_read_their_file_each_time(
    mine: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_uses(mine)
    mine.publish()
    log = PublishedLog(mine.folder / "public")
    files: list[str] = []
    read = log._read
    monkeypatch.setattr(log, "_read", lambda path, limit: files.append(path) or read(path, limit))
    for number in range(mine.log.size):
        assert next(log.entries(number, number + 1, mine.log.size)) == mine.log.entry(number)
    assert len(files) == 1


def test_searches_that_were_left_out_are_named() -> None:
    from jattr.ledger.evidence.inversion import invert_alternatives

    assert inverted(FOREIGN).fit == "does-not-fit"
    found = invert_alternatives(FOREIGN, tiny(), ["none", "crop:4x4+0+0"])
    assert "crop:4x4+0+0 (not tried" in found.reason
