"""The witness protocol over HTTP: a small server, and the client that asks one.

The server answers and never asks: it makes no requests of its own. It belongs behind a reverse
proxy that speaks TLS and limits how often a client may come; alone it is bounded in bytes, time and
threads. https://c2sp.org/tlog-witness
"""

import io
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.bounded import BoundedReader, bounded_response
from jattr.ledger.encoding import parse_decimal, shown
from jattr.ledger.keys import Verifier
from jattr.ledger.note import Signature, open_note, parse_note
from jattr.ledger.witness import MAX_BODY, PLAIN_TEXT, SIZE_TYPE, Request, Response, Witness

LOGGER = logging.getLogger(__name__)
PATH = "/add-checkpoint"
MAX_REQUEST_HEAD = 1 << 14  # bytes of a request line and headers, or of a status line and headers
MAX_ANSWER = 1 << 16  # bytes of an answer's body
MAX_REQUEST_SECONDS = 10.0  # that a request may take to arrive, and an answer
MAX_THREADS = 32
MAX_REQUESTS = 1000  # on one connection


class WitnessServer(socketserver.ThreadingTCPServer):
    """A server of one witness that listens when it is made; use it as those of `socketserver`."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_THREADS

    def __init__(
        self,
        witness: Witness,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        seconds: float = MAX_REQUEST_SECONDS,
    ):
        """Listen at a host's address, by default loopback; port 0 takes a free one.

        Raises:
          LedgerError: it cannot listen there.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.witness, self.seconds = witness, seconds
        self._slots = threading.BoundedSemaphore(MAX_THREADS)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise LedgerError(f"cannot listen at {host}, port {port}: {error}") from error

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, or hang up if there are too many."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note what went wrong with a connection; the others go on."""
        LOGGER.info(
            "connection from %s broke off",
            client_address,
            exc_info=LOGGER.isEnabledFor(logging.DEBUG),
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version, default_request_version = "HTTP/1.1", "HTTP/1.0"
    server_version, sys_version = "jattr-witness", ""
    error_message_format, error_content_type = "%(message)s\n", PLAIN_TEXT
    server: WitnessServer

    def setup(self) -> None:
        super().setup()
        self.bounds = BoundedReader(self.rfile, self.connection, max_bytes=0, seconds=0)
        self.rfile = io.BufferedReader(self.bounds)
        self.requests = 0

    def handle_one_request(self) -> None:
        self.bounds.renew(max_bytes=MAX_REQUEST_HEAD + MAX_BODY, seconds=self.server.seconds)
        self.requests += 1
        super().handle_one_request()
        if self.requests >= MAX_REQUESTS:
            self.close_connection = True

    def do_POST(self) -> None:
        lengths = self.headers.get_all("Content-Length", [])
        if self.path != PATH:
            return self._hang_up(404, f"post to {PATH}")
        if "Transfer-Encoding" in self.headers or len(lengths) != 1:
            return self._hang_up(
                411, "state the length of the body in one Content-Length, and send it in one piece"
            )
        try:
            length = parse_decimal(
                lengths[0].strip().encode("latin-1", "replace"), "the Content-Length"
            )
        except LedgerError as error:
            return self._hang_up(400, str(error))
        if length > MAX_BODY:
            return self._hang_up(413, f"at most {MAX_BODY} bytes are read")
        body = self.rfile.read(length)
        if len(body) < length:
            return self._hang_up(400, "the body is shorter than its Content-Length says")
        return self._answer(self.server.witness.add_checkpoint(body))

    def do_GET(self) -> None:
        self._hang_up(405 if self.path == PATH else 404, f"post to {PATH}")

    def _hang_up(self, status: int, message: str) -> None:
        self.close_connection = True
        self._answer(Response(status, PLAIN_TEXT, f"{message}\n".encode()))

    def _answer(self, response: Response) -> None:
        self.connection.settimeout(self.server.seconds)
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        if response.status == 405:
            self.send_header("Allow", "POST")
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:
        LOGGER.info("%s %s", self.client_address[0], shown((format % args).encode(), 200))


def serve(
    witness: Witness, host: str = "127.0.0.1", port: int = 0, *, ready: Callable[[str], None]
) -> None:
    """Answer requests until `KeyboardInterrupt`; `ready` is told the URL once it listens."""
    with WitnessServer(witness, host, port) as server:
        ready(server.url)
        server.serve_forever()


def ask_witness(
    url: str, keys: Sequence[Verifier], request: Request, *, seconds: float = MAX_REQUEST_SECONDS
) -> list[Signature] | int:
    """Ask the witness at a URL to cosign.

    Returns:
      The verified signatures of those `keys` that signed, at least one; or a number of entries,
      from which the witness wants to have consistency proved.

    Raises:
      LedgerError: it cannot be reached, refuses, redirects, or answers what is no answer.
      VerificationError: a signature of `keys` is wrong, or there is none.
    """
    response = _post(url, request.data, seconds)
    if (
        response.status == 409
        and response.content_type == SIZE_TYPE
        and response.body.endswith(b"\n")
    ):
        return parse_decimal(response.body[:-1], "the size that the witness states")
    if response.status in range(300, 400):
        raise LedgerError(
            f"it answers with a redirect ({response.status}), which is not followed; mend the URL"
        )
    if response.status != 200:
        raise LedgerError(f"it refuses ({response.status}): {shown(response.body.strip(), 200)}")
    text = request.checkpoint.text
    answer = f"{text}\n".encode() + response.body
    opened = open_note(answer, keys)
    # tlog-witness: the answer, joined to the checkpoint, is a note of which only the cosignatures
    # of trusted keys are taken over. Without a time a signature is no cosignature.
    timed = {(key.name, key.key_id) for key, time in opened.verified.items() if time}
    if opened.text != text or not timed:
        raise VerificationError("what it signed is not this checkpoint, or states no time")
    # the first of each key is the one that was verified
    lines = reversed(parse_note(answer).signatures)
    return list({(s.name, s.key_id): s for s in lines if (s.name, s.key_id) in timed}.values())


def _post(url: str, body: bytes, seconds: float) -> Response:
    """Post a request; nothing is followed, and only so much is read for so long."""
    connection, path = _connection(url, seconds)
    try:
        headers = {"Content-Type": PLAIN_TEXT, "Connection": "close"}
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read(MAX_ANSWER + 1)
        if len(answer) > MAX_ANSWER or (response.length or 0) > 0:
            raise LedgerError(f"its answer is cut off or has more than {MAX_ANSWER} bytes")
        return Response(response.status, response.headers.get("Content-Type", ""), answer)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, LedgerError):
            raise
        raise LedgerError(f"it cannot be reached: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _connection(url: str, seconds: float) -> tuple[HTTPConnection, str]:
    spelt = ascii(url[:100])
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise LedgerError(f"the URL {spelt} is misspelt") from error
    plain = (
        url.isascii()
        and url.isprintable()
        and " " not in url
        and not parts.query
        and not parts.fragment
    )
    if not plain or not host or parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise LedgerError(
            f"the URL {spelt}: write http://HOST[:PORT][/PATH] or https://..., in ASCII"
        )
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection, start = kind(host, port, timeout=seconds), time.monotonic()

    connection.response_class = bounded_response(
        MAX_REQUEST_HEAD + MAX_ANSWER + 1, lambda: start + seconds - time.monotonic()
    )
    return connection, parts.path.rstrip("/") + PATH
