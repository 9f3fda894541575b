"""Discriminators' weights beside their generators.

Files to feature folders on request, and what the table refuses.
"""

import json
import pickle

import numpy as np
import pytest
from fake_files import random_tensors, state_dict_of
from feature_files import file_tensors, stored_tensors
from jattr.converters.convert import convert
from jattr.converters.discriminators import NAME, describe
from jattr.converters.rules import UnfitError
from jattr.converters.stylegan2 import FORMATS as STYLEGAN2
from safetensors.numpy import save_file

from jattr.cli.main import main
from jattr.distances import load_features
from jattr.errors import ConversionError
from jattr.generators.digest import tensors_digest
from jattr.generators.stylegan2 import Architecture

VARIANT = "resnet 3-5-6-7"
# of images of the same 16x16 pixels
GENERATOR = {"channels": (4, 4, 4), "z_dim": 5, "mapping_widths": (5,)}


def of_generator(program):
    """A generator's state dict, and what lies beside it."""
    format = next(format for format in STYLEGAN2 if format.name == f"stylegan2-{program}")
    arch = Architecture(**GENERATOR, equalised=program != "nvlabs")
    state = state_dict_of(format, arch, random_tensors("stylegan2", arch))
    return state, {name: state.pop(name) for name in ("latent_avg",) if name in state}


def behind(program, width=7):
    """The tensors behind the features, which are ignored."""
    names = {
        "nvlabs": ("b4.conv.weight", "b4.fc.bias", "b4.out.weight"),
        "rosinality": ("final_linear.0.weight",),
    }
    return dict.fromkeys(names[program], np.ones((width, 1), np.float32))


def write(path, tree):
    """Write nested dicts of arrays as a pickle."""
    path.write_bytes(pickle.dumps(tree))
    return path


@pytest.fixture
def source(tmp_path):
    """A checkpoint of rosinality's program, generator and discriminator."""
    state, beside = of_generator("rosinality")
    discriminator = file_tensors(NAME, VARIANT, program="rosinality") | behind("rosinality")
    return write(tmp_path / "550000.pt", {"g_ema": state, "d": discriminator, **beside})


def as_module(as_nvlabs, tensors, attributes=(), *, name="Discriminator"):
    """The modules that NVlabs' programs pickle, by dotted names of tensors and of attributes."""
    attributes = dict(attributes)
    heads = {key.partition(".")[0] for key in (*tensors, *attributes) if "." in key}
    parts = {
        head: as_module(
            as_nvlabs,
            {
                key[len(head) + 1 :]: value
                for key, value in tensors.items()
                if key.startswith(f"{head}.")
            },
            {
                key[len(head) + 1 :]: value
                for key, value in attributes.items()
                if key.startswith(f"{head}.")
            },
        )
        for head in heads
    }
    own = {key: value for key, value in attributes.items() if "." not in key}
    plain = {key: value for key, value in tensors.items() if "." not in key}
    return as_nvlabs.module(own | {"_buffers": plain, "_modules": parts}, name=name)


def of_layers(variant, attribute, value):
    """A plain attribute at each layer of a pickled discriminator."""
    rows = file_tensors(NAME, variant)
    layers = {
        name.rpartition(".")[0]
        for name in rows
        if name.endswith(("fromrgb.weight", "0.weight", "1.weight"))
    }
    return {f"{layer}.{attribute}": value for layer in layers} | {f"b8.skip.{attribute}": None}


