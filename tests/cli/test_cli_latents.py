"""Files of latents that `jattr generate --latents` refuses.

Of other models, of other forms, damaged, hostile.
"""

import io
import os
import zipfile

import numpy as np
import pytest

from jattr.cli.main import main
from jattr.errors import InputError
from jattr.generators.store import load_generator
from jattr.verification import latents, npz


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def made(tiny_folders, tmp_path):
    """Two images of `tiny`."""
    assert (
        main(["generate", str(tiny_folders["tiny"]), "--n", "2", "--out", str(tmp_path / "made")])
        == 0
    )
    return tmp_path / "made"


def refused(capsys, out, *args):
    """The message of a run that must be bad input and must leave nothing."""
    assert main(["generate", *map(str, args), "--out", str(out)]) == 2
    stdout, err = capsys.readouterr()
    assert stdout == ""
    assert err.count("\n") == 1
    assert not [name for name in os.listdir(out.parent) if name.startswith((".out", "out"))]
    return err


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
    "another space": ({"z": Z, "space": "w"}, "has no space 'w'"),
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
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
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
    monkeypatch.setattr(npz, "MAX_NPZ_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", npy((1 << 19,), size=4 << 19))
    with pytest.raises(InputError, match="at most 1000 of 1048576 are read"):
        npz.read_npz(tmp_path / "bomb.npz")


@pytest.mark.parametrize("place", ["missing.npz", "."])
def test_latents_that_are_no_file_are_refused(
    tiny_folders, tmp_path, out, capsys, monkeypatch, place
):
    monkeypatch.chdir(tmp_path)
    refused(capsys, out, tiny_folders["tiny"], "--latents", place)


def test_mutated_latents_are_an_error_or_finite_latents(made, tiny):
    whole = (made / "latents.npz").read_bytes()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        (made / "mutated.npz").write_bytes(
            data[: rng.integers(len(data)) if seed % 4 == 0 else None]
        )
        try:
            gen, z, label, _ = latents.read_latents(made / "mutated.npz", tiny, limit=100)
        except InputError:
            continue
        assert np.isfinite(z).all()
        assert len(z) == len(label)
        assert gen is tiny
