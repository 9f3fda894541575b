"""Folds the layers of a card into fewer, faster steps.

Frozen normalisation and layout go into the weights beside them.

Everything here is numpy in float64, rounded to float32 once at the end, so that folding costs no
accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from jattr.errors import GeneratorError
from jattr.generators.card import Card, Layer
from jattr.generators.stored import Params, stored_layers

Option: TypeAlias = int | float | bool | tuple[int, ...]  # a static argument of a step

LINEAR_STEPS = ("dense", "conv", "conv_transpose")
ELEMENTWISE = ("relu", "leaky_relu", "tanh", "sigmoid")


@dataclass(frozen=True)
class Step:
    """One step of the folded network."""

    kind: str  # a key of `layered.STEPS`
    options: tuple[tuple[str, Option], ...] = ()  # static arguments
    # float64 here; float32 when `fold` returns
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    output: tuple[int, ...] = ()  # (F,) or (H, W, C)


def fold(card: Card, params: Params) -> tuple[list[Step], np.ndarray | None]:
    """Return the steps of a card, and the table [classes, width] of what a label brings, or None.

    Args:
      card: the card.
      params: stored tensors: `params["layers"][index][leaf]`, `params["conditioning"][leaf]`.
    """
    steps: list[Step] = []
    shape: tuple[int, ...] = (card.latent.dim + _label_width(card, params),)
    for name, layer in stored_layers(card):
        leaves = {
            leaf: np.asarray(array, np.float64)
            for leaf, array in params.get("layers", {}).get(name, {}).items()
        }
        steps = _append(steps, layer, leaves, steps[-1].output if steps else shape)
    table = _label_table(card, params)
    return [_single(step) for step in steps], None if table is None else table.astype(np.float32)


def _append(
    steps: list[Step], layer: Layer, leaves: dict[str, np.ndarray], shape: tuple[int, ...]
) -> list[Step]:
    """Return the steps with one more layer, folded into what stands before it where it can be."""
    last = steps[-1] if steps else None
    if layer.op == "batch_norm":
        if leaves["var"].min() + layer.eps <= 0:
            raise GeneratorError(
                f"{layer.label}: a running variance is {leaves['var'].min():g}; none can be"
                " negative"
            )
        # Frozen: (x - mean) / sqrt(var + eps) * gamma + beta is x * scale + shift.
        scale = leaves.get("scale", 1.0) / np.sqrt(leaves["var"] + layer.eps)
        shift = leaves.get("bias", 0.0) - leaves["mean"] * scale
        return _fold_affine(steps, np.broadcast_to(scale, leaves["mean"].shape), shift, shape)
    if layer.op == "reshape":
        return _reshape(steps, layer.shape, shape)
    if layer.op == "conv_transpose" and shape[:2] == (1, 1):
        return [*steps, *_conv_transpose_of_pixel(layer, leaves, shape)]
    if (
        layer.op == "conv"
        and last is not None
        and last.kind == "upsample_nearest"
        and _foldable(layer, leaves, last)
    ):
        # Upsampling and convolution together are one transposed convolution.
        kernel = _fold_upsample(leaves["kernel"])
        options = (("stride", 2), ("padding", 1), ("output_padding", 0))
        output = (*shape[:2], kernel.shape[3])
        return [*steps[:-1], Step("conv_transpose", options, {**leaves, "kernel": kernel}, output)]
    return [*steps, _plain(layer, leaves, shape)]


def _plain(layer: Layer, leaves: dict[str, np.ndarray], shape: tuple[int, ...]) -> Step:
    """Return a layer as a step of its own."""
    if layer.op == "linear":
        return Step("dense", (), leaves, (leaves["kernel"].shape[1],))
    if layer.op == "conv":
        kh, kw, _, outputs = leaves["kernel"].shape
        height, width = (
            (n + 2 * layer.padding - k) // layer.stride + 1
            for n, k in zip(shape, (kh, kw), strict=False)
        )
        edge = layer.padding_mode == "replicate"
        window = (("stride", layer.stride), ("padding", layer.padding))
        return Step("conv", (*window, ("edge", edge)), leaves, (height, width, outputs))
    if layer.op == "conv_transpose":
        options = (
            ("stride", layer.stride),
            ("padding", layer.padding),
            ("output_padding", layer.output_padding),
        )
        return Step("conv_transpose", options, leaves, _transposed_shape(layer, leaves, shape))
    if layer.op == "upsample_nearest":
        output = (shape[0] * layer.scale, shape[1] * layer.scale, shape[2])
        return Step(layer.op, (("scale", layer.scale),), {}, output)
    if layer.op == "layer_norm" and len(shape) == 3:  # stored as PyTorch does, [C, H, W]
        leaves = {
            leaf: array.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
            for leaf, array in leaves.items()
        }
    names = {"leaky_relu": ("slope",), "layer_norm": ("eps",), "pixel_norm": ("eps",)}.get(
        layer.op, ()
    )
    return Step(layer.op, tuple((name, getattr(layer, name)) for name in names), leaves, shape)


def _transposed_shape(
    layer: Layer, leaves: dict[str, np.ndarray], shape: tuple[int, ...]
) -> tuple[int, int, int]:
    height, width = (
        (n - 1) * layer.stride - 2 * layer.padding + k + layer.output_padding
        for n, k in zip(shape[:2], leaves["kernel"].shape[:2], strict=True)
    )
    return height, width, leaves["kernel"].shape[3]


def _conv_transpose_of_pixel(
    layer: Layer, leaves: dict[str, np.ndarray], shape: tuple[int, ...]
) -> list[Step]:
    """Return a transposed convolution of a single pixel as the dense layer that it is.

    Each output pixel is one tap.
    """
    # The output is the kernel without the padding on each side, and zeros of the output padding.
    height, width, outputs = _transposed_shape(layer, leaves, shape)
    kernel = np.zeros((height, width, *leaves["kernel"].shape[2:]))
    inside = leaves["kernel"][
        layer.padding : layer.padding + height, layer.padding : layer.padding + width
    ]
    kernel[: inside.shape[0], : inside.shape[1]] = inside
    matrix = kernel.transpose(2, 0, 1, 3).reshape(shape[2], -1)
    bias = {"bias": np.tile(leaves["bias"], height * width)} if "bias" in leaves else {}
    output = (height, width, outputs)
    return [
        Step("dense", (), {"kernel": matrix, **bias}, (matrix.shape[1],)),
        Step("reshape", (("shape", output),), {}, output),
    ]


def _fold_affine(
    steps: list[Step], scale: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]
) -> list[Step]:
    """Return the steps and then x * scale + shift, folded into the last linear step if possible."""
    target = len(steps) - 1
    if (
        steps
        and steps[-1].kind == "reshape"
        and len(shape) == 3
        and target
        and steps[-2].kind == "dense"
    ):
        target -= 1  # dense, then [H, W, C]: channels are the fastest axis
        repeats = shape[0] * shape[1]
        scale, shift = np.tile(scale, repeats), np.tile(shift, repeats)
    # (x K + b) scale + shift = x (K scale) + (b scale + shift), outputs on K's last axis.
    if steps and steps[target].kind in LINEAR_STEPS:
        old = steps[target].arrays
        arrays = {"kernel": old["kernel"] * scale, "bias": old.get("bias", 0.0) * scale + shift}
        return [*steps[:target], replace(steps[target], arrays=arrays), *steps[target + 1 :]]
    return [*steps, Step("affine", (), {"scale": scale, "bias": shift}, shape)]


def _reshape(steps: list[Step], target: tuple[int, ...], shape: tuple[int, ...]) -> list[Step]:
    """Return the steps with PyTorch's reshape to `target` [C, H, W] behind them, as [H, W, C]."""
    channels, height, width = target
    output = (height, width, channels)
    if len(shape) == 3 and shape[:2] != (1, 1) and shape[2] != 1:  # back to PyTorch's order first
        if shape == output:
            return steps
        return [*steps, Step("restack", (("shape", target),), {}, output)]
    if channels == 1 or (height, width) == (1, 1):
        return [*steps, Step("reshape", (("shape", output),), {}, output)]
    # Element-wise steps do not mind the order of their inputs: look behind them for a dense layer.
    index = len(steps) - 1
    while index >= 0 and steps[index].kind in ELEMENTWISE:
        index -= 1
    if index >= 0 and steps[index].kind == "dense":
        # Its outputs in the order [H, W, C] of the activations here, by its weights' columns.
        order = np.arange(channels * height * width).reshape(target).transpose(1, 2, 0).ravel()
        arrays = {name: array[..., order] for name, array in steps[index].arrays.items()}
        steps = [*steps[:index], replace(steps[index], arrays=arrays), *steps[index + 1 :]]
        return [*steps, Step("reshape", (("shape", output),), {}, output)]
    return [*steps, Step("from_channels_first", (("shape", target),), {}, output)]


