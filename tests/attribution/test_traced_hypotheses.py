"""Losses from before a file was saved, in the ways in which an image is taken."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jattr.alterations import Chain, Jpeg, parse_chain
from jattr.attribution.alteration_search import (
    caveat_under,
    hypotheses_of,
    parse_alternatives,
)
from jattr.attribution.caveats import OwnLevels
from jattr.attribution.result import Attribution, Explanation, best_explanation
from jattr.decision.verdict import NO_CAVEAT, Verdict
from jattr.generators.base import Generator
from jattr.images import LoadedImage
from jattr.inversion.settings import MultiStart

SEARCH = MultiStart()


def make_soft(channels=3, side=32):
    """A generator of soft images with some grain."""
    rng = np.random.default_rng(0)
    shape = (8, side, side, channels)
    parts = gaussian_filter(rng.normal(size=shape), (0, 2, 2, 0)) + 0.1 * rng.normal(size=shape)

    def apply(state, z, *, label=None):
        del label
        return jnp.tanh((z @ state).reshape(-1, side, side, channels))

    state = jnp.asarray(0.1 * parts.reshape(8, -1) / parts.std(), jnp.float32)
    return Generator.from_function(apply, state, latent=(8,), name=f"soft{channels}x{side}")


SOFT = make_soft()
OWN = SOFT.sample_images(jax.random.key(1), 1).images[0]
COMPRESSED = Jpeg.of_quality(75, "4:1:1").discrete(OWN[None])[0]
TEXT = "jpeg:75:4:1:1:decoded"


def taken(pixels, alteration="auto", candidates=(SOFT,), *, resize=False, **facts):
    image = LoadedImage("x.png", pixels, "0" * 64, **facts)
    return hypotheses_of(
        image, parse_alternatives(alteration), candidates, search=SEARCH, resize=resize
    )


def chains(hypotheses):
    return [None if each is None else each.chain.text for each in hypotheses.altered]


def caveats(hypotheses, candidates=(SOFT,)):
    own = OwnLevels(candidates)
    return [
        caveat_under(hypotheses, None if each is None else each.chain, own)
        for each in hypotheses.altered
    ]


def test_an_untouched_image_is_taken_as_it_is():
    found = taken(OWN)
    assert chains(found) == [None]
    assert caveats(found) == [NO_CAVEAT]
    assert not found.all_notes()


def test_a_compression_that_left_traces_is_tried_unasked():
    """Then neither way has a caveat: both are searched, and "none" takes both."""
    found = taken(COMPRESSED)
    assert chains(found) == [None, TEXT]
    assert [caveat.text for caveat in caveats(found)] == ["", ""]
    assert {caveat.uncalibrated for caveat in caveats(found)} == {"a file that is taken in 2 ways"}
    assert found.all_notes() == [
        f"shows a JPEG's coefficients ({TEXT}) and chroma that was repeated from one sample in 2"
        " horizontally"
    ]


@pytest.mark.parametrize(
    ("alteration", "candidates", "facts"),
    [
        ("none", (SOFT,), {}),
        ("auto", (SOFT, make_soft(side=16)), {"resize": True}),
        ("auto", (SOFT,), {"orientation": 3}),
    ],
)
def test_where_it_is_not_tried_it_is_a_caveat(alteration, candidates, facts):
    found = taken(COMPRESSED, alteration, candidates, **facts)
    assert TEXT not in chains(found)
    assert all("trace of a compression" in each.text for each in caveats(found, candidates))


def test_what_is_named_is_taken_at_its_word():
    assert chains(taken(COMPRESSED, "jpeg")) == [TEXT]
    assert [caveat.text for caveat in caveats(taken(COMPRESSED, "jpeg"))] == [""]
    assert all("JPEG's coefficients" in each.text for each in caveats(taken(COMPRESSED, "flip")))


def test_a_candidate_of_another_kind_has_no_such_compression():
    grey = make_soft(channels=1)
    found = taken(COMPRESSED, candidates=(grey,))
    assert chains(found) == [None]
    assert caveats(found, (grey,))[0].text


def attribution_of(kind, residual):
    verdict = Verdict(kind, (), None, None, "")
    empty = {field.name: () for field in dataclasses.fields(Attribution)}
    return Attribution(
        **empty
        | {"verdicts": (verdict,), "residual": np.array([[residual]]), "noise": np.ones((1, 1))}
    )


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["none", "undecided"], 1),
        (["undecided", "none"], 0),
        (["none", "none"], 0),
        (["undecided", "undecided"], 0),
        (["none", "failed"], 0),
        (["none", "made-by", "undecided"], 1),
    ],
)
def test_none_is_said_only_if_every_way_says_it(kinds, expected):
    """Though another be the closer one."""
    ways = [Explanation(attribution_of(kind, 1.0 + at), 0) for at, kind in enumerate(kinds)]
    assert best_explanation(ways) is ways[expected]


def test_chains_are_compared_by_what_they_do():
    assert Chain((Jpeg.of_quality(75, "4:1:1", decoded=True),)) == parse_chain(TEXT)
