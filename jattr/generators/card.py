"""Architecture cards: how to rebuild a generator around the tensors of a state dict.

A card is JSON (`docs/architecture_card.md`, `card_v1.schema.json`), read into the frozen data of
`card_fields`. Importing this imports neither jax nor numpy.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jattr.errors import CardError, show, suggest
from jattr.generators.card_fields import OPTIONS, Card, CardBase, Conditioning, Latent, Layer
from jattr.generators.card_json import plain, read_json
from jattr.generators.card_problems import card_error, layered_schema, schema_problems
from jattr.generators.card_shapes import LayerShape, Slot, layer_shapes, weight_slots
from jattr.typing import JsonObject

__all__ = [
    "KINDS",
    "OPTIONS",
    "Card",
    "CardBase",
    "Conditioning",
    "Latent",
    "Layer",
    "LayerShape",
    "Slot",
    "card_to_json",
    "function_fields",
    "layer_shapes",
    "parse_card",
    "read_card",
    "weight_slots",
]

VERSION = 1


def parse_card(data: Mapping[str, Any]) -> Card:
    """Return the card that `data`, JSON in Python's values, describes.

    Raises:
      CardError: anything is missing, unknown, out of range or contradictory; the message lists
        every problem.

    >>> card = parse_card({
    ...     "card_version": 1, "kind": "layered", "name": "tiny", "image_shape": [1, 2, 2],
    ...     "value_range": [-1, 1], "latent": {"dim": 3, "distribution": "normal"},
    ...     "layers": [{"op": "linear", "key": "fc"}, {"op": "tanh"},
    ...                {"op": "reshape", "shape": [1, 2, 2]}]})
    >>> [layer.op for layer in card.layers], card.layers[0].key, card.conditioning
    (['linear', 'tanh', 'reshape'], 'fc', None)
    """
    if not isinstance(data, Mapping):
        raise CardError(
            f"the card is a {type(data).__name__}; it must be an object with the fields of a card"
        )
    plain_data = plain(data)
    name = plain_data.get("name")
    title = show(name)[1:-1] if isinstance(name, str) else ""
    kind = plain_data.get("kind")
    if isinstance(kind, str) and kind in FAMILY_KINDS:
        raise card_error(
            title, [f"kind {show(kind)} needs no card: convert its weights file without --card"]
        )
    if isinstance(kind, str) and kind not in KINDS:
        raise card_error(
            title, [f"kind {show(kind)} is unknown; {suggest(kind, [*KINDS, *FAMILY_KINDS])}"]
        )
    problems = schema_problems(plain_data, layered_schema())
    if problems:
        raise card_error(title, problems)
    card = KINDS[plain_data["kind"]](plain_data)
    if problems := list(_contradictions(card)):
        raise card_error(title, problems)
    return card


def read_card(path: str | os.PathLike[str]) -> Card:
    """Return the card in a JSON file of at most 1 MiB.

    Raises:
      CardError: as `parse_card`, and for a file that is missing, too large, not UTF-8, not JSON, or
        that holds a field twice, NaN or an infinity. The message begins with the path.
    """
    try:
        return parse_card(read_json(path))
    except CardError as error:
        raise CardError(f"{os.fspath(path)!s}: {error}") from error


def card_to_json(card: Card) -> JsonObject:
    """Return the card as JSON in Python's values: `parse_card` of it is the card again.

    Optional fields that have no value are left out, but for `conditioning`, `state_dict_key` and
    `ignore`.
    """
    conditioning = None
    if card.conditioning is not None:
        parts = (
            ("type", card.conditioning.type),
            ("key", card.conditioning.key),
            ("classes", card.conditioning.classes),
        )
        conditioning = {name: value for name, value in parts if value is not None}
    texts = {name: getattr(card, name) for name in ("rounding", "domain", "note", "weights")}
    return {
        "card_version": VERSION,
        "kind": card.kind,
        "name": card.name,
        "image_shape": list(card.image_shape),
        "value_range": list(card.value_range),
        "latent": {"dim": card.latent.dim, "distribution": card.latent.distribution},
        "conditioning": conditioning,
        "state_dict_key": card.state_dict_key,
        "ignore": list(card.ignore),
        "layers": [{"op": layer.op} | _options(layer) for layer in card.layers],
        **({} if card.source is None else {"source": json.loads(card.source)}),
        **{name: value for name, value in texts.items() if value is not None},
    }


def function_fields(card: Card) -> JsonObject:
    """Return the fields that change the function from (weights, latent, label) to image.

    Left out are names, places and texts, the latent's distribution and the rounding of bytes (they
    act before and after the function), and dropout, which is off. Cards that agree here and in
    their weights are one model.
    """
    label = card.conditioning
    return {
        "kind": card.kind,
        "image_shape": list(card.image_shape),
        "value_range": list(card.value_range),
        "latent": {"dim": card.latent.dim},
        "conditioning": None if label is None else {"type": label.type, "classes": label.classes},
        "layers": [
            {"op": layer.op}
            | {name: value for name, value in _options(layer).items() if name != "key"}
            for layer in card.layers
            if layer.op != "dropout"
        ],
    }


def _options(layer: Layer) -> JsonObject:
    values = {name: getattr(layer, name) for name in OPTIONS[layer.op]}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _parse_layered(data: JsonObject) -> Card:
    """Return the card of `data`, which the schema has passed."""
    label = data.get("conditioning")
    lowest, highest = data["value_range"]
    channels, height, width = data["image_shape"]
    source = data.get("source")
    return Card(
        name=data["name"],
        kind=data["kind"],
        image_shape=(int(channels), int(height), int(width)),
        value_range=(_float(lowest), _float(highest)),
        latent=Latent(int(data["latent"]["dim"]), data["latent"]["distribution"]),
        conditioning=None
        if label is None
        else Conditioning(label["type"], label.get("key"), int(label["classes"])),
        layers=tuple(_parse_layer(index, layer) for index, layer in enumerate(data["layers"])),
        ignore=tuple(data.get("ignore", ())),
        source=None if source is None else json.dumps(source, ensure_ascii=False),
        **{
            name: data.get(name)
            for name in ("state_dict_key", "weights", "rounding", "domain", "note")
        },
    )


# kind -> how it is parsed
KINDS: dict[str, Callable[[JsonObject], Card]] = {"layered": _parse_layered}
# the keys of `family.FAMILIES`
FAMILY_KINDS = ("autoencoder_kl", "progan", "stylegan", "stylegan2", "stylegan3")


def _parse_layer(index: int, data: JsonObject) -> Layer:
    options = {name: CONVERSIONS[name](value) for name, value in data.items() if name != "op"}
    return Layer(op=data["op"], index=index, **options)


def _float(value: float) -> float:
    return float(value) + 0.0  # no -0.0, so that equal cards have equal digests


def _integers(values: list[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


# JSON has one kind of number: 2.0 is a whole number there
CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "key": str,
    "stride": int,
    "padding": int,
    "output_padding": int,
    "padding_mode": str,
    "eps": _float,
    "slope": _float,
    "p": _float,
    "scale": int,
    "shape": _integers,
}


def _contradictions(card: Card) -> Iterator[str]:
    """Yield what a schema cannot say."""
    lowest, highest = card.value_range
    if not lowest < highest:
        yield f"value_range is [{lowest:g}, {highest:g}]; the first number must be below the second"
    for layer in card.layers:
        if layer.op == "conv_transpose" and layer.output_padding >= layer.stride:
            yield (
                f"{layer.label}: output_padding is {layer.output_padding}; it must be below the"
                f" stride, {layer.stride}, as PyTorch demands"
            )
    for where, text in _names(card):
        if text is not None and not text.isprintable():
            yield f"{where} is {show(text)}; it must be without control characters"


def _names(card: Card) -> Iterator[tuple[str, str | None]]:
    yield from (
        ("name", card.name),
        ("weights", card.weights),
        ("state_dict_key", card.state_dict_key),
    )
    yield from ((f"ignore[{i}]", prefix) for i, prefix in enumerate(card.ignore))
    yield "conditioning: key", None if card.conditioning is None else card.conditioning.key
    yield from ((f"layer {layer.index} ({layer.op}): key", layer.key) for layer in card.layers)
