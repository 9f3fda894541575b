"""An owner who has the key and lies.

False leaves, leaves that lead nowhere, false words about the search.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest
from recorded_logs import Owner
from tiny_world import (
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

from jattr.errors import VerificationError
from jattr.images import encode_png
from jattr.ledger.commitments import Opening, latent_value, pixels_value
from jattr.ledger.evidence.judge import INCOMPLETE, NOT_SUPPORTED, SUPPORTED
from jattr.ledger.leaves import IntentLeaf, ResultLeaf
from jattr.ledger.perceptual import perceptual_hash
from jattr.ledger.recording import model_leaf


@pytest.mark.slow
def test_a_false_alteration_hides_no_image(world: World) -> None:
    """Blurred images are searched for where none was blurred.

    Nothing fits, and a denial would be a lie.
    """
    own = file_of(UNLOGGED)
    lie = dataclasses.replace(inverted(own, "blur:2"), fit="does-not-fit")
    assert not lie.certificate
    made = made_of(world.mine, own, world.end, lie)
    assert made.verdict.kind == SUPPORTED
    with pytest.raises(
        VerificationError, match=r"attribution \(alteration\): the bundle takes the image to be"
    ):
        verified(world.mine, made.data)


def test_who_has_no_weights_takes_the_owners_word_for_faults(mine: Owner) -> None:
    false_use(mine)
    made = made_of(mine, FOREIGN, mine.publish())
    found = verified(mine, made.data, gen=None)
    assert found.verdict == made.verdict
    assert found.verdict.kind == INCOMPLETE
    assert len(found.unchecked) == 3


def false_use(mine: Owner) -> int:
    """A use whose leaf commits to the hash and the pixels of another image.

    The true one is that of Z[7].
    """
    intents = mine.recorder.intend(tiny(), Z[UNLOGGED : UNLOGGED + 1])
    return mine.recorder.release(intents, pixels_of(stranger(), Z[4:5]))[0].entry


def test_making_it_again_unmasks_a_false_leaf(mine: Owner) -> None:
    entry = false_use(mine)
    end = mine.publish()
    verdict = both(mine, FOREIGN, end)
    fault = f"entry {entry}: the model does not make the logged image from its latent"
    assert (verdict.kind, verdict.weaknesses) == (INCOMPLETE, (fault,))
    true = both(mine, file_of(UNLOGGED), end)  # the latent is opened, and makes the image
    assert (true.kind, true.weaknesses) == (NOT_SUPPORTED, (fault,))


def test_a_false_hash_is_unmasked(mine: Owner) -> None:
    z, pixels = Z[:1], pixels_of(tiny(), Z[:1])
    (intent,) = mine.recorder.intend(tiny(), z)
    openings = {
        "pixels": Opening.new("pixels", pixels_value(pixels[0])),
        "perceptual": Opening.new("perceptual", perceptual_hash(pixels_of(stranger(), Z[4:5])[0])),
    }
    mine.private.put(openings.values(), [(openings["pixels"].commitment, encode_png(pixels[0]))])
    stated = {name: opening.commitment.hex() for name, opening in openings.items()}
    (entry,) = mine.log.append([ResultLeaf(intent, None, recipient=None, **stated).data])
    verdict = both(mine, FOREIGN, mine.publish())
    assert verdict.kind == INCOMPLETE
    assert (
        f"entry {entry}: the perceptual hash that was logged is not that of the image"
        in verdict.weaknesses[0]
    )


@pytest.mark.parametrize(
    "settings",
    [{"cutoff": "x"}, {"noise": "maps"}, {"psi": "x"}, {"psi": 3}, {"space": 7}, {"cutoff": True}],
)
def test_settings_of_a_model_that_no_generator_has(mine: Owner, settings: dict[str, Any]) -> None:
    leaf = dataclasses.replace(model_leaf(tiny()), settings=settings)
    mine.recorder._models[model_leaf(tiny()).data] = mine.log.append([leaf.data])[0]
    log_uses(mine, (0,))
    made = made_of(mine, FOREIGN, mine.publish())
    if "space" in settings:  # the latent's own space is what counts
        assert made.verdict.kind == SUPPORTED
    else:
        assert made.verdict.kind == INCOMPLETE
    assert verified(mine, made.data).verdict == made.verdict


@pytest.mark.parametrize("intent", [0, 3, 4, 10**6, 2**53 - 1])
def test_results_that_lead_nowhere(mine: Owner, intent: int) -> None:
    """Entry 3 is the result itself, 4 an intent after it, 0 the model's."""
    mine.recorder.intend(tiny(), Z[:1])
    pixels = pixels_of(tiny(), Z[:1])[0]
    openings = [
        Opening.new("pixels", pixels_value(pixels)),
        Opening.new("perceptual", perceptual_hash(pixels)),
    ]
    mine.private.put(openings, [(openings[0].commitment, encode_png(pixels))])
    stated = {opening.field: opening.commitment.hex() for opening in openings}
    assert (
        mine.log.append([b"a stranger", ResultLeaf(intent, None, recipient=None, **stated).data])[1]
        == 3
    )
    (orphan,) = mine.recorder.intend(tiny(), Z[5:6])
    assert orphan == 4
    verdict = both(mine, FOREIGN, mine.publish())
    assert verdict.kind == INCOMPLETE
    assert any(
        "1 entries that had to be made again were not" in w or "entry 3: " in w
        for w in verdict.weaknesses
    )


@pytest.mark.parametrize(
    "latent",
    [
        latent_value(np.zeros(5, np.float32), "z"),
        latent_value(np.full(6, 3e38, np.float32), "z"),
        latent_value(np.zeros(6, np.float32), "w"),
        latent_value(np.zeros(6, np.float32), "z", 1),
    ],
    ids=["shape", "overflow", "space", "label"],
)
def test_latents_that_the_model_does_not_take(mine: Owner, latent: bytes) -> None:
    mine.recorder.model(tiny())
    opening = Opening.new("latent", latent)
    mine.private.put([opening])
    (intent,) = mine.log.append([IntentLeaf(0, opening.commitment.hex(), None, {}, None).data])
    mine.recorder.release([intent], pixels_of(tiny(), np.zeros((1, 6), np.float32)))
    made = made_of(mine, FOREIGN, mine.publish())
    assert verified(mine, made.data).verdict == made.verdict
    (weak,) = made.verdict.weaknesses
    faults = (
        "the model does not make the logged image",
        "has no space 'w'",
        "NaN among the image values",
    )
    assert any(fault in weak for fault in faults)


@pytest.mark.parametrize(
    "latent", [np.zeros(5, np.float32), np.full(6, 3e38, np.float32)], ids=["shape", "overflow"]
)
def test_an_orphan_that_cannot_be_made_again_is_a_gap(mine: Owner, latent: np.ndarray) -> None:
    mine.recorder.model(tiny())
    opening = Opening.new("latent", latent_value(latent, "z"))
    mine.private.put([opening])
    (intent,) = mine.log.append([IntentLeaf(0, opening.commitment.hex(), None, {}, None).data])
    verdict = both(mine, FOREIGN, mine.publish())
    assert verdict.kind == INCOMPLETE
    assert any(
        f"entry {intent}" in weak or f"first: {intent}" in weak for weak in verdict.weaknesses
    )
