"""`--overwrite`, command by command.

What jattr did not write, or still needs, is never replaced.
"""

import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from feature_files import stored_tensors
from log_folders import ORIGIN
from safetensors.numpy import save_file
from tiny_generator import tiny_card_data, tiny_weights

from jattr.attribution.calibration_files import write_calibration
from jattr.cli.demo import DEMO_FOLDER
from jattr.decision.calibration_json import from_json
from jattr.distances.feature_folder import make_card, save_features
from jattr.errors import OutputError
from jattr.folders.kinds import problem_of
from jattr.generators.store import load_generator

SEARCH = ("--restarts", 1, "--lanes", 2)


def tree(folder):
    """Everything below a folder, and what files hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def kept(refused, tmp_path):
    """Run a command, which must be refused in one line and touch nothing."""

    def run(*args, words="is not replaced"):
        before = tree(tmp_path)
        said = refused(2, *args)
        assert words in said
        assert tree(tmp_path) == before
        return said

    return run


@pytest.fixture
def gen(tiny_folders, tmp_path):
    """A candidate that may be lost."""
    return shutil.copytree(tiny_folders["tiny"], tmp_path / "gen")


@pytest.fixture
def images(gen, ok, tmp_path):
    """Two images of it, made there."""
    ok("generate", gen, "--n", 2, "--out", tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def log(gen, ok, tmp_path):
    """A log, two logged images, published."""
    ok("log", "init", tmp_path / "log", "--origin", ORIGIN)
    ok("log", "generate", tmp_path / "log", gen, "--n", 2, "--out", tmp_path / "logged")
    ok("log", "publish", tmp_path / "log")
    return tmp_path / "log"


def test_attribute(images, gen, original, kept, ok, tmp_path, monkeypatch):
    out = shutil.copytree(original / "result", tmp_path / "out")
    image = shutil.copy(images / "00000.png", tmp_path / "mine.png")
    command = ("attribute", image, "--candidates", gen, *SEARCH, "--overwrite", "--out")
    for place in (images, gen, gen / "params", tmp_path, "/", gen / "new"):
        kept(*command, place, words="choose another place")
    monkeypatch.chdir(tmp_path)
    kept(
        "attribute",
        "mine.png",
        "--candidates",
        "gen",
        "--out",
        ".",
        "--overwrite",
        words="the current folder",
    )
    kept(*command, "out/..", words="the current folder")
    kept(*command, "../" + tmp_path.name, words="the current folder")
    (tmp_path / "link").symlink_to("out")
    kept(*command, "link", words="is not a folder")
    (out / "notes.txt").write_text("mine")
    kept(*command, "out", words="it holds 'notes.txt'")
    (out / "notes.txt").unlink()
    (tmp_path / "hard.json").hardlink_to(out / "result.json")
    kept(*command, "out", "--calibration", "hard.json", words="hard.json, which this command uses")
    kept(*command, "out", "--distance", f"lpips:{out}*0.5+l2", words="which this command reads")
    ok(*command, "out")
    assert sorted(os.listdir(out)) == [
        "contact_sheet.png",
        "latents.npz",
        "report.html",
        "result.json",
    ]
    assert json.loads((out / "result.json").read_text())["pictures"][0]["file"] == str(image)


def test_a_result_whose_latents_are_others_is_kept(images, gen, original, kept, tmp_path):
    out = shutil.copytree(original / "result", tmp_path / "out")
    shutil.copy(images / "latents.npz", out / "latents.npz")
    command = (
        "attribute",
        images / "00000.png",
        "--candidates",
        gen,
        *SEARCH,
        "--overwrite",
        "--out",
        out,
    )
    kept(*command, words="'latents.npz' is not the file that 'result.json' states")


def test_an_image_in_a_result_folder_is_kept(gen, original, kept, tmp_path):
    out = shutil.copytree(original / "result", tmp_path / "out")
    command = (
        "attribute",
        out / "contact_sheet.png",
        "--candidates",
        gen,
        *SEARCH,
        "--overwrite",
        "--out",
        out,
    )
    kept(*command, words="which this command uses")


def test_a_result_with_notes_of_somebody_is_kept(images, gen, original, kept, tmp_path):
    out = shutil.copytree(original / "result", tmp_path / "out")
    noted = json.loads((out / "result.json").read_text()) | {"notes": "mine"}
    (out / "result.json").write_text(json.dumps(noted))
    command = ("attribute", images / "00000.png", "--candidates", gen, *SEARCH)
    kept(*command, "--overwrite", "--out", out, words="is no result of `jattr attribute`")


def test_a_bundled_candidate_is_kept(images, kept):
    from jattr.generators.store import bundled_generators

    folder = bundled_generators()["dcgan_a"]
    before = tree(folder)
    options = ("--overwrite", "--out", folder)
    kept(
        "attribute",
        images / "00000.png",
        "--candidates",
        "dcgan_a",
        *options,
        words="a part of jattr",
    )
    kept("generate", "dcgan_a", "--n", 1, *options, words="a part of jattr")
    assert tree(folder) == before


def test_generate(images, gen, log, original, kept, ok, tmp_path):
    result = shutil.copytree(original / "result", tmp_path / "result")
    for place in (log, log / "public", tmp_path / "logged", gen, tmp_path, result):
        kept("generate", gen, "--n", 1, "--overwrite", "--out", place, words="choose another place")
    latents = images / "latents.npz"
    kept(
        "generate",
        gen,
        "--latents",
        latents,
        "--overwrite",
        "--out",
        images,
        words="which this command uses",
    )
    (images / "00002.png").write_bytes((images / "00000.png").read_bytes())
    kept("generate", gen, "--n", 1, "--overwrite", "--out", images, words="it holds '00002.png'")
    (images / "00002.png").unlink()
    ok("generate", gen, "--n", 1, "--overwrite", "--out", images)
    assert sorted(os.listdir(images)) == ["00000.png", "latents.npz"]
    (images / "00000.png").unlink()
    kept("generate", gen, "--n", 1, "--overwrite", "--out", images, words="it has no '00000.png'")


def test_convert(gen, kept, ok, tmp_path, monkeypatch):
    folder = tmp_path / "gens"
    folder.mkdir()
    save_file(tiny_weights(seed=3), folder / "tiny.safetensors")
    card, weights = folder / "tiny.json", folder / "tiny.safetensors"
    card.write_text(json.dumps(tiny_card_data() | {"weights": "tiny.safetensors"}))
    for command in (
        (card, folder),
        (weights, folder, "--card", card),
        (weights, tmp_path, "--card", card),
    ):
        kept("convert", *command, "--overwrite")
    shutil.copy(card, tmp_path / "card.json")
    kept("convert", weights, folder, "--card", tmp_path / "card.json", "--overwrite")
    monkeypatch.chdir(folder)
    kept("convert", "tiny.json", ".", "--overwrite", words="the current folder")
    (gen / "tiny.safetensors").write_bytes(b"weights of somebody")
    kept("convert", card, gen, "--overwrite", words="it holds 'tiny.safetensors'")
    (gen / "tiny.safetensors").unlink()
    (gen / "params" / "notes").mkdir()
    kept("convert", card, gen, "--overwrite")
    (gen / "params" / "notes").rmdir()
    for _ in range(2):  # a folder may lie in the one that is converted
        ok("convert", card, "out", "--overwrite")
    digest = ok("convert", card, gen, "--overwrite")["digest"]
    assert load_generator(gen).digest == digest


def test_convert_does_not_replace_a_folder_of_features_by_a_generator(kept, tmp_path):
    save_file(tiny_weights(), tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.json").write_text(
        json.dumps(tiny_card_data() | {"weights": "tiny.safetensors"})
    )
    card = make_card(name="alex", architecture="lpips-alex", variant="0.1", source={})
    save_features(tmp_path / "alex", card, stored_tensors("lpips-alex"))
    said = kept("convert", tmp_path / "tiny.json", tmp_path / "alex", "--overwrite")
    assert "is not a generator folder as jattr wrote it" in said


@pytest.fixture
def calibrate(gen):
    return ("calibrate", gen, "--own", 4, "--others", 0, *SEARCH, "--overwrite", "--out")


@pytest.mark.slow
def test_calibrate(calibrate, images, gen, kept, ok, tmp_path):
    out = tmp_path / "c.json"
    ok(*calibrate, out)
    first = images / "00000.png"
    save_file(tiny_weights(), tmp_path / "net.safetensors")
    (tmp_path / "other.json").write_text('{"schema": 2}')
    for place in (
        first,
        gen / "card.json",
        tmp_path / "net.safetensors",
        images,
        gen / "new",
        tmp_path / "other.json",
    ):
        kept(*calibrate, place, words="choose another place")
    kept(*calibrate, first, "--negatives", first, words="is one of the negatives")
    (tmp_path / "hard.png").hardlink_to(first)
    kept(*calibrate, tmp_path / "hard.png", "--negatives", first, words="is one of the negatives")
    (tmp_path / "link").symlink_to(first)
    (tmp_path / "alias").symlink_to(out)
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("link", "alias", "broken"):
        kept(*calibrate, tmp_path / name, words="is no calibration that jattr wrote")
    kept(*calibrate[:-2], "--out", out, words="exists")
    ok(*calibrate, out)
    for name in (f"{first}/", f"{first}/.", f"{gen}/card.json/"):  # which Path takes for the file
        kept(*calibrate[:-2], "--out", name, words="choose another place")
        kept(*calibrate, name, words="choose another place")
    kept(*calibrate, "", words="choose another place")
    kept(*calibrate, tmp_path / "none" / "c.json", words="is no folder that can be written")
    old = json.loads(out.read_text()) | {"schema": 1}  # of an earlier jattr
    out.write_text(json.dumps(old))
    ok(*calibrate, out)
    assert json.loads(out.read_text())["schema"] == 2


@pytest.mark.slow
def test_a_calibration_that_appears_at_the_last_moment_is_kept(calibrate, ok, tmp_path):
    made = tmp_path / "made.json"
    ok(*calibrate, made)
    calibration = from_json(made.read_text())
    (tmp_path / "c.json").write_text("mine")
    with pytest.raises(OutputError, match="File exists"):
        write_calibration(tmp_path / "c.json", calibration, overwrite=False)
    assert (tmp_path / "c.json").read_text() == "mine"
    write_calibration(tmp_path / "new.json", calibration, overwrite=False)
    assert (tmp_path / "new.json").read_bytes() == made.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [
        "c.json",
        "made.json",
        "new.json",
    ]


def test_files_that_end_in_new_are_kept(log, ok, tmp_path):
    """The log's own temporary files have other names."""
    mine = [log / "policy.new", log / "public" / "checkpoint.new"]
    mine.append(tmp_path / "logged" / "00000.png.tlog-proof.new")
    for path in mine:
        path.write_text("mine")
    ok("log", "rotate", log)
    ok("log", "publish", log)
    ok("log", "receipts", log, tmp_path / "logged")
    assert [path.read_text() for path in mine] == ["mine"] * 3


