"""`jattr log rotate` and `erase`."""

import os

import pytest
from log_folders import ORIGIN, leaves, log_key, witness

from jattr.cli.main import main
from jattr.ledger.keys import parse_skey
from jattr.ledger.leaves import EraseLeaf, KeyLeaf
from jattr.ledger.store import LogStore


def test_erase(folder, made, ok, refused):
    for entries in ([0], [1], [9], [3, 0]):
        refused(2, "log", "erase", folder, *entries, "--reason", "on request")
    refused(2, "log", "erase", folder, 3, "--reason", "")
    assert ok("log", "erase", folder, 3, "--reason", "on request") == {"entry": 5, "openings": 6}
    assert ok("log", "status", folder)["erased"] == [3]
    assert ok("log", "erase", folder, 3, "--reason", "on request")["openings"] == 0


def test_rotate(folder, made, ok, tmp_path):
    ok("log", "publish", folder)
    old_policy = tmp_path / "old-policy"
    old_policy.write_bytes((folder / "policy").read_bytes())
    with witness(folder, tmp_path) as server:
        ok("log", "publish", folder)
        found = ok("log", "rotate", folder)
        leaf = leaves(folder)[found["entry"]]
        assert isinstance(leaf, KeyLeaf)
        leaf.verify()
        assert leaf.new == found["key"]
        with LogStore.open(folder, writable=False) as log:
            assert log.identity.keys[0].vkey == found["key"]
            server.witness.logs[ORIGIN].append(log.identity.keys[0])
        assert ok("log", "publish", folder)["size"] == 6
    lines = (folder / "policy").read_text("utf-8").splitlines()
    assert [line.startswith("log ") for line in lines if not line.startswith("#")] == [
        True,
        True,
        False,
        False,
    ]
    assert ok("log", "verify", folder / "public", "--policy", folder / "policy")["size"] == 6
    assert main(["log", "verify", str(folder / "public"), "--policy", str(old_policy)]) == 3


STEPS = {  # where it ends -> what is called there
    "before anything": "jattr.ledger.store.keep_private",
    "key, no leaf": "jattr.ledger.store.LogStore.append",
    "leaf": "jattr.cli.log_actions.write",
    "policy": "jattr.ledger.store.LogStore.rotate",
    "within the switch": "jattr.ledger.store.write_identity",
}


class Died(BaseException):
    """The process ends here."""


def dies(*args, **options):
    raise Died


@pytest.mark.parametrize("step", STEPS)
def test_a_rotation_that_ends_anywhere_can_be_gone_on_with(
    step, folder, made, ok, tmp_path, monkeypatch
):
    ok("log", "publish", folder)
    with monkeypatch.context() as patched:
        patched.setattr(STEPS[step], dies)
        with pytest.raises(Died):
            main(["log", "rotate", str(folder)])
    announced = [leaf.new for leaf in leaves(folder) if isinstance(leaf, KeyLeaf)]
    assert len(announced) == (step not in ("before anything", "key, no leaf"))
    private = [
        parse_skey(line).verifier.vkey for line in (folder / "keys").read_text("ascii").splitlines()
    ]
    assert set(announced) <= set(private), "a key is announced with which nobody can sign"
    assert len(private) == 1 + (step != "before anything")
    assert os.stat(folder / "keys").st_mode & 0o777 == 0o600
    (tmp_path / "more").write_bytes(EraseLeaf((0,), "made elsewhere").data)
    ok("log", "append", folder, tmp_path / "more")
    size = ok("log", "publish", folder)["size"]
    assert ok("log", "verify", folder / "public", "--policy", folder / "policy")["size"] == size
    found = ok("log", "rotate", folder)
    assert [leaf.new for leaf in leaves(folder) if isinstance(leaf, KeyLeaf)] == [found["key"]]
    assert announced in ([], [found["key"]])
    assert log_key(folder) == found["key"]
    ok("log", "append", folder, tmp_path / "more")
    assert ok("log", "publish", folder)["size"] > size
    ok("log", "verify", folder / "public", "--policy", folder / "policy")
    assert ok("log", "rotate", folder)["key"] != found["key"]
    ok("log", "append", folder, tmp_path / "more")
    ok("log", "publish", folder)
    assert (folder / "policy").read_text("utf-8").count("\nlog ") == 3


def test_a_rotation_without_a_policy_changes_nothing(folder, made, refused):
    (folder / "policy").unlink()
    before = (folder / "keys").read_bytes(), log_key(folder)
    assert "cannot read" in refused(2, "log", "rotate", folder)
    assert ((folder / "keys").read_bytes(), log_key(folder)) == before
    assert not [leaf for leaf in leaves(folder) if isinstance(leaf, KeyLeaf)]
