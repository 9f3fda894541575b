"""Generators of any JAX function: frameworks, structures of latents, exported programs, errors."""

import functools

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jattr
from jattr.errors import GeneratorError

SHAPE = (4, 4, 1)
WEIGHTS = {
    "kernel": jnp.asarray(np.random.default_rng(0).normal(size=(3, 16), scale=0.5), jnp.float32),
    "bias": jnp.linspace(-0.5, 0.5, 16),
}
FORMS = {"latent": {"a": (1,), "b": (1, 2)}, "name": "toy", "version": "1"}


def images_of(hidden):
    return jnp.tanh(hidden).reshape(-1, *SHAPE)


def toy(state, z):
    return images_of(z @ state["kernel"] + state["bias"])


def toy_of_parts(state, z, *, label=None):
    return toy(state, jnp.concatenate([z["a"], z["b"].reshape(-1, 2)], axis=1))


def of(apply=toy, state=WEIGHTS, **changes):
    settings = {"latent": (3,), "name": "toy", "version": "1"} | changes
    return jattr.Generator.from_function(apply, state, **settings)


def of_linen():
    class Decoder(linen.Module):
        @linen.compact
        def __call__(self, z):
            return images_of(linen.Dense(16)(z))

    params = {"Dense_0": WEIGHTS}
    return Decoder().apply, {"params": params}


def of_nnx():
    layer = nnx.Linear(3, 16, rngs=nnx.Rngs(0))
    layer.kernel[...], layer.bias[...] = WEIGHTS["kernel"], WEIGHTS["bias"]
    graph, state = nnx.split(layer)
    return lambda state, z: images_of(nnx.merge(graph, state)(z)), state


def of_equinox():
    layer = equinox.nn.Linear(3, 16, key=jax.random.key(0))
    new = (WEIGHTS["kernel"].T, WEIGHTS["bias"])
    layer = equinox.tree_at(lambda layer: (layer.weight, layer.bias), layer, new)
    arrays, rest = equinox.partition(layer, equinox.is_array)
    return lambda state, z: images_of(jax.vmap(equinox.combine(state, rest))(z)), arrays


def exported(fn=toy, n="n", argument=None):
    count = jax.export.symbolic_shape(n)[0] if isinstance(n, str) else n
    z = jax.ShapeDtypeStruct((count, 3), jnp.float32)
    weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), WEIGHTS)
    return jax.export.export(jax.jit(fn))(weights, z, *(argument or ()))


def of_exported():
    return exported(), WEIGHTS


@pytest.mark.parametrize("make", [of_linen, of_nnx, of_equinox, of_exported])
def test_a_framework_makes_the_images_that_plain_jax_makes(make):
    apply, state = make()
    gen, plain = of(apply, state), of()
    z = plain.sample_latent(jax.random.key(1), 5)
    np.testing.assert_allclose(gen.generate(z), plain.generate(z), rtol=0, atol=1e-6)
    assert gen.image_shape == SHAPE


@pytest.mark.slow
@pytest.mark.parametrize("make", [of_linen, of_nnx, of_equinox, of_exported])
def test_own_images_of_a_framework_are_found(make):
    gen = of(*make())
    latents, _, images = gen.sample_images(jax.random.key(2), 2)
    found = jattr.invert(gen, images, search=jattr.MultiStart(restarts=8))
    best = np.argmin(found.loss, axis=1)
    np.testing.assert_allclose(found.z[range(2), best], latents, atol=0.05)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_an_exported_program_is_differentiated_and_mapped_as_the_function():
    z = of().sample_latent(jax.random.key(1), 4)

    def derivatives(gen):
        def loss(z):
            return jnp.sum(jnp.sin(gen.apply(gen.state, z)))

        return (
            jax.grad(loss)(z),
            jax.jvp(loss, (z,), (jnp.cos(z),))[1],
            jax.vmap(jax.jacfwd(lambda z: gen.apply(gen.state, z[None])[0]))(z),
            jax.vmap(jax.grad(lambda z: loss(z[None])))(z),
            jax.vmap(lambda scale: gen.apply(jax.tree.map(lambda w: w * scale, gen.state), z))(
                jnp.arange(3.0)
            ),
        )

    for a, b in zip(derivatives(of(exported())), derivatives(of()), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_an_exported_program_is_not_differentiated_by_its_weights():
    gen = of(exported())
    with pytest.raises(GeneratorError, match="differentiated by its weights"):
        jax.grad(lambda state: gen.apply(state, jnp.ones((1, 3))).sum())(gen.state)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (functools.partial(exported, n=2), "symbolic_shape"),
        (
            functools.partial(
                exported,
                lambda state, z, more: toy(state, z) + more,
                argument=(jax.ShapeDtypeStruct((), jnp.float32),),
            ),
            r"function of \(state, z\)",
        ),
    ],
)
def test_an_exported_program_that_no_search_can_use_is_refused(program, words):
    with pytest.raises(GeneratorError, match=words):
        of(program())


