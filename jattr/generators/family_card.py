"""Cards of families: an `Architecture` and settings beside the fields that every card has."""

import dataclasses
import json
import types
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from jattr.errors import CardError
from jattr.generators.card_fields import CardBase
from jattr.generators.card_problems import card_error, layered_schema, schema_problems
from jattr.generators.family import FAMILIES, Architecture
from jattr.generators.settings import NOISE, Settings
from jattr.typing import JsonObject

TEXT_FIELDS = ("rounding", "domain", "note", "weights", "state_dict_key")
PLAIN: dict[type, JsonObject] = {
    bool: {"type": "boolean", "description": "true or false"},
    int: {
        "type": "integer",
        "minimum": -(2**31),
        "maximum": 2**31,
        "description": "a whole number",
    },
    float: {"type": "number", "minimum": -1e9, "maximum": 1e9, "description": "a number"},
    str: {"type": "string", "maxLength": 100, "description": "a text"},
    type(None): {"type": "null", "description": "null"},
}
MAX_ITEMS = 1000


@dataclass(frozen=True, kw_only=True)
class FamilyCard(CardBase):
    """A card of a family."""

    architecture: Any  # the family's Architecture
    settings: Settings | None = None  # of style-based families


def parse_family_card(data: JsonObject) -> FamilyCard:
    """Return the card of `data`, JSON in Python's values, whose kind is a family's.

    Raises:
      CardError: anything is missing, unknown, out of range or contradictory; the message lists
        every problem.
    """
    family = FAMILIES[data["kind"]]
    name = data["name"] if isinstance(data.get("name"), str) else ""
    problems = schema_problems(data, family_schema(data["kind"]))
    if problems:
        raise card_error(name, problems)
    arch = architecture_of(family.architecture, data["architecture"])
    problems = [f"architecture: {problem}" for problem in arch.problems()]
    settings = None
    if family.styled:
        settings = Settings(**data.get("settings", {}))
        if not problems:
            problems = [f"settings: {problem}" for problem in settings.problems(arch.num_ws)]
    if problems:
        raise card_error(name, problems)
    texts: JsonObject = {text: data.get(text) for text in TEXT_FIELDS}
    height, width, channels = arch.image_shape
    if "image_shape" in data and tuple(data["image_shape"]) != (channels, height, width):
        problem = (
            f"image_shape is {data['image_shape']}; this architecture's is"
            f" {[channels, height, width]}"
        )
        raise card_error(name, [problem])
    source = data.get("source")
    return FamilyCard(
        name=data["name"],
        kind=data["kind"],
        image_shape=(channels, height, width),
        value_range=(-1.0, 1.0),
        source=None if source is None else json.dumps(source, ensure_ascii=False),
        architecture=arch,
        settings=settings,
        **texts,
    )


def family_card_to_json(card: FamilyCard) -> JsonObject:
    """Return the card as JSON in Python's values: `parse_family_card` of it is the card again."""
    return {
        "card_version": 1,
        "kind": card.kind,
        "name": card.name,
        "image_shape": list(card.image_shape),
        "architecture": architecture_to_json(card.architecture),
        **({} if card.settings is None else {"settings": card.settings.to_json()}),
        **({} if card.source is None else {"source": json.loads(card.source)}),
        **{text: getattr(card, text) for text in TEXT_FIELDS if getattr(card, text) is not None},
    }


def family_function_fields(card: FamilyCard) -> JsonObject:
    """Return the fields that change the function from (weights, latent, label) to image."""
    fields = {"kind": card.kind, "architecture": architecture_to_json(card.architecture)}
    return fields | ({} if card.settings is None else {"settings": card.settings.to_json()})


def architecture_to_json(arch: Architecture) -> JsonObject:
    """Return an Architecture as JSON in Python's values."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(arch).items()
    }


def architecture_of(kind: type, data: JsonObject) -> Any:
    """Return the Architecture of JSON values that its schema has passed: 2.0 is a whole number."""
    hints = get_type_hints(kind)
    return kind(**{name: _converted(hints[name], value) for name, value in data.items()})


def family_schema(kind: str) -> JsonObject:
    """Return the JSON schema of a family's cards, made from its Architecture."""
    family = FAMILIES[kind]
    base = layered_schema()
    shared = (
        "card_version",
        "name",
        "image_shape",
        "weights",
        "state_dict_key",
        "rounding",
        "source",
        "domain",
        "note",
    )
    hints = get_type_hints(family.architecture)
    fields = dataclasses.fields(family.architecture)
    architecture = {
        "type": "object",
        "description": "an object with the fields of the architecture",
        "properties": {field.name: _schema(hints[field.name]) for field in fields},
        "required": [field.name for field in fields if field.default is dataclasses.MISSING],
        "additionalProperties": False,
    }
    properties = {name: base["properties"][name] for name in shared} | {
        "kind": {"const": kind, "description": json.dumps(kind)},
        "architecture": architecture,
    }
    if family.styled:
        properties["settings"] = {
            "type": "object",
            "description": 'an object {"psi", "cutoff", "noise"}',
            "properties": {
                "psi": PLAIN[float],
                "cutoff": _schema(int | None),
                "noise": {"enum": list(NOISE), "description": f"one of {', '.join(NOISE)}"},
            },
            "additionalProperties": False,
        }
    return {
        "type": "object",
        "properties": properties,
        "required": ["card_version", "kind", "name", "architecture"],
        "additionalProperties": False,
        "$defs": base["$defs"],
    }


def _schema(hint: Any) -> JsonObject:
    """Return the schema of a field's type: a plain one, a tuple of it, or a choice."""
    if hint in PLAIN:
        return PLAIN[hint]
    if get_origin(hint) is tuple:
        items = PLAIN[get_args(hint)[0]]
        return {
            "type": "array",
            "items": items,
            "maxItems": MAX_ITEMS,
            "description": f"a list of: {items['description']}",
        }
    if isinstance(hint, types.UnionType):
        parts = [_schema(part) for part in get_args(hint)]
        return {"anyOf": parts, "description": " or ".join(part["description"] for part in parts)}
    raise CardError(f"an architecture has a field of type {hint}, which cards do not hold")


def _converted(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        return _converted(next(h for h in get_args(hint) if h is not type(None)), value)
    if get_origin(hint) is tuple:
        return tuple(_converted(get_args(hint)[0], item) for item in value)
    return hint(value)
