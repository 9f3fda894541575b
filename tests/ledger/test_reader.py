"""Reading what is published, from a folder or over HTTP, from somebody who is not trusted."""

import gzip
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from log_files import entries, make_log, stated
from web_server import Server

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.merkle import leaf_hash, root_of
from jattr.ledger.publish import publish
from jattr.ledger.reader import PublishedLog, verify_window
from jattr.ledger.tiles import TilePath, encode_bundle

SIZES = (3, 256, 300, 600)


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[int, Checkpoint]:
    """A published log of 600 entries; the checkpoints of its sizes."""
    found = {}
    with make_log(tmp_path / "log") as store:
        for size in SIZES:
            store.append(entries(store.size, size))
            note = store.sign_checkpoint()
            publish(store, tmp_path / "public", note)
            found[size] = stated(note)
    return found


@pytest.fixture
def public(tmp_path: Path, checkpoints: dict[int, Checkpoint]) -> Path:
    return tmp_path / "public"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def url(public: Path) -> Iterator[str]:
    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        file = public / path.removeprefix("/log/")
        if not file.is_file():
            return 404, {}, b"not here"
        if "entries" in path:
            return 200, {"Content-Encoding": "gzip"}, gzip.compress(file.read_bytes())
        return 200, {}, file.read_bytes()

    with Server(answer) as url:
        yield url


def windows(checkpoints: dict[int, Checkpoint]) -> Iterator[tuple[Checkpoint | None, Checkpoint]]:
    for end in SIZES:
        yield None, checkpoints[end]
        yield from ((checkpoints[start], checkpoints[end]) for start in SIZES if start <= end)


@pytest.mark.parametrize("place", ["public", "url"])
def test_windows_are_whole(
    place: str, request: pytest.FixtureRequest, checkpoints: dict[int, Checkpoint]
) -> None:
    log = PublishedLog(request.getfixturevalue(place))
    assert stated(log.checkpoint()) == checkpoints[600]
    for start, end in windows(checkpoints):
        seen: list[tuple[int, bytes]] = []
        first = start.size if start else 0
        assert (
            verify_window(
                log, start, end, lambda number, entry, seen=seen: seen.append((number, entry))
            )
            == end.size - first
        )
        assert seen == list(enumerate(entries(first, end.size), first))


@pytest.mark.parametrize("place", ["public", "url"])
def test_entries_and_nodes(
    place: str, request: pytest.FixtureRequest, checkpoints: dict[int, Checkpoint]
) -> None:
    log = PublishedLog(request.getfixturevalue(place))
    for start, end in ((0, 0), (0, 1), (255, 257), (299, 300), (10, 290), (300, 300)):
        assert list(log.entries(start, end, 300)) == entries(start, end)
    hashes = [leaf_hash(entry) for entry in entries(0, 600)]
    for level, index in ((0, 0), (0, 299), (3, 36), (7, 1), (8, 0)):
        assert log.node(level, index, 300) == root_of(hashes[index << level : (index + 1) << level])
    for level, index in ((0, 300), (5, 9), (8, 1), (40, 0)):
        with pytest.raises(LedgerError):
            log.node(level, index, 300)
    for start, end in ((-1, 2), (2, 1), (0, 301)):
        with pytest.raises(LedgerError, match="no entries"):
            list(log.entries(start, end, 300))


def test_windows_that_cannot_be(public: Path, checkpoints: dict[int, Checkpoint]) -> None:
    log, end = PublishedLog(public), checkpoints[300]
    wrong = bytes(32)
    cases = [
        (checkpoints[600], end, "begins after 600 entries and ends after 300"),
        (replace(end, origin="example.com/other"), end, "begins in the log example.com/other"),
        (replace(checkpoints[3], root=wrong), end, "the first 3 entries are not those"),
        (Checkpoint(end.origin, 0, wrong), end, "the first 0 entries are not those"),
        (
            checkpoints[3],
            replace(end, root=wrong),
            "the 297 entries of the window do not lead to the root",
        ),
        (replace(end, root=wrong), end, "the first 300 entries are not those"),
        (None, replace(end, size=299), "the 299 entries of the window do not lead"),
    ]
    for start, stop, message in cases:
        with pytest.raises(VerificationError, match=message):
            verify_window(log, start, stop)


@pytest.mark.parametrize("change", ["altered", "left out", "added", "swapped", "duplicated"])
def test_a_window_with_other_entries(
    public: Path, checkpoints: dict[int, Checkpoint], change: str
) -> None:
    bundle = entries(256, 512)
    changed = {
        "altered": [b"x", *bundle[1:]], "left out": bundle[1:], "added": [*bundle, b"x"],
        "swapped": [bundle[1], bundle[0], *bundle[2:]], "duplicated": [bundle[0], *bundle[:-1]],
    }[change]  # fmt: skip
    (public / "tile/entries/001").write_bytes(encode_bundle(changed))
    log = PublishedLog(public)
    for start in (None, checkpoints[3], checkpoints[256]):
        with pytest.raises(
            (VerificationError, LedgerError), match=r"do not lead to the root|bundle"
        ):
            verify_window(log, start, checkpoints[600])
    assert verify_window(log, checkpoints[600], checkpoints[600]) == 0


def test_damaged_tiles_fail_the_start(public: Path, checkpoints: dict[int, Checkpoint]) -> None:
    path = public / "tile/0/001"
    path.write_bytes(bytes(32) + path.read_bytes()[32:])
    with pytest.raises(VerificationError, match="the first 300 entries are not those"):
        verify_window(PublishedLog(public), checkpoints[300], checkpoints[600])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LedgerError, match="tile/0/001: 8191 bytes, not 256 hashes"):
        verify_window(PublishedLog(public), checkpoints[300], checkpoints[600])
    path.write_bytes(bytes(8193))
    with pytest.raises(LedgerError, match="tile/0/001 has more than 8192 bytes"):
        verify_window(PublishedLog(public), checkpoints[300], checkpoints[600])


def test_withheld_files_are_named(public: Path, checkpoints: dict[int, Checkpoint]) -> None:
    (public / "tile/entries/002.p/88").unlink()
    with pytest.raises(LedgerError, match=r"withholds tile/entries/002\.p/88"):
        verify_window(PublishedLog(public), None, checkpoints[600])
    (public / "checkpoint").unlink()
    with pytest.raises(LedgerError, match="no log is published there"):
        PublishedLog(public).checkpoint()


def test_folders_do_not_lead_elsewhere(public: Path, tmp_path: Path) -> None:
    secret, path = tmp_path / "secret", public / "tile/entries/000"
    secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(LedgerError, match="leads out of the folder"):
        list(PublishedLog(public).entries(0, 3, 600))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LedgerError, match="not a plain file"):
        list(PublishedLog(public).entries(0, 3, 600))
    path.unlink()
    path.mkdir()
    with pytest.raises(LedgerError, match=r"not a plain file|Is a directory"):
        list(PublishedLog(public).entries(0, 3, 600))


def test_every_altered_byte_of_a_bundle_is_noticed(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 5) as store:
        publish(store, tmp_path / "public", store.sign_checkpoint())
        end = stated(store.sign_checkpoint())
    path = tmp_path / "public" / str(TilePath(None, 0, 5))
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises((VerificationError, LedgerError)):
                verify_window(PublishedLog(tmp_path / "public"), None, end)