def test_evidence(log, gen, kept, ok, tmp_path, monkeypatch):
    out, image = tmp_path / "evidence", tmp_path / "logged" / "00001.png"
    command = ("evidence", "make", image, "--log", log, "--candidate", gen, "--overwrite", "--out")
    for place in (log, log / "public", gen, tmp_path / "logged", tmp_path):
        kept(*command, place, words="choose another place")
    monkeypatch.chdir(log)
    kept(*command, ".", words="the current folder")
    ok(*command, out)
    (out / "answer.txt").write_text("mine")
    kept(*command, out, words="it holds 'answer.txt'")
    (out / "answer.txt").unlink()
    ok(*command, out)
    shutil.copy(image, out / "evidence.html")
    kept(
        "evidence",
        "make",
        out / "evidence.html",
        *command[3:],
        out,
        words="which this command uses",
    )


def test_log_generate(log, images, gen, kept, ok, tmp_path):
    command = ("log", "generate", log, gen, "--n", 1, "--overwrite", "--out")
    for place in (log, log / "public", gen, images, tmp_path, gen / "new"):
        kept(*command, place, words="choose another place")
    logged = tmp_path / "logged"
    (logged / "00000.txt").write_text("mine")
    kept(*command, logged, words="it holds '00000.txt'")
    (logged / "00000.txt").unlink()
    ok(*command, logged)
    assert sorted(os.listdir(logged)) == ["00000.png", "00000.png.tlog-proof", "latents.npz"]


