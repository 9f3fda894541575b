"""Whether a card's layers fit each other and their tensors."""

import json
import re
from itertools import pairwise

import pytest
from card_examples import EXAMPLE, PAGE, TENSORS, changed, misfit, row
from hypothesis import given, settings
from hypothesis import strategies as st

from jattr.generators.card import layer_shapes, parse_card, weight_slots

LABEL = {"type": "onehot_linear_concat", "key": "label", "classes": 10}


def test_slots_of_the_example():
    slots = weight_slots(parse_card(EXAMPLE))
    assert {slot.source_key for slot in slots} == set(TENSORS)
    assert [slot.source_key for slot in slots if not slot.optional] == [
        "fc.weight",
        "net.0.running_mean",
        "net.0.running_var",
        "net.2.weight",
        "net.5.weight",
    ]
    assert [slot.layer_index for slot in slots] == [0, 0, 2, 2, 2, 2, 4, 4, 7, 7]


def test_slots_of_conditioning_come_first():
    slots = weight_slots(parse_card(changed(["conditioning"], LABEL)))
    assert [(s.layer_index, s.field, s.source_key, s.optional) for s in slots[:2]] == [
        (None, "weight", "label.weight", False),
        (None, "bias", "label.bias", True),
    ]


def test_shapes_of_the_example():
    shapes = layer_shapes(parse_card(EXAMPLE), TENSORS)
    flat, small, middle, large = (6272,), (128, 7, 7), (32, 14, 14), (32, 28, 28)
    expected = [(64,), flat, small, small, small, middle, middle, large, (1, 28, 28), (1, 28, 28)]
    assert [shapes[0].input, *(shape.output for shape in shapes)] == expected
    assert all(before.output == after.input for before, after in pairwise(shapes))
    table = re.findall(r"^\| (?:\d \w+)? ?\| (\[[\d, ]+\]) \|", PAGE, re.MULTILINE)
    assert [tuple(json.loads(text)) for text in table] == expected


@pytest.mark.parametrize(
    "key", [key for key in TENSORS if key.endswith("bias") and key != "net.0.bias"]
)
def test_bias_may_be_absent(key):
    tensors = {name: shape for name, shape in TENSORS.items() if name != key}
    assert layer_shapes(parse_card(EXAMPLE), tensors)[-1].output == (1, 28, 28)


def test_batch_norm_without_weight_and_bias():
    tensors = {
        name: shape for name, shape in TENSORS.items() if name not in ("net.0.weight", "net.0.bias")
    }
    assert layer_shapes(parse_card(EXAMPLE), tensors)[-1].output == (1, 28, 28)


FLATTEN = {"op": "reshape", "shape": [4, 1, 1]}
END = {"op": "reshape", "shape": [1, 2, 2]}
FITS = {  # layers, tensors, output of the first layer
    "linear after [F, 1, 1]": (
        [FLATTEN, {"op": "linear", "key": "a"}, END],
        {"a.weight": (4, 4)},
        (4, 1, 1),
    ),
    "norm on flat": (
        [{"op": "layer_norm", "key": "a", "eps": 0}, END],
        {"a.weight": (4,), "a.bias": (4,)},
        (4,),
    ),
    "norm without weight": ([{"op": "layer_norm", "key": "a", "eps": 0}, END], {}, (4,)),
    "norm on image": (
        [END, {"op": "layer_norm", "key": "a", "eps": 0}],
        {"a.weight": (1, 2, 2)},
        (1, 2, 2),
    ),
    "pixel norm on flat": ([{"op": "pixel_norm", "eps": 1e-8}, END], {}, (4,)),
    "one slope": ([{"op": "prelu", "key": "a"}, END], {"a.weight": (1,)}, (4,)),
    "slope per feature": ([{"op": "prelu", "key": "a"}, END], {"a.weight": (4,)}, (4,)),
    "slope per channel": (
        [{"op": "reshape", "shape": [2, 2, 1]}, {"op": "prelu", "key": "a"}, END],
        {"a.weight": (2,)},
        (2, 2, 1),
    ),
    "shared weights": (
        [{"op": "linear", "key": "a"}, {"op": "relu"}, {"op": "linear", "key": "a"}, END],
        {"a.weight": (4, 4)},
        (4,),
    ),
    "kernel that is not square": (
        [
            {"op": "reshape", "shape": [1, 1, 4]},
            {"op": "conv_transpose", "key": "a", "stride": 2, "padding": 0, "output_padding": 1},
            {"op": "conv", "key": "b", "stride": 1, "padding": 0, "padding_mode": "zeros"},
        ],
        {"a.weight": (1, 5, 3, 2), "b.weight": (1, 5, 3, 8)},
        (1, 1, 4),
    ),
}


