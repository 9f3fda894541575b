"""`jattr log model` and `--weights-dated`: by when weights existed, in every certificate."""

import json

import numpy as np
import pytest
from log_folders import witness
from tiny_generator import make_tiny

from jattr.decision.weights_age import UNDATED
from jattr.images import to_byte, write_png

SEARCH = ("--restarts", 1, "--lanes", 2)


@pytest.fixture
def image(tmp_path):
    """An image of `tiny`."""
    z = np.random.default_rng(7).normal(size=(1, 6)).astype(np.float32)
    write_png(tmp_path / "own.png", to_byte(make_tiny().generate(z))[0])
    return tmp_path / "own.png"


@pytest.fixture
def proof(folder, ok, refused, tiny_folders, tmp_path):
    """The proof of `tiny` under a witnessed checkpoint; the log's own word makes none."""
    path = tmp_path / "tiny.dated"
    command = ("log", "model", folder, tiny_folders["tiny"])
    assert "holds no such model" in refused(2, *command, "--proof", path)
    assert ok(*command)["entry"] == ok(*command)["entry"] == 0
    ok("log", "publish", folder)
    assert "no witnessed checkpoint" in refused(2, *command, "--proof", path)
    with witness(folder, tmp_path):
        ok("log", "model", folder, tiny_folders["tiny_b"])  # a checkpoint of one size is one
        ok("log", "publish", folder)
        assert ok(*command, "--proof", path)["entry"] == 0
    assert "cannot write" in refused(2, *command, "--proof", path)  # nothing is replaced
    return path


@pytest.mark.slow
def test_certificates_state_a_date_that_witnesses_saw(
    folder, proof, image, jattr, ok, refused, tiny_folders, tmp_path
):
    tiny, policy = tiny_folders["tiny"], folder / "policy"
    out, dated = tmp_path / "out", ("--weights-dated", proof, "--policy", policy)
    candidates = ("--candidates", tiny)
    # without a proof
    _, text, _ = jattr("attribute", image, *candidates, *SEARCH, "--out", tmp_path / "plain")
    assert UNDATED in text
    assert UNDATED in (tmp_path / "plain" / "report.html").read_text()
    code, text, _ = jattr("verify", tmp_path / "plain", *candidates)
    assert (code, UNDATED in text) == (0, True)
    # with it
    _, text, _ = jattr("attribute", image, *candidates, *SEARCH, *dated, "--out", out)
    words = "these weights existed by 20"
    assert words in text
    assert "witnessed by example.org/witness" in text
    assert UNDATED not in text
    assert words in (out / "report.html").read_text()
    code, text, _ = jattr("verify", out, *candidates, *dated)
    assert (code, words in text) == (0, True)
    # nobody's word is taken for it
    code, text, errors = jattr("verify", out, *candidates)
    assert (code, UNDATED in text, words in text) == (4, True, False)
    assert "--weights-dated" in errors
    result = out / "result.json"
    data = json.loads(result.read_text())
    data["candidates"][0]["weights_dated"]["date"] = "2001-01-01 00:00:00 UTC"
    result.write_text(json.dumps(data))
    code, text, _ = jattr("verify", out, *candidates, *dated)
    assert (code, "2001" in text.split("DIFFERS")[0]) == (3, False)


def test_proofs_that_show_nothing_are_refused(
    folder, proof, image, ok, refused, tiny_folders, tmp_path
):
    command = ("attribute", image, *SEARCH, "--out", tmp_path / "out")
    tiny, other = (("--candidates", tiny_folders[name]) for name in ("tiny", "tiny_b"))
    policy = ("--policy", folder / "policy")
    assert "needs --policy" in refused(2, *command, *tiny, "--weights-dated", proof)
    assert "no effect without" in refused(2, *command, *tiny, *policy)
    assert "no candidate has these" in refused(
        2, *command, *other, "--weights-dated", proof, *policy
    )
    nobody = tmp_path / "nobody"  # a policy that asks for no witness
    text = (folder / "policy").read_text().splitlines()
    nobody.write_text(
        "\n".join(line for line in text if line.startswith("log ")) + "\nquorum none\n"
    )
    given = ("--weights-dated", proof, "--policy", nobody)
    assert "its own word dates nothing" in refused(3, *command, *tiny, *given)
    ok("log", "init", tmp_path / "another", "--origin", "example.com/another")
    given = ("--weights-dated", proof, "--policy", tmp_path / "another" / "policy")
    assert "no trusted key has signed" in refused(3, *command, *tiny, *given)
    changed = tmp_path / "changed"
    changed.write_bytes(proof.read_bytes().replace(b"index 0", b"index 1"))
    refused(3, *command, *tiny, "--weights-dated", changed, *policy)
    changed.write_bytes(b"no proof")
    refused(2, *command, *tiny, "--weights-dated", changed, *policy)
    assert not (tmp_path / "out").exists()


def test_a_receipt_of_an_image_dates_no_weights(folder, made, image, refused, tiny_folders):
    receipt = made / "00000.png.tlog-proof"
    given = ("--weights-dated", receipt, "--policy", folder / "policy")
    candidates = ("--candidates", tiny_folders["tiny"], "--out", made / "out")
    assert "result leaf" in refused(2, "attribute", image, *candidates, *SEARCH, *given)
