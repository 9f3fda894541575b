"""`solve` on problems that are no images: pytrees, transformations of JAX, priors, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from jattr.errors import InputError
from jattr.solvers import LBFGS, METHODS, LevenbergMarquardt
from jattr.solvers.base import Status
from jattr.solvers.prior import Prior
from jattr.solvers.problem import Problem
from jattr.solvers.solve import solve

TIMES = np.linspace(0.0, 2.0, 30, dtype=np.float32)
TRUTH = {"decay": np.float32(0.7), "wave": (np.array([1.5, 0.4], np.float32),)}
START = {"decay": jnp.float32(0.5), "wave": (jnp.array([1.2, 0.2]),)}


def signal(latent):
    amplitude, phase = latent["wave"][0]
    return amplitude * jnp.exp(-latent["decay"] * TIMES) * jnp.cos(3.0 * TIMES + phase)


def residuals(data, latent):
    difference = signal(latent) - data
    return {"early": difference[:10], "late": difference[10:].reshape(4, 5)}


def problem_for(data, **settings):
    return Problem(functools.partial(residuals, data), **settings)


PROBLEM = problem_for(signal(TRUTH), floor=1e-9)


@pytest.mark.parametrize("solver", [name for name in METHODS if name != "adam-paper"])
def test_every_method_finds_a_pytree(solver):
    solution = jax.jit(lambda z: solve(PROBLEM, solver, z, steps=300))(START)
    assert jax.tree.structure(solution.latent) == jax.tree.structure(START)
    for part, truth in zip(jax.tree.leaves(solution.latent), jax.tree.leaves(TRUTH), strict=True):
        np.testing.assert_allclose(part, truth, atol=3e-2)
        assert part.dtype == jnp.float32


def test_a_solution_says_how_it_was_reached():
    solution = solve(PROBLEM, LBFGS(), START, steps=40, trace=True)
    assert solution.trace.shape == (40,)
    assert float(solution.loss) == float(jnp.nanmin(solution.trace))
    assert float(solution.last) == float(solution.trace[-1])
    assert (int(solution.steps), float(solution.evaluations)) == (40, 80.0)
    assert int(solution.status) == Status.ARRIVED
    assert solve(PROBLEM, LBFGS(), START, steps=1).trace is None
    assert int(solve(PROBLEM, LBFGS(), START, steps=1).status) == Status.SPENT


def test_dtypes_come_back():
    z0 = {"a": jnp.ones(2, jnp.bfloat16), "b": np.float32(1.0)}
    solution = solve(Problem(lambda z: (z["a"] * 2.0 - 1.0, z["b"] - 3.0)), "lbfgs", z0)
    assert solution.latent["a"].dtype == jnp.bfloat16
    assert solution.latent["b"].dtype == jnp.float32
    np.testing.assert_allclose(solution.latent["a"].astype(jnp.float32), 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["levenberg-marquardt", "gauss-newton-cg", "lbfgs", "bfgs"])
def test_double_precision_is_kept(solver):
    with jax.enable_x64(True):
        z0 = jnp.array([1.0, 1.0], jnp.float64)
        target = jnp.array([2.0, 3.0], jnp.float64)
        problem = Problem(lambda z: z**2 - target, variance_floor=1e-30)
        solution = solve(problem, solver, z0, steps=60)
        assert solution.latent.dtype == jnp.float64
        np.testing.assert_allclose(solution.latent, np.sqrt([2.0, 3.0]), rtol=1e-12)


def test_vmap_is_one_search_each():
    starts = jnp.array([[0.5], [2.0], [5.0]])
    problem = Problem(lambda z: z**2 - 4.0)
    run = functools.partial(solve, problem, LevenbergMarquardt(), steps=20)
    many = jax.vmap(run)(starts)
    for i, start in enumerate(starts):
        np.testing.assert_allclose(many.latent[i], run(start).latent, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("solver", [name for name in METHODS if name != "adam-cosine"])
def test_gradient_goes_through_the_steps(solver):
    """z(p) = sqrt(p) has the derivative 1 / (2 sqrt(p)); of steps after the solution, too."""

    def root(p):
        return solve(Problem(lambda z: z**2 - p), solver, jnp.float32(1.2), steps=60).latent

    assert float(jax.grad(root)(jnp.float32(2.0))) == pytest.approx(8**-0.5, rel=2e-2)


# Adam's root of the squared gradient has none at 0, unless optax is given an `eps_root`
@pytest.mark.slow
@pytest.mark.parametrize("solver", [name for name in METHODS if "adam" not in name])
def test_gradient_of_a_search_that_begins_at_a_solution_is_finite(solver):
    problem_of = lambda p: Problem(lambda z: z - p)  # noqa: E731
    fn = lambda p: solve(problem_of(p), solver, jnp.ones(2), steps=12).latent.sum()  # noqa: E731
    assert np.isfinite(jax.grad(fn)(jnp.ones(2))).all()


@pytest.mark.parametrize("solver", ["lbfgs", "levenberg-marquardt", "adam:0.05"])
def test_programs_are_exported_for_all_platforms(solver):
    fn = jax.jit(lambda data, z: solve(problem_for(data), solver, z, steps=5).latent)
    exported = export.export(fn, platforms=["cpu", "cuda", "tpu"])(signal(TRUTH), START)
    here = exported.call(signal(TRUTH), START)
    for part, expected in zip(
        jax.tree.leaves(here), jax.tree.leaves(fn(signal(TRUTH), START)), strict=True
    ):
        np.testing.assert_allclose(part, expected, rtol=1e-5)


@pytest.mark.slow
def test_lanes_are_sharded():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("lanes",))
    spec = jax.sharding.PartitionSpec("lanes")
    problem = Problem(lambda z: z**2 - 4.0)
    run = jax.vmap(lambda z: solve(problem, "lbfgs", z, steps=20).latent)
    split = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    starts = jnp.array([[0.5], [5.0]])
    np.testing.assert_allclose(split(starts), run(starts), rtol=1e-6)


def test_prior_decides_what_residuals_do_not():
    prior = Prior({"seen": 0.0, "unseen": np.full(2, 0.25)}, 2.0)
    problem = Problem(lambda z: 10.0 * (z["seen"] - 1.0), prior)
    z0 = {"seen": jnp.zeros(3), "unseen": jnp.ones(2)}
    latent = solve(problem, "levenberg-marquardt", z0).latent
    np.testing.assert_allclose(latent["unseen"], 0.25, atol=1e-2)
    np.testing.assert_allclose(latent["seen"], 1.0, atol=1e-2)


@pytest.mark.slow
def test_priors_are_made_of_samples_and_of_densities():
    sample = lambda key, n: {"a": 3.0 + 2.0 * jax.random.normal(key, (n, 4))}  # noqa: E731
    prior = Prior.from_sampler(sample, jax.random.key(0), num_samples=20_000)
    np.testing.assert_allclose(prior.mean["a"], 3.0, atol=0.1)
    np.testing.assert_allclose(prior.scale["a"], 2.0, atol=0.1)
    # a gamma density of shape 5: mode 4, curvature there -(5 - 1) / 4^2
    gamma = lambda z: 4.0 * jnp.log(z) - z  # noqa: E731
    laplace = Prior.from_density(gamma, jnp.float32(1.0))
    assert float(laplace.mean) == pytest.approx(4.0, rel=1e-3)
    assert float(laplace.scale) == pytest.approx(2.0, rel=1e-3)


OPTAX_EXTRA = optax.polyak_sgd()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: solve(lambda z: z, "lbfgs", jnp.ones(1)), "it is a jattr.Problem"),
        (lambda: Problem(3), "residual_fn of Problem is 3"),
        (lambda: Problem(jnp.sin, (0.0, 1.0)), "it is a jattr.Prior"),
        (lambda: solve(Problem(jnp.sin), "lbfgs", "z"), "z0"),
        (lambda: solve(Problem(jnp.sin), "lbfgs", jnp.arange(3)), "dtype int32"),
        (lambda: solve(Problem(jnp.sin), "lbfgs", ()), "z0 holds no numbers"),
        (lambda: solve(Problem(lambda z: z["a"]), "lbfgs", {"b": jnp.ones(1)}), "cannot be"),
        (lambda: solve(Problem(lambda z: ()), "lbfgs", jnp.ones(1)), "no number"),
        (lambda: solve(Problem(lambda z: z > 0), "lbfgs", jnp.ones(1)), "dtype bool"),
        (lambda: solve(Problem(lambda z: z * jnp.nan), "lbfgs", jnp.ones(1)), "no finite number"),
        (
            lambda: solve(Problem(jnp.sin, latent=jnp.ones(2)), "lbfgs", jnp.ones((4, 2))),
            "shape \\(4, 2\\)",
        ),
        (
            lambda: solve(Problem(jnp.sin, latent={"a": 1.0}), "lbfgs", jnp.ones(2)),
            "z0 has the structure",
        ),
        (lambda: solve(Problem(jnp.sin, Prior([0.0], 1.0)), "lbfgs", jnp.ones(2)), "mean of the"),
        (
            lambda: solve(Problem(jnp.sin, Prior(0.0, jnp.ones(3))), "lbfgs", jnp.ones(2)),
            "scale of the prior",
        ),
        (lambda: solve(Problem(jnp.sin), "lbfgs", jnp.ones(1), steps=0), "steps of LBFGS is 0"),
        (lambda: solve(Problem(jnp.sin), OPTAX_EXTRA, jnp.ones(1)), "more than gradients"),
        (lambda: solve(Problem(jnp.sin), object(), jnp.ones(1)), "it is a solver of"),
        (lambda: Prior.from_samples(jnp.ones((1, 3))), "at least two samples"),
        (lambda: Prior.from_samples(jnp.full((3, 3), jnp.nan)), "not finite"),
        (lambda: Prior.from_density(lambda z: -z, jnp.ones(2)), "one number"),
        (lambda: Prior.from_density(lambda z: z**2, jnp.float32(1.0)), "no peak"),
        (lambda: Prior.from_density(lambda z: z * jnp.nan, jnp.float32(1.0)), "not finite"),
    ],
)
def test_what_is_wrong_is_said_once(run, message):
    with pytest.raises(InputError, match=message):
        run()


class Faulty:
    def __init__(self, returned):
        self.returned = returned

    def init(self, z):
        return z

    def step(self, state, problem):
        return self.returned(state)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda z: (z, (z[:1], jnp.float32(0))), "shape"),
        (lambda z: (z, (z, z)), "shape"),
        (lambda z: ((z, 1), (z, jnp.float32(0))), "init"),
        (lambda z: (z[:1], (z, jnp.float32(0))), "init"),
        (lambda z: (z, (z, jnp.float32(jnp.nan))), "Faulty"),
    ],
)
def test_a_step_that_returns_something_else_is_one_error(returned, message):
    with pytest.raises(InputError, match=message) as caught:
        solve(Problem(lambda z: z), Faulty(returned), jnp.zeros(3), steps=2)
    assert "\n" not in str(caught.value)


def test_residuals_of_unknown_values_are_one_line():
    with pytest.raises(InputError, match="cannot be computed") as caught:
        solve(Problem(lambda z: z if z[0] > 0 else -z), "lbfgs", jnp.zeros(3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_prior_has_finite_deviations(scale):
    with pytest.raises(InputError, match="scale of the prior"):
        solve(Problem(lambda z: z, Prior(0.0, scale)), "levenberg-marquardt", jnp.zeros(3))
