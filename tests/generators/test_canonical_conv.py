"""The convolution with a canonical gradient where the tests of the forms do not reach.

Wide padding, lanes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jattr.generators.ops import DIMENSIONS, canonical_conv

TOLERANCE = 2e-5  # float32 sums of up to 27 products of numbers around 1, in another order


def plain(x, kernel, padding):
    around = [(zeros, zeros) for zeros in padding]
    return lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=DIMENSIONS)


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(3, 3), (1, 4), (2, 1)], ids=str)
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (4, 0), (0, 5)], ids=str)
def test_value_and_derivatives_of_every_order_of_modes(size, padding):
    x, kernel = numbers(0, 2, 6, 7, 3), numbers(1, *size, 3, 2)

    def derivatives(fn):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(fn(x, kernel, padding)))

        gradient = jax.grad(loss, argnums=(0, 1))
        return loss(x, kernel), gradient(x, kernel), jax.jvp(gradient, (x, kernel), (x, -kernel))[1]

    ours, theirs = jax.jit(lambda: (derivatives(canonical_conv), derivatives(plain)))()
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.abs(a - b).max() <= TOLERANCE * max(1.0, float(np.abs(b).max()))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, None)], ids=str)
def test_it_can_be_mapped(axes):
    x, kernel = numbers(0, 3, 3, 6, 6, 3), numbers(1, 3, 3, 3, 3, 2)
    args = (x if axes[0] is not None else x[0], kernel if axes[1] is not None else kernel[0])
    ours, theirs = (
        jax.jit(jax.vmap(lambda x, k, fn=fn: fn(x, k, (1, 1)), axes))(*args)
        for fn in (canonical_conv, plain)
    )
    assert np.abs(ours - theirs).max() <= TOLERANCE


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_it_can_be_compiled_for(platform):
    traced = jax.jit(canonical_conv).trace(numbers(0, 1, 6, 6, 3), numbers(1, 3, 3, 3, 2))
    assert "stablehlo.convolution" in traced.lower(lowering_platforms=(platform,)).as_text()
