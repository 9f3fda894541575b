"""What commitments hide is kept by its owner, opened on demand, and gone once erased."""

import secrets
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from log_files import full_disk

from jattr.errors import LedgerError, OutputError
from jattr.ledger.commitments import Opening
from jattr.ledger.private import FILE, PrivateStore


def openings(count: int) -> list[Opening]:
    return [Opening.new("file", secrets.token_bytes(32)) for _ in range(count)]


@pytest.fixture
def private(tmp_path: Path) -> Iterator[PrivateStore]:
    with PrivateStore.create(tmp_path) as store:
        yield store


def test_what_was_put_is_there_after_opening_again(tmp_path: Path) -> None:
    (one, other), recipient = openings(2), Opening.new("recipient", b"Ada")
    with PrivateStore.create(tmp_path) as store:
        store.put([one, recipient], [(one.commitment, b"a png")])
    with PrivateStore.open(tmp_path) as store:
        assert store.opening(one.commitment) == one
        assert store.opening(recipient.commitment) == recipient
        assert store.opening(other.commitment) is None
        assert store.image(one.commitment) == b"a png"
        assert store.image(other.commitment) is None


def test_only_its_owner_may_read_it(private: PrivateStore, tmp_path: Path) -> None:
    private.put(openings(1))
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_same_opening_twice_is_one(private: PrivateStore) -> None:
    (one,) = openings(1)
    private.put([one, one])
    private.put([one])
    assert private.erase([one.commitment]) == 1


def test_one_that_is_there_is_never_begun_anew(private: PrivateStore, tmp_path: Path) -> None:
    (one,) = openings(1)
    private.put([one])
    with pytest.raises(OutputError, match="exists already"):
        PrivateStore.create(tmp_path)
    assert private.opening(one.commitment) == one


def test_a_lost_file_is_said_to_be_lost(tmp_path: Path) -> None:
    with pytest.raises(
        LedgerError, match="is missing: without it nothing of this log can be opened"
    ):
        PrivateStore.open(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"no database at all" * 100, b"SQLite format 3\0" + bytes(200)]
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(LedgerError, match="no private store"):
        PrivateStore.open(tmp_path)


def test_another_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    db.close()
    with pytest.raises(LedgerError, match="no private store"):
        PrivateStore.open(tmp_path)


@pytest.mark.parametrize("value", ["x'00'", f"x'{'00' * 32}'", "7", "'a text'"])
def test_a_damaged_opening_is_never_given_out(tmp_path: Path, value: str) -> None:
    (one,) = openings(1)
    with PrivateStore.create(tmp_path) as store:
        store.put([one])
    db = sqlite3.connect(tmp_path / FILE)
    with db:
        db.execute(f"UPDATE openings SET value = {value}")
    db.close()
    with PrivateStore.open(tmp_path) as store, pytest.raises(LedgerError, match="is damaged"):
        store.opening(one.commitment)


@pytest.mark.parametrize("value", ["100000000000", "'a text'", "1.5"])
def test_a_damaged_image_is_never_given_out(tmp_path: Path, value: str) -> None:
    (one,) = openings(1)
    with PrivateStore.create(tmp_path) as store:
        store.put([one], [(one.commitment, b"a png")])
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute(f"UPDATE pictures SET png = {value}")
    with PrivateStore.open(tmp_path) as store, pytest.raises(LedgerError, match="is damaged"):
        store.image(one.commitment)


def test_erased_salts_and_images_are_in_no_file_any_more(tmp_path: Path) -> None:
    known = openings(600)
    images = [secrets.token_bytes(300) for _ in known]
    with PrivateStore.create(tmp_path) as store:
        for at in range(0, 600, 20):
            rows = zip(known[at : at + 20], images[at : at + 20], strict=True)
            store.put(known[at : at + 20], [(one.commitment, png) for one, png in rows])
        assert store.erase([one.commitment for one in known[::2]]) == 300
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        for one, png in zip(known[::2], images[::2], strict=True):
            assert store.opening(one.commitment) is None
            assert store.image(one.commitment) is None
            assert one.salt not in kept
            assert one.value not in kept
            assert png[:40] not in kept
        assert [store.opening(one.commitment) for one in known[1::2]] == known[1::2]
        assert store.erase([one.commitment for one in known[::2]]) == 0


def test_copies_that_a_reader_holds_fast_are_named(tmp_path: Path) -> None:
    known = openings(1)
    with PrivateStore.create(tmp_path) as store:
        store.put(known)
        store.file.connection.execute("PRAGMA busy_timeout = 10")
        reader = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM openings").fetchone()
        with pytest.raises(OutputError, match="still holds copies"):
            store.erase([known[0].commitment])
        reader.close()
        store.erase([known[0].commitment])
        assert known[0].salt not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_an_error_in_emptying_the_write_ahead_log_is_one_in_writing(private: PrivateStore) -> None:
    """The way on is room and erasing again, not a copy that holds what was erased."""

    def no_checkpoint(action: int, name: str | None, *_: object) -> int:
        empties = action == sqlite3.SQLITE_PRAGMA and name == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if empties else sqlite3.SQLITE_OK

    (one,) = openings(1)
    private.put([one])
    private.file.connection.set_authorizer(no_checkpoint)
    with pytest.raises(OutputError, match=r"cannot write .* make room"):
        private.erase([one.commitment])
    private.file.connection.set_authorizer(None)
    assert private.erase([one.commitment]) == 0
    assert one.salt not in b"".join(path.read_bytes() for path in private.path.parent.iterdir())


def test_after_a_failed_write_nothing_is_acknowledged(
    private: PrivateStore, tmp_path: Path
) -> None:
    sound, lost, later = openings(3)
    private.put([sound])
    with full_disk(), pytest.raises(OutputError, match="cannot write"):
        private.put([lost])
    with pytest.raises(OutputError, match="could not be written before"):
        private.put([later])
    with PrivateStore.open(tmp_path) as again:
        assert again.opening(sound.commitment) == sound
        again.put([later])
        assert again.opening(later.commitment) == later


def test_a_full_disk_leaves_nothing_begun(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OutputError, match="cannot write"):
        PrivateStore.create(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another place"):
        PrivateStore.create(tmp_path / "nowhere")


def test_threads_share_one(private: PrivateStore) -> None:
    known, failures = openings(80), []

    def work(part: list[Opening]) -> None:
        try:
            for one in part:
                private.put([one])
                assert private.opening(one.commitment) == one
        except Exception as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(known[at : at + 20],)) for at in range(0, 80, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [private.opening(one.commitment) for one in known] == known