@pytest.mark.parametrize("case", FITS)
def test_layers_that_fit(case):
    layers, tensors, first = FITS[case]
    shapes = layer_shapes(parse_card(row(*layers)), tensors)
    assert (shapes[0].output, shapes[-1].output) == (first, (1, 2, 2))


@pytest.mark.parametrize(
    ("label", "tensors", "width"),
    [
        ({"type": "embed_concat", "key": "e", "classes": 10}, {"e.weight": (10, 3)}, 7),
        ({"type": "onehot_concat", "classes": 10}, {}, 14),
        (
            {"type": "onehot_linear_concat", "key": "e", "classes": 10},
            {"e.weight": (3, 10), "e.bias": (3,)},
            7,
        ),
        ({"type": "embed_multiply", "key": "e", "classes": 10}, {"e.weight": (10, 4)}, 4),
    ],
)
def test_what_a_label_adds(label, tensors, width):
    data = row({"op": "linear", "key": "a"}, END, conditioning=label)
    shapes = layer_shapes(parse_card(data), tensors | {"a.weight": (4, width)})
    assert shapes[0].input == (width,)
    wrong = f"{width} features arrive but the weight [4, 5] takes 5"
    assert (
        misfit(data, tensors | {"a.weight": (4, 5)})
        == f"card 'row': layer 0 (linear, key \"a\"): {wrong}"
    )


