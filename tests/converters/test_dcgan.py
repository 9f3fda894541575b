"""PyTorch's DCGAN example without a card.

Recognised, converted, and compared with the images that it makes.
"""

import re

import numpy as np
import pytest
import safetensors.numpy
from dcgan_files import discriminator_state, generator_state
from jattr.converters.convert import convert
from jattr.converters.dcgan import card_of
from jattr.converters.layered import convert_layered
from jattr.converters.rules import UnfitError
from jattr.converters.torch_file import find_state_dict, read_checkpoint

from jattr.errors import ConversionError
from jattr.generators.store import make_generator

# of a value range of 2: float32 sums of up to 2048 products in another order, through 5 layers
TOLERANCE = 2e-5


@pytest.mark.parametrize("file", ["state_dict.pth", "state_dict_legacy.pth"])
def test_images_are_those_of_the_reference(reference, file):
    folder = reference / "golden" / "dcgan_64"
    tensors = find_state_dict(read_checkpoint(folder / file))
    card = card_of(tensors)
    assert (card.latent.dim, card.image_shape) == (100, (3, 64, 64))
    generator = make_generator(card, convert_layered(card, tensors))
    with np.load(folder / "golden.npz") as golden:
        images = generator.generate(golden["z"].reshape(-1, 100))
        assert np.abs(images - golden["images"].transpose(0, 2, 3, 1)).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("nz", "widths", "image_shape"),
    [(5, (8, 4, 3), (3, 16, 16)), (1, (2, 1), (1, 8, 8)), (7, (6, 6, 5, 2, 2, 4), (4, 128, 128))],
)
def test_all_sizes_are_read_from_the_tensors(nz, widths, image_shape):
    state = generator_state(nz, widths)
    card = card_of(state)
    assert (card.latent.dim, card.image_shape, card.value_range) == (nz, image_shape, (-1.0, 1.0))
    assert [layer.op for layer in card.layers[-2:]] == ["conv_transpose", "tanh"]
    generator = make_generator(card, convert_layered(card, state))
    assert generator.image_shape == (*image_shape[1:], image_shape[0])


def test_names_of_data_parallel_and_files_without_counters_are_read():
    state = generator_state()
    prefixed = {f"module.{name}": array for name, array in state.items()}
    old = {name: array for name, array in state.items() if "tracked" not in name}
    assert card_of(prefixed) == card_of(old) == card_of(state)
    convert_layered(card_of(prefixed), prefixed)


def test_a_discriminator_is_told_apart():
    with pytest.raises(
        UnfitError, match=r"a DCGAN's discriminator: no BatchNorm .*\[4, 3, 4, 4\].*netG"
    ):
        card_of(discriminator_state())


def missing(state):
    del state["main.4.running_var"]


def biased(state):
    state["main.3.bias"] = np.ones(4, np.float32)


def other_kernel(state):
    state["main.6.weight"] = np.ones((4, 3, 5, 5), np.float32)


def not_chained(state):
    state["main.3.weight"] = np.ones((7, 4, 4, 4), np.float32)


def flat(state):
    state["main.3.weight"] = np.ones((8, 4), np.float32)


def left_over(state):
    state["netD.main.0.weight"] = np.ones((2, 3, 4, 4), np.float32)


def one_layer(state):
    del state["main.3.weight"]


def many_layers(state):
    state |= generator_state(widths=(2,) * 11)


def other(state):
    del state["main.0.weight"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, "no main.4.running_var"),
        (biased, '"main.3.bias" is none of its tensors (its convolutions have no bias)'),
        (other_kernel, "main.6.weight has the shape [4, 3, 5, 5], not [4, 3, 4, 4]"),
        (not_chained, "main.3.weight has the shape [7, 4, 4, 4], not [8, 4, 4, 4]"),
        (flat, "main.3.weight has the shape [8, 4], not [in, out, 4, 4]"),
        (left_over, '"netD.main.0.weight" is none of its tensors'),
        (one_layer, "1 convolutions main.0, main.3"),
        (many_layers, "11 convolutions"),
        (other, "no main.0.weight"),
    ],
)
def test_other_networks_are_refused(spoil, words):
    state = generator_state()
    spoil(state)
    with pytest.raises(UnfitError, match=re.escape(words)):
        card_of(state)


def test_sizes_beyond_a_card_are_refused():
    with pytest.raises(UnfitError, match="latent"):
        card_of(generator_state() | {"main.0.weight": np.zeros((70000, 8, 4, 4), np.float32)})


def test_the_size_of_its_images_is_fixed(tmp_path):
    file = tmp_path / "dcgan.safetensors"
    safetensors.numpy.save_file(generator_state(), file)
    with pytest.raises(ConversionError, match="makes images of 16x16 only; omit --image-size"):
        convert(file, tmp_path / "out", image_size=(32, 32))