@pytest.mark.parametrize("program", ["nvlabs", "rosinality"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_state_dict_becomes_a_feature_folder(program, nested, tmp_path):
    tensors = file_tensors(NAME, VARIANT, program=program) | behind(program)
    key = {"nvlabs": "D", "rosinality": "d"}[program] if nested else None
    file = (
        write(tmp_path / "d.pt", {"iteration": 3, key: tensors})
        if nested
        else tmp_path / "d.safetensors"
    )
    if not nested:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, file)
    made = convert(file, tmp_path / "out", arch=NAME)
    loaded = load_features(tmp_path / "out")
    assert (loaded.architecture, loaded.variant, loaded.name, loaded.digest) == (
        NAME,
        VARIANT,
        "out",
        made.digest,
    )
    assert loaded.weights_digest == tensors_digest(stored_tensors(NAME, VARIANT))
    assert loaded.card["source"]["layout"] == NAME
    assert loaded.card["source"].get("key") == key


@pytest.mark.parametrize(
    ("variant", "more"),
    [
        ("resnet 3-5-6-7 clamp 256", {}),
        (
            "resnet 1-5-6",
            {"mapping.embed.weight": np.ones((2, 3), np.float32), "mapping.fc0.bias": np.ones(2)},
        ),
        ("skip 4-5-6-7", {}),
        ("orig 3-5-6-7 clamp 0.5", {}),
    ],
)
def test_a_pickle_becomes_a_feature_folder(variant, more, as_nvlabs, tmp_path):
    tensors = file_tensors(NAME, variant) | behind("nvlabs") | more
    clamp = variant.partition(" clamp ")[2]
    attributes = of_layers(variant, "conv_clamp", float(clamp) if clamp else None)
    attributes |= of_layers(variant, "activation", "lrelu") | {
        "b8.skip.activation": "linear",
        "img_resolution": 16,
    }
    state, _ = of_generator("nvlabs")
    file = as_nvlabs.write(
        {
            "G_ema": as_module(as_nvlabs, state, name="Generator"),
            "D": as_module(as_nvlabs, tensors, attributes),
        }
    )
    convert(file, tmp_path / "out", arch=NAME)
    loaded = load_features(tmp_path / "out")
    assert loaded.variant == variant
    assert loaded.weights_digest == tensors_digest(stored_tensors(NAME, variant))
    # which is what comes unasked
    assert convert(file, tmp_path / "generator").image_shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("attribute", "layer", "value", "text"),
    [
        ("activation", "b8.conv0", "relu", "the activation 'relu'; only 'lrelu' is known"),
        ("conv_clamp", "b8.conv0", 128, r"the clamps \[.*\]; they must have one"),
        ("conv_clamp", None, "256", "the clamps .'256'.; they must have one, a number or none"),
        ("conv_clamp", None, float("inf"), "clamp is inf; it must be above 0"),
    ],
)
def test_attributes_that_are_refused(attribute, layer, value, text):
    of_all = of_layers(VARIANT, attribute, "lrelu" if attribute == "activation" else 256)
    attributes = (
        of_layers(VARIANT, attribute, value)
        if layer is None
        else of_all | {f"{layer}.{attribute}": value}
    )
    with pytest.raises(UnfitError, match=text):
        describe(file_tensors(NAME, VARIANT), {"attributes": attributes})


def test_the_generator_comes_first(source, tmp_path):
    assert convert(source, tmp_path / "generator").image_shape == (16, 16, 3)
    assert convert(source, tmp_path / "features", arch=NAME).variant == VARIANT


def test_a_file_of_a_discriminator_alone_says_how(tmp_path):
    file = write(tmp_path / "d.pt", {"d": file_tensors(NAME, VARIANT, program="rosinality")})
    with pytest.raises(
        ConversionError, match=f"--arch {NAME} makes a feature folder of it, for distances"
    ):
        convert(file, tmp_path / "out")


def test_both_sides_are_checked(tmp_path):
    tensors = file_tensors(NAME, VARIANT, program="nvlabs")
    name, filter = "b16.conv1.bias", "b8.resample_filter"
    for changed, text in (
        (
            {key: array for key, array in tensors.items() if key != name},
            f'missing in the file: "{name}"',
        ),
        (
            tensors | {"b8.conv2.weight": np.ones(3, np.float32)},
            'left over in the file: "b8.conv2.weight"',
        ),
        (
            tensors | {"b4.fromrgb.bias": np.ones(3, np.float32)},
            'left over in the file: "b4.fromrgb.bias"',
        ),
        (
            tensors | {name: np.ones(9, np.float32)},
            f'"{name}" gives blocks/0/conv1/bias the shape .9.; it must be',
        ),
        (tensors | {name: np.ones(6, np.int64)}, f'"{name}" is int64'),
        (
            tensors | {name: np.full(6, np.nan, np.float32)},
            f'"{name}" has values that are not finite',
        ),
        (
            tensors | {filter: tensors[filter] * 4},
            f'"{filter}" is not the constant of shape .4, 4.',
        ),
        (
            tensors | {"b8.skip.weight": tensors["b8.skip.weight"][0]},
            '"b8.skip.weight" has 3 axes instead of 4',
        ),
    ):
        with pytest.raises(ConversionError, match=text) as caught:
            convert(write(tmp_path / "d.pt", {"D": changed}), tmp_path / "out", arch=NAME)
        assert str(caught.value).count("\n") == 1  # the title and this one problem
        assert not (tmp_path / "out").exists()


