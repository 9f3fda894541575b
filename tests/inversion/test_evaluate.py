"""Residuals as they are stated: any number of images, at full precision."""

import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy, own_images

from jattr.generators.forward import MAX_BATCH
from jattr.inversion.evaluate import mean_squares
from jattr.inversion.problem import target_of


@pytest.mark.parametrize("count", [1, MAX_BATCH, MAX_BATCH + 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_is_the_mean_square_of_every_image(count, classes):
    gen = make_toy(num_classes=classes)
    label = np.arange(count, dtype=np.int32) % classes if classes else None
    z, pixels = own_images(gen, count, label=label)
    z = z + 0.1
    made = np.asarray(gen.generate(z, label=label), np.float64)
    inside = (pixels > 0) & (pixels < 255)
    found = mean_squares(gen, z, label, target_of(jnp.asarray(pixels)))
    assert found.shape == (count,)
    plain = np.where(inside, made - (pixels / 127.5 - 1), 0)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(found, np.mean(plain**2, axis=(1, 2, 3)), rtol=0.2)
    everywhere = inside.all((1, 2, 3))
    np.testing.assert_allclose(
        found[everywhere], np.mean(plain**2, axis=(1, 2, 3))[everywhere], rtol=1e-5
    )
