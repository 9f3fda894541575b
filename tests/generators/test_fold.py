"""Every way of folding layers together against the layers one by one."""

import jax
import numpy as np
import pytest
from card_examples import row
from plain import STEPS, plain_pictures

from converters.layered import convert_layered
from jattr.errors import GeneratorError
from jattr.generators.card import OPTIONS, parse_card
from jattr.generators.fold import fold
from jattr.generators.layered import build

# float32 against float64, activations around 1 in up to 6 layers of up to 100 products
TOLERANCE = 2e-5

LINEAR = {"op": "linear", "key": "a"}
NORM = {"op": "batch_norm", "key": "n", "eps": 1e-5}
STRIDE2 = {"op": "conv_transpose", "key": "t", "stride": 2, "padding": 1, "output_padding": 0}
CONV3 = {"op": "conv", "key": "c", "stride": 1, "padding": 1, "padding_mode": "zeros"}
TANH, RELU = {"op": "tanh"}, {"op": "relu"}


def norm_shapes(channels, key="n"):
    return {f"{key}.{field}": (channels,) for field in ("weight", "bias", "running_mean", "running_var")}


def shape_of(*sides):
    return {"op": "reshape", "shape": list(sides)}


def affine(key, weight, outputs):
    return {f"{key}.weight": weight, f"{key}.bias": (outputs,)}


