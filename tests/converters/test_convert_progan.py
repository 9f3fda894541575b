"""ProGAN's weights: both programs' files against PyTorch modules of our own, and what the tables refuse."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from fuzz_files import integer, mapping, named, program, storage, tensor, zip_file
from fuzz_files import text as written

from converters.progan import FORMATS, NAMES
from converters.rules import UnfitError, convert_by_rows
from converters.torch_file import find_state_dict, read_checkpoint
from jattr.errors import CheckpointError, ConversionError
from jattr.generators.progan import Net, prepare

BY_NAME = {format.name: format for format in FORMATS}
GENFORCE, FUSED, ZOO, OLD_ZOO = "progan-genforce", "progan-genforce-fused", "progan-ganzoo", "progan-ganzoo-old"
CHANNELS = (6, 6, 5, 3)
Z_DIM = 7


def random_tensors(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def genforce_tensors(*, channels=CHANNELS, fused=False, image_channels=3):
    shapes = {"lod": (), "layer0.weight": (channels[0], Z_DIM, 4, 4), "layer0.bias": (channels[0],)}
    for level, width in enumerate(channels):
        if level:
            inputs = channels[level - 1]
            shapes[f"layer{2 * level}.weight"] = (*((inputs, width) if fused else (width, inputs)), 3, 3)
            shapes[f"layer{2 * level}.bias"] = (width,)
        shapes[f"layer{2 * level + 1}.weight"] = (width, width, 3, 3)
        shapes[f"layer{2 * level + 1}.bias"] = (width,)
        shapes[f"output{level}.weight"] = (image_channels, width, 1, 1)
        shapes[f"output{level}.bias"] = (image_channels,)
    return random_tensors(shapes) | {"lod": np.zeros((), np.float32)}


def zoo_tensors(*, channels=CHANNELS, inner=".module"):
    layers = {"groupScale0.0": (channels[0], channels[0])}
    for level in range(1, len(channels)):
        layers[f"scaleLayers.{level - 1}.0"] = (channels[level], channels[level - 1])
        layers[f"scaleLayers.{level - 1}.1"] = (channels[level], channels[level])
    shapes = {f"{name}{inner}.weight": (*sides, 3, 3) for name, sides in layers.items()}
    shapes |= {f"{name}{inner}.bias": sides[:1] for name, sides in layers.items()}
    shapes |= {f"toRGBLayers.{level}{inner}.weight": (3, width, 1, 1) for level, width in enumerate(channels)}
    shapes |= {f"toRGBLayers.{level}{inner}.bias": (3,) for level in range(len(channels))}
    shapes |= {f"formatLayer{inner}.weight": (16 * channels[0], Z_DIM), f"formatLayer{inner}.bias": (16 * channels[0],)}
    return random_tensors(shapes)


FILES = {
    GENFORCE: genforce_tensors(),
    FUSED: genforce_tensors(fused=True),
    ZOO: zoo_tensors(),
    OLD_ZOO: zoo_tensors(inner=""),
}


def shapes_of(arch):
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}


def convert(name, tensors, tree=None):
    found = BY_NAME[name].describe(tensors, tree)
    return found.architecture, convert_by_rows(BY_NAME[name], found, tensors, shapes_of(found.architecture))


def pictures(arch, stored, z):
    """The network's pictures in float64: with few channels pixel norm can magnify rounding a thousandfold."""
    with jax.enable_x64(True):
        graphdef, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
        arrays = prepare(arch, {path: array.astype(np.float64) for path, array in stored.items()})
        flat = {
            path: leaf.replace(jnp.asarray(arrays["/".join(map(str, path))])) for path, leaf in nnx.to_flat_state(state)
        }
        apply = jax.jit(lambda state, z: nnx.merge(graphdef, state)(z))
        return np.asarray(apply(nnx.from_flat_state(flat), z.astype(np.float64)))


def pixel_norm(x):
    return x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()


