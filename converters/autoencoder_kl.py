"""The autoencoder of latent diffusion as diffusers writes it: config.json and weights in `vae/`.

Tensors tell all sizes; config.json tells what they cannot: the number of normalisation groups, the
size of images, scale and mean of the latents. Source for the names: state dicts of
https://github.com/huggingface/diffusers, which until May 2023 (pull request 3387) called the
attention's layers query, key, value and proj_attn.
"""

import math
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial

import numpy as np

from jattr.errors import show
from jattr.generators.autoencoder_kl import Architecture

from .reading_limits import Tree
from .rules import Description, Format, Row, StateDict, UnfitError, side

PROJECTIONS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out.0": "to_out"}
OLD_PROJECTIONS = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out"}
ATTENTION = "decoder.mid_block.attentions.0."
ACTIVATIONS = ("silu", "swish")  # two names of one function
DEFAULT_GROUPS, DEFAULT_SIZE, DEFAULT_SCALING = 32, 32, 0.18215  # of diffusers' AutoencoderKL
RELATIVES = {  # pattern of tensor names -> what a file with them is
    "first_stage_model.*": "a whole latent diffusion model in the names of its authors; let"
    " diffusers load it (from_single_file) and save_pretrained it, then give the folder vae/",
    "decoder.mid.block_1.*": "an autoencoder in the names of latent-diffusion; let diffusers load"
    " it (AutoencoderKL.from_single_file) and save_pretrained it",
    "decoder.layers.*": "an AutoencoderTiny (TAESD), not an AutoencoderKL",
    "decoder.condition_encoder.*": "an AsymmetricAutoencoderKL, whose decoder also takes a mask"
    " and an image",
    "decoder_unet.*": "a ConsistencyDecoderVAE, whose decoder is itself a diffusion model",
    "*.spatial_res_block.*": "an AutoencoderKLTemporalDecoder, which makes videos",
    "quantize.embedding.weight": "a VQModel: its latents are entries of a table, not continuous",
    "bn.running_mean": "an AutoencoderKLFlux2, whose latents are normalised by tensors of their"
    " own",
    "decoder.up_blocks.*.attentions.*": "an autoencoder with attention in its up blocks"
    " (AttnUpDecoderBlock2D)",
    "time_embedding.*": "the denoising network of a latent diffusion model, not its autoencoder:"
    " give the folder vae/",
    "*transformer_blocks.*": "a denoising transformer, not an autoencoder: give the folder vae/",
    "text_model.*": "a text encoder, not an autoencoder: give the folder vae/",
}


def describe(tensors: StateDict, tree: Tree, *, projections: Mapping[str, str]) -> Description:
    """Return the architecture of an AutoencoderKL.

    Args:
      tensors: of the weights file.
      tree: {"config": what config.json holds}, or anything else if there is none.
      projections: names of the attention's layers, in the file -> here.
    """
    for pattern, what in RELATIVES.items():
        if any(fnmatchcase(name, pattern) for name in tensors):
            raise UnfitError(f"this is {what} (it has {pattern})")
    if "decoder.conv_in.weight" not in tensors and "encoder.conv_in.weight" in tensors:
        raise UnfitError("this is an encoder alone; no decoder.conv_in.weight")
    config = _config(tree)
    arch = _architecture(tensors, config)
    _check_projections(tensors, arch, projections)
    for name, value in _stated(arch).items():
        if name in config and config[name] != value:
            raise UnfitError(
                f"config.json says {name} {show(config[name])} but the tensors say {show(value)}"
            )
    if problems := list(arch.problems()):
        hint = (
            ""
            if config
            else " (no config.json, so by diffusers' defaults: give the folder that has it)"
        )
        raise UnfitError("; ".join(problems) + hint)
    return Description(arch)


