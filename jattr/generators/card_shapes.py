"""Which tensors a card needs, and whether they and its layers fit together.

Shapes are PyTorch's: linear [out, in], conv [out, in, kh, kw], conv_transpose [in, out, kh, kw],
embedding [classes, width]; activations are (F,) before a reshape and (C, H, W) after it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from jattr.generators.card_fields import Card, Layer
from jattr.generators.card_problems import card_error

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = dict[str, Shape]  # the weights of one layer: field -> shape

MAX_SIDE = 4096  # pixels
MAX_CHANNELS = 65_536
MAX_ELEMENTS = 1 << 28  # numbers between two layers, 1 GiB in float32

_AFFINE = (("weight", False), ("bias", True))
# op or conditioning type -> (field, may be absent)
TENSOR_FIELDS: dict[str, tuple[tuple[str, bool], ...]] = {
    "linear": _AFFINE,
    "conv": _AFFINE,
    "conv_transpose": _AFFINE,
    "batch_norm": (
        ("weight", True),
        ("bias", True),
        ("running_mean", False),
        ("running_var", False),
    ),
    "layer_norm": (("weight", True), ("bias", True)),
    "prelu": (("weight", False),),
    "embed_concat": (("weight", False),),
    "embed_multiply": (("weight", False),),
    "onehot_linear_concat": _AFFINE,
}


@dataclass(frozen=True)
class Slot:
    """One tensor that a card asks a state dict for."""

    layer_index: int | None  # None: the conditioning's
    field: str  # "weight", "bias", "running_mean" or "running_var"
    source_key: str  # its key in the state dict
    optional: bool  # may be absent: bias=False, affine=False


@dataclass(frozen=True)
class LayerShape:
    """The shapes of one image's activations around a layer: (F,) or (C, H, W)."""

    input: Shape
    output: Shape


def weight_slots(card: Card) -> list[Slot]:
    """Return the tensors that the card needs.

    The conditioning's first, then in the order of the layers.
    """
    owners: list[tuple[int | None, str, str | None]] = [
        (layer.index, layer.op, layer.key) for layer in card.layers
    ]
    if card.conditioning is not None:
        owners.insert(0, (None, card.conditioning.type, card.conditioning.key))
    return [
        Slot(index, field, f"{key}.{field}", optional)
        for index, op, key in owners
        for field, optional in TENSOR_FIELDS.get(op, ())
    ]


def layer_shapes(card: Card, weight_shapes: Mapping[str, Shape]) -> tuple[LayerShape, ...]:
    """Return the shapes before and after every layer.

    Given the shapes of the tensors by state-dict key.

    Raises:
      CardError: a tensor is missing or of the wrong shape, a layer cannot follow the one before it,
        the end is not `image_shape`, or something is too large; the message lists every problem
        that can be told.
    """
    activations, problems = _walk(card, weight_shapes)
    if problems:
        raise card_error(card.name, problems)
    # all of them, since nothing is wrong
    shapes = [shape for shape in activations if shape is not None]
    return tuple(LayerShape(before, after) for before, after in pairwise(shapes))


def shape_problems(card: Card, weight_shapes: Mapping[str, Shape]) -> list[str]:
    """Return what `layer_shapes` would raise, one line each."""
    return _walk(card, weight_shapes)[1]


def _walk(card: Card, weight_shapes: Mapping[str, Shape]) -> tuple[list[Shape | None], list[str]]:
    """Return the shapes from the latent to the image, and every problem.

    A shape is None where a problem hides it.
    """
    weights: dict[int | None, Shapes] = {}
    for slot in weight_slots(card):
        if slot.source_key in weight_shapes:
            weights.setdefault(slot.layer_index, {})[slot.field] = tuple(
                weight_shapes[slot.source_key]
            )
    latent, problems = _condition(card, weights.get(None, {}))
    activations = [latent]
    for layer in card.layers:
        output, wrong = _step(layer, activations[-1], weights.get(layer.index, {}))
        activations.append(output)
        problems += [f"{layer.label}: {problem}" for problem in wrong]
    if activations[-1] is not None and activations[-1] != card.image_shape:
        problems.append(
            f"the last layer gives {_show(activations[-1])} but image_shape is"
            f" {_show(card.image_shape)}; correct it, or end with a reshape"
        )
    return activations, problems


def _condition(card: Card, weights: Shapes) -> tuple[Shape | None, list[str]]:
    """Return the shape that enters the first layer: z and what the label adds."""
    label, dim = card.conditioning, card.latent.dim
    if label is None:
        return (dim,), []
    title = f"conditioning ({label.type})"
    if label.type == "onehot_concat":
        return (dim + label.classes,), []
    weight = weights.get("weight")
    if weight is None:
        return None, [f'{title}: there is no tensor "{label.key}.weight"; correct the key']
    if len(weight) != 2 or min(weight) < 1:
        return None, [f"{title}: the weight is {_show(weight)}; it must have two axes"]
    classes, width = weight[::-1] if label.type == "onehot_linear_concat" else weight
    problems = []
    if classes != label.classes:
        problems.append(
            f"{title}: the weight {_show(weight)} is for {classes} classes; the card says"
            f" {label.classes}"
        )
    if label.type == "embed_multiply" and width != dim:
        problems.append(
            f"{title}: the embedding has {width} numbers but the latent {dim}; they must agree"
        )
    if label.type == "onehot_linear_concat":
        problems += [
            f"{title}: {problem}" for problem in _vector_problems(weights, ("bias",), width)
        ]
    return (dim if label.type == "embed_multiply" else dim + width,), problems


