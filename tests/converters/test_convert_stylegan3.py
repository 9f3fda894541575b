"""StyleGAN3 files: the architecture is told from the tensors or the pickle, and every tensor
finds its place.
"""

import dataclasses

import numpy as np
import pytest
from flax import nnx
from jattr.converters.nvlabs_pickle import NVLABS_NAMES, flat_modules
from jattr.converters.rules import UnfitError, convert_by_rows
from jattr.converters.stylegan3 import FORMATS
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from torch_stylegan3 import Settings, random_state

from jattr.errors import ConversionError
from jattr.generators.stylegan3 import Architecture, Net

[FORMAT] = FORMATS
SMALL = Architecture(
    channels=(7, 7, 6, 5, 3),
    sizes=(20, 20, 36, 32, 32),
    rates=(16, 16, 32, 32, 32),
    z_dim=4,
    w_dim=5,
    mapping_layers=2,
)
CASES = {
    "T": (Settings(), SMALL),
    "with classes": (Settings(num_classes=3), dataclasses.replace(SMALL, num_classes=3)),
    "R": (
        Settings(kernel_size=1, radial=True),
        dataclasses.replace(SMALL, kernel_size=1, num_radial=2),
    ),
    "another margin": (Settings(margin=5), dataclasses.replace(SMALL, sizes=(26, 26, 42, 32, 32))),
}
STATED = {  # what only a pickle states
    "no clamp": (Settings(clamp=None), dataclasses.replace(SMALL, clamp=None)),
    "scale": (Settings(output_scale=1.0), dataclasses.replace(SMALL, output_scale=1.0)),
    "filters": (
        Settings(filter_size=4, oversampling=3),
        dataclasses.replace(SMALL, filter_size=4, oversampling=3),
    ),
}


def shapes_of(arch):
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}


def convert(tensors, tree):
    found = FORMAT.describe(tensors, tree)
    return convert_by_rows(FORMAT, found, tensors, shapes_of(found.architecture))


@pytest.mark.parametrize("name", [*CASES, *STATED])
def test_the_file_tells_its_architecture(name):
    settings, arch = (CASES | STATED)[name]
    tensors, pickle = random_state(settings)
    for tree in (pickle, {"epoch": 3}) if name in CASES else (pickle,):
        assert FORMAT.describe(tensors, tree).architecture == arch
        assert convert(tensors, tree).keys() == shapes_of(arch).keys()


def test_tensors_go_to_their_places():
    tensors, tree = random_state(Settings(kernel_size=3, radial=True, num_classes=2))
    stored = convert(tensors, tree)
    for source, target, layout in (
        ("synthesis.L1_36_6.weight", "layers/1/kernel", lambda a: a.transpose(2, 3, 1, 0)),
        ("synthesis.L1_36_6.affine.weight", "layers/1/affine/kernel", np.transpose),
        ("synthesis.L1_36_6.down_filter", "layers/1/down_filter", np.array),
        ("synthesis.L1_36_6.up_filter", "layers/1/up_filter", np.array),
        ("synthesis.L1_36_6.magnitude_ema", "layers/1/magnitude_ema", np.array),
        ("synthesis.L3_32_3.bias", "to_image/bias", np.array),
        ("synthesis.input.weight", "features/kernel", np.transpose),
        ("synthesis.input.freqs", "features/freqs", np.array),
        ("mapping.embed.weight", "mapper/embed/kernel", np.transpose),
        ("mapping.fc1.weight", "mapper/layers/1/kernel", np.transpose),
        ("mapping.w_avg", "w_avg", np.array),
    ):
        np.testing.assert_array_equal(stored[target], layout(tensors[source]), err_msg=target)


def test_the_reference_files_are_of_one_network(reference):
    folder = reference / "golden" / "sg3_t_64"
    tree = read_checkpoint(folder / "state_dict.pth")
    plain = find_state_dict(tree)
    module = flat_modules(read_checkpoint(folder / "network.pkl", names=NVLABS_NAMES))["G_ema"]
    arch = FORMAT.describe(plain, tree).architecture
    assert FORMAT.describe(module["tensors"], module).architecture == arch
    assert (arch.rates, arch.sizes[:5]) == ((16,) * 5 + (32,) * 4 + (64,) * 7, (36,) * 5)
    assert (arch.kernel_size, arch.num_radial, arch.clamp, arch.num_ws) == (3, 0, 256.0, 16)
    found, expected = convert(module["tensors"], module), convert(plain, tree)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[path], expected[path]) for path in expected)