def genforce_pictures(tensors, z, *, fused):
    """The published network in PyTorch, float64: normalise, double the size, convolve, leaky ReLU."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in tensors.items()}
    x = torch.from_numpy(np.float64(z))[:, :, None, None]
    count = sum(name.startswith("layer") and name.endswith("weight") for name in tensors)
    for index in range(count):
        doubles = index > 0 and index % 2 == 0
        weight, bias = tensors[f"layer{index}.weight"], tensors[f"layer{index}.bias"]
        fan_in = weight[0, 0].numel() * x.shape[1]
        weight = weight * math.sqrt(2 / fan_in)
        x = pixel_norm(x)
        if doubles and fused:  # four shifted copies of the 3x3 taps make 4x4
            taps = sum(F.pad(weight, (a, 1 - a, b, 1 - b)) for a in (0, 1) for b in (0, 1))
            x = F.conv_transpose2d(x, taps, bias, stride=2, padding=1)
        else:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if doubles else x
            x = F.conv2d(x, weight, bias, padding=1 if index else 3)
        x = F.leaky_relu(x, 0.2)
    weight = tensors[f"output{count // 2 - 1}.weight"]
    x = F.conv2d(pixel_norm(x), weight / math.sqrt(weight.shape[1]), tensors[f"output{count // 2 - 1}.bias"])
    return x.permute(0, 2, 3, 1).numpy()


def zoo_pictures(tensors, z, *, inner, tanh):
    """The published network in PyTorch, float64: the gain of a layer multiplies its bias too."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in tensors.items()}

    def layer(name, x, **options):
        weight, bias = tensors[f"{name}{inner}.weight"], tensors[f"{name}{inner}.bias"]
        y = F.linear(x, weight, bias) if weight.ndim == 2 else F.conv2d(x, weight, bias, **options)
        return y * math.sqrt(2 / weight[0].numel())

    x = pixel_norm(torch.from_numpy(np.float64(z)))
    x = F.leaky_relu(layer("formatLayer", x), 0.2).reshape(len(z), -1, 4, 4)
    x = pixel_norm(F.leaky_relu(layer("groupScale0.0", pixel_norm(x), padding=1), 0.2))
    levels = sum(name.startswith("toRGBLayers") for name in tensors) // 2
    for level in range(levels - 1):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        for i in range(2):
            x = pixel_norm(F.leaky_relu(layer(f"scaleLayers.{level}.{i}", x, padding=1), 0.2))
    x = layer(f"toRGBLayers.{levels - 1}", x)
    return (x.tanh() if tanh else x).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("name", "fused"), [(GENFORCE, False), (FUSED, True)])
def test_pictures_of_genforce(name, fused):
    tensors = genforce_tensors(fused=fused, image_channels=1)
    arch, stored = convert(name, tensors)
    assert (arch.channels, arch.z_dim, arch.image_shape) == (CHANNELS, Z_DIM, (32, 32, 1))
    z = np.random.default_rng(1).standard_normal((3, Z_DIM)).astype(np.float32)
    expected = genforce_pictures(tensors, z, fused=fused)
    assert np.abs(pictures(arch, stored, z) - expected).max() <= 1e-5  # gains are float32


@pytest.mark.parametrize(("name", "inner", "loss"), [(ZOO, ".module", "WGANGP"), (OLD_ZOO, "", "DCGAN")])
def test_pictures_of_gan_zoo(name, inner, loss):
    tensors = zoo_tensors(inner=inner)
    arch, stored = convert(name, tensors, {"config": {"alpha": 0, "lossCriterion": loss}})
    assert (arch.channels, arch.z_dim, arch.image_shape) == (CHANNELS, Z_DIM, (32, 32, 3))
    assert arch.tanh == (loss == "DCGAN")
    z = np.random.default_rng(1).standard_normal((3, Z_DIM)).astype(np.float32)
    expected = zoo_pictures(tensors, z, inner=inner, tanh=arch.tanh)
    assert np.abs(pictures(arch, stored, z) - expected).max() <= 1e-5  # gains are float32


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
def test_layers_for_smaller_pictures_are_not_stored(name):
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
    for source in [key for key in FILES[name] if key != "lod" and not key.startswith(("output", "toRGB"))]:
        _, others = convert(name, FILES[name] | {source: FILES[name][source] + 1})
        assert sum((stored[path] != others[path]).any() for path in stored) == 1


