"""`jattr.verify`: of what `attribute` returned, and of a folder that it was written to."""

import dataclasses

import numpy as np
import pytest

import jattr
from jattr.decision.verdict import DecisionConfig, Verdict
from jattr.errors import InputError
from jattr.inversion import InvertConfig
from jattr.verification.report import HOLDS, RECOMPUTED, UNVERIFIED
from jattr.verification.report import SEARCH as SEARCH_NEEDED

SEARCH = InvertConfig(restarts=4)


@pytest.fixture(scope="module")
def images(tiny):
    """An image of `tiny`, and one of nobody."""
    own = tiny.make_bytes(np.random.default_rng(3).normal(size=(1, 6)).astype(np.float32))
    return np.concatenate([own, np.random.default_rng(4).integers(0, 256, own.shape, np.uint8)])


@pytest.fixture(scope="module")
def attribution(tiny, images):
    return jattr.attribute(images, [tiny], search=SEARCH)


def test_an_attribution_verifies(attribution, tiny, tiny_folders, images):
    for candidate in (tiny, tiny_folders["tiny"]):
        verification = jattr.verify(attribution, [candidate], images=images)
        assert not verification.differences
        own, other = verification.outcomes
        assert (own.kind, other.needs) == (HOLDS, (SEARCH_NEEDED,))
        assert not verification.verified
        assert (verification.images, verification.certified_images) == (2, 1)
        (certificate,) = verification.certificates
        assert (certificate["candidate"], certificate["holds"]) == ("tiny", True)
        assert any("restarts" in line for line in verification.unchecked)


def test_a_search_verifies_the_rest(attribution, tiny, images):
    verification = jattr.verify(attribution, [tiny], images=images, search=SEARCH)
    assert verification.verified, verification.unverified
    assert [each.kind for each in verification.outcomes] == [HOLDS, RECOMPUTED]
    with pytest.raises(InputError, match="does not state its search"):
        jattr.verify(attribution, [tiny], images=images, search=True)
    other = dataclasses.replace(SEARCH, seed=5)
    assert jattr.verify(attribution, [tiny], images=images, search=other).differences


def careful(evidence, caveat):
    """A caller's own policy: it believes certificates that are bit-exact, and says so."""
    best = evidence[0].certificate
    if best is not None and best.holds:
        return Verdict("made-by", (evidence[0].name,), best, None, "I have seen it")
    return Verdict("undecided", (), None, None, "I do not know")


def silent(evidence, caveat):
    return Verdict("undecided", (), None, None, "I say nothing")


def test_a_caller_s_own_policy_is_asked_again(tiny, images):
    found = jattr.attribute(images, [tiny], search=SEARCH, policy=careful)
    verification = jattr.verify(found, [tiny], images=images)
    assert not verification.differences
    assert [each.kind for each in verification.outcomes] == [HOLDS, UNVERIFIED]
    assert jattr.verify(found, [tiny], images=images, search=SEARCH).verified
    found = jattr.attribute(images, [tiny], search=SEARCH, policy=silent)
    verification = jattr.verify(found, [tiny], images=images)
    assert not verification.differences
    assert [each.kind for each in verification.outcomes] == [UNVERIFIED, UNVERIFIED]
    changed = dataclasses.replace(found, policy=careful)
    assert jattr.verify(changed, [tiny], images=images).differences


def test_thresholds_that_a_caller_names_are_those_that_count(tiny, images):
    policy = DecisionConfig(winner=9.0, none_above=9.0)
    found = jattr.attribute(images, [tiny], search=SEARCH, policy=policy)
    assert not jattr.verify(found, [tiny], images=images).differences


def test_another_latent_does_not(attribution, tiny, images):
    latents = (attribution.latents[0] + np.float32(0.1),)
    verification = jattr.verify(
        dataclasses.replace(attribution, latents=latents), [tiny], images=images
    )
    assert not verification.verified
    assert any("does not hold" in line for line in verification.differences)


def test_other_images_do_not(attribution, tiny, images):
    assert not jattr.verify(attribution, [tiny], images=images[::-1]).verified


def test_images_of_an_attribution_are_needed(attribution, tiny, images):
    for given in (None, images[:1]):
        with pytest.raises(InputError, match="give all 2 with images="):
            jattr.verify(attribution, [tiny], images=given)
    with pytest.raises(InputError, match="give uint8"):
        jattr.verify(attribution, [tiny], images=list(images / 255))


def test_a_candidate_that_a_certificate_names_is_needed(attribution, images, tiny_folders):
    with pytest.raises(InputError, match="no candidate of the result"):
        jattr.verify(attribution, [tiny_folders["tiny_b"]], images=images)
    with pytest.raises(InputError, match="certificates name 'tiny'"):
        jattr.verify(attribution, [], images=images)
