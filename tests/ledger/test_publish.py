"""Publishing: all tiles before the checkpoint, nothing inconsistent, and everything can be made
anew.
"""

import shutil
import stat
import threading
from base64 import b64decode
from pathlib import Path

import pytest
from ledger_vectors import vectors
from log_files import ORIGIN, SIGNER, entries, full_disk, make_log, stated

import jattr.ledger.publish
from jattr.errors import LedgerError, VerificationError
from jattr.ledger.keys import COSIGNATURE, Signer, parse_skey
from jattr.ledger.note import sign_note
from jattr.ledger.publish import publish, rebuild
from jattr.ledger.reader import PublishedLog, verify_window
from jattr.ledger.store import LogStore
from jattr.ledger.tiles import encode_bundle, parse_tile_path, tiles_of

WITNESS = Signer("witness.example", COSIGNATURE, bytes(32))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def grown(store: LogStore, size: int) -> bytes:
    store.append(entries(store.size, size))
    return store.sign_checkpoint()


@pytest.mark.reference
def test_tesseras_log_byte_for_byte(tmp_path: Path) -> None:
    reference = vectors("tessera_testdata_log")
    signer, public = parse_skey(reference["skey_published_test_only"]), tmp_path / "public"
    wanted = {path: b64decode(data) for path, data in reference["files_b64"].items()}
    with LogStore.create(tmp_path / "log", signer.name, [signer]) as store:
        assert publish(store, public, store.sign_checkpoint()) == 0
        for size, entry in enumerate(reference["entries_utf8"], 1):
            store.append([entry.encode()])
            publish(store, public, store.sign_checkpoint())
            assert (public / "checkpoint").read_bytes() == wanted[f"checkpoint.{size}"]
    made = files(public)
    assert made == {path: data for path, data in wanted.items() if path in made}
    assert {path for path in wanted if path not in made} == {
        f"checkpoint.{size}" for size in range(16)
    }


def test_growth_in_steps_and_deleted_partial_tiles(tmp_path: Path) -> None:
    public = tmp_path / "web" / "public"
    with make_log(tmp_path / "log") as store:
        for size in (0, 1, 255, 256, 257, 300, 1000):
            note = grown(store, size)
            publish(store, public, note)
            made = files(public)
            assert made.pop("checkpoint") == note
            assert set(map(str, tiles_of(size))) <= set(made)
            assert not [
                path for path in made if ".p/" in path and str(parse_tile_path(path).full) in made
            ]
            for path in tiles_of(size):
                if path.level is None:
                    start = path.index * 256
                    assert made[str(path)] == encode_bundle(entries(start, start + path.width))
            assert verify_window(PublishedLog(public), None, stated(note)) == size
    assert all(
        stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
        for path in public.rglob("*")
        if path.is_file()
    )


def test_partial_tiles_of_every_signed_checkpoint_are_there(tmp_path: Path) -> None:
    with make_log(tmp_path / "log") as store:
        signed = [grown(store, size) for size in (3, 260, 300, 301)]
        publish(store, tmp_path / "public", signed[-1])
        paths = set(files(tmp_path / "public"))
        assert {
            "tile/0/001.p/4",
            "tile/0/001.p/44",
            "tile/entries/001.p/44",
            "tile/1/000.p/1",
        } <= paths
        assert "tile/0/000.p/3" not in paths
        for note in signed:
            assert (
                verify_window(PublishedLog(tmp_path / "public"), None, stated(note))
                == stated(note).size
            )


def test_the_checkpoint_changes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public, steps = tmp_path / "public", []
    with make_log(tmp_path / "log", 300) as store:
        for name in ("write_file", "sync_folder", "replace_file"):
            real = getattr(jattr.ledger.publish, name)
            monkeypatch.setattr(
                jattr.ledger.publish,
                name,
                lambda path, *a, n=name, f=real: (steps.append((n, path)), f(path, *a)),
            )
        publish(store, public, store.sign_checkpoint())
    assert steps[-1] == ("replace_file", public / "checkpoint")
    written = [step for step in steps if step[0] == "write_file"]
    for place, (what, path) in enumerate(steps):
        if what == "write_file":
            assert ("sync_folder", path.parent) in steps[place:]
    assert len(written) == len(list(tiles_of(300)))


@pytest.mark.parametrize("failing", range(0, 10, 3))
def test_a_failure_leaves_the_old_checkpoint_and_all_its_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    public, calls = tmp_path / "public", []
    real = jattr.ledger.publish.write_file

    def fails(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) > failing:
            raise OSError(28, "No space left on device")
        real(path, data)

    with make_log(tmp_path / "log", 300) as store:
        old = store.sign_checkpoint()
        publish(store, public, old)
        monkeypatch.setattr(jattr.ledger.publish, "write_file", fails)
        new = grown(store, 1300)
        with pytest.raises(LedgerError, match=r"No space left on device.*publish again"):
            publish(store, public, new)
        assert PublishedLog(public).checkpoint() == old
        assert verify_window(PublishedLog(public), None, stated(old)) == 300
        monkeypatch.setattr(jattr.ledger.publish, "write_file", real)
        publish(store, public, new)
        assert verify_window(PublishedLog(public), None, stated(new)) == 1300


