"""From a checkpoint with a discriminator to images that are searched by it.

The commands one after the other.
"""

import json
import pickle

import numpy as np
import pytest
from feature_files import file_tensors
from tiny_generator import make_tiny

from jattr.cli.main import main
from jattr.distances import load_distance
from jattr.images import load_image, to_byte, write_png

ARCH = "stylegan2-discriminator"


def discriminator(folder, variant):
    """Convert a checkpoint of a random discriminator and return the feature folder."""
    (folder / "checkpoint.pt").write_bytes(pickle.dumps({"D": file_tensors(ARCH, variant)}))
    assert main(["convert", str(folder / "checkpoint.pt"), str(folder / "d"), "--arch", ARCH]) == 0
    return folder / "d"


@pytest.fixture
def attribute(tiny_folders, tmp_path, capsys):
    """Run the subcommand on an image of `tiny`: (exit code, stderr, folder of the result)."""
    z = np.random.default_rng(7).normal(size=(1, 6)).astype(np.float32)
    write_png(tmp_path / "x.png", to_byte(make_tiny().generate(z))[0])

    def run(distance):
        folders = [str(tiny_folders[name]) for name in ("tiny", "tiny_b")]
        options = [
            "--out",
            str(tmp_path / "out"),
            "--restarts",
            "8",
            "--lanes",
            "4",
            "--distance",
            distance,
        ]
        code = main(["attribute", str(tmp_path / "x.png"), "--candidates", *folders, *options])
        return code, capsys.readouterr().err, tmp_path / "out"

    return run


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["{}", "l2+{}:b8*0.1"])
def test_an_image_is_searched_by_a_discriminator(spec, attribute, tmp_path):
    spec = spec.format(discriminator(tmp_path, "resnet 3-6-12"))
    code, _, out = attribute(spec)
    assert code == 0
    result = json.loads((out / "result.json").read_text())
    (image,) = result["pictures"]
    assert (image["verdict"], image["candidate"]) == ("made-by", "tiny")
    assert image["certificate"] is not None
    residual = image["residual"]
    assert residual["tiny"] < 1e-2 * residual["tiny_b"]
    made = np.load(out / "latents.npz")["z"][0]
    observation = load_image(tmp_path / "x.png").pixels.astype(np.float32) / np.float32(127.5) - 1
    for name, z, seed in (("tiny", made[0], 0), ("tiny_b", made[1], 1)):
        reproduction = make_tiny(seed=seed).generate(z[None])[0]
        assert np.isclose(
            load_distance(spec)(reproduction, observation), residual[name], rtol=1e-3, atol=1e-7
        )


def test_images_of_another_size_are_one_clear_error(attribute, tmp_path):
    code, errors, _ = attribute(str(discriminator(tmp_path, "resnet 3-6-9-12")))
    assert code == 2
    lines = [line for line in errors.splitlines() if "error" in line or "failed" in line]
    assert len(lines) == 1, errors
    assert (
        "takes images of 16x16 pixels, as its own generator makes them, not 8x8; use another"
        " distance"
    ) in lines[0]
