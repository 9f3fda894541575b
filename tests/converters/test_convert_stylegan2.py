"""StyleGAN2 files of three programs.

The architecture is told from the tensors, and every tensor finds its place.
"""

import numpy as np
import pytest
from fake_files import random_tensors, state_dict_of
from jattr.converters.convert import convert
from jattr.converters.detect import Weights, detect
from jattr.converters.rules import Description, UnfitError, convert_by_rows
from jattr.converters.stylegan2 import FORMATS
from safetensors.numpy import save_file

from jattr.errors import ConversionError
from jattr.generators.family import graph_of
from jattr.generators.stylegan2 import Architecture

NVLABS, ROSINALITY, GENFORCE = FORMATS
SMALL = {"channels": (6, 5, 4), "z_dim": 7, "mapping_widths": (9, 8)}
CASES = {
    "nvlabs skip": (NVLABS, Architecture(**SMALL)),
    "nvlabs resnet with classes": (NVLABS, Architecture(**SMALL, form="resnet", num_classes=3)),
    "nvlabs orig, grey": (NVLABS, Architecture(**SMALL, form="orig", image_channels=1)),
    "nvlabs, other filter": (NVLABS, Architecture(**SMALL, taps=(1.0, 1.0))),
    "rosinality": (ROSINALITY, Architecture(**SMALL, equalised=True)),
    "genforce": (GENFORCE, Architecture(**SMALL, equalised=True)),
    "genforce with classes": (
        GENFORCE,
        Architecture(**SMALL, equalised=True, num_classes=4, embedding="table"),
    ),
    "genforce orig": (GENFORCE, Architecture(**SMALL, equalised=True, form="orig")),
}


def example(case):
    """(format, architecture, stored tensors, state dict, what lies beside it)."""
    format, arch = CASES[case]
    tensors = random_tensors("stylegan2", arch)
    state = state_dict_of(format, arch, tensors)
    tree = {"latent_avg": state.pop("latent_avg")} if format is ROSINALITY else {}
    return format, arch, tensors, state, tree


@pytest.mark.parametrize("case", CASES)
def test_the_file_tells_its_architecture_and_gives_its_tensors(case):
    format, arch, tensors, state, tree = example(case)
    found = format.describe(state, tree)
    assert found.architecture == arch
    stored = convert_by_rows(format, found, state, graph_of("stylegan2", arch)[1])
    assert stored.keys() == tensors.keys()
    for path, array in tensors.items():
        np.testing.assert_array_equal(stored[path], array, err_msg=path)


@pytest.mark.parametrize("case", ["nvlabs resnet with classes", "rosinality", "genforce"])
def test_all_mismatches_come_at_once(case):
    format, arch, _, state, tree = example(case)
    found = format.describe(state, tree)
    last = next(
        row.source
        for row in reversed(list(format.rows(arch)))
        if row.target and row.source in state
    )
    constant = next(row.source for row in format.rows(arch) if row.target is None)
    affine = next(
        name
        for name in state
        if name.endswith(("affine.weight", "modulation.weight", "style.weight"))
    )
    bias = next(name for name in state if name.endswith("bias") and name != last)
    state = state | {"extra.weight": np.zeros(3, np.float32), affine: state[affine][:-1]}
    state |= {constant: state[constant] * 2, bias: np.full_like(state[bias], np.nan)}
    del state[last]
    with pytest.raises(ConversionError) as caught:
        convert_by_rows(format, found, state, graph_of("stylegan2", arch)[1])
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    for words in (
        'left over in the file:'
        ' "extra.weight"', f'missing in the file: "{last}"', f'"{affine}" gives',
        f'"{constant}" is not the constant', f'"{bias}" has values that are not finite',
    ):  # fmt: skip
        assert words in str(caught.value)


def test_integers_are_no_weights():
    format, arch, _, state, tree = example("nvlabs skip")
    state["mapping.w_avg"] = np.arange(8)
    with pytest.raises(ConversionError, match="is int64; weights are floating-point"):
        convert_by_rows(format, Description(arch), state, graph_of("stylegan2", arch)[1])
    assert tree == {}


@pytest.mark.parametrize(
    ("format", "names", "words"),
    [
        (NVLABS, ["b64.fromrgb.weight", "b4.out.weight"], "discriminator"),
        (NVLABS, ["conv1.weight"], "no synthesis.b4.const"),
        (ROSINALITY, ["final_linear.0.weight", "convs.0.0.weight"], "discriminator"),
        (ROSINALITY, ["conv1.weight"], "no input.input"),
        (GENFORCE, ["synthesis.layer0.const", "synthesis.lod"], "a StyleGAN, not a StyleGAN2"),
        (GENFORCE, ["conv1.weight"], "no synthesis.early_layer.const"),
    ],
)
def test_what_is_no_generator_of_the_family(format, names, words):
    with pytest.raises(UnfitError, match=words):
        format.describe({name: np.zeros((2, 2), np.float32) for name in names}, {})


@pytest.mark.parametrize(
    ("title", "name", "value", "words"),
    [
        ("nvlabs skip", "mapping.embed.weight", np.zeros(3), "must have 2 axes"),
        ("nvlabs skip", "synthesis.b4.resample_filter", [[1, -1], [-1, 1]], "not of sum 0"),
        ("nvlabs skip", "synthesis.b4.resample_filter", np.zeros((0, 0)), "not of sum 0"),
        ("genforce", "mapping.label_weight", np.zeros(3), "must have 2 axes"),
        ("genforce", "synthesis.layer1.filter.kernel", np.zeros((4, 4)), "must have 4 axes"),
        ("genforce", "synthesis.layer1.filter.kernel", np.zeros((0, 1, 4, 4)), "not be empty"),
    ],
)
def test_tensors_that_no_generator_has(title, name, value, words):
    format, _, _, state, tree = example(title)
    with pytest.raises(UnfitError, match=words):
        format.describe(state | {name: np.asarray(value, np.float32)}, tree)


