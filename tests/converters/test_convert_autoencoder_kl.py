"""Files of diffusers' AutoencoderKL.

What is read from tensors and config.json, and how other files are refused.
"""

import re

import numpy as np
import pytest
from autoencoder_files import CONFIG, NEW_NAMES, OLD_NAMES, state_dict
from flax import nnx
from jattr.converters.autoencoder_kl import FORMATS
from jattr.converters.rules import UnfitError, convert_by_rows

from jattr.errors import ConversionError
from jattr.generators.autoencoder_kl import Architecture, Net

NEW, OLD = FORMATS
ATTENTION = "decoder.mid_block.attentions.0"


def convert(tensors, *, format=NEW, **config):
    found = format.describe(tensors, {"config": CONFIG | config})
    _, state = nnx.split(nnx.eval_shape(lambda: Net(found.architecture)))
    shapes = {
        "/".join(map(str, path)): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(state)
    }
    stored = convert_by_rows(format, found, tensors, shapes)
    assert sorted(stored) == sorted(shapes)
    return found.architecture, stored


def without(tensors, *prefixes):
    return {name: array for name, array in tensors.items() if not name.startswith(prefixes)}


def test_tensors_and_configuration_tell_the_architecture():
    arch, stored = convert(
        state_dict(), scaling_factor=0.5, shift_factor=0.25, sample_size=[32, 48]
    )
    assert arch == Architecture(
        block_out_channels=(4, 8),
        layers_per_block=1,
        latent_channels=2,
        latent_height=16,
        latent_width=24,
        norm_num_groups=2,
        scaling_factor=0.5,
        shift_factor=0.25,
    )
    state = state_dict()
    assert (
        stored["decoder/blocks/0/resample/kernel"][1, 2, 3, 4]
        == state["decoder.up_blocks.0.upsamplers.0.conv.weight"][4, 3, 1, 2]
    ).all()
    assert (
        stored["encoder/mid_block/attention/to_out/kernel"]
        == state["encoder.mid_block.attentions.0.to_out.0.weight"].T
    ).all()
    assert (stored["decoder/conv_norm_out/scale"] == state["decoder.conv_norm_out.weight"]).all()


def test_without_a_configuration_diffusers_defaults_hold():
    tensors = {
        name: array.repeat(8, 0)
        if array.ndim == 1 or array.shape[2:] != (3, 3)
        else array.repeat(8, 0).repeat(8, 1)
        for name, array in state_dict().items()
    }
    arch = NEW.describe(tensors, tensors).architecture
    assert (arch.norm_num_groups, arch.scaling_factor, arch.shift_factor) == (32, 0.18215, 0.0)
    assert arch.image_shape[:2] == (32, 32)
    with pytest.raises(UnfitError, match=r"multiple of norm_num_groups, 32.*no config\.json"):
        NEW.describe(state_dict(), state_dict())


@pytest.mark.parametrize("axes", [(), (1, 1)])
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_both_namings_and_both_forms_of_the_attention_are_read(format, axes):
    _, expected = convert(state_dict())
    names = NEW_NAMES if format is NEW else OLD_NAMES
    renamed = state_dict(names)
    renamed = {
        name: array.reshape(*array.shape, *axes)
        if "attentions" in name and array.ndim == 2
        else array
        for name, array in renamed.items()
    }
    _, stored = convert(renamed, format=format)
    assert all((stored[path] == expected[path]).all() for path in expected)
    with pytest.raises(UnfitError, match="the attention's layers have other names"):
        (OLD if format is NEW else NEW).describe(renamed, None)


def test_one_format_alone_takes_a_file_without_attention():
    tensors = without(state_dict(), ATTENTION, ATTENTION.replace("decoder", "encoder"))
    arch, stored = convert(tensors)
    assert not arch.mid_block_add_attention
    assert not any("attention" in path for path in stored)
    with pytest.raises(UnfitError, match="no attention"):
        OLD.describe(tensors, {"config": CONFIG})


@pytest.mark.parametrize(
    ("dropped", "changed"),
    [
        (("quant_conv.",), {"use_quant_conv": False}),
        (("post_quant_conv.",), {"use_post_quant_conv": False}),
        (("encoder.", "quant_conv."), {"has_encoder": False, "use_quant_conv": False}),
    ],
)
def test_parts_may_be_absent(dropped, changed):
    arch, stored = convert(without(state_dict(), *dropped))
    full, _ = convert(state_dict())
    assert {name: getattr(arch, name) for name in changed} == changed
    assert {name for name in vars(arch) if getattr(arch, name) != getattr(full, name)} == set(
        changed
    )
    assert not any(
        path.startswith(tuple(name.rstrip(".") + "/" for name in dropped)) for path in stored
    )