def test_latents_of_a_structure_are_arrays_outside_of_the_function():
    plain, gen = of(), of(toy_of_parts, **FORMS)
    z = gen.sample_latent(jax.random.key(1), 5)
    assert gen.latent_shape == (3,)
    np.testing.assert_array_equal(z, plain.sample_latent(jax.random.key(1), 5))
    np.testing.assert_array_equal(gen.generate(z), plain.generate(z))
    latents = gen.unravel(z)
    assert {name: leaf.shape for name, leaf in latents.items()} == {"a": (5, 1), "b": (5, 1, 2)}
    np.testing.assert_array_equal(gen.ravel(latents), z)
    np.testing.assert_array_equal(gen.generate(latents), gen.generate(z))
    assert gen.unravel(z[0])["b"].shape == (1, 2)


def test_a_sampler_of_a_structure_gives_that_structure():
    def sample(key, n):
        return {"a": jnp.zeros((n, 1)), "b": jax.random.uniform(key, (n, 1, 2))}

    gen = of(toy_of_parts, **FORMS, sample=sample)
    assert gen.prior == "other"
    z = gen.sample_latent(jax.random.key(1), 4)
    assert z.shape == (4, 3)
    assert (z[:, 0] == 0).all()
    assert (of().unravel(z) == z).all()
    assert (of().ravel(z) == z).all()


def test_the_same_function_twice_is_one_program_and_one_model():
    first, second = of(toy_of_parts, **FORMS), of(toy_of_parts, **FORMS)
    assert first.apply == second.apply
    assert first.digest == second.digest != of().digest


def test_structures_that_differ_are_other_models():
    def sums(state, z):
        return toy(state, z[0] + z[1].reshape(-1, 3))

    one, other = (of(sums, latent=latent) for latent in ([(3,), (3,)], [(3,), (1, 3)]))
    assert one.digest != other.digest


def test_classes_go_to_functions_with_a_label():
    def of_class(state, z, label):
        return toy(state, z + label.astype(jnp.float32)[:, None])

    gen = of(of_class, num_classes=2)
    z = jnp.ones((1, 3))
    np.testing.assert_array_equal(gen.generate(z, label=1), of().generate(2 * z))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"apply": 3}, "is made of 3; give a function"),
        ({"apply": lambda z: z}, r"cannot be called as apply\(state, z\)"),
        ({"apply": toy, "num_classes": 2}, r"cannot be called as apply\(state, z, label=label\)"),
        ({"apply": lambda state, z: (z, z)}, "makes tuple of 2 latents, no images"),
        ({"apply": lambda state, z: z}, r"makes \[2, 3\] of 2 latents, no images"),
        ({"apply": lambda state, z: toy(state, z)[:1]}, r"of 2 latents"),
        ({"apply": lambda state, z: toy(state, z).astype(jnp.bfloat16)}, "astype"),
        ({"apply": lambda state, z: toy(state, z) / 0}, "not finite"),
        ({"state": WEIGHTS | {"act": jnp.tanh}}, "'act' is .*no array of numbers"),
        ({"state": WEIGHTS | {"key": jax.random.key(0)}}, "'key' is .*no array of numbers"),
        ({"state": WEIGHTS | {"bias": "zeros"}}, "'bias' is str, no array of numbers"),
        ({"latent": 3}, "latent is 3; it is the shape"),
        ({"latent": ()}, r"latent is \(\)"),
        ({"latent": {}}, "no numbers"),
        ({"latent": (3.0,)}, "whole numbers from 1"),
        ({"latent": {"a": (0,)}}, "whole numbers from 1"),
        ({"latent": {"a": "b"}}, "whole numbers from 1"),
        ({"latent": (4,)}, r"with latents of shape \(2, 4\)"),
        ({"sample": lambda key, n: jnp.zeros((n, 2))}, "sampler"),
    ],
)
def test_what_is_no_generator_is_refused_in_one_line(changes, words):
    with pytest.raises(GeneratorError, match=words) as caught:
        of(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "latents",
    [
        {"a": np.zeros((2, 1))},
        {"a": np.zeros((2, 1)), "b": np.zeros((2, 2))},
        {"a": np.zeros((2, 1)), "b": np.zeros((3, 1, 2))},
        [np.zeros((2, 3))],
    ],
)
def test_latents_of_another_structure_are_refused(latents):
    with pytest.raises(GeneratorError, match=r"legal are .*'a': \('n', 1\)"):
        of(toy_of_parts, **FORMS).generate(latents)
