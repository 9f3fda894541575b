"""The log that tessera publishes as its test data comes out byte for byte when jattr keeps it."""

import base64
from pathlib import Path

import pytest
from ledger_vectors import vectors

from jattr.ledger.checkpoint import parse_checkpoint
from jattr.ledger.keys import parse_skey, parse_vkey
from jattr.ledger.note import open_note
from jattr.ledger.publish import publish, rebuild
from jattr.ledger.reader import PublishedLog, verify_window
from jattr.ledger.store import LogStore


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.reference
def test_byte_for_byte(tmp_path: Path) -> None:
    reference = vectors("tessera_testdata_log")
    expected = {name: base64.b64decode(data) for name, data in reference["files_b64"].items()}
    checkpoints = {
        name: expected.pop(name) for name in list(expected) if name.startswith("checkpoint.")
    }
    signer, entries = parse_skey(reference["skey_published_test_only"]), reference["entries_utf8"]
    assert signer.verifier.vkey == reference["vkey"]
    with LogStore.create(tmp_path / "log", signer.name, [signer]) as store:
        for size in range(len(entries) + 1):
            if size:
                store.append([entries[size - 1].encode()])
            signed = store.sign_checkpoint()
            assert signed == checkpoints[f"checkpoint.{size}"]
            publish(store, tmp_path / "public", signed)
        rebuild(store, tmp_path / "again")
        assert files(tmp_path / "public") == files(tmp_path / "again") == expected
    assert len(checkpoints) == 16
    assert len(expected) == 31


@pytest.mark.reference
def test_jattr_reads_it(tmp_path: Path) -> None:
    reference = vectors("tessera_testdata_log")
    for name, data in reference["files_b64"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
    log, key = PublishedLog(tmp_path), parse_vkey(reference["vkey"])
    for size in range(16):
        tree = parse_checkpoint(
            open_note((tmp_path / f"checkpoint.{size}").read_bytes(), [key]).text
        )
        assert (tree.origin, tree.size) == ("example.com/log/testdata", size)
        seen = []
        verify_window(
            log, None, tree, lambda index, entry, seen=seen: seen.append((index, entry.decode()))
        )
        assert seen == list(enumerate(reference["entries_utf8"][:size]))
