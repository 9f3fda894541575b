"""The strict text encodings of the C2SP formats: decimals, canonical base64, lines.

Formats that are signed or hashed must have one spelling only, else two readers may see two things
in one file. So what Python would kindly accept (`int(" 1_0")`, base64 with stray bits,
`str.splitlines`) is refused here. https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note
"""

import base64
import binascii
import re

from jattr.errors import LedgerError

DECIMAL = re.compile(rb"0|[1-9][0-9]{0,18}")
MAX_LOG_SIZE = 2**63 - 1  # of a log, of an index and of a time
HASH_BYTES = 32


def parse_decimal(text: bytes, what: str) -> int:
    """Return the number, 0 to 2^63 - 1, of an ASCII decimal without sign or leading zeroes."""
    if not DECIMAL.fullmatch(text) or (value := int(text)) > MAX_LOG_SIZE:
        raise LedgerError(
            f"{what} is {shown(text)}: write a number from 0 to 2^63 - 1 in ASCII digits without"
            " leading zeroes"
        )
    return value


def encode_base64(data: bytes) -> str:
    """Return the standard base64 of RFC 4648, section 4, padded."""
    return base64.b64encode(data).decode("ascii")


def parse_base64(text: bytes, what: str) -> bytes:
    """Return the bytes of canonical standard base64: padded, no spaces, unused bits zero.

    >>> parse_base64(b"AA==", "it")
    b'\\x00'
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data) != text:
        raise LedgerError(
            f"{what} is {shown(text)}: write canonical standard base64, padded (RFC 4648, section"
            " 4)"
        )
    return data


def parse_hash(text: bytes, what: str) -> bytes:
    """Return the 32 bytes of a base64 SHA-256 hash."""
    data = parse_base64(text, what)
    if len(data) != HASH_BYTES:
        raise LedgerError(f"{what} has {len(data)} bytes: a SHA-256 hash has {HASH_BYTES}")
    return data


def encode_text(text: str, what: str) -> bytes:
    """Return a text in UTF-8; JSON and command lines can state texts that have none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LedgerError(
            f"{what} has a letter that UTF-8 cannot spell (a lone surrogate)"
        ) from error


def split_lines(data: bytes, what: str) -> list[bytes]:
    """Return the lines without their newlines. Only `\\n` ends a line, and every line has one."""
    if not data.endswith(b"\n"):
        raise LedgerError(
            f"{what} does not end in a newline: it is cut off or was not written as a text of lines"
        )
    return data[:-1].split(b"\n")


def shown(text: bytes, limit: int = 60) -> str:
    """Return foreign bytes as they may be printed in an error message."""
    cut = text[:limit].decode("utf-8", "backslashreplace")
    return repr(cut + ("..." if len(text) > limit else ""))
