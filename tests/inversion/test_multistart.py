"""What each restart of the driver does.

Its method, its start, its rule, and which latent counts as the best.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import SHAPE, make_toy, own_images

from jattr.inversion import multistart as inverter_module
from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import CHEAP_FIRST, KICKS, SETTLED_STEPS, Inverter
from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import deviation, target_of
from jattr.inversion.scheduler import FAR, FAR_STALL, _stall
from jattr.inversion.warm_start import _ranks
from jattr.solvers import METHODS


def test_number_of_restarts_follows_the_cost_of_a_jacobian():
    assert InvertConfig().restarts_for(10, 1e6) == 32
    assert InvertConfig().restarts_for(100, 1e8) == 8
    assert InvertConfig(restarts=3).restarts_for(10, 1e6) == 3


def test_method_follows_the_cost_of_a_jacobian():
    assert InvertConfig().method_for(100, 1e8) == "levenberg-marquardt"
    assert InvertConfig().method_for(500, 1e9) == "lbfgs"
    assert InvertConfig(optimiser="bfgs").method_for(500, 1e9) == "bfgs"


@pytest.mark.parametrize("optimiser", ["auto", "lbfgs"])
def test_later_restarts_begin_beside_the_best_only_by_default(toy, own, optimiser):
    """A named optimiser runs from independent starts.

    The default one goes back to where it was nearest.
    """
    config = InvertConfig(optimiser=optimiser, restarts=3, pool=256, polish_steps=0)
    inverter = Inverter(Observation(toy, own[1][:1]), config, jax.random.key(0))
    inverter.loss[0, 0], inverter.z[0, 0] = 1e-3, own[0][0] + 0.1
    start = inverter.z[0, 2].copy()
    moved = []
    inverter._search = lambda places, method, *_, **__: moved.extend(
        inverter.z[p].copy() for p in places
    )
    inverter.round([0], range(2, 3))
    kick = np.sqrt(np.mean(np.square(moved[0] - inverter.z[0, 0])))
    if optimiser == "auto":
        assert 0 < kick < 4 * max(KICKS)
    else:
        np.testing.assert_array_equal(moved[0], start)


def test_every_class_gets_its_turn():
    for restarts in (8, 16, 32):
        ranks = _ranks(restarts)
        assert ranks[0] == 0
        assert sorted(ranks) == list(range(restarts))
        # those that are never begun beside the best
        assert ranks[1::2].tolist() == list(range(1, restarts // 2 + 1))


def test_exact_latent_is_the_best_one_though_another_has_a_lower_loss(toy, own):
    inverter = Inverter(
        Observation(toy, own[1][:1]),
        InvertConfig(restarts=2, pool=256, early_stop=False),
        jax.random.key(0),
    )
    for restarts in (range(1), range(1, 2)):
        inverter.round([0], restarts)
    polished = inverter.best(0)
    inverter.interval([0])
    inverter.loss[0, 1 - polished[1]] = 0.0
    assert inverter.best(0) == polished


def test_images_settled_by_another_candidate_get_a_few_steps(toy):
    noise = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    inverter = Inverter(
        Observation(toy, noise), InvertConfig(restarts=1, pool=256, stall=0.0), jax.random.key(0)
    )
    inverter.round([0], range(1), settled=[1])
    assert inverter.steps[:, 0].tolist() == [40, SETTLED_STEPS]


def test_other_restarts_are_judged_by_the_rule_that_was_found():
    gen = make_toy()
    _, pixels = own_images(gen, 2, rounding="truncate")
    inverter = Inverter(
        Observation(gen, pixels),
        InvertConfig(restarts=2, pool=256, early_stop=False),
        jax.random.key(0),
    )
    inverter.round([0, 1], range(2))
    inverter.polish([0, 1])
    assert inverter.rounding == ["truncate"] * 2
    for place in np.ndindex(2, 2):
        made = gen.generate(inverter.z[place][None])[0]
        measured = jnp.mean(
            jnp.square(deviation(made, target_of(jnp.asarray(pixels[place[0]]), "truncate")))
        )
        assert inverter.loss[place] == pytest.approx(float(measured), rel=1e-3)


@pytest.mark.parametrize(
    ("dear", "loss", "restart", "method"),
    [
        (True, 0.1, 1, "lbfgs"),
        (True, 2e-3, 1, "lbfgs"),
        (True, 2e-3, CHEAP_FIRST, "levenberg-marquardt-logit"),  # enough of the cheap ones
        (True, 0.1, CHEAP_FIRST, "lbfgs"),
        (True, 9e-4, 1, "levenberg-marquardt-logit"),  # near
        (False, 0.1, 1, "levenberg-marquardt-logit"),
    ],
)
def test_images_that_dear_candidates_do_not_come_near_are_searched_by_gradients(
    toy, own, dear, loss, restart, method
):
    inverter = Inverter(
        Observation(toy, own[1][:1]), InvertConfig(restarts=8, pool=256), jax.random.key(0)
    )
    inverter.dear, inverter.loss[0, 0] = dear, loss
    inverter._draw_near = lambda places: None
    used = {}
    inverter._search = lambda places, method, *_, **__: used.update(dict.fromkeys(places, method))
    inverter.round([0], range(restart, restart + 1))
    assert used[0, restart] == method


def test_first_restart_of_a_dear_candidate_goes_by_gradients(toy, own, monkeypatch):
    monkeypatch.setattr(inverter_module, "CHEAP_JACOBIAN", 0.0)
    inverter = Inverter(
        Observation(toy, own[1]), InvertConfig(restarts=2, pool=256), jax.random.key(0)
    )
    assert inverter.method == "lbfgs"
    inverter.run()
    assert all(inverter.arrived(i) for i in range(len(own[1])))


def test_an_image_is_polished_again_only_from_a_better_latent(toy, own):
    inverter = Inverter(
        Observation(toy, own[1][:1]), InvertConfig(restarts=4, pool=256), jax.random.key(0)
    )
    runs = []
    inverter._search = lambda places, *_, **__: runs.append(list(places))
    for restart, loss in enumerate((3e-3, 2.9e-3, 1e-3)):
        inverter.loss[0, restart] = loss
        inverter._polish([0])
    assert [places for places in runs if places] == [[(0, 0)], [(0, 2)]]


def test_far_searches_stop_where_near_ones_go_on():
    method, config = METHODS["levenberg-marquardt"], InvertConfig()
    assert _stall(config, method, 8, 2 * FAR) == FAR_STALL > method.stall
    assert _stall(config, method, 8, FAR / 2) == method.stall
    assert _stall(InvertConfig(stall=0.0), method, 8, 2 * FAR) == 0.0
    assert _stall(InvertConfig(early_stop=False), method, 8, 2 * FAR) is None


def test_traces_fall_and_end_at_the_loss(toy, own):
    inverter = Inverter(
        Observation(toy, own[1][:1]),
        InvertConfig(restarts=2, pool=256, early_stop=False),
        jax.random.key(0),
    )
    inverter.run()
    searches = inverter.searches(0)
    assert [search.restart for search in searches] == [0, 1]
    for search in searches:
        cost, loss = np.array(search.trace).T
        assert (np.diff(cost) > 0).all()
        assert (np.diff(loss) <= 0).all()
        assert loss[-1] == pytest.approx(inverter.loss[0, search.restart], rel=1e-6)
