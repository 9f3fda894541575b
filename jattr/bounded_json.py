"""JSON that others wrote, read to a depth that is checked before anything recurs.

Python's reader, its writer and `repr` end in a RecursionError at depths that differ between
versions and callers.
"""

import json
import re
from typing import Any

from jattr.typing import Json

MAX_DEPTH = 32  # objects and lists within each other
# a text, perhaps cut off, or a bracket
TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


class NestingError(ValueError):
    """JSON that is nested more than 32 deep."""


def read_json_text(text: str, **hooks: Any) -> Json:
    """Return the value that JSON states; `hooks` are those of `json.loads`.

    Raises:
      NestingError: it is nested more than 32 deep.
      ValueError: it is no JSON.

    >>> read_json_text('{"a": [1, "]["]}')
    {'a': [1, '][']}
    """
    _check_depth(text)
    return json.loads(text, **hooks)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NestingError(f"objects and lists are nested more than {MAX_DEPTH} deep")
        elif token[0] in "]}":
            depth -= 1
