"""ProGAN's weights as two programs write them.

Which tensor goes where, and what the tables refuse.
"""

import numpy as np
import pytest
from fuzz_files import integer, mapping, named, program, storage, tensor, zip_file
from fuzz_files import text as written
from jattr.converters.progan import GAN_ZOO_NAMES
from jattr.converters.rules import UnfitError
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from progan_files import (
    BY_NAME,
    CHANNELS,
    FILES,
    FUSED,
    GENFORCE,
    OLD_ZOO,
    ZOO,
    convert,
    genforce_tensors,
    shapes_of,
)

from jattr.errors import CheckpointError, ConversionError


@pytest.mark.parametrize("name", FILES)
def test_only_one_format_takes_a_file(name):
    for other, format in BY_NAME.items():
        if other == name:
            assert format.describe(FILES[name], None).architecture.channels == CHANNELS
        else:
            with pytest.raises(UnfitError):
                format.describe(FILES[name], None)


def test_upscales_that_change_no_number_of_channels_are_taken_as_not_fused():
    tensors = genforce_tensors(channels=(5, 5, 5), fused=True)
    assert BY_NAME[GENFORCE].describe(tensors, None).architecture.channels == (5, 5, 5)
    with pytest.raises(UnfitError, match="another number out than in"):
        BY_NAME[FUSED].describe(tensors, None)
    with pytest.raises(UnfitError, match="progan-genforce-fused"):
        BY_NAME[GENFORCE].describe(FILES[FUSED], None)


@pytest.mark.parametrize("name", FILES)
def test_layers_for_smaller_images_are_not_stored(name):
    mark = "output" if "genforce" in name else "toRGBLayers."
    last = f"{mark}{len(CHANNELS) - 1}"
    unused = [key for key in FILES[name] if key.startswith(mark) and not key.startswith(last)]
    assert len(unused) == 2 * (len(CHANNELS) - 1)
    _, stored = convert(name, FILES[name])
    _, others = convert(name, FILES[name] | {key: FILES[name][key] + 1 for key in unused})
    assert all((stored[path] == others[path]).all() for path in stored)


@pytest.mark.parametrize("name", FILES)
def test_every_stored_tensor_comes_from_its_own_source(name):
    arch, stored = convert(name, FILES[name])
    assert set(stored) == set(shapes_of(arch))
    for source in [
        key for key in FILES[name] if key != "lod" and not key.startswith(("output", "toRGB"))
    ]:
        _, others = convert(name, FILES[name] | {source: FILES[name][source] + 1})
        assert sum((stored[path] != others[path]).any() for path in stored) == 1


@pytest.mark.parametrize("name", FILES)
def test_both_sides_are_checked(name):
    tensors = FILES[name]
    source = [
        key for key in tensors if key.endswith("bias") and key.startswith(("layer", "scaleLayers"))
    ][-1]
    for changed, text in [
        (
            {key: array for key, array in tensors.items() if key != source},
            f'missing in the file: "{source}"',
        ),
        (
            tensors | {"extra.weight": np.ones(3, np.float32)},
            'left over in the file: "extra.weight"',
        ),
        (
            tensors | {source: np.ones(9, np.float32)},
            f'"{source}" gives layers/.* the shape .9.; it must be .3.',
        ),
        (tensors | {source: np.ones(3, np.int64)}, f'"{source}" is int64'),
        (
            tensors | {source: np.full(3, np.nan, np.float32)},
            f'"{source}" has values that are not finite',
        ),
    ]:
        with pytest.raises(ConversionError, match=text) as caught:
            convert(name, changed)
        assert str(caught.value).count("\n") == 1  # the title and this one problem


@pytest.mark.parametrize(
    ("name", "source", "array", "text"),
    [
        (
            GENFORCE,
            "layer0.weight",
            np.zeros((6, 7), np.float32),
            '"layer0.weight" has the shape .6, 7.; .* 4 axes',
        ),
        (GENFORCE, "layer3.weight", None, "no layer3.weight"),
        (GENFORCE, "layer3.bias", None, 'missing in the file: "layer3.bias"'),
        (ZOO, "formatLayer.module.weight", np.zeros(5, np.float32), "must have 2 axes"),
        (
            ZOO,
            "formatLayer.module.weight",
            np.zeros((90, 7), np.float32),
            "must be of maps of 4x4 pixels",
        ),
        (ZOO, "toRGBLayers.0.module.weight", None, "no toRGBLayers.-1.module.weight"),
    ],
)
def test_damaged_files(name, source, array, text):
    changed = {key: value for key, value in FILES[name].items() if key != source}
    with pytest.raises((UnfitError, ConversionError), match=text):
        convert(name, changed if array is None else changed | {source: array})


