"""Programs for other platforms: their forms of convolutions, whatever is here, and their values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_families import random_generator
from tiny_generator import make_tiny

import jattr
from jattr.errors import InputError
from jattr.generators import ops
from jattr.generators.family import FAMILIES
from jattr.solvers import METHODS

PLATFORMS = ("cpu", "cuda", "tpu")
slow = pytest.mark.slow
NAMES = ["layered", *(pytest.param(name, marks=slow) for name in FAMILIES)]
METHODS_OF_FEW = [name if name == "lbfgs" else pytest.param(name, marks=slow) for name in METHODS]


SMALL = {  # smaller than those of benchmarks: what is lowered is the same
    "progan": {"channels": (8, 6), "z_dim": 8},
    "stylegan": {"channels": (8, 6), "z_dim": 8, "mapping_widths": (8, 8)},
    "stylegan2": {"channels": (8, 6), "z_dim": 8, "mapping_widths": (8, 8)},
    "autoencoder_kl": {
        "block_out_channels": (8, 8),
        "latent_height": 4,
        "latent_width": 4,
        "norm_num_groups": 4,
    },
}


@functools.cache
def generator(name):
    return make_tiny() if name == "layered" else random_generator(name, **SMALL.get(name, {}))


def export(fn, platforms, *arguments):
    """The program of a function for some platforms, from the shapes of its arguments."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    return jax.export.export(jax.jit(fn), platforms=platforms)(*shapes)


def latents(gen, n=2):
    return jnp.asarray(gen.sample_latent(jax.random.key(3), n))


def labels(gen, n=2):
    return jnp.zeros(n, jnp.int32) if gen.num_classes else None


def images_of(gen):
    return lambda state, z: gen.apply(state, z, label=labels(gen))


def near(a, b):
    """Equal but for the order of float32 sums."""
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1.0, float(np.abs(b).max())))


@pytest.mark.parametrize("name", NAMES)
def test_images_and_gradients_in_the_forms_of_other_platforms_are_those_of_cpu(name, request):
    if name != "layered":
        request.getfixturevalue("few_optimisations")
    gen = generator(name)

    def value_and_gradient(platform, z):
        def loss(z):
            return jnp.mean(jnp.sin(3 * gen.apply(gen.state, z, label=labels(gen))))

        with ops.for_platform(platform):
            image = gen.apply(gen.state, z, label=labels(gen))
            return image, jax.grad(loss)(z), jax.jvp(loss, (z,), (jnp.cos(z),))[1]

    z = latents(gen)
    cpu, cuda, lowered = (
        jax.jit(functools.partial(value_and_gradient, platform))(z)
        for platform in ("cpu", "cuda", None)
    )
    for a, b, c in zip(cpu, cuda, lowered, strict=True):
        near(b, a)
        np.testing.assert_array_equal(c, a)  # to the bit: what lowering drops leaves no trace


@pytest.mark.parametrize("name", NAMES)
def test_the_images_of_every_family_are_lowered_for_each_platform(name):
    gen = generator(name)
    z = latents(gen)
    texts = {p: export(images_of(gen), (p,), gen.state, z).mlir_module() for p in PLATFORMS}
    with ops.for_platform("cuda"):
        stated = export(images_of(gen), ("cuda",), gen.state, z).mlir_module()
    count = {p: text.count("stablehlo.convolution") for p, text in texts.items()}
    assert count["cuda"] == count["tpu"] == stated.count("stablehlo.convolution")
    assert count["cuda"] >= count["cpu"]
    assert name == "stylegan3" or count["cuda"] > count["cpu"]
    both = export(images_of(gen), PLATFORMS, gen.state, z)
    near(jax.jit(both.call)(gen.state, z), jax.jit(images_of(gen))(gen.state, z))


def check_inversion(gen, method):
    label = labels(gen, 1)

    def fn(state, image, z0):
        problem = jattr.problem_of(
            dataclasses.replace(gen, state=state), image, label=None if label is None else label[0]
        )
        return jattr.solve(problem, METHODS[method], z0, steps=3).latent

    given = (gen.state, jnp.zeros(gen.image_shape, jnp.float32), latents(gen)[0])
    assert export(fn, PLATFORMS, *given).platforms == PLATFORMS


@pytest.mark.parametrize("method", METHODS_OF_FEW)
def test_the_search_of_each_method_is_lowered_for_each_platform(method):
    check_inversion(generator("layered"), method)


@slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", ["levenberg-marquardt", "lbfgs"])
def test_the_search_of_each_family_is_lowered_for_each_platform(name, method):
    check_inversion(generator(name), method)


def test_a_stated_platform_decides_and_an_unknown_one_is_refused():
    x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4, 4))

    def text(platform):
        def fn(x):
            with ops.for_platform(platform):
                return ops.conv(x, kernel, padding=1)

        return jax.jit(fn).lower(x).as_text()

    assert "stablehlo.convolution" in text("cuda")
    assert "stablehlo.convolution" not in text("cpu")
    assert "stablehlo.convolution" not in text(None)
    with pytest.raises(InputError, match='did you mean "cuda"'), ops.for_platform("cud"):
        pass
