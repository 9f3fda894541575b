"""Feature networks' weights: files and folders to feature folders, and what the tables refuse."""

import hashlib
import json

import numpy as np
import pytest
from feature_files import BY_NAME, file_tensors, stored_tensors
from jattr.converters.convert import convert
from jattr.converters.detect import detect, read_weights
from jattr.converters.features import FORMATS
from jattr.converters.rules import UnfitError
from safetensors.numpy import save_file

from jattr.cli.main import main
from jattr.distances import load_features
from jattr.distances.inception import CLASSES
from jattr.distances.networks import NETWORKS
from jattr.errors import CheckpointError, ConversionError, InputError, OutputError
from jattr.generators.digest import tensors_digest
from jattr.generators.store import load_generator

LPIPS = [name for name in NETWORKS if name.startswith("lpips-")]


def write(folder, tensors):
    """Write LPIPS' two files, backbone and heads, and return their folder."""
    folder.mkdir()
    save(
        folder / "backbone.safetensors",
        {name: array for name, array in tensors.items() if name[:3] != "lin"},
    )
    save(
        folder / "heads.safetensors",
        {name: array for name, array in tensors.items() if name[:3] == "lin"},
    )
    return folder


def save(path, tensors):
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    return path


@pytest.fixture(scope="module")
def alex():
    """The tensors of LPIPS' two files with AlexNet, and some of those that are no part of it."""
    return file_tensors("lpips-alex") | {"classifier.1.weight": np.ones((2, 3), np.float32)}


def test_there_is_a_format_for_every_network():
    assert {format.name for format in FORMATS} == set(NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", LPIPS)
def test_a_folder_of_two_files_becomes_a_feature_folder(name, tmp_path):
    source = write(tmp_path / "source", file_tensors(name))
    made = convert(source, tmp_path / "out")
    loaded = load_features(tmp_path / "out")
    assert (loaded.architecture, loaded.variant, loaded.name, loaded.digest) == (
        name,
        "0.1",
        "out",
        made.digest,
    )
    assert loaded.weights_digest == tensors_digest(stored_tensors(name))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.iterdir()}
    assert loaded.card["source"] == {"layout": name, "files": files}


@pytest.mark.slow
@pytest.mark.parametrize("variant", CLASSES)
def test_a_file_becomes_a_feature_folder(variant, tmp_path):
    more = {
        "AuxLogits.fc.weight": np.ones((2, 3), np.float32),
        "Mixed_7c.bn.num_batches_tracked": np.zeros((), int),
    }
    source = save(tmp_path / "inception.pth", file_tensors("inception-v3", variant) | more)
    convert(source, tmp_path / "out", name="mine")
    loaded = load_features(tmp_path / "out")
    assert (loaded.architecture, loaded.variant, loaded.name) == ("inception-v3", variant, "mine")
    assert loaded.weights_digest == tensors_digest(stored_tensors("inception-v3", variant))


def test_nothing_else_takes_the_files(tmp_path):
    weights = read_weights(write(tmp_path / "source", file_tensors("lpips-alex")))
    assert detect(weights).format is BY_NAME["lpips-alex"]
    for name in ("lpips-vgg", "lpips-squeeze", "inception-v3"):
        with pytest.raises(ConversionError, match=f"{name}: no "):
            detect(weights, name)


def test_both_sides_are_checked(alex, tmp_path):
    source = "features.8.bias"
    for i, (changed, text) in enumerate(
        [
            (
                {name: array for name, array in alex.items() if name != source},
                f'missing in the file: "{source}"',
            ),
            (
                alex | {"features.12.weight": alex["features.10.weight"]},
                'left over in the file: "features.12.weight"',
            ),
            (
                alex | {source: np.ones(9, np.float32)},
                f'"{source}" gives features/8/bias the shape .9.; it must be',
            ),
            (alex | {source: np.ones(256, np.int64)}, f'"{source}" is int64'),
            (
                alex | {source: np.full(256, np.inf, np.float32)},
                f'"{source}" has values that are not finite',
            ),
            (
                alex | {"lin5.model.1.weight": np.ones((1, 9, 1, 1), np.float32)},
                'left over in the file: "lin5.model',
            ),
            (
                alex | {"lin2.model.1.weight": np.ones(384, np.float32)},
                '"lin2.model.1.weight" has the shape .384.',
            ),
        ]
    ):
        folder = write(tmp_path / str(i), changed)
        with pytest.raises(ConversionError, match=text) as caught:
            convert(folder, tmp_path / "out")
        assert str(caught.value).count("\n") == 1  # the title and this one problem
        assert not (tmp_path / "out").exists()