# name -> layers, picture [C, H, W], shapes of the tensors, steps after folding; the latent has 4 numbers
CASES = {
    "linear, reshape": ([LINEAR, shape_of(3, 2, 2)], (3, 2, 2), affine("a", (12, 4), 12), ["dense", "reshape"]),
    "linear, norm, reshape": (
        [LINEAR, NORM, shape_of(3, 2, 2)], (3, 2, 2), affine("a", (12, 4), 12) | norm_shapes(12), ["dense", "reshape"],
    ),
    "linear, relu, reshape": (
        [LINEAR, RELU, shape_of(3, 2, 2)], (3, 2, 2), affine("a", (12, 4), 12), ["dense", "relu", "reshape"],
    ),
    "linear, reshape, norm": (
        [LINEAR, shape_of(3, 2, 2), NORM], (3, 2, 2), affine("a", (12, 4), 12) | norm_shapes(3), ["dense", "reshape"],
    ),
    "linear, reshape to one channel, norm": (
        [LINEAR, shape_of(1, 3, 4), NORM], (1, 3, 4), affine("a", (12, 4), 12) | norm_shapes(1), ["dense", "reshape"],
    ),
    "linear without bias, norm without affine": (
        [LINEAR, shape_of(3, 2, 2), NORM], (3, 2, 2),
        {"a.weight": (12, 4), "n.running_mean": (3,), "n.running_var": (3,)}, ["dense", "reshape"],
    ),
    "linear, relu, norm, reshape": (
        [LINEAR, RELU, NORM, shape_of(3, 2, 2)], (3, 2, 2), affine("a", (12, 4), 12) | norm_shapes(12),
        ["dense", "relu", "affine", "from_channels_first"],
    ),
    "linear, prelu, reshape": (
        [LINEAR, {"op": "prelu", "key": "p"}, shape_of(3, 2, 2)], (3, 2, 2),
        affine("a", (12, 4), 12) | {"p.weight": (12,)}, ["dense", "prelu", "from_channels_first"],
    ),
    "norm first": ([NORM, shape_of(4, 1, 1)], (4, 1, 1), norm_shapes(4), ["affine", "reshape"]),
    "reshape first": ([shape_of(1, 2, 2)], (1, 2, 2), {"x.weight": (1,)}, ["reshape"]),
    "linear, two reshapes, norm": (
        [LINEAR, shape_of(1, 3, 4), shape_of(12, 1, 1), NORM], (12, 1, 1), affine("a", (12, 4), 12) | norm_shapes(12),
        ["dense", "reshape", "reshape", "affine"],
    ),
    "restack": (
        [LINEAR, shape_of(3, 2, 4), shape_of(2, 4, 3)], (2, 4, 3), affine("a", (24, 4), 24),
        ["dense", "reshape", "restack"],
    ),
    "restack and linear": (
        [LINEAR, shape_of(3, 2, 2), RELU, shape_of(12, 1, 1), {"op": "linear", "key": "b"}, shape_of(2, 3, 1)],
        (2, 3, 1), affine("a", (12, 4), 12) | affine("b", (6, 12), 6),
        ["dense", "reshape", "relu", "restack", "dense", "reshape"],
    ),
    "the same reshape twice": (
        [LINEAR, shape_of(3, 2, 2), shape_of(3, 2, 2)], (3, 2, 2), affine("a", (12, 4), 12), ["dense", "reshape"],
    ),
    "transposed convolution of a pixel": (
        [shape_of(4, 1, 1), {**STRIDE2, "stride": 1, "padding": 0}, NORM, RELU], (5, 4, 4),
        affine("t", (4, 5, 4, 4), 5) | norm_shapes(5), ["reshape", "dense", "reshape", "relu"],
    ),
    "transposed convolution of a pixel, cut": (
        [shape_of(4, 1, 1), STRIDE2], (5, 2, 2), affine("t", (4, 5, 4, 4), 5), ["reshape", "dense", "reshape"],
    ),
    "transposed convolution of a pixel, with output padding": (
        [shape_of(4, 1, 1), {**STRIDE2, "padding": 0, "output_padding": 1}], (5, 3, 4), affine("t", (4, 5, 2, 3), 5),
        ["reshape", "dense", "reshape"],
    ),
    "transposed convolution, norm": (
        [LINEAR, shape_of(3, 2, 2), STRIDE2, NORM, TANH], (5, 4, 4),
        affine("a", (12, 4), 12) | {"t.weight": (3, 5, 4, 4)} | norm_shapes(5),
        ["dense", "reshape", "conv_transpose", "tanh"],
    ),
    "convolution, norm": (
        [LINEAR, shape_of(3, 4, 3), CONV3, NORM], (2, 4, 3),
        affine("a", (36, 4), 36) | affine("c", (2, 3, 3, 3), 2) | norm_shapes(2), ["dense", "reshape", "conv"],
    ),
    "convolution with replicated border and stride": (
        [LINEAR, shape_of(3, 5, 4), {**CONV3, "stride": 2, "padding_mode": "replicate"}], (2, 3, 2),
        affine("a", (60, 4), 60) | affine("c", (2, 3, 3, 3), 2), ["dense", "reshape", "conv"],
    ),
    "upsampling into a convolution": (
        [LINEAR, shape_of(3, 2, 3), {"op": "upsample_nearest", "scale": 2}, CONV3, NORM, TANH], (2, 4, 6),
        affine("a", (18, 4), 18) | affine("c", (2, 3, 3, 3), 2) | norm_shapes(2),
        ["dense", "reshape", "conv_transpose", "tanh"],
    ),
    "upsampling by 3 stays": (
        [LINEAR, shape_of(3, 2, 2), {"op": "upsample_nearest", "scale": 3}, CONV3], (2, 6, 6),
        affine("a", (12, 4), 12) | affine("c", (2, 3, 3, 3), 2), ["dense", "reshape", "upsample_nearest", "conv"],
    ),
    "upsampling before a replicated border stays": (
        [LINEAR, shape_of(3, 2, 2), {"op": "upsample_nearest", "scale": 2}, {**CONV3, "padding_mode": "replicate"}],
        (2, 4, 4), affine("a", (12, 4), 12) | affine("c", (2, 3, 3, 3), 2),
        ["dense", "reshape", "upsample_nearest", "conv"],
    ),
    "norm after a nonlinearity": (
        [LINEAR, shape_of(3, 2, 2), {"op": "leaky_relu", "slope": 0.1}, NORM], (3, 2, 2),
        affine("a", (12, 4), 12) | norm_shapes(3), ["dense", "reshape", "leaky_relu", "affine"],
    ),
    "prelu of channels": (
        [LINEAR, shape_of(3, 2, 2), {"op": "prelu", "key": "p"}], (3, 2, 2),
        affine("a", (12, 4), 12) | {"p.weight": (3,)}, ["dense", "reshape", "prelu"],
    ),
    "prelu of one slope": (
        [LINEAR, {"op": "prelu", "key": "p"}, shape_of(3, 2, 2)], (3, 2, 2),
        affine("a", (12, 4), 12) | {"p.weight": (1,)}, ["dense", "prelu", "from_channels_first"],
    ),
    "layer norm of pictures": (
        [LINEAR, shape_of(3, 2, 4), {"op": "layer_norm", "key": "l", "eps": 1e-3}], (3, 2, 4),
        affine("a", (24, 4), 24) | {"l.weight": (3, 2, 4), "l.bias": (3, 2, 4)}, ["dense", "reshape", "layer_norm"],
    ),
    "layer norm of features": (
        [LINEAR, {"op": "layer_norm", "key": "l", "eps": 1e-5}, shape_of(3, 2, 2)], (3, 2, 2),
        affine("a", (12, 4), 12) | {"l.weight": (12,), "l.bias": (12,)}, ["dense", "layer_norm", "from_channels_first"],
    ),
    "layer norm without weights": (
        [LINEAR, shape_of(3, 2, 2), {"op": "layer_norm", "key": "l", "eps": 1e-5}], (3, 2, 2),
        affine("a", (12, 4), 12), ["dense", "reshape", "layer_norm"],
    ),
    "pixel norm, sigmoid": (
        [{"op": "pixel_norm", "eps": 1e-8}, LINEAR, shape_of(3, 2, 2), {"op": "pixel_norm", "eps": 1e-2},
         {"op": "sigmoid"}], (3, 2, 2), affine("a", (12, 4), 12),
        ["pixel_norm", "dense", "reshape", "pixel_norm", "sigmoid"],
    ),
    "dropout is off": (
        [{"op": "dropout", "p": 0.5}, LINEAR, {"op": "dropout", "p": 0.2}, NORM, shape_of(3, 2, 2)], (3, 2, 2),
        affine("a", (12, 4), 12) | norm_shapes(12), ["dense", "reshape"],
    ),
}  # fmt: skip
CONDITIONS = {  # type -> shapes of its tensors for 3 classes, and what then enters the first layer (latent: 4)
    "onehot_concat": ({}, 7),
    "onehot_linear_concat": ({"e.weight": (5, 3), "e.bias": (5,)}, 9),
    "embed_concat": ({"e.weight": (3, 2)}, 6),
    "embed_multiply": ({"e.weight": (3, 4)}, 4),
}


