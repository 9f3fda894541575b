"""StyleGAN2's discriminator: activations of PyTorch modules of our own, its texts, and what it
refuses.
"""

import jax
import numpy as np
import pytest
from feature_files import random_network, stored_tensors
from flax import nnx
from jattr.converters.convert import convert
from torch_discriminators import (
    nvlabs_activations,
    nvlabs_tensors,
    rosinality_activations,
    rosinality_tensors,
)

from jattr.distances import features, load_distance, load_features
from jattr.distances.discriminator import parse
from jattr.distances.feature_folder import make_card, save_features
from jattr.distances.networks import graph_of, make_network, network_of
from jattr.errors import InputError

NAME = "stylegan2-discriminator"
# of the layer's largest; float32 sums of up to 216 products in another order, through 9 layers
TOLERANCE = 1e-5
CASES = {
    "resnet": {"widths": (6, 8, 10, 12)},
    "resnet with clamp": {"widths": (6, 8, 10, 12), "clamp": 0.5},
    "resnet with classes": {"widths": (6, 9), "classes": 3},
    "skip": {"widths": (6, 8, 10, 12), "form": "skip"},
    "skip, grey, with clamp": {
        "widths": (5, 7, 24),
        "form": "skip",
        "clamp": 0.25,
        "image_channels": 1,
    },
    "orig, RGBA": {"widths": (6, 8, 10), "form": "orig", "image_channels": 4},
    "1024 pixels": {"widths": (2, 2, 2, 2, 2, 3, 4, 5, 6)},
    "rosinality": {"widths": (6, 8, 10, 12)},
}


def made(case):
    """(key in the checkpoint, tensors of the discriminator, its activations as a function of
    images and clamp).
    """
    options = dict(CASES[case])
    if case == "rosinality":
        tensors = rosinality_tensors(**options)
        return "d", tensors, lambda images, clamp: rosinality_activations(tensors, images)
    options.pop("clamp", None)
    tensors, form = nvlabs_tensors(**options), options.get("form", "resnet")
    return (
        "D",
        tensors,
        lambda images, clamp: nvlabs_activations(tensors, images, form=form, clamp=clamp),
    )


def activations(network, images, layers):
    graphdef, _ = graph_of(network.architecture, network.variant)
    found = jax.jit(lambda state, x: nnx.merge(graphdef, state)(x, layers))(network.state, images)
    return dict(zip(layers, found, strict=True))


