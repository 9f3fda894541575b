"""LPIPS and features of its backbones.

The reference's numbers, PyTorch's, and images that do not fit.
"""

import jax
import numpy as np
import pytest
from feature_files import file_tensors, random_network
from torch_networks import torch_lpips

from jattr.distances import features, lpips
from jattr.distances.lpips_nets import BACKBONES
from jattr.distances.networks import NETWORKS, graph_of
from jattr.errors import InputError

# relative; float32 sums of up to 4608 products in another order, through up to 13 layers
TOLERANCE = 1e-4
NAMES = [f"lpips-{backbone}" for backbone in BACKBONES]


def nhwc(array):
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_distances_are_those_of_the_reference(golden_network, reference, backbone):
    golden = np.load(reference / "golden" / f"lpips_{backbone}" / "golden.npz")
    distance = lpips(golden_network(f"lpips_{backbone}"))
    for x, y, expected in zip(
        nhwc(golden["x"]), nhwc(golden["y"]), golden["distance"], strict=True
    ):
        assert np.isclose(distance(x, y), expected, rtol=TOLERANCE, atol=0)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_terms_and_activations_are_those_of_the_reference(golden_network, reference, backbone):
    golden = np.load(reference / "golden" / f"lpips_{backbone}" / "golden.npz")
    network = golden_network(f"lpips_{backbone}")
    distance, names = lpips(network), NETWORKS[network.architecture].layers
    encode = jax.jit(distance.encode)
    for i, (x, y) in enumerate(zip(nhwc(golden["x"]), nhwc(golden["y"]), strict=True)):
        codes = [encode(network.state, image) for image in (x, y)]
        for number, (a, b) in enumerate(zip(*codes, strict=True)):
            term = np.square(np.float64(a) - np.float64(b)).sum(-1).mean()
            assert np.isclose(term, golden[f"layer{number}"][i], rtol=TOLERANCE, atol=0)
    for number, name in enumerate(names):
        shape = (-1, golden[f"slice{number}_mean"].shape[1])
        means = np.reshape(
            features(network, layer=name).encode(network.state, nhwc(golden["x"])[0]), shape
        ).mean(0)
        expected = golden[f"slice{number}_mean"][0]
        assert np.abs(means - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("more", [(0, 0), (13, 6)])
def test_distances_are_those_of_pytorch(backbone, more):
    """At the smallest size, where every rounding of sizes counts, and others."""
    pytest.importorskip("torch")
    name = f"lpips-{backbone}"
    sides = [NETWORKS[name].smallest + extra for extra in more]
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, *sides, 3)).astype(np.float32)
    expected = torch_lpips(file_tensors(name), backbone, a[None], b[None])
    assert np.isclose(lpips(random_network(name))(a, b), expected[0], rtol=TOLERANCE, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_smallest_images(name):
    side = NETWORKS[name].smallest
    image = np.zeros((side - 1, 64, 3), np.float32)
    with pytest.raises(InputError, match=f"{side} pixels a side or more, not {side - 1}x64"):
        lpips(random_network(name))(image, image)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_grey_images_are_repeated():
    grey = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    distance = lpips(random_network("lpips-alex"))
    assert np.isclose(distance(*grey), distance(*np.repeat(grey, 3, axis=-1)), rtol=1e-6)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_refused(channels):
    image = np.zeros((32, 32, channels), np.float32)
    with pytest.raises(InputError, match=f"1 or 3 channels, not {channels}"):
        lpips(random_network("lpips-alex"))(image, image)


def test_layers_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match='did you mean "relu5"'):
        features(random_network("lpips-alex"), layer="relu_5")


def test_the_layers_are_those_that_the_heads_fit():
    for name in NAMES:
        shapes = graph_of(name, "0.1")[1]
        assert sum(path.startswith("heads/") for path in shapes) == len(NETWORKS[name].layers)
