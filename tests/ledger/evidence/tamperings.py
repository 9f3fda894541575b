"""Ways to tamper with a bundle: what is changed, and the field that must be named by whoever
notices.

A tampering takes the fields of a bundle (without its signature), deep-copied, and returns what it
makes of them.
"""

import base64
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Fields = dict[str, Any]
PARTS = (
    "attribution",
    "examined",
    "jattr",
    "level",
    "model",
    "openings",
    "origin",
    "picture",
    "pictures",
    "sample",
    "verdict",
    "window",
)
CLAIMS = {  # nobody but who searched can tell: printed as the owner's words
    ("picture", "name"),
    ("attribution", "restarts"),
    ("attribution", "miss_bound"),
    ("attribution", "reason"),
}


@dataclass(frozen=True)
class Tampering:
    label: str
    field: str  # that was changed
    change: Callable[[Fields], Any]
    claim: bool = False  # only a third party's tampering can be noticed

    def of(self, fields: Fields) -> Fields:
        return self.change(copy.deepcopy(fields)) or {}


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def setting(path: tuple[Any, ...], value: Any) -> Callable[[Fields], Fields]:
    """A change of the value at a path of keys and places."""

    def change(fields: Fields) -> Fields:
        place: Any = fields
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return fields

    return change


def without(*path: Any) -> Callable[[Fields], Fields]:
    def change(fields: Fields) -> Fields:
        place: Any = fields
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        return fields

    return change


def put(field: str, make: Callable[[Any], Any]) -> Callable[[Fields], Fields]:
    """A change of a whole field by a function of it."""

    def change(fields: Fields) -> Fields:
        fields[field] = make(fields[field])
        return fields

    return change


def shapes(fields: Fields) -> Iterator[Tampering]:
    """Fields missing, of another type, or unknown."""
    for name in PARTS:
        yield Tampering(f"{name} removed", name, without(name))
        for value in (None, 7, "x", [], {}, True, [[]], {"entry": 1}):
            if value != fields[name] and (name, value) != ("origin", "x"):
                yield Tampering(f"{name} is {value}", name, setting((name,), value))
        if isinstance(fields[name], dict):
            yield Tampering(f"{name} with more", name, setting((name, "more"), 1))
            for key in fields[name]:
                yield Tampering(f"{name} without {key}", name, without(name, key))
                for value in ([], -1, {"x": 1}):
                    if value != fields[name][key]:
                        yield Tampering(
                            f"{name}.{key} is {value}", name, setting((name, key), value)
                        )
    yield Tampering("an unknown field", "more", setting(("more",), 1))


def openings(fields: Fields, rng: random.Random) -> Iterator[Tampering]:
    """Openings changed, swapped, removed, of other entries, in another order."""
    found = fields["openings"]
    for place, one in enumerate(found):
        other = rng.choice(
            [n for n in range(len(found)) if found[n]["field"] == one["field"] and n != place]
        )
        at = ("openings", place)
        yield Tampering(f"opening {place} removed", "openings", without(*at))
        yield Tampering(f"opening {place}: salt", "openings", setting((*at, "salt"), "0" * 64))
        yield Tampering(
            f"opening {place}: salt of {other}",
            "openings",
            setting((*at, "salt"), found[other]["salt"]),
        )
        yield Tampering(
            f"opening {place}: value of {other}",
            "openings",
            setting((*at, "value"), found[other]["value"]),
        )
        swapped = {**found[other], "entry": one["entry"]}
        yield Tampering(f"opening {place} is that of {other}", "openings", setting(at, swapped))
        if place:
            yield Tampering(f"opening {place} twice", "openings", put("openings", twice(place)))
            yield Tampering(
                f"opening {place} before its time", "openings", put("openings", earlier(place))
            )
    wrong = [
        ("entry", 10**6),
        ("entry", 0),
        ("entry", -1),
        ("field", "file"),
        ("field", "x"),
        ("salt", "x"),
    ]
    for key, value in [*wrong, ("value", "!")]:
        for place in rng.sample(range(len(found)), 3):
            changed = setting(("openings", place, key), value)
            yield Tampering(f"opening {place}: {key} is {value}", "openings", changed)


def twice(place: int) -> Callable[[list[Any]], list[Any]]:
    return lambda items: [*items[: place + 1], *items[place:]]


def earlier(place: int) -> Callable[[list[Any]], list[Any]]:
    return lambda items: [*items[: place - 1], items[place], items[place - 1], *items[place + 1 :]]


