"""The verdict, by table."""

import dataclasses
from dataclasses import replace

import pytest

from jattr.decision.certificate import Certificate
from jattr.decision.judgement import Judgement
from jattr.decision.verdict import VERDICTS, Caveat, DecisionConfig, Evidence, decide, within

HOLDS = Certificate(
    holds=True,
    bit_exact=False,
    rounding="round",
    identical_bytes=0.97,
    largest_deviation=0.6,
    unclipped=300,
    rank=8,
    excess=292,
    statistic=290.0,
    p_value=0.5,
)
EXACT = replace(HOLDS, bit_exact=True, identical_bytes=1.0)
BROKEN = replace(HOLDS, holds=False, p_value=0.0)
EXPRESSIVE = replace(HOLDS, holds=False, fits=True, evidence_bits=-5000.0)
MISS = 1e-3  # what every candidate below usually misses by on its own images


def seen(
    name, residual, certificate=None, *, digest=None, restarts=8, miss=MISS, settings="", bits=1e3
):
    failed = restarts if residual is None else 0
    return Evidence(
        name, digest or name, residual, certificate, restarts, 0, failed, miss, settings, bits=bits
    )


# what was seen -> kind, candidates, margin
TABLE = {
    "certified": ([seen("a", 5e-6, HOLDS), seen("b", 5e-2)], "made-by", ("a",), 1e4),
    "certified, alone": ([seen("a", 5e-6, HOLDS)], "made-by", ("a",), None),
    "certified, others failed": (
        [seen("a", 5e-6, HOLDS), seen("b", None)],
        "made-by",
        ("a",),
        None,
    ),
    "certified beats the lower residual": (
        [seen("a", 4e-6, BROKEN), seen("b", 5e-6, HOLDS)],
        "made-by",
        ("b",),
        0.8,
    ),
    "one digest is one model": (
        [seen("a", 5e-6, HOLDS, digest="x"), seen("b", 5e-6, HOLDS, digest="x"), seen("c", 5e-2)],
        "made-by",
        ("a", "b"),
        1e4,
    ),
    "one digest, one search missed": (
        [seen("a", 5e-2, digest="x"), seen("b", 5e-6, HOLDS, digest="x"), seen("c", 5e-2)],
        "made-by",
        ("a", "b"),
        1e4,
    ),
    "one digest under two settings has the better one's name": (
        [
            seen("a psi 1", 5e-5, digest="x", settings="psi 1"),
            seen("a psi 0.7", 5e-6, HOLDS, digest="x", settings="psi 0.7"),
            seen("twin", 6e-6, digest="x", settings="psi 0.7"),
            seen("c", 5e-2),
        ],
        "made-by",
        ("a psi 0.7", "twin"),
        1e4,
    ),
    "two certified models are one class": (
        [seen("a", 6e-6, HOLDS), seen("b", 5e-6, HOLDS), seen("c", 5e-3)],
        "made-by",
        ("b", "a"),
        1e3,
    ),
    "no certificate, clear": ([seen("a", 5e-4), seen("b", 6e-3)], "made-by", ("a",), 12.0),
    "no certificate, at the limits": (
        [seen("a", within(4)), seen("b", 10.001 * within(4))],
        "made-by",
        ("a",),
        10.001,
    ),
    "no certificate, a leader that comes near to anything": (
        [seen("a", 5e-4, bits=63.0), seen("b", 6e-3)],
        "undecided",
        (),
        12.0,
    ),
    "no certificate, a leader of which that is not known": (
        [seen("a", 5e-4, bits=None), seen("b", 6e-3)],
        "undecided",
        (),
        12.0,
    ),
    "reproduced without evidence": (
        [seen("a", 5e-6, EXPRESSIVE), seen("b", 5e-2)],
        "undecided",
        (),
        1e4,
    ),
    "certified beside one that reproduces it without evidence": (
        [seen("a", 4e-6, EXPRESSIVE), seen("b", 5e-6, HOLDS)],
        "made-by",
        ("b",),
        0.8,
    ),
    "no certificate, just beyond them": (
        [seen("a", 1.3e-3), seen("b", 1.0)],
        "undecided",
        (),
        1.0 / 1.3e-3,
    ),
    "broken certificate, clear": (
        [seen("a", 5e-5, BROKEN), seen("b", 5e-2)],
        "made-by",
        ("a",),
        1e3,
    ),
    "no certificate, runner-up near": ([seen("a", 5e-4), seen("b", 4e-3)], "undecided", (), 8.0),
    "no certificate, no runner-up": ([seen("a", 5e-4)], "undecided", (), None),
    "no certificate, the same model twice": (
        [seen("a", 5e-4, digest="x"), seen("b", 5e-1, digest="x")],
        "undecided",
        (),
        None,
    ),
    "winner too far, margin large": ([seen("a", 2e-3), seen("b", 1.0)], "undecided", (), 500.0),
    "none": ([seen("a", 2e-2), seen("b", 3e-2)], "none", (), 1.5),
    "none is not said of what moving every byte by 8 explains": (
        [seen("a", 4.4e-3, miss=1e-5), seen("b", 3e-2)],
        "undecided",
        (),
        3e-2 / 4.4e-3,
    ),
    "none is said beyond that": (
        [seen("a", 4.5e-3, miss=1e-5), seen("b", 3e-2)],
        "none",
        (),
        3e-2 / 4.5e-3,
    ),
    "none, alone": ([seen("a", 2e-2)], "none", (), None),
    "none needs restarts": ([seen("a", 2e-2), seen("b", 3e-2, restarts=7)], "undecided", (), 1.5),
    "none needs distance": ([seen("a", 2e-2), seen("b", 3e-2, miss=3e-3)], "undecided", (), 1.5),
    "none needs the usual miss": (
        [seen("a", 2e-2), seen("b", 3e-2, miss=None)],
        "undecided",
        (),
        1.5,
    ),
    "none needs every candidate": ([seen("a", 2e-2), seen("b", None)], "undecided", (), None),
    "failed": ([seen("a", None), seen("b", None)], "failed", (), None),
}


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("backwards", [False, True])
def test_table(case, backwards):
    evidence, kind, names, margin = TABLE[case]
    verdict = decide(evidence[::-1] if backwards else evidence)
    assert verdict.kind == kind
    assert verdict.kind in VERDICTS
    assert sorted(verdict.candidates) == sorted(names)
    assert verdict.margin == (None if margin is None else pytest.approx(margin))
    assert (verdict.certificate is not None) == case.startswith(
        ("certified", "one digest", "two certified")
    )
    assert verdict.reason
    assert "\n" not in verdict.reason


