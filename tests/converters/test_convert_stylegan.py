"""StyleGAN's weights: genforce's files against a PyTorch module of our own, and what the table
refuses.
"""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jattr.converters.rules import UnfitError, convert_by_rows
from jattr.converters.stylegan import FORMATS

from jattr.errors import ConversionError
from jattr.generators.stylegan import Net, prepare

[FORMAT] = FORMATS
CHANNELS, Z_DIM, MAPPING_WIDTHS = (6, 5), 4, (8, 7)
FUSED_CHANNELS = (6, 6, 5, 4, 4, 3)  # up to 128x128 pixels, where upscales are fused
BLUR = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16


def genforce_tensors(*, channels=CHANNELS, num_classes=0, seed=0):
    w_dim = MAPPING_WIDTHS[-1]
    shapes, widths = {}, (Z_DIM * (2 if num_classes else 1), *MAPPING_WIDTHS)
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= {
            f"mapping.dense{i}.weight": (outputs, inputs),
            f"mapping.dense{i}.bias": (outputs,),
        }
    shapes["truncation.w_avg"] = (w_dim,)
    if num_classes:
        shapes["mapping.label_weight"] = (num_classes, Z_DIM)
    for index in range(2 * len(channels)):
        name, width, size = f"synthesis.layer{index}", channels[index // 2], 4 << (index // 2)
        shapes |= {
            f"{name}.bias": (width,),
            f"{name}.apply_noise.weight": (width,),
            f"{name}.apply_noise.noise": (1, 1, size, size),
            f"{name}.style.weight": (2 * width, w_dim),
            f"{name}.style.bias": (2 * width,),
        }
        if index:
            shapes[f"{name}.weight"] = (width, channels[(index - 1) // 2], 3, 3)
        else:
            shapes[f"{name}.const"] = (1, width, 4, 4)
    for level, width in enumerate(channels):
        shapes |= {
            f"synthesis.output{level}.weight": (3, width, 1, 1),
            f"synthesis.output{level}.bias": (3,),
        }
    rng = np.random.default_rng(seed)
    tensors = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    tensors |= {
        name: 100 * array for name, array in tensors.items() if name.startswith("mapping.dense")
    }
    for level, width in enumerate(channels[1:], 1):
        tensors[f"synthesis.layer{2 * level}.blur.kernel"] = np.tile(BLUR, (width, 1, 1, 1))
    return tensors | {"synthesis.lod": np.zeros((), np.float32)}


FILE = genforce_tensors()


def shapes_of(arch):
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}


def convert(tensors):
    found = FORMAT.describe(tensors, None)
    return found.architecture, convert_by_rows(
        FORMAT, found, tensors, shapes_of(found.architecture)
    )


def own_images(arch, stored, z, label):
    """The network's images, not truncated, in float64."""

    def images(state, z):
        net = nnx.merge(graphdef, state)
        w = net.mapping(z, label)
        ws = jnp.broadcast_to(w[:, None], (len(w), arch.num_ws, arch.w_dim))
        return net.synthesis(ws, [part[...] for part in net.noise])

    with jax.enable_x64(True):
        graphdef, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
        arrays = prepare(arch, {path: array.astype(np.float64) for path, array in stored.items()})
        flat = {
            path: leaf.replace(jnp.asarray(arrays["/".join(map(str, path))]))
            for path, leaf in nnx.to_flat_state(state)
        }
        return np.asarray(jax.jit(images)(nnx.from_flat_state(flat), z.astype(np.float64)))


def torch_images(tensors, z, label):
    """The published network in PyTorch, float64."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in tensors.items()}
    w = torch.from_numpy(np.float64(z))
    if label is not None:
        w = torch.cat([w, tensors["mapping.label_weight"][label]], dim=1)
    w = w / (w.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(len(MAPPING_WIDTHS)):
        weight, bias = tensors[f"mapping.dense{i}.weight"], tensors[f"mapping.dense{i}.bias"]
        w = F.leaky_relu(
            F.linear(w, 0.01 * math.sqrt(2 / weight.shape[1]) * weight, 0.01 * bias), 0.2
        )
    x, count = None, sum(name.endswith("style.bias") for name in tensors)
    for index in range(count):
        part = {
            name.removeprefix(f"synthesis.layer{index}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"synthesis.layer{index}.")
        }
        x = (
            part["const"].repeat(len(w), 1, 1, 1)
            if index == 0
            else convolved(torch, x, part, doubles=index % 2 == 0)
        )
        x = (
            x
            + part["apply_noise.weight"][:, None, None] * part["apply_noise.noise"]
            + part["bias"][:, None, None]
        )
        x = F.leaky_relu(x, 0.2)
        x = x - x.mean((2, 3), keepdim=True)
        x = x / (x.pow(2).mean((2, 3), keepdim=True) + 1e-8).sqrt()
        style = F.linear(w, part["style.weight"] / math.sqrt(w.shape[1]), part["style.bias"])[
            :, :, None, None
        ]
        scale, shift = style.chunk(2, dim=1)
        x = x * (scale + 1) + shift
    weight, bias = (
        tensors[f"synthesis.output{count // 2 - 1}.{leaf}"] for leaf in ("weight", "bias")
    )
    return F.conv2d(x, weight / math.sqrt(weight.shape[1]), bias).permute(0, 2, 3, 1).numpy()


def convolved(torch, x, part, *, doubles):
    F = torch.nn.functional
    weight = part["weight"] * math.sqrt(2 / part["weight"][0].numel())
    if not doubles:
        return F.conv2d(x, weight, padding=1)
    if x.shape[-1] >= 64:  # fused from 128x128 pixels: four shifted copies of the 3x3 taps make 4x4
        taps = sum(F.pad(weight, (a, 1 - a, b, 1 - b)) for a in (0, 1) for b in (0, 1))
        x = F.conv_transpose2d(x, taps.transpose(0, 1), stride=2, padding=1)
    else:
        x = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)
    return F.conv2d(x, part["blur.kernel"], padding=1, groups=x.shape[1])


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize(("channels", "num_classes"), [(CHANNELS, 3), (FUSED_CHANNELS, 0)])
def test_images(channels, num_classes):
    tensors = genforce_tensors(channels=channels, num_classes=num_classes)
    arch, stored = convert(tensors)
    assert (arch.channels, arch.z_dim, arch.mapping_widths) == (channels, Z_DIM, MAPPING_WIDTHS)
    assert (arch.num_classes, arch.image_channels) == (num_classes, 3)
    z = np.random.default_rng(1).standard_normal((2, Z_DIM)).astype(np.float32)
    label = np.array([2, 0], np.int32) if num_classes else None
    expected = torch_images(tensors, z, label)
    assert np.abs(own_images(arch, stored, z, label) - expected).max() <= 1e-5  # gains are float32


def test_the_mean_of_w_may_be_repeated_for_each_layer():
    plain = convert(FILE)[1]["w_avg"]
    assert plain.shape == (7,)
    for shape in ((4, 7), (1, 4, 7), (28,), (1, 7)):
        repeated = np.resize(FILE["truncation.w_avg"], shape)
        assert (convert(FILE | {"truncation.w_avg": repeated})[1]["w_avg"] == plain).all()


@pytest.mark.parametrize(
    ("w_avg", "text"),
    [
        (np.arange(28, dtype=np.float32).reshape(4, 7), "differs between layers"),
        (np.zeros((3, 7), np.float32), "w is 7 wide"),
        (np.zeros(0, np.float32), "w is 7 wide"),
        (None, "no truncation.w_avg"),
    ],
)
def test_other_means_of_w_are_refused(w_avg, text):
    tensors = {name: array for name, array in FILE.items() if name != "truncation.w_avg"}
    with pytest.raises(UnfitError, match=text):
        convert(tensors if w_avg is None else tensors | {"truncation.w_avg": w_avg})


def test_every_stored_tensor_comes_from_its_own_source():
    arch, stored = convert(FILE)
    assert set(stored) == set(shapes_of(arch))
    constants = [
        name for name in FILE if name.endswith(("lod", "blur.kernel")) or ".output0." in name
    ]
    for source in FILE.keys() - constants:
        _, others = convert(FILE | {source: FILE[source] + 1})
        assert sum((stored[path] != others[path]).any() for path in stored) == 1, source


def test_the_layers_for_smaller_images_are_not_stored():
    _, stored = convert(FILE)
    _, others = convert({name: array + (".output0." in name) for name, array in FILE.items()})
    assert all((stored[path] == others[path]).all() for path in stored)


@pytest.mark.parametrize(
    ("source", "array", "text"),
    [
        ("synthesis.layer2.weight", None, 'missing in the file: "synthesis.layer2.weight"'),
        (
            "synthesis.layer9.bias",
            np.ones(3, np.float32),
            'left over in the file: "synthesis.layer9.bias"',
        ),
        (
            "synthesis.layer2.weight",
            np.ones((5, 5, 3, 3), np.float32),
            r"gives kernels/1 the shape \[3, 3, 5, 5\]; it m",
        ),
        (
            "synthesis.layer2.blur.kernel",
            np.ones((5, 1, 3, 3), np.float32),
            "is not the constant of shape .5, 1, 3, 3.",
        ),
        (
            "synthesis.layer1.apply_noise.noise",
            np.ones((2, 1, 4, 4), np.float32),
            "its first axis must be 1",
        ),
        ("synthesis.layer3.bias", np.ones(5, np.int64), '"synthesis.layer3.bias" is int64'),
        (
            "synthesis.layer0.const",
            np.full((1, 6, 4, 4), np.inf, np.float32),
            "not finite in float32",
        ),
    ],
)
def test_both_sides_are_checked(source, array, text):
    tensors = {name: part for name, part in FILE.items() if name != source}
    with pytest.raises(ConversionError, match=text) as caught:
        convert(tensors if array is None else tensors | {source: array})
    assert str(caught.value).count("\n") == 1  # the title and this one problem


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"synthesis.lod": np.float32([2.0])},
            "synthesis.lod is 2, not 0: the last sizes are not in use yet",
        ),
        ({"mapping.dense1.weight": np.ones((28, 8), np.float32)}, "each layer a w of its own"),
        (
            {"synthesis.layer0.apply_noise.noise": np.ones((1, 6, 1, 1), np.float32)},
            "noise_type channel",
        ),
        ({"synthesis.layer0.style.weight": np.ones(3, np.float32)}, "must have 2 axes"),
        ({"synthesis.output1.weight": np.ones(3, np.float32)}, "must have 4 axes"),
    ],
)
def test_forms_that_are_not_converted(changes, text):
    with pytest.raises(UnfitError, match=text):
        convert(FILE | changes)


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        ([], "no synthesis.layer0.const and synthesis.output0.weight and mapping.dense0.weight$"),
        (
            ["generator.progression.0.conv1.input", "style.1.linear.weight_orig"],
            "a StyleGAN of rosinality",
        ),
        (["g_running.generator.progression.0.conv1.input"], "a StyleGAN of rosinality"),
        (
            ["synthesis.layer0.epilogue.bias", "mapping.dense0.fc.weight"],
            "genforce's older programs",
        ),
        (["synthesis.early_layer.const", "mapping.dense0.weight"], "a StyleGAN2 of genforce"),
        (
            ["synthesis.layer0.weight", "mapping.dense0.weight"],
            "starts from w in place of a constant",
        ),
        (["synthesis.b4.const", "mapping.fc0.weight"], "a StyleGAN2 of NVlabs"),
        (["synthesis.L0_36_64.weight", "mapping.fc0.weight"], "a StyleGAN3 of NVlabs"),
        (["convs.0.conv.weight", "style.1.weight"], "a StyleGAN2 of rosinality"),
        (["g_synthesis.blocks.4x4.const"], "lernapparat or huangzh13"),
        (["baseScale0", "mapping.FC.0.module.weight"], "a StyleGAN of GAN zoo"),
        (["lod", "layer0.weight", "output0.weight"], "a ProGAN of genforce"),
        (["lod", "input0.weight", "layer0.weight"], "a discriminator of genforce"),
    ],
)
def test_other_files_are_told_by_name(sources, text):
    with pytest.raises(UnfitError, match=text):
        FORMAT.describe(dict.fromkeys(sources, np.ones((2, 2, 3, 3), np.float32)), None)
