"""The judgement of an image: its two error rates by simulation, every outcome, and the words."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binom

from jattr.decision.calibration import Calibrated, Calibration, Sample
from jattr.decision.judgement import check_ready, judge, shortfalls
from jattr.decision.power import power_of
from jattr.decision.restart_power import Restarts
from jattr.errors import InputError

NAMES = ("a", "b", "c")
OWN, OTHERS = 99, 100
INF = float("inf")


def own_scores(rng, count, gap):
    """Scores of a candidate's own images after an alteration.

    A broad bump, below others by `gap` deviations.
    """
    return rng.normal(-gap, 1.0, count)


def calibration_of(rng, *, gap=6.0, own=OWN, others=OTHERS, names=NAMES, restarts=None):
    def sample():
        kinds = {
            "photograph": tuple(rng.normal(0.0, 1.0, others)),
            "renderer": tuple(rng.normal(0.5, 1.0, others)),
        }
        return Sample(tuple(own_scores(rng, own, gap)), kinds, own_seed=1, own_restarts=restarts)

    candidates = {
        name: Calibrated(f"{i}" * 64, {"jpeg 75": sample()}) for i, name in enumerate(names)
    }
    return Calibration(candidates, "f" * 64, {"jattr": "0.1.0"})


@pytest.fixture(scope="module")
def calibration():
    return calibration_of(np.random.default_rng(0))


def judged(calibration, *scores, alpha=0.05, **more):
    return judge(calibration, dict(zip(NAMES, scores, strict=False)), "jpeg 75", alpha, **more)


def test_an_image_of_one_candidate_is_named_with_the_words_of_its_ratio(calibration):
    found = judged(calibration, 0.0, -6.0, 0.3)
    assert (found.kind, found.candidates) == ("made-by", ("b",))
    b = found.findings[1]
    assert b.supported
    assert not b.denied
    assert b.holm_p == pytest.approx(3 / 101)
    assert 90 < 10**b.log10_lr <= 101  # against one kind
    assert 100 < 10**b.log10_lr_even <= 201
    assert b.probability > 0.95
    assert found.sentence.startswith(
        "The findings give moderate support to b having made the image rather than"
    )
    assert "a source like the negatives of kind photograph" in found.sentence
    assert "the most that this calibration can show" in found.sentence
    assert (
        "0 of 100 negatives of kind photograph come so close to it (p-value corrected for 3"
        in found.sentence
    )
    assert "0.03; at most 3 % of such images do, 95 % sure" in found.sentence
    assert sum(f.probability for f in found.findings) + found.none_probability == pytest.approx(1.0)


def test_a_foreign_image_is_none(calibration):
    found = judged(calibration, 0.0, 0.5, 1.0)
    assert (found.kind, found.candidates) == ("none", ())
    assert all(f.denied for f in found.findings)
    assert found.none_probability > 0.9
    assert "Each of the 3 candidates is denied at 0.05; the nearest is a: " in found.sentence
    far = (
        "0 of 99 of its own images end so far away (p-value 0.01; at most 3 % of them do, 95 %"
        " sure)."
    )
    assert found.sentence.endswith(far)
    assert judged(calibration, 0.0).sentence == f"a is denied: {far}"


def test_a_caveat_takes_away_none_and_nothing_else(calibration):
    for scores in ((0.0, 0.5, 1.0), (0.0, -6.0, 1.0)):
        plain, found = judged(calibration, *scores), judged(calibration, *scores, caveat="it is so")
        if plain.kind != "none":
            assert found == plain
            continue
        assert found.kind == "undecided"
        assert found.sentence == "Undecided: every candidate is denied, but it is so."


SURE = Restarts((1,) * OWN, (True,) * OWN)
HARD = Restarts((1, 3, 2) * 33, (True, False, True) * 33)


def test_none_states_how_many_own_images_so_many_restarts_miss():
    known = calibration_of(np.random.default_rng(0), restarts=SURE)
    found = judged(known, 0.0, 0.5, 1.0, restarts=dict.fromkeys(NAMES, 8))
    missed = (
        "8 restarts miss at most 3 % of any candidate's own images (95 % sure, without a model)"
    )
    assert found.sentence.endswith(f"; {missed}.")
    assert [f.power for f in found.findings] == [power_of(SURE, 8)] * 3
    assert judged(known, 0.0).sentence.endswith("; 1 restart misses at most 3 % of its own images"
                                                " (95 % sure, without a model).")  # fmt: skip
    assert "8 restarts" in json.dumps(asdict(found))


def test_a_candidate_without_a_restart_is_not_described_by_those_of_the_calibration():
    known = calibration_of(np.random.default_rng(0), restarts=SURE)
    found = judged(known, 0.0, INF, 0.5, restarts={"a": 8, "b": 0, "c": 8})
    assert [(f.power.restarts, f.power.miss_bound) for f in found.findings][1] == (0, 1.0)
    assert (
        found.sentence
        == "Undecided: no restart of b came to a result, which speaks against no model."
    )


def test_a_doubt_says_how_many_restarts_would_settle_it():
    close = calibration_of(np.random.default_rng(1), gap=1.5, restarts=HARD)
    sentence = judged(close, -0.5, 3.0, 3.0, restarts={"a": 3}).sentence
    assert (
        f"; 3 restarts miss at most 42 % of its own images (95 % sure), {HARD.needed(1e-3)} would"
        " miss"
    ) in sentence
    without = calibration_of(np.random.default_rng(1), gap=1.5)
    assert sentence.startswith(judged(without, -0.5, 3.0, 3.0).sentence.rstrip("."))


def test_two_that_fit_cannot_be_told_apart(calibration):
    found = judged(calibration, -6.0, -6.0, 0.3)
    assert (found.kind, found.candidates) == ("undecided", ("a", "b"))
    assert "a and b each fit" in found.sentence


def test_failed_searches_are_no_evidence(calibration):
    assert judged(calibration, INF, INF, INF).kind == "failed"
    found = judged(calibration, INF, 0.5, 0.5)
    assert found.kind == "undecided"
    assert "no restart of a came to a result, which speaks against no model" in found.sentence
    assert judged(calibration, INF, -6.0, 0.5).candidates == ("b",)


def test_nearer_than_others_but_not_like_its_own_is_undecided():
    rng = np.random.default_rng(5)
    found = judged(calibration_of(rng, gap=20.0), -16.0, 0.0, 0.0)
    assert found.kind == "undecided"
    assert found.findings[0].log10_lr > 1
    assert "nearer to a than others, yet not like its own" in found.sentence


def test_in_between_is_undecided_and_says_why():
    close = calibration_of(np.random.default_rng(1), gap=1.5)
    found = judged(close, -0.5, 3.0, 3.0)
    assert found.kind == "undecided"
    hits = sum(score <= -0.5 for score in close.sample("a", "jpeg 75").negatives["photograph"])
    said = (
        f"Undecided: a is not denied, but {hits} of 100 negatives of kind photograph come so"
        " close to it (p-value"
    )
    assert found.sentence.startswith(said)


def test_too_few_negatives_say_how_many_are_needed():
    few = calibration_of(np.random.default_rng(2), others=58)
    found = judged(few, -6.0, 0.0, 0.0)
    assert found.kind == "undecided"
    assert found.sentence.endswith("there are 58 negatives of kind photograph, 59 are needed.")
    assert (
        shortfalls(few, NAMES, "jpeg 75", 0.05)[0]
        == "a: 58 negatives of kind photograph, 59 are needed"
    )
    enough = calibration_of(np.random.default_rng(2), others=59)
    assert judged(enough, -6.0, 0.0, 0.0).kind == "made-by"
    assert shortfalls(enough, NAMES, "jpeg 75", 0.05) == ()


def test_the_least_negatives_are_enough_in_floating_point():
    nine = calibration_of(np.random.default_rng(3), others=299, names=tuple("abcdefghi"))
    found = judge(nine, {"a": -6.5} | dict.fromkeys("bcdefghi", 0.0), "jpeg 75", 0.03)
    assert found.findings[0].holm_p > 0.03  # 9 * (1 / 300)
    assert found.candidates == ("a",)


def test_without_negatives_there_is_no_name_and_no_ratio():
    sample = Sample(tuple(np.linspace(-6.0, -5.0, 30)), {}, own_seed=0)
    alone = Calibration({"a": Calibrated("a" * 64, {"jpeg 75": sample})}, "f" * 64, {})
    found = judged(alone, -5.5)
    assert found.kind == "undecided"
    assert found.sentence.endswith("there are 0 negatives, 19 are needed.")
    assert found.findings[0].log10_lr == 0.0
    assert judged(alone, -1.0).kind == "none"


@pytest.mark.slow
@pytest.mark.parametrize("gap", [1.5, 6.0])
def test_own_images_are_called_none_as_rarely_as_said(gap):
    rng, rounds, alpha, lost, denied = np.random.default_rng(6), 300, 0.1, 0, 0
    for _ in range(rounds):
        fresh = calibration_of(rng, gap=gap, own=19, others=20)
        scores = (*own_scores(rng, 1, gap), *rng.normal(0.0, 1.0, 2))
        found = judged(fresh, *scores, alpha=alpha)
        lost += found.kind == "none"
        denied += all(f.denied for f in found.findings)
    assert lost <= denied <= binom.ppf(0.995, rounds, alpha)
    assert gap < 6.0 or denied >= binom.ppf(0.005, rounds, 2 / 20)


def close_kin(count, kin, photographs):
    """One candidate, whose negatives are images of a close relative and of an easy kind."""
    rng = np.random.default_rng(8)
    own, relatives, easy = (
        tuple(rng.normal(*law))
        for law in ((-6.0, 0.5, count), (-4.5, 0.5, kin), (0.0, 1.0, photographs))
    )
    sample = Sample(own, {"kin": relatives, "photograph": easy}, own_seed=1)
    return Calibration({"a": Calibrated("a" * 64, {"jpeg 75": sample})}, "f" * 64, {})


def test_images_of_an_easy_kind_make_the_evidence_no_stronger():
    few, many = (judged(close_kin(200, 60, photographs), -6.0) for photographs in (100, 10_000))
    for found in (few, many):
        assert found.findings[0].lr_kind == "kin"
        assert (
            "rather than a source like the negatives of kind kin (likelihood ratio"
            in found.sentence
        )
    assert few.findings[0].log10_lr == many.findings[0].log10_lr
    assert few.findings[0].log10_lr < few.findings[0].log10_lr_even
    assert abs(few.findings[0].log10_lr_even - many.findings[0].log10_lr_even) < 0.25


@pytest.mark.parametrize("others", [12, 20, 58, 59, 200])
def test_none_is_not_said_of_an_image_that_is_nearer_to_a_candidate_than_others_are(others):
    rng = np.random.default_rng(9)
    samples = [
        Sample(
            tuple(rng.normal(-5.0, 0.1, 30)),
            {"other": tuple(rng.normal(-1.0, 0.3, others))},
            own_seed=1,
        )
        for _ in NAMES
    ]
    candidates = {
        name: Calibrated(name * 64, {"jpeg 75": s}) for name, s in zip(NAMES, samples, strict=True)
    }
    found = judged(Calibration(candidates, "f" * 64, {}), -4.5, -1.0, -1.0)
    assert found.findings[0].denied
    assert found.kind == "undecided"
    assert "nearer to a than others, yet not like its own" in found.sentence


@pytest.mark.slow
@pytest.mark.parametrize("middle", [0.0, 0.5])  # of photographs, of renderers
def test_images_of_no_candidate_get_a_name_as_rarely_as_said(middle):
    rng, rounds, alpha, named = np.random.default_rng(7), 300, 0.1, 0
    for _ in range(rounds):
        fresh = calibration_of(rng, gap=2.5, own=19, others=40)
        named += judged(fresh, *rng.normal(middle, 1.0, 3), alpha=alpha).kind == "made-by"
    assert named <= binom.ppf(0.995, rounds, alpha)


def test_the_prior_is_stated_and_moves_the_probabilities_alone(calibration):
    usual = judged(calibration, -6.0, 0.0, 0.0)
    uncertain = judged(
        calibration, -6.0, 0.0, 0.0, prior={"a": 0.001, "b": 0.001, "c": 0.001, "none": 0.997}
    )
    assert usual.prior == dict.fromkeys((*NAMES, "none"), 0.25)
    assert (uncertain.kind, uncertain.sentence) == (usual.kind, usual.sentence)
    assert uncertain.findings[0].probability < 0.2 < 0.9 < usual.findings[0].probability


@pytest.mark.parametrize(
    ("scores", "more", "message"),
    [
        ({}, {}, "0 candidates to judge; give one or more of a, b, c"),
        ({"x": 0.0}, {}, "'x' is not calibrated"),
        ({"a": 0.0}, {"condition": "clean"}, "there are jpeg 75"),
        ({"a": float("nan")}, {}, "NaN"),
        ({"a": 0.0}, {"alpha": 0.005}, "a, jpeg 75: 99 own images cannot deny .* at least 199"),
        ({"a": 0.0}, {"alpha": 1.0}, "between 0 and 1"),
        ({"a": 0.0}, {"prior": {"a": 1.0}}, "give a probability to a, none"),
        ({"a": 0.0}, {"prior": {"a": 0.7, "none": 0.7}}, "add up to 1"),
    ],
)
def test_refusals(calibration, scores, more, message):
    with pytest.raises(InputError, match=message):
        judge(calibration, scores, **{"condition": "jpeg 75"} | more)


def test_readiness_is_checked_before_any_search(calibration):
    check_ready(calibration, ["a", "b"], "jpeg 75", 0.01)
    with pytest.raises(InputError, match="at least 999"):
        check_ready(calibration, ["a"], "jpeg 75", 0.001)
