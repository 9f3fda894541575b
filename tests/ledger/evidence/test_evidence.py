"""Evidence from a real log and a real (tiny) generator, made by one side and verified by the
other.
"""

import numpy as np
import pytest
from image_files import encoded
from recorded_logs import Owner, attribution
from tiny_world import (
    DENIED,
    FOREIGN,
    LOGGED,
    NONCE,
    UNLOGGED,
    World,
    both,
    file_of,
    inverted,
    jpeg,
    made_of,
    pixels_of,
    saying,
    stranger,
    verified,
)

from jattr.errors import LedgerError, VerificationError
from jattr.generators.sampling import draw_latents
from jattr.generators.store import load_generator
from jattr.images import encode_png
from jattr.images.jpeg import encode_jpeg, quality_format
from jattr.images.reading import decode
from jattr.ledger.evidence.inversion import observed
from jattr.ledger.evidence.judge import (
    CONSISTENT,
    EDITED,
    INCOMPLETE,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
)
from jattr.ledger.evidence.make import EvidenceRequest, make_evidence


def edited() -> bytes:
    """An image with small changes all over, which no second look explains."""
    pixels = decode(file_of(0)).pixels.astype(np.int64)
    changes = np.random.default_rng(0).integers(-6, 7, pixels.shape)
    return encode_png(np.clip(pixels + changes, 0, 255).astype(np.uint8))


def marked() -> bytes:
    """An image with a small part of another one pasted on: a second look explains the rest."""
    pixels = decode(file_of(0)).pixels.copy()
    pixels[2:4, 2:4] = decode(file_of(1)).pixels[2:4, 2:4]
    return encode_png(pixels)


def stored_turned(place: int) -> bytes:
    """A JPEG file that stores an image mirrored, and says so."""
    return encode_jpeg(decode(file_of(place)).pixels, quality_format(95, "4:4:4", 3), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "kind", "use"),
    [
        (file_of(2), CONSISTENT, 2),
        (encode_png(decode(file_of(2)).pixels), CONSISTENT, 2),  # saved again, without loss
        (edited(), EDITED, 0),
        (marked(), CONSISTENT, 0),
        (file_of(UNLOGGED), NOT_SUPPORTED, None),
        (stored_turned(2), CONSISTENT, 2),
        (stored_turned(UNLOGGED), NOT_SUPPORTED, None),
        (FOREIGN, SUPPORTED, None),
        (encoded(decode(FOREIGN).pixels, "PNG", icc_profile=b"of a printer"), UNDECIDED, None),
    ],
    ids=[
        "logged",
        "logged, saved again",
        "edited logged",
        "marked logged",
        "unlogged",
        "logged, stored turned",
        "unlogged, stored turned",
        "foreign",
        "foreign, with a profile",
    ],
)
def test_two_by_two(world: World, data: bytes, kind: str, use: int | None) -> None:
    verdict = both(world.mine, data, world.end)
    assert (verdict.kind, verdict.weaknesses) == (kind, ())
    assert verdict.use == (None if use is None else world.uses[LOGGED.index(use)])


@pytest.mark.slow
def test_a_search_that_was_too_short_decides_nothing(world: World) -> None:
    few = inverted(FOREIGN, restarts=2)
    assert both(world.mine, FOREIGN, world.end, few).kind == UNDECIDED
    with pytest.raises(
        VerificationError, match="the verifier's own search ends with 'does-not-fit'"
    ):
        verified(world.mine, made_of(world.mine, FOREIGN, world.end, few).data)


@pytest.mark.slow
def test_a_logged_image_in_a_jpeg_file(world: World) -> None:
    """Compression is modelled as the file states it, and the logged latent explains what is
    left.
    """
    data = jpeg(decode(file_of(0)).pixels, 90)  # at 75 too little is left of 8 x 8 pixels
    verdict = both(world.mine, data, world.end)
    assert (verdict.kind, verdict.use) == (CONSISTENT, world.uses[0])
    found = verified(world.mine, made_of(world.mine, data, world.end).data, image=data, gen=None)
    assert found.verdict == verdict  # in the owner's words, which is said
    assert "give the model's weights" in found.unchecked[0]


