"""The witness over HTTP on loopback.

What it answers, what it bounds, and what its client refuses.
"""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_trees import tree_of

from jattr.errors import LedgerError, VerificationError
from jattr.ledger import witness_http
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.keys import COSIGNATURE, ML_DSA_44, Signer
from jattr.ledger.merkle import consistency_proof
from jattr.ledger.note import open_note, sign_note
from jattr.ledger.witness import MAX_BODY, Request, Witness, make_request
from jattr.ledger.witness_http import MAX_ANSWER, MAX_THREADS, WitnessServer, ask_witness, serve
from jattr.ledger.witness_store import WitnessStore

LOG = Signer.generate("example.com/log")
KEY = Signer.generate("example.com/witness", COSIGNATURE)
LARGE = Signer.generate("example.com/witness", ML_DSA_44)
TREE = tree_of(300)


@contextlib.contextmanager
def running(server: WitnessServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def served(store: WitnessStore, *, seconds: float) -> contextlib.AbstractContextManager[str]:
    return running(WitnessServer(Witness(store, [LOG.verifier]), seconds=seconds))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with WitnessStore.create(tmp_path, [KEY, LARGE]) as store, served(store, seconds=20) as url:
        yield url


def request(old: int, new: int) -> Request:
    checkpoint = sign_note(Checkpoint("example.com/log", new, TREE.root(new)).text, [LOG])
    return make_request(old, consistency_proof(old, new, TREE.node) if old else [], checkpoint)


def raw(url: str, data: bytes) -> bytes:
    """Send bytes and return all that comes back until the server hangs up."""
    host, port = url.removeprefix("http://").split(":")
    answer = b""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection((host, int(port)), timeout=30) as connection,
    ):
        connection.sendall(data)
        while part := connection.recv(65536):
            answer += part
    return answer


