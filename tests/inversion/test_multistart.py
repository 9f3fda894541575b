"""What each restart of the driver does.

Its method, its start, its rule, and which latent counts as the best.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import SHAPE, make_toy, own_images

from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import (
    OneStageSearch,
    Origin,
    Plan,
    Strategy,
    plan,
    run_rounds,
    searches_of,
    strategy_for,
)
from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import deviation, target_of
from jattr.inversion.scheduler import stall_fraction
from jattr.inversion.settings import Automatic, MultiStart, Stopping, Variation
from jattr.inversion.warm_start import Pooling, _ranks
from jattr.solvers import METHODS

VARIATION, FAR = Variation(), Stopping().far
GRADIENTS_FIRST = VARIATION.gradients_first


def make_strategy(method, **facts):
    return Strategy(method, **facts, far=FAR, variation=VARIATION, automatic=Automatic())


def test_number_of_restarts_follows_the_cost_of_a_jacobian():
    assert InvertConfig().search.restarts_for(10, 1e6) == 32
    assert InvertConfig().search.restarts_for(100, 1e8) == 8
    assert InvertConfig(restarts=3).search.restarts_for(10, 1e6) == 3


def test_method_follows_the_cost_of_a_jacobian():
    assert Automatic().solver_for(100, 1e8) == METHODS["levenberg-marquardt"]
    assert Automatic().solver_for(500, 1e9) == METHODS["lbfgs"]


def test_a_later_restart_begins_beside_the_best_latent(toy, own):
    """It is searched by Levenberg-Marquardt, which goes back to the solution."""
    config = InvertConfig(restarts=3, pool=256, polish_steps=0, steps=1, early_stop=False).search
    inverter = OneStageSearch(Observation(toy, own[1][:1]), config, jax.random.key(0))
    inverter.results.loss[0, 0], inverter.results.z[0, 0] = 1e-3, own[0][0] + 0.1
    start = inverter.results.z[0, 2].copy()
    inverter.round([0], range(2, 3))
    # one step of the solver measures the start alone
    kick = np.sqrt(np.mean(np.square(inverter.results.z[0, 2] - inverter.results.z[0, 0])))
    assert 0 < kick < 4 * max(Variation().kicks)
    assert np.abs(inverter.results.z[0, 2] - start).max() > 1e-3


def test_every_class_gets_its_turn():
    for restarts in (8, 16, 32):
        ranks = _ranks(restarts)
        assert ranks[0] == 0
        assert sorted(ranks) == list(range(restarts))
        # those that are never begun beside the best
        assert ranks[1::2].tolist() == list(range(1, restarts // 2 + 1))


@pytest.mark.slow
def test_exact_latent_is_the_best_one_though_another_has_a_lower_loss(toy, own):
    inverter = OneStageSearch(
        Observation(toy, own[1][:1]),
        InvertConfig(restarts=2, pool=256, early_stop=False).search,
        jax.random.key(0),
    )
    for restarts in (range(1), range(1, 2)):
        inverter.round([0], restarts)
    polished = inverter.results.best(0)
    inverter.interval([0])
    inverter.results.loss[0, 1 - polished[1]] = 0.0
    assert inverter.results.best(0) == polished


def test_images_settled_by_another_candidate_get_a_few_steps(toy):
    noise = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    inverter = OneStageSearch(
        Observation(toy, noise),
        InvertConfig(restarts=1, pool=256, stall=0.0).search,
        jax.random.key(0),
    )
    inverter.round([0], range(1), settled=[1])
    assert inverter.results.steps[:, 0].tolist() == [40, Stopping().settled_steps]


def test_other_restarts_are_judged_by_the_rule_that_was_found():
    gen = make_toy()
    _, pixels = own_images(gen, 2, rounding="truncate")
    inverter = OneStageSearch(
        Observation(gen, pixels),
        InvertConfig(restarts=2, pool=256, early_stop=False).search,
        jax.random.key(0),
    )
    inverter.round([0, 1], range(2))
    inverter.polish([0, 1])
    assert inverter.rounding == ["truncate"] * 2
    for place in np.ndindex(2, 2):
        made = gen.generate(inverter.results.z[place][None])[0]
        measured = jnp.mean(
            jnp.square(deviation(made, target_of(jnp.asarray(pixels[place[0]]), "truncate")))
        )
        assert inverter.results.loss[place] == pytest.approx(float(measured), rel=1e-3)


FIRST = Plan(METHODS["bfgs"], Origin.START)
GRADIENTS = Plan(METHODS["lbfgs"], Origin.START)
BESIDE = Plan(METHODS["levenberg-marquardt"], Origin.BESIDE)
DRAWN = Plan(METHODS["levenberg-marquardt-logit"], Origin.DRAWN)
PLAIN = Plan(METHODS["levenberg-marquardt"], Origin.START)
BOTH = {"cheap": False, "dear": True}


@pytest.mark.parametrize(
    ("jacobian", "restart", "lowest", "best", "expected"),
    [
        ("cheap", 0, np.inf, np.inf, FIRST),
        ("dear", 0, np.inf, np.inf, FIRST),
        ("cheap", 1, 0.1, 0.1, DRAWN),
        ("cheap", 2, 0.1, 0.1, DRAWN),  # far: there is nothing to begin beside
        ("cheap", 2, 1e-3, 1e-3, BESIDE),
        ("cheap", 1, 1e-3, 1e-3, DRAWN),  # odd restarts keep their own starts
        ("dear", 1, 0.1, 0.1, GRADIENTS),
        ("dear", GRADIENTS_FIRST, 0.1, 0.1, GRADIENTS),  # far away: all of them
        ("dear", 2, 2e-3, 2e-3, GRADIENTS),
        ("dear", GRADIENTS_FIRST, 2e-3, 2e-3, DRAWN),  # enough of the cheap ones
        ("dear", GRADIENTS_FIRST + 1, 2e-3, 2e-3, BESIDE),
        ("dear", 1, 9e-4, 9e-4, DRAWN),  # near
        ("dear", 2, 9e-4, 9e-4, BESIDE),
        ("cheap", 2, 1e-5, 0.1, DRAWN),  # the best is the one that the polish chose
    ],
)
def test_plan_of_a_restart(jacobian, restart, lowest, best, expected):
    strategy = make_strategy(METHODS["bfgs"], varied=True, dear=BOTH[jacobian], stretchable=True)
    assert plan(strategy, restart, lowest, best) == expected


def test_plan_without_a_logit_domain_goes_from_plain_starts():
    strategy = make_strategy(METHODS["bfgs"], varied=True, dear=False, stretchable=False)
    assert plan(strategy, 1, 0.1, 0.1) == PLAIN
    assert plan(strategy, 2, 1e-3, 1e-3) == BESIDE


@pytest.mark.parametrize("dear", [True, False])
def test_plan_of_a_named_optimiser_is_always_the_same(dear):
    strategy = make_strategy(METHODS["bfgs"], varied=False, dear=dear, stretchable=True)
    plans = {plan(strategy, r, loss, loss) for r in range(9) for loss in (np.inf, 0.1, 1e-4)}
    assert plans == {Plan(METHODS["bfgs"], Origin.START)}


def test_strategy_follows_cost_and_settings(toy, own):
    observation = Observation(toy, own[1])
    cheap = strategy_for(observation, InvertConfig().search, 1e6)
    assert cheap == make_strategy(
        METHODS["levenberg-marquardt"], varied=True, dear=False, stretchable=True
    )
    dear = strategy_for(observation, InvertConfig().search, 1e9)
    assert (dear.method, dear.varied, dear.dear) == (METHODS["lbfgs"], True, True)
    hopeless = strategy_for(observation, InvertConfig().search, 1e12)  # no whole Jacobian at all
    assert (hopeless.method, hopeless.varied) == (METHODS["lbfgs"], False)
    named = strategy_for(observation, InvertConfig(optimiser="bfgs").search, 1e6)
    assert (named.method, named.varied) == (METHODS["bfgs"], False)


def test_first_restart_of_a_dear_candidate_goes_by_gradients(toy, own):
    automatic = Automatic(cheap_jacobian=0.0)
    settings = MultiStart(restarts=2, pooling=Pooling(size=256), automatic=automatic)
    inverter = OneStageSearch(Observation(toy, own[1]), settings, jax.random.key(0))
    assert inverter.strategy.method == METHODS["lbfgs"]
    run_rounds(inverter)
    assert all(inverter.results.arrived(i) for i in range(len(own[1])))


def test_an_image_is_polished_again_only_from_a_better_latent(toy, own):
    config = InvertConfig(restarts=4, pool=256, optimiser="lbfgs", polish_steps=1).search
    noise = np.random.default_rng(0).integers(0, 256, (1, *SHAPE)).astype(np.uint8)
    inverter = OneStageSearch(Observation(toy, noise), config, jax.random.key(0))
    loss, spent = inverter.results.loss, []
    for restart, value in enumerate((3e-3, 2.9e-3, 1e-3)):
        loss[0, restart] = value
        inverter.polish([0])
        spent.append(inverter.results.steps[0].sum())
    assert spent[0] > 0
    assert spent[1] == spent[0]
    assert spent[2] > spent[1]


def test_far_searches_stop_where_near_ones_go_on():
    method = METHODS["levenberg-marquardt"]
    assert stall_fraction(Stopping(), method, 8, 2 * FAR) == Stopping().far_stall > method.stall
    assert stall_fraction(Stopping(), method, 8, FAR / 2) == method.stall
    assert stall_fraction(Stopping(stall=0.0), method, 8, 2 * FAR) == 0.0
    assert stall_fraction(Stopping(early=False), method, 8, 2 * FAR) is None


def test_traces_fall_and_end_at_the_loss(toy, own):
    inverter = OneStageSearch(
        Observation(toy, own[1][:1]),
        InvertConfig(restarts=2, pool=256, early_stop=False).search,
        jax.random.key(0),
    )
    run_rounds(inverter)
    searches = searches_of(inverter, 0)
    assert [search.restart for search in searches] == [0, 1]
    for search in searches:
        cost, loss = np.array(search.trace).T
        assert (np.diff(cost) > 0).all()
        assert (np.diff(loss) <= 0).all()
        assert loss[-1] == pytest.approx(inverter.results.loss[0, search.restart], rel=1e-6)