CAVEAT = Caveat("a noun", "the file says so; give another one")


@pytest.mark.parametrize("case", TABLE)
def test_a_caveat_takes_away_none_and_nothing_else(case):
    plain, verdict = decide(TABLE[case][0]), decide(TABLE[case][0], None, CAVEAT)
    if plain.kind != "none":
        assert verdict == plain
        return
    assert (verdict.kind, verdict.margin) == ("undecided", plain.margin)
    assert verdict.reason.endswith(f"on its own images, but {CAVEAT.text}")


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("kind", VERDICTS)
def test_a_judgement_takes_the_place_of_thresholds_and_of_no_certificate(case, kind):
    plain = decide(TABLE[case][0])
    judgement = Judgement(kind, ("a",), "In words.", (), 0.5, {}, "clean", 0.05)
    verdict = decide(TABLE[case][0], None, CAVEAT, judgement=judgement)
    if plain.certificate is not None:
        assert verdict == plain
        return
    assert (verdict.kind, verdict.margin, verdict.reason) == (kind, plain.margin, "In words")
    assert verdict.candidates == (("a",) if kind == "made-by" else ())


@pytest.mark.parametrize("case", TABLE)
def test_what_is_not_calibrated_is_said(case):
    plain, verdict = decide(TABLE[case][0]), decide(TABLE[case][0], uncalibrated="blur:1")
    if plain.certificate is not None:
        assert verdict == plain
        return
    assert (verdict.kind, verdict.candidates) == (plain.kind, plain.candidates)
    assert verdict.reason == f"{plain.reason}; not calibrated for blur:1, so by thresholds"