def test_full_disk(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 300) as store:
        note = store.sign_checkpoint()
        with full_disk(2000), pytest.raises(LedgerError, match="cannot publish to"):
            publish(store, tmp_path / "public", note)
        assert not [
            path
            for path in files(tmp_path / "public")
            if path.endswith(".jattr-new") or path == "checkpoint"
        ]
        publish(store, tmp_path / "public", note)
    assert verify_window(PublishedLog(tmp_path / "public"), None, stated(note)) == 300


def test_everything_can_be_made_anew(tmp_path: Path) -> None:
    public = tmp_path / "public"
    with make_log(tmp_path / "log") as store:
        with pytest.raises(LedgerError, match="has not been published"):
            rebuild(store, public)
        for size in (5, 700, 703):
            text = stated(grown(store, size)).text
            note = sign_note(text, [SIGNER, WITNESS], time=7)
            publish(store, public, note)
        whole = files(public)
        store.append(entries(703, 800))
        store.sign_checkpoint()  # not published, so not rebuilt
        (public / "tile/0/001").write_bytes(b"damaged")
        (public / "tile/entries/000").unlink()
        rebuild(store, public)
        assert files(public) == whole
        shutil.rmtree(public)
        rebuild(store, public)
        assert files(public)["checkpoint"] == whole["checkpoint"] == note
        assert set(whole) - set(files(public)) <= {"tile/1/000.p/2"}
        assert verify_window(PublishedLog(public), None, stated(note)) == 703


def test_only_own_checkpoints_are_published(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 9) as store:
        note = store.sign_checkpoint()
        forged = sign_note(stated(note).text.replace("\n9\n", "\n8\n"), [SIGNER])
        stranger = sign_note(stated(note).text, [Signer(ORIGIN, 1, bytes(32))])
        for foreign in (forged, stranger):
            with pytest.raises(LedgerError, match="has not signed this checkpoint"):
                publish(store, tmp_path / "public", foreign)
        assert not (tmp_path / "public").exists()


def test_an_older_checkpoint_is_refused(tmp_path: Path) -> None:
    with make_log(tmp_path / "log") as store:
        old, new = grown(store, 5), grown(store, 9)
        publish(store, tmp_path / "public", new)
        publish(store, tmp_path / "public", new)
        with pytest.raises(LedgerError, match="has the checkpoint of 9 entries"):
            publish(store, tmp_path / "public", old)
        assert (tmp_path / "public/checkpoint").read_bytes() == new


def test_a_folder_of_another_log(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 5) as store:
        publish(store, tmp_path / "public", store.sign_checkpoint())
    other = Signer("example.com/other", 1, bytes(32))
    with LogStore.create(tmp_path / "other", other.name, [other]) as store:
        store.append([b"x"])
        with pytest.raises(LedgerError, match="is not of this log"):
            publish(store, tmp_path / "public", store.sign_checkpoint())
        (tmp_path / "public/checkpoint").write_bytes(b"noise")
        with pytest.raises(LedgerError, match="is not of this log"):
            publish(store, tmp_path / "public", store.sign_checkpoint())


def test_a_log_put_back_as_a_whole_is_noticed_by_what_was_published(tmp_path: Path) -> None:
    public = tmp_path / "public"
    with make_log(tmp_path / "log", 5) as store:
        publish(store, public, store.sign_checkpoint())
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    with LogStore.open(tmp_path / "log") as store:
        publish(store, public, grown(store, 9))
    with LogStore.open(tmp_path / "copy") as store:
        for again in (
            lambda: publish(store, public, store.sign_checkpoint()),
            lambda: rebuild(store, public),
        ):
            with pytest.raises(
                VerificationError, match="has 5 entries, but has signed a checkpoint of 9"
            ):
                again()
        store.append([b"another history"] * 10)
        with pytest.raises(VerificationError, match="the first 9 entries"):
            publish(store, public, store.sign_checkpoint())


def test_two_publishers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    real = jattr.ledger.publish.write_file

    def slow(path: Path, data: bytes) -> None:
        began.set()
        assert go_on.wait(60)
        real(path, data)

    with make_log(tmp_path / "log", 5) as store:
        note = store.sign_checkpoint()
        monkeypatch.setattr(jattr.ledger.publish, "write_file", slow)
        thread = threading.Thread(target=publish, args=(store, tmp_path / "public", note))
        thread.start()
        assert began.wait(60)
        with pytest.raises(LedgerError, match="another process publishes"):
            publish(store, tmp_path / "public", note)
        go_on.set()
        thread.join()
    assert PublishedLog(tmp_path / "public").checkpoint() == note


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with make_log(tmp_path / "log", 5) as store:
        note = store.sign_checkpoint()
        for place in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(LedgerError, match="cannot publish"):
                publish(store, place, note)


def test_a_large_file_in_a_tiles_place_is_not_read_whole(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 5) as store:
        note = store.sign_checkpoint()
        publish(store, tmp_path / "first", note)
        place = Path("tile/entries/000.p/5")
        for folder in ("other", "longer"):
            (tmp_path / folder / place).parent.mkdir(parents=True)
        with (tmp_path / "other" / place).open("wb") as file:
            file.truncate(1 << 40)  # takes no room; nobody has the memory for it
        (tmp_path / "longer" / place).write_bytes((tmp_path / "first" / place).read_bytes() + b"x")
        for folder in ("other", "longer"):
            with pytest.raises(LedgerError, match="take the file away"):
                publish(store, tmp_path / folder, note)