CONV = {"op": "conv", "key": "a", "stride": 1, "padding": 0, "padding_mode": "zeros"}
UP = {"op": "conv_transpose", "key": "a", "stride": 2, "padding": 0, "output_padding": 0}
EMBED = {"type": "embed_multiply", "key": "e", "classes": 10}
LINEAR = {"op": "linear", "key": "a"}
LAYER_NORM = {"op": "layer_norm", "key": "a", "eps": 0}
BATCH_NORM = {"op": "batch_norm", "key": "a", "eps": 0}
BIG = {"op": "upsample_nearest", "scale": 64}
MISFITS = {  # layers, tensors, words
    "no weight": ([LINEAR], {"a.bias": (4,)}, '0 (linear, key "a"): there is no tensor "a.weight"'),
    "linear with four axes": ([LINEAR], {"a.weight": (4, 4, 1, 1)}, "it must be [out, in]"),
    "linear bias": ([LINEAR, END], {"a.weight": (4, 4), "a.bias": (3,)}, "bias [3] cannot be used"),
    "linear on image": (
        [END, LINEAR, END],
        {"a.weight": (4, 4)},
        "[1, 2, 2] arrives; put a reshape to [4, 1, 1]",
    ),
    "conv on flat": (
        [CONV],
        {"a.weight": (1, 4, 1, 1)},
        "a flat vector of 4 arrives; put a reshape before it",
    ),
    "conv with two axes": (
        [END, CONV],
        {"a.weight": (1, 4)},
        "it must be [out, in, height, width]",
    ),
    "conv without kernel": (
        [END, CONV],
        {"a.weight": (1, 1, 0, 0)},
        "it must be [out, in, height, width]",
    ),
    "conv channels": ([END, CONV], {"a.weight": (1, 3, 1, 1)}, "but the weight [1, 3, 1, 1] takes"),
    "transposed channels": (
        [END, UP],
        {"a.weight": (3, 1, 1, 1)},
        "but the weight [3, 1, 1, 1] takes",
    ),
    "large kernel": (
        [END, CONV],
        {"a.weight": (1, 1, 3, 3)},
        "[1, 2, 2] arrives, too small for a 3x3 kernel",
    ),
    "upsample flat": ([{"op": "upsample_nearest", "scale": 2}], {}, "a flat vector of 4 arrives"),
    "reshape": (
        [{"op": "reshape", "shape": [1, 2, 3]}],
        {},
        "[4] arrives, 4 numbers, but [1, 2, 3] has 6",
    ),
    "end": ([FLATTEN], {}, "the last layer gives [4, 1, 1] but image_shape is [1, 2, 2]"),
    "flat end": ([{"op": "relu"}], {}, "the last layer gives [4] but image_shape is [1, 2, 2]"),
    "prelu": (
        [END, {"op": "prelu", "key": "a"}],
        {"a.weight": (4,)},
        "the weight is [4]; it must be [1] or [1]",
    ),
    "layer norm over rows": ([END, LAYER_NORM], {"a.weight": (2,)}, "it must be [1, 2, 2]"),
    "half affine": (
        [BATCH_NORM, END],
        {"a.weight": (4,), "a.running_mean": (4,), "a.running_var": (4,)},
        ("belong together but only one is there"),
    ),
    "norm width": (
        [BATCH_NORM, END],
        {"a.running_mean": (4,), "a.running_var": (5,)},
        "running_var [5] cannot be used; each must be [4]",
    ),
    "too wide": ([END, *[BIG] * 2], {}, "[1, 8192, 8192] leaves it; at most 4096"),
    "too much": (
        [
            LINEAR,
            {"op": "reshape", "shape": [65536, 1, 1]},
            BIG,
            {"op": "upsample_nearest", "scale": 2},
        ],
        {"a.weight": (65536, 4)},
        ("[65536, 128, 128] leaves it; at most"),
    ),
    "too flat": ([LINEAR], {"a.weight": (2**28 + 1, 4)}, "[268435457] leaves it; at most"),
    "too many channels": (
        [END, CONV],
        {"a.weight": (65537, 1, 1, 1)},
        "[65537, 2, 2] leaves it; at most 65536",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_layers_that_do_not_fit(case):
    layers, tensors, words = MISFITS[case]
    assert words in misfit(row(*layers), tensors)


@pytest.mark.parametrize(
    ("label", "shape", "words"),
    [
        (EMBED, None, 'conditioning (embed_multiply): there is no tensor "e.weight"'),
        (EMBED, (10, 4, 1), "the weight is [10, 4, 1]; it must have two axes"),
        (EMBED, (9, 4), "the weight [9, 4] is for 9 classes; the card says 10"),
        (EMBED, (10, 3), "the embedding has 3 numbers but the latent 4"),
        (EMBED | {"type": "onehot_linear_concat"}, (10, 3), "is for 3 classes; the card says 10"),
    ],
)
def test_labels_that_do_not_fit(label, shape, words):
    tensors = {} if shape is None else {"e.weight": shape}
    assert words in misfit(row(END, conditioning=label), tensors)


def test_one_message_has_every_misfit_and_each_once():
    tensors = TENSORS | {
        "net.2.weight": (64, 32, 4, 4),
        "net.5.bias": (2,),
        "fc.weight": (6272, 100),
    }
    first, *rest = misfit(EXAMPLE, tensors).splitlines()
    assert first == "card 'digits' has 3 problems:"
    assert [line.split(" (")[0].strip() for line in rest] == ["layer 0", "layer 4", "layer 7"]


def test_the_walk_goes_on_after_an_unknown_shape():
    tensors = {
        name: shape for name, shape in TENSORS.items() if name not in ("fc.weight", "net.5.weight")
    }
    lines = misfit(EXAMPLE, tensors).splitlines()
    assert lines[0].endswith("has 2 problems:")
    assert [re.search('tensor "(.*)"', line)[1] for line in lines[1:]] == [
        "fc.weight",
        "net.5.weight",
    ]


def test_a_norm_without_statistics_keeps_the_shape():
    tensors = {name: shape for name, shape in TENSORS.items() if name != "net.0.running_var"}
    lines = misfit(EXAMPLE, tensors | {"net.2.weight": (64, 32, 4, 4)}).splitlines()
    assert [line.split(" (")[0].strip() for line in lines[1:]] == ["layer 2", "layer 4"]


@settings(deadline=None, max_examples=150, database=None, derandomize=True)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.data())
def test_sides_are_those_of_the_convolution(side, kernel, stride, padding, data):
    """A convolution has one output per window.

    A transposed one gives a side whose windows are those it came from.
    """
    ends = range(kernel, side + 2 * padding + 1, stride)
    conv = CONV | {"stride": stride, "padding": padding}
    if ends:
        assert last_side(conv, side, kernel, expected=len(ends)) == len(ends)
    output_padding = data.draw(st.integers(0, stride - 1))
    grown = (side - 1) * stride - 2 * padding + kernel + output_padding
    if grown > 0:
        up = UP | {"stride": stride, "padding": padding, "output_padding": output_padding}
        assert last_side(up, side, kernel, expected=grown) == grown
        assert last_side(conv, grown, kernel, expected=side) == side


def last_side(layer, side, kernel, *, expected):
    data = row(
        {"op": "reshape", "shape": [1, side, side]},
        layer,
        image_shape=(1, expected, expected),
        dim=side**2,
    )
    return layer_shapes(parse_card(data), {"a.weight": (1, 1, kernel, kernel)})[-1].output[1]
