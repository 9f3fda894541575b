"""Reads JSON that others wrote: nothing twice, nothing infinite, nothing endless."""

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from jattr.bounded_json import MAX_DEPTH, NestingError, read_json_text
from jattr.errors import CardError
from jattr.typing import Json, JsonObject

MAX_CARD_BYTES = 1 << 20  # the largest card file; real ones have about 1500 bytes
MAX_VALUES = 20_000  # values and names in one card; 1000 layers need 11,000
MAX_CARD_INTEGER = 1 << 63


def read_json(path: str | os.PathLike[str]) -> Json:
    """Return the content of a UTF-8 JSON file of at most 1 MiB.

    Duplicate keys, NaN and infinities are refused.

    Raises:
      CardError: the file cannot be read or is not such JSON; the message does not repeat the path.
    """
    try:
        text = _read_bytes(path).decode("utf-8-sig")
        return read_json_text(text, object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise CardError(f"byte {error.start} is not UTF-8; save the card as UTF-8 text") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CardError(f"not JSON: {error.msg} ({where}); correct it there") from error
    except NestingError as error:
        raise CardError(f"nested too deeply; at most {MAX_DEPTH} levels are read") from error
    except CardError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise CardError("holds a number with too many digits; write a smaller one") from error


def plain(value: Json) -> Json:
    """Return a copy of a JSON value in dicts and lists.

    What JSON cannot say, and what is too large, is refused.

    Raises:
      CardError: a value that is no JSON, not finite, nested too deeply, or one too many.
    """
    return _plain(value, "the card", MAX_DEPTH, [MAX_VALUES])


def _plain(value: Json, where: str, depth: int, left: list[int]) -> Json:
    left[0] -= 1
    if left[0] < 0:
        raise CardError(f"the card holds more than {MAX_VALUES} values; shorten it")
    if depth == 0:
        raise CardError(f"the card is nested too deeply; at most {MAX_DEPTH} levels are read")
    match value:
        case None | bool():
            return value
        case int():
            return _checked(
                value,
                -MAX_CARD_INTEGER <= value < MAX_CARD_INTEGER,
                where,
                "an integer of more than 64 bits",
            )
        case float():
            return _checked(value, math.isfinite(value), where, "not a finite number")
        case str():
            return _checked(
                value,
                not any("\ud800" <= c <= "\udfff" for c in value),
                where,
                "text with half a character",
            )
        case Mapping() if all(isinstance(name, str) for name in value):
            names = [_plain(name, f"a name in {where}", depth, left) for name in value]
            return {
                name: _plain(value[name], _inside(where, name), depth - 1, left) for name in names
            }
        case list() | tuple():
            return [_plain(item, f"{where}[{i}]", depth - 1, left) for i, item in enumerate(value)]
    what = (
        "an object with a name that is no text"
        if isinstance(value, Mapping)
        else f"a {type(value).__name__}"
    )
    raise CardError(
        f"{where} is {what}; use what JSON has: text, numbers, lists, objects with texts as names"
    )


def _checked(value: Json, legal: bool, where: str, fault: str) -> Json:
    if not legal:
        raise CardError(f"{where} is {fault}; correct it")
    return value


def _inside(where: str, name: str) -> str:
    name = name if name.isidentifier() and name.isascii() else ascii(name)
    name = name if len(name) <= 60 else f"{name[:57]}..."
    return name if where == "the card" else f"{where}.{name}"


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: a pipe would wait for ever
            raise CardError("not a file; give the path of a card, a .json file")
        with Path(path).open("rb") as file:
            data = file.read(MAX_CARD_BYTES + 1)
    except CardError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise CardError(
            f"cannot be read ({reason}); give the path of a card, a .json file"
        ) from error
    if len(data) > MAX_CARD_BYTES:
        raise CardError(
            f"larger than {MAX_CARD_BYTES} bytes; a card has a few thousand: is this the weights"
            " file?"
        )
    return data


def _object(pairs: list[tuple[str, Json]]) -> JsonObject:
    """Return the object of `pairs`, refusing two equal names.

    JSON leaves open which of two counts.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CardError(f"{ascii(twice)[:60]} stands twice in one object; remove one of them")
    return result


def _constant(word: str) -> None:
    raise CardError(f"holds {word}, which is no JSON; write a finite number")
