"""The second look: usual alterations found by themselves, and no name without a certificate."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_generator import make_tiny

from jattr.alterations.registry import parse_chain
from jattr.attribution.attribute import attribute
from jattr.attribution.result_json import finding_record
from jattr.attribution.second_look import CLOSE, USUAL, SecondLook, choice_bits
from jattr.attribution.usual_alterations import (
    Look,
    Marks,
    looks_wrapped,
    make_guess,
    misfit_of,
    rectangles_around,
)
from jattr.decision.certificate import MIN_EXCESS
from jattr.decision.description_length import MIN_BITS
from jattr.errors import InputError
from jattr.images.values import to_byte
from jattr.inversion.config import InvertConfig
from jattr.inversion.problem import FLOOR

CONFIG = InvertConfig(restarts=8, pool=512).search
LOOK = Look("round", np.zeros((16, 16, 3), np.float32), 0.4)
RNG = np.random.default_rng(0)
# smooth values, so that neighbours are alike, within the range
WAVES = np.stack(
    [np.sin(np.add.outer(np.arange(16) / 3 + c, np.arange(16) / 5)) for c in range(3)], -1
)
VALUES = (0.85 * WAVES + 0.02 * RNG.normal(size=WAVES.shape)).astype(np.float32)


def altered(text, values=VALUES):
    return parse_chain(text).discrete_of_values(values[None], to_byte)[0]


STATIC = [
    "bgr",
    "flip:vertical",
    "turn:90",
    "invert",
    "flip,bgr",
    "shift:1:-1:wrap",
    "clip-low",
    "stretch:10:240",
]


@pytest.mark.parametrize("text", STATIC)
def test_undone_images_are_the_values(text):
    """Rounding alone is left: of a gain, in units of the image."""
    guess = make_guess(text, Marks())
    pixels = altered(text)
    before, target = guess.begin(pixels, LOOK)
    assert before.shape == VALUES.shape
    assert misfit_of(VALUES, target, guess.scale) < 1.2 * FLOOR
    assert guess.misfit(pixels, VALUES, LOOK) < 1.2 * FLOOR
    assert guess.chains(pixels, VALUES, LOOK) == (parse_chain(text).text,)
    assert guess.misfit(to_byte(VALUES), VALUES, LOOK) > 100 * FLOOR


@pytest.mark.parametrize("text", ["wrap:127.5:255", "wrap"])
def test_wrapped_values_are_unwrapped_towards_a_reproduction(text):
    guess = make_guess(text, Marks())
    values = 1.4 * VALUES
    pixels = altered(text, values)
    near = values + np.float32(0.1)
    target = guess.adapt(pixels, near, LOOK)
    within = np.abs(values) < 1.0
    assert np.abs((target.center - values)[within]).max() < 1.5 / 127.5


def test_stretch_is_regressed_on_a_reproduction():
    guess, pixels = make_guess("stretch", Marks()), altered("stretch:40:190")
    assert guess.misfit(pixels, VALUES, LOOK) < 1.3 * FLOOR
    assert misfit_of(VALUES, guess.adapt(pixels, VALUES, LOOK)) < 1.3 * FLOOR
    assert guess.chains(pixels, VALUES, LOOK) == ("stretch", "stretch:?:?")
    tile = altered("stretch:-40:300")
    assert guess.chains(tile, VALUES, LOOK) == ("stretch:?:?",)


@pytest.mark.parametrize(
    ("text", "chains"),
    [
        ("shift:1:0", ("shift:1:0",)),
        ("shift:-1:0", ("shift:-1:0",)),
        ("shift:0:1:0", ("shift:0:1:0",)),
        ("shift:0:-1:7", ("shift:0:-1:7",)),
        ("shift:0:-1:wrap", ("shift:0:-1:wrap", "shift:0:-1:wrap,cover:16x1+0+15")),
        ("shift:1:0:wrap", ("shift:1:0:wrap", "shift:1:0:wrap,cover:1x16+0+0")),
    ],
)
def test_what_came_in_tells_how_an_image_was_moved(text, chains):
    move = ":".join(text.split(":")[:3])
    guess, pixels = make_guess(move, Marks()), altered(text)
    assert guess.misfit(pixels, VALUES, LOOK) < 1.2 * FLOOR
    assert guess.chains(pixels, VALUES, LOOK) == chains


def test_marks_are_rectangles():
    """Two marks: what is left is rounding, and the rectangles are theirs."""
    pixels = to_byte(VALUES)
    pixels[0:3, 13:16] = np.where(pixels[0:3, 13:16] < 128, 255, 0)
    pixels[10:12, 2:4] = np.where(pixels[10:12, 2:4] < 128, 255, 0)
    guess = make_guess("cover", Marks(dropped=0.1))
    assert guess.misfit(pixels, VALUES, LOOK) < 1.2 * FLOOR
    (chain,) = guess.chains(pixels, VALUES, LOOK)
    assert sorted(chain.split(",")) == ["cover:2x2+10+2", "cover:3x3+0+13"]


def test_many_marks_are_none():
    pixels = to_byte(VALUES)
    pixels[::4, ::4] = 255 - pixels[::4, ::4]
    guess = make_guess("cover", Marks(dropped=0.3))
    assert guess.chains(pixels, VALUES, LOOK) == ()


def test_frames_are_four_covers():
    pixels = to_byte(VALUES)
    pixels[[0, -1]] = 0
    pixels[:, [0, -1]] = 0
    guess = make_guess("frame", Marks())
    assert guess.misfit(pixels, VALUES, LOOK) < 1.2 * FLOOR
    (chain,) = guess.chains(pixels, VALUES, LOOK)
    np.testing.assert_array_equal(parse_chain(chain).observed(pixels[None])[0], pixels)


def test_rectangles_join_where_they_touch():
    outliers = np.zeros((10, 10), bool)
    outliers[0, 0] = outliers[0, 2] = outliers[7, 7] = True
    assert rectangles_around(outliers, 1) == [
        (slice(0, 1), slice(0, 3)),
        (slice(7, 8), slice(7, 8)),
    ]
    assert len(rectangles_around(outliers, 0)) == 3
    assert rectangles_around(np.zeros((4, 4), bool), 1) == []


@pytest.mark.parametrize("text", ["blur:1", "grey", "brightness:?", "stretch:?:?", "jpeg:75", ""])
def test_what_cannot_be_undone_is_refused(text):
    with pytest.raises(InputError, match="a second look cannot undo"):
        SecondLook(alterations=(text,))


def test_settings_are_checked():
    with pytest.raises(InputError, match="rounds"):
        SecondLook(survivors=(3,))
    with pytest.raises(InputError, match="gradient_steps"):
        SecondLook(gradient_steps=(-1, 1, 2, 3))
    with pytest.raises(InputError, match="second_look is 3"):
        attribute(np.zeros((1, 8, 8, 3), np.uint8), [make_tiny()], second_look=3)


def test_bits_of_a_choice():
    """A rectangle of 8x8 is one of 36 x 36; a fitted end of a stretch is told to 16 bits."""
    kinds = np.log2(len(USUAL) + len(CLOSE))
    shape = (8, 8, 3)
    assert choice_bits(parse_chain("bgr"), USUAL, 1, shape) == pytest.approx(kinds, abs=0.05)
    assert choice_bits(parse_chain("bgr"), USUAL, 8, shape) == pytest.approx(kinds + 3, abs=0.05)
    # a result that states fewer alterations than are usual chose among the usual ones
    assert choice_bits(parse_chain("bgr"), ("bgr",), 1, shape) == pytest.approx(kinds, abs=0.05)
    cover = choice_bits(parse_chain("flip,cover:1x1+0+0"), USUAL, 1, shape)
    assert cover == pytest.approx(kinds + 2 * np.log2(36), abs=0.05)
    assert choice_bits(parse_chain("stretch"), USUAL, 1, shape) == pytest.approx(kinds, abs=0.05)
    fitted = choice_bits(parse_chain("stretch:20:200"), USUAL, 1, shape)
    assert fitted == pytest.approx(kinds + 32, abs=0.05)


def test_wrapped_bytes_show():
    assert looks_wrapped(altered("wrap:127.5:255"), 0.8)
    assert not looks_wrapped(altered("round"), 0.8)
    assert not looks_wrapped(RNG.integers(60, 190, (16, 16, 3)).astype(np.uint8), 0.8)


@pytest.fixture(scope="module")
def family():
    return [make_tiny(seed=seed, name=f"tiny{seed}") for seed in range(3)]


def own(gen, text, count=2):
    values = np.asarray(gen.generate(gen.sample_latent(jax.random.key(4), count)))
    return np.concatenate(
        [parse_chain(text).discrete_of_values(value[None], gen.to_bytes) for value in values]
    )


def test_bgr_is_found(family):
    att = attribute(own(family[1], "bgr", 1), family, search=CONFIG)
    verdict = att.verdicts[0]
    assert verdict.candidates == ("tiny1",)
    assert verdict.certificate.holds
    assert att.alterations[0].text == "bgr"
    assert "as it is no candidate explains it, and bgr was chosen after looking" in verdict.reason
    assert "bgr: screened" in att.tried[0]
    assert finding_record(att, 0)["tried"] == list(att.tried[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["flip:horizontal", "turn:90", "invert", "shift:1:0:wrap", "shift:0:-1", "stretch"],
)
def test_usual_alterations_are_found(family, text):
    images = own(family[0], text)
    att = attribute(images, family, search=CONFIG)
    for i, verdict in enumerate(att.verdicts):
        assert verdict.candidates == ("tiny0",), verdict.reason
        assert verdict.certificate.excess >= MIN_EXCESS
        assert att.alterations[i].text == text
    without = attribute(images, family, search=CONFIG, second_look=False)
    assert all(verdict.certificate is None for verdict in without.verdicts)
    assert all(len(tried) == 1 for tried in without.tried)


@pytest.mark.slow
def test_what_half_of_a_small_image_says_is_no_proof(family):
    """Of 192 bytes clip-low leaves half, whose bits are fewer than a certificate needs."""
    att = attribute(own(family[0], "clip-low"), family, search=CONFIG)
    for verdict in att.verdicts:
        assert verdict.kind == "undecided"
        assert "as clip-low tiny0 comes near" in verdict.reason
        assert "--alteration 'clip-low'" in verdict.reason


@pytest.mark.slow
def test_marks_are_found_and_the_rest_is_certified(family):
    images = own(family[0], "round")
    images[:, 0:2, 6:8] = 255 * (images[:, 0:2, 6:8] < 128)
    settings = SecondLook(marks=Marks(dropped=0.1))
    att = attribute(images, family, search=CONFIG, second_look=settings)
    for verdict, chain in zip(att.verdicts, att.alterations, strict=True):
        assert verdict.candidates == ("tiny0",), verdict.reason
        assert all(step.hides for step in chain.steps)
        bits = choice_bits(chain, settings.alterations, len(family), (8, 8, 3))
        assert verdict.certificate.evidence_bits >= MIN_BITS + bits


@pytest.mark.slow
def test_images_of_nobody_get_no_name_and_say_what_was_tried(family):
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    att = attribute(images, family, search=CONFIG)
    for verdict, tried in zip(att.verdicts, att.tried, strict=True):
        assert verdict.candidates == ()
        assert all(f"{text}: screened" in tried for text in SecondLook().alterations)
        if verdict.kind == "none":
            assert "as it is, and under: bgr" in verdict.reason


def test_nothing_is_tried_where_an_alteration_is_named(family):
    images = own(family[1], "bgr", 1)
    for alterations in ("none", "flip", ["auto", "flip"]):
        att = attribute(images, family[:1], search=CONFIG, alterations=alterations)
        assert not any("screened" in text for text in att.tried[0])


def test_a_policy_of_ones_own_has_no_second_look(family):
    from jattr.decision.verdict import Verdict

    def policy(evidence, caveat):
        return Verdict("none", (), None, None, "always")

    att = attribute(own(family[1], "bgr", 1), family[:1], search=CONFIG, policy=policy)
    assert [verdict.reason for verdict in att.verdicts] == ["always"]


def test_fewer_alterations_can_be_given():
    settings = SecondLook(alterations=("flip,bgr",))
    assert dataclasses.replace(settings, survivors=(4, 2, 1)).alterations == ("flip,bgr",)