def test_all_problems_are_in_one_message(tmp_path):
    tensors = file_tensors(NAME, VARIANT, program="rosinality")
    changed = tensors | {
        "convs.1.conv1.1.bias": np.ones(9, np.float32),
        "extra": np.ones(1, np.float32),
    }
    del changed["convs.2.skip.0.kernel"]
    with pytest.raises(ConversionError) as caught:
        convert(write(tmp_path / "d.pt", {"d": changed}), tmp_path / "out", arch=NAME)
    assert all(
        text in str(caught.value)
        for text in ("blocks/0/conv0/bias", '"extra"', '"convs.2.skip.0.kernel"')
    )


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"conv1.weight": (2, 2)}, "no b8.conv0.weight"),
        ({"b16.conv0.weight": (2, 2, 3, 3)}, "one block for each size"),
        (
            {"b8.conv0.weight": (2, 2, 3, 3), "b24.conv0.weight": (2, 2, 3, 3)},
            "one block for each size",
        ),
        ({"b8.conv0.weight": (2, 2, 3, 3)}, "no b8.fromrgb.weight"),
        (
            {"b8.conv0.weight": (2, 2, 3, 3), "b8.fromrgb.weight": (2,)},
            r'"b8.fromrgb.weight" has the shape \[2\]',
        ),
        (
            {
                "b8.conv0.weight": (1, 9000, 1, 1),
                "b8.fromrgb.weight": (1, 3, 1, 1),
                "b8.conv1.weight": (2, 1, 1, 1),
            },
            "widths 1 to 8192",
        ),
        ({f"b{8 << i}.conv0.weight": (2, 2, 1, 1) for i in range(9)}, "no b2048.fromrgb.weight"),
        ({"convs.0.0.weight": (2, 3, 1, 1)}, "no convs.1.conv1.0.weight"),
        (
            {"convs.0.0.weight": (2, 3, 1, 1), "convs.1.conv1.0.weight": (2, 2, 3, 3)},
            "no convs.1.conv2.1.weight",
        ),
    ],
)
def test_what_is_no_discriminator(tensors, text):
    with pytest.raises(UnfitError, match=text):
        describe({name: np.zeros(shape, np.float32) for name, shape in tensors.items()}, {})


def test_more_sizes_than_there_are():
    tensors = {f"b{8 << i}.conv0.weight": np.zeros((2, 2, 1, 1)) for i in range(8)}
    tensors |= {f"b{8 << i}.fromrgb.weight": np.zeros((2, 3, 1, 1)) for i in range(8)}
    assert (
        describe(
            tensors | {"b8.conv1.weight": np.zeros((2, 2, 1, 1))}, {}
        ).architecture.variant.count("-2")
        == 9
    )
    more = {
        name.replace("b8.", "b2048."): array
        for name, array in tensors.items()
        if name.startswith("b8.")
    }
    with pytest.raises(UnfitError, match="there are 10 widths; there must be 2 to 9"):
        describe(tensors | more | {"b8.conv1.weight": np.zeros((2, 2, 1, 1))}, {})


def test_the_command(source, tmp_path, capsys):
    assert main(["convert", str(source), str(tmp_path / "d"), "--arch", NAME]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"d: features, {NAME}, variant {VARIANT}, written to ")
    assert err == ""
    assert main(["convert", str(source), str(tmp_path / "again"), "--arch", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["variant"] == VARIANT


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"g_ema": {"a": np.ones(2)}}, 'nothing under "D" or "d"'),
        ({"G_ema": {"a": np.ones(2)}, "D": None}, 'nothing under "D" or "d"'),
        ({"D": {"main.0.weight": np.ones((2, 3, 4, 4))}}, 'under "D": no b8.conv0.weight'),
        ({"conv1.weight": np.ones((2, 3, 4, 4))}, "no b8.conv0.weight"),
    ],
)
def test_a_file_without_one_is_one_clear_line(tree, text, tmp_path, capsys):
    file = write(tmp_path / "file.pt", tree)
    assert main(["convert", str(file), str(tmp_path / "out"), "--arch", NAME]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        f"jattr: error: {file} has no discriminator of StyleGAN2 or StyleGAN3 that can be used: "
    )
    assert text in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_settings_of_generators_are_refused(source, tmp_path, capsys):
    assert (
        main(["convert", str(source), str(tmp_path / "out"), "--arch", NAME, "--psi", "0.7"]) == 2
    )
    assert "omit all settings and --image-size" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sg2ada_skip_64", "sg2ada_resnet_32_cond", "sg3_t_64"])
def test_reference_pickles_without_one(reference, name, tmp_path):
    """Their D is None."""
    with pytest.raises(ConversionError, match='nothing under "D" or "d"'):
        convert(reference / "golden" / name / "network.pkl", tmp_path / "out", arch=NAME)
