"""Converts state dicts of PyTorch to the stored tensors of layered generators: a table, checked on both sides."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jattr.errors import ConversionError
from jattr.generators.card import Card, Slot, layer_shapes, weight_slots
from jattr.generators.fold import stored_layers

Transform = Callable[[np.ndarray], np.ndarray]


def same(array: np.ndarray) -> np.ndarray:
    """Keep the layout."""
    return array


def linear_kernel(array: np.ndarray) -> np.ndarray:
    """[out, in] -> [in, out]."""
    return array.T


def conv_kernel(array: np.ndarray) -> np.ndarray:
    """[out, in, kh, kw] -> [kh, kw, in, out]."""
    return array.transpose(2, 3, 1, 0)


def conv_transpose_kernel(array: np.ndarray) -> np.ndarray:
    """[in, out, kh, kw] -> [kh, kw, in, out], taps in PyTorch's order."""
    return array.transpose(2, 3, 0, 1)


_NORM = {"weight": ("scale", same), "bias": ("bias", same)}
RULES: dict[str, dict[str, tuple[str, Transform]]] = {  # op -> field of the state dict -> (leaf, transform)
    "linear": {"weight": ("kernel", linear_kernel), "bias": ("bias", same)},
    "conv": {"weight": ("kernel", conv_kernel), "bias": ("bias", same)},
    "conv_transpose": {"weight": ("kernel", conv_transpose_kernel), "bias": ("bias", same)},
    "batch_norm": _NORM | {"running_mean": ("mean", same), "running_var": ("var", same)},
    "layer_norm": _NORM,
    "prelu": {"weight": ("slope", same)},
    "embed_concat": {"weight": ("embedding", same)},
    "embed_multiply": {"weight": ("embedding", same)},
    "onehot_linear_concat": {"weight": ("kernel", linear_kernel), "bias": ("bias", same)},
}
NEVER_USED = ("num_batches_tracked",)  # counters of BatchNorm: no part of the function in eval mode


def convert_layered(card: Card, state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the stored tensors `{"layers": {index: {leaf: float32}}, "conditioning": {leaf: float32}}`.

    Args:
      card: what the network is.
      state_dict: tensors by their names in the file; a `module.` before every name is dropped if the card has none.

    Raises:
      ConversionError: keys that are missing, left over, of a wrong type or not finite: all of them in one message.
      CardError: shapes that do not chain.
    """
    slots = weight_slots(card)
    state_dict = _match_module_prefix(slots, state_dict)
    problems = _mismatches(card, slots, state_dict)
    if problems:
        raise ConversionError(f"card {card.name!r} and its weights do not fit:\n  " + "\n  ".join(problems[:40]))
    layer_shapes(card, {key: array.shape for key, array in state_dict.items()})
    return _fill(card, slots, state_dict)


def _match_module_prefix(slots: list[Slot], state_dict: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return the names without DataParallel's `module.` where that, and not the names as they are, fits the card."""
    wanted = [slot.source_key for slot in slots if not slot.optional]
    prefixed = bool(state_dict) and all(key.startswith("module.") for key in state_dict)
    if not prefixed or any(key in state_dict for key in wanted):
        return state_dict
    return {key.removeprefix("module."): array for key, array in state_dict.items()}


def _mismatches(card: Card, slots: list[Slot], state_dict: Mapping[str, np.ndarray]) -> list[str]:
    wanted = {slot.source_key for slot in slots}
    missing = [s.source_key for s in slots if not s.optional and s.source_key not in state_dict]
    extra = [key for key in state_dict if key not in wanted and not _ignored(card, key)]
    problems = [f"missing in the file: {key}" for key in dict.fromkeys(missing)]
    problems += [f"left over in the file: {key} (name it in `ignore` if it is no part of the generator)" for key in extra]
    for key in sorted(wanted & set(state_dict)):
        array = state_dict[key]
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            problems.append(f"{key} is {array.dtype}; weights are floating-point numbers")
        elif not np.isfinite(array.astype(np.float32)).all():
            problems.append(f"{key} has values that are not finite in float32")
    return problems


def _ignored(card: Card, key: str) -> bool:
    return key.rpartition(".")[2] in NEVER_USED or any(key.startswith(prefix) for prefix in card.ignore)


def _fill(card: Card, slots: list[Slot], state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    names = {layer.index: name for name, layer in stored_layers(card)}
    params: dict[str, Any] = {"layers": {}}
    for slot in slots:
        if slot.source_key not in state_dict:
            continue
        if slot.layer_index is None:
            assert card.conditioning is not None
            target, op = params.setdefault("conditioning", {}), card.conditioning.type
        else:
            op = card.layers[slot.layer_index].op
            target = params["layers"].setdefault(names[slot.layer_index], {})
        leaf, transform = RULES[op][slot.field]
        if leaf in target:
            raise ConversionError(f"card {card.name!r}: {slot.source_key} fills {leaf} a second time")
        target[leaf] = np.ascontiguousarray(transform(state_dict[slot.source_key]), np.float32)
    return params
