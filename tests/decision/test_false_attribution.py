"""False attribution: Holm by hand, Clopper-Pearson against SciPy, the guarantee by simulation."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from jattr.decision.false_attribution import (
    holm,
    least_negatives,
    lower_bound,
    negative_p,
    upper_bound,
    worst_kind,
)
from jattr.errors import InputError

GUARANTEE = Path(__file__).resolve().parents[2] / "docs" / "guarantee.md"


def test_the_p_value_counts_ties_against_attribution():
    assert negative_p([-2.0, -1.0, -1.0, np.inf], [-3.0, -2.0, -1.0, np.inf]).tolist() == [
        0.2,
        0.4,
        0.8,
        1.0,
    ]


def test_holm_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, made monotone: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]).tolist() == [1.0, 1.0]
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_names_for_images_of_no_candidate_are_as_rare_as_said(alpha):
    rng, rounds, candidates = np.random.default_rng(2), 1500, 3
    named = 0
    for _ in range(rounds):
        # a hard image is hard for all: the candidates' scores depend on each other
        shared = rng.normal(size=101)
        scores = shared + rng.normal(0.0, 0.5, (candidates, 101))
        p = [float(negative_p(row[:-1], row[-1])) for row in scores]
        named += bool((holm(p) <= alpha).any())
    assert named <= binom.ppf(0.995, rounds, alpha)
    assert named > 0.3 * rounds * alpha  # neither is it never


def test_a_rare_kind_does_not_hide_behind_a_common_one():
    rng = np.random.default_rng(0)
    kinds = {
        "photograph": rng.normal(-1.0, 0.1, 180),
        "other generator: sibling": rng.normal(-3.0, 0.3, 20),
    }
    p, kind = worst_kind(kinds, -3.0)
    assert kind == "other generator: sibling"
    assert p > 0.25
    assert negative_p(np.concatenate(list(kinds.values())), -3.0) <= 0.07
    assert worst_kind({}, -3.0) == worst_kind({"renderer": []}, -3.0) == (1.0, "")


@pytest.mark.parametrize(
    ("events", "trials"), [(0, 1), (0, 200), (1, 200), (7, 30), (30, 30), (199, 200)]
)
def test_bounds_are_those_of_scipy(events, trials):
    for level in (0.9, 0.95, 0.99):
        for bound, side in ((upper_bound, "less"), (lower_bound, "greater")):
            interval = binomtest(events, trials, alternative=side).proportion_ci(
                level, method="exact"
            )
            wanted = interval.high if side == "less" else interval.low
            assert bound(events, trials, level=level) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_what_a_claim_needs():
    assert upper_bound(0, 200) <= 0.015 < upper_bound(0, 198)
    for alpha in (0.01, 0.03, 0.05, 0.1):
        for candidates in (1, 2, 3, 7):
            needed = least_negatives(alpha, candidates)
            assert candidates / (needed + 1) <= alpha * (1 + 1e-12) < candidates / needed


def test_the_table_in_the_documentation():
    rows = re.findall(
        r"^\| *([\d,]+) *\| *([\d.]+) % *\| *([\d.]+) % *\|$", GUARANTEE.read_text(), re.MULTILINE
    )
    assert len(rows) >= 6
    for trials, at_95, at_99 in rows:
        for stated, level in ((at_95, 0.95), (at_99, 0.99)):
            bound = 100 * upper_bound(0, int(trials.replace(",", "")), level=level)
            assert bound <= float(stated) + 1e-9 < 1.06 * bound  # rounded up


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: negative_p([], 0.0), "n at least 1"),
        (lambda: negative_p([0.0], np.nan), "NaN"),
        (lambda: holm([0.5, np.nan]), "from 0 to 1"),
        (lambda: holm([1.5]), "from 0 to 1"),
        (lambda: upper_bound(3, 2), "3 events in 2 trials"),
        (lambda: lower_bound(-1, 2), "-1 events"),
        (lambda: upper_bound(0, 2, level=1.0), "level"),
        (lambda: least_negatives(0.05, 0), "0 candidates"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
