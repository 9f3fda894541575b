"""StyleGAN's weights as genforce writes them, its conversions of official networks included.

Source for names and gains: https://github.com/genforce/genforce, models/stylegan_generator.py.

A file does not say whether upscales are fused, learning rates equalised, or a tanh follows: taken
as genforce has it unless told otherwise, which is from 128x128 pixels, yes and no.
"""

from collections.abc import Iterator

import numpy as np

from jattr.generators.stylegan import BLUR, Architecture

from .progan import GENFORCE_KEYS, check_finished, number_of
from .reading_limits import Tree
from .rules import Description, Format, Row, StateDict, UnfitError, need, side

# pixels: the smallest size whose upscale is fused, with the taps of its kernel in opposite order
FUSED_FROM = 128
NOT_STYLEGAN = {  # names of files that are taken for this format -> what they are
    "*input0.weight": "a discriminator of genforce",
    "*layer*.epilogue.*": "a StyleGAN of genforce's older programs (InterFaceGAN, In-domain"
    " inversion), not converted",
    "*early_layer.*": "a StyleGAN2 of genforce",
    "*synthesis.b4.*": "a StyleGAN2 of NVlabs",
    "*synthesis.L0_*": "a StyleGAN3 of NVlabs",
    "*g_synthesis.*": "a StyleGAN of lernapparat or huangzh13, not converted",
    "*progression.*": "a StyleGAN of rosinality (style-based-gan-pytorch), not converted",
    "*convs.0.conv.*": "a StyleGAN2 of rosinality",
    "*baseScale0": "a StyleGAN of GAN zoo, not converted",
    "layer0.weight": "a ProGAN of genforce",
    "synthesis.layer0.weight": "a StyleGAN that starts from w in place of a constant, not"
    " converted",
}


def describe_genforce(tensors: StateDict, tree: Tree) -> Description:
    """Return the architecture of genforce's `StyleGANGenerator`, and its `w_avg` as one row."""
    need(
        tensors,
        "synthesis.layer0.const",
        "synthesis.output0.weight",
        "mapping.dense0.weight",
        near=NOT_STYLEGAN,
    )
    check_finished(tensors, "synthesis.lod")
    levels = number_of(tensors, "synthesis.output{}.weight")
    depth = number_of(tensors, "mapping.dense{}.weight")
    labelled = "mapping.label_weight" in tensors
    z_dim = side(
        tensors, "mapping.label_weight" if labelled else "mapping.dense0.weight", 1, axes=2
    )
    arch = Architecture(
        channels=tuple(
            side(tensors, f"synthesis.layer{2 * level + 1}.bias", 0, axes=1)
            for level in range(levels)
        ),
        z_dim=z_dim,
        mapping_widths=tuple(
            side(tensors, f"mapping.dense{i}.weight", 0, axes=2) for i in range(depth)
        ),
        num_classes=side(tensors, "mapping.label_weight", 0, axes=2) if labelled else 0,
        image_channels=side(tensors, f"synthesis.output{levels - 1}.weight", 0, axes=4),
    )
    if arch.w_dim != side(tensors, "synthesis.layer0.style.weight", 1, axes=2):
        raise UnfitError(
            "its mapping network gives each layer a w of its own (repeat_w false), which is not"
            " converted"
        )
    if side(tensors, "synthesis.layer0.apply_noise.noise", 1, axes=4) != 1:
        raise UnfitError(
            "its noise is one number for each channel (noise_type channel), which is not converted"
        )
    return Description(arch, extra={"truncation.w_avg": _one_row(tensors, arch)})


def _one_row(tensors: StateDict, arch: Architecture) -> np.ndarray:
    """Return the mean of w [w_dim]; some files repeat it for each layer."""
    need(tensors, "truncation.w_avg")
    w_avg = tensors["truncation.w_avg"]
    if w_avg.size not in (arch.w_dim, arch.num_ws * arch.w_dim):
        raise UnfitError(
            f"truncation.w_avg has the shape {list(w_avg.shape)}; w is {arch.w_dim} wide"
        )
    rows = w_avg.reshape(-1, arch.w_dim)
    if (rows != rows[0]).any():
        raise UnfitError(
            "truncation.w_avg differs between layers; only one mean of w for all is converted"
        )
    return rows[0]


def rows_genforce(arch: Architecture) -> Iterator[Row]:
    """Yield the table of genforce's `StyleGANGenerator`."""
    yield Row("truncation.w_avg", "w_avg")
    if arch.num_classes:
        yield Row("mapping.label_weight", "mapper/embed")
    for index in range(len(arch.mapping_widths)):
        yield Row(f"mapping.dense{index}.weight", f"mapper/layers/{index}/kernel", "linear")
        yield Row(f"mapping.dense{index}.bias", f"mapper/layers/{index}/bias")
    for index in range(arch.num_ws):
        yield from _layer_rows(arch, index)
    last = f"synthesis.output{len(arch.channels) - 1}"
    yield Row(f"{last}.weight", "image_kernel", "conv")
    yield Row(f"{last}.bias", "image_bias")


def _layer_rows(arch: Architecture, index: int) -> Iterator[Row]:
    source, target = f"synthesis.layer{index}", f"epilogues/{index}"
    doubles = index > 0 and index % 2 == 0
    if index:
        flipped = doubles and arch.noise_shapes[index][0] >= FUSED_FROM
        yield Row(f"{source}.weight", f"kernels/{index - 1}", "flipped_conv" if flipped else "conv")
    else:
        yield Row(f"{source}.const", "constant", "batched_constant")
    if doubles:
        kernel = np.tile(np.outer(BLUR, BLUR), (arch.channels[index // 2], 1, 1, 1))
        yield Row(f"{source}.blur.kernel", None, expected=kernel)
    yield Row(f"{source}.apply_noise.weight", f"{target}/noise_strength")
    yield Row(f"{source}.apply_noise.noise", f"noise/{index}", "map")
    yield Row(f"{source}.bias", f"{target}/bias")
    yield Row(f"{source}.style.weight", f"{target}/affine/kernel", "linear")
    yield Row(f"{source}.style.bias", f"{target}/affine/bias")


FORMATS = (
    Format(
        "stylegan-genforce",
        "stylegan",
        "StyleGAN of genforce",
        GENFORCE_KEYS,
        describe_genforce,
        rows_genforce,
        # at the last size only the last output layer makes an image
        ("synthesis.output*", "synthesis.lod"),
    ),
)
