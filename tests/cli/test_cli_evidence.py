"""`jattr evidence`: made by a log's owner, verified by somebody else, on the command line."""

import shutil

import numpy as np
import pytest
from log_folders import ORIGIN, log_key, names, witness
from PIL import Image
from recorded_logs import latents_of
from tiny_generator import make_tiny

from jattr.cli.main import main
from jattr.images import to_byte, write_png
from jattr.ledger.private import FILE
from jattr.ledger.store import LogStore

NONCE = "$(asked) 'by' somebody"


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_folders):
    """A log with two publications under a witness's eyes, and images to ask about."""
    folder = tmp_path_factory.mktemp("evidence")
    log, tiny = folder / "log", tiny_folders["tiny"]

    def run(*args):
        assert main([str(arg) for arg in args]) == 0

    run("log", "init", log, "--origin", ORIGIN)
    with witness(log, folder):
        run("log", "generate", log, tiny, "--n", 3, "--seed", 1, "--out", folder / "early")
        run("log", "publish", log)
        run("log", "generate", log, tiny, "--n", 2, "--seed", 2, "--out", folder / "late")
        run("log", "publish", log)
    own = to_byte(np.asarray(make_tiny().generate(latents_of(9, 1))))[0]
    foreign = to_byte(np.asarray(make_tiny(seed=1).generate(latents_of(0, 1))))[0]
    write_png(folder / "own.png", own)
    write_png(folder / "foreign.png", foreign)
    shutil.copy(folder / "early" / "00001.png", folder / "logged.png")
    (folder / "verifier").mkdir()
    shutil.copy(log / "policy", folder / "verifier" / "policy")
    shutil.copy(log / "public" / "checkpoint", folder / "verifier" / "checkpoint")
    return folder


@pytest.fixture
def arguments(world, tiny_folders):
    """The options of both commands."""

    def make(image, *options, log=world / "log", candidate="tiny"):
        return (
            "evidence",
            "make",
            world / image,
            "--log",
            log,
            "--candidate",
            tiny_folders[candidate],
            *options,
        )

    def verify(bundle, *options, policy=world / "verifier" / "policy"):
        return (
            "evidence",
            "verify",
            bundle,
            "--log",
            world / "log" / "public",
            "--policy",
            policy,
            *options,
        )

    return make, verify


@pytest.mark.parametrize(
    ("image", "kind", "use", "words"),
    [
        ("logged.png", "consistent-with-use", 5, "consistent with logged use, entry 5"),
        (
            "own.png",
            "denial-not-supported",
            None,
            "denial not supported: the model makes this image",
        ),
        (
            "foreign.png",
            "supported-denial",
            None,
            "supported denial: nothing in the complete, witnessed window",
        ),
    ],
)
def test_made_and_verified(
    world, arguments, ok, jattr, tmp_path, tiny_folders, image, kind, use, words
):
    make, verify = arguments
    out, tiny = tmp_path / "out", tiny_folders["tiny"]
    made = ok(*make(image, "--nonce", NONCE, "--restarts", 32, "--out", out))
    assert names(out) == ["evidence.html", "evidence.json"]
    assert made["verdict"]["kind"] == kind
    assert made["verdict"]["weaknesses"] == []
    if use is not None:
        assert made["verdict"]["use"] == use
    page = (out / "evidence.html").read_text("utf-8")
    assert "--restarts 32" in page  # whoever verifies searches as hard
    assert "--nonce &#39;$(asked) &#39;&#34;&#39;&#34;&#39;by" in page
    asked = (
        "--nonce",
        NONCE,
        "--picture",
        world / image,
        "--end",
        world / "verifier" / "checkpoint",
    )
    options = ("--candidate", tiny, *asked)
    found = ok(*verify(out, *options))
    assert (found["verified"], found["complete"], found["unchecked"]) == (True, True, [])
    assert found["verdict"] == made["verdict"]
    code, text, err = jattr(*verify(out / "evidence.json", *options))
    assert (code, err) == (0, "")
    assert text.startswith(f"{image}: {words}")
    assert "window: entries 0 to 11; it ends no later than 20" in text
    assert "NOT CHECKED" not in text
    assert ("in the words of the log's owner" in text) == found["attribution"]["certificate"]


