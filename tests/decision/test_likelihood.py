"""Likelihood ratios and their measures: theory, hand examples, and numbers of another library."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, norm

from jattr.decision.likelihood import (
    elub,
    fit_evenly,
    fit_likelihood,
    in_words,
    joined,
    pav,
    posterior,
)
from jattr.decision.lr_measures import (
    calibration_error_interval,
    cllr,
    cllr_min,
    most_probable,
    reliability,
    tippett,
)
from jattr.errors import InputError

LN_10 = np.log(10.0)
OWN = [2.003, 1.5, 1.2, 0.903, 0.7, 0.4, 0.3, -0.2, 1.1, 1.9, 2.2, 0.6]
NEGATIVES = [
    -2.5,
    -1.1,
    -0.8,
    -0.3,
    0.503,
    -1.9,
    -0.6,
    -1.4,
    -2.0,
    0.1,
    -0.9,
    -1.2,
    -1.0,
    -0.1,
    -3.0,
]


def true_cost(distance):
    """Cllr of the true ratio of two normal distributions so many deviations apart."""
    half = distance**2 / 2

    def cost(x):
        return np.logaddexp2(0.0, -x / np.log(2.0)) * norm.pdf(x, half, distance)

    return quad(cost, half - 10 * distance, half + 10 * distance)[0]


def calibrated(rng, distance, count):
    """Perfectly calibrated log10 ratios: of own images and of others."""
    half = distance**2 / 2
    return rng.normal(half, distance, count) / LN_10, rng.normal(-half, distance, count) / LN_10


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0, 4.0])
def test_the_cost_of_calibrated_ratios_is_that_of_theory(distance):
    own, negatives = calibrated(np.random.default_rng(1), distance, 20_000)
    wanted = true_cost(distance)
    assert cllr(own, negatives) == pytest.approx(wanted, abs=0.02)
    assert wanted - 0.03 < cllr_min(own, negatives) <= cllr(own, negatives)
    assert cllr(own + 1.0, negatives + 1.0) > wanted + 0.05  # miscalibrated by a factor of ten ...
    # ... as separate as before
    assert cllr_min(own + 1.0, negatives + 1.0) == pytest.approx(cllr_min(own, negatives))


def test_measures_agree_with_the_forensic_toolkit_lir():
    """Numbers of lir 1.3.1 (Netherlands Forensic Institute).

    `elub`, `cllr`, `cllr_min` of these ratios.
    """
    assert elub(OWN, NEGATIVES) == pytest.approx((-0.86, 0.90), abs=1e-9)
    assert elub([0.0] * 5, [-1.0] * 5) == (0.0, 0.0)
    assert elub([1.0] * 5, [0.0] * 5) == pytest.approx((0.0, 0.69), abs=1e-9)
    assert elub([0.5] * 20, [-0.5] * 20)[0] == -0.5
    assert cllr(OWN, NEGATIVES) == pytest.approx(0.338594250542934, rel=1e-12)
    assert cllr_min(OWN, NEGATIVES) == pytest.approx(0.20483136517775183, rel=1e-12)


def test_costs_at_the_ends():
    assert cllr([0.0] * 3, [0.0]) == 1.0
    assert cllr([np.inf], [-np.inf]) == cllr_min([2.0, 1.0], [-1.0]) == 0.0
    assert cllr([-np.inf], [0.0]) == np.inf
    assert cllr_min([-1.0], [1.0]) == 1.0  # the wrong way round: best is to say nothing


def test_pav_by_hand():
    # ascending: own, other, own, other, other: blocks {own}, {other, own}, {other, other}
    llr = pav([1.0, 2.0, 3.0, 4.0, 5.0], [1, 0, 1, 0, 0])
    middle = np.log10((1 / 2) / (1 / 3))
    assert llr == pytest.approx(np.array([np.inf, middle, middle, -np.inf, -np.inf]))
    # ties: one ratio, and the sides weigh the same
    assert pav([1.0, 1.0, 1.0], [1, 0, 0]).tolist() == [0.0, 0.0, 0.0]
    assert pav([5.0, 1.0], [1, 0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("count", "others"), [(50, 50), (50, 300), (300, 50)])
def test_separated_scores_give_what_the_samples_can_show(count, others):
    rng = np.random.default_rng(0)
    fit = fit_likelihood(rng.normal(-5.29, 0.01, count), rng.normal(-1.5, 0.3, others))
    scores = np.linspace(-9.0, 3.0, 200)
    llr = fit(np.append(scores, np.inf))
    assert (np.diff(llr) <= 1e-12).all()
    assert 0.9 * (others + 1) < 10 ** llr[0] <= others + 1
    assert 1 / (count + 1) <= 10 ** llr[-1] < 1.1 / (count + 1)


def test_overlapping_scores_and_failed_searches():
    fit = fit_likelihood([-5.0, -4.0, np.inf], [-1.0, np.inf, np.inf])
    low, gap, far, failed = fit([-6.0, -2.5, 5.0, np.inf])
    assert low == fit(-4.0) > gap > far == failed == fit(-1.0)
    assert fit_likelihood([np.inf], [np.inf])(np.array([-3.0, np.inf])).tolist() == [0.0, 0.0]
    alike = np.arange(100.0)
    assert np.abs(fit_likelihood(alike, alike)(alike)).max() < 0.1  # nothing to tell apart


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("count", "excess"), [(50, 0.09), (200, 0.04)])
def test_the_cost_on_new_scores_is_near_that_of_the_true_ratio(distance, count, excess):
    rng, costs = np.random.default_rng(4), []
    for _ in range(40):
        fit = fit_likelihood(rng.normal(-distance, 1.0, count), rng.normal(0.0, 1.0, count))
        costs.append(cllr(fit(rng.normal(-distance, 1.0, 2000)), fit(rng.normal(0.0, 1.0, 2000))))
    assert true_cost(distance) < np.mean(costs) < true_cost(distance) + excess


def test_a_generator_that_reproduces_everything_better_gains_nothing():
    rng = np.random.default_rng(8)
    # comes near to any image
    able = fit_likelihood(rng.normal(-4.0, 0.2, 100), rng.normal(-3.0, 0.2, 100))
    plain = fit_likelihood(rng.normal(-2.0, 0.2, 100), rng.normal(-0.5, 0.2, 100))
    # an image of the plain one: the lower residual is the able one's
    assert able(-3.0) < 0 < plain(-2.0)
    assert posterior([able(-3.0), plain(-2.0)])[1] > 0.9


def test_the_posterior_follows_bayes():
    assert posterior([2.0, -np.log10(4.0)], [0.2, 0.4, 0.4]) == pytest.approx(
        np.array([20.0, 0.1, 0.4]) / 20.5
    )
    assert posterior([300.0, -300.0]).sum() == pytest.approx(1.0)
    assert posterior([2.0], [0.0, 1.0]).tolist() == [0.0, 1.0]
    assert posterior([]).tolist() == [1.0]


def test_words_are_those_of_the_scale():
    words = [in_words(np.log10(ratio)) for ratio in (1, 2, 10, 100, 1000, 10_000, 2e6)]
    assert words == [
        "no support", "weak support", ("moderate"
                                      " support"), "moderately strong support", "strong support",
        "very strong support", "extremely strong support",
    ]  # fmt: skip
    assert in_words(-2.5) == in_words(2.5)
    assert in_words(400.0) == "extremely strong support"


def test_tippett_curves():
    curves = tippett([1.0, 2.0], [-1.0, 1.0, 0.0, -2.0])
    assert curves.log10_lr.tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert curves.own.tolist() == [1.0, 1.0, 1.0, 1.0, 0.5]
    assert curves.negatives.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_reliability_by_hand():
    curve = reliability([0.05, 0.05, 0.95, 1.0], [0, 1, 1, 1])
    assert curve.edges.tolist() == [[0.0, 0.1], [0.9, 1.0]]
    assert curve.count.tolist() == [2, 2]
    assert curve.made.tolist() == [0.5, 1.0]
    assert curve.error == pytest.approx((0.45 + 0.025) / 2)
    assert curve.low[1] == pytest.approx(0.025**0.5)
    assert curve.high[1] == 1.0


def test_the_calibration_error_of_true_probabilities_is_small_and_of_others_is_not():
    rng, curves = np.random.default_rng(9), []
    for _ in range(100):
        chance = rng.random(1000)
        made = rng.random(1000) < chance
        curves.append(reliability(chance, made))
    outside = sum(int(((c.low > c.stated) | (c.stated > c.high)).sum()) for c in curves)
    assert 0 < outside <= binom.ppf(0.995, 1000, 0.05)  # of 1,000 bins
    curve = curves[-1]
    assert curve.error < 0.06
    low, high = calibration_error_interval(chance, made, rng)
    assert low <= curve.error <= high < 0.1
    wrong = calibration_error_interval(chance**3, made, rng)
    assert wrong[0] > 0.15
    assert wrong[0] < reliability(chance**3, made).error < wrong[1]


def test_the_interval_of_an_image_with_many_probabilities_is_no_narrower_than_that_of_one():
    """Twenty statements of an image are not twenty images."""
    rng = np.random.default_rng(4)
    chance = rng.random(60)
    made = rng.random(60) < chance
    one = calibration_error_interval(chance, made, np.random.default_rng(0))
    many = [np.repeat(side[:, None], 20, axis=1) for side in (chance, made)]
    # sums' order
    assert calibration_error_interval(*many, np.random.default_rng(0)) == pytest.approx(
        one, rel=1e-9
    )
    cells = calibration_error_interval(*(side.ravel() for side in many), np.random.default_rng(0))
    assert cells[1] - cells[0] < 0.5 * (one[1] - one[0])


def test_candidates_that_nobody_would_name_do_not_dilute_the_error_of_the_likeliest_answer():
    chances = np.zeros((50, 10))
    chances[:, 0] = 1.0  # always sure, and right half of the time
    truth = np.arange(50) % 2
    assert reliability(chances.ravel(), np.eye(10)[truth].ravel()).error == pytest.approx(0.1)
    assert reliability(*most_probable(chances, truth)).error == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_likelihood([], [1.0]), "own scores"),
        (lambda: fit_likelihood([1.0], [np.nan]), "negatives: 1 of 1"),
        (lambda: fit_likelihood([1.0], [2.0])(np.nan), "NaN"),
        (lambda: posterior([np.inf]), "finite"),
        (lambda: posterior([0.0], [1.0]), "give 2 numbers"),
        (lambda: posterior([0.0], [0.5, 0.6]), "add up to 1"),
        (lambda: posterior([0.0], [1.5, -0.5]), "0 or more"),
        (lambda: cllr([], [1.0]), "own log10 ratios"),
        (lambda: cllr([1.0], [np.nan]), "negative log10 ratios"),
        (lambda: reliability([0.5], [2]), "outcomes 0 or 1"),
        (lambda: reliability([1.5], [1]), r"outside \[0, 1\]"),
        (lambda: reliability([], []), "one or more"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_kinds_are_joined():
    assert joined({}).shape == (0,)
    assert joined({"a": (1.0,), "b": (), "c": (np.inf, 2.0)}).tolist() == [1.0, np.inf, 2.0]


def test_kinds_of_any_size_weigh_the_same():
    rng = np.random.default_rng(3)
    own, hard, easy = (
        rng.normal(-3.0, 1.0, 150),
        rng.normal(-1.5, 1.0, 50),
        rng.normal(1.0, 1.0, 50),
    )
    places = np.linspace(-6.0, 3.0, 40)
    plain = fit_likelihood(own, np.concatenate([hard, easy]))
    np.testing.assert_allclose(
        fit_evenly(own, {"hard": hard, "easy": easy})(places), plain(places), atol=1e-9
    )
    again = fit_evenly(own, {"hard": hard, "easy": np.tile(easy, 40), "empty": ()})
    np.testing.assert_allclose(again(places), plain(places), atol=0.35)  # the bounds alone move
    # 50 and 2,000 in equal shares count as 195
    assert plain.high <= again.high <= np.log10(1 + 200)


def test_weights_are_a_mix():
    own, negatives = [1.0, 2.0, 3.0, 4.0], [2.5, 3.5, 4.5, 5.5]
    twice = pav([*own, *negatives, *negatives[:2]], [1] * 4 + [0] * 6)
    weighed = pav([*own, *negatives], [1] * 4 + [0] * 4, [1] * 4 + [2, 2, 1, 1])
    np.testing.assert_allclose(weighed, twice[:8])
    assert elub(OWN, NEGATIVES, np.full(len(NEGATIVES), 0.25)) == pytest.approx(
        elub(OWN, NEGATIVES), abs=1e-9
    )
