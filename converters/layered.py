"""Converts state dicts of PyTorch to stored tensors of layered generators by a checked table."""

from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np

from jattr.errors import CheckpointError, ConversionError, show
from jattr.generators.card import Card
from jattr.generators.card_problems import listed
from jattr.generators.card_shapes import shape_problems
from jattr.generators.stored import Leaf, Params, as_tree, stored_slots

from .checkpoint_tree import find_state_dict
from .places import (
    COUNTERS,
    choice_note,
    places_in,
    preferred,
    without_data_parallel,
    without_outer,
)
from .reading_limits import Tree

# counters of BatchNorm, of thop, of AveragedModel: no part of the function in eval mode
NEVER_USED = ("num_batches_tracked", *COUNTERS)


class CardState(NamedTuple):
    """The state dict that a card describes, as a file holds it."""

    tensors: Mapping[str, np.ndarray]
    notes: tuple[str, ...]  # what is to be said about the choice


def state_of_card(card: Card, tree: Tree, key: str | None) -> CardState:
    """Return the tensors of a file that a card describes, found by their names.

    Names as they stand in the file come first; then those behind any prefix, without wrappers and
    with normalised weights folded.

    Args:
      card: what the network is.
      tree: what the file holds.
      key: where the state dict is nested; None: anywhere.

    Raises:
      CheckpointError: there is no tensor under `key`.
      ConversionError: several places have all tensors of the card, and nothing tells which is
        meant; or factors of normalised weights do not fit each other.
    """
    slots = stored_slots(card).values()
    needed = {slot.source_key for slot, _ in slots if not slot.optional}
    if needed <= _as_written(tree, key).keys():
        return CardState(_as_written(tree, key), ())
    fits = [
        (variant, None)
        for place in places_in(tree, key)
        for variant in (place, without_data_parallel(place))
        if variant is not None and needed <= variant.tensors.keys()
    ]
    if not fits:
        # the error is to speak of what there is
        return CardState(_nearest(tree, key, needed) or find_state_dict(tree, key), ())
    fits = without_outer(fits)
    fit = preferred(fits)
    if fit is None:
        places = ", ".join(show(place.key) for place, _ in fits[:8])
        raise ConversionError(
            f"the file holds all tensors of card {card.name!r} under each of {places}; say which"
            " by the card's state_dict_key, or with --key NAME"
        )
    notes = (*choice_note(fit[0], fits), *(f"folded: {what}" for what in fit[0].folded))
    return CardState(fit[0].tensors, notes)


def _as_written(tree: Tree, key: str | None) -> Mapping[str, np.ndarray]:
    """Return the tensors under a key by the names in the file, {} if there are none."""
    try:
        return find_state_dict(tree, key)
    except CheckpointError:
        return {}


def _nearest(tree: Tree, key: str | None, needed: Set[str]) -> Mapping[str, np.ndarray]:
    """Return the tensors that an error is to speak of: of the place with the most of the needed.

    Raises:
      ConversionError: what is missing there is stored as factors that do not fit each other.
    """
    nearest = max(
        places_in(tree, key), key=lambda place: len(needed & place.tensors.keys()), default=None
    )
    if nearest is None:
        return {}
    missing = {name.rpartition(".")[0] for name in needed - nearest.tensors.keys()}
    factors = tuple(
        f"{layer}.{form}" for layer in missing for form in ("weight_", "parametrizations.")
    )
    if nearest.fault and any(name.startswith(factors) for name in nearest.tensors):
        raise ConversionError(nearest.fault)
    return nearest.tensors


def convert_layered(card: Card, state_dict: Mapping[str, np.ndarray]) -> Params:
    """Return the stored tensors of a state dict.

    They are `{"layers": {index: {leaf: float32}}, "conditioning": {leaf: float32}}`.

    Args:
      card: what the network is.
      state_dict: tensors by their names in the file; a `module.` before every name is dropped if
        the card has none.

    Raises:
      ConversionError: keys that are missing, left over, of a wrong type or shape or not finite, and
        layers that do not chain: all of them in one message.
    """
    slots = stored_slots(card)
    expected = {slot.source_key: slot.optional for slot, _ in slots.values()}
    state_dict = _match_module_prefix(expected, state_dict)
    problems = shape_problems(card, {key: array.shape for key, array in state_dict.items()})
    problems += _key_problems(card, expected, state_dict)
    if problems:
        title = f"card {card.name!r} and its weights do not fit"
        between = ": " if len(problems) == 1 else ":\n  "
        raise ConversionError(title + between + "\n  ".join(listed(problems)))
    return as_tree(
        {
            path: _stored(state_dict[slot.source_key], leaf)
            for path, (slot, leaf) in slots.items()
            if slot.source_key in state_dict
        }
    )


def _match_module_prefix(
    expected: Mapping[str, bool], state_dict: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """Return the names without DataParallel's `module.` where only that fits the card."""
    prefixed = bool(state_dict) and all(key.startswith("module.") for key in state_dict)
    if not prefixed or any(key in state_dict for key, optional in expected.items() if not optional):
        return state_dict
    return {key.removeprefix("module."): array for key, array in state_dict.items()}


def _key_problems(
    card: Card, expected: Mapping[str, bool], state_dict: Mapping[str, np.ndarray]
) -> list[str]:
    """Return what is wrong with single tensors, and which are left over."""
    extra = [key for key in state_dict if key not in expected and not _ignored(card, key)]
    problems = [
        f"left over in the file: {show(key)}; if it is not the generator's, add it to `ignore`"
        for key in extra
    ]
    for key in expected:
        array = state_dict.get(key)
        if array is None:
            continue
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            problems.append(f"{show(key)} is {array.dtype}; weights are floating-point numbers")
        elif not np.isfinite(_single(array)).all():
            problems.append(
                f"{show(key)} has values that are not finite in float32; training diverged, or a"
                " damaged file"
            )
    return problems


def _ignored(card: Card, key: str) -> bool:
    return key.rpartition(".")[2] in NEVER_USED or any(
        key.startswith(prefix) for prefix in card.ignore
    )


def _stored(array: np.ndarray, leaf: Leaf) -> np.ndarray:
    single = _single(array)
    return np.ascontiguousarray(single if leaf.axes is None else single.transpose(leaf.axes))


def _single(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)
