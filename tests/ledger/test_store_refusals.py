"""What a log refuses, and how it fails.

One clear error each, and nothing that was acknowledged is lost.
"""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_files import ORIGIN, SIGNER, entries, full_disk, make_log, read_only, stated

from jattr.errors import InputError, LedgerError, VerificationError
from jattr.ledger.keys import Signer
from jattr.ledger.merkle import leaf_hash
from jattr.ledger.note import sign_note
from jattr.ledger.store import LogStore

OTHER = Signer(ORIGIN, 1, bytes(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@contextlib.contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(folder / "log.sqlite")) as db:
        yield db
        db.commit()


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
        other = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert "another process writes" in other.stderr.splitlines()[-1]
    LogStore.open(folder).close()


def test_a_closed_log(folder: Path) -> None:
    store = make_log(folder, 3)
    store.close()
    store.close()
    for use in (
        lambda: store.append([b"x"]),
        store.sign_checkpoint,
        lambda: store.entry(0),
        store.checkpoints,
    ):
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
    "signers",
    [
        [],
        [OTHER, SIGNER],
        [Signer("example.com/other", 1, bytes(32))],
        [Signer(ORIGIN, 4, bytes(32))],
    ],
)
def test_keys_that_will_not_do(folder: Path, signers: list[Signer]) -> None:
    with pytest.raises(LedgerError, match="key"):
        LogStore.create(folder, ORIGIN, signers)
    assert not folder.exists()


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


def test_a_checkpoint_that_cannot_be_kept_is_not_returned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize("name", ["log.json", "log.sqlite", "keys", "last-checkpoint"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise", "folder"])
def test_damaged_files(folder: Path, name: str, damage: str) -> None:
    with make_log(folder, 300) as store:
        store.sign_checkpoint()
        store.append([b"one more"])
        store.sign_checkpoint()
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


def test_a_first_checkpoint_that_a_kill_left_without_its_copy(folder: Path) -> None:
    with make_log(folder, 3) as store:
        note = store.sign_checkpoint()
    (folder / "last-checkpoint").unlink()
    with LogStore.open(folder) as store:
        assert store.last_checkpoint() == note


def test_the_published_checkpoint_stands_in_for_the_copy(folder: Path) -> None:
    with make_log(folder) as store:
        for number in range(3):
            store.append([b"%d" % number])
            note = store.sign_checkpoint()
    (folder / "last-checkpoint").unlink()
    with pytest.raises(LedgerError, match="last-checkpoint is missing"):
        LogStore.open(folder)
    (folder / "last-checkpoint").write_bytes(sign_note(stated(note).text, [SIGNER, OTHER]))
    LogStore.open(folder).close()


def test_a_folder_without_a_log(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(LedgerError, match="no folder of a log"):
            LogStore.open(place)


@pytest.mark.parametrize(
    "text", ['{"schema":1}', "[]", "null", "1" * 5000, "[" * 50_000, '{"origin":1,"keys":[1]}']
)
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
        (
            "DELETE FROM entries WHERE number >= 290",
            VerificationError,
            "has 290 entries, but has signed .* of 300",
        ),
        ("UPDATE entries SET data = x'00' WHERE number = 7", LedgerError, "entry 7 .* is damaged"),
        ("UPDATE entries SET data = 'text' WHERE number = 7", LedgerError, "damaged at entry 7"),
        ("UPDATE entries SET hash = NULL WHERE number = 7", sqlite3.IntegrityError, "NOT NULL"),
        ("UPDATE checkpoints SET note = 5", LedgerError, "damaged at the checkpoint"),
        ("UPDATE checkpoints SET note = x'00'", LedgerError, "note"),
        ("UPDATE checkpoints SET time = 'x'", LedgerError, "damaged at the checkpoint"),
        (
            "UPDATE meta SET value = '2' WHERE name = 'schema'",
            LedgerError,
            "not the database of a log of schema 1",
        ),
        ("DROP TABLE entries", LedgerError, "no such table"),
        ("DROP TABLE checkpoints", LedgerError, "no such table"),
    ],
)
def test_altered_databases(
    folder: Path, statement: str, error: type[Exception], message: str
) -> None:
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
        db.execute(
            "UPDATE entries SET data = ?, hash = ? WHERE number = 7",
            (b"forged", leaf_hash(b"forged")),
        )
    for writable in (True, False):
        with pytest.raises(
            VerificationError, match=r"the first 300 entries .* are not those of the checkpoint"
        ):
            LogStore.open(folder, writable=writable)


def test_a_database_put_back(folder: Path, tmp_path: Path) -> None:
    with make_log(folder, 100) as store:
        store.sign_checkpoint()
    shutil.copy(folder / "log.sqlite", tmp_path / "copy")
    with LogStore.open(folder) as store:
        store.append(entries(100, 200))
        store.sign_checkpoint()
    shutil.copy(tmp_path / "copy", folder / "log.sqlite")
    with pytest.raises(
        VerificationError, match="has 100 entries, but has signed a checkpoint of 200"
    ):
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
    assert not os.path.exists(folder / ".last-checkpoint.jattr-new")
