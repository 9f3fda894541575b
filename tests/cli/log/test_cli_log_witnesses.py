"""Receipts, witnesses and quorums of `jattr log`."""

import json
import socket
import subprocess
import sys

import pytest
from log_files import read_only
from log_folders import ORIGIN, log_key, witness

from jattr.ledger.keys import COSIGNATURE, Verifier, parse_vkey
from jattr.ledger.tlog_proof import TlogProof, parse_tlog_proof


def test_receipts_before_and_after_publishing(folder, made, ok, jattr, refused, tmp_path):
    policy, image, receipt = folder / "policy", made / "00000.png", made / "00000.png.tlog-proof"
    early = ok("log", "check", image, receipt, "--policy", policy)
    assert early == {
        "entry": 3,
        "origin": ORIGIN,
        "matches": "file",
        "recipient": "Ada",
        "witnesses": [],
    }
    with witness(folder, tmp_path):
        assert "lacks the quorum" in refused(3, "log", "check", image, receipt, "--policy", policy)
        assert ok("log", "publish", folder)["witnesses"] == ["example.org/witness"]
        refused(3, "log", "check", image, receipt, "--policy", policy)
        assert ok("log", "receipts", folder, made) == {"receipts": 2}
        later = ok("log", "check", image, receipt, "--policy", policy)
        assert later == early | {"witnesses": ["example.org/witness"]}
        assert (
            "this very file is entry 3 of the log example.com/faces (5), for Ada"
            in jattr("log", "check", image, receipt, "--policy", policy)[1]
        )
    other = made / "00001.png"
    assert "of another image" in refused(3, "log", "check", other, receipt, "--policy", policy)
    refused(2, "log", "check", receipt, receipt, "--policy", policy)
    refused(2, "log", "check", image, image, "--policy", policy)


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
    (made / ".00000.png.tlog-proof.jattr-new").mkdir()  # where the new one would be written first
    assert "cannot write" in refused(2, "log", "receipts", folder, made)
    (made / ".00000.png.tlog-proof.jattr-new").rmdir()
    assert "cannot read" in refused(2, "log", "receipts", folder, tmp_path / "nowhere")
    with read_only(made):
        refused(2, "log", "receipts", folder, made)
    assert "has no receipts" in refused(2, "log", "receipts", folder, tmp_path)
    ok("log", "init", tmp_path / "another", "--origin", "example.com/another")
    ok(
        "log",
        "generate",
        tmp_path / "another",
        tiny_folders["tiny"],
        "--n",
        4,
        "--out",
        tmp_path / "theirs",
    )
    ok("log", "publish", tmp_path / "another")
    assert "is not of entry" in refused(2, "log", "receipts", tmp_path / "another", made)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_without_its_quorum_nothing_is_published(folder, made, refused, jattr, tmp_path):
    with witness(folder, tmp_path):
        pass  # it has gone
    assert "lacks the quorum" in refused(3, "log", "publish", folder)
    assert not (folder / "public" / "checkpoint").exists()


def test_a_log_is_no_witness_of_its_own(folder, made, ok, refused):
    ok("log", "publish", folder)
    public = parse_vkey(log_key(folder)).public
    own = Verifier("independent.org", COSIGNATURE, public)
    text = (
        (folder / "policy")
        .read_text("utf-8")
        .replace("quorum none", f"witness w {own.vkey}\nquorum w")
    )
    (folder / "policy").write_text(text, "utf-8")
    for args in (("publish", folder), ("verify", folder / "public", "--policy", folder / "policy")):
        assert "a log cannot vouch for itself" in refused(2, "log", *args)


def test_a_witness_that_nobody_asked_for(folder, made, ok, jattr, tmp_path):
    with witness(folder, tmp_path):
        text = (folder / "policy").read_text("utf-8").replace("quorum w", "quorum none")
        (folder / "policy").write_text(text, "utf-8")
        assert (
            "whom the policy does not ask for (`quorum none`)" in jattr("log", "publish", folder)[1]
        )
    args = ("log", "verify", folder / "public", "--policy", folder / "policy")
    assert "no witness asked for, cosigned by example.org/witness" in jattr(*args)[1]


def test_a_receipt_with_deep_json_is_refused(folder, made, refused, tmp_path):
    proof = parse_tlog_proof((made / "00000.png.tlog-proof").read_bytes())
    for depth in (33, 989, 5000):
        deep = TlogProof(proof.index, proof.hashes, proof.checkpoint, b"[" * depth + b"]" * depth)
        (tmp_path / "deep").write_bytes(deep.data)
        said = refused(
            2, "log", "check", made / "00000.png", tmp_path / "deep", "--policy", folder / "policy"
        )
        assert (
            "the extra line of the receipt: objects and lists are nested more than 32 deep" in said
        )


def test_a_witness_says_its_key_and_serves(folder, made, ok, refused, tmp_path, monkeypatch):
    memory = tmp_path / "memory"
    refused(2, "log", "witness", memory)
    (key,) = ok("log", "witness", memory, "--name", "example.org/witness")["keys"]
    assert ok("log", "witness", memory)["keys"] == [key]
    refused(2, "log", "witness", memory, "--name", "example.org/witness")
    refused(2, "log", "witness", memory, "--log", "no key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in refused(
            2, "log", "witness", memory, "--log", log_key(folder), "--port", port
        )
    refused(2, "log", "witness", memory, "--log", log_key(folder), "--host", "nowhere.invalid")


@pytest.mark.slow
def test_a_witness_in_a_process_of_its_own(folder, made, ok, tmp_path):
    memory = tmp_path / "memory"
    (key,) = ok("log", "witness", memory, "--name", "example.org/witness")["keys"]
    args = ["log", "witness", str(memory), "--log", log_key(folder), "--json"]
    code = (  # a shell that runs the tests in the background has their processes ignore SIGINT
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from jattr.cli.main import console; sys.argv[0] = 'jattr'; console()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = json.loads(process.stdout.readline())  # it comes though the pipe is not full
        assert said["keys"] == [key]
        text = (
            (folder / "policy")
            .read_text("utf-8")
            .replace("quorum none", f"witness w {key} {said['url']}\nquorum w")
        )
        (folder / "policy").write_text(text, "utf-8")
        assert ok("log", "publish", folder)["witnesses"] == ["example.org/witness"]
        process.send_signal(2)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.count("\n") == 1
    finally:
        process.kill()
        process.communicate()
