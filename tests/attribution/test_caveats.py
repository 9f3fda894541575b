"""What a file says that keeps an image from being called none of the candidates'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.alterations import Jpeg, parse_chain
from jattr.alterations.history import NO_TRACES, Traces
from jattr.attribution.caveats import (
    COLOURED,
    COLOURS,
    COMPRESSED,
    FLATTENED,
    STORED,
    TRANSPARENT,
    OwnLevels,
    caveat_of,
)
from jattr.decision.verdict import NO_CAVEAT
from jattr.generators.base import Generator
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
        (NOISE[..., :1], RGB, {}, "in colours, or name that, as --alteration grey:3", True),
        (COLOURLESS, RGB, {}, "in colours, or name that, as --alteration grey:3", False),
        (
            np.dstack([COLOURLESS, OPAQUE[..., 3:]]),
            RGBA,
            {},
            "give the file as it was first saved, in colours",
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


AVERAGED = Traces(chroma="chroma that was repeated")
COARSE, FINE = (Jpeg.of_quality(q, "4:2:0", decoded=True) for q in (50, 90))


@pytest.mark.parametrize(
    ("traces", "alteration", "tried", "facts", "words"),
    [
        (AVERAGED, None, [], {}, "shows chroma that was repeated, the trace of"),
        (AVERAGED, "flip", [], {}, "chroma"),
        (AVERAGED, "jpeg:90:4:4:4", [], JPEG, "chroma"),
        (AVERAGED, "jpeg:90:4:2:0", [], JPEG, ""),
        (Traces(blocks=True), None, [], {}, "8x8 blocks"),
        (Traces(blocks=True), "jpeg:90", [], JPEG, ""),
        (Traces(jpeg=COARSE), None, [], {}, "a JPEG's coefficients (jpeg:50:4:2:0:decoded)"),
        (Traces(jpeg=COARSE), None, ["jpeg:50:4:2:0:decoded"], {}, ""),
        (Traces(jpeg=COARSE), None, ["jpeg:75:4:2:0:decoded"], {}, "a JPEG's coefficients"),
        (Traces(jpeg=COARSE), "jpeg:50:4:2:0:decoded", [], {}, ""),
        (Traces(jpeg=COARSE), "jpeg:90:4:2:0", [], JPEG, "an earlier, coarser compression"),
        (Traces(jpeg=FINE), "jpeg:50:4:2:0", [], JPEG, ""),
        (NO_TRACES, None, [], {"reduced": "a palette of 9 colours"}, "stores a palette of 9"),
        (NO_TRACES, "flip", [], {"reduced": "4 bits a sample"}, "stores 4 bits a sample"),
    ],
)
def test_losses_from_before_the_file_was_saved(traces, alteration, tried, facts, words):
    image = LoadedImage("x", NOISE[..., :3], "0" * 64, **dict(facts))
    chain = None if alteration is None else parse_chain(alteration)
    chains = [parse_chain(text) for text in tried]
    found = caveat_of(image, chain, [RGB], traces=traces, tried=chains)
    assert words in found.text
    assert bool(found.text) == bool(found.uncalibrated) == bool(words)
    if words:
        assert found.text.endswith("give the file as it was first saved")


def test_few_colours_are_compared_with_the_candidates_own():
    """Under what was done to the image: a blur makes colours, a candidate of two has no more."""

    def make(levels):
        def apply(state, z, *, label=None):
            del state, label
            made = jax.nn.sigmoid(z.reshape(-1, 16, 16, 3))
            return jnp.round(made * (levels - 1)) / (levels - 1) * 2 - 1

        return Generator.from_function(apply, latent=(768,), name=f"of {levels} levels")

    few, many = make(2), make(200)
    image, other = (gen.sample_images(jax.random.key(1), 1).images[0] for gen in (few, many))
    assert not OwnLevels([few]).fewer(image, None)
    assert not OwnLevels([few, many]).fewer(other, None)
    assert "fewer than any of 16 images of of 200 levels" in OwnLevels([few, many]).fewer(
        image, None
    )
    loaded = LoadedImage("x", image, "0" * 64)
    shape = few.image_shape
    assert caveat_of(loaded, None, [shape]) == NO_CAVEAT
    assert caveat_of(loaded, None, [shape], own_levels=OwnLevels([few])) == NO_CAVEAT
    reduced = caveat_of(loaded, None, [shape], own_levels=OwnLevels([many]))
    assert reduced.uncalibrated == "an image whose colours were reduced"
    blurred = parse_chain("blur:1").final_pixels(image[None])[0]
    assert not OwnLevels([many]).fewer(blurred, parse_chain("blur:1"))
