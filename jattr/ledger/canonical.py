"""Canonical JSON of RFC 8785, strictly: what is read is spelt in the one legal way, or refused.

Numbers are whole, from -(2^53 - 1) to 2^53 - 1: fractions stand in texts, so that no two readers
can round them differently. https://www.rfc-editor.org/rfc/rfc8785
"""

import json
import re
from typing import Any, NoReturn

import rfc8785

from jattr.bounded_json import NestingError, read_json_text
from jattr.errors import LedgerError
from jattr.ledger.encoding import shown

MAX_INTEGER = 2**53 - 1
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")


def encode_canonical(value: Any) -> bytes:
    """Return the canonical JSON of a value.

    Values are None, bools, whole numbers, texts, and lists, tuples and dicts of them.

    Raises:
      LedgerError: something else is in it, a number too large, or a text that UTF-8 cannot spell.

    >>> encode_canonical({"b": [1, True], "a": None})
    b'{"a":null,"b":[1,true]}'
    """
    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"this cannot be written as canonical JSON: {error}") from error


def parse_canonical(data: bytes, what: str, limit: int) -> Any:
    """Return the value that canonical JSON of at most `limit` bytes states.

    Raises:
      LedgerError: it is longer, no JSON, nested more than 32 deep, names a key twice, has a
        fraction or a number too large, or is spelt in another way than the canonical one.
    """
    if len(data) > limit:
        raise LedgerError(f"{what} has {len(data)} bytes; at most {limit} are read")
    try:
        text = data.decode("utf-8")
        value = read_json_text(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except (LedgerError, NestingError) as error:
        raise LedgerError(f"{what}: {error}") from error
    except ValueError as error:
        raise LedgerError(f"{what} is no JSON in UTF-8: {error}") from error
    if not _is_canonical(value, text):
        raise LedgerError(
            f"{what} is not spelt as RFC 8785 demands (keys sorted, no blanks): {shown(data)}"
        )
    return value


def _is_canonical(value: Any, text: str) -> bool:
    if text.isascii():  # there Python's own, faster encoder writes what RFC 8785 demands
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text
    return encode_canonical(value).decode() == text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise LedgerError("an object names a key twice")
    return value


def _integer(text: str) -> int:
    if not INTEGER.fullmatch(text) or abs(value := int(text)) > MAX_INTEGER:
        raise LedgerError(f"the number {shown(text.encode())} is not from -(2^53 - 1) to 2^53 - 1")
    return value


def _refuse(text: str) -> NoReturn:
    raise LedgerError(f"the number {shown(text.encode())} is not whole; write fractions as texts")