@contextlib.contextmanager
def answering(answer: bytes | Callable[[socket.socket], None]) -> Iterator[str]:
    """A hostile witness that says one thing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(30)
                    connection.recv(1 << 20)
                    if callable(answer):
                        answer(connection)
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def says(status: str, body: bytes, *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def test_a_log_is_cosigned_over_http(url: str) -> None:
    assert url.startswith("http://127.0.0.1:")
    for old, new in ((0, 1), (1, 256), (256, 300)):
        sent = request(old, new)
        signatures = ask_witness(url + "/", [KEY.verifier, LARGE.verifier], sent)
        assert isinstance(signatures, list)
        note = sent.note + "".join(signature.line for signature in signatures).encode()
        times = open_note(note, [KEY.verifier, LARGE.verifier]).verified
        assert abs((times[KEY.verifier] or 0) - time.time()) < 600
        assert times[KEY.verifier] == times[LARGE.verifier]
    assert ask_witness(url, [KEY.verifier], request(0, 300)) == 300
    assert ask_witness(url, [KEY.verifier], request(1, 256)) == 300
    (one,) = ask_witness(url, [KEY.verifier], request(300, 300))  # type: ignore[misc]
    assert one.key_id == KEY.verifier.key_id


def test_a_connection_is_used_again(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(connection):
        for size in (1, 2, 3):
            connection.request("POST", "/add-checkpoint", request(size - 1, size).data)
            used = connection.sock
            response = connection.getresponse()
            assert (response.status, response.headers["Content-Type"]) == (
                200,
                "text/plain; charset=utf-8",
            )
            assert response.read().count(b"\n") == 2
            assert connection.sock is used
        connection.request("POST", "/add-checkpoint", request(0, 3).data)
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (409, "text/x.tlog.size")
        assert response.read() == b"3\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /add-checkpoint HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"DELETE /add-checkpoint HTTP/1.1\r\nConnection: close\r\n\r\n", b"501"),
        (b"POST /other HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"404"),
        (b"POST /../add-checkpoint HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"404"),
        (b"POST /add-checkpoint HTTP/1.1\r\n\r\n", b"411"),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            b"411",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding:"
            b" chunked\r\n\r\nx",
            b"411",
        ),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", b"400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: \xb2\r\n\r\nx", b"400"),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            b"400",
        ),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), b"413"),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            b"400",
        ),
        (
            b"POST /add-checkpoint HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"Content-Length: 0\r\n\r\n",
            b"431",
        ),
        (b"POST /add-checkpoint HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b"431"),
        (b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b"400"),
        (b"POST /add-checkpoint HTTP/9.9\r\n\r\n", b"505"),
    ],
)
def test_requests_that_are_none(url: str, sent: bytes, status: bytes) -> None:
    answer = raw(url, sent)
    assert answer.split(b"\r\n")[0].split(b" ")[1] == status, answer
    assert b"Traceback" not in answer
    assert b"jattr/" not in answer
    assert isinstance(ask_witness(url, [KEY.verifier], request(0, 1)), list), "it goes on"


def test_a_body_that_is_cut_off(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 100\r\n\r\nold 0\n")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_peer_that_dawdles_is_hung_up_on(tmp_path: Path) -> None:
    with WitnessStore.create(tmp_path, [KEY]) as store, served(store, seconds=0.5) as url:
        host, port = url.removeprefix("http://").split(":")
        sent = 0
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection((host, int(port)), timeout=30) as peer,
        ):
            # each byte comes in good time
            for letter in b"POST /add-checkpoint HTTP/1.1\r\n" * 100:
                sent += peer.send(bytes([letter]))
                time.sleep(0.02)
        assert sent < 3000
        assert raw(url, b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n\r\nold") == b""
        assert isinstance(ask_witness(url, [KEY.verifier], request(0, 1)), list)


def test_only_so_many_at_a_time(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        held = [socket.create_connection((host, int(port)), timeout=30) for _ in range(MAX_THREADS)]
        for connection in held:
            stack.enter_context(connection)
            connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\n")
        assert raw(url, b"GET / HTTP/1.1\r\n\r\n") == b""
        held[0].sendall(b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        assert held[0].recv(65536).startswith(b"HTTP/1.1 400")
        while held[0].recv(65536):
            pass
    deadline = time.monotonic() + 60
    while not raw(url, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 404"):
        assert time.monotonic() < deadline, "it does not recover"
        time.sleep(0.01)


def test_it_listens_on_loopback_and_says_why_not_elsewhere(tmp_path: Path) -> None:
    with (
        WitnessStore.create(tmp_path, [KEY]) as store,
        WitnessServer(Witness(store, [LOG.verifier])) as server,
    ):
        assert server.server_address[0] == "127.0.0.1"
        with socket.create_server(("127.0.0.1", 0)) as other:
            for port in (other.getsockname()[1], -1, 65536):
                with pytest.raises(LedgerError, match="cannot listen"):
                    WitnessServer(server.witness, port=port)


def test_serve_tells_where_it_listens(tmp_path: Path) -> None:
    seen = []

    def ready(url: str) -> None:
        seen.append(url)
        raise KeyboardInterrupt

    with WitnessStore.create(tmp_path, [KEY]) as store, pytest.raises(KeyboardInterrupt):
        serve(Witness(store, [LOG.verifier]), ready=ready)
    assert seen[0].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (says("302 Found", b"", "Location: http://127.0.0.1:1/"), "redirect"),
        (says("307 Temporary Redirect", b"", "Location: /"), "redirect"),
        (says("500 Oh", b"no \x1b[31m\n" * 100), r"refuses \(500\): 'no \\x1b"),
        (says("403 Forbidden", b""), r"refuses \(403\)"),
        (says("204 No Content", b""), r"refuses \(204\)"),
        (says("200 OK", b""), "note"),
        (says("200 OK", b"x" * (MAX_ANSWER + 1)), "more than"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (1 << 20), "more than"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx",
            "cut off|cannot be reached",
        ),  # reset, where the system is quick
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx",
            "Incomplete|cannot be reached",
        ),
        (
            b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 60_000 + b"\r\n" * 2,
            "cannot be reached|note|cut off",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "cannot be reached"),
        (b"hello\r\n", "cannot be reached: BadStatusLine"),
        (b"", "cannot be reached: RemoteDisconnected"),
        (says("409 Conflict", b"5\n"), r"refuses \(409\)"),
        (says("409 Conflict", b"05\n", "Content-Type: text/x.tlog.size"), "leading zeroes"),
        (says("409 Conflict", b"5\n\n", "Content-Type: text/x.tlog.size"), "leading zeroes"),
        (says("409 Conflict", b"-1\n", "Content-Type: text/x.tlog.size"), "leading zeroes"),
        (says("409 Conflict", b"5", "Content-Type: text/x.tlog.size"), "refuses"),
    ],
)
def test_answers_that_are_none(answer: bytes, message: str) -> None:
    with answering(answer) as url, pytest.raises(LedgerError, match=message):
        ask_witness(url, [KEY.verifier], request(0, 3), seconds=20)


def lines(text: str, *signers: Signer, time: int = 9) -> bytes:
    return sign_note(text, signers, time=time).removeprefix(text.encode() + b"\n")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lines(Checkpoint("example.com/log", 4, TREE.root(4)).text, KEY), "invalid signature"),
        (lines(Checkpoint("example.com/log", 3, bytes(32)).text, KEY), "invalid signature"),
        (
            lines(
                request(0, 3).checkpoint.text, Signer.generate("example.com/witness", COSIGNATURE)
            ),
            "no trusted key",
        ),
        (lines(request(0, 3).checkpoint.text, KEY, time=0), "no time"),
        (lines(request(0, 3).checkpoint.text, KEY).replace(b"AAAJ", b"AAAK"), "invalid signature"),
        (
            b"other\n\n" + lines(request(0, 3).checkpoint.text + "\nother\n", KEY),
            "not this checkpoint",
        ),
    ],
)
def test_signatures_of_something_else(body: bytes, message: str) -> None:
    with answering(says("200 OK", body)) as url, pytest.raises(VerificationError, match=message):
        ask_witness(url, [KEY.verifier], request(0, 3), seconds=20)


def test_only_signatures_of_the_wanted_keys_are_kept() -> None:
    others = [Signer.generate(f"w{number}", COSIGNATURE) for number in range(50)]
    text = request(0, 3).checkpoint.text
    good = lines(text, KEY)
    for body in (
        lines(text, *others, KEY),
        good + lines(text, KEY, time=3),
        good + lines("x\n", KEY),
    ):
        with answering(says("200 OK", body)) as url:
            (kept,) = ask_witness(url, [KEY.verifier, LARGE.verifier], request(0, 3), seconds=20)  # type: ignore[misc]
        assert kept.line.encode() == good


def test_a_witness_that_dawdles() -> None:
    def dawdle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(3000):
            connection.sendall(b"x")
            time.sleep(0.01)

    with answering(dawdle) as url, pytest.raises(LedgerError, match="TimeoutError"):
        ask_witness(url, [KEY.verifier], request(0, 3), seconds=0.5)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "witness.example",
        "ftp://a/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://u:p@a/",
        "http://a:b/",
        "http://a:99999/",
        ("http://a/\r\nX: y"),
        "http://a/?q",
        "http://a/#f",
        "http://ä/",
        ("http://a b/"),
        "http://[::1/",
        "http://a\x00/",
        "http://" + "a" * 300 + "/",
        "http://.../",
        "http://127.0.0.1:0/",
        "http://\udcff/",
        "http://[\udcff/",
    ],
)
def test_urls_that_are_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*args: object, **options: object) -> list[object]:
        raise socket.gaierror("no names are looked up in tests")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(LedgerError, match=r"URL|cannot be reached"):
        ask_witness(url, [KEY.verifier], request(0, 3), seconds=1)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LedgerError, match="cannot be reached: ConnectionRefusedError"):
        ask_witness(f"http://127.0.0.1:{port}", [KEY.verifier], request(0, 3), seconds=5)


def test_the_server_asks_nobody() -> None:
    source = Path(witness_http.__file__).read_text(encoding="utf-8")
    server = source[source.index("class WitnessServer") : source.index("def ask_witness")]
    assert "HTTPConnection" not in server
    assert "create_connection" not in server
    assert json.dumps(witness_http.PATH) in source
