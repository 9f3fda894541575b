"""Rotations that are gone on with: only the log's own, and only with a key that is here."""

import base64
import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from log_files import ORIGIN, SIGNER, make_log

from jattr.errors import LedgerError
from jattr.ledger.durable import held
from jattr.ledger.identity import MAX_IDENTITY_BYTES, read_private
from jattr.ledger.keys import Signer
from jattr.ledger.leaves import KeyLeaf, parse_leaf
from jattr.ledger.store import LogStore, announce_key

KEPT, LOST, STRANGE = (Signer(ORIGIN, 1, bytes([n]) * 32) for n in (7, 8, 9))


def test_a_key_is_kept_before_it_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_log(tmp_path / "log", 3) as store:
        append, kept = store.append, []
        monkeypatch.setattr(
            store,
            "append",
            lambda data: (kept.append(len(read_private(store.folder))), append(data))[1],
        )
        entry, new = announce_key(store)
        assert kept == [2]
        assert parse_leaf(store.entry(entry)) == KeyLeaf.signed(SIGNER, new)
        assert announce_key(store) == (entry, new)
        assert store.signers == (SIGNER,)
        store.rotate([new])
        later = announce_key(store)
        assert later[1] != new
    with LogStore.open(tmp_path / "log") as store:
        assert store.signers == (new,)
        assert announce_key(store) == later


def test_no_other_leaf_is_gone_on_with(tmp_path: Path) -> None:
    """The key is lost, the old key is not the one that signs, a signature is wrong, it is no
    leaf at all.
    """
    good = KeyLeaf.signed(SIGNER, KEPT)
    forged = dataclasses.replace(
        good, signatures=(base64.b64encode(bytes(64)).decode(), good.signatures[1])
    )
    with make_log(tmp_path / "log") as store:
        store.keep_key(KEPT)
        store.keep_key(STRANGE)
        store.append(
            [KeyLeaf.signed(SIGNER, LOST).data, KeyLeaf.signed(STRANGE, KEPT).data, forged.data]
        )
        store.append([b'{"kind":"key"}', b'"kind":"key"'])
        entry, new = announce_key(store)
        assert entry == 5
        assert new not in (KEPT, LOST, STRANGE)
        assert store.append([good.data]) == range(6, 7)
        assert announce_key(store) == (6, KEPT)


def test_a_file_of_keys_does_not_grow_until_nobody_reads_it(tmp_path: Path) -> None:
    with make_log(tmp_path / "log") as store:
        count = MAX_IDENTITY_BYTES // len(f"{SIGNER.skey}\n")
        keys = [SIGNER, *(Signer(ORIGIN, 1, n.to_bytes(32, "big")) for n in range(1, count))]
        (tmp_path / "log" / "keys").write_text("".join(f"{key.skey}\n" for key in keys), "ascii")
        with pytest.raises(LedgerError, match="take keys out of it that sign no more"):
            announce_key(store)
        assert store.size == 0
    with LogStore.open(tmp_path / "log") as store:
        assert store.signers == (SIGNER,)


def test_a_log_rotated_before_its_lock_is_held_signs_with_the_new_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_log(tmp_path / "log").close()

    def rotate_then_hold(path: Path, flags: int, refusal: str) -> AbstractContextManager[None]:
        monkeypatch.undo()
        with LogStore.open(tmp_path / "log") as other:
            other.rotate([KEPT])
        return held(path, flags, refusal)

    monkeypatch.setattr("jattr.ledger.store.held", rotate_then_hold)
    with LogStore.open(tmp_path / "log") as store:
        assert store.signers == (KEPT,)