def test_what_is_not_checked_is_printed(world, arguments, ok, jattr, tmp_path, tiny_folders):
    make, verify = arguments
    ok(*make("foreign.png", "--out", tmp_path / "out"))
    code, text, _ = jattr(*verify(tmp_path / "out"))
    assert code == 0
    assert text.count("NOT CHECKED") == 3  # weights, image, nonce
    assert "inversion, in the words of the log's owner: " in text
    code, text, _ = jattr(
        *verify(tmp_path / "out", "--candidate", tiny_folders["tiny"], "--no-search")
    )
    assert text.count("NOT CHECKED") == 3
    assert "leave --no-search away" in text
    assert text.startswith("foreign.png: as far as it was checked: supported denial")
    assert text.rstrip().endswith("the verdict rests on the above too")
    assert not ok(*verify(tmp_path / "out"))["complete"]


def test_windows(world, arguments, ok, refused, tmp_path):
    make, verify = arguments
    found = ok(*make("foreign.png", "--window", "7:", "--out", tmp_path / "late"))
    assert (found["examined"]["counts"]["entries"], found["examined"]["counts"]["results"]) == (
        5,
        2,
    )
    assert ok(*verify(tmp_path / "late"))["verdict"] == found["verdict"]
    assert any("7 entries before" in line for line in ok(*verify(tmp_path / "late"))["unchecked"])
    asked = ok(*verify(tmp_path / "late", "--window", "7:12"))["unchecked"]
    assert not any("entries before" in line for line in asked)
    assert "window: it is 7:12" in refused(3, *verify(tmp_path / "late", "--window", "0:12"))
    for window in ("7:", "12:7", "seven:12"):
        assert "--window is" in refused(2, *verify(tmp_path / "late", "--window", window))
    refused(2, *verify(tmp_path / "late", "--end", tmp_path / "nowhere"))
    early = ok(*make("logged.png", "--window", ":7", "--out", tmp_path / "early"))
    assert early["verdict"]["kind"] == "consistent-with-use"
    for window in (
        "",
        "7",
        "0:8",
        "12:7",
        "7:7",
        "0:0",
        "\u0667:",
        "1" * 5000 + ":",
        "7:12:12",
        " 7:12",
    ):
        assert "--window is" in refused(
            2, *make("foreign.png", "--window", window, "--out", tmp_path / "no")
        )
        assert not (tmp_path / "no").exists()


def test_levels(world, arguments, ok, tmp_path):
    make, verify = arguments
    for level in ("commitments", "perceptual"):
        found = ok(*make("foreign.png", "--level", level, "--out", tmp_path / level))
        assert (found["verdict"]["kind"], found["level"]) == ("denial-incomplete", level)
        assert ok(*verify(tmp_path / level))["verdict"] == found["verdict"]


def test_another_nonce_image_or_policy(world, arguments, ok, refused, tmp_path, tiny_folders):
    make, verify = arguments
    ok(*make("foreign.png", "--nonce", NONCE, "--out", tmp_path / "out"))
    assert "sample: " in refused(3, *verify(tmp_path / "out", "--nonce", "mine"))
    assert "picture: " in refused(3, *verify(tmp_path / "out", "--picture", world / "own.png"))
    assert "model: " in refused(3, *verify(tmp_path / "out", "--candidate", tiny_folders["tiny_b"]))
    alone = tmp_path / "alone"
    alone.write_text(f"log {log_key(world / 'log')}\nquorum none\n", "utf-8")
    assert "no independent witness" in refused(3, *verify(tmp_path / "out", policy=alone))
    refused(2, *verify(tmp_path / "out", policy=tmp_path / "nowhere"))
    refused(2, *verify(tmp_path / "out", policy=world / "own.png"))