def images(fields: Fields, other: bytes) -> Iterator[Tampering]:
    """Images changed, swapped, removed, of other entries, in another order."""
    found = fields["pictures"]
    for place in range(len(found)):
        swapped = found[(place + 1) % len(found)]["data"]
        yield Tampering(f"image {place} removed", "pictures", without("pictures", place))
        yield Tampering(
            f"image {place} swapped", "pictures", setting(("pictures", place, "data"), swapped)
        )
        yield Tampering(
            f"image {place} is another",
            "pictures",
            setting(("pictures", place, "data"), text_of(other)),
        )
        for data in (b"", b"no image", other[:50]):
            yield Tampering(
                f"image {place} is none",
                "pictures",
                setting(("pictures", place, "data"), text_of(data)),
            )
        if place:
            yield Tampering(f"image {place} twice", "pictures", put("pictures", twice(place)))
            yield Tampering(
                f"image {place} before its time", "pictures", put("pictures", earlier(place))
            )
    last = found[-1]["entry"]
    for entry in (last + 1, 10**6):
        more = {"entry": entry, "data": found[0]["data"]}
        yield Tampering(
            f"an image of {entry}",
            "pictures",
            put("pictures", lambda items, more=more: [*items, more]),
        )


def values(fields: Fields, others: Fields) -> Iterator[Tampering]:
    """Other values of the right type.

    `others` has, by field and key, values that belong to something else.
    """
    for (name, key), choices in others.items():
        for value in choices:
            if value != fields[name][key]:
                label = f"{name}.{key} is {str(value)[:40]}"
                yield Tampering(label, name, setting((name, key), value), (name, key) in CLAIMS)


def derived(fields: Fields) -> Iterator[Tampering]:
    """What follows from the rest, stated otherwise."""
    found = fields["examined"]
    for key, number in found["counts"].items():
        for value in (number + 1, number - 1, bool(number), str(number)):
            yield Tampering(
                f"counts.{key} is {value!r}",
                "examined",
                setting(("examined", "counts", key), value),
            )
        yield Tampering(f"counts without {key}", "examined", without("examined", "counts", key))
    changes: dict[str, list[Any]] = {
        "closest": [0, 255, None],
        "near": [[[1, 2]], [[found["sample"][0], 0]]],
        "exact": [[found["sample"][0]], [1]],
        "sample": [[], found["sample"][1:], found["sample"][::-1], [*found["sample"], 10**6], [0]],
        "orphans": [[0], [10**6]],
        "featureless": [True, 0, 1],
        "hash": ["0" * 64, found["hash"].upper(), ""],
    }
    for key, choices in changes.items():
        for value in choices:
            if repr(value) != repr(found[key]):
                yield Tampering(
                    f"examined.{key} is {value!r}", "examined", setting(("examined", key), value)
                )
    said = fields["verdict"]
    for kind in (
        "consistent-with-use",
        "edited-or-collision",
        "denial-not-supported",
        "supported-denial",
        "denial-incomplete",
        "undecided",
        "cleared",
    ):
        if kind != said["kind"]:
            yield Tampering(f"the verdict {kind}", "verdict", setting(("verdict", "kind"), kind))
    for key, value in (
        ("use", 0),
        ("use", False),
        ("use", 1),
        ("text", "cleared"),
        ("text", said["text"] + "."),
        ("weaknesses", ["a doubt"]),
        ("weaknesses", None),
        ("weaknesses", [1]),
    ):
        yield Tampering(f"verdict.{key} is {value}", "verdict", setting(("verdict", key), value))
    if said["weaknesses"]:
        yield Tampering(
            "the weaknesses are left out", "verdict", setting(("verdict", "weaknesses"), [])
        )
        upgraded = {
            "kind": "supported-denial",
            "use": None,
            "text": "supported denial",
            "weaknesses": [],
        }
        yield Tampering("the verdict is upgraded", "verdict", setting(("verdict",), upgraded))


def tamperings(fields: Fields, others: Fields, image: bytes, seed: str) -> list[Tampering]:
    """All of them for one bundle."""
    rng = random.Random(seed)
    found = [*shapes(fields), *values(fields, others), *derived(fields)]
    found += [*openings(fields, rng)] if fields["openings"] else []
    found += [*images(fields, image)] if fields["pictures"] else []
    return [
        one for one in found if one.of(fields) != fields or repr(one.of(fields)) != repr(fields)
    ]
