"""Where published files come from: a folder or a web server; all reading is bounded."""

import contextlib
import http.client
import os
import stat
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

from jattr.errors import LedgerError
from jattr.ledger.bounded import bounded_response

MAX_FETCH_SECONDS = 60.0  # that one file may take, from asking to its last byte
MAX_REPLY_HEAD = 1_000_000  # bytes of a reply before the file
# (path below the log's prefix, most bytes) -> the file; None if not there
Source = Callable[[str, int], bytes | None]


def source_of(location: str | os.PathLike[str]) -> Source:
    """Return how to read the files of a log, published in a folder or under an http(s) URL."""
    text = os.fspath(location)
    scheme = urllib.parse.urlsplit(text).scheme if "://" in text else ""
    if scheme in ("http", "https"):
        return web_source(text)
    if scheme:
        raise LedgerError(
            f"{text!r} is of the kind {scheme}: give a folder or an http or https URL"
        )
    return folder_source(Path(text))


def folder_source(folder: Path) -> Source:
    """Return how to read a folder; links out of it and files that are not plain are refused.

    Raises:
      LedgerError: it is not there.
    """
    if not folder.is_dir():
        raise LedgerError(
            f"{folder} is no folder; give the folder or the URL that a log is published in"
        )
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

    def read(path: str, limit: int) -> bytes | None:
        url = f"{prefix.rstrip('/')}/{path}"
        try:
            request = urllib.request.Request(
                url, headers={"Accept-Encoding": "gzip, identity", "User-Agent": "jattr"}
            )
            with contextlib.closing(
                _opener(limit).open(request, timeout=MAX_FETCH_SECONDS)
            ) as reply:
                data = _bounded(reply.read(limit + 1), limit, url)
                if reply.length:
                    raise LedgerError(
                        f"{url} is cut off; try again later, or another copy of the log"
                    )
                if reply.headers.get("Content-Encoding", "identity").lower() == "gzip":
                    data = _bounded(_unpacked(data, limit, url), limit, url)
            return data
        except LedgerError:
            raise
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, 410):
                    return None
                raise LedgerError(
                    f"{url}: the server says {error.code}; try again later, or another copy"
                ) from error
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
            reason = getattr(error, "reason", error)
            raise LedgerError(
                f"cannot read {url}: {reason}; try again later, or another copy of the log"
            ) from error

    return read


def _opener(limit: int) -> urllib.request.OpenerDirector:
    """Return what opens http and https only, wherever a server redirects to, in bounded time."""

    response = bounded_response(MAX_REPLY_HEAD + limit + 1, lambda: MAX_FETCH_SECONDS)

    class Plain(http.client.HTTPConnection):
        response_class = response

    class Secure(http.client.HTTPSConnection):
        response_class = response

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        PlainHandler,
        SecureHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


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