def with_clamp(network, clamp):
    """The same network with a clamp, which only pickles of modules tell."""
    card = make_card(
        name="d", architecture=NAME, variant=f"{network.variant} clamp {clamp:g}", source={}
    )
    leaves = nnx.to_flat_state(network.state)
    return make_network(
        card, {"/".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in leaves}
    )


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_activations_are_those_of_pytorch(case, tmp_path):
    torch = pytest.importorskip("torch")
    key, tensors, expected_of = made(case)
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    torch.save({key: state}, tmp_path / "checkpoint.pt")
    convert(tmp_path / "checkpoint.pt", tmp_path / "out", arch=NAME)
    network, clamp = load_features(tmp_path / "out"), CASES[case].get("clamp")
    network = with_clamp(network, clamp) if clamp else network
    variant = parse(network.variant)
    assert (variant.widths, variant.clamp) == (CASES[case]["widths"], clamp)
    shape = (2, variant.side, variant.side, variant.image_channels)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    expected = expected_of(images, clamp)
    assert tuple(expected) == variant.layers
    found = activations(network, images, variant.layers)
    for layer, values in expected.items():
        assert found[layer].shape == values.shape
        error = TOLERANCE * np.abs(values).max()
        assert np.abs(found[layer] - values).max() <= error
        if len(variant.widths) < 4:  # a layer alone: one more program for each
            assert np.abs(activations(network, images, (layer,))[layer] - values).max() <= error
    if clamp:  # and it is reached
        assert np.abs(expected_of(images, None)["b4"] - expected["b4"]).max() > 0.01


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_the_distance_is_of_one_layer(tmp_path):
    network = random_network(NAME)
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    layers = network_of(NAME, network.variant).layers
    assert layers == ("b32", "b16", "b8", "b4")
    found = activations(network, np.stack([a, b]), layers)
    save_features(tmp_path / "d", network.card, stored_tensors(NAME))
    for layer in layers:
        distance = load_distance(f"{tmp_path / 'd'}:{layer}")
        assert np.isclose(distance(a, b), np.square(np.subtract(*found[layer])).mean(), rtol=1e-5)
    assert (
        load_distance(str(tmp_path / "d")).digest
        == features(network, layer="b4").digest
        == features(network).digest
    )
    assert load_distance(f"l2+{tmp_path / 'd'}:b16*0.5")(a, b) > 0


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_grey_images_are_repeated():
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    distance = features(random_network(NAME))
    assert np.isclose(distance(a, b), distance(a.repeat(3, 2), b.repeat(3, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("variant", "shape", "text"),
    [
        (
            "resnet 3-6-8-10-12",
            (64, 64, 3),
            "takes images of 32x32 pixels.*not 64x64; use another distance",
        ),
        ("resnet 3-6-8-10-12", (32, 16, 3), "not 32x16"),
        ("resnet 3-6-8-10-12", (32, 32, 4), "of 1 or 3 channels, not 4; drop an alpha channel"),
        ("resnet 1-6-8", (8, 8, 3), "of 1 channels, not 3; use a distance of pixels"),
        ("resnet 4-6-8", (8, 8, 3), "of 4 channels, not 3"),
    ],
)
def test_images_that_are_refused(variant, shape, text):
    distance = features(random_network(NAME, variant))
    with pytest.raises(InputError, match=text) as caught:
        distance(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_not_there():
    with pytest.raises(InputError, match="has no layer 'relu1'; legal: b32, b16, b8, b4"):
        features(random_network(NAME), layer="relu1")


@pytest.mark.parametrize(
    "text", ["resnet 3-16-32", "skip 1-8-4-2 clamp 256", "orig 4-1-1-1-1-1-1-1-1-8192 clamp 0.5"]
)
def test_texts_of_variants(text):
    variant = parse(text)
    assert str(variant) == text
    assert (len(variant.layers), variant.layers[-1]) == (len(variant.widths), "b4")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("resnet 3-16", "it must be FORM CHANNELS-WIDTH-...-WIDTH"),
        ("resnet 3" + 10 * "-16", "it must be FORM"),
        ("dense 3-16-16", "it must be FORM"),
        ("resnet 3-16-16 clamp nan", "it must be FORM"),
        ("resnet 3-16-16 clamp .", "it must be FORM"),
        ("resnet 3-16-0", "widths 1 to 8192"),
        ("resnet 3-16-9999", "widths 1 to 8192"),
        ("resnet 3-16-16384", "it must be FORM"),
        ("resnet 2-16-16", "channels must be 1, 3 or 4"),
        ("resnet 3-16-16 clamp 0", "clamp is 0.0; it must be above 0"),
        ("resnet 3-16-16 clamp 1e999", "clamp is inf"),
        ("resnet 3-016-16", 'it must be written "resnet 3-16-16"'),
        ("resnet 3-16-16 clamp 256.0", 'it must be written "resnet 3-16-16 clamp 256"'),
        ("resnet 3-1٣-16", "it must be FORM"),
        ("", "it must be FORM"),
        (None, "variant is null"),
        (["resnet 3-16-16"], "it must be FORM"),
    ],
)
def test_texts_that_are_refused(text, reason, tmp_path):
    with pytest.raises(InputError, match="variant is") as caught:
        parse(text)
    assert reason in str(caught.value)
    card = make_card(name="d", architecture=NAME, variant=text, source={})
    with pytest.raises(InputError, match=r"card\.json: variant is"):
        save_features(tmp_path / "out", card, {})


def test_tensors_of_other_widths_are_refused(tmp_path):
    card = make_card(name="d", architecture=NAME, variant="resnet 3-6-8-10-14", source={})
    with pytest.raises(
        InputError, match=r"blocks/2/conv1/bias has the shape \[12\]; it must be \[14\]"
    ):
        save_features(tmp_path / "out", card, stored_tensors(NAME))
