"""The source files of jattr as a number: what was computed by other code is told apart."""

import hashlib
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any


def sources_digest(counts: Callable[[str], bool]) -> str:
    """Return the SHA-256 over the Python files of jattr that count, in the order of their paths.

    Args:
      counts: told a path such as "generators/base.py".
    """
    digest = hashlib.sha256()
    for name, text in sorted(_sources(resources.files("jattr"), "")):
        if counts(name):
            digest.update(f"{name}\n{len(text)}\n".encode() + text)
    return digest.hexdigest()


def _sources(folder: Any, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _sources(entry, f"{name}/")
        elif name.endswith(".py"):
            yield name, entry.read_bytes()
