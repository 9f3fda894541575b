"""Convolutions, pooling and resizing against PyTorch's."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattr.distances.layers import StridedConv, average_pool, max_pool, resize_bilinear
from jattr.generators import ops

TOLERANCE = 1e-5  # of values near 1: float32 sums in another order


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def to_torch(torch, x):
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def from_torch(x):
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(8, 9), (7, 3), (13, 6)])
@pytest.mark.parametrize(
    "options",
    [
        {"size": 3, "stride": 2},
        {"size": 3, "stride": 2, "ceil": True},
        {"size": 2, "stride": 2},
        {"size": 3, "stride": 1, "padding": 1},
    ],
)
def test_max_pool(torch, sides, options):
    x = random(2, *sides, 3) - 5  # all below 0: what is added around must not win
    size, stride = options["size"], options["stride"]
    padding, ceil = options.get("padding", 0), options.get("ceil", False)
    expected = from_torch(
        torch.nn.functional.max_pool2d(to_torch(torch, x), size, stride, padding, 1, ceil)
    )
    assert np.array_equal(max_pool(jnp.asarray(x), **options), expected)


@pytest.mark.slow
@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize("sides", [(5, 4), (1, 2)])
def test_average_pool(torch, count_padding, sides):
    x = random(2, *sides, 3)
    pooled = torch.nn.functional.avg_pool2d(
        to_torch(torch, x), 3, 1, 1, count_include_pad=count_padding
    )
    assert (
        np.abs(average_pool(jnp.asarray(x), count_padding=count_padding) - from_torch(pooled)).max()
        <= TOLERANCE
    )


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(20, 17), (299, 64), (5, 400), (1, 1)])
def test_resizing(torch, sides):
    x = random(*sides, 3)
    exact = to_torch(torch, x[None]).double()  # float32 would round the places in the image as well
    expected = torch.nn.functional.interpolate(exact, (299, 299), mode="bilinear")
    assert (
        np.abs(resize_bilinear(jnp.asarray(x), 299, 299) - from_torch(expected)[0]).max()
        <= TOLERANCE
    )


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(11, 4, 2), (5, 2, 1), (8, 4, 0), (7, 5, 3)]
)
@pytest.mark.parametrize("side", [11, 22])
def test_strided_convolution_is_the_plain_one(size, stride, padding, side):
    x, kernel = jnp.asarray(random(2, side, side + 3, 3)), jnp.asarray(random(size, size, 3, 4))
    layer = StridedConv(3, 4, size, stride=stride, padding=padding)
    layer.kernel[...], layer.bias[...] = kernel, jnp.arange(4.0)
    expected = ops.conv(x, kernel, stride=stride, padding=padding, form="native") + jnp.arange(4.0)
    assert np.abs(layer(x) - expected).max() <= 1e-5 * np.abs(expected).max()