def test_missing_noise_maps_are_named():
    format, arch, _, state, tree = example("nvlabs skip")
    state = {name: array for name, array in state.items() if not name.endswith("noise_const")}
    with pytest.raises(
        ConversionError, match=r'missing in the file: "synthesis.b4.conv1.noise_const"'
    ):
        convert_by_rows(format, format.describe(state, tree), state, graph_of("stylegan2", arch)[1])


def test_the_clamp_of_a_pickle_is_kept():
    format, arch, _, state, _ = example("nvlabs skip")
    found = format.describe(state, {"attributes": {"synthesis.b4.conv1.conv_clamp": 256}})
    assert found.architecture.clamp == 256
    assert arch.clamp is None


def rosinality_file():
    """State dict and mean style of a small generator of rosinality's."""
    _, arch, tensors, state, tree = example("rosinality")
    return arch, tensors, state, tree["latent_avg"]


def mapping_network(state, z):
    """rosinality's `style`: PixelNorm and EqualLinear with lr_mul 0.01 and fused_lrelu."""
    x = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True) + 1e-8)
    for index in (1, 2):
        weight, bias = (np.float64(state[f"style.{index}.{leaf}"]) for leaf in ("weight", "bias"))
        x = x @ (weight * 0.01 / np.sqrt(weight.shape[1])).T + bias * 0.01
        x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
    return x


def test_a_missing_mean_style_is_estimated_and_said():
    arch, tensors, state, _ = rosinality_file()
    found = ROSINALITY.describe(state, {})
    assert found.architecture == arch
    assert "no latent_avg, the mean style: it is estimated" in found.notes[0]
    stored = convert_by_rows(ROSINALITY, found, state, graph_of("stylegan2", arch)[1])
    again = convert_by_rows(ROSINALITY, found, state, graph_of("stylegan2", arch)[1])
    np.testing.assert_array_equal(stored["w_avg"], again["w_avg"])
    styles = mapping_network(state, np.random.default_rng(9).normal(size=(40_000, arch.z_dim)))
    error = styles.std(0) * np.sqrt(1 / 40_000 + 1 / 16_384)
    assert (np.abs(stored["w_avg"] - styles.mean(0)) < 5 * error + 2**-12).all()
    assert all((stored[path] == tensors[path]).all() for path in tensors if path != "w_avg")


@pytest.mark.parametrize("rows", [1, 6])
def test_a_mean_style_that_is_repeated_for_each_layer(rows):
    _, _, state, average = rosinality_file()
    found = ROSINALITY.describe(state, {"latent_avg": np.tile(average, (rows, 1))})
    np.testing.assert_array_equal(found.extra["latent_avg"], average)
    assert found.notes == ()
    different = np.stack([average, 2 * average])
    assert ROSINALITY.describe(state, {"latent_avg": different}).estimate is not None


def test_images_with_psi_1_do_not_depend_on_the_estimate(tmp_path):
    _, _, state, average = rosinality_file()
    save_file({"latent_avg": average, **behind("g_ema.", state)}, tmp_path / "whole.safetensors")
    save_file(behind("g.", state) | behind("g_ema.", state), tmp_path / "train.safetensors")
    whole, train = (
        convert(tmp_path / f"{name}.safetensors", tmp_path / name) for name in ("whole", "train")
    )
    assert whole.weights_digest != train.weights_digest
    assert [note.split(":")[0] for note in train.card["source"]["notes"]] == [
        'taken are the averaged weights under "g_ema"; there are also "g" (--key)',
        "the file has no latent_avg, the mean style",
    ]
    z = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
    images = [np.asarray(gen.generate(z)) for gen in (whole, train)]
    np.testing.assert_allclose(*images, rtol=1e-4, atol=1e-5 * np.abs(images[0]).max())


@pytest.mark.parametrize("place", ["state_dict.decoder.", "g_ema.", "g_ema.module.", ""])
@pytest.mark.parametrize("average", ["beside", "inside", "none"])
def test_wherever_the_generator_and_its_mean_style_lie(place, average):
    """Encoders (pixel2style2pixel) hold it as their decoder, the mean style beside all."""
    arch, _, state, mean = rosinality_file()
    tree = behind(place, state)
    if average != "none":
        tree["latent_avg" if average == "beside" else f"{place}latent_avg"] = mean
    nested = {}
    for name, array in tree.items():  # as a checkpoint nests them, one level deep
        first, dot, rest = name.partition(".")
        if dot and place:
            nested.setdefault(first, {})[rest] = array
        else:
            nested[name] = array
    for layout in (tree, nested):
        match = detect(Weights("psp.pt", layout))
        assert match.description.architecture == arch
        shapes = graph_of("stylegan2", arch)[1]
        stored = convert_by_rows(ROSINALITY, match.description, match.tensors, shapes)
        assert (average == "none") == bool(match.description.notes)
        assert average == "none" or (stored["w_avg"] == mean).all()


def behind(prefix, state):
    return {f"{prefix}{name}": np.ascontiguousarray(array) for name, array in state.items()}


@pytest.mark.parametrize("spoil", ["style.1.bias", "style.2.bias", "style.2.weight"])
def test_a_mapping_network_that_does_not_chain(spoil):
    arch, _, state, _ = rosinality_file()
    state = state | {spoil: state[spoil][..., :-1]}
    found = ROSINALITY.describe(state, {})
    with pytest.raises(ConversionError, match=f"{spoil.rpartition('.')[0]} of the mapping network"):
        convert_by_rows(ROSINALITY, found, state, graph_of("stylegan2", arch)[1])