def rows(arch: Architecture, *, projections: Mapping[str, str]) -> Iterator[Row]:
    """Yield the table of an AutoencoderKL."""
    parts = {"decoder": ("up", arch.decoder_widths)}
    parts |= {"encoder": ("down", arch.encoder_widths)} if arch.has_encoder else {}
    for part, (way, widths) in parts.items():
        yield from _conv_rows(f"{part}.conv_in", f"{part}/conv_in")
        for i, block in enumerate(widths):
            source, target = f"{part}.{way}_blocks.{i}", f"{part}/blocks/{i}"
            for j, (inputs, outputs) in enumerate(block):
                yield from _resnet_rows(
                    f"{source}.resnets.{j}", f"{target}/resnets/{j}", inputs != outputs
                )
            if i < len(widths) - 1:
                yield from _conv_rows(f"{source}.{way}samplers.0.conv", f"{target}/resample")
        for j in range(2):
            yield from _resnet_rows(
                f"{part}.mid_block.resnets.{j}", f"{part}/mid_block/resnets/{j}", False
            )
        if arch.mid_block_add_attention:
            source, target = f"{part}.mid_block.attentions.0", f"{part}/mid_block/attention"
            yield from _norm_rows(f"{source}.group_norm", f"{target}/group_norm")
            for name, ours in projections.items():
                yield from _conv_rows(f"{source}.{name}", f"{target}/{ours}", "projection")
        yield from _norm_rows(f"{part}.conv_norm_out", f"{part}/conv_norm_out")
        yield from _conv_rows(f"{part}.conv_out", f"{part}/conv_out")
    for name in ("quant_conv", "post_quant_conv"):
        if getattr(arch, f"use_{name}"):
            yield from _conv_rows(name, name)


FORMATS = tuple(
    Format(
        name,
        "autoencoder_kl",
        title,
        ("",),
        partial(describe, projections=names),
        partial(rows, projections=names),
    )
    for name, title, names in (
        ("autoencoder-kl", "AutoencoderKL of diffusers", PROJECTIONS),
        (
            "autoencoder-kl-old",
            "AutoencoderKL of diffusers, attention named as until 2023",
            OLD_PROJECTIONS,
        ),
    )
)


def _conv_rows(source: str, target: str, layout: str = "conv") -> Iterator[Row]:
    yield Row(f"{source}.weight", f"{target}/kernel", layout)
    yield Row(f"{source}.bias", f"{target}/bias")


def _norm_rows(source: str, target: str) -> Iterator[Row]:
    yield Row(f"{source}.weight", f"{target}/scale")
    yield Row(f"{source}.bias", f"{target}/bias")


def _resnet_rows(source: str, target: str, shortcut: bool) -> Iterator[Row]:
    for i in (1, 2):
        yield from _norm_rows(f"{source}.norm{i}", f"{target}/norm{i}")
        yield from _conv_rows(f"{source}.conv{i}", f"{target}/conv{i}")
    if shortcut:
        yield from _conv_rows(f"{source}.conv_shortcut", f"{target}/conv_shortcut")


def _check_projections(
    tensors: StateDict, arch: Architecture, projections: Mapping[str, str]
) -> None:
    """Check that the attention's layers have the names of this format and not of the other."""
    names = [f"{ATTENTION}{source}.weight" for source in projections]
    if arch.mid_block_add_attention and not any(name in tensors for name in names):
        raise UnfitError(f"no {', '.join(names)}: the attention's layers have other names")
    if not arch.mid_block_add_attention and projections is OLD_PROJECTIONS:
        raise UnfitError(f"no attention ({ATTENTION}*) whose layers would have their old names")


def _architecture(tensors: StateDict, config: Mapping[str, Tree]) -> Architecture:
    pattern = re.compile(r"decoder\.up_blocks\.(\d{1,3})\.resnets\.(\d{1,3})\.")
    numbers = [(int(match[1]), int(match[2])) for match in map(pattern.match, tensors) if match]
    if not numbers:
        raise UnfitError("no decoder.up_blocks.0.resnets.0.conv1.weight")
    last_block, last_layer = (max(part) for part in zip(*numbers, strict=True))
    widths = [
        side(tensors, f"decoder.up_blocks.{i}.resnets.0.conv1.weight", 0, axes=4)
        for i in range(last_block + 1)
    ]
    height, width = _sample_size(config)
    scaling_factor, shift_factor = _prior(config)
    return Architecture(
        block_out_channels=tuple(widths[::-1]),
        layers_per_block=last_layer,
        latent_channels=side(tensors, "decoder.conv_in.weight", 1, axes=4),
        latent_height=max(1, height >> last_block),
        latent_width=max(1, width >> last_block),
        image_channels=side(tensors, "decoder.conv_out.weight", 0, axes=4),
        norm_num_groups=_whole(config, "norm_num_groups", DEFAULT_GROUPS),
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=_has(tensors, "quant_conv."),
        use_post_quant_conv=_has(tensors, "post_quant_conv."),
        mid_block_add_attention=_has(tensors, ATTENTION),
        has_encoder=_has(tensors, "encoder."),
    )


