"""The store of a log: what is acknowledged is there, and what is signed only extends."""

import stat
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ledger_vectors import vectors
from log_files import ORIGIN, SIGNER, entries, make_log, stated

from jattr.errors import LedgerError
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


def test_a_new_log(folder: Path) -> None:
    with make_log(folder) as store:
        assert (store.origin, store.size, store.root, store.signers) == (
            ORIGIN,
            0,
            EMPTY_ROOT,
            (SIGNER,),
        )
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
                verify_inclusion(
                    hashes[index], index, size, store.inclusion(index, size), roots[size]
                )
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
            lambda: store.entry(5),
            lambda: store.entry(-1),
            lambda: store.entries(3, 2),
            lambda: store.root_at(6),
            lambda: store.root_at(-1),
            lambda: store.inclusion(5, 5),
            lambda: store.inclusion(0, 6),
            lambda: store.inclusion(-1, 5),
            lambda: store.consistency(0, 5),
            lambda: store.consistency(3, 6),
            lambda: store.consistency(4, 3),
            lambda: store.node(0, 5),
            lambda: store.node(3, 0),
            lambda: store.node(8, 0),
        ]
        for question in questions:
            with pytest.raises(LedgerError):
                question()


def test_an_entry_that_is_too_long_spoils_nothing(folder: Path) -> None:
    with make_log(folder) as store:
        with pytest.raises(LedgerError, match="65536 bytes"):
            store.append([b"one", bytes(MAX_ENTRY + 1)])
        assert store.append([bytes(MAX_ENTRY)]) == range(1)


def test_threads_share_transactions_and_each_keeps_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.reference
def test_checkpoints_of_tessera() -> None:
    reference = vectors("tessera_testdata_log")
    signer = parse_skey(reference["skey_published_test_only"])
    with (
        tempfile.TemporaryDirectory() as folder,
        LogStore.create(Path(folder), signer.name, [signer]) as store,
    ):
        made = {"checkpoint.0": store.sign_checkpoint()}
        for size, entry in enumerate(reference["entries_utf8"], 1):
            store.append([entry.encode()])
            made[f"checkpoint.{size}"] = store.sign_checkpoint()
    made["checkpoint"] = made["checkpoint.15"]
    wanted = {
        path: b64decode(data)
        for path, data in reference["files_b64"].items()
        if path.startswith("checkpoint")
    }
    assert made == wanted


def test_receipts_verify(folder: Path) -> None:
    policy = Policy(logs=(Party(SIGNER.verifier),))
    with make_log(folder, 300) as store:
        note = store.sign_checkpoint()
        store.append(entries(300, 301))
        assert store.receipt(7, note).verify(entries(7, 8)[0], policy).checkpoint.size == 300
        with pytest.raises(LedgerError, match="not among the first 300"):
            store.receipt(300, note)
        for foreign in (
            note.replace(b"\n300\n", b"\n301\n"),
            sign_note(stated(note).text, [OTHER]),
        ):
            with pytest.raises(LedgerError, match=r"has not signed this checkpoint of 30. entries"):
                store.receipt(7, foreign)


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
