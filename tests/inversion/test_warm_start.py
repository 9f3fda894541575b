"""Statistical linearisation: it draws starts nearer, and leaves alone what it cannot compute."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import PIXELS, SHAPE, make_toy, own_images

from jattr.inversion.evaluate import mean_squares
from jattr.inversion.problem import target_of
from jattr.inversion.warm_start import EnsembleKalman, make_ensemble
from jattr.solvers.base import Prior

DEFAULT = EnsembleKalman()
STANDARD = Prior(jnp.zeros(4), jnp.ones(4))


def drawn(gen, pixels, starts, label=None, settings=DEFAULT):
    run = make_ensemble(gen.apply, gen.latent_shape, "default", settings)
    near = [
        run(
            gen.state,
            STANDARD,
            target_of(jnp.asarray(image)),
            None if label is None else label[i],
            jnp.asarray(z),
            jax.random.key(1),
        )
        for i, (image, z) in enumerate(zip(pixels, starts, strict=True))
    ]
    return np.stack(near), target_of(jnp.asarray(pixels))


def test_starts_come_nearer():
    gen = make_toy()
    _, pixels = own_images(gen, 8)
    starts = np.array(gen.sample_latent(jax.random.key(2), 8))
    near, target = drawn(gen, pixels, starts)
    before, after = (mean_squares(gen, z, None, target) for z in (starts, near))
    assert np.median(after / before) < 0.05
    assert (after < before).all()


def test_large_images_are_made_in_parts():
    gen = make_toy()
    _, pixels = own_images(gen, 1)
    starts = np.array(gen.sample_latent(jax.random.key(2), 1))
    whole, _ = drawn(gen, pixels, starts)
    parts, _ = drawn(gen, pixels, starts, settings=EnsembleKalman(max_numbers=16 * PIXELS))
    np.testing.assert_allclose(parts, whole, atol=1e-4)


@pytest.mark.slow
def test_class_is_passed_on():
    gen = make_toy(num_classes=3)
    label = jnp.asarray([0, 1, 2], jnp.int32)
    _, pixels = own_images(gen, 3, label=np.asarray(label))
    starts = np.zeros((3, 4), np.float32)
    right, target = drawn(gen, pixels, starts, label)
    wrong, _ = drawn(gen, pixels, starts, (label + 1) % 3)
    losses = [
        mean_squares(gen, z, np.asarray(given), target)
        for z, given in ((right, label), (wrong, (label + 1) % 3))
    ]
    assert (losses[0] < losses[1]).all()


def test_a_generator_that_breaks_leaves_the_start_alone():
    gen = make_toy()
    broken = jax.tree.map(lambda leaf: jnp.nan * leaf, gen.state)
    gen = dataclasses.replace(gen, state=broken)
    starts = np.ones((2, 4), np.float32)
    near, _ = drawn(gen, np.zeros((2, *SHAPE), np.uint8), starts)
    np.testing.assert_array_equal(near, starts)