def test_log_publish(log, refused, ok, tmp_path):
    web = shutil.copytree(log / "public", tmp_path / "web")
    (web / "checkpoint").unlink()  # as if interrupted
    (tile,) = (web / "tile" / "entries").glob("000.p/*")
    whole = tile.read_bytes()
    tile.write_text("mine")
    command = ("log", "publish", log, "--to", web)
    assert "is not of this log" in refused(2, *command)
    assert tile.read_text() == "mine"
    tile.write_bytes(whole)
    ok(*command)
    assert (web / "checkpoint").is_file()


def test_demo(kept, tmp_path, monkeypatch):
    """A whole demo is in test_cli_demo."""
    out = tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    (out / "pictures" / "01.png").write_bytes(b"1")
    secret = {"file": "01.png", "made_by": "dcgan_a", "compressed": False}
    (out / "truth.json").write_text(json.dumps([secret]))
    assert problem_of(out, DEMO_FOLDER) is None
    for name in ("mine.png", "pictures/02.png", ".hidden"):
        (out / name).write_text("mine")
        kept("demo", "--out", out, words="exists already")
        kept("demo", "--out", out, "--overwrite", words="is not a folder of `jattr demo`")
        (out / name).unlink()
    (out / "result").mkdir()
    kept("demo", "--out", out, "--overwrite")
    (out / "result").rmdir()
    monkeypatch.chdir(out)
    kept("demo", "--out", ".", words="the current folder")
    kept("demo", "--out", tmp_path, "--overwrite", words="choose another place")
    (out / "truth.json").write_text("[]")
    kept("demo", "--out", out, "--overwrite")