@pytest.mark.parametrize("name", FILES)
def test_both_sides_are_checked(name):
    tensors = FILES[name]
    source = [key for key in tensors if key.endswith("bias") and key.startswith(("layer", "scaleLayers"))][-1]
    for changed, text in [
        ({key: array for key, array in tensors.items() if key != source}, f'missing in the file: "{source}"'),
        (tensors | {"extra.weight": np.ones(3, np.float32)}, 'left over in the file: "extra.weight"'),
        (tensors | {source: np.ones(9, np.float32)}, f'"{source}" gives layers/.* the shape .9.; it must be .3.'),
        (tensors | {source: np.ones(3, np.int64)}, f'"{source}" is int64'),
        (tensors | {source: np.full(3, np.nan, np.float32)}, f'"{source}" has values that are not finite'),
    ]:
        with pytest.raises(ConversionError, match=text) as caught:
            convert(name, changed)
        assert str(caught.value).count("\n") == 1  # the title and this one problem


@pytest.mark.parametrize(
    ("name", "source", "array", "text"),
    [
        (GENFORCE, "layer0.weight", np.zeros((6, 7), np.float32), '"layer0.weight" has the shape .6, 7.; .* 4 axes'),
        (GENFORCE, "layer3.weight", None, "no layer3.weight"),
        (GENFORCE, "layer3.bias", None, 'missing in the file: "layer3.bias"'),
        (ZOO, "formatLayer.module.weight", np.zeros(5, np.float32), "must have 2 axes"),
        (ZOO, "formatLayer.module.weight", np.zeros((90, 7), np.float32), "must be of maps of 4x4 pixels"),
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


@pytest.mark.parametrize("tree", [None, {}, {"config": None}, {"config": {}}, {"config": {"lossCriterion": "WGANGP"}}])
def test_files_of_gan_zoo_without_unusual_settings(tree):
    assert convert(ZOO, FILES[ZOO], tree)[0].tanh is False


def config_file(tmp_path, state):
    """A file as GAN zoo writes it: its config is an object, made empty, then filled."""
    config = named("models.utils.config", "BaseConfig") + b"q\1)\x81q\2" + state + b"b"
    weights = tensor(storage("Float", "0", 2), 0, (2,), (1,))
    path = tmp_path / "model.pth"
    path.write_bytes(
        zip_file(program(mapping({"config": config, "avgG": mapping({"a": weights})})), {"0": np.ones(2, np.float32)})
    )
    return path


def test_the_config_in_a_file_of_gan_zoo_is_read_as_data(tmp_path):
    path = config_file(
        tmp_path, b"}(" + written("alpha") + integer(0) + written("lossCriterion") + written("MSE") + b"u"
    )
    tree = read_checkpoint(path, names=NAMES)
    assert tree["config"] == {"alpha": 0, "lossCriterion": "MSE"}
    assert list(find_state_dict(tree, "avgG")) == ["a"]
    assert convert(ZOO, FILES[ZOO], tree)[0].tanh


def test_a_damaged_config_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="config of GAN zoo that is 5 in place of settings"):
        read_checkpoint(config_file(tmp_path, integer(5)), names=NAMES)


@pytest.mark.parametrize(
    ("name", "sources", "text"),
    [
        (GENFORCE, [], "no layer0.weight and output0.weight$"),
        (
            GENFORCE,
            ["lod", "input0.weight", "layer0.weight"],
            "no output0.weight; it looks like a discriminator of gen",
        ),
        (ZOO, ["fromRGBLayers.0.module.weight", "scaleLayers.0.0.module.weight"], "a discriminator of GAN zoo"),
        (ZOO, ["baseScale0", "mapping.FC.0.module.weight"], "a StyleGAN of GAN zoo"),
        (GENFORCE, ["synthesis.layer0.style.weight"], "a StyleGAN or StyleGAN2 of genforce"),
        (GENFORCE, ["synthesis.early_layer.const"], "a StyleGAN2 of genforce"),
        (GENFORCE, list(FILES[ZOO]), "a generator of GAN zoo, in another format"),
        (ZOO, list(FILES[OLD_ZOO]), "a generator of GAN zoo, in another format"),
        (OLD_ZOO, ["formatLayer.weight", "main.outlayer.weight"], "no groupScale0.0.weight; .* in another format"),
        (GENFORCE, ["progression_8.conv.0.conv.weight_orig", "to_rgb_8.conv.bias"], "a generator of rosinality"),
        (GENFORCE, ["layer1.conv.weight", "layer1.wscale.b"], "a ProGAN of GAN dissection or InterFaceGAN"),
    ],
)
def test_other_files_are_told_by_name(name, sources, text):
    with pytest.raises(UnfitError, match=text):
        BY_NAME[name].describe(dict.fromkeys(sources, np.ones((2, 2, 3, 3), np.float32)), None)