@pytest.mark.parametrize("lod", [np.float32(1.5), np.ones(1, np.float32), np.zeros(0, np.float32)])
def test_training_that_stopped_on_the_way(lod):
    with pytest.raises(UnfitError, match=r"lod is .*not 0: the last sizes are not in use yet"):
        convert(GENFORCE, FILES[GENFORCE] | {"lod": np.asarray(lod)})


def test_a_file_without_level_of_detail_is_taken():
    tensors = {key: array for key, array in FILES[GENFORCE].items() if key != "lod"}
    assert convert(GENFORCE, tensors)[0].channels == CHANNELS


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"alpha": 0.3}, "alpha 0.3, not 0: the last size is still blended in"),
        ({"alpha": np.zeros(2)}, "alpha a value of type ndarray, not 0"),
        ({"categoryVectorDim": 3}, "a label stands beside z"),
        ({"leakyReluLeak": 0.1}, "another slope"),
        ({"perChannelNormalization": False}, "no pixel norm"),
        ({"equalizedlR": False}, "no equalised learning rate"),
    ],
)
def test_settings_of_gan_zoo_that_are_not_converted(config, text):
    with pytest.raises(UnfitError, match=text):
        convert(ZOO, FILES[ZOO], {"config": config})


@pytest.mark.parametrize(
    "tree", [None, {}, {"config": None}, {"config": {}}, {"config": {"lossCriterion": "WGANGP"}}]
)
def test_files_of_gan_zoo_without_unusual_settings(tree):
    assert convert(ZOO, FILES[ZOO], tree)[0].tanh is False


def config_file(tmp_path, state):
    """A file as GAN zoo writes it: its config is an object, made empty, then filled."""
    config = named("models.utils.config", "BaseConfig") + b"q\1)\x81q\2" + state + b"b"
    weights = tensor(storage("Float", "0", 2), 0, (2,), (1,))
    path = tmp_path / "model.pth"
    path.write_bytes(
        zip_file(
            program(mapping({"config": config, "avgG": mapping({"a": weights})})),
            {"0": np.ones(2, np.float32)},
        )
    )
    return path


def test_the_config_in_a_file_of_gan_zoo_is_read_as_data(tmp_path):
    path = config_file(
        tmp_path,
        b"}(" + written("alpha") + integer(0) + written("lossCriterion") + written("MSE") + b"u",
    )
    tree = read_checkpoint(path, names=GAN_ZOO_NAMES)
    assert tree["config"] == {"alpha": 0, "lossCriterion": "MSE"}
    assert list(find_state_dict(tree, "avgG")) == ["a"]
    assert convert(ZOO, FILES[ZOO], tree)[0].tanh


def test_a_damaged_config_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="config of GAN zoo that is 5 in place of settings"):
        read_checkpoint(config_file(tmp_path, integer(5)), names=GAN_ZOO_NAMES)


@pytest.mark.parametrize(
    ("name", "sources", "text"),
    [
        (GENFORCE, [], "no layer0.weight and output0.weight$"),
        (
            GENFORCE,
            ["lod", "input0.weight", "layer0.weight"],
            "no output0.weight; it looks like a discriminator of gen",
        ),
        (
            ZOO,
            ["fromRGBLayers.0.module.weight", "scaleLayers.0.0.module.weight"],
            "a discriminator of GAN zoo",
        ),
        (ZOO, ["baseScale0", "mapping.FC.0.module.weight"], "a StyleGAN of GAN zoo"),
        (GENFORCE, ["synthesis.layer0.style.weight"], "a StyleGAN or StyleGAN2 of genforce"),
        (GENFORCE, ["synthesis.early_layer.const"], "a StyleGAN2 of genforce"),
        (GENFORCE, list(FILES[ZOO]), "a generator of GAN zoo, in another format"),
        (ZOO, list(FILES[OLD_ZOO]), "a generator of GAN zoo, in another format"),
        (
            OLD_ZOO,
            ["formatLayer.weight", "main.outlayer.weight"],
            "no groupScale0.0.weight; .* in another format",
        ),
        (
            GENFORCE,
            ["progression_8.conv.0.conv.weight_orig", "to_rgb_8.conv.bias"],
            "a generator of rosinality",
        ),
        (
            GENFORCE,
            ["layer1.conv.weight", "layer1.wscale.b"],
            "a ProGAN of GAN dissection or InterFaceGAN",
        ),
    ],
)
def test_other_files_are_told_by_name(name, sources, text):
    with pytest.raises(UnfitError, match=text):
        BY_NAME[name].describe(dict.fromkeys(sources, np.ones((2, 2, 3, 3), np.float32)), None)
