"""One image as a problem for `solve`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jattr
from jattr.distances import load_distance
from jattr.errors import ImageError, InputError
from jattr.inversion.observation.make import make_observation
from jattr.inversion.problem import floors_of
from jattr.inversion.scheduler import Status


@pytest.mark.slow
def test_every_kind_of_solver_reaches_the_latent(toy, own):
    z, pixels = own
    problem = jattr.problem_of(toy, pixels[0])
    chain = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.02))
    for solver, steps in (("levenberg-marquardt", 10), (jattr.solvers.LBFGS(), 60), (chain, 200)):
        solution = jattr.solve(problem, solver, jnp.asarray(0.8 * z[0]), steps=steps)
        assert np.abs(np.asarray(solution.latent) - z[0]).max() < 0.1
        arrived = float(solution.loss) <= floors_of(pixels[:1])[0]
        assert (int(solution.status) == Status.ARRIVED) == arrived


def test_vmap_goes_over_images_and_starts(toy, own):
    z, pixels = own

    def search(image, start):
        return jattr.solve(jattr.problem_of(toy, image), "levenberg-marquardt", start, steps=8)

    found = jax.jit(jax.vmap(search))(pixels, jnp.asarray(0.5 * z))
    np.testing.assert_array_equal(found.status, Status.ARRIVED)


def test_weights_are_arguments(toy, own):
    z, pixels = own

    @jax.jit
    def search(state, image, start):
        gen = dataclasses.replace(toy, state=state)
        return jattr.solve(jattr.problem_of(gen, image), "levenberg-marquardt", start, steps=8)

    dead = jax.tree.map(jnp.zeros_like, toy.state)
    start = jnp.asarray(0.5 * z[0])
    assert int(search(toy.state, pixels[0], start).status) == Status.ARRIVED
    assert int(search(dead, pixels[0], start).status) == Status.SPENT


@pytest.mark.slow
def test_solution_moves_with_the_image_as_the_implicit_function_says(toy, own):
    z, _ = own
    image = toy.generate(z[:1])[0]
    direction = np.asarray(jax.random.normal(jax.random.key(1), image.shape))
    latent_of = jattr.solvers.implicit_gradient(
        lambda image: jattr.problem_of(toy, image, prior=None), "levenberg-marquardt", steps=12
    )
    start = jnp.asarray(z[0])
    gradient = jax.grad(lambda image: latent_of(image, start).sum())(jnp.asarray(image))
    ends = [
        float(latent_of(jnp.asarray(image + by * direction), start).sum()) for by in (1e-3, -1e-3)
    ]
    expected = (ends[0] - ends[1]) / 2e-3
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=5e-2)


@pytest.mark.parametrize(
    "kind", ["round", "truncate", "l2", "distance", "function", "number", "observation"]
)
def test_observations(toy, own, kind):
    z, pixels = own
    image, observation = pixels[0], kind
    if kind == "distance":
        observation = load_distance("l2")
    if kind == "function":
        observation = lambda a, b: a - b  # noqa: E731
    if kind == "number":
        observation = lambda a, b: jnp.mean((a - b) ** 2)  # noqa: E731
    if kind == "observation":
        image, observation = None, make_observation(toy, pixels[:1], jattr.MultiStart())
    problem = jattr.problem_of(toy, image, observation=observation)
    # of one number there is no least-squares step
    solver, steps = ("lbfgs", 60) if kind == "number" else ("levenberg-marquardt", 10)
    solution = jattr.solve(problem, solver, jnp.asarray(0.7 * z[0]), steps=steps)
    assert np.abs(np.asarray(solution.latent) - z[0]).max() < 0.1


def test_prior_is_that_of_the_generator(toy):
    uniform = dataclasses.replace(
        toy, prior="uniform", sample=lambda key, n: jax.random.uniform(key, (n, *toy.latent_shape))
    )
    image = np.zeros(toy.image_shape, np.uint8)
    assert jattr.problem_of(toy, image).prior == jattr.Prior(0.0, 1.0)
    np.testing.assert_allclose(jattr.problem_of(uniform, image).prior.mean, 0.5, atol=0.05)
    assert jattr.problem_of(toy, image, prior=None).prior is None


IMAGE = np.zeros((1, 1, 1), np.uint8)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"image": IMAGE}, ImageError, "has the shape"),
        ({"image": None}, ImageError, "image is None"),
        ({"image": "int"}, ImageError, "images are int64"),
        ({"label": 1}, InputError, "is unconditional"),
        ({"prior": 3}, InputError, "prior is 3"),
        ({"observation": "ceil"}, InputError, "ceil"),
        ({"observation": 3}, InputError, "observation is 3"),
    ],
)
def test_bad_arguments(toy, settings, error, message):
    image = settings.pop("image", np.zeros(toy.image_shape, np.uint8))
    if isinstance(image, str):
        image = np.zeros(toy.image_shape, int)
    with pytest.raises(error, match=message):
        jattr.problem_of(toy, image, **settings)


def test_start_of_another_shape(toy, own):
    problem = jattr.problem_of(toy, own[1][0])
    with pytest.raises(InputError, match="many starts use"):
        jattr.solve(problem, "lbfgs", jnp.zeros((4, *toy.latent_shape)))
