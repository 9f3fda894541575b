"""What a file says that keeps an image from being called none of the candidates'."""

import numpy as np
import pytest

from jattr.alterations import parse_chain
from jattr.attribution.caveats import (
    COLOURED,
    COLOURS,
    COMPRESSED,
    FLATTENED,
    STORED,
    TRANSPARENT,
    caveat_of,
)
from jattr.decision.verdict import NO_CAVEAT
from jattr.images import LoadedImage

RGB, GREY, RGBA = ((8, 8, channels) for channels in (3, 1, 4))
LOSSY, JPEG = {"compressed": True}, {"compressed": True, "jpeg": True}
NOISE = np.random.default_rng(0).integers(0, 255, RGBA, np.uint8)  # no pixel is opaque
OPAQUE = np.concatenate([NOISE[..., :3], np.full((8, 8, 1), 255, np.uint8)], -1)
COLOURLESS = np.repeat(NOISE[..., :1], 3, -1)


def caveat(pixels, shapes=(RGB,), alteration=None, facts=(), *, searched=True):
    image = LoadedImage("x", pixels, "0" * 64, **dict(facts))
    chain = None if alteration is None else parse_chain(alteration)
    return caveat_of(image, chain, shapes, searched_as_stored=searched)


@pytest.mark.parametrize(
    ("facts", "alteration", "searched", "expected"),
    [
        ({}, None, True, NO_CAVEAT),
        (JPEG, None, True, COMPRESSED),
        (JPEG, "blur:1", True, COMPRESSED),
        (JPEG, "blur:1,jpeg:90", True, NO_CAVEAT),
        (LOSSY, "jpeg:90", True, COMPRESSED),  # a WebP's compression is none of a JPEG
        (JPEG | {"srgb": False}, "jpeg:90", True, COLOURS),
        ({"srgb": False}, None, True, COLOURS),
        ({"orientation": 6}, None, True, NO_CAVEAT),
        ({"orientation": 6}, None, False, STORED),
    ],
)
def test_what_a_file_states_besides_pixels(facts, alteration, searched, expected):
    assert caveat(NOISE[..., :3], alteration=alteration, facts=facts, searched=searched) == expected


@pytest.mark.parametrize(
    ("pixels", "shapes", "alteration", "expected"),
    [
        (NOISE[..., :3], [RGB], None, NO_CAVEAT),
        (NOISE[..., :1], [GREY], None, NO_CAVEAT),
        (NOISE, [RGBA], None, NO_CAVEAT),
        (OPAQUE, [RGB], None, NO_CAVEAT),
        (COLOURLESS, [GREY], None, NO_CAVEAT),
        (NOISE, [RGB], None, TRANSPARENT),
        (NOISE, [RGB], "flip", TRANSPARENT),
        (NOISE, [RGBA, RGB], None, TRANSPARENT),
        (NOISE[..., :3], [RGBA], None, FLATTENED),
        (NOISE[..., :3], [GREY], None, COLOURED),
        (NOISE[..., :3], [RGB, GREY], None, COLOURED),
        (NOISE[..., :3], [RGB], "grey", COLOURED),
        (NOISE[..., :3], [RGB], "grey:3", NO_CAVEAT),
        (NOISE[..., :1], [RGB], "grey:3", NO_CAVEAT),
        (NOISE[..., :1], [RGB], "grey", NO_CAVEAT),
        (COLOURLESS, [RGB], "grey:3", NO_CAVEAT),
    ],
)
def test_what_changes_an_image_to_a_candidates_kind(pixels, shapes, alteration, expected):
    assert caveat(pixels, shapes, alteration) == expected


@pytest.mark.parametrize(
    ("pixels", "shape", "facts", "words", "apart"),
    [
        (NOISE[..., :1], RGB, {}, "generated, or name that, as --alteration grey:3", True),
        (COLOURLESS, RGB, {}, "generated, or name that, as --alteration grey:3", False),
        (
            np.dstack([COLOURLESS, OPAQUE[..., 3:]]),
            RGBA,
            {},
            "give it in colours, as it was generated",
            False,
        ),
    ],
)
def test_an_image_without_colours(pixels, shape, facts, words, apart):
    """A candidate may make such images itself.

    Only a grey file is sure to be no file of its own kind.
    """
    found = caveat(pixels, [shape], facts=facts)
    assert found.text.endswith(words)
    assert bool(found.uncalibrated) == apart


def test_a_colour_jpeg_without_colours_is_told_how_to_be_named():
    assert caveat(COLOURLESS, alteration="jpeg:90", facts=JPEG).text.endswith(
        "--alteration grey:3,jpeg"
    )


def test_a_resize_on_reading_is_told_how_to_be_named():
    found = caveat(NOISE[:6, :, :3])
    assert found.text.endswith("without --resize, such as --alteration resize:6x8:lanczos")
    assert found.uncalibrated
    assert caveat(NOISE[:6, :, :3], alteration="resize:6x8") == NO_CAVEAT