def test_a_damaged_bundle(world, arguments, ok, refused, tmp_path):
    make, verify = arguments
    ok(*make("foreign.png", "--out", tmp_path / "out"))
    path = tmp_path / "out" / "evidence.json"
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b'"supported-denial"', b'"supported-claims"'))
    assert "field verdict: it is not what was signed" in refused(3, *verify(path))
    for data in (b"", b"{}", sound[:-1], sound + b"\n", b"[" * 100_000):
        path.write_bytes(data)
        refused(2, *verify(path))
    refused(2, *verify(tmp_path / "nowhere"))
    refused(2, *verify(tmp_path))


def test_a_log_that_is_not_shown(world, arguments, ok, refused, tmp_path):
    make, _ = arguments
    ok(*make("foreign.png", "--out", tmp_path / "out"))
    policy = world / "verifier" / "policy"
    refused(2, "evidence", "verify", tmp_path / "out", "--log", tmp_path, "--policy", policy)
    shutil.copytree(world / "log" / "public", tmp_path / "public")
    for bundle in (tmp_path / "public" / "tile" / "entries").rglob("12"):
        bundle.write_bytes(bundle.read_bytes()[:-1] + b" ")
    err = refused(
        3, "evidence", "verify", tmp_path / "out", "--log", tmp_path / "public", "--policy", policy
    )
    assert "window: " in err


def test_evidence_that_cannot_be_made_leaves_nothing(
    world, arguments, ok, refused, tmp_path, tiny_folders
):
    make, _ = arguments
    out = tmp_path / "out"
    assert "has no MODEL leaf" in refused(2, *make("foreign.png", "--out", out, candidate="tiny_b"))
    refused(2, *make("nowhere.png", "--out", out))
    refused(2, *make("log/policy", "--out", out))
    Image.new("RGB", (9, 7)).save(world / "small.png")
    refused(2, *make("small.png", "--out", out))
    refused(2, *make("foreign.png", "--alteration", "nonsense", "--out", out))
    refused(2, *make("foreign.png", "--out", out, log=tmp_path))
    with LogStore.open(world / "log"):
        assert "another process writes" in refused(2, *make("foreign.png", "--out", out))
    copy = tmp_path / "copy"
    shutil.copytree(world / "log", copy)
    for path in copy.glob(FILE + "*"):
        path.unlink()
    assert f"{FILE} is missing" in refused(2, *make("foreign.png", "--out", out, log=copy))
    ok("log", "init", tmp_path / "new", "--origin", ORIGIN)
    assert "has not been published" in refused(
        2, *make("foreign.png", "--out", out, log=tmp_path / "new")
    )
    assert ok("log", "publish", tmp_path / "new")["size"] == 0
    refused(2, *make("foreign.png", "--out", out, log=tmp_path / "new"))
    assert names(tmp_path) == ["copy", "new"]
    ok(*make("foreign.png", "--out", out))
    assert "exists already" in refused(2, *make("foreign.png", "--out", out))
    ok(*make("own.png", "--overwrite", "--out", out))


@pytest.mark.slow
def test_a_jpeg_file(world, arguments, ok, tmp_path, tiny_folders):
    make, verify = arguments
    with Image.open(world / "logged.png") as image:
        image.save(world / "logged.jpg", quality=90)
    found = ok(*make("logged.jpg", "--out", tmp_path / "out"))
    assert found["attribution"]["alteration"].startswith("jpeg:90")
    assert (found["verdict"]["kind"], found["verdict"]["use"]) == ("consistent-with-use", 5)
    again = ok(
        *verify(
            tmp_path / "out", "--candidate", tiny_folders["tiny"], "--picture", world / "logged.jpg"
        )
    )
    assert again["verdict"] == found["verdict"]
