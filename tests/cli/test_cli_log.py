"""`jattr log`: every action, its exit codes, and that nothing is left half-written."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from log_files import full_disk, read_only

from jattr.cli import log_readers
from jattr.cli.main import main
from jattr.ledger.keys import COSIGNATURE, Signer, Verifier, parse_skey, parse_vkey
from jattr.ledger.leaves import EraseLeaf, KeyLeaf, ModelLeaf, parse_leaf
from jattr.ledger.private import FILE
from jattr.ledger.recording import Recorder
from jattr.ledger.store import LogStore
from jattr.ledger.tlog_proof import TlogProof, parse_tlog_proof
from jattr.ledger.witness import Witness
from jattr.ledger.witness_http import WitnessServer
from jattr.ledger.witness_store import WitnessStore

ORIGIN = "example.com/faces"


@pytest.fixture
def folder(tmp_path, ok):
    ok("log", "init", tmp_path / "log", "--origin", ORIGIN)
    return tmp_path / "log"


@pytest.fixture
def made(folder, tmp_path, ok, tiny_folders):
    """Two pictures of `tiny`, logged."""
    ok(
        "log",
        "generate",
        folder,
        tiny_folders["tiny"],
        "--n",
        2,
        "--seed",
        1,
        "--recipient",
        "Ada",
        "--out",
        tmp_path / "out",
    )
    return tmp_path / "out"


@contextlib.contextmanager
def witness(folder, tmp_path, name="example.org/witness"):
    """A witness of the log on loopback, written into its policy."""
    key = Signer.generate(name, COSIGNATURE)
    with LogStore.open(folder, writable=False) as log:
        keys = log.identity.keys
    memory = WitnessStore.create(tmp_path / name.partition("/")[0], [key])
    with memory, WitnessServer(Witness(memory, keys)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        text = (folder / "policy").read_text("utf-8").replace("quorum none\n", "")
        (folder / "policy").write_text(f"{text}witness w {key.verifier.vkey} {server.url}\nquorum w\n", "utf-8")
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def leaves(folder):
    with LogStore.open(folder, writable=False) as log:
        return [parse_leaf(entry) for entry in log.entries(0, log.size)]


def test_init_makes_a_log_that_trusts_nobody_else(jattr, ok, refused, tmp_path):
    code, out, err = jattr("log", "init", tmp_path / "log", "--origin", ORIGIN)
    assert (code, err) == (0, "")
    assert "its key: example.com/faces+" in out
    assert {"keys", "log.json", "log.sqlite", "policy", FILE} <= set(names(tmp_path / "log"))
    assert os.stat(tmp_path / "log" / "keys").st_mode & 0o077 == 0
    assert os.stat(tmp_path / "log" / FILE).st_mode & 0o077 == 0
    assert "quorum none\n" in (tmp_path / "log" / "policy").read_text("utf-8")
    before = {name: (tmp_path / "log" / name).read_bytes() for name in ("keys", "log.json", "policy")}
    assert "exists already" in refused(2, "log", "init", tmp_path / "log", "--origin", ORIGIN)
    assert before == {name: (tmp_path / "log" / name).read_bytes() for name in before}
    assert len(ok("log", "init", tmp_path / "two", "--origin", ORIGIN, "--ml-dsa")["keys"]) == 2


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "line\nbreak"])
def test_init_refuses_a_name_and_leaves_nothing(refused, tmp_path, origin):
    refused(2, "log", "init", tmp_path / "log", "--origin", origin)
    assert names(tmp_path) == []


def test_init_on_a_full_disk_leaves_nothing(refused, tmp_path):
    for left in (0, 20_000):  # the log's own files, the private ones
        with full_disk(left):
            refused(2, "log", "init", tmp_path / "log", "--origin", ORIGIN)
        assert names(tmp_path) == []


def test_generate_releases_what_is_logged(folder, made, ok, jattr, tmp_path, tiny_folders):
    assert names(made) == [
        "00000.png", "00000.png.tlog-proof", "00001.png", "00001.png.tlog-proof", "latents.npz"
    ]  # fmt: skip
    status = ok("log", "status", folder)
    assert status == {
        "origin": ORIGIN, "entries": 5, "published": 0, "models": 1, "uses": 2, "orphans": [], "erased": [],
        "other": 0, "private": True,
    }  # fmt: skip
    first = leaves(folder)[0]
    assert isinstance(first, ModelLeaf)
    plain = tmp_path / "plain"
    ok("generate", tiny_folders["tiny"], "--n", 2, "--seed", 1, "--out", plain)
    assert (plain / "00001.png").read_bytes() == (made / "00001.png").read_bytes()
    code, out, _ = jattr("log", "status", folder)
    assert code == 0
    assert "5 entries, 0 of them published; 1 models, 2 uses, 0 intents without a result" in out


def test_generate_draws_a_seed_that_nobody_knows(folder, ok, tmp_path, tiny_folders):
    seeds = {
        ok("log", "generate", folder, tiny_folders["tiny"], "--n", 1, "--out", tmp_path / f"{n}")["seed"]
        for n in range(3)
    }
    assert len(seeds) == 3


def test_generate_of_a_class_with_a_beacon(folder, ok, tmp_path, tiny_folders):
    ok("log", "generate", folder, tiny_folders["tiny_conditional"], "--n", 1, "--label", 2, "--beacon", "round 7",
       "--forget-pictures", "--out", tmp_path / "out")  # fmt: skip
    assert leaves(folder)[1].beacon == "round 7"


def test_generate_leaves_no_folder_where_it_fails(folder, refused, tmp_path, tiny_folders):
    out, tiny = tmp_path / "out", tiny_folders["tiny"]
    before = names(tmp_path)
    refused(2, "log", "generate", tmp_path / "nowhere", tiny, "--n", 1, "--out", out)
    refused(2, "log", "generate", folder, tmp_path / "nowhere", "--n", 1, "--out", out)
    refused(2, "log", "generate", folder, tiny, "--n", 1, "--label", 1, "--out", out)
    refused(2, "log", "generate", folder, tiny, "--n", 1, "--recipient", "two\nlines", "--out", out)
    refused(2, "log", "generate", folder, tiny, "--n", 1, "--beacon", "", "--out", out)
    with LogStore.open(folder):
        assert "another process writes" in refused(2, "log", "generate", folder, tiny, "--n", 1, "--out", out)
    assert names(tmp_path) == before
    out.mkdir()
    assert "exists already" in refused(2, "log", "generate", folder, tiny, "--n", 1, "--out", out)
    assert names(out) == []


def test_an_intent_whose_picture_was_not_released_is_reported(folder, ok, jattr, refused, tmp_path, tiny_folders):
    refused(
        2, "log", "generate", folder, tiny_folders["tiny"], "--n", 2, "--recipient", "\x07", "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()
    assert ok("log", "status", folder)["orphans"] == [1, 2]
    assert "2 intents without a result (entries 1, 2): a process ended" in jattr("log", "status", folder)[1]


def test_no_file_of_a_picture_is_there_before_its_result(folder, ok, jattr, tmp_path, tiny_folders, monkeypatch):
    """A process may be killed at any moment: what it leaves then, hidden folders included, is in the log."""
    seen, release = [], Recorder.release

    def spied(self, intents, *args, **options):
        seen.append(len(list(tmp_path.rglob("*.png"))))
        made = release(self, intents, *args, **options)
        seen.append(len(list(tmp_path.rglob("*.png"))))
        return made

    monkeypatch.setattr(Recorder, "release", spied)
    monkeypatch.setattr("jattr.cli.log_generate.CHUNK", 2)
    ok("log", "generate", folder, tiny_folders["tiny"], "--n", 3, "--out", tmp_path / "out")
    assert seen == [0, 0, 2, 2]
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_a_full_disk_releases_nothing(folder, made, refused, tmp_path, tiny_folders):
    size = max(path.stat().st_size for path in folder.iterdir())
    with full_disk(size):
        refused(2, "log", "generate", folder, tiny_folders["tiny"], "--n", 64, "--out", tmp_path / "more")
    assert not (tmp_path / "more").exists()
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]


def test_a_lost_private_file_is_named(folder, made, ok, jattr, refused, tmp_path, tiny_folders):
    for path in folder.glob(FILE + "*"):
        path.unlink()
    for args in (
        ("generate", folder, tiny_folders["tiny"], "--n", 1, "--out", tmp_path / "more"),
        ("erase", folder, 3, "--reason", "on request"),
    ):
        assert f"{FILE} is missing" in refused(2, "log", *args)
    assert not (tmp_path / "more").exists()
    assert ok("log", "status", folder)["private"] is False
    assert f"{FILE} is missing" in jattr("log", "status", folder)[1]
    assert ok("log", "publish", folder)["size"] == 5  # what is in the log can still be shown to be there


def test_append_says_what_supports_no_denial(folder, ok, jattr, refused, tmp_path):
    (tmp_path / "a").write_bytes(b"no leaf")
    (tmp_path / "b").write_bytes(EraseLeaf((0,), "made elsewhere").data)
    assert ok("log", "append", folder, tmp_path / "a", tmp_path / "b") == {"entries": [0, 1], "others": 1}
    assert "1 of them are no leaves of jattr" in jattr("log", "append", folder, tmp_path / "a")[1]
    assert "no leaves" not in jattr("log", "append", folder, tmp_path / "b")[1]
    (tmp_path / "large").write_bytes(bytes(65_536))
    refused(2, "log", "append", folder, tmp_path / "b", tmp_path / "large")
    refused(2, "log", "append", folder, tmp_path / "b", tmp_path / "nowhere")
    assert ok("log", "status", folder)["entries"] == 4


def test_publish_and_verify(folder, made, ok, jattr, refused, tmp_path):
    policy = folder / "policy"
    assert "has not been published" in refused(2, "log", "receipts", folder, made)
    refused(2, "log", "verify", folder / "public", "--policy", policy)
    code, out, _ = jattr("log", "publish", folder)
    assert code == 0
    assert "checkpoint of 5 entries, with no witness: nobody vouches for one view of it" in out
    assert ok("log", "verify", folder / "public", "--policy", policy) == {
        "origin": ORIGIN, "size": 5, "entries": 5, "witnesses": [], "verified": True
    }  # fmt: skip
    earlier = tmp_path / "earlier"
    earlier.write_bytes((folder / "public" / "checkpoint").read_bytes())
    (tmp_path / "more").write_bytes(b"{}")
    ok("log", "append", folder, tmp_path / "more")
    assert ok("log", "publish", folder, "--to", tmp_path / "elsewhere")["size"] == 6
    assert ok("log", "publish", folder)["size"] == 6
    found = ok("log", "verify", folder / "public", "--policy", policy, "--since", earlier)
    assert (found["size"], found["entries"]) == (6, 1)
    assert ok("log", "publish", folder, "--rebuild", "--to", tmp_path / "rebuilt")["tiles"] > 0
    assert ok("log", "verify", tmp_path / "rebuilt", "--policy", policy)["size"] == 6
    (bundle,) = (folder / "public" / "tile" / "entries").rglob("6")
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"]")
    assert "entries were left out, added or changed" in refused(
        3, "log", "verify", folder / "public", "--policy", policy
    )


def test_a_wrong_key_in_the_policy(folder, made, ok, refused, tmp_path):
    ok("log", "publish", folder)
    policy = tmp_path / "policy"
    policy.write_text(f"log {Signer.generate(ORIGIN).verifier.vkey}\nquorum none\n", "utf-8")
    assert "no trusted key" in refused(3, "log", "verify", folder / "public", "--policy", policy)
    receipt = made / "00000.png.tlog-proof"
    refused(3, "log", "check", made / "00000.png", receipt, "--policy", policy)
    for text in ("", "log x\n", f"log {Signer.generate(ORIGIN).skey}\nquorum none\n"):
        policy.write_text(text, "utf-8")
        assert "PRIVATE+KEY+" not in refused(2, "log", "verify", folder / "public", "--policy", policy)
    (folder / "policy").write_text(f"log {Signer.generate(ORIGIN).verifier.vkey}\nquorum none\n", "utf-8")
    refused(3, "log", "publish", folder)


def test_receipts_before_and_after_publishing(folder, made, ok, jattr, refused, tmp_path):
    policy, picture, receipt = folder / "policy", made / "00000.png", made / "00000.png.tlog-proof"
    early = ok("log", "check", picture, receipt, "--policy", policy)
    assert early == {"entry": 3, "origin": ORIGIN, "matches": "file", "recipient": "Ada", "witnesses": []}
    with witness(folder, tmp_path):
        assert "lacks the quorum" in refused(3, "log", "check", picture, receipt, "--policy", policy)
        assert ok("log", "publish", folder)["witnesses"] == ["example.org/witness"]
        refused(3, "log", "check", picture, receipt, "--policy", policy)
        assert ok("log", "receipts", folder, made) == {"receipts": 2}
        later = ok("log", "check", picture, receipt, "--policy", policy)
        assert later == early | {"witnesses": ["example.org/witness"]}
        assert (
            "this very file is entry 3 of the log example.com/faces (5), for Ada"
            in jattr("log", "check", picture, receipt, "--policy", policy)[1]
        )
    other = made / "00001.png"
    assert "of another picture" in refused(3, "log", "check", other, receipt, "--policy", policy)
    refused(2, "log", "check", receipt, receipt, "--policy", policy)
    refused(2, "log", "check", picture, picture, "--policy", policy)


def test_receipts_are_renewed_all_or_none(folder, made, ok, refused, tmp_path, tiny_folders):
    ok("log", "publish", folder)
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    ok("log", "generate", folder, tiny_folders["tiny"], "--n", 1, "--out", tmp_path / "later")
    late = (tmp_path / "later" / "00000.png.tlog-proof").read_bytes()
    (made / "99999.png.tlog-proof").write_bytes(late)  # of an entry that is not published yet
    refused(2, "log", "receipts", folder, made)
    (made / "99999.png.tlog-proof").write_bytes(b"no receipt")
    refused(2, "log", "receipts", folder, made)
    (made / "99999.png.tlog-proof").unlink()
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    (made / "00000.png.tlog-proof.new").mkdir()  # where the new one would be written first
    assert "cannot write" in refused(2, "log", "receipts", folder, made)
    (made / "00000.png.tlog-proof.new").rmdir()
    assert "cannot read" in refused(2, "log", "receipts", folder, tmp_path / "nowhere")
    with read_only(made):
        refused(2, "log", "receipts", folder, made)
    assert "has no receipts" in refused(2, "log", "receipts", folder, tmp_path)
    ok("log", "init", tmp_path / "another", "--origin", "example.com/another")
    ok("log", "generate", tmp_path / "another", tiny_folders["tiny"], "--n", 4, "--out", tmp_path / "theirs")
    ok("log", "publish", tmp_path / "another")
    assert "is not of entry" in refused(2, "log", "receipts", tmp_path / "another", made)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_without_its_quorum_nothing_is_published(folder, made, refused, jattr, tmp_path):
    with witness(folder, tmp_path):
        pass  # it has gone
    assert "lacks the quorum" in refused(3, "log", "publish", folder)
    assert not (folder / "public" / "checkpoint").exists()


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
    assert [line.startswith("log ") for line in lines if not line.startswith("#")] == [True, True, False, False]
    assert ok("log", "verify", folder / "public", "--policy", folder / "policy")["size"] == 6
    assert main(["log", "verify", str(folder / "public"), "--policy", str(old_policy)]) == 3


class Died(BaseException):
    """The process ends here."""


def dies(*args, **options):
    raise Died


STEPS = {  # where it ends -> what is called there
    "before anything": "jattr.ledger.store.keep_private",
    "key, no leaf": "jattr.ledger.store.LogStore.append",
    "leaf": "jattr.cli.log_actions.write",
    "policy": "jattr.ledger.store.LogStore.rotate",
    "within the switch": "jattr.ledger.store.write_identity",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_rotation_that_ends_anywhere_can_be_gone_on_with(step, folder, made, ok, tmp_path, monkeypatch):
    ok("log", "publish", folder)
    with monkeypatch.context() as patched:
        patched.setattr(STEPS[step], dies)
        with pytest.raises(Died):
            main(["log", "rotate", str(folder)])
    announced = [leaf.new for leaf in leaves(folder) if isinstance(leaf, KeyLeaf)]
    assert len(announced) == (step not in ("before anything", "key, no leaf"))
    private = [parse_skey(line).verifier.vkey for line in (folder / "keys").read_text("ascii").splitlines()]
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


def test_a_log_is_no_witness_of_its_own(folder, made, ok, refused):
    ok("log", "publish", folder)
    public = parse_vkey(log_key(folder)).public
    own = Verifier("independent.org", COSIGNATURE, public)
    text = (folder / "policy").read_text("utf-8").replace("quorum none", f"witness w {own.vkey}\nquorum w")
    (folder / "policy").write_text(text, "utf-8")
    for args in (("publish", folder), ("verify", folder / "public", "--policy", folder / "policy")):
        assert "a log cannot vouch for itself" in refused(2, "log", *args)


def test_a_witness_that_nobody_asked_for(folder, made, ok, jattr, tmp_path):
    with witness(folder, tmp_path):
        text = (folder / "policy").read_text("utf-8").replace("quorum w", "quorum none")
        (folder / "policy").write_text(text, "utf-8")
        assert "whom the policy does not ask for (`quorum none`)" in jattr("log", "publish", folder)[1]
    args = ("log", "verify", folder / "public", "--policy", folder / "policy")
    assert "no witness asked for, cosigned by example.org/witness" in jattr(*args)[1]


def test_a_receipt_with_deep_json_is_refused(folder, made, refused, tmp_path):
    proof = parse_tlog_proof((made / "00000.png.tlog-proof").read_bytes())
    for depth in (33, 989, 5000):
        deep = TlogProof(proof.index, proof.hashes, proof.checkpoint, b"[" * depth + b"]" * depth)
        (tmp_path / "deep").write_bytes(deep.data)
        said = refused(2, "log", "check", made / "00000.png", tmp_path / "deep", "--policy", folder / "policy")
        assert "the extra line of the receipt: objects and lists are nested more than 32 deep" in said


def test_an_entry_of_deep_json_is_no_leaf(folder, ok, tmp_path):
    for depth in (33, 850, 989):
        (tmp_path / "deep").write_bytes(b'{"a":' * depth + b"1" + b"}" * depth)
        assert ok("log", "append", folder, tmp_path / "deep")["others"] == 1
    assert ok("log", "status", folder)["other"] == 3


def test_a_witness_says_its_key_and_serves(folder, made, ok, refused, tmp_path, monkeypatch):
    memory = tmp_path / "memory"
    refused(2, "log", "witness", memory)
    (key,) = ok("log", "witness", memory, "--name", "example.org/witness")["keys"]
    assert ok("log", "witness", memory)["keys"] == [key]
    refused(2, "log", "witness", memory, "--name", "example.org/witness")
    refused(2, "log", "witness", memory, "--log", "no key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in refused(2, "log", "witness", memory, "--log", log_key(folder), "--port", port)
    refused(2, "log", "witness", memory, "--log", log_key(folder), "--host", "nowhere.invalid")


def log_key(folder):
    return json.loads((folder / "log.json").read_bytes())["keys"][0]


def test_a_witness_in_a_process_of_its_own(folder, made, ok, tmp_path):
    memory = tmp_path / "memory"
    (key,) = ok("log", "witness", memory, "--name", "example.org/witness")["keys"]
    args = ["log", "witness", str(memory), "--log", log_key(folder), "--json"]
    code = "import sys; from jattr.cli.main import console; sys.argv[0] = 'jattr'; console()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        said = json.loads(process.stdout.readline())  # it comes though the pipe is not full
        assert said["keys"] == [key]
        text = (folder / "policy").read_text("utf-8").replace("quorum none", f"witness w {key} {said['url']}\nquorum w")
        (folder / "policy").write_text(text, "utf-8")
        assert ok("log", "publish", folder)["witnesses"] == ["example.org/witness"]
        process.send_signal(2)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.count("\n") == 1
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("action", ["status", "publish", "rotate"])
def test_a_folder_that_is_no_log(refused, tmp_path, action):
    assert "no folder of a log" in refused(2, "log", action, tmp_path)
    assert names(tmp_path) == []


def test_a_reader_of_a_file_that_is_too_large(tmp_path, refused, folder):
    (tmp_path / "policy").write_bytes(bytes(log_readers.MAX_FILE + 1))
    assert "has more than" in refused(2, "log", "verify", folder, "--policy", tmp_path / "policy")


def test_the_folder_of_a_test_can_be_a_relative_path(ok, tmp_path, monkeypatch, tiny_folders):
    monkeypatch.chdir(tmp_path)
    ok("log", "init", "log", "--origin", ORIGIN)
    ok("log", "generate", "log", tiny_folders["tiny"], "--n", 1, "--out", "out")
    ok("log", "publish", "log")
    assert ok("log", "verify", "log/public", "--policy", "log/policy")["entries"] == 3
    assert Path("out/00000.png").is_file()
