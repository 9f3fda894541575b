"""Conformal p-values: the guarantee by simulation, within exact intervals, and every refusal."""

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from jattr.decision.conformal import (
    check_enough,
    conformal_p,
    denial_interval,
    denied_ranks,
    least_own,
)
from jattr.decision.scores import as_fraction, scores_of
from jattr.errors import InputError


def denial_rate(own, test, alpha):
    """The share of test images that are denied."""
    return float((conformal_p(own, test) <= alpha).mean())


def split_denial_rates(scores, count, alpha, splits, rng):
    """The denial rates over random splits of one set, `count` of which calibrate."""
    orders = [rng.permutation(scores) for _ in range(splits)]
    return np.array([denial_rate(order[:count], order[count:], alpha) for order in orders])


def searches(rng, shape):
    """Scores as they are: a spike at the rounding floor, and a tail of searches that missed."""
    missed = rng.random(shape) < 0.1
    return np.where(missed, rng.normal(-2.0, 0.3, shape), rng.normal(-5.29, 0.01, shape))


def test_the_p_value_counts_ties_against_denial():
    own = [-5.0, -4.0, -4.0, -1.0]
    assert conformal_p(own, [-6.0, -5.0, -4.0, -3.9, -1.0, 0.0]).tolist() == [
        1.0,
        1.0,
        0.8,
        0.4,
        0.4,
        0.2,
    ]
    assert conformal_p([np.inf, -5.0], np.inf) == 2 / 3  # own images that failed are as far away
    assert conformal_p([-5.0], np.zeros((2, 3))).shape == (2, 3)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("count", [99, 130])
def test_denials_of_new_sets_lie_in_the_exact_interval(alpha, count):
    rng, sets, tests = np.random.default_rng(11), 400, 60
    rates = [denial_rate(searches(rng, count), searches(rng, tests), alpha) for _ in range(sets)]
    low, high = denial_interval(count, tests, alpha, splits=sets)
    assert low <= np.mean(rates) <= high
    assert high - low < 0.02  # an interval that can fail
    inside = denial_interval(count, tests, alpha, level=0.9)
    hits = sum(inside[0] <= rate <= inside[1] for rate in rates)
    assert hits >= binom.ppf(0.005, sets, 0.9)


def test_an_alteration_that_was_not_calibrated_leaves_the_interval():
    rng = np.random.default_rng(3)
    rate = denial_rate(rng.normal(size=200), rng.normal(0.7, 1.0, 200), 0.05)
    assert rate > denial_interval(200, 200, 0.05)[1]


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_random_splits_of_one_set_follow_the_interval(alpha):
    rng = np.random.default_rng(5)
    rates = split_denial_rates(searches(rng, 300), 199, alpha, 200, rng)
    low, high = denial_interval(199, 101, alpha, splits=200)
    assert low <= rates.mean() <= high
    tied = split_denial_rates(np.repeat([-5.0, -2.0], 150), 199, alpha, 50, rng)
    assert tied.mean() <= denial_interval(199, 101, alpha, splits=50)[1]


def test_splits_of_one_set_are_independent_as_the_docstring_says():
    rng = np.random.default_rng(6)
    pairs = np.array(
        [split_denial_rates(rng.normal(size=60), 39, 0.1, 2, rng) for _ in range(2000)]
    )
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 3 / np.sqrt(2000)
    law = betabinom(21, 4, 36)
    assert pairs.var() == pytest.approx(law.var() / 21**2, rel=0.1)


def test_one_calibration_set_with_many_tests_needs_the_wide_interval():
    rng = np.random.default_rng(7)
    means = []
    for _ in range(300):
        own = rng.normal(size=50)
        means.append(np.mean([denial_rate(own, rng.normal(size=50), 0.1) for _ in range(10)]))

    def outside(independent):
        low, high = denial_interval(50, 50, 0.1, splits=10, independent=independent)
        return np.mean([not low <= mean <= high for mean in means])

    assert outside(True) > 0.2  # what a wrong assumption would do
    assert outside(False) <= 0.01


def test_the_interval_is_the_beta_binomial_law_and_its_convolution():
    law = betabinom(50, 4, 76)
    assert denial_interval(79, 50, 0.05, level=0.9) == (law.ppf(0.05) / 50, law.ppf(0.95) / 50)
    twice = np.cumsum(np.convolve(law.pmf(np.arange(51)), law.pmf(np.arange(51))))
    assert denial_interval(79, 50, 0.05, splits=2) == tuple(
        np.searchsorted(twice, [0.005, 0.995]) / 100
    )
    many = denial_interval(79, 50, 0.05, splits=100)
    assert many == pytest.approx(0.05 + 2.576 * law.std() / 50 / 10 * np.array([-1, 1]), abs=1e-3)


def test_levels_are_taken_as_the_decimals_they_are_written_as():
    for alpha in np.arange(1, 100) / 100:
        needed = least_own(alpha)
        assert 1 / (needed + 1) <= alpha < 1 / needed if needed else True
        assert denied_ranks(99, alpha) == round(alpha * 100)
        own = np.arange(99.0)
        assert (conformal_p(own, own + 0.5) <= alpha).sum() == round(alpha * 100)
    assert as_fraction(0.05).denominator == 20


def test_too_few_own_images_name_the_number_needed():
    check_enough(19, 0.05, "g")
    with pytest.raises(
        InputError, match=r"g: 18 own images .* at least 19 .* the least alpha is 0\.0526"
    ):
        check_enough(18, 0.05, "g")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_p([], 1.0), "n at least 1"),
        (lambda: conformal_p([np.nan], 1.0), "1 of 1 scores are NaN"),
        (lambda: conformal_p([-np.inf], 1.0), "NaN or -inf"),
        (lambda: conformal_p([1.0], np.nan), "NaN"),
        (lambda: conformal_p(["x"], 1.0), "other than numbers"),
        (lambda: least_own(0.0), "between 0 and 1"),
        (lambda: least_own(float("nan")), "between 0 and 1"),
        (lambda: denial_interval(99, 0, 0.05), "1 or more of both"),
        (lambda: scores_of([-1.0]), "NaN or negative"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
