"""Procedural faces: determined by the key, varied, and drawn as images should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.zoo.faces import FACE_SIZE, TRAITS, Face, draw_face, render_faces


@pytest.fixture(scope="module")
def faces():
    return render_faces(jax.random.key(3), 300)


@pytest.mark.slow
def test_one_key_is_one_set_of_faces(faces):
    assert faces.shape == (300, FACE_SIZE, FACE_SIZE, 3)
    assert faces.dtype == np.uint8
    np.testing.assert_array_equal(render_faces(jax.random.key(3), 300), faces)
    assert (render_faces(jax.random.key(4), 4) != faces[:4]).any(axis=(1, 2, 3)).all()


@pytest.mark.slow
def test_no_two_look_alike(faces):
    flat = faces.reshape(len(faces), -1).astype(np.float32)
    squares = np.sum(flat * flat, axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0) / flat.shape[1])
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 8  # root mean square, bytes


@pytest.mark.slow
def test_every_trait_is_seen():
    """Each number changes the image of some face: none is dead."""
    drawn = jax.jit(jax.vmap(draw_face))
    base = jax.random.uniform(jax.random.key(0), (8, TRAITS))
    before = drawn(base)
    for number, name in enumerate(Face._fields):
        changed = drawn(base.at[:, number].set((base[:, number] + 0.5) % 1.0))
        assert float(jnp.abs(changed - before).max()) > 0.02, name


@pytest.mark.slow
def test_edges_are_smooth_and_values_in_range():
    image = draw_face(jnp.full(TRAITS, 0.5), size=64)
    assert image.shape == (64, 64, 3)
    assert float(jnp.abs(image).max()) <= 1.0
    # flat areas alone would have a few dozen
    assert len(np.unique(np.asarray(image).round(3))) > 200


@pytest.mark.slow
def test_larger_images_show_the_same_face():
    traits = jax.random.uniform(jax.random.key(1), (TRAITS,))
    large = (
        draw_face(traits, size=4 * FACE_SIZE).reshape(FACE_SIZE, 4, FACE_SIZE, 4, 3).mean((1, 3))
    )
    assert float(jnp.abs(large - draw_face(traits)).mean()) < 0.05
