"""Every way of folding layers together against the layers one by one."""

import jax
import numpy as np
import pytest
from card_examples import row
from fold_cases import CASES, CONDITIONS, LINEAR, affine, shape_of
from jattr.converters.layered import convert_layered
from plain import STEPS, plain_images

from jattr.errors import GeneratorError
from jattr.generators.card import OPTIONS, parse_card
from jattr.generators.fold import fold
from jattr.generators.layered import build

# float32 against float64, activations around 1 in up to 6 layers of up to 100 products
TOLERANCE = 2e-5


def weights(shapes):
    rng = np.random.default_rng(3)
    state = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    return {
        key: np.abs(a) + np.float32(0.1) if key.endswith("running_var") else a
        for key, a in state.items()
    }


def compare(data, shapes, label=None):
    """Compare the folded with the plain images; return the kinds of the steps."""
    card, state = parse_card(data), weights(shapes)
    params = convert_layered(card, state)
    apply, arrays, _ = build(card, params)
    z = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    images = jax.jit(apply)(arrays, z, label=label)
    channels, height, width = card.image_shape
    assert images.shape == (5, height, width, channels)
    assert np.abs(images - plain_images(card, state, z, label)).max() <= TOLERANCE
    return [step.kind for step in fold(card, params)[0]]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_folding_keeps_the_function(case):
    layers, image_shape, shapes, steps = CASES[case]
    data = row(*layers, image_shape=image_shape) | {"ignore": ["x."]}
    assert compare(data, shapes) == steps


@pytest.mark.parametrize("kind", CONDITIONS)
def test_labels_enter_as_the_card_says(kind):
    shapes, inputs = CONDITIONS[kind]
    conditioning = {"type": kind, "classes": 3} | ({} if kind == "onehot_concat" else {"key": "e"})
    data = row(LINEAR, shape_of(3, 2, 2), conditioning=conditioning, image_shape=(3, 2, 2))
    compare(data, shapes | affine("a", (12, inputs), 12), np.array([0, 1, 2, 2, 0], np.int32))


@pytest.mark.parametrize("value_range", [(0, 1), (-0.5, 2), (-1, 1)])
def test_the_value_range_becomes_minus_one_to_one(value_range):
    data = row(LINEAR, shape_of(3, 2, 2), image_shape=(3, 2, 2)) | {
        "value_range": list(value_range)
    }
    compare(data, affine("a", (12, 4), 12))


def test_every_operation_is_folded_in_some_case():
    assert (
        {layer["op"] for layers, *_ in CASES.values() for layer in layers}
        == set(OPTIONS)
        == set(STEPS)
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("n.running_var", -1.0, "running variance is -1"), ("n.weight", 3e38, "exceed float32")],
)
def test_normalisation_that_cannot_be_folded_is_an_error(key, value, words):
    layers, image_shape, shapes, _ = CASES["linear, norm, reshape"]
    card, state = parse_card(row(*layers, image_shape=image_shape)), weights(shapes)
    state[key][2] = value
    if key == "n.weight":
        state["a.weight"][2] = 1e3
    with pytest.raises(GeneratorError, match=words):
        build(card, convert_layered(card, state))