def test_table_covers_every_kind():
    assert {kind for _, kind, _, _ in TABLE.values()} == set(VERDICTS)


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        ([seen("a", 5e-6, HOLDS)], "made by a (certificate)"),
        ([seen("a", 5e-6, EXACT)], "made by a (certificate, bit-exact)"),
        ([seen("a", 5e-6, HOLDS), seen("b", 6e-6, HOLDS)], "made by a or b (certificate)"),
        ([seen("a", 5e-4), seen("b", 5e-1)], "made by a"),
        ([seen("a", 5e-1)], "none of the candidates"),
        ([seen("a", 2e-3)], "undecided"),
        ([seen("a", None)], "failed"),
    ],
)
def test_text(evidence, text):
    assert decide(evidence).text == text


def test_class_of_two_models_says_that_it_is_one():
    reason = decide([seen("a", 6e-6, HOLDS), seen("b", 5e-6, HOLDS)]).reason
    assert "2 models" in reason
    assert "cannot tell them apart" in reason


def test_the_nearest_model_of_a_class_comes_first():
    assert decide([seen("a", 6e-6, HOLDS), seen("b", 5e-6, HOLDS)]).candidates == ("b", "a")


def test_too_few_restarts_are_named():
    assert "b had 7 restarts; 8" in decide([seen("a", 2e-2), seen("b", 3e-2, restarts=7)]).reason


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ([seen("a", 5e-4), seen("b", 4e-3)], "a and b both come near; the original file"),
        ([seen("a", 2e-3), seen("b", 1.0)], "a comes so near that small changes"),
        (
            [seen("a", 2e-2), seen("b", 3e-2, miss=3e-3)],
            "b comes as close as it does on its own images",
        ),
        ([seen("a", 2e-2), seen("b", 3e-2, miss=None)], "try more restarts, or calibrate"),
        ([seen("a", 2e-2), seen("b", None)], "failed in every restart; try more"),
    ],
)
def test_undecided_says_what_would_settle_it(evidence, words):
    assert words in decide(evidence).reason


def test_perfect_residual_has_a_finite_margin():
    assert decide([seen("a", 0.0, EXACT), seen("b", 1.0)]).margin == pytest.approx(1e12)


def test_thresholds_are_the_config():
    evidence = [seen("a", 5e-4), seen("b", 4e-3)]
    assert decide(evidence, DecisionConfig(ratio=7.0)).kind == "made-by"
    assert decide(evidence, DecisionConfig(ratio=7.0, winner=1e-4)).kind == "undecided"
    far = [seen("a", 2e-2, restarts=2)]
    assert decide(far, DecisionConfig(none_restarts=2)).kind == "none"
    assert decide(far, DecisionConfig(none_restarts=2, none_factor=30.0)).kind == "undecided"


def test_nothing_is_better_than_the_floor_of_rounding():
    """An almost black image: both reproduce it to less than rounding leaves, so neither is
    ahead.
    """
    assert decide([seen("a", 0.0), seen("b", 1e-9)]).kind == "undecided"
    assert decide([seen("a", 0.0), seen("b", 1e-4)]).kind == "made-by"


def test_a_candidate_that_failed_may_be_the_maker():
    rows = [seen("a", 1e-4), seen("b", None), seen("c", 1e-2)]
    assert decide(rows).kind == "undecided"
    assert "failed in every restart" in decide(rows).reason
    assert decide([rows[0], rows[2]]).kind == "made-by"


@pytest.mark.parametrize(
    ("spare", "kind"), [(None, "made-by"), (50, "made-by"), (49, "undecided"), (-61, "undecided")]
)
def test_few_numbers_prove_nothing(spare, kind):
    winner = dataclasses.replace(seen("a", 1e-4), spare=spare)
    verdict = decide([winner, seen("c", 1e-2)])
    assert verdict.kind == kind
    assert ("prove nothing" in verdict.reason) == (kind == "undecided")