@pytest.mark.slow
def test_a_logged_image_of_dcgan_a_at_quality_75(mine: Owner) -> None:
    """Without a search, as nobody could find its latent.

    The logged one, made again, explains the file.
    """
    gen = load_generator("dcgan_a")
    z, _ = draw_latents(gen, 3, 0, None)
    pixels = pixels_of(gen, z)
    uses = mine.use(gen, z, pixels)
    data = jpeg(pixels[1])
    said = attribution("undecided", alteration=observed(data, gen, "auto").chain.text)
    asked = EvidenceRequest("accused.jpg", data, None, mine.publish(), nonce=NONCE)
    made = make_evidence(mine.log, mine.private, mine.policy, gen, said, asked)
    assert (made.verdict.kind, made.verdict.use, made.verdict.weaknesses) == (
        CONSISTENT,
        uses[1].entry,
        (),
    )
    assert verified(mine, made.data, gen=gen, invert=saying(said)).verdict == made.verdict


def test_an_image_without_structure_supports_no_denial(world: World) -> None:
    grey = encode_png(np.full((8, 8, 3), 90, np.uint8))
    verdict = both(world.mine, grey, world.end, DENIED)
    assert verdict.kind == INCOMPLETE
    assert "next to no structure" in verdict.weaknesses[0]


@pytest.mark.slow
def test_what_was_not_checked_is_said(world: World) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    assert verified(world.mine, data, image=FOREIGN, end=world.end).unchecked == ()
    assert verified(world.mine, data, image=FOREIGN).own_search
    for options, words in [
        ({"image": None}, "that the bundle is about the image that you mean"),
        ({"nonce": None}, "who chose the sample"),
        ({"end": None}, "when you gave the nonce out"),
        ({"invert": None}, "the developer's word"),
        ({"gen": None}, "give the model's weights"),
    ]:
        (unchecked,) = verified(
            world.mine, data, **{"image": FOREIGN, "end": world.end} | options
        ).unchecked
        assert words in unchecked


def test_the_verifier_asks_about_an_image_and_with_a_nonce(world: World) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    with pytest.raises(VerificationError, match="picture: the bundle is about another file"):
        verified(world.mine, data, image=file_of(UNLOGGED))
    with pytest.raises(VerificationError, match="sample: it was chosen by the nonce"):
        verified(world.mine, data, nonce="another")


def test_other_weights_are_no_proof(world: World) -> None:
    data = made_of(world.mine, FOREIGN, world.end).data
    with pytest.raises(VerificationError, match="model: the weights that were given"):
        verified(world.mine, data, gen=stranger())


@pytest.mark.slow
def test_levels_open_so_much_and_no_more(world: World) -> None:
    for level, fields in (("commitments", set()), ("perceptual", {"perceptual"})):
        made = made_of(world.mine, FOREIGN, world.end, level=level)
        assert ({name for _, name in made.bundle.openings}, made.bundle.images) == (fields, {})
        assert made.verdict.kind == INCOMPLETE
        assert verified(world.mine, made.data).verdict == made.verdict
        assert f"only the level {level}" in made.verdict.weaknesses[0]
    near = made_of(world.mine, edited(), world.end, level="perceptual")
    assert (near.verdict.kind, near.verdict.use) == (EDITED, world.uses[0])
    full = made_of(world.mine, FOREIGN, world.end)
    assert {name for _, name in full.bundle.openings} == {"perceptual", "pixels", "latent"}
    with pytest.raises(LedgerError, match="choose one of"):
        made_of(world.mine, FOREIGN, world.end, level="all")


def test_the_sample_is_as_the_nonce_says_and_must_be_large_enough(world: World) -> None:
    made = made_of(world.mine, FOREIGN, world.end, sample_size=2, nonce="one")
    assert len(made.bundle.examined["sample"]) == 2
    assert set(made.bundle.images) == set(made.bundle.examined["sample"])
    assert (made.verdict.kind, len(made.verdict.weaknesses)) == (INCOMPLETE, 1)
    drawn = {
        tuple(
            made_of(world.mine, FOREIGN, world.end, sample_size=1, nonce=f"{n}").bundle.examined[
                "sample"
            ]
        )
        for n in range(20)
    }
    assert drawn == {(use,) for use in world.uses}
    own = made_of(world.mine, FOREIGN, world.end, nonce=None).bundle.nonce
    assert len(own) == 32
    assert own != made_of(world.mine, FOREIGN, world.end, nonce=None).bundle.nonce


# Lies: leaves that are not true, made by an owner who has the key.


# The log that is shown.
