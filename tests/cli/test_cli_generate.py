"""`jattr generate`: pictures from a seed and from saved latents, and what it refuses."""

import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from jattr.cli import generate, latents, npz
from jattr.cli.main import main
from jattr.errors import InputError, OutputError
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
    """Ten pictures of `tiny`: more than one batch, not a whole number of them."""
    assert run("generate", tiny_folders["tiny"], "--n", 10, "--seed", 5, "--out", tmp_path / "made") == 0
    return tmp_path / "made"


def refused(capsys, out, *args):
    """The message of a run that must be bad input and must leave nothing."""
    assert run("generate", *args, "--out", out) == 2
    stdout, err = capsys.readouterr()
    assert stdout == ""
    assert err.count("\n") == 1
    assert not [name for name in os.listdir(out.parent) if name.startswith((".out", "out"))]
    return err


def test_pictures_and_latents_are_written(made, tiny):
    assert [path.name for path in sorted(made.iterdir())] == [*(f"{i:05d}.png" for i in range(10)), "latents.npz"]
    arrays = np.load(made / "latents.npz", allow_pickle=False)
    assert arrays["z"].dtype == np.float32
    assert arrays["label"].dtype == np.int32
    assert arrays["label"].tolist() == [-1] * 10
    assert (str(arrays["digest"]), str(arrays["space"])) == (tiny.digest, "z")
    assert (pixels(made) == to_byte(tiny.generate(arrays["z"]))).mean() > 0.999  # batches may round differently
    assert len(np.unique(pixels(made), axis=0)) == 10


def test_the_same_seed_makes_the_same_bytes_and_another_does_not(made, tiny_folders, out, tmp_path):
    assert run("generate", tiny_folders["tiny"], "--n", 10, "--seed", 5, "--out", out) == 0
    assert contents(out) == contents(made)
    assert run("generate", tiny_folders["tiny"], "--n", 10, "--out", tmp_path / "other") == 0
    assert not (pixels(tmp_path / "other") == pixels(made)).all(axis=(1, 2, 3)).any()


def test_saved_latents_make_the_same_pictures(made, tiny_folders, out):
    assert run("generate", tiny_folders["tiny"], "--latents", made / "latents.npz", "--out", out) == 0
    assert contents(out) == contents(made)


def test_a_picture_does_not_depend_on_how_many_are_made_with_it(made, tiny_folders, out, tmp_path):
    arrays = np.load(made / "latents.npz")
    np.savez(tmp_path / "one.npz", z=arrays["z"][3:4])
    assert run("generate", tiny_folders["tiny"], "--latents", tmp_path / "one.npz", "--out", out) == 0
    assert (out / "00000.png").read_bytes() == (made / "00003.png").read_bytes()


