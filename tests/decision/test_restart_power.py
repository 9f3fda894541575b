"""Power of restarts: the readings compared where images are equally hard, and where they are
not.
"""

import math

import numpy as np
import pytest
from scipy.stats import betabinom

from jattr.decision.false_attribution import upper_bound
from jattr.decision.restart_power import (
    MAX_RESTARTS,
    Difficulty,
    Restarts,
    expected_restarts,
    fit_difficulty,
    miss_chance,
    restarts_needed,
)
from jattr.errors import InputError

CAP = 64


def searched(rng, images, a, b):
    """Searches of images whose restarts arrive with Beta(a, b) distributed chances, or with the
    chance b.
    """
    chance = rng.beta(a, b, images) if a else np.full(images, b)
    took = rng.geometric(np.maximum(chance, 1e-12))
    return Restarts(tuple(np.minimum(took, CAP).tolist()), tuple((took <= CAP).tolist()))


def alike(restarts, chance):
    hardest = max(used for used, done in zip(restarts.used, restarts.arrived, strict=True) if done)
    return restarts_needed(sum(restarts.arrived), sum(restarts.used), hardest, chance)


@pytest.mark.parametrize(
    ("arrived", "restarts", "hardest", "needed"),
    [(16, 16, 1, 4), (16, 17, 2, 5), (16, 16, 7, 7), (1, 100, 1, 13468), (0, 128, 0, None)],
)
def test_totals_give_what_the_rehearsal_always_gave(arrived, restarts, hardest, needed):
    assert restarts_needed(arrived, restarts, hardest, 1e-3) == needed


def test_plain_arithmetic():
    assert expected_restarts(0.25) == 4.0
    assert expected_restarts(0.0) == math.inf
    assert miss_chance(0.5, 3) == 0.125
    assert Restarts((1, 3, 64), (True, True, False)).success_bound() == pytest.approx(
        0.0052, abs=1e-4
    )


def test_more_restarts_than_were_tried_miss_no_more_than_those_that_were():
    found = Restarts((1, 2, 3, 3), (True, True, True, False))
    assert (found.most, found.rate) == (3, 3 / 9)
    assert found.miss_bound(8) is None
    assert found.missed_at_most(8) == found.missed_at_most(3) == upper_bound(1, 4)
    assert found.missed_at_most(1) == upper_bound(3, 4)
    sure = Restarts((1,) * 100, (True,) * 100)
    assert sure.missed_at_most(8) == upper_bound(0, 100)
    assert Restarts((3,) * 4, (False,) * 4).missed_at_most(5) == 1.0


def test_the_estimate_is_the_most_of_the_models():
    varied = Restarts((1,) * 90 + (3,) * 10, (True,) * 90 + (False,) * 10)
    fit = fit_difficulty(varied.used, varied.arrived)
    assert varied.missed(3) == pytest.approx(fit.miss_chance(3))
    assert varied.missed(3) > miss_chance(varied.success_bound(), 3)
    assert varied.missed(3) == pytest.approx(0.1, abs=0.02)
    sure = Restarts((1,) * 100, (True,) * 100)
    assert sure.missed(2) == miss_chance(sure.success_bound(), 2)
    assert Restarts((3,) * 4, (False,) * 4).missed(5) == 1.0


def test_a_spread_is_the_beta_binomial_law():
    difficulty = Difficulty(mean=0.3, spread=0.2)
    a, b = difficulty.shape
    assert (a, b) == pytest.approx((1.2, 2.8))
    for restarts in (1, 5, 40):
        assert difficulty.miss_chance(restarts) == pytest.approx(betabinom.pmf(0, restarts, a, b))
    needed = difficulty.needed(0.01)
    assert difficulty.miss_chance(needed) <= 0.01 < difficulty.miss_chance(needed - 1)
    assert Difficulty(0.5, 0.9).needed(1e-6) is None
    assert Difficulty(0.5, 0.9).miss_chance(MAX_RESTARTS) > 1e-6


def test_the_fit_finds_what_the_data_were_drawn_from():
    rng = np.random.default_rng(0)
    fits = [
        fit_difficulty(s.used, s.arrived) for s in (searched(rng, 400, 2.0, 2.0) for _ in range(15))
    ]
    assert np.mean([fit.mean for fit in fits]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([fit.spread for fit in fits]) == pytest.approx(0.2, abs=0.02)
    equal = searched(rng, 2000, None, 0.3)
    fit = fit_difficulty(equal.used, equal.arrived)
    assert fit.mean == pytest.approx(0.3, abs=0.03)
    assert fit.spread < 0.01


def test_equally_hard_images_need_what_the_bound_says():
    rng = np.random.default_rng(1)
    runs = [searched(rng, 32, None, 0.3) for _ in range(60)]
    kept = [miss_chance(0.3, alike(run, 0.01)) <= 0.01 for run in runs]
    assert np.mean(kept) > 0.95
    # against 13 if the chance were known
    assert np.median([run.needed(0.01) for run in runs]) <= 25


def test_unequal_images_break_equal_hardness_and_the_fit_mends_half_of_it():
    rng, truth = np.random.default_rng(2), Difficulty(0.5, 0.2)
    runs = [searched(rng, 64, 2.0, 2.0) for _ in range(60)]
    hopeful = np.array([truth.miss_chance(alike(run, 1e-3)) for run in runs])
    fitted = np.array([truth.miss_chance(run.needed(1e-3)) for run in runs])
    assert np.mean(hopeful <= 1e-3) < 0.1  # "one in a thousand" is more nearly always ...
    assert np.mean(hopeful) > 5e-3  # ... by far
    assert 0.3 < np.mean(fitted <= 1e-3) < 0.8  # a fit, not a bound
    assert np.mean(fitted) < 0.5 * np.mean(hopeful)


def test_the_bound_without_a_model_holds_for_unequal_images():
    rng, truth = np.random.default_rng(3), Difficulty(0.5, 1 / 3)
    bounds = [searched(rng, 50, 1.0, 1.0).miss_bound(20) for _ in range(400)]
    assert np.mean(np.array(bounds) >= truth.miss_chance(20)) >= 0.93
    # 17 %, not 0.1 %
    assert Restarts((1,) * 16, (True,) * 16).miss_bound(4) == pytest.approx(upper_bound(0, 16))
    censored = Restarts((2, 10), (True, False))
    assert censored.miss_bound(10) == upper_bound(1, 2)
    assert censored.miss_bound(11) is None


def test_where_every_image_arrives_at_once_the_first_two_readings_agree():
    at_once = Restarts((1,) * 16, (True,) * 16)
    assert at_once.needed(1e-3) == restarts_needed(16, 16, 1, 1e-3) == 4
    assert Restarts((5, 5), (False, False)).needed(1e-3) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Restarts((), ()), "0 numbers"),
        (lambda: Restarts((1, 2), (True,)), "2 numbers of restarts and 1 outcomes"),
        (lambda: Restarts((0,), (True,)), "at least one restart"),
        (lambda: fit_difficulty([0], [True]), "at least one restart"),
        (lambda: restarts_needed(3, 2, 1, 0.1), "3 events in 2 trials"),
        (lambda: restarts_needed(1, 2, 1, 0.0), "chance of a miss is 0"),
        (lambda: Difficulty(0.5, 0.1).needed(1.0), "chance of a miss is 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