def test_all_problems_are_in_one_message(alex, tmp_path):
    changed = alex | {"features.8.bias": np.ones(9, np.float32), "extra": np.ones(1, np.float32)}
    del changed["lin4.model.1.weight"]
    with pytest.raises(ConversionError) as caught:
        convert(write(tmp_path / "source", changed), tmp_path / "out")
    assert all(
        text in str(caught.value)
        for text in ("features/8/bias", '"extra"', '"lin4.model.1.weight"')
    )


def test_heads_below_0_are_refused(alex, tmp_path):
    changed = alex | {"lin1.model.1.weight": -alex["lin1.model.1.weight"]}
    with pytest.raises(InputError, match=r"heads/1 holds -.* are 0 or above"):
        convert(write(tmp_path / "source", changed), tmp_path / "out")


def test_half_of_lpips_says_what_is_missing(alex, tmp_path):
    source = write(tmp_path / "source", alex)
    with pytest.raises(
        ConversionError,
        match=r"put this file and LPIPS' heads \(lpips/weights/v0.1/alex.pth\) into",
    ):
        convert(source / "backbone.safetensors", tmp_path / "out")
    with pytest.raises(
        ConversionError, match="its heads alone are no network: put both files into one folder"
    ):
        convert(source / "heads.safetensors", tmp_path / "out")


def test_a_folder_of_two_backbones(alex, tmp_path):
    source = write(tmp_path / "source", alex)
    save(source / "heads.safetensors", alex)
    with pytest.raises(ConversionError, match=r'both hold "classifier\.1\.weight"'):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize("number", [0, 3])
def test_folders_of_another_number_of_files(alex, tmp_path, number):
    (tmp_path / "source").mkdir()
    for i in range(number):
        save(tmp_path / "source" / f"{i}.pth", alex)
    with pytest.raises(
        ConversionError, match="without two weights files, LPIPS' backbone and heads"
    ):
        convert(tmp_path / "source", tmp_path / "out")


def test_a_damaged_file_in_a_folder(alex, tmp_path):
    source = write(tmp_path / "source", alex)
    (source / "heads.safetensors").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"heads\.safetensors is a web page"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "tensors", "text"),
    [
        ("inception-v3", {"fc.weight": np.ones((1000, 2048))}, "no Conv2d_1a_3x3.conv.weight"),
        (
            "lpips-squeeze",
            {"features.0.weight": np.ones((96, 3, 7, 7))},
            "no features.3.squeeze.weight",
        ),
        (
            "lpips-alex",
            {"features.0.weight": np.ones((64, 3, 3, 3))},
            r"it has the shape \[64, 3, 3, 3\]",
        ),
    ],
)
def test_other_files_are_told(name, tensors, text):
    with pytest.raises(UnfitError, match=text):
        BY_NAME[name].describe(tensors, None)


def test_another_number_of_classes():
    names = ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight")
    for shape in ((10, 2048), (1000,)):
        tensors = dict.fromkeys(names, np.ones(1)) | {"fc.weight": np.ones(shape)}
        with pytest.raises(UnfitError, match=r"must be 1000 \(torchvision\) or 1008 \(fid\)"):
            BY_NAME["inception-v3"].describe(tensors, None)


def test_settings_of_generators_are_refused(alex, tmp_path):
    source = write(tmp_path / "source", alex)
    for options in ({"settings": {"psi": 0.7}}, {"image_size": (64, 64)}):
        with pytest.raises(ConversionError, match="omit all settings and --image-size"):
            convert(source, tmp_path / "out", **options)
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        convert(source, tmp_path / "out")


def test_the_command_writes_and_says_so(alex, tmp_path, capsys):
    source = write(tmp_path / "source", alex)
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    digest = load_features(tmp_path / "out").digest
    assert out == (
        f"out: features, lpips-alex, variant 0.1, written to {tmp_path / 'out'}\ndigest {digest}\n"
    )
    assert err == ""
    assert main(["convert", str(source), str(tmp_path / "again"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest
    assert main(["convert", str(source / "backbone.safetensors"), str(tmp_path / "third")]) == 2
    assert capsys.readouterr().err.startswith("jattr: error: ")
    with pytest.raises(InputError, match='has the kind "features"'):
        load_generator(tmp_path / "out")