@pytest.mark.slow
def test_bench_speed(gen, kept, ok, tmp_path):
    command = ("bench", "speed", "--quick", "--candidates", gen, "--out")
    for place in (gen, tmp_path, gen / "new"):
        kept(*command, place, words="choose another place")
    out = tmp_path / "speed"
    facts = {"steps": [], "searches": [], "peak_memory": {}, "versions": {}}
    out.mkdir()
    (out / "speed.json").write_text(json.dumps(facts | {"mine": 1}))
    kept(*command, out, words="is not that of `jattr bench speed`")
    (out / "speed.json").write_text(json.dumps(facts))
    (out / "notes").write_text("mine")
    kept(*command, out, words="it holds 'notes'")
    (out / "notes").unlink()
    ok(*command, out)
    assert json.loads((out / "speed.json").read_text())["steps"]


@pytest.fixture
def spec(gen, tmp_path):
    text = (
        f'candidates = {json.dumps([str(gen)])}\npictures = [{{kind = "own", count ='
        " 1}]\n[grid]\nrestarts = [1]\n"
    )
    (tmp_path / "spec.toml").write_text(text)
    return tmp_path / "spec.toml"


@pytest.mark.slow
def test_sweep(spec, gen, kept, ok, tmp_path):
    """The report is refused before the cells are searched, and may be an older report."""
    report = tmp_path / "sweep" / "report"
    report.mkdir(parents=True)
    (report / "notes.txt").write_text("mine")
    kept("sweep", "run", spec, "--out", tmp_path / "sweep")
    kept("bench", "restarts", "--quick", "--candidates", gen, "--out", tmp_path / "sweep")
    shutil.rmtree(report)
    other = tmp_path / "other"
    other.mkdir()
    with contextlib.closing(sqlite3.connect(other / "store.sqlite")) as db:
        db.execute("CREATE TABLE mine (a)")
    kept("sweep", "run", spec, "--out", other, words="is no store of a sweep")
    (other / "store.sqlite").rename(other / "lock")
    (other / "notes").write_text("mine")
    kept("sweep", "run", spec, "--out", other, words="is a folder of something else")
    ok("sweep", "run", spec, "--out", tmp_path / "sweep")
    (report / "notes.txt").write_text("mine")
    kept("sweep", "resume", tmp_path / "sweep")
    (report / "notes.txt").unlink()
    ok("sweep", "resume", tmp_path / "sweep")
    out = tmp_path / "tables"
    for place in (tmp_path / "sweep", tmp_path, gen):
        kept(
            "sweep",
            "export",
            tmp_path / "sweep",
            "--out",
            place,
            "--overwrite",
            words="choose another place",
        )
    ok("sweep", "export", tmp_path / "sweep", "--out", out)
    ok("sweep", "export", tmp_path / "sweep", "--out", out, "--overwrite", "--format", "csv")
    assert not list(out.glob("*.svg"))
    origin = (out / "origin.json").read_text()
    (out / "origin.json").write_text('{"spec": {}}')
    again = ("sweep", "export", tmp_path / "sweep", "--overwrite", "--out", out)
    kept(*again, words="is not that of a sweep")
    (out / "origin.json").write_text(origin)
    (out / "cells.xlsx").write_text("mine")
    kept(
        "sweep",
        "export",
        tmp_path / "sweep",
        "--out",
        out,
        "--overwrite",
        words="it holds 'cells.xlsx'",
    )


def test_the_cache_is_kept(gen, kept, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("JATTR_CACHE", str(tmp_path / "cache"))
    kept(
        "generate",
        gen,
        "--n",
        1,
        "--out",
        tmp_path / "cache",
        "--overwrite",
        words="which this command uses",
    )
    (tmp_path / "cache").rename(tmp_path / "other")
    (tmp_path / "other" / "compiled").mkdir()
    monkeypatch.setenv("JATTR_CACHE", str(tmp_path / "other" / "compiled"))
    kept(
        "generate",
        gen,
        "--n",
        1,
        "--out",
        tmp_path / "other",
        "--overwrite",
        words="which this command uses",
    )


def test_images_with_settings_are_told(images, gen, ok):
    """Settings are stated where a generator has some."""
    arrays = dict(np.load(images / "latents.npz"))
    np.savez(images / "latents.npz", **arrays | {"settings": np.array("{}")})
    ok("generate", gen, "--n", 1, "--overwrite", "--out", Path(f"{images}/"))
