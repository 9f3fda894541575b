"""Where published files come from: a folder, or a web server that is not trusted. Everything read is bounded."""

import contextlib
import http.client
import os
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from jattr.errors import LedgerError

TIMEOUT = 10.0  # seconds that a server may be silent
DEADLINE = 120.0  # seconds that one file may take
CHUNK = 65_536
Source = Callable[[str, int], bytes | None]  # (path below the log's prefix, most bytes) -> the file; None if not there


def source_of(place: str | os.PathLike[str]) -> Source:
    """Return how to read the files of a log that is published in a folder or under an http(s) URL."""
    text = os.fspath(place)
    scheme = urllib.parse.urlsplit(text).scheme if "://" in text else ""
    if scheme in ("http", "https"):
        return web_source(text)
    if scheme:
        raise LedgerError(f"{text!r} is of the kind {scheme}: give a folder or an http or https URL")
    return folder_source(Path(text))


def folder_source(folder: Path) -> Source:
    """Return how to read a folder. Links that lead out of it and files that are not plain are refused.

    Raises:
      LedgerError: it is not there.
    """
    if not folder.is_dir():
        raise LedgerError(f"{folder} is no folder; give the folder or the URL that a log is published in")
    root = folder.resolve()

    def read(path: str, limit: int) -> bytes | None:
        file = (root / path).resolve()
        if not file.is_relative_to(root):
            raise LedgerError(f"{folder / path} leads out of the folder; it is not read")
        try:
            with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise LedgerError(f"{folder / path} is not a plain file; it is not read")
                return _bounded(stream.read(limit + 1), limit, str(folder / path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LedgerError(f"cannot read {folder / path}: {error.strerror}") from error

    return read


def web_source(prefix: str) -> Source:
    """Return how to read what a web server serves under a prefix."""
    opener = urllib.request.OpenerDirector()  # no file:, ftp: or data:, wherever a server redirects to
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())

    def read(path: str, limit: int) -> bytes | None:
        url = f"{prefix.rstrip('/')}/{path}"
        try:
            request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip, identity", "User-Agent": "jattr"})
            with contextlib.closing(opener.open(request, timeout=TIMEOUT)) as reply:
                data = _slowly(reply, limit, url)
                if reply.headers.get("Content-Encoding", "identity").lower() == "gzip":
                    data = _unpacked(data, limit, url)
            return _bounded(data, limit, url)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, 410):
                    return None
                raise LedgerError(f"{url}: the server says {error.code}; try again later, or another copy") from error
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
            reason = getattr(error, "reason", error)
            raise LedgerError(f"cannot read {url}: {reason}; try again later, or another copy of the log") from error

    return read


def _slowly(reply: IO[bytes], limit: int, url: str) -> bytes:
    """Read a reply within the deadline, at most one byte more than the limit."""
    end, data = time.monotonic() + DEADLINE, bytearray()
    while chunk := reply.read1(min(CHUNK, limit + 1 - len(data))):  # type: ignore[attr-defined]
        data += chunk
        if time.monotonic() > end:
            raise LedgerError(f"{url} took more than {DEADLINE:.0f} s; try another copy of the log")
        if len(data) > limit:
            break
    return bytes(data)


def _unpacked(data: bytes, limit: int, url: str) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    plain = unpacker.decompress(data, limit + 1)
    if len(plain) <= limit and not unpacker.eof:
        raise LedgerError(f"{url} is cut off: its gzip stream does not end")
    return plain


def _bounded(data: bytes, limit: int, what: str) -> bytes:
    if len(data) > limit:
        raise LedgerError(f"{what} has more than {limit} bytes; it is not read")
    return data