def _config(tree: Tree) -> Mapping[str, Tree]:
    """Return what config.json says, {} without one."""
    config = tree.get("config") if isinstance(tree, Mapping) else None
    if not isinstance(config, Mapping):
        return {}
    name = config.get("_class_name", "AutoencoderKL")
    if name != "AutoencoderKL":
        raise UnfitError(f"config.json is that of a {show(name)}, not of an AutoencoderKL")
    if config.get("act_fn", "silu") not in ACTIVATIONS:
        raise UnfitError(
            f"config.json says act_fn {show(config['act_fn'])}; only {' or '.join(ACTIVATIONS)} is"
            " read"
        )
    return config


def _stated(arch: Architecture) -> dict[str, Tree]:
    """Return what config.json must say, if it does, of what the tensors tell."""
    return {
        "block_out_channels": list(arch.block_out_channels),
        "layers_per_block": arch.layers_per_block,
        "latent_channels": arch.latent_channels,
        "out_channels": arch.image_channels,
        "use_post_quant_conv": arch.use_post_quant_conv,
        "mid_block_add_attention": arch.mid_block_add_attention,
    }


def _sample_size(config: Mapping[str, Tree]) -> tuple[int, int]:
    """Return height and width of the images that config.json speaks of."""
    size = config.get("sample_size")
    if not isinstance(size, (list, tuple)):
        return (_whole(config, "sample_size", DEFAULT_SIZE),) * 2
    if len(size) != 2:
        raise UnfitError(
            f"config.json says sample_size {show(size)}; it must be one whole number or two"
        )
    return _whole({"sample_size": size[0]}, "sample_size", 0), _whole(
        {"sample_size": size[1]}, "sample_size", 0
    )


def _prior(config: Mapping[str, Tree]) -> tuple[float, float]:
    """Return scaling_factor and shift_factor: 1 / standard deviation and mean of the latents.

    Where config.json gives mean and deviation of each channel besides (z = scaled latents_std /
    scaling_factor + latents_mean), these are the two numbers of all channels together.
    """
    scaling = _numbers(config, "scaling_factor") or [DEFAULT_SCALING]
    shift = _numbers(config, "shift_factor") or [0.0]
    means, stds = _numbers(config, "latents_mean"), _numbers(config, "latents_std")
    if not means or not stds:
        return scaling[0], shift[0]
    variance = float(np.mean(np.square(stds)) / scaling[0] ** 2 + np.var(means))
    if not 0 < variance < math.inf:
        raise UnfitError(
            f"config.json says latents_std {show(stds)}; the deviations must be above 0"
        )
    return 1.0 / math.sqrt(variance), float(np.mean(means))


def _whole(config: Mapping[str, Tree], name: str, default: int) -> int:
    value = config.get(name)
    if value is not None and (type(value) is not int or not 1 <= value < 2**31):
        raise UnfitError(
            f"config.json says {name} {show(value)}; it must be a whole number above 0"
        )
    return default if value is None else value


def _numbers(config: Mapping[str, Tree], name: str) -> list[float]:
    """Return the number or the list of numbers under a name, [] if there is none."""
    value = config.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if any(type(number) not in (int, float) or not math.isfinite(number) for number in values):
        raise UnfitError(f"config.json says {name} {show(value)}; it must be finite numbers")
    return [float(number) for number in values]


def _has(tensors: StateDict, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensors)
