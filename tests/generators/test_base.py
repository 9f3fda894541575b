"""`Generator`: what it refuses, and generators made from any function."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattr
from jattr.errors import GeneratorError
from jattr.generators.base import PRIORS, sample_normal


def from_function(apply=None, state=None, **changes):
    settings = {
        "name": "toy",
        "version": "1",
        "latent": (3,),
        "image_shape": (2, 2, 1),
        "sample": sample_normal((3,)),
    }
    apply = apply or (lambda w, z, *, label=None: jnp.tanh(z @ w).reshape(-1, 2, 2, 1))
    state = jnp.ones((3, 4)) if state is None else state
    return jattr.Generator.from_function(apply, state, **(settings | changes))


def test_equal_weights_and_version_are_one_model_and_others_are_not():
    first = from_function()
    assert first.digest == from_function().digest
    assert first.digest != from_function(version="2").digest
    other = from_function(state=2 * jnp.ones((3, 4)))
    assert first.weights_digest != other.weights_digest
    assert first.digest != other.digest


def test_what_a_function_does_not_state_is_read_from_it():
    def toy(w, z, *, label=None):
        return jnp.tanh(z @ w).reshape(-1, 2, 2, 1)

    gen = jattr.Generator.from_function(toy, jnp.ones((3, 4)), latent=(3,))
    assert (gen.name, gen.image_shape, gen.prior) == ("toy", (2, 2, 1), "normal")
    key = jax.random.key(0)
    np.testing.assert_array_equal(gen.sample_latent(key, 4), jax.random.normal(key, (4, 3)))
    assert jattr.Generator.from_function(toy, jnp.ones((3, 4)), latent=(3,)).digest == gen.digest


def test_without_a_version_the_digest_names_what_a_function_computes():
    weights = jnp.ones((3, 4))

    def gen(apply):
        return jattr.Generator.from_function(apply, weights, latent=(3,), name="toy")

    plain = gen(lambda w, z, *, label=None: (z @ w).reshape(-1, 2, 2, 1))
    renamed = gen(lambda v, x, *, label=None: jnp.reshape(x @ v, (-1, 2, 2, 1)))
    doubled = gen(lambda w, z, *, label=None: 2 * (z @ w).reshape(-1, 2, 2, 1))
    table = np.float32([[[[1], [2]], [[3], [4]]]])
    shifted = [
        gen(lambda w, z, *, label=None, t=t: (z @ w).reshape(-1, 2, 2, 1) + t)
        for t in (table, 2 * table)
    ]
    assert plain.digest == renamed.digest
    assert len({each.digest for each in (plain, doubled, *shifted)}) == 4


@pytest.mark.parametrize("changes", [{"prior": "cauchy"}, {"prior": "other"}])
def test_a_prior_that_is_unknown_needs_its_sampler(changes):
    with pytest.raises(GeneratorError, match="sample"):
        from_function(**changes, sample=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_shape": (4, 1, 1)}, "states float32"),
        ({"state": jnp.full((3, 4), jnp.nan)}, "not finite"),
        ({"rounding": "floor"}, "rounding 'floor'; legal are 'round', 'truncate' and None"),
        (
            {"apply": lambda w, z, *, label=None: jnp.zeros((len(z), 2, 2, 1), jnp.int32)},
            "makes int32",
        ),
    ],
)
def test_functions_that_are_not_what_they_state_are_refused(changes, words):
    with pytest.raises(GeneratorError, match=words):
        from_function(**changes)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((2, 5), {}, r"takes \[n, 6\]"),
        ((6,), {}, "shape"),
        ((2, 6), {"space": "w"}, "no space 'w'"),
        ((2, 6), {"psi": 0.5}, "no psi"),
        ((2, 6), {"label": 0}, "unconditional"),
    ],
)
def test_what_an_unconditional_generator_cannot_do(tiny, shape, options, words):
    with pytest.raises(GeneratorError, match=words):
        tiny.generate(np.zeros(shape, np.float32), **options)


@pytest.mark.parametrize("label", [None, 3, -1, [0, 1, 2], 0.5, [[0, 1]], True])
def test_labels_that_are_no_classes_are_refused(tiny_conditional, label):
    with pytest.raises(GeneratorError, match="label"):
        tiny_conditional.generate(np.zeros((2, 6), np.float32), label=label)


@pytest.mark.parametrize("prior", PRIORS)
def test_priors_have_the_moments_they_state(prior):
    z = np.float64(PRIORS[prior]((5,))(jax.random.key(0), 4000))
    variance = {"normal": 1, "uniform": 1 / 3}[prior]
    assert z.shape == (4000, 5)
    assert abs(z.mean()) < 4 * np.sqrt(variance / z.size)  # 4 standard errors
    assert abs(z.var() / variance - 1) < 0.05
    assert prior != "uniform" or np.abs(z).max() < 1


def test_a_generator_cannot_be_changed(tiny):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.name = "other"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "tiny_conditional"])
def test_sampled_images_are_those_of_the_latents_and_labels(name, request):
    gen = request.getfixturevalue(name)
    latents, labels, images = gen.sample_images(jax.random.key(3), 5)
    keys = jax.random.split(jax.random.key(3))
    np.testing.assert_array_equal(latents, gen.sample_latent(keys[0], 5))
    assert (labels is None) == (gen.num_classes == 0)
    assert labels is None or (labels.shape == (5,) and set(labels.tolist()) <= {0, 1, 2})
    assert images.shape == (5, *gen.image_shape)
    made = gen.to_bytes(gen.generate(latents, label=labels))
    assert np.abs(images.astype(int) - made).max() <= 1  # another batch: float32's last bits


def test_bytes_follow_the_generators_own_rounding(tiny):
    values = np.float32([-2.0, 0.0, 2.0])
    assert dataclasses.replace(tiny, rounding=None).to_bytes(values).tolist() == [0, 128, 255]
    assert dataclasses.replace(tiny, rounding="truncate").to_bytes(values).tolist() == [0, 127, 255]


def test_stored_labels_become_arguments(tiny, tiny_conditional):
    assert tiny.label_argument(-1) is None
    assert tiny_conditional.label_argument(2).tolist() == [2]
    assert tiny_conditional.label_argument([0, 2]).dtype == np.int32