def test_all_mismatches_come_at_once():
    tensors, tree = random_state(Settings())
    tensors |= {
        "extra.weight": np.zeros(3, np.float32),
        "mapping.w_avg": np.full(5, np.nan, np.float32),
    }
    tensors["synthesis.L1_36_6.bias"] = tensors["synthesis.L1_36_6.bias"][:-1]
    tensors["synthesis.input.phases"] = np.arange(7)
    del tensors["synthesis.L3_32_3.affine.bias"]
    with pytest.raises(ConversionError) as caught:
        convert(tensors, tree)
    assert len(str(caught.value).splitlines()) == 6
    for words in (
        'left over in the file:'
        ' "extra.weight"', 'missing in the file: "synthesis.L3_32_3.affine.bias"',
        '"mapping.w_avg" has values that are not finite', '"synthesis.input.phases" is int64',
        '"synthesis.L1_36_6.bias" gives layers/1/bias the shape [5]; it must be [6]',
    ):  # fmt: skip
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["b64.fromrgb.weight", "b4.out.weight"], "a discriminator; the generator is G_ema"),
        (["synthesis.b4.const", "mapping.w_avg"], "a StyleGAN2 of NVlabs"),
        (["encoder.input_layer.0.weight", "decoder.synthesis.L0_36_512.weight"], "an encoder"),
        (
            ["G.synthesis.L0_36_512.weight", "D.b64.fromrgb.weight"],
            "without the averaged generator G_ema",
        ),
        (["net.synthesis.L0_36_512.weight"], "beside other parts, or under another name"),
        (["L0_36_512.weight", "input.weight"], "without its mapping network"),
        (["conv1.weight"], r"no synthesis.L0_\*.weight, .*mapping.w_avg"),
    ],
)
def test_what_is_no_generator_of_the_family(names, words):
    with pytest.raises(UnfitError, match=words):
        FORMAT.describe({name: np.zeros((2, 2), np.float32) for name in names}, {})


@pytest.mark.parametrize(
    ("change", "attributes", "words"),
    [
        ({"synthesis.L1_36_6.down_filter": None}, {}, "no synthesis.L1_36_6.down_filter"),
        ({"synthesis.L1_36_6.weight": None}, {}, "layers numbered 0, 2, 3"),
        (
            {"synthesis.L0_20_7.down_filter": np.zeros(18)},
            None,
            "18 taps, not 12: this is no official network",
        ),
        (
            {"synthesis.L0_20_7.down_filter": np.zeros(15)},
            {},
            "15 taps, which is no multiple of their factor 2",
        ),
        (
            {"synthesis.L1_36_6.up_filter": np.zeros(17)},
            {},
            "up_filter has 17 taps, which no ratio",
        ),
        (
            {"synthesis.L1_36_6.up_filter": np.zeros(12)},
            {},
            r"sizes \[20, 36, 32, 32\] and the sampling rates \[32, ",
        ),
        ({"mapping.w_avg": np.zeros(())}, {}, r'"mapping.w_avg" has the shape \[\]'),
        ({}, {"synthesis.output_scale": "loud"}, 'output_scale is "loud"; it must be a number'),
        ({}, {"synthesis.input.bandwidth": float("nan")}, "bandwidth is NaN; it must be a number"),
        ({}, {"synthesis.input.bandwidth": 9}, "not possible: bandwidth is 9.0"),
        (
            {},
            {"synthesis.L0_20_7.down_factor": 10**400},
            "down_factor is 1000.*; it must be a number, not too large",
        ),
        ({}, {"mapping.fc0.bias_gain": 1}, "learning rate 1, not 0.01"),
    ],
)
def test_what_contradicts_itself(change, attributes, words):
    tensors, tree = random_state(Settings())
    tensors = {name: array for name, array in (tensors | change).items() if array is not None}
    tree = {} if attributes is None else {"attributes": tree["attributes"] | attributes}
    with pytest.raises(UnfitError, match=words):
        FORMAT.describe(tensors, tree)
