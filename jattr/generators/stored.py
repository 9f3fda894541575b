"""The stored tensors of a layered generator, by its card: names, layouts and shapes.

They are `layers/<number>/<leaf>` and `conditioning/<leaf>`; `number` counts the card's layers
without dropout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from jattr.errors import CardError, GeneratorError, show
from jattr.generators.card import Card, Layer, Slot, layer_shapes, weight_slots
from jattr.generators.card_problems import listed

Shape = tuple[int, ...]
Params: TypeAlias = Mapping[str, Any]  # nested dicts of float32 arrays, as stored


@dataclass(frozen=True)
class Leaf:
    """One tensor as stored: `PyTorch's tensor`.transpose(axes)."""

    name: str
    axes: tuple[int, ...] | None = None  # None: PyTorch's layout

    def torch_shape(self, shape: Shape) -> Shape | None:
        """Return the shape of PyTorch's tensor; None if `shape` has a wrong number of axes."""
        if self.axes is None:
            return shape
        return (
            tuple(shape[self.axes.index(i)] for i in range(len(shape)))
            if len(shape) == len(self.axes)
            else None
        )


LINEAR = Leaf("kernel", (1, 0))  # [out, in] -> [in, out]
CONV = Leaf("kernel", (2, 3, 1, 0))  # [out, in, kh, kw] -> [kh, kw, in, out]
# [in, out, kh, kw] -> [kh, kw, in, out], taps in PyTorch's order
CONV_TRANSPOSE = Leaf("kernel", (2, 3, 0, 1))

_NORM = {"weight": Leaf("scale"), "bias": Leaf("bias")}
# op or conditioning type -> field of PyTorch's module -> leaf
LEAVES: dict[str, dict[str, Leaf]] = {
    "linear": {"weight": LINEAR, "bias": Leaf("bias")},
    "conv": {"weight": CONV, "bias": Leaf("bias")},
    "conv_transpose": {"weight": CONV_TRANSPOSE, "bias": Leaf("bias")},
    "batch_norm": _NORM | {"running_mean": Leaf("mean"), "running_var": Leaf("var")},
    "layer_norm": _NORM,
    "prelu": {"weight": Leaf("slope")},
    "embed_concat": {"weight": Leaf("embedding")},
    "embed_multiply": {"weight": Leaf("embedding")},
    "onehot_linear_concat": {"weight": LINEAR, "bias": Leaf("bias")},
}


def stored_layers(card: Card) -> list[tuple[str, Layer]]:
    """Return (name in the stored tree, layer): numbered without dropout, which is off."""
    return [
        (str(index), layer)
        for index, layer in enumerate(lay for lay in card.layers if lay.op != "dropout")
    ]


def stored_slots(card: Card) -> dict[str, tuple[Slot, Leaf]]:
    """Return what may be stored for a card, by path."""
    names = {layer.index: f"layers/{name}" for name, layer in stored_layers(card)}
    slots = {}
    for slot in weight_slots(card):
        if slot.layer_index is None:
            assert card.conditioning is not None
            folder, op = "conditioning", card.conditioning.type
        else:
            folder, op = names[slot.layer_index], card.layers[slot.layer_index].op
        leaf = LEAVES[op][slot.field]
        slots[f"{folder}/{leaf.name}"] = slot, leaf
    return slots


def check_params(card: Card, shapes: Mapping[str, Shape]) -> None:
    """Check that the stored tensors, by path, are those of the card, and that their shapes chain.

    Raises:
      GeneratorError: some are missing, left over or of a wrong shape; the message lists all.
    """
    slots = stored_slots(card)
    problems = [f"{show(path)} is no tensor of this card" for path in shapes if path not in slots]
    torch_shapes: dict[str, Shape] = {}
    for path, (slot, leaf) in slots.items():
        if path not in shapes:
            problems += [] if slot.optional else [f"{path} is missing"]
            continue
        shape = leaf.torch_shape(tuple(shapes[path]))
        if shape is None or torch_shapes.setdefault(slot.source_key, shape) != shape:
            problems.append(f"{path} has the shape {list(shapes[path])}, which cannot be")
    if problems:
        raise GeneratorError(
            f"the stored tensors are not those of card {card.name!r}:"
            f" {'; '.join(listed(problems))}; convert it again"
        )
    try:
        layer_shapes(card, torch_shapes)
    except CardError as error:
        raise GeneratorError(f"the stored tensors do not fit: {error}") from error


def tensor_problems(shapes: Mapping[str, Shape], expected: Mapping[str, Shape]) -> list[str]:
    """Return in what stored tensors, by path, differ from those that an architecture has."""
    problems = [
        f"{show(path)} is no tensor of this architecture" for path in shapes if path not in expected
    ]
    for path, shape in expected.items():
        if path not in shapes:
            problems.append(f"{path} is missing")
        elif tuple(shapes[path]) != shape:
            problems.append(f"{path} has the shape {list(shapes[path])}; it must be {list(shape)}")
    return problems


def as_tree(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return leaves by path as nested dicts.

    >>> as_tree({"layers/0/bias": 1, "layers/0/kernel": 2})
    {'layers': {'0': {'bias': 1, 'kernel': 2}}}
    """
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = leaf
    return tree
