"""The linear image, and searches that go through it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted_compilations
from toys import make_toy, own_images

from jattr.alterations.registry import parse_chain
from jattr.generators.forward import compiled_forward
from jattr.inversion.evaluate import make_images
from jattr.inversion.linearization import apply_linear, linearise, make_linear, make_single_engine
from jattr.inversion.observation.noise_model import observed_generator
from jattr.inversion.problem import deviation, make_problem_fn, target_of
from jattr.solvers import METHODS
from jattr.solvers.base import Prior
from jattr.solvers.solve import make_engine


def make_lanes(apply, shape, *args):
    return make_engine(make_problem_fn(apply, shape), *args)


@pytest.fixture(scope="module")
def found():
    gen = make_toy(size=8)
    z, pixels = own_images(gen, 1)
    return gen, np.asarray(z[0]), pixels[0]


def test_linear_image_is_exact_at_its_latent_and_first_order_beside_it(found):
    gen, z, _ = found
    model = make_linear(gen.apply, gen.latent_shape)(gen.state, None, jnp.asarray(z))
    np.testing.assert_allclose(apply_linear(model, z[None])[0], gen.generate(z[None])[0], atol=1e-6)
    errors = []
    for size in (1e-2, 1e-1):
        beside = z[None] + np.float32(size)
        errors.append(np.abs(apply_linear(model, beside)[0] - gen.generate(beside)[0]).max())
    assert 30 < errors[1] / errors[0] < 300  # grows with the square of the step


def test_residual_and_jacobian_know_of_clipped_bytes(found):
    """A satisfied clipped byte has neither residual nor slope.

    One that is not counts from its interval's middle.
    """
    gen, z, pixels = found
    pixels = pixels.copy()
    image = np.asarray(gen.generate(z[None])[0])
    pixels[image < -0.5] = 0
    pixels[image > 0.9] = 255
    target = target_of(pixels)
    made, residual, jacobian = linearise(gen, target, None, z)
    middle = target._replace(slack=np.zeros_like(target.slack))
    np.testing.assert_allclose(made, image, atol=1e-6)
    np.testing.assert_allclose(residual, deviation(image, middle).ravel(), atol=1e-6)
    expected = jax.jacfwd(
        lambda z: deviation(gen.apply(gen.state, z[None])[0], jax.tree.map(jnp.asarray, middle))
    )(jnp.asarray(z)).reshape(-1, z.size)
    np.testing.assert_allclose(jacobian, expected, atol=1e-5)
    assert (np.abs(jacobian).sum(1) == 0).sum() < (pixels == 0).sum() + (pixels == 255).sum()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["levenberg-marquardt", "levenberg-marquardt-logit"])
def test_searches_through_the_linear_image_take_the_same_steps(found, method):
    gen, z, pixels = found
    prior = Prior(jnp.zeros(z.size), jnp.ones(z.size))
    target = jax.tree.map(jnp.asarray, target_of(pixels[None]))
    ends = []
    for make in (make_lanes, make_single_engine):
        engine = make(gen.apply, gen.latent_shape, METHODS[method], 40, "default")
        carry = engine.begin(0.5 * z[None])
        for _ in range(2):
            carry = engine.advance(gen.state, prior, target, None, carry)
        ends.append(carry)
    np.testing.assert_allclose(ends[0].best, ends[1].best, atol=1e-3)
    np.testing.assert_allclose(ends[0].loss, ends[1].loss, rtol=1e-2, atol=1e-8)


@pytest.mark.slow
def test_programs_compiled_ahead_are_the_ones_that_run(found):
    gen, z, pixels = found
    prior = Prior(np.zeros(z.size, np.float32), np.ones(z.size, np.float32))
    for make in (make_lanes, make_single_engine):
        method = METHODS["levenberg-marquardt"]
        engine = make(gen.apply, gen.latent_shape, method, 40, "high")
        carry = engine.begin(0.5 * z[None])
        target = jax.device_put(target_of(pixels[None]))
        engine.compile(gen.state, prior, target, None, carry)
        # the step's program, shared by all architectures, is compiled with the first
        if make is make_single_engine:
            engine.advance(gen.state, prior, target, None, engine.begin(0.25 * z[None]))
        with counted_compilations() as compiled:
            engine.advance(gen.state, prior, target, None, carry)
        assert not compiled


@pytest.mark.slow
@pytest.mark.parametrize("text", ["jpeg:75", "rescale:0.5,brightness:1.2", "blur:1,jpeg:50:4:4:4"])
def test_what_follows_a_generator_is_taken_by_the_chain_rule(text):
    """The same images and Jacobian as of both parts in one, clipped values too.

    The first is compiled once.
    """
    toy = make_toy(size=8)
    gen = dataclasses.replace(toy, apply=lambda *args, **kwargs: 1.5 * toy.apply(*args, **kwargs))
    z = np.asarray(gen.sample_latent(jax.random.key(2), 1))[0]
    observed = observed_generator(gen, parse_chain(text), np.ones(1))
    model = make_linear(observed.apply, gen.latent_shape)(observed.state, None, jnp.asarray(z))
    whole = make_linear(lambda *args, **kwargs: observed.apply(*args, **kwargs), gen.latent_shape)
    expected = whole(observed.state, None, jnp.asarray(z))
    assert np.abs(np.asarray(gen.generate(z[None]))).max() > 1.0
    np.testing.assert_allclose(model.image, expected.image, atol=1e-5)
    np.testing.assert_allclose(model.jacobian, expected.jacobian, atol=1e-5)
    np.testing.assert_allclose(make_images(observed, z[None])[0], expected.image, atol=1e-5)
    before = compiled_forward(gen.apply)._cache_size()
    make_images(gen, z[None])
    assert compiled_forward(gen.apply)._cache_size() == before
