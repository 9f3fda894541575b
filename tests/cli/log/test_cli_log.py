"""`jattr log`: its actions, their exit codes, and that nothing is left half-written."""

import os
from pathlib import Path

import pytest
from log_files import full_disk
from log_folders import ORIGIN, leaves, names

from jattr.ledger.keys import Signer
from jattr.ledger.leaves import EraseLeaf, ModelLeaf
from jattr.ledger.policy import MAX_POLICY_BYTES
from jattr.ledger.private import FILE
from jattr.ledger.recording import Recorder
from jattr.ledger.store import LogStore


def test_init_makes_a_log_that_trusts_nobody_else(jattr, ok, refused, tmp_path):
    code, out, err = jattr("log", "init", tmp_path / "log", "--origin", ORIGIN)
    assert (code, err) == (0, "")
    assert "its key: example.com/faces+" in out
    assert {"keys", "log.json", "log.sqlite", "policy", FILE} <= set(names(tmp_path / "log"))
    assert os.stat(tmp_path / "log" / "keys").st_mode & 0o077 == 0
    assert os.stat(tmp_path / "log" / FILE).st_mode & 0o077 == 0
    assert "quorum none\n" in (tmp_path / "log" / "policy").read_text("utf-8")
    before = {
        name: (tmp_path / "log" / name).read_bytes() for name in ("keys", "log.json", "policy")
    }
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
        "00000.png",
        "00000.png.tlog-proof",
        "00001.png",
        "00001.png.tlog-proof",
        "latents.npz",
    ]
    status = ok("log", "status", folder)
    assert status == {
        "origin": ORIGIN,
        "entries": 5,
        "published": 0,
        "models": 1,
        "uses": 2,
        "orphans": [],
        "erased": [],
        "other": 0,
        "private": True,
    }
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
        ok("log", "generate", folder, tiny_folders["tiny"], "--n", 1, "--out", tmp_path / f"{n}")[
            "seed"
        ]
        for n in range(3)
    }
    assert len(seeds) == 3


def test_generate_of_a_class_with_a_beacon(folder, ok, tmp_path, tiny_folders):
    ok(
        "log",
        "generate",
        folder,
        tiny_folders["tiny_conditional"],
        "--n",
        1,
        "--label",
        2,
        "--beacon",
        "round 7",
        "--forget-pictures",
        "--out",
        tmp_path / "out",
    )
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
        assert "another process writes" in refused(
            2, "log", "generate", folder, tiny, "--n", 1, "--out", out
        )
    assert names(tmp_path) == before
    out.mkdir()
    assert "exists already" in refused(2, "log", "generate", folder, tiny, "--n", 1, "--out", out)
    assert names(out) == []


def test_an_intent_whose_image_was_not_released_is_reported(
    folder, ok, jattr, refused, tmp_path, tiny_folders
):
    refused(
        2,
        "log",
        "generate",
        folder,
        tiny_folders["tiny"],
        "--n",
        2,
        "--recipient",
        "\x07",
        "--out",
        tmp_path / "out",
    )
    assert not (tmp_path / "out").exists()
    assert ok("log", "status", folder)["orphans"] == [1, 2]
    assert (
        "2 intents without a result (entries 1, 2): a process ended"
        in jattr("log", "status", folder)[1]
    )


def test_no_file_of_an_image_is_there_before_its_result(
    folder, ok, jattr, tmp_path, tiny_folders, monkeypatch
):
    """A process may be killed at any moment.

    What it leaves then, hidden folders included, is in the log.
    """
    seen, release = [], Recorder.release

    def spied(self, intents, *args, **options):
        seen.append(len(list(tmp_path.rglob("*.png"))))
        made = release(self, intents, *args, **options)
        seen.append(len(list(tmp_path.rglob("*.png"))))
        return made

    monkeypatch.setattr(Recorder, "release", spied)
    monkeypatch.setattr("jattr.cli.log_generate.IMAGES_PER_COMMIT", 2)
    ok("log", "generate", folder, tiny_folders["tiny"], "--n", 3, "--out", tmp_path / "out")
    assert seen == [0, 0, 2, 2]
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_a_full_disk_releases_nothing(folder, made, refused, tmp_path, tiny_folders):
    size = max(path.stat().st_size for path in folder.iterdir())
    with full_disk(size):
        refused(
            2,
            "log",
            "generate",
            folder,
            tiny_folders["tiny"],
            "--n",
            64,
            "--out",
            tmp_path / "more",
        )
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
    # what is in the log can still be shown to be there
    assert ok("log", "publish", folder)["size"] == 5


def test_append_says_what_supports_no_denial(folder, ok, jattr, refused, tmp_path):
    (tmp_path / "a").write_bytes(b"no leaf")
    (tmp_path / "b").write_bytes(EraseLeaf((0,), "made elsewhere").data)
    assert ok("log", "append", folder, tmp_path / "a", tmp_path / "b") == {
        "entries": [0, 1],
        "others": 1,
    }
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
        "origin": ORIGIN,
        "size": 5,
        "entries": 5,
        "witnesses": [],
        "verified": True,
    }
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
        assert "PRIVATE+KEY+" not in refused(
            2, "log", "verify", folder / "public", "--policy", policy
        )
    (folder / "policy").write_text(
        f"log {Signer.generate(ORIGIN).verifier.vkey}\nquorum none\n", "utf-8"
    )
    refused(3, "log", "publish", folder)


def test_an_entry_of_deep_json_is_no_leaf(folder, ok, tmp_path):
    for depth in (33, 850, 989):
        (tmp_path / "deep").write_bytes(b'{"a":' * depth + b"1" + b"}" * depth)
        assert ok("log", "append", folder, tmp_path / "deep")["others"] == 1
    assert ok("log", "status", folder)["other"] == 3


@pytest.mark.parametrize("action", ["status", "publish", "rotate"])
def test_a_folder_that_is_no_log(refused, tmp_path, action):
    assert "no folder of a log" in refused(2, "log", action, tmp_path)
    assert names(tmp_path) == []


def test_a_reader_of_a_file_that_is_too_large(tmp_path, refused, folder):
    (tmp_path / "policy").write_bytes(bytes(MAX_POLICY_BYTES + 1))
    assert "has more than" in refused(2, "log", "verify", folder, "--policy", tmp_path / "policy")


def test_the_folder_of_a_test_can_be_a_relative_path(ok, tmp_path, monkeypatch, tiny_folders):
    monkeypatch.chdir(tmp_path)
    ok("log", "init", "log", "--origin", ORIGIN)
    ok("log", "generate", "log", tiny_folders["tiny"], "--n", 1, "--out", "out")
    ok("log", "publish", "log")
    assert ok("log", "verify", "log/public", "--policy", "log/policy")["entries"] == 3
    assert Path("out/00000.png").is_file()