def _foldable(layer: Layer, leaves: dict[str, np.ndarray], upsample: Step) -> bool:
    plain = layer.stride == 1 and layer.padding == 1 and layer.padding_mode == "zeros"
    return plain and leaves["kernel"].shape[:2] == (3, 3) and dict(upsample.options)["scale"] == 2


def _fold_upsample(kernel: np.ndarray) -> np.ndarray:
    """Return the 4x4 stride-2 kernel that is a nearest upsampling by 2 and then this 3x3 one."""
    # Each output pixel meets 2x2 different inputs: taps that fall on the same one are summed.
    rows = np.stack([kernel[2], kernel[1] + kernel[2], kernel[0] + kernel[1], kernel[0]])
    return np.stack(
        [rows[:, 2], rows[:, 1] + rows[:, 2], rows[:, 0] + rows[:, 1], rows[:, 0]], axis=1
    )


def _label_width(card: Card, params: Params) -> int:
    label = card.conditioning
    if label is None or label.type == "embed_multiply":
        return 0
    table = _label_table(card, params)
    return 0 if table is None else table.shape[1]


def _label_table(card: Card, params: Params) -> np.ndarray | None:
    label = card.conditioning
    if label is None:
        return None
    if label.type == "onehot_concat":
        return np.eye(label.classes)
    leaves = {leaf: np.asarray(array, np.float64) for leaf, array in params["conditioning"].items()}
    if label.type == "onehot_linear_concat":
        return leaves["kernel"] + leaves.get("bias", 0.0)
    return leaves["embedding"]


def _single(step: Step) -> Step:
    """Return the step in float32."""
    with np.errstate(over="ignore"):
        arrays = {name: np.asarray(array, np.float32) for name, array in step.arrays.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise GeneratorError(
            f"the weights of a {step.kind} exceed float32 once normalisation is folded into them"
        )
    return replace(step, arrays=arrays)
