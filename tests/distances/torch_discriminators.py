"""StyleGAN2's discriminator in PyTorch by the names of two programs, from the paper.

PyTorch is imported lazily.

The filter is a convolution by groups and every step is done by itself: nothing here is as the code
that it tests.
"""

import math
from itertools import pairwise

import numpy as np

TAPS = np.array([1.0, 3, 3, 1], np.float32)
FILTER = np.outer(TAPS, TAPS) / 64


def nvlabs_tensors(widths, *, image_channels=3, form="resnet", classes=0, seed=0):
    """All tensors of NVlabs' Discriminator; `widths` from the image's size to 4x4 pixels."""
    random, tensors = np.random.default_rng(seed), {}

    def layer(name, *shape, bias=True):
        tensors[f"{name}.weight"] = random.standard_normal(shape)
        tensors[f"{name}.resample_filter"] = FILTER
        if bias:
            tensors[f"{name}.bias"] = 0.3 * random.standard_normal(shape[0])

    sides = [4 << i for i in reversed(range(len(widths)))]
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        block = f"b{sides[i]}"
        tensors[f"{block}.resample_filter"] = FILTER
        if not i or form == "skip":
            layer(f"{block}.fromrgb", inputs, image_channels, 1, 1)
        layer(f"{block}.conv0", inputs, inputs, 3, 3)
        layer(f"{block}.conv1", outputs, inputs, 3, 3)
        if form == "resnet":
            layer(f"{block}.skip", outputs, inputs, 1, 1, bias=False)
    last = widths[-1]
    if form == "skip":
        layer("b4.fromrgb", last, image_channels, 1, 1)
    layer("b4.conv", last, last + 1, 3, 3)
    dense = {"b4.fc": (last, 16 * last), "b4.out": (last if classes else 1, last)}
    dense |= {"mapping.embed": (last, classes), "mapping.fc0": (last, last)} if classes else {}
    for name, shape in dense.items():
        tensors |= {
            f"{name}.weight": random.standard_normal(shape),
            f"{name}.bias": np.zeros(shape[0]),
        }
    return {name: np.asarray(array, np.float32) for name, array in tensors.items()}


def rosinality_tensors(widths, *, seed=0):
    """All tensors of rosinality's Discriminator."""
    random, tensors = np.random.default_rng(seed), {}

    def weight(name, *shape):
        tensors[f"{name}.weight"] = random.standard_normal(shape)

    def bias(name, size):
        tensors[f"{name}.bias"] = 0.3 * random.standard_normal(size)

    weight("convs.0.0", widths[0], 3, 1, 1)
    bias("convs.0.1", widths[0])
    for i, (inputs, outputs) in enumerate(pairwise(widths), 1):
        weight(f"convs.{i}.conv1.0", inputs, inputs, 3, 3)
        bias(f"convs.{i}.conv1.1", inputs)
        weight(f"convs.{i}.conv2.1", outputs, inputs, 3, 3)
        bias(f"convs.{i}.conv2.2", outputs)
        weight(f"convs.{i}.skip.1", outputs, inputs, 1, 1)
        tensors |= {f"convs.{i}.conv2.0.kernel": FILTER, f"convs.{i}.skip.0.kernel": FILTER}
    last = widths[-1]
    weight("final_conv.0", last, last + 1, 3, 3)
    bias("final_conv.1", last)
    for i, shape in enumerate(((last, 16 * last), (1, last))):
        weight(f"final_linear.{i}", *shape)
        bias(f"final_linear.{i}", shape[0])
    return {name: np.asarray(array, np.float32) for name, array in tensors.items()}


def nvlabs_activations(tensors, images, *, form="resnet", clamp=None):
    """Activations, NumPy [n, R, R, c] by name, of NumPy images [n, H, W, c]."""
    t, image = _tensors(tensors), _in(images)
    found, x, side = {}, None, images.shape[1]
    while True:
        block = f"b{side}"
        if f"{block}.fromrgb.weight" in t:
            y = _conv(image, t[f"{block}.fromrgb.weight"])
            y = _activated(y, t[f"{block}.fromrgb.bias"], clamp=None if side == 4 else clamp)
            x = y if x is None else x + y
            image = _blur(image, 1)[:, :, ::2, ::2]
        found[block] = x
        if side == 4:
            return _out(found)
        y = _activated(_conv(x, t[f"{block}.conv0.weight"]), t[f"{block}.conv0.bias"], clamp=clamp)
        y = _down_conv(y, t[f"{block}.conv1.weight"])
        if form == "resnet":
            half = math.sqrt(0.5)
            y = _activated(y, t[f"{block}.conv1.bias"], half, clamp)
            x = _down_conv(x, t[f"{block}.skip.weight"]) * half + y
        else:
            x = _activated(y, t[f"{block}.conv1.bias"], clamp=clamp)
        side //= 2


def rosinality_activations(tensors, images):
    """Activations, NumPy [n, R, R, c] by name, of NumPy images [n, H, W, 3]."""
    t = _tensors(tensors)
    x = _activated(_conv(_in(images), t["convs.0.0.weight"]), t["convs.0.1.bias"])
    found, i = {f"b{x.shape[-1]}": x}, 1
    while f"convs.{i}.conv1.0.weight" in t:
        y = _activated(_conv(x, t[f"convs.{i}.conv1.0.weight"]), t[f"convs.{i}.conv1.1.bias"])
        y = _activated(_down_conv(y, t[f"convs.{i}.conv2.1.weight"]), t[f"convs.{i}.conv2.2.bias"])
        x = (y + _down_conv(x, t[f"convs.{i}.skip.1.weight"])) / math.sqrt(2)
        found[f"b{x.shape[-1]}"] = x
        i += 1
    return _out(found)


def _blur(x, padding):
    import torch

    F, channels = torch.nn.functional, x.shape[1]
    kernel = torch.from_numpy(FILTER)[None, None].repeat(channels, 1, 1, 1)
    return F.conv2d(F.pad(x, [padding] * 4), kernel, groups=channels)


def _activated(x, bias, gain=1.0, clamp=None):
    import torch

    x = torch.nn.functional.leaky_relu(x + bias[:, None, None], 0.2) * (math.sqrt(2) * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def _conv(x, weight, **options):
    import torch

    options = options or {"padding": weight.shape[-1] // 2}
    return torch.nn.functional.conv2d(x, weight / math.sqrt(weight[0].numel()), **options)


def _down_conv(x, weight):
    """The filter between zeros, then the convolution at every second pixel; sizes are halved."""
    return _conv(_blur(x, 2 if weight.shape[-1] == 3 else 1), weight, stride=2)


def _tensors(tensors):
    import torch

    return {name: torch.from_numpy(array) for name, array in tensors.items()}


def _in(images):
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _out(found):
    return {name: x.permute(0, 2, 3, 1).numpy() for name, x in found.items()}
