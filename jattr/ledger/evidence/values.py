"""Values of a bundle, read strictly: each error begins with the name of the field.

Raises LedgerError, all of them.
"""

from typing import Any

from jattr.errors import LedgerError
from jattr.ledger.commitments import CONTROLS
from jattr.ledger.encoding import parse_base64


def object_of(found: dict[str, Any], name: str, *keys: str) -> dict[str, Any]:
    """Return an object that has these keys and no others."""
    value = found[name]
    if not isinstance(value, dict) or sorted(value) != sorted(keys):
        raise LedgerError(f"{name}: it is no object of {', '.join(keys)}")
    return value


def any_object(value: Any, name: str) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise LedgerError(f"{name}: it is no object")
    return value


def list_of(value: Any, name: str) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise LedgerError(f"{name}: it is no list")
    return value


def text_of(value: Any, name: str, limit: int = 2000) -> str:
    """Return a text without control characters."""
    if not isinstance(value, str) or len(value) > limit or CONTROLS.search(value):
        raise LedgerError(
            f"{name}: it is no text of at most {limit} characters without control characters"
        )
    return value


def whole_number(value: Any, name: str) -> int:
    """Return a whole number from 0."""
    if type(value) is not int or value < 0:
        raise LedgerError(f"{name}: it is no whole number from 0")
    return value


def base64_of(value: Any, name: str, limit: int = 2_000_000) -> bytes:
    """Return the bytes of a canonical base64 text."""
    if not isinstance(value, str) or len(value) > limit * 4 // 3 + 4:
        raise LedgerError(f"{name}: it is no base64 text of at most {limit} bytes")
    try:
        return parse_base64(value.encode(errors="replace"), name)
    except LedgerError as error:
        raise LedgerError(f"{name}: it is no canonical base64") from error
