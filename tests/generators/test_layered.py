"""Layered generators as functions.

One compilation for one architecture, and what else JAX asks of them.
"""

import jax
import numpy as np
import pytest
from tiny_generator import make_tiny

from jattr.generators import layered


@pytest.fixture
def counted(monkeypatch):
    """Counts how often a dense layer is traced."""
    traces = []
    dense = layered.STEPS["dense"]
    monkeypatch.setitem(layered.STEPS, "dense", lambda step, x: traces.append(1) or dense(step, x))
    return traces


def test_generators_of_one_architecture_share_one_function_and_one_compilation(counted):
    a, b = make_tiny(seed=11), make_tiny(seed=12, name="other")
    assert a.apply is b.apply
    apply = jax.jit(a.apply)
    z = np.ones((17, 6), np.float32)  # a number of latents that no other test has
    first = apply(a.state, z)
    second = apply(b.state, z)
    assert len(counted) == 1
    assert np.abs(first - second).max() > 0.01
    a.generate(z), b.generate(z), a.generate(2 * z)
    assert len(counted) == 2  # `generate` has a program of its own


def test_other_options_are_another_architecture():
    assert make_tiny().apply is not make_tiny(num_classes=3).apply


def test_images_do_not_depend_on_their_batch(tiny):
    z = tiny.sample_latent(jax.random.key(0), 4)
    alone = np.concatenate([tiny.generate(z[i : i + 1]) for i in range(4)])
    # float32 sums in another order, values below 1
    assert np.abs(tiny.generate(z) - alone).max() <= 1e-6


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_the_function_can_be_mapped_and_differentiated_in_both_modes(tiny):
    z = tiny.sample_latent(jax.random.key(1), 3)
    mapped = jax.vmap(lambda row: tiny.apply(tiny.state, row[None])[0])(z)
    assert np.abs(mapped - tiny.generate(z)).max() <= 1e-6

    def image(row):
        return tiny.apply(tiny.state, row[None])[0].ravel()

    forward, backward = jax.jit(jax.jacfwd(image))(z[0]), jax.jit(jax.jacrev(image))(z[0])
    assert forward.shape == (192, 6)
    assert np.abs(forward - backward).max() <= 1e-5
    assert np.linalg.matrix_rank(forward) == 6


def test_a_class_changes_the_image(tiny_conditional):
    z = np.ones((3, 6), np.float32)
    images = tiny_conditional.generate(z, label=[0, 1, 2])
    assert np.abs(images[0] - images[1]).max() > 0.001
    assert (tiny_conditional.generate(z[:1], label=1) == images[1:2]).all()
