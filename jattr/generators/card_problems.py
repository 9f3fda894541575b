"""Finds what is wrong with the structure of a card, and says it.

The schema alone states what is legal: its `description` texts are the second half of every message.
"""

import functools
import json
from collections.abc import Sequence
from importlib import resources
from itertools import islice
from typing import Any

from jattr.errors import CardError, show, suggest
from jattr.typing import JsonObject

CARD_SCHEMA_FILE = "card_v1.schema.json"
MAX_LISTED = 20  # problems in one message


def card_error(name: str, problems: Sequence[str]) -> CardError:
    """Return one error for all problems of a card.

    One line for one problem, else a summary and a line for each.
    """
    title = f"card '{name}'" if name else "the card"
    if len(problems) == 1:
        return CardError(f"{title}: {problems[0]}")
    return CardError("\n  ".join([f"{title} has {len(problems)} problems:", *listed(problems)]))


def listed(problems: Sequence[str]) -> list[str]:
    """Return the problems that one message lists, and how many there are besides."""
    rest = len(problems) - MAX_LISTED
    return [*problems[:MAX_LISTED], *([f"... and {rest} more"] if rest > 0 else [])]


def schema_problems(data: JsonObject, schema: JsonObject) -> list[str]:
    """Return what a schema finds wrong with a card, one line each, in its order.

    The card is of plain JSON values.
    """
    import jsonschema  # takes 0.1 s, and only those who read a card need it

    errors = islice(jsonschema.Draft202012Validator(schema).iter_errors(data), MAX_LISTED * 5)
    return list(dict.fromkeys(line for error in errors for line in _lines(error, data)))


@functools.cache
def layered_schema() -> JsonObject:
    """Return the schema of layered cards."""
    file = resources.files("jattr.generators").joinpath(CARD_SCHEMA_FILE)
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _lines(error: Any, data: JsonObject) -> list[str]:
    """Return one jsonschema error as our own lines."""
    where, field = _place(list(error.absolute_path), data)
    inside = ": ".join(part for part in (where, field) if part)
    inside = f"{inside}: " if inside else ""
    properties = error.schema.get("properties", {})
    match error.validator:
        case "required":
            names = [name for name in error.validator_value if name not in error.instance]
            return [
                f"{inside}{show(name)} is missing; it must be {_legal(properties.get(name))}"
                for name in names
            ]
        case "additionalProperties":
            names = [name for name in error.instance if name not in properties]
            return [
                f"{inside}{show(name)} is not a field here; {suggest(name, list(properties))}"
                for name in names
            ]
        case "enum" if field == "op" and isinstance(error.instance, str):
            return [
                (
                    f"{where}: op is {show(error.instance)};"
                    f" {suggest(error.instance, error.schema['enum'])}"
                )
            ]
    return [
        f"{inside.removesuffix(': ')} is {show(error.instance)}; it must be {_legal(error.schema)}"
    ]


def _place(path: list[Any], data: JsonObject) -> tuple[str, str]:
    """Return where a path of the card leads: the part and the field in it.

    A part is such as `layer 5 (conv, key "a")`.
    """
    where = ""
    if path[:1] == ["layers"] and len(path) > 1:
        where, path = _layer_name(path[1], data["layers"][path[1]]), path[2:]
    elif len(path) > 1 and isinstance(path[1], str):
        where, path = path[0], path[1:]
    return where, "".join(f"[{part}]" if isinstance(part, int) else part for part in path)


def _layer_name(index: int, layer: object) -> str:
    """Return `Layer.label` for a layer of which nothing is certain."""
    if not isinstance(layer, dict) or not isinstance(layer.get("op"), str):
        return f"layer {index}"
    key = f", key {show(layer['key'])}" if isinstance(layer.get("key"), str) else ""
    return f"layer {index} ({show(layer['op'])[1:-1]}{key})"


def _legal(subschema: object) -> str:
    """Return the words of a subschema for what is legal."""
    if isinstance(subschema, dict) and "$ref" in subschema:
        subschema = layered_schema()["$defs"][subschema["$ref"].rpartition("/")[2]]
    return subschema["description"] if isinstance(subschema, dict) else "present"
