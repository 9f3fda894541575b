"""Solvers of optimistix in our loop."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy, own_images

from jattr.errors import InputError
from jattr.inversion.invert import invert
from jattr.inversion.settings import MultiStart, Polish
from jattr.inversion.warm_start import Pooling
from jattr.solvers import Optimistix
from jattr.solvers.problem import Problem
from jattr.solvers.solve import make_engine, solve

optimistix = pytest.importorskip("optimistix", reason="needs the extra optimistix")
pytestmark = pytest.mark.slow

TIGHT = {"rtol": 1e-7, "atol": 1e-7}
MINIMISERS = [optimistix.BFGS(**TIGHT), optimistix.LBFGS(**TIGHT), optimistix.NonlinearCG(**TIGHT)]
LEAST_SQUARES = [optimistix.LevenbergMarquardt(**TIGHT), optimistix.Dogleg(**TIGHT)]
PROBLEM = Problem(lambda z: {"r": jnp.array([2.0, 1.0]) * (z["z"] ** 2 - jnp.array([2.0, 3.0]))})
Z0 = {"z": jnp.array([1.0, 1.0])}


@pytest.mark.parametrize("solver", [*MINIMISERS, *LEAST_SQUARES], ids=lambda s: type(s).__name__)
def test_solves_what_ours_solve(solver):
    run = lambda z: solve(PROBLEM, Optimistix(solver), z, steps=100, trace=True)  # noqa: E731
    solution = jax.jit(run)(Z0)
    np.testing.assert_allclose(solution.latent["z"], np.sqrt([2.0, 3.0]), rtol=1e-3)
    measured = jnp.mean(jnp.square(PROBLEM.residual_fn(solution.latent)["r"]))
    assert float(solution.loss) == pytest.approx(float(measured), rel=1e-3, abs=1e-10)
    many = jax.vmap(run)({"z": jnp.array([[1.0, 1.0], [1.5, 1.5]])})
    np.testing.assert_allclose(many.latent["z"], [np.sqrt([2.0, 3.0])] * 2, rtol=1e-3)


def test_equal_solvers_share_programs():
    def make_problem(state, prior, target, label):
        raise NotImplementedError

    engines = [
        make_engine(make_problem, Optimistix(optimistix.BFGS(**TIGHT)), steps, "default")
        for steps in (100, 200)
    ]
    assert engines[0].advance is engines[1].advance
    solver = Optimistix(optimistix.BFGS(**TIGHT))
    assert pickle.loads(pickle.dumps(solver)) == solver  # noqa: S301


def test_minimisers_search_images():
    toy = make_toy()
    search = MultiStart(
        solver=Optimistix(optimistix.BFGS(**TIGHT)),
        restarts=2,
        pooling=Pooling(size=256),
        polish=Polish(steps=0),
    )
    found = invert(toy, own_images(toy, 2)[1], search=search)
    assert (found.loss.min(1) < 1e-3).all()


def test_what_cannot_be_is_said():
    with pytest.raises(InputError, match="minimiser or a least-squares"):
        Optimistix(optimistix.Newton(**TIGHT))
    with pytest.raises(InputError, match=r"jattr\.solve takes"):
        Optimistix(LEAST_SQUARES[0]).init(jnp.ones(2))
