"""A style-based generator through every command.

From NVlabs' names to a verified certificate in w and over psi.
"""

import json

import numpy as np
import pytest
from fake_files import random_tensors, state_dict_of
from jattr.converters.stylegan2 import FORMATS
from safetensors.numpy import save_file

from jattr.cli.main import main
from jattr.generators.family import FAMILIES

pytestmark = pytest.mark.slow

ARCH = FAMILIES["stylegan2"].architecture(channels=(6, 5), z_dim=4, mapping_widths=(6,))
[NVLABS] = [format for format in FORMATS if format.name == "stylegan2-nvlabs"]
FEW = ["--restarts", "4", "--lanes", "4"]


def tensors_of(seed):
    """Random tensors whose images are seldom clipped."""
    tensors = random_tensors("stylegan2", ARCH, seed)
    for path, array in tensors.items():
        scale = (
            100
            if "mapper" in path and array.ndim == 2
            else 0
            if path.endswith("to_image/bias")
            else 0.5
        )
        tensors[path] = array * np.float32(scale)
    return tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two converted networks, `a` and `b`, and images of `a` with psi 0.5."""
    folder = tmp_path_factory.mktemp("styled")
    for seed, name in enumerate("ab"):
        state = state_dict_of(NVLABS, ARCH, tensors_of(seed))
        save_file(
            {key: np.ascontiguousarray(array) for key, array in state.items()},
            folder / f"{name}.safetensors",
        )
        out = str(folder / name)
        assert (
            main(
                [
                    "convert",
                    str(folder / f"{name}.safetensors"),
                    out,
                    "--psi",
                    "0.5",
                    "--name",
                    name,
                ]
            )
            == 0
        )
    assert main(["generate", str(folder / "a"), "--n", "2", "--out", str(folder / "made")]) == 0
    return folder


def attributed(folder, out, *options):
    images = sorted(map(str, (folder / "made").glob("*.png")))
    candidates = [str(folder / "a"), str(folder / "b")]
    assert (
        main(["attribute", *images, "--candidates", *candidates, *FEW, *options, "--out", str(out)])
        == 0
    )
    return json.loads((out / "result.json").read_text())


def test_the_card_keeps_psi_and_the_images_come_again(folder, tmp_path):
    assert json.loads((folder / "a" / "card.json").read_text())["settings"]["psi"] == 0.5
    again = [
        "generate",
        str(folder / "a"),
        "--latents",
        str(folder / "made" / "latents.npz"),
        "--out",
    ]
    assert main([*again, str(tmp_path / "again")]) == 0
    for path in (folder / "made").glob("*.png"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_in_w_with_a_certificate_that_verifies(folder, tmp_path, capsys):
    data = attributed(folder, tmp_path / "r", "--space", "w")
    assert [row["candidate"] for row in data["pictures"]] == ["a", "a"]
    assert all(row["certificate"]["holds"] for row in data["pictures"])
    assert {candidate["space"] for candidate in data["candidates"]} == {"w"}
    assert "a: searched in space w, psi 0.5, noise const" in capsys.readouterr().out
    assert (
        main(["verify", str(tmp_path / "r"), "--candidates", str(folder / "a"), str(folder / "b")])
        == 0
    )


def test_several_psi_are_candidates_of_their_own(folder, tmp_path):
    data = attributed(folder, tmp_path / "r", "--psi", "1", "0.5", "--restarts", "8")
    assert [c["name"] for c in data["candidates"]] == [
        "a psi 1",
        "a psi 0.5",
        "b psi 1",
        "b psi 0.5",
    ]
    assert [c["settings"]["psi"] for c in data["candidates"]] == [1, 0.5, 1, 0.5]
    assert [row["candidate"] for row in data["pictures"]] == ["a psi 0.5", "a psi 0.5"]
    assert (
        main(["verify", str(tmp_path / "r"), "--candidates", str(folder / "a"), str(folder / "b")])
        == 0
    )


def test_several_psi_in_w_are_refused(folder, tmp_path, capsys):
    arguments = [
        "attribute",
        "x.png",
        "--candidates",
        str(folder / "a"),
        "--psi",
        "1",
        "0.5",
        "--space",
        "w",
    ]
    assert main([*arguments, "--out", str(tmp_path / "r")]) == 2
    assert "psi changes nothing" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_random_noise_is_drawn_for_each_image_and_kept(folder, tmp_path):
    made, again = str(tmp_path / "made"), str(tmp_path / "again")
    assert (
        main(["generate", str(folder / "a"), "--n", "2", "--noise", "random", "--out", made]) == 0
    )
    assert (
        main(["generate", str(folder / "a"), "--latents", f"{made}/latents.npz", "--out", again])
        == 0
    )
    with np.load(f"{made}/latents.npz") as saved:
        noise = saved["z"][:, ARCH.z_dim :]
    assert noise.shape == (2, sum(h * w for h, w in ARCH.noise_shapes))
    assert not np.array_equal(noise[0], noise[1])
    for name in ("00000.png", "00001.png"):
        assert (tmp_path / "made" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert (tmp_path / "made" / name).read_bytes() != (folder / "made" / name).read_bytes()