def test_json_names_the_files(tiny_folders, out, capsys, tiny):
    assert run("generate", tiny_folders["tiny"], "--n", 2, "--out", out, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures"] == ["00000.png", "00001.png"]
    assert result["generator"] == {"name": "tiny", "digest": tiny.digest, "weights_digest": tiny.weights_digest}
    assert result["rounding"] == "round"


@pytest.mark.parametrize("label", [None, 2])
def test_classes_are_drawn_or_given_and_stored(tiny_folders, out, tmp_path, label):
    options = [] if label is None else ["--label", label]
    assert run("generate", tiny_folders["tiny_conditional"], "--n", 20, *options, "--out", out) == 0
    stored = np.load(out / "latents.npz")["label"]
    assert set(stored.tolist()) == ({0, 1, 2} if label is None else {2})
    again = tmp_path / "again"
    assert run("generate", tiny_folders["tiny_conditional"], "--latents", out / "latents.npz", "--out", again) == 0
    assert contents(again) == contents(out)


@pytest.mark.parametrize("shapes_agree", [True, False])
def test_the_latents_of_attribute_make_pictures(tiny_folders, tiny, tmp_path, out, shapes_agree):
    z = np.random.default_rng(0).normal(size=(3, 2, 6)).astype(np.float32)
    other = load_generator(tiny_folders["tiny_b"])
    arrays = {"z": z} if shapes_agree else {"z_0": np.zeros((3, 4), np.float32), "z_1": z[:, 1]}
    np.savez(
        tmp_path / "latents.npz", **arrays, label=np.full((3, 2), -1, np.int32), space="z",
        digest=np.array([other.digest, tiny.digest]),
    )  # fmt: skip
    assert run("generate", tiny_folders["tiny"], "--latents", tmp_path / "latents.npz", "--out", out) == 0
    assert (pixels(out) == to_byte(tiny.generate(z[:, 1]))).mean() > 0.999
    assert (np.load(out / "latents.npz")["z"] == z[:, 1]).all()


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
        text = refused(capsys, out, tiny_folders["tiny"], "--latents", made / "latents.npz", option, 1)
        assert f"leave {option} away" in text


def test_generators_and_labels_that_do_not_exist_are_refused(tiny_folders, out, capsys):
    assert "there is no generator" in refused(capsys, out, "nobody", "--n", 1)
    assert "unconditional" in refused(capsys, out, tiny_folders["tiny"], "--n", 1, "--label", 0)
    assert "from 0 to 2" in refused(capsys, out, tiny_folders["tiny_conditional"], "--n", 1, "--label", 3)


def test_latents_of_another_model_are_refused(made, tiny_folders, out, capsys):
    text = refused(capsys, out, tiny_folders["tiny_b"], "--latents", made / "latents.npz")
    digests = [load_generator(tiny_folders[name]).digest for name in ("tiny", "tiny_b")]
    assert all(digest in text for digest in digests)


Z = np.zeros((2, 6), np.float32)
WRONG = {
    "no z": ({"w": Z}, "has no 'z'"),
    "another shape": ({"z": Z[:, :5]}, "takes float32 [n, 6]"),
    "another dtype": ({"z": Z.astype(np.float64)}, "takes float32 [n, 6]"),
    "none": ({"z": Z[:0]}, "takes float32 [n, 6]"),
    "not finite": ({"z": Z + np.float32([[0], [np.nan]])}, "not finite: [1]"),
    "another space": ({"z": Z, "space": "w"}, "in the space 'w'"),
    "labels of an unconditional one": ({"z": Z, "label": np.array([0, 0])}, "no classes"),
    "labels of another number": ({"z": Z, "label": np.array([-1])}, "takes 2"),
    "objects": ({"z": np.array([{}, {}])}, "Python objects"),
    "digest is a number": ({"z": Z, "digest": np.array(3)}, "must be one text"),
    "not a candidate": ({"z": Z[:, None], "digest": np.array(["x", "y"])}, "but not of"),
}


@pytest.mark.parametrize("case", WRONG)
def test_latents_that_do_not_fit_are_refused(tiny_folders, tmp_path, out, capsys, case):
    arrays, words = WRONG[case]
    np.savez(tmp_path / "wrong.npz", **arrays)
    assert words in refused(capsys, out, tiny_folders["tiny"], "--latents", tmp_path / "wrong.npz")


def npy(shape, *, size=48, dtype="<f4"):
    """The bytes of an .npy file that states `shape` and holds `size` bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue() + bytes(size)


DAMAGED = {
    "not a zip": b"no archive",
    "empty": b"",
    "huge shape": {"z.npy": npy((1 << 40, 6))},
    "a shape too small": {"z.npy": npy((1, 6))},
    "not an array": {"z.npy": b"text"},
    "objects": {"z.npy": npy((2,), size=100, dtype="|O")},
    "many members": {f"a{i}.npy": b"" for i in range(2000)},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_of_latents_are_refused(tiny_folders, tmp_path, out, capsys, case):
    path = tmp_path / "damaged.npz"
    if isinstance(DAMAGED[case], bytes):
        path.write_bytes(DAMAGED[case])
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in DAMAGED[case].items():
                archive.writestr(name, data)
    assert "damaged.npz" in refused(capsys, out, tiny_folders["tiny"], "--latents", path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAX_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", npy((1 << 19,), size=4 << 19))
    with pytest.raises(InputError, match="at most 1000 of 1048576 are read"):
        npz.read_npz(tmp_path / "bomb.npz")


@pytest.mark.parametrize("place", ["missing.npz", "."])
def test_latents_that_are_no_file_are_refused(tiny_folders, tmp_path, out, capsys, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    refused(capsys, out, tiny_folders["tiny"], "--latents", place)


def test_mutated_latents_are_an_error_or_finite_latents(made, tiny):
    whole = (made / "latents.npz").read_bytes()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        (made / "mutated.npz").write_bytes(data[: rng.integers(len(data)) if seed % 4 == 0 else None])
        try:
            z, label = latents.read_latents(made / "mutated.npz", tiny, limit=100)
        except InputError:
            continue
        assert np.isfinite(z).all()
        assert len(z) == len(label)


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
            raise OutputError("cannot write picture: No space left on device; choose another place")
        written.append(path)
        write(path, pixels)

    monkeypatch.setattr(jattr.images, "write_png", full_after_three)
    before, target = contents(made), made if overwrite else out
    args = ["generate", tiny_folders["tiny"], "--n", 10, "--out", target, *(["--overwrite"] if overwrite else [])]
    assert run(*args) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert len(written) == 3
    assert os.listdir(tmp_path) == ["made"]
    assert contents(made) == before


@pytest.mark.parametrize("function", ["mkdir", "rename"])
def test_a_read_only_place_is_exit_code_2(tiny_folders, tmp_path, out, capsys, monkeypatch, function):
    from pathlib import Path

    def denied(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, function, denied)
    assert run("generate", tiny_folders["tiny"], "--n", 1, "--out", out) == 2
    assert "Permission denied" in capsys.readouterr().err
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_large_pictures_are_made_a_few_at_a_time(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "BATCH_VALUES", 8 * 8 * 3)
    z = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    assert generate.write_pictures(tmp_path, tiny, z, np.full(3, -1)) == ["00000.png", "00001.png", "00002.png"]
    assert (pixels(tmp_path) == to_byte(tiny.generate(z))).mean() > 0.999