def test_the_prior_of_channels_is_told_as_one():
    rng = np.random.default_rng(1)
    mean, std = [-1.0, 3.0], [2.0, 4.0]
    arch, _ = convert(state_dict(), scaling_factor=0.5, latents_mean=mean, latents_std=std)
    drawn = rng.normal(size=(200_000, 2)) * std / 0.5 + mean
    # 400,000 numbers of deviation 7: 0.011 each
    assert abs(arch.latent_shift - drawn.mean()) < 0.05
    assert abs(arch.latent_scale / drawn.std() - 1) < 0.01
    arch, _ = convert(
        state_dict(), scaling_factor=0.5, latents_mean=None, latents_std=None, shift_factor=None
    )
    assert (arch.latent_shift, arch.latent_scale) == (0.0, 2.0)


def test_every_mismatch_is_in_one_error():
    tensors = without(state_dict(), "decoder.conv_norm_out.bias", f"{ATTENTION}.to_k.weight")
    tensors["decoder.extra"] = np.ones(1, np.float32)
    tensors["decoder.up_blocks.1.resnets.0.conv2.weight"] = np.ones((4, 8, 3, 3), np.float32)
    tensors[f"{ATTENTION}.to_v.weight"] = np.ones((8, 8, 3, 3), np.float32)
    with pytest.raises(ConversionError) as caught:
        convert(tensors)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[0] == "the weights are not all that a AutoencoderKL of diffusers has:"
    assert sorted(lines[1:]) == sorted(
        [
            'left over in the file: "decoder.extra"',
            '"decoder.up_blocks.1.resnets.0.conv2.weight" gives'
            " decoder/blocks/1/resnets/0/conv2/kernel the shape"
            " [3, 3, 8, 4]; it must be [3, 3, 4, 4]",
            f'"{ATTENTION}.to_v.weight" has 4 axes instead of 2',
            f'missing in the file: "{ATTENTION}.to_k.weight"',
            'missing in the file: "decoder.conv_norm_out.bias"',
        ]
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "VQModel"}, 'that of a "VQModel"'),
        ({"act_fn": "relu"}, 'act_fn "relu"; only silu or swish'),
        ({"latent_channels": 4}, "says latent_channels 4 but the tensors say 2"),
        (
            {"block_out_channels": [4, 8, 8]},
            "block_out_channels [4, 8, 8] but the tensors say [4, 8]",
        ),
        ({"use_post_quant_conv": False}, "use_post_quant_conv false but the tensors say true"),
        ({"norm_num_groups": 3}, "each must be a multiple of norm_num_groups, 3"),
        ({"norm_num_groups": True}, "norm_num_groups true; it must be a whole number"),
        ({"sample_size": [32]}, "sample_size [32]; it must be one whole number or two"),
        ({"sample_size": "large"}, 'sample_size "large"'),
        ({"sample_size": 10**6}, "latent_height is 500000"),
        ({"scaling_factor": 0}, "scaling_factor is 0.0"),
        ({"scaling_factor": "1"}, 'scaling_factor "1"; it must be finite numbers'),
        ({"latents_mean": [0, 0], "latents_std": [0, 0]}, "the deviations must be above 0"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(config, words):
    with pytest.raises(UnfitError, match=re.escape(words)):
        NEW.describe(state_dict(), {"config": CONFIG | config})


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["encoder.conv_in.weight"], "an encoder alone"),
        (["first_stage_model.decoder.conv_in.weight"], "a whole latent diffusion model"),
        (
            ["decoder.conv_in.weight", "decoder.mid.block_1.norm1.weight"],
            "in the names of latent-diffusion",
        ),
        (["decoder.layers.0.weight"], "AutoencoderTiny"),
        (["quantize.embedding.weight", "decoder.conv_in.weight"], "VQModel"),
        (["time_embedding.linear_1.weight", "conv_in.weight"], "denoising network"),
        (["text_model.embeddings.position_embedding.weight"], "text encoder"),
        (["decoder.conv_in.weight"], "no decoder.up_blocks.0.resnets.0.conv1.weight"),
        (["synthesis.b4.const"], "no decoder.up_blocks.0.resnets.0.conv1.weight"),
    ],
)
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_other_files_are_told_what_they_are(format, names, words):
    with pytest.raises(UnfitError, match=re.escape(words)):
        format.describe({name: np.ones((2, 2, 3, 3), np.float32) for name in names}, None)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        (
            "decoder.conv_in.weight",
            (8, 2, 3, 3, 3),
            '"decoder.conv_in.weight" has the shape [8, 2, 3, 3, 3]',
        ),
        ("decoder.up_blocks.0.attentions.0.to_q.weight", (8, 8), "attention in its up blocks"),
        (
            "decoder.up_blocks.7.resnets.0.conv1.weight",
            (8, 8, 3, 3),
            "no decoder.up_blocks.2.resnets.0.conv1.weight",
        ),
    ],
)
def test_near_relatives_are_refused(name, shape, words):
    with pytest.raises(UnfitError, match=re.escape(words)):
        NEW.describe(state_dict() | {name: np.ones(shape, np.float32)}, {"config": CONFIG})
