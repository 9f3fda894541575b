"""Logs to test with."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.keys import Signer
from jattr.ledger.note import parse_note
from jattr.ledger.store import LogStore

ORIGIN = "example.com/log"
SIGNER = Signer(ORIGIN, 1, bytes(range(32)))
NOBODY = 65_534


def entries(start: int, end: int) -> list[bytes]:
    return [f"entry {number}".encode() * (number % 3) for number in range(start, end)]


def make_log(folder: Path, size: int = 0) -> LogStore:
    store = LogStore.create(folder, ORIGIN, [SIGNER])
    store.append(entries(0, size))
    return store


def stated(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note).text)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take away the right to write below a folder.

    From root, too, who gives up being root meanwhile.
    """
    paths = [folder, *folder.rglob("*")]
    root = os.geteuid() == 0
    for path in paths:
        if root:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


@contextlib.contextmanager
def full_disk(bytes_left: int = 0) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
