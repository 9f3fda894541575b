import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.attacks.pgd import pgd
from jattr.baselines.classifier import ClassifierConfig, predict, source_loss, train
from jattr.errors import ImageError, InputError

CONFIG = ClassifierConfig(widths=(8,), epochs=4, batch=32, rate=1e-2, warmup=5)


def two_sources(count, seed):
    """Grey images: one source is smooth, the other has every second column brighter."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 190, (2 * count, 1, 1, 1)) + rng.integers(
        -10, 10, (2 * count, 8, 8, 1)
    )
    labels = np.repeat([0, 1], count)
    images[count:, :, ::2] += 30
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def trained():
    return train(*two_sources(200, 0), jax.random.key(0), config=CONFIG)


@pytest.mark.slow
def test_it_learns_two_sources(trained):
    images, labels = two_sources(50, 1)
    assert trained.classes == 2
    assert trained.losses[-1] < trained.losses[0]
    assert (predict(trained, images) == labels).mean() >= 0.98


@pytest.mark.slow
def test_it_is_the_same_for_the_same_key_and_another_for_another(trained):
    again, other = (
        train(*two_sources(200, 0), jax.random.key(seed), config=CONFIG) for seed in (0, 1)
    )

    def leaves(made):
        return [np.asarray(leaf) for leaf in jax.tree.leaves(made.state)]

    for a, b in zip(leaves(trained), leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        not np.array_equal(a, b) for a, b in zip(leaves(trained), leaves(other), strict=True)
    )


@pytest.mark.slow
def test_gradients_of_images_turn_its_answer(trained):
    images, labels = two_sources(20, 2)
    attack = jax.jit(
        lambda state, x, y: pgd(
            lambda x: source_loss(trained, state, x, y), x, 24, key=jax.random.key(0)
        )
    )
    found = attack(trained.state, jnp.asarray(images), jnp.asarray(labels, jnp.int32))
    assert (np.asarray(found.after) > np.asarray(found.before)).all()
    assert (predict(trained, np.asarray(found.pixels)) == labels).mean() < 0.5


@pytest.mark.slow
def test_refusals(trained):
    images, labels = two_sources(4, 0)
    with pytest.raises(InputError, match="labels"):
        train(images, labels[:3], jax.random.key(0))
    with pytest.raises(ImageError, match="uint8"):
        train(images / 255, labels, jax.random.key(0))
    with pytest.raises(ImageError, match="trained on"):
        predict(trained, images[:, :4])
    with pytest.raises(InputError, match="1 or more"):
        ClassifierConfig(epochs=0)
