"""The store of a log: what is acknowledged is there, what is signed only extends, and every failure is one error."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from ledger_vectors import vectors
from log_files import ORIGIN, SIGNER, entries, full_disk, make_log, read_only, stated

from jattr.errors import InputError, LedgerError, VerificationError
from jattr.ledger.keys import ML_DSA_44, Signer, parse_skey
from jattr.ledger.merkle import EMPTY_ROOT, leaf_hash, root_of, verify_consistency, verify_inclusion
from jattr.ledger.note import open_note, sign_note
from jattr.ledger.policy import Party, Policy
from jattr.ledger.store import LogStore
from jattr.ledger.tiles import MAX_ENTRY

SIZES = (1, 2, 255, 256, 257, 511, 600)
OTHER = Signer(ORIGIN, 1, bytes(32))


def leaves(size: int) -> list[bytes]:
    return [leaf_hash(entry) for entry in entries(0, size)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@contextlib.contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(folder / "log.sqlite")) as db:
        yield db
        db.commit()


def test_a_new_log(folder: Path) -> None:
    with make_log(folder) as store:
        assert (store.origin, store.size, store.root, store.signers) == (ORIGIN, 0, EMPTY_ROOT, (SIGNER,))
        assert store.last_checkpoint() is None
        assert store.append([]) == range(0)
        assert stated(store.sign_checkpoint()).root == EMPTY_ROOT
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o600
    assert SIGNER.skey.split("+")[-1] not in (folder / "log.json").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["log"]


def test_entries_root_and_proofs(folder: Path) -> None:
    hashes = leaves(max(SIZES))
    with make_log(folder) as store:
        for old, new in zip((0, *SIZES), SIZES, strict=False):
            assert store.append(entries(old, new)) == range(old, new)
            assert (store.size, store.root) == (new, root_of(hashes[:new]))
        roots = {size: store.root_at(size) for size in SIZES}
        for size in SIZES:
            assert roots[size] == root_of(hashes[:size])
            for index in {0, size // 2, size - 1}:
                verify_inclusion(hashes[index], index, size, store.inclusion(index, size), roots[size])
            for old in SIZES[: SIZES.index(size) + 1]:
                verify_consistency(old, size, roots[old], roots[size], store.consistency(old, size))
        assert list(store.entries(3, 590)) == entries(3, 590)
        assert store.entry(599) == entries(599, 600)[0]
        assert store.node(0, 5) == hashes[5]
        assert store.node(8, 1) == root_of(hashes[256:512])


def test_a_log_that_is_opened_again_goes_on(folder: Path) -> None:
    with make_log(folder, 300) as store:
        note = store.sign_checkpoint()
    with LogStore.open(folder) as store:
        assert (store.size, store.last_checkpoint()) == (300, note)
        assert store.append(entries(300, 600)) == range(300, 600)
        assert store.root == root_of(leaves(600))


def test_what_is_not_there_is_refused(folder: Path) -> None:
    with make_log(folder, 5) as store:
        questions: list[Callable[[], object]] = [
            lambda: store.entry(5), lambda: store.entry(-1), lambda: store.entries(3, 2), lambda: store.root_at(6),
            lambda: store.root_at(-1), lambda: store.inclusion(5, 5), lambda: store.inclusion(0, 6),
            lambda: store.inclusion(-1, 5), lambda: store.consistency(0, 5), lambda: store.consistency(3, 6),
            lambda: store.consistency(4, 3), lambda: store.node(0, 5), lambda: store.node(3, 0),
            lambda: store.node(8, 0),
        ]  # fmt: skip
        for question in questions:
            with pytest.raises(LedgerError):
                question()


def test_an_entry_that_is_too_long_spoils_nothing(folder: Path) -> None:
    with make_log(folder) as store:
        with pytest.raises(LedgerError, match="65536 bytes"):
            store.append([b"one", bytes(MAX_ENTRY + 1)])
        assert store.append([bytes(MAX_ENTRY)]) == range(1)


def test_threads_share_transactions_and_each_keeps_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: dict[bytes, int] = {}
    commits = []

    def append(thread: int) -> None:
        pair = [f"{thread} {half}".encode() for half in "ab"]
        places.update(zip(pair, store.append(pair), strict=True))

    def slow(first: int, rows: Sequence[tuple[bytes, bytes]]) -> None:
        while not commits and len(store._waiting) < 7:  # the first one's disk is slow
            time.sleep(0.001)
        commits.append(len(rows))
        committed(first, rows)

    with make_log(folder) as store:
        committed = store._database.add_entries
        monkeypatch.setattr(store._database, "add_entries", slow)
        threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert commits == [2, 14]
        assert sorted(places.values()) == list(range(16)) == list(range(store.size))
        assert all(store.entry(place) == entry for entry, place in places.items())
        assert all(places[f"{t} a".encode()] + 1 == places[f"{t} b".encode()] for t in range(8))


def test_checkpoints_are_kept_before_they_are_returned(folder: Path) -> None:
    signers = [SIGNER, Signer(ORIGIN, ML_DSA_44, bytes(32))]
    with LogStore.create(folder, ORIGIN, signers) as store:
        store.append(entries(0, 4))
        note = store.sign_checkpoint(time=1000)
        opened = open_note(note, [signer.verifier for signer in signers])
        assert opened.verified == {signers[0].verifier: None, signers[1].verifier: 1000}
        assert stated(note).root == root_of(leaves(4))
        assert (folder / "last-checkpoint").read_bytes() == note
        assert store.sign_checkpoint(time=2000) == note  # one only for one tree
        store.append(entries(4, 5))
        assert [signed.note for signed in store.checkpoints()] == [note]
        second = store.sign_checkpoint()
        assert [signed.size for signed in store.checkpoints()] == [4, 5]
        assert [signed.note for signed in store.checkpoints(5)] == [second]
    with LogStore.open(folder) as store:
        assert store.sign_checkpoint() == second


def test_checkpoints_of_tessera() -> None:
    reference = vectors("tessera_testdata_log")
    signer = parse_skey(reference["skey_published_test_only"])
    with tempfile.TemporaryDirectory() as folder, LogStore.create(Path(folder), signer.name, [signer]) as store:
        made = {"checkpoint.0": store.sign_checkpoint()}
        for size, entry in enumerate(reference["entries_utf8"], 1):
            store.append([entry.encode()])
            made[f"checkpoint.{size}"] = store.sign_checkpoint()
    made["checkpoint"] = made["checkpoint.15"]
    wanted = {path: b64decode(data) for path, data in reference["files_b64"].items() if path.startswith("checkpoint")}
    assert made == wanted


def test_receipts_verify(folder: Path) -> None:
    policy = Policy(logs=(Party(SIGNER.verifier),))
    with make_log(folder, 300) as store:
        note = store.sign_checkpoint()
        store.append(entries(300, 301))
        assert store.receipt(7, note).verify(entries(7, 8)[0], policy).checkpoint.size == 300
        with pytest.raises(LedgerError, match="not among the first 300"):
            store.receipt(300, note)
        for foreign in (note.replace(b"\n300\n", b"\n301\n"), sign_note(stated(note).text, [OTHER])):
            with pytest.raises(LedgerError, match=r"has not signed this checkpoint of 30. entries"):
                store.receipt(7, foreign)


def test_a_clock_that_runs_back(folder: Path) -> None:
    with make_log(folder, 1) as store:
        store.sign_checkpoint(time=1000)
        store.append(entries(1, 2))
        with pytest.raises(LedgerError, match=r"the clock says 999.*signed at 1000"):
            store.sign_checkpoint(time=999)
        assert [signed.size for signed in store.checkpoints()] == [1]
        assert stated(store.sign_checkpoint(time=999, clock_was_ahead=True)).size == 2
        store.append(entries(2, 3))
        assert stated(store.sign_checkpoint(time=999)).size == 3


def test_two_writers(folder: Path) -> None:
    with make_log(folder, 3):
        with pytest.raises(LedgerError, match="another process writes"):
            LogStore.open(folder)
        code = f"from jattr.ledger.store import LogStore; LogStore.open({str(folder)!r})"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another process writes" in other.stderr.splitlines()[-1]
    LogStore.open(folder).close()


def test_readers_beside_a_writer(folder: Path) -> None:
    with make_log(folder, 3) as store, LogStore.open(folder, writable=False) as reader:
        store.append(entries(3, 400))
        assert (reader.size, reader.signers) == (3, ())
        assert list(reader.entries(0, 3)) == entries(0, 3)
        assert reader.root == store.root_at(3)
        for write in (lambda: reader.append([b"x"]), reader.sign_checkpoint):
            with pytest.raises(LedgerError, match="opened to be read"):
                write()
        with LogStore.open(folder, writable=False) as later:
            assert (later.size, later.root) == (400, store.root)


def test_a_closed_log(folder: Path) -> None:
    store = make_log(folder, 3)
    store.close()
    store.close()
    for use in (lambda: store.append([b"x"]), store.sign_checkpoint, lambda: store.entry(0), store.checkpoints):
        with pytest.raises(LedgerError, match="closed"):
            use()


@pytest.mark.parametrize("taken", ["file", "folder", "log"])
def test_a_place_that_is_taken(folder: Path, taken: str) -> None:
    if taken == "log":
        make_log(folder).close()
    elif taken == "file":
        folder.write_bytes(b"mine")
    else:
        folder.mkdir()
        (folder / "mine").touch()
    with pytest.raises(LedgerError, match="exists already"):
        make_log(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["log"]


@pytest.mark.parametrize(
    "signers", [[], [OTHER, SIGNER], [Signer("example.com/other", 1, bytes(32))], [Signer(ORIGIN, 4, bytes(32))]]
)
def test_keys_that_will_not_do(folder: Path, signers: list[Signer]) -> None:
    with pytest.raises(LedgerError, match="key"):
        LogStore.create(folder, ORIGIN, signers)
    assert not folder.exists()


def test_rotation(folder: Path) -> None:
    with make_log(folder, 3) as store:
        first = store.sign_checkpoint()
        store.append([b"the new key"])
        store.rotate([OTHER])
        second = store.sign_checkpoint()
        assert open_note(second, [OTHER.verifier]).verified
        assert store.receipt(0, first).checkpoint == first
    with LogStore.open(folder) as store:
        assert store.signers == (OTHER,)
        assert store.sign_checkpoint() == second


def test_full_disk(folder: Path) -> None:
    big = [hashlib.sha256(bytes([n])).digest() * 2000 for n in range(20)]
    with make_log(folder, 10) as store:
        note = store.sign_checkpoint()
        with full_disk(100_000), pytest.raises(LedgerError, match=r"cannot write .*log.sqlite"):
            store.append(big)
        assert (store.size, store.entry(9)) == (10, entries(9, 10)[0])
        with pytest.raises(LedgerError, match="could not be written before"):
            store.append([b"more"])
        with pytest.raises(LedgerError, match="could not be written before"):
            store.sign_checkpoint()
    with LogStore.open(folder) as store:
        assert (store.size, store.last_checkpoint()) == (10, note)
        assert store.append(big) == range(10, 30)


def test_a_checkpoint_that_cannot_be_kept_is_not_returned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise OSError(5, "Input/output error")

    with make_log(folder, 10) as store:
        monkeypatch.setattr("jattr.ledger.store.replace_file", fails)
        with pytest.raises(LedgerError, match="Input/output error"):
            store.sign_checkpoint()
        with pytest.raises(LedgerError, match="open it anew"):
            store.append([b"x"])
    with LogStore.open(folder) as store:
        assert store.size == 10


def test_read_only() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        make_log(Path(place) / "log", 3).close()
        with read_only(Path(place)):
            with pytest.raises(LedgerError, match=r"Permission denied.*mend its permissions"):
                LogStore.open(Path(place) / "log")
            with pytest.raises(LedgerError, match="Permission denied"):
                make_log(Path(place) / "another")


@pytest.mark.parametrize("name", ["log.json", "log.sqlite", "keys"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise", "folder"])
def test_damaged_files(folder: Path, name: str, damage: str) -> None:
    make_log(folder, 300).close()
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        noise = hashlib.shake_128(name.encode()).digest(len(whole))
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": noise}[damage])
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
        LogStore.open(folder)
    assert "\n" not in str(caught.value)
    assert SIGNER.skey.split("+")[-1] not in str(caught.value)


def test_a_folder_without_a_log(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(LedgerError, match="no folder of a log"):
            LogStore.open(place)


@pytest.mark.parametrize("text", ['{"schema":1}', "[]", "null", "1" * 5000, "[" * 50_000, '{"origin":1,"keys":[1]}'])
def test_hostile_identity(folder: Path, text: str) -> None:
    make_log(folder).close()
    (folder / "log.json").write_text(text)
    with pytest.raises(LedgerError, match=r"log\.json is damaged"):
        LogStore.open(folder)


def test_identity_has_one_spelling(folder: Path) -> None:
    make_log(folder).close()
    path = folder / "log.json"
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 1, "schema": 1'))
    with pytest.raises(LedgerError, match="not as this jattr writes it"):
        LogStore.open(folder)


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        ("DELETE FROM entries WHERE number = 7", LedgerError, "damaged at entry 7"),
        ("DELETE FROM entries WHERE number >= 290", VerificationError, "has 290 entries, but has signed .* of 300"),
        ("UPDATE entries SET data = x'00' WHERE number = 7", LedgerError, "entry 7 .* is damaged"),
        ("UPDATE entries SET data = 'text' WHERE number = 7", LedgerError, "damaged at entry 7"),
        ("UPDATE entries SET hash = NULL WHERE number = 7", sqlite3.IntegrityError, "NOT NULL"),
        ("UPDATE checkpoints SET note = 5", LedgerError, "damaged at the checkpoint"),
        ("UPDATE checkpoints SET note = x'00'", LedgerError, "note"),
        ("UPDATE checkpoints SET time = 'x'", LedgerError, "damaged at the checkpoint"),
        ("UPDATE meta SET value = '2' WHERE name = 'schema'", LedgerError, "not the database of a log of schema 1"),
        ("DROP TABLE entries", LedgerError, "no such table"),
        ("DROP TABLE checkpoints", LedgerError, "no such table"),
    ],
)
def test_altered_databases(folder: Path, statement: str, error: type[Exception], message: str) -> None:
    with make_log(folder, 300) as store:
        store.sign_checkpoint()

    def tamper() -> None:
        with database(folder) as db:
            db.execute(statement)
        LogStore.open(folder)

    with pytest.raises(error, match=message):
        tamper()


def test_an_entry_altered_with_its_hash(folder: Path) -> None:
    with make_log(folder, 300) as store:
        store.sign_checkpoint()
    with database(folder) as db:
        db.execute("UPDATE entries SET data = ?, hash = ? WHERE number = 7", (b"forged", leaf_hash(b"forged")))
    for writable in (True, False):
        with pytest.raises(VerificationError, match=r"the first 300 entries .* are not those of the checkpoint"):
            LogStore.open(folder, writable=writable)


def test_a_database_put_back(folder: Path, tmp_path: Path) -> None:
    with make_log(folder, 100) as store:
        store.sign_checkpoint()
    shutil.copy(folder / "log.sqlite", tmp_path / "copy")
    with LogStore.open(folder) as store:
        store.append(entries(100, 200))
        store.sign_checkpoint()
    shutil.copy(tmp_path / "copy", folder / "log.sqlite")
    with pytest.raises(VerificationError, match="has 100 entries, but has signed a checkpoint of 200"):
        LogStore.open(folder)


def test_a_fork_of_memory_and_disk_is_not_signed(folder: Path) -> None:
    with make_log(folder, 100) as store:
        store.sign_checkpoint()
        store.append(entries(100, 101))
        text = stated(store.last_checkpoint() or b"").text.replace("\n100\n", "\n99\n")
        with database(folder) as db:
            db.execute("UPDATE checkpoints SET note = ?", (sign_note(text, [SIGNER]),))
        with pytest.raises(VerificationError, match="the first 99 entries"):
            store.sign_checkpoint()
    assert not os.path.exists(folder / "last-checkpoint.new")
