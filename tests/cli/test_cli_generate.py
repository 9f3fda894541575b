"""`jattr generate`: images from a seed and from saved latents, and what it refuses."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from jattr.cli import generate
from jattr.cli.main import main
from jattr.errors import OutputError
from jattr.generators import sampling
from jattr.generators.store import load_generator
from jattr.images import to_byte


def run(*args):
    return main([str(arg) for arg in args])


def pixels(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def made(tiny_folders, tmp_path):
    """Ten images of `tiny`: more than one batch, not a whole number of them."""
    assert (
        run("generate", tiny_folders["tiny"], "--n", 10, "--seed", 5, "--out", tmp_path / "made")
        == 0
    )
    return tmp_path / "made"


def refused(capsys, out, *args):
    """The message of a run that must be bad input and must leave nothing."""
    assert run("generate", *args, "--out", out) == 2
    stdout, err = capsys.readouterr()
    assert stdout == ""
    assert err.count("\n") == 1
    assert not [name for name in os.listdir(out.parent) if name.startswith((".out", "out"))]
    return err


def test_images_and_latents_are_written(made, tiny):
    assert [path.name for path in sorted(made.iterdir())] == [
        *(f"{i:05d}.png" for i in range(10)),
        "latents.npz",
    ]
    arrays = np.load(made / "latents.npz", allow_pickle=False)
    assert arrays["z"].dtype == np.float32
    assert arrays["label"].dtype == np.int32
    assert arrays["label"].tolist() == [-1] * 10
    assert (str(arrays["digest"]), str(arrays["space"])) == (tiny.digest, "z")
    # batches may round differently
    assert (pixels(made) == to_byte(tiny.generate(arrays["z"]))).mean() > 0.999
    assert len(np.unique(pixels(made), axis=0)) == 10


def test_the_same_seed_makes_the_same_bytes_and_another_does_not(made, tiny_folders, out, tmp_path):
    assert run("generate", tiny_folders["tiny"], "--n", 10, "--seed", 5, "--out", out) == 0
    assert contents(out) == contents(made)
    assert run("generate", tiny_folders["tiny"], "--n", 10, "--out", tmp_path / "other") == 0
    assert not (pixels(tmp_path / "other") == pixels(made)).all(axis=(1, 2, 3)).any()


def test_saved_latents_make_the_same_images(made, tiny_folders, out):
    assert (
        run("generate", tiny_folders["tiny"], "--latents", made / "latents.npz", "--out", out) == 0
    )
    assert contents(out) == contents(made)


def test_an_image_does_not_depend_on_how_many_are_made_with_it(made, tiny_folders, out, tmp_path):
    arrays = np.load(made / "latents.npz")
    np.savez(tmp_path / "one.npz", z=arrays["z"][3:4])
    assert (
        run("generate", tiny_folders["tiny"], "--latents", tmp_path / "one.npz", "--out", out) == 0
    )
    assert (out / "00000.png").read_bytes() == (made / "00003.png").read_bytes()


def test_json_names_the_files(tiny_folders, out, capsys, tiny):
    assert run("generate", tiny_folders["tiny"], "--n", 2, "--out", out, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures"] == ["00000.png", "00001.png"]
    assert result["generator"] == {
        "name": "tiny",
        "digest": tiny.digest,
        "weights_digest": tiny.weights_digest,
    }
    assert result["rounding"] == "round"


@pytest.mark.parametrize("label", [None, 2])
def test_classes_are_drawn_or_given_and_stored(tiny_folders, out, tmp_path, label):
    options = [] if label is None else ["--label", label]
    assert run("generate", tiny_folders["tiny_conditional"], "--n", 20, *options, "--out", out) == 0
    stored = np.load(out / "latents.npz")["label"]
    assert set(stored.tolist()) == ({0, 1, 2} if label is None else {2})
    again = tmp_path / "again"
    assert (
        run(
            "generate",
            tiny_folders["tiny_conditional"],
            "--latents",
            out / "latents.npz",
            "--out",
            again,
        )
        == 0
    )
    assert contents(again) == contents(out)


@pytest.mark.parametrize("shapes_agree", [True, False])
def test_the_latents_of_attribute_make_images(tiny_folders, tiny, tmp_path, out, shapes_agree):
    z = np.random.default_rng(0).normal(size=(3, 2, 6)).astype(np.float32)
    other = load_generator(tiny_folders["tiny_b"])
    arrays = {"z": z} if shapes_agree else {"z_0": np.zeros((3, 4), np.float32), "z_1": z[:, 1]}
    np.savez(
        tmp_path / "latents.npz", **arrays, label=np.full((3, 2), -1, np.int32), space="z",
        digest=np.array([other.digest, tiny.digest]),
    )  # fmt: skip
    assert (
        run("generate", tiny_folders["tiny"], "--latents", tmp_path / "latents.npz", "--out", out)
        == 0
    )
    assert (pixels(out) == to_byte(tiny.generate(z[:, 1]))).mean() > 0.999
    assert (np.load(out / "latents.npz")["z"] == z[:, 1]).all()


def test_images_without_a_latent_are_left_out_and_said(
    tiny_folders, tiny_conditional, tmp_path, out, capsys
):
    z = np.random.default_rng(0).normal(size=(3, 1, 6)).astype(np.float32)
    np.savez(
        tmp_path / "latents.npz", z=z, label=np.array([[2], [-1], [0]], np.int32), space="z",
        found=np.array([[True], [False], [True]]), digest=np.array([tiny_conditional.digest]),
    )  # fmt: skip
    assert (
        run(
            "generate",
            tiny_folders["tiny_conditional"],
            "--latents",
            tmp_path / "latents.npz",
            "--out",
            out,
        )
        == 0
    )
    assert "for images 1 (from 0)" in capsys.readouterr().err
    stored = np.load(out / "latents.npz")
    assert (stored["z"] == z[[0, 2], 0]).all()
    assert stored["label"].tolist() == [2, 0]


def test_the_rule_of_the_card_makes_the_bytes(tiny_folders, tmp_path, out, tiny):
    folder = shutil.copytree(tiny_folders["tiny"], tmp_path / "truncating")
    data = json.loads((folder / "card.json").read_text()) | {"rounding": "truncate"}
    (folder / "card.json").write_text(json.dumps(data))
    assert run("generate", folder, "--n", 3, "--out", out) == 0
    expected = to_byte(tiny.generate(np.load(out / "latents.npz")["z"]), rule="truncate")
    assert (pixels(out) == expected).mean() > 0.999


# ---------------------------------------------------------------- what is refused


def test_options_that_contradict_are_refused(made, tiny_folders, out, capsys):
    for option in ("--seed", "--label"):
        text = refused(
            capsys, out, tiny_folders["tiny"], "--latents", made / "latents.npz", option, 1
        )
        assert f"leave {option} away" in text


def test_generators_and_labels_that_do_not_exist_are_refused(tiny_folders, out, capsys):
    assert "there is no generator" in refused(capsys, out, "nobody", "--n", 1)
    assert "unconditional" in refused(capsys, out, tiny_folders["tiny"], "--n", 1, "--label", 0)
    assert "from 0 to 2" in refused(
        capsys, out, tiny_folders["tiny_conditional"], "--n", 1, "--label", 3
    )


def test_a_folder_that_exists_is_refused_before_any_work(made, capsys, monkeypatch):
    before = contents(made)
    assert run("generate", "nobody", "--n", 1, "--out", made) == 2
    assert "exists already" in capsys.readouterr().err
    assert contents(made) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_fills_up_on_the_way_leaves_nothing_half_written(
    tiny_folders, made, tmp_path, out, capsys, monkeypatch, overwrite
):
    import jattr.images

    write, written = jattr.images.write_png, []

    def full_after_three(path, pixels):
        if len(written) == 3:
            raise OutputError("cannot write image: No space left on device; choose another place")
        written.append(path)
        write(path, pixels)

    monkeypatch.setattr("jattr.cli.generate.write_png", full_after_three)
    before, target = contents(made), made if overwrite else out
    args = [
        "generate",
        tiny_folders["tiny"],
        "--n",
        10,
        "--out",
        target,
        *(["--overwrite"] if overwrite else []),
    ]
    assert run(*args) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert len(written) == 3
    assert os.listdir(tmp_path) == ["made"]
    assert contents(made) == before


@pytest.mark.parametrize("function", ["mkdir", "rename"])
def test_a_read_only_place_is_exit_code_2(
    tiny_folders, tmp_path, out, capsys, monkeypatch, function
):
    from pathlib import Path

    def denied(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, function, denied)
    assert run("generate", tiny_folders["tiny"], "--n", 1, "--out", out) == 2
    assert "Permission denied" in capsys.readouterr().err
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_large_images_are_made_a_few_at_a_time(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "BATCH_VALUES", 8 * 8 * 3)
    z = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    assert generate.write_images(tmp_path, tiny, z, np.full(3, -1)) == [
        "00000.png",
        "00001.png",
        "00002.png",
    ]
    assert (pixels(tmp_path) == to_byte(tiny.generate(z))).mean() > 0.999
