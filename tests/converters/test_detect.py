"""Files without a card: each is told from its content, by exactly one format, or the error says
what was tried.
"""

import dataclasses
import json

import numpy as np
import pytest
from fake_files import random_tensors, state_dict_of
from jattr.converters.convert import convert
from jattr.converters.detect import FORMATS, detect, read_weights
from jattr.converters.stylegan2 import FORMATS as STYLEGAN2
from safetensors.numpy import save_file

from jattr.converters import detect as detect_module
from jattr.errors import CheckpointError, ConversionError
from jattr.generators.store import load_generator
from jattr.generators.stylegan2 import Architecture

ARCH = Architecture(channels=(6, 5), z_dim=4, mapping_widths=(8,))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({name: np.ascontiguousarray(a) for name, a in state().items()}, path)
    return path


def state():
    return state_dict_of(STYLEGAN2[0], ARCH, random_tensors("stylegan2", ARCH))


def test_a_file_becomes_a_generator_without_a_card(file, tmp_path):
    made = convert(file, tmp_path / "faces", settings={"psi": 0.7})
    loaded = load_generator(tmp_path / "faces")
    assert (loaded.name, loaded.digest, loaded.settings.psi) == ("faces", made.digest, 0.7)
    assert loaded.card["source"]["layout"] == "stylegan2-nvlabs"
    assert loaded.card["source"]["file"] == "model.safetensors"
    assert convert(file, tmp_path / "again", name="other").name == "other"


def test_data_parallel_names(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({f"module.{name}": np.ascontiguousarray(a) for name, a in state().items()}, path)
    assert detect(read_weights(path)).description.architecture == ARCH


def test_no_family_fits(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"conv.weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(ConversionError) as caught:
        detect(read_weights(path))
    lines = str(caught.value).splitlines()
    assert "is of no known family; tried:" in lines[0]
    assert {line.split(":")[0].split()[0] for line in lines[1:-2]} == FORMATS.keys() - {
        "stylegan2-discriminator"
    }
    assert lines[-2] == '  its tensors are "conv.weight"'
    assert "--card" in lines[-1]


def test_a_training_checkpoint_without_the_generator():
    discriminator = {"b4.out.weight": np.zeros((1, 2)), "b8.fromrgb.weight": np.zeros((2, 3, 1, 1))}
    tree = {"D": discriminator, "optimizer": {"lr": 1.0}}
    with pytest.raises(
        ConversionError, match='holds "D", "optimizer", of which none is a generator'
    ):
        detect(detect_module.Weights("checkpoint.pt", tree))


def test_several_formats_fit(file, monkeypatch):
    twin = dataclasses.replace(STYLEGAN2[0], name="twin")
    monkeypatch.setitem(FORMATS, "twin", twin)
    with pytest.raises(
        ConversionError, match="stylegan2-nvlabs, twin all fit; say which with --arch"
    ):
        detect(read_weights(file))
    assert detect(read_weights(file), "twin").format is twin


def test_an_architecture_by_name(file):
    with pytest.raises(
        ConversionError, match=r"there is no architecture 'magic'; known: .*stylegan2-nvlabs"
    ):
        detect(read_weights(file), "magic")
    with pytest.raises(ConversionError, match="tried:\n  stylegan2-genforce: "):
        detect(read_weights(file), "stylegan2-genforce")


def test_folders(tmp_path):
    with pytest.raises(ConversionError, match="is a folder without config"):
        read_weights(tmp_path)
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ConversionError, match=r"config\.json: not JSON"):
        read_weights(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"scaling_factor": 0.5}))
    assert read_weights(tmp_path).tree["config"] == {"scaling_factor": 0.5}


def test_a_card_says_all(file, tmp_path):
    for options in ({"settings": {"psi": 0.5}}, {"arch": "dcgan"}, {"image_size": (64, 64)}):
        with pytest.raises(ConversionError, match="omit --arch, --psi, --cutoff, --noise and"):
            convert(tmp_path / "card.json", tmp_path / "out", **options)


def test_not_weights(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="no weights file"):
        convert(tmp_path / "text.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
