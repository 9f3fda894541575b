"""Settings of JAX that a process has made for other work change no result."""

import contextlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted_compilations
from tiny_generator import make_tiny

import jattr
from jattr.errors import InputError
from jattr.inversion.config import InvertConfig
from jattr.runtime import DEFAULTS, jax_defaults

# option -> a value that somebody sets for other work
OTHERS = {
    "jax_enable_x64": True,
    "jax_default_matmul_precision": "bfloat16",
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_debug_key_reuse": True,
    "jax_legacy_prng_key": "error",
    "jax_numpy_rank_promotion": "raise",
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_disable_jit": True,
    "jax_enable_checks": True,
    "jax_check_tracer_leaks": True,
    "jax_no_tracing": True,
    "jax_no_execution": True,
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_transfer_guard_device_to_device": "disallow",
    "jax_transfer_guard_device_to_host": "disallow",
}
SEARCH = InvertConfig(restarts=1, pool=64).search


@contextlib.contextmanager
def process_with(options):
    """Set options for the whole process, as `jax.config.update` in a user's program does."""
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def everything(gen, other, key):
    """What the public functions return, as arrays and texts, by name."""
    samples = gen.sample_images(key, 2)
    found = jattr.attribute(samples.images, [gen, other], search=SEARCH)
    check = jattr.verify(found, [gen, other], images=samples.images)
    inversion = jattr.invert(gen, samples.images, search=SEARCH)
    return {
        "sampled": np.asarray(gen.sample_latent(key, 3)),
        "latents": samples.latents,
        "images": samples.images,
        "generated": np.asarray(gen.generate(samples.latents)),
        "residual": found.residual,
        "found": found.latents[0],
        "inverted": np.asarray(inversion.z),
        "verdicts": [verdict.text for verdict in found.verdicts],
        "verified": (check.verified, [each["text"] for each in check.certificates]),
    }


@pytest.fixture(scope="module")
def expected(tiny):
    """The same without any setting."""
    return everything(tiny, make_tiny(name="other", seed=1), jax.random.key(1))


def test_every_setting_has_another_value_here():
    assert set(OTHERS) == set(DEFAULTS)


@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_changes_no_result(tiny, expected, name):
    other, key = make_tiny(name="other", seed=1), jax.random.key(1)
    with process_with({name: OTHERS[name]}):
        results = everything(tiny, other, key)
        assert getattr(jax.config, name) == OTHERS[name]  # the process has it as before
    for what, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(results[what], value, err_msg=what)
            assert results[what].dtype == value.dtype
        else:
            assert results[what] == value


def test_the_defaults_are_those_of_jax_and_cost_no_compilation(tiny):
    gen, key = tiny, jax.random.key(1)
    gen.sample_images(key, 2)
    for name, (default, _) in DEFAULTS.items():
        assert getattr(jax.config, name) == default
    with counted_compilations() as compiled:
        with jax_defaults():
            gen.sample_images(key, 2)
        gen.sample_images(key, 2)
    assert not compiled


def test_other_threads_and_the_process_keep_their_settings():
    seen = []
    with process_with({"jax_enable_x64": True}), jax_defaults():
        assert jnp.zeros(1).dtype == jnp.float32
        thread = threading.Thread(target=lambda: seen.append(jnp.zeros(1).dtype))
        thread.start()
        thread.join()
        with jax_defaults(keep=frozenset({"jax_enable_x64"})):
            assert jnp.zeros(1).dtype == jnp.float32  # nested, nothing is set back
    assert seen == [jnp.float64]


def test_a_seed_offset_is_refused(tiny):
    words = r"JAX_RANDOM_SEED_OFFSET .* is 5"
    with process_with({"jax_random_seed_offset": 5}), pytest.raises(InputError, match=words):
        tiny.sample_latent(jax.random.key(0), 1)


@pytest.mark.parametrize("solver", ["levenberg-marquardt", "lbfgs", "bfgs", "adam-cosine"])
def test_solve_in_a_program_of_64_bits_searches_in_the_problem_s_own(tiny, solver):
    image = tiny.sample_images(jax.random.key(1), 1).images[0]

    def search(z0):
        return jattr.solve(jattr.problem_of(tiny, image), solver, z0, steps=8)

    plain = jax.jit(search)(jnp.zeros(6))
    with process_with({"jax_enable_x64": True}):
        wide = jax.jit(search)(jnp.zeros(6))
    assert wide.latent.dtype == wide.loss.dtype == jnp.float32
    # optax counts steps in 64 bits there
    np.testing.assert_allclose(wide.latent, plain.latent, rtol=5e-6 * (solver == "adam-cosine"))


def test_generate_in_a_jitted_program_of_64_bits(tiny):
    z = np.asarray(tiny.sample_latent(jax.random.key(1), 2))
    plain = jax.jit(tiny.generate)(z)
    with process_with({"jax_enable_x64": True}):
        wide = jax.jit(tiny.generate)(z)
        through = jax.jit(lambda z: 2.0 * tiny.generate(z))(np.float64(z))
    np.testing.assert_array_equal(wide, plain)
    np.testing.assert_array_equal(through, 2 * np.asarray(plain))


def test_a_function_of_the_caller_s_is_the_same_candidate(tiny):
    def make():
        weights = jnp.ones((3, 12))  # float64 where the process has it so
        return jattr.Generator.from_function(
            lambda w, z: jnp.tanh(z @ w + jnp.linspace(-1, 1, 12)).reshape(-1, 2, 2, 3),
            weights,
            latent=(3,),
            name="mine",
        )

    plain = make()
    with process_with({"jax_enable_x64": True}):
        wide = make()
        z = wide.sample_latent(jax.random.key(2), 2)
        images = wide.generate(z)
    assert (wide.digest, wide.weights_digest) == (plain.digest, plain.weights_digest)
    assert images.dtype == z.dtype == jnp.float32
    np.testing.assert_array_equal(images, plain.generate(z))


@pytest.mark.parametrize("value", ["gpu", "tpu"])
def test_a_default_device_that_is_not_there_is_named(tiny, value):
    words, key = rf"JAX_DEFAULT_DEVICE .*'{value}'.* here: cpu;", jax.random.key(0)
    with process_with({"jax_default_device": value}), pytest.raises(InputError, match=words):
        tiny.sample_latent(key, 1)
