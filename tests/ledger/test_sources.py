"""Servers that are hostile, slow or gone."""

import contextlib
import gzip
import socket
import threading

import pytest
from web_server import Server

from jattr.errors import LedgerError
from jattr.ledger import sources
from jattr.ledger.reader import PublishedLog


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("place", ["file:///etc", "ftp://example.com/log", "nowhere"])
def test_other_places_are_refused(place: str) -> None:
    with pytest.raises(LedgerError, match="give"):
        PublishedLog(place)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, {}, b""), "the server says 500"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "says 302"),
        ((302, {"Location": "/log/checkpoint"}, b""), "says 302"),
        ((200, {}, bytes(1_000_001)), "/log/checkpoint has more than 1000000 bytes"),
        (
            (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(9_000_000))),
            "has more than 1000000 bytes",
        ),
        (
            (200, {"Content-Encoding": "gzip"}, gzip.compress(b"x" * 100)[:-3]),
            "^http[^ ]* is cut off",
        ),
        ((200, {"Content-Length": "9"}, b"short"), "^http[^ ]* is cut off"),
        ((200, {"Content-Encoding": "gzip"}, b"noise"), "cannot read"),
        ((200, {"Content-Length": "x"}, b""), "no error"),
    ],
)
def test_hostile_servers(answer: tuple[int, dict[str, str], bytes], message: str) -> None:
    with Server(lambda path: answer) as url:
        if message == "no error":
            assert PublishedLog(url).checkpoint() == b""
            return
        with pytest.raises(LedgerError, match=message):
            PublishedLog(url).checkpoint()


def test_a_server_that_is_silent_or_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FETCH_SECONDS", 0.2)
    go_on = threading.Event()

    def silent(path: str) -> tuple[int, dict[str, str], bytes]:
        go_on.wait(60)
        return 404, {}, b""

    with Server(silent) as url:
        with pytest.raises(LedgerError, match="timed out"):
            PublishedLog(url).checkpoint()
        go_on.set()
    with pytest.raises(LedgerError, match=r"cannot read .*refused"):
        PublishedLog(url).checkpoint()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_server_that_drips(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(sources, "MAX_FETCH_SECONDS", 0.3)
    gone = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(head)
            while not gone.wait(0.02):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(LedgerError, match=r"timed out|too long"):
            PublishedLog(f"http://127.0.0.1:{server.getsockname()[1]}").checkpoint()
        gone.set()
        thread.join()