def _step(layer: Layer, shape: Shape | None, weights: Shapes) -> tuple[Shape | None, list[str]]:
    """Return what leaves a layer, None if that cannot be told, and what is wrong with it."""
    missing = [
        field
        for field, optional in TENSOR_FIELDS.get(layer.op, ())
        if not optional and field not in weights
    ]
    if missing:
        same = shape if layer.op in ("batch_norm", "prelu") else None
        return same, [
            f'there is no tensor "{layer.key}.{field}"; correct the key' for field in missing
        ]
    if shape is None and layer.op not in ("linear", "reshape"):  # these two alone need not know it
        return None, []
    output, problems = RULES[layer.op](layer, shape or (), weights)
    if output is not None and (too_large := _size_problem(output)):
        return None, [*problems, too_large]
    return output, problems


def _linear(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    weight = weights["weight"]
    if len(weight) != 2 or min(weight) < 1:
        return None, [f"the weight is {_show(weight)}; it must be [out, in]"]
    problems = _vector_problems(weights, ("bias",), weight[0])
    if len(shape) == 3 and shape[1:] != (1, 1):
        problems.append(
            f"{_show(shape)} arrives; put a reshape to [{math.prod(shape)}, 1, 1] before it"
        )
    elif shape and shape[0] != weight[1]:
        problems.append(
            f"{shape[0]} features arrive but the weight {_show(weight)} takes {weight[1]}"
        )
    return (weight[0],), problems


def _convolution(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    weight, transposed = weights["weight"], layer.op == "conv_transpose"
    if len(weight) != 4 or min(weight) < 1:
        order = "[in, out, height, width]" if transposed else "[out, in, height, width]"
        return None, [f"the weight is {_show(weight)}; it must be {order}"]
    takes, gives = weight[:2] if transposed else weight[1::-1]
    problems = _vector_problems(weights, ("bias",), gives)
    if len(shape) != 3:
        return None, [*problems, f"a flat vector of {shape[0]} arrives; put a reshape before it"]
    if shape[0] != takes:
        problems.append(
            f"{shape[0]} input channels arrive but the weight {_show(weight)} takes {takes}"
        )
    grow = _transposed_side if transposed else _side
    output = (gives, grow(layer, shape[1], weight[2]), grow(layer, shape[2], weight[3]))
    if min(output) < 1:
        return None, [
            *problems,
            f"{_show(shape)} arrives, too small for a {weight[2]}x{weight[3]} kernel here",
        ]
    return output, problems


def _side(layer: Layer, side: int, kernel: int) -> int:
    return (side + 2 * layer.padding - kernel) // layer.stride + 1


def _transposed_side(layer: Layer, side: int, kernel: int) -> int:
    return (side - 1) * layer.stride - 2 * layer.padding + kernel + layer.output_padding


def _batch_norm(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    problems = _vector_problems(
        weights, ("weight", "bias", "running_mean", "running_var"), shape[0]
    )
    if ("weight" in weights) != ("bias" in weights):
        problems.append(
            f'"{layer.key}.weight" and "{layer.key}.bias" belong together but only one is there'
        )
    return shape, problems


def _layer_norm(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    return shape, [
        f"the {field} is {_show(weights[field])}; it must be {_show(shape)}, all that arrives"
        for field in ("weight", "bias")
        if field in weights and weights[field] != shape
    ]


def _prelu(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    if weights["weight"] in ((1,), shape[:1]):
        return shape, []
    return shape, [f"the weight is {_show(weights['weight'])}; it must be [1] or [{shape[0]}]"]


def _upsample(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    if len(shape) != 3:
        return None, [f"a flat vector of {shape[0]} arrives; put a reshape before it"]
    return (shape[0], shape[1] * layer.scale, shape[2] * layer.scale), []


def _reshape(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    if not shape or math.prod(shape) == math.prod(layer.shape):
        return layer.shape, []
    return layer.shape, [
        (
            f"{_show(shape)} arrives, {math.prod(shape)} numbers, but {_show(layer.shape)} has"
            f" {math.prod(layer.shape)}"
        )
    ]


def _unchanged(layer: Layer, shape: Shape, weights: Shapes) -> tuple[Shape | None, list[str]]:
    return shape, []


RULES: dict[str, Callable[[Layer, Shape, Shapes], tuple[Shape | None, list[str]]]] = {
    "linear": _linear,
    "conv": _convolution,
    "conv_transpose": _convolution,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "pixel_norm": _unchanged,
    "relu": _unchanged,
    "leaky_relu": _unchanged,
    "prelu": _prelu,
    "tanh": _unchanged,
    "sigmoid": _unchanged,
    "upsample_nearest": _upsample,
    "dropout": _unchanged,
    "reshape": _reshape,
}


def _vector_problems(weights: Shapes, fields: Iterable[str], width: int) -> list[str]:
    wrong = [
        f"{field} {_show(weights[field])}"
        for field in fields
        if weights.get(field, (width,)) != (width,)
    ]
    return [f"{', '.join(wrong)} cannot be used; each must be [{width}]"] if wrong else []


def _size_problem(shape: Shape) -> str:
    if math.prod(shape) > MAX_ELEMENTS or shape[0] > (
        MAX_CHANNELS if len(shape) == 3 else MAX_ELEMENTS
    ):
        return (
            f"{_show(shape)} leaves it; at most {MAX_CHANNELS} channels and {MAX_ELEMENTS} numbers"
            " may"
        )
    if max(shape[1:], default=0) > MAX_SIDE:
        return f"{_show(shape)} leaves it; at most {MAX_SIDE} pixels of height and width may"
    return ""


def _show(shape: Shape | None) -> str:
    return str(list(shape or ()))
