"""Interval-censored likelihood: its values far out, its derivatives, its test under simulation,
its optimum.
"""

import numpy as np
import pytest
from scipy.stats import norm

from jattr.inversion.observation.censored_likelihood import (
    Intervals,
    likelihood_statistic,
    maximum_a_posteriori,
    minus_log_probability,
    p_value_of,
)
from jattr.solvers.base import Prior

COUNT = 300
# width of intervals, noise
RATIOS = [(1.0, 0.1), (1.0, 0.3), (4.0, 0.3), (16.0, 0.3), (1.0, 1.0), (1.0, 3.0)]


def known_of(center, *, half=0.5, noise=0.3, below=False, above=False):
    shape = np.shape(center)
    sides = (np.broadcast_to(side, shape).copy() for side in (below, above))
    return Intervals(np.asarray(center, float), np.full(shape, half), np.full(shape, noise), *sides)


def simulated(rng, width, noise, count=COUNT):
    """Predictions, and intervals of values that differ from them by the noise that is stated."""
    prediction = rng.uniform(-40, 40, count)
    value = prediction + noise * rng.normal(size=count)
    return prediction, known_of(width * np.round(value / width), half=width / 2, noise=noise)


def test_value_is_the_difference_of_two_normal_distributions():
    """Within 4 standard deviations, where that difference keeps 10 digits.

    Taken on the side of the smaller tail.
    """
    rng = np.random.default_rng(0)
    known = Intervals(rng.uniform(-2, 2, 500), rng.uniform(0.1, 2, 500), rng.uniform(0.8, 2, 500),
                      np.zeros(500, bool), np.zeros(500, bool))  # fmt: skip
    prediction = rng.uniform(-1, 1, 500)
    a, b = ((known.center + sign * known.half - prediction) / known.sigma for sign in (-1, 1))
    a, b = np.where(a > 0, -b, a), np.where(a > 0, -a, b)
    direct = -np.log(norm.cdf(b) - norm.cdf(a))
    np.testing.assert_allclose(
        minus_log_probability(prediction, known)[0], direct, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("distance", [5.0, 20.0, 200.0, 1e4])
def test_value_far_out_follows_the_asymptotic_series(distance):
    """Of the nearer edge e: -log Phi(-e) = e^2 / 2 + log e + log(2 pi) / 2 - log(1 - 1/e^2 +
    3/e^4); next 15/e^6.
    """
    e = (distance - 0.5) / 0.3
    expected = e**2 / 2 + np.log(e) + np.log(2 * np.pi) / 2 - np.log1p(-(e**-2) + 3 * e**-4)
    value, slope, bend = minus_log_probability(
        np.array([distance, -distance]), known_of(np.zeros(2))
    )
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=15 / e**6)
    np.testing.assert_allclose(slope, np.array([1, -1]) * (e + 1 / e) / 0.3, rtol=1e-4)
    assert ((bend >= 0) & (bend <= 1 / 0.09)).all()
    assert bend.min() > 0.95 / 0.09  # nearly a parabola


def test_what_lies_beyond_a_clipped_number_costs_nothing():
    low = minus_log_probability(np.array([-1e6, 0.0, 3.0]), known_of(np.zeros(3), below=True))
    high = minus_log_probability(np.array([1e6, 0.0, -3.0]), known_of(np.zeros(3), above=True))
    np.testing.assert_allclose(low[0], high[0])
    np.testing.assert_allclose(low[1], -high[1])
    assert low[0][0] == 0.0
    assert low[1][0] == 0.0
    assert low[0][2] == pytest.approx(-norm.logsf(2.5 / 0.3), rel=1e-9)


