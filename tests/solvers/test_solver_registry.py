"""Solvers as objects: what is accepted, what is shared, what is stored."""

import dataclasses
import json
import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jattr.errors import InputError
from jattr.inversion.config import InvertConfig, search_facts
from jattr.inversion.settings import describe
from jattr.solvers import (
    BFGS,
    LBFGS,
    METHODS,
    Backtracking,
    Custom,
    Damping,
    FirstOrder,
    GaussNewtonCG,
    LevenbergMarquardt,
    Optax,
    as_solver,
    method_named,
    name_of,
)
from jattr.solvers.base import FlatProblem
from jattr.solvers.solve import advance, begin, make_engine

TEXTS = [*METHODS, "adam:0.05", "adam:0.05:cosine", "momentum:0.01:exponential", "sgd:1.0"]
CHAIN = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.1))


@dataclass(frozen=True)
class Downhill:
    """A solver of somebody's own: no base class, no schedule."""

    rate: float = 0.1

    def init(self, z):
        return z

    def step(self, state, problem):
        loss, slope = jax.value_and_grad(lambda z: jnp.mean(problem.residual(z) ** 2))(state)
        return state - self.rate * slope, (state, loss)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_name_objects_that_can_be_hashed_and_pickled(text):
    solver = method_named(text)
    again = pickle.loads(pickle.dumps(solver))  # noqa: S301
    assert again == solver == as_solver(text) == as_solver(solver)
    assert hash(again) == hash(solver)
    assert method_named(name_of(solver)) == solver
    assert json.loads(json.dumps(describe(solver)))["kind"] == type(solver).__name__


def make_square(state, prior, target, label):
    return FlatProblem(lambda z: z - target, 2)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LBFGS(), LBFGS(memory=20), True),
        (LBFGS(), LBFGS(steps=60, stall=0.5, patience=3), True),
        (LBFGS(), LBFGS(memory=5), False),
        (BFGS(), BFGS(line_search=Backtracking(armijo=0.1)), False),
        (METHODS["levenberg-marquardt"], METHODS["levenberg-marquardt-logit"], True),
        (LevenbergMarquardt(), LevenbergMarquardt(damping=Damping(ease=0.5)), False),
        (GaussNewtonCG(), GaussNewtonCG(cg_steps=5), False),
        (FirstOrder("adam", 0.1), FirstOrder("adam", 0.1, steps=400), True),
        (FirstOrder("adam", 0.1, "cosine"), FirstOrder("adam", 0.1, "cosine", steps=400), False),
        (Optax(CHAIN), Optax(CHAIN, steps=400), True),
        (Custom(Downhill()), Custom(Downhill(), steps=400), True),
        (Custom(Downhill()), Custom(Downhill(0.2)), False),
    ],
)
def test_programs_are_shared_by_what_is_traced(one, other, same):
    engines = [make_engine(make_square, solver, solver.steps, "default") for solver in (one, other)]
    assert (engines[0].advance is engines[1].advance) == same


@pytest.mark.parametrize(
    "solver",
    [CHAIN, optax.adam(0.3), Downhill(), "adam:0.3", LBFGS(), GaussNewtonCG()],
    ids=["chain", "adam", "own", "text", "lbfgs", "gauss-newton-cg"],
)
def test_whatever_is_accepted_solves(solver):
    solver = as_solver(solver)
    problem = FlatProblem(lambda z: z - jnp.array([1.0, -2.0]), 2)
    carry = jax.jit(lambda z: advance(solver.step, problem, begin(solver, z), 200))(jnp.zeros(2))
    np.testing.assert_allclose(carry.best, [1.0, -2.0], atol=1e-2)


def test_settings_take_objects():
    assert InvertConfig(optimiser=LBFGS(memory=5)).search.solver == LBFGS(memory=5)
    assert InvertConfig(optimiser=CHAIN).search.solver == Optax(CHAIN)
    assert InvertConfig(optimiser=Downhill()).search.solver == Custom(Downhill())
    assert search_facts(InvertConfig(optimiser="lbfgs").search)["optimiser"] == "lbfgs"
    facts = search_facts(InvertConfig(optimiser=LBFGS(memory=5)).search)
    assert facts["search"]["solver"]["memory"] == 5


def test_functions_are_stored_under_a_name_and_a_version():
    with pytest.raises(InputError, match="name and version"):
        describe(CHAIN)
    named = Optax(CHAIN, name="my chain", version="2")
    assert describe(named) | {"steps": 500} == describe(named)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "solver is 3; it is a solver of jattr.solvers, an optax"),
        (LBFGS, "it is a solver of jattr.solvers"),
        ("newton", "'newton'; it is"),
        ("adan:0.05", "adan"),
        (optax.lbfgs(), "wants more than gradients and parameters"),
        (optax.GradientTransformation, "it is a solver of"),
    ],
    ids=["number", "class", "text", "optax text", "extra arguments", "optax class"],
)
def test_what_is_no_solver_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        as_solver(wrong)


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (3.0, "it returns"),
        ((jnp.ones(2), jnp.ones(2)), "loss of shape"),
        ((1.0, 1.0), "z of shape"),
    ],
)
def test_what_a_step_returns_is_checked(measured, message):
    class Wrong(Downhill):
        def step(self, state, problem):
            return state, measured

    with pytest.raises(InputError, match=message):
        Custom(Wrong()).step(jnp.ones(2), FlatProblem(lambda z: z, 2))


def test_what_cannot_be_hashed_is_refused():
    loose = dataclasses.make_dataclass("Loose", [], namespace=dict(vars(Downhill)), eq=True)
    loose.__hash__ = None
    with pytest.raises(InputError, match="frozen dataclass"):
        as_solver(loose())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LBFGS(memory=0), "memory of LBFGS is 0"),
        (lambda: LBFGS(steps=2.5), "steps of LBFGS is 2.5"),
        (lambda: BFGS(stall=2), "stall of BFGS is 2"),
        (lambda: BFGS(line_search=0.1), "it is a Backtracking"),
        (lambda: Backtracking(shrink=(0.5, 0.1)), "shrink of Backtracking"),
        (lambda: Damping(bounds=(1.0, 0.0)), "bounds of Damping"),
        (lambda: LevenbergMarquardt(damping=1.0), "it is a Damping"),
        (lambda: GaussNewtonCG(cg_steps=0), "cg_steps"),
        (lambda: Optax("adam"), "transform of Optax"),
        (lambda: FirstOrder("adan", 0.1), "optimiser of FirstOrder"),
        (lambda: FirstOrder("adam", 0.1, "linear"), "schedule of FirstOrder"),
        (lambda: FirstOrder("adam", 0.0), "rate"),
        (lambda: FirstOrder("sgd", 0.1, b1=0.5), "b1 of FirstOrder has no effect"),
        (lambda: FirstOrder("adam", 0.1, rise_parts=5), "rise_parts of FirstOrder has no effect"),
    ],
)
def test_numbers_are_checked(make, message):
    with pytest.raises(InputError, match=message):
        make()
