"""Inception v3, both variants: the reference's activations, and those of PyTorch modules of our
own.
"""

import jax
import numpy as np
import pytest
from feature_files import file_tensors, random_network
from flax import nnx
from torch_networks import torch_inception

from jattr.distances import features, lpips
from jattr.distances.inception import CLASSES, LAYERS
from jattr.distances.networks import graph_of
from jattr.errors import InputError

# of the layer's largest; float32 sums of up to 3456 products in another order, through 48 layers
TOLERANCE = 1e-4


def activations(network, images):
    graphdef, _ = graph_of(network.architecture, network.variant)
    found = jax.jit(lambda state, x: nnx.merge(graphdef, state)(x, LAYERS))(network.state, images)
    return dict(zip(LAYERS, map(np.float64, found), strict=True))


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * max(np.abs(expected).max(), 1e-6)


@pytest.mark.slow
def test_activations_are_those_of_the_reference(golden_network, reference):
    golden = np.load(reference / "golden" / "inception_v3" / "golden.npz")
    x = np.random.RandomState(0).uniform(-1, 1, (2, 3, 299, 299)).astype(np.float32)
    network = golden_network("inception_v3")
    assert network.variant == "torchvision"
    found = activations(network, x.transpose(0, 2, 3, 1))
    assert_close(found["logits"][:, 0, 0], golden["logits"])
    layers = [name.removeprefix("mean_") for name in golden.files if name.startswith("mean_")]
    assert len(layers) >= 10
    for layer in layers:
        assert_close(found[layer].mean((1, 2)), golden[f"mean_{layer}"])
        assert_close(found[layer].std((1, 2)), golden[f"std_{layer}"])
        assert_close(found[layer].transpose(0, 3, 1, 2)[:, :8, :4, :4], golden[f"corner_{layer}"])
    distance = features(network)
    a, b = x.transpose(0, 2, 3, 1)
    assert np.isclose(
        distance(a, b), np.square(np.subtract(*found["Mixed_7a"])).mean(), rtol=TOLERANCE
    )


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("variant", CLASSES)
def test_activations_are_those_of_pytorch(variant):
    pytest.importorskip("torch")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 91, 107, 3)).astype(np.float32)
    expected = torch_inception(file_tensors("inception-v3", variant), images, fid=variant == "fid")
    found = activations(random_network("inception-v3", variant), images)
    assert list(expected) == list(LAYERS)
    for layer in LAYERS:
        assert_close(found[layer], expected[layer])


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_images_are_resized():
    network = random_network("inception-v3")
    distance = features(network, layer="Conv2d_1a_3x3")
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 16, 20, 3)).astype(np.float32)
    assert distance.apply(distance.state, a, b).size == 149 * 149 * 32
    assert np.isfinite(jax.grad(distance)(a, b)).all()


def test_it_is_no_lpips():
    with pytest.raises(InputError, match="inception-v3, which has no heads"):
        lpips(random_network("inception-v3"))