def test_derivatives_are_those_of_the_value():
    """Central differences of 1e-4: their error is 1e-8 of the third and fourth derivative, at
    most 1 / noise^4.
    """
    rng = np.random.default_rng(1)
    known = Intervals(np.zeros(400), rng.uniform(0.2, 4, 400), rng.uniform(0.3, 2, 400),
                      rng.random(400) < 0.2, np.zeros(400, bool))  # fmt: skip
    at, step = rng.uniform(-5, 5, 400), 1e-4
    (low, low_slope, _), (_, slope, bend), (high, high_slope, _) = (
        minus_log_probability(at + shift, known) for shift in (-step, 0.0, step)
    )
    np.testing.assert_allclose((high - low) / (2 * step), slope, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((high_slope - low_slope) / (2 * step), bend, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noise", [0.05, 0.3, 3.0])
def test_value_is_convex(noise):
    """On a grid across the interval and far beyond.

    Slopes never fall (1e-9: float64 of slopes up to 1e4).
    """
    grid = np.linspace(-8, 8, 2001)
    value, slope, bend = minus_log_probability(grid, known_of(0 * grid, noise=noise))
    assert (np.diff(slope) >= -1e-9 * np.abs(slope).max()).all()
    assert (bend >= 0).all()
    assert value.argmin() == 1000  # the middle
    assert (value >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "noise"), RATIOS)
def test_mean_and_variance_of_a_right_prediction(width, noise):
    """500 sums: their mean is known to 1 / sqrt(500) = 0.045 standard deviations, their deviation
    to 0.04; 4 of each.

    Where noise is a tenth of the width few numbers tell, so the sum is skewed and its deviation
    known less well.
    """
    rng = np.random.default_rng(2)
    found = [likelihood_statistic(*simulated(rng, width, noise)) for _ in range(500)]
    scores = np.array([f.z_score for f in found])
    assert abs(scores.mean()) < 0.18
    assert abs(scores.std() - 1) < 0.16
    chances = np.array([p_value_of(f, 1.0) for f in found])
    assert 0.02 < (chances < 0.05).mean() < 0.09  # 0.05 +- 4 x 0.01


def test_small_chances_of_a_right_prediction_are_rare():
    """2,000 images at a fixed seed: below 1e-3 lie 2 +- 1.4.

    The gamma's tail is not exact, so up to 6 (3e-3).
    """
    rng = np.random.default_rng(3)
    chances = np.array(
        [p_value_of(likelihood_statistic(*simulated(rng, 1.0, 0.3)), 1.0) for _ in range(2000)]
    )
    assert (chances < 1e-3).sum() <= 6
    assert (chances < 1e-6).sum() == 0
    assert abs(np.median(chances) - 0.5) < 0.06  # 0.5 / sqrt(2000) = 0.011, and the skewness


@pytest.mark.parametrize(("width", "noise"), RATIOS)
def test_wrong_predictions_are_denied(width, noise):
    """Shifted by 3 widths, or by 3 deviations where those are wider."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        prediction, known = simulated(rng, width, noise)
        wrong = prediction + 3 * max(width, noise) * rng.choice([-1, 1], COUNT)
        found = likelihood_statistic(wrong, known)
        assert p_value_of(found, 1.0) < 1e-12
        assert found.z_score > 30


def test_dispersion_makes_the_test_milder():
    rng = np.random.default_rng(5)
    prediction, known = simulated(rng, 1.0, 0.3)
    found = likelihood_statistic(prediction + 0.3, known)
    assert p_value_of(found, 1.0) < p_value_of(found, 4.0) < 0.05


def test_numbers_well_inside_wide_intervals_do_not_count():
    """A prediction 10 deviations from both edges.

    Certain beforehand, so nothing is expected and nothing found.
    """
    found = likelihood_statistic(np.zeros(50), known_of(np.zeros(50), half=3.0))
    assert found.total < 1e-12
    assert found.expected < 1e-12
    assert found.num_informative == 0
    assert (
        likelihood_statistic(np.full(50, 4.0), known_of(np.zeros(50), half=3.0)).num_informative
        == 50
    )


def test_no_surprise_is_not_unlikely():
    found = likelihood_statistic(np.zeros(50), known_of(np.zeros(50), half=3.0))
    assert p_value_of(found, 1.0) > 0.1


def test_clipped_numbers_have_two_outcomes():
    """The entropy of a coin of that chance, and its variance."""
    prediction = np.linspace(0, 1, 9)
    found = likelihood_statistic(prediction, known_of(np.zeros(9), below=True))
    p = norm.cdf((0.5 - prediction) / 0.3)
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    variance = p * np.log(p) ** 2 + (1 - p) * np.log(1 - p) ** 2 - entropy**2
    assert found.total == pytest.approx(-np.log(p).sum(), rel=1e-9)
    assert found.expected == pytest.approx(entropy.sum(), rel=1e-9)
    assert found.variance == pytest.approx(variance.sum(), rel=1e-9)


def linear_problem(*, wide=False, seed=6):
    """80 rounded numbers of 5 latents, with noise; half of them in wide intervals if `wide`."""
    rng = np.random.default_rng(seed)
    jacobian, true = rng.normal(size=(80, 5)) * 10, rng.normal(size=5)
    half = np.where(np.arange(80) % 2, 8.0, 0.5) if wide else np.full(80, 0.5)
    value = jacobian @ true + 0.3 * rng.normal(size=80)
    center = 2 * half * np.round(value / (2 * half))
    known = Intervals(center, half, np.full(80, 0.3), np.zeros(80, bool), np.zeros(80, bool))
    return (lambda z: (jacobian @ z.astype(np.float64), jacobian)), known, true


@pytest.mark.parametrize("wide", [False, True])
def test_linear_problems_are_solved(wide):
    """From a start 1 unit away to one that leaves no surprise.

    Within a few noises over 10 x sqrt(40 numbers): 0.05.
    """
    predict, known, true = linear_problem(wide=wide)
    prior = Prior(np.zeros(5), np.ones(5))
    start = (true + np.array([1.0, -1, 1, -1, 1])).astype(np.float32)
    z, used = maximum_a_posteriori(predict, start, known, prior, 30)
    assert z.dtype == np.float32
    assert 1 < used <= 30
    assert np.abs(z - true).max() < 0.05
    assert p_value_of(likelihood_statistic(predict(z)[0], known), 1.0) > 1e-3
    # it went on to the optimum; gains below 0.1 nats are left
    if likelihood_statistic(predict(z)[0], known).z_score >= 0:
        gradient = predict(z)[1].T @ minus_log_probability(predict(z)[0], known)[1] + z
        bend = predict(z)[1].T @ (
            predict(z)[1] * minus_log_probability(predict(z)[0], known)[2][:, None]
        ) + np.eye(5)
        # nats that a Newton step would gain
        assert 0.5 * gradient @ np.linalg.solve(bend, gradient) < 1.0


def test_a_start_that_leaves_no_surprise_is_kept():
    predict, known, true = linear_problem()
    known = known._replace(center=predict(true)[0])
    z, used = maximum_a_posteriori(
        predict, true.astype(np.float32), known, Prior(np.zeros(5), np.ones(5)), 30
    )
    assert used == 1
    np.testing.assert_array_equal(z, true.astype(np.float32))


def test_points_that_cannot_be_computed_never_win():
    """Everything is NaN, or everything but the start; the start is what comes back."""
    start = np.ones(3, np.float32)
    known = known_of(np.full(9, 50.0))
    for finite in (False, True):

        def predict(z, finite=finite):
            sound = finite and np.array_equal(z, start)
            return np.full(9, 0.0 if sound else np.nan), np.ones((9, 3))

        z, used = maximum_a_posteriori(predict, start, known, Prior(np.zeros(3), np.ones(3)), 12)
        np.testing.assert_array_equal(z, start)
        assert 1 <= used <= 12


def test_no_jacobians_change_nothing():
    predict, known, true = linear_problem()
    z, used = maximum_a_posteriori(
        predict, true.astype(np.float32), known, Prior(np.zeros(5), np.ones(5)), 0
    )
    np.testing.assert_array_equal(z, true.astype(np.float32))
    assert used == 0
