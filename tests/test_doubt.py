"""What a file says that keeps a picture from being called none of the candidates'."""

import numpy as np
import pytest

from jattr.alterations import parse_chain
from jattr.attribution.caveats import (
    COLOURED,
    COLOURS,
    COMPRESSED,
    FLATTENED,
    NO_DOUBT,
    STORED,
    TRANSPARENT,
    Doubt,
    doubt_of,
    doubted,
    doubted_judgement,
)
from jattr.decision.judgement import Judgement
from jattr.decision.verdict import Verdict
from jattr.images import Picture

RGB, GREY, RGBA = ((8, 8, channels) for channels in (3, 1, 4))
LOSSY, JPEG = {"compressed": True}, {"compressed": True, "jpeg": True}
NOISE = np.random.default_rng(0).integers(0, 255, RGBA, np.uint8)  # no pixel is opaque
OPAQUE = np.concatenate([NOISE[..., :3], np.full((8, 8, 1), 255, np.uint8)], -1)
COLOURLESS = np.repeat(NOISE[..., :1], 3, -1)


def doubt(pixels, shapes=(RGB,), alteration=None, facts=(), *, searched=True):
    picture = Picture("x", pixels, "0" * 64, **dict(facts))
    chain = None if alteration is None else parse_chain(alteration)
    return doubt_of(picture, chain, shapes, searched_as_stored=searched)


@pytest.mark.parametrize(
    ("facts", "alteration", "searched", "expected"),
    [
        ({}, None, True, NO_DOUBT),
        (JPEG, None, True, COMPRESSED),
        (JPEG, "blur:1", True, COMPRESSED),
        (JPEG, "blur:1,jpeg:90", True, NO_DOUBT),
        (LOSSY, "jpeg:90", True, COMPRESSED),  # a WebP's compression is none of a JPEG
        (JPEG | {"srgb": False}, "jpeg:90", True, COLOURS),
        ({"srgb": False}, None, True, COLOURS),
        ({"orientation": 6}, None, True, NO_DOUBT),
        ({"orientation": 6}, None, False, STORED),
    ],
)
def test_what_a_file_states_besides_pixels(facts, alteration, searched, expected):
    assert doubt(NOISE[..., :3], alteration=alteration, facts=facts, searched=searched) == expected


@pytest.mark.parametrize(
    ("pixels", "shapes", "alteration", "expected"),
    [
        (NOISE[..., :3], [RGB], None, NO_DOUBT),
        (NOISE[..., :1], [GREY], None, NO_DOUBT),
        (NOISE, [RGBA], None, NO_DOUBT),
        (OPAQUE, [RGB], None, NO_DOUBT),
        (COLOURLESS, [GREY], None, NO_DOUBT),
        (NOISE, [RGB], None, TRANSPARENT),
        (NOISE, [RGB], "flip", TRANSPARENT),
        (NOISE, [RGBA, RGB], None, TRANSPARENT),
        (NOISE[..., :3], [RGBA], None, FLATTENED),
        (NOISE[..., :3], [GREY], None, COLOURED),
        (NOISE[..., :3], [RGB, GREY], None, COLOURED),
        (NOISE[..., :3], [RGB], "grey", COLOURED),
        (NOISE[..., :3], [RGB], "grey:3", NO_DOUBT),
        (NOISE[..., :1], [RGB], "grey:3", NO_DOUBT),
        (NOISE[..., :1], [RGB], "grey", NO_DOUBT),
        (COLOURLESS, [RGB], "grey:3", NO_DOUBT),
    ],
)
def test_what_changes_a_picture_to_a_candidates_kind(pixels, shapes, alteration, expected):
    assert doubt(pixels, shapes, alteration) == expected


@pytest.mark.parametrize(
    ("pixels", "shape", "facts", "words", "apart"),
    [
        (NOISE[..., :1], RGB, {}, "generated, or name that, as --alteration grey:3", True),
        (COLOURLESS, RGB, {}, "generated, or name that, as --alteration grey:3", False),
        (np.dstack([COLOURLESS, OPAQUE[..., 3:]]), RGBA, {}, "give it in colours, as it was generated", False),
    ],
)
def test_a_picture_without_colours(pixels, shape, facts, words, apart):
    """A candidate may make such pictures itself; only a grey file is sure to be no file of its own kind."""
    found = doubt(pixels, [shape], facts=facts)
    assert found.text.endswith(words)
    assert bool(found.apart) == apart


def test_a_colour_jpeg_without_colours_is_told_how_to_be_named():
    assert doubt(COLOURLESS, alteration="jpeg:90", facts=JPEG).text.endswith("--alteration grey:3,jpeg")


def test_a_resize_on_reading_is_told_how_to_be_named():
    found = doubt(NOISE[:6, :, :3])
    assert found.text.endswith("without --resize, such as --alteration resize:6x8:lanczos")
    assert found.apart
    assert doubt(NOISE[:6, :, :3], alteration="resize:6x8") == NO_DOUBT


@pytest.mark.parametrize("kind", ["none", "undecided", "made-by", "failed"])
def test_a_doubt_takes_away_none_and_nothing_else(kind):
    verdict = Verdict(kind, (), None, None, "as it was")
    judgement = Judgement(kind, (), "As it was.", (), 0.5, {}, "clean", 0.05)
    why = Doubt("a noun", "the file says so; give another one")
    assert doubted(verdict, NO_DOUBT) == verdict
    assert doubted_judgement(judgement, NO_DOUBT) == judgement
    if kind != "none":
        assert doubted(verdict, why) == verdict
        assert doubted_judgement(judgement, why) == judgement
        return
    assert doubted(verdict, why).kind == doubted_judgement(judgement, why).kind == "undecided"
    assert doubted(verdict, why).reason.endswith(f"but {why.text}")
    assert doubted_judgement(judgement, why).sentence.endswith(f"but {why.text}.")