def weights(shapes):
    rng = np.random.default_rng(3)
    state = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    return {key: np.abs(a) + np.float32(0.1) if key.endswith("running_var") else a for key, a in state.items()}


def compare(data, shapes, label=None):
    """Compare the folded with the plain pictures; return the kinds of the steps."""
    card, state = parse_card(data), weights(shapes)
    params = convert_layered(card, state)
    apply, arrays = build(card, params)
    z = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    pictures = jax.jit(apply)(arrays, z, label=label)
    channels, height, width = card.image_shape
    assert pictures.shape == (5, height, width, channels)
    assert np.abs(pictures - plain_pictures(card, state, z, label)).max() <= TOLERANCE
    return [step.kind for step in fold(card, params)[0]]


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
    data = row(LINEAR, shape_of(3, 2, 2), image_shape=(3, 2, 2)) | {"value_range": list(value_range)}
    compare(data, affine("a", (12, 4), 12))


def test_every_operation_is_folded_in_some_case():
    assert {layer["op"] for layers, *_ in CASES.values() for layer in layers} == set(OPTIONS) == set(STEPS)


@pytest.mark.parametrize(
    ("key", "value", "words"), [("n.running_var", -1.0, "running variance is -1"), ("n.weight", 3e38, "exceed float32")]
)
def test_normalisation_that_cannot_be_folded_is_an_error(key, value, words):
    layers, image_shape, shapes, _ = CASES["linear, norm, reshape"]
    card, state = parse_card(row(*layers, image_shape=image_shape)), weights(shapes)
    state[key][2] = value
    if key == "n.weight":
        state["a.weight"][2] = 1e3
    with pytest.raises(GeneratorError, match=words):
        build(card, convert_layered(card, state))
