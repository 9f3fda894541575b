"""Checkpoints: what a log commits to, as origin, size and root, a line each.

https://c2sp.org/tlog-checkpoint
"""

from dataclasses import dataclass

from jattr.errors import LedgerError
from jattr.ledger.encoding import (
    HASH_BYTES,
    MAX_LOG_SIZE,
    encode_base64,
    encode_text,
    parse_decimal,
    parse_hash,
    split_lines,
)


@dataclass(frozen=True)
class Checkpoint:
    """The text of a checkpoint, before it is signed."""

    origin: str  # name of the log, and of the key that signs for it
    size: int  # entries
    root: bytes  # 32 bytes, of RFC 6962
    extensions: tuple[str, ...] = ()  # lines that other logs may add; ours never do

    def __post_init__(self) -> None:
        """Check the fields."""
        check_origin(self.origin)
        if not 0 <= self.size <= MAX_LOG_SIZE or len(self.root) != HASH_BYTES:
            raise LedgerError(
                f"a checkpoint has a size from 0 to 2^63 - 1 and a root of {HASH_BYTES} bytes"
            )

    @property
    def text(self) -> str:
        """The lines that are signed."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint that a note's text states.

    Raises:
      LedgerError: the text is not spelt as the format demands.
    """
    lines = split_lines(encode_text(text, "the checkpoint"), "the checkpoint")
    if len(lines) < 3:
        raise LedgerError(
            f"a checkpoint has three lines, origin, size and root; this one has {len(lines)}"
        )
    size = parse_decimal(lines[1], "the size of the checkpoint")
    root = parse_hash(lines[2], "the root")
    extensions = tuple(line.decode() for line in lines[3:])
    if "" in extensions:
        raise LedgerError("the checkpoint has an empty line, which no extension line may be")
    return Checkpoint(lines[0].decode(), size, root, extensions)


def check_origin(origin: str) -> None:
    """Check the name of a log: it is also a key name, so it has no spaces and no plus."""
    if not origin or "+" in origin or " " in origin or not origin.isprintable():
        raise LedgerError(
            f"the origin of a log is {origin[:60]!a}: choose a name without spaces, plus signs and"
            " what cannot be printed, best a URL without its scheme, such as example.com/log"
        )
