"""StyleGAN2's discriminator in PyTorch, whole, with the parameter names of two programs: written from the paper.

The filter is a convolution by groups and every step is done by itself: nothing here is as the code that it tests.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

FILTER = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def blur(x, kernel, padding):
    channels = x.shape[1]
    return F.conv2d(F.pad(x, [padding] * 4), kernel.flip(0, 1)[None, None].repeat(channels, 1, 1, 1), groups=channels)


def activated(x, bias, gain=1.0, clamp=None):
    x = F.leaky_relu(x + bias[:, None, None], 0.2) * (math.sqrt(2) * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def down_conv(x, weight, kernel):
    """The filter between zeros, then the convolution at every second pixel; sizes are halved."""
    side = weight.shape[-1]
    return F.conv2d(blur(x, kernel, 2 if side == 3 else 1), weight / math.sqrt(weight[0].numel()), stride=2)


def conv(x, weight):
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), padding=weight.shape[-1] // 2)


class Layer(nn.Module):
    """NVlabs' Conv2dLayer."""

    def __init__(self, inputs, outputs, size, *, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(0.3 * torch.randn(outputs)) if bias else None
        self.register_buffer("resample_filter", FILTER.clone())


class Dense(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(outputs, inputs)), nn.Parameter(torch.randn(outputs))


class NvlabsBlock(nn.Module):
    def __init__(self, inputs, outputs, image_channels, form, *, first):
        super().__init__()
        self.register_buffer("resample_filter", FILTER.clone())
        if first or form == "skip":
            self.fromrgb = Layer(image_channels, inputs, 1)
        self.conv0, self.conv1 = Layer(inputs, inputs, 3), Layer(inputs, outputs, 3)
        if form == "resnet":
            self.skip = Layer(inputs, outputs, 1, bias=False)


class NvlabsEpilogue(nn.Module):
    def __init__(self, width, image_channels, form, classes):
        super().__init__()
        if form == "skip":
            self.fromrgb = Layer(image_channels, width, 1)
        self.conv = Layer(width + 1, width, 3)
        self.fc, self.out = Dense(16 * width, width), Dense(width, width if classes else 1)


class Nvlabs(nn.Module):
    """NVlabs' Discriminator; `widths` from the picture's size to 4x4 pixels."""

    def __init__(self, widths, *, image_channels=3, form="resnet", clamp=None, classes=0):
        super().__init__()
        self.form, self.clamp, self.sides = form, clamp, [4 << i for i in reversed(range(len(widths)))]
        for i, side in enumerate(self.sides[:-1]):
            self.add_module(f"b{side}", NvlabsBlock(widths[i], widths[i + 1], image_channels, form, first=not i))
        if classes:
            self.mapping = nn.ModuleDict({"embed": Dense(classes, widths[-1]), "fc0": Dense(widths[-1], widths[-1])})
        self.b4 = NvlabsEpilogue(widths[-1], image_channels, form, classes)

    def activations(self, picture):
        """Activations [n, c, R, R] by name, of pictures [n, c, H, W]."""
        found, x, clamp = {}, None, self.clamp
        for side in self.sides:
            block = self.get_submodule(f"b{side}")
            if hasattr(block, "fromrgb"):
                y = conv(picture, block.fromrgb.weight)
                y = activated(y, block.fromrgb.bias, clamp=None if side == 4 else clamp)
                x = y if x is None else x + y
                picture = blur(picture, FILTER, 1)[:, :, ::2, ::2]
            found[f"b{side}"] = x
            if side == 4:
                return found
            y = activated(conv(x, block.conv0.weight), block.conv0.bias, clamp=clamp)
            y = down_conv(y, block.conv1.weight, block.conv1.resample_filter)
            if self.form == "resnet":
                half = math.sqrt(0.5)
                beside = down_conv(x, block.skip.weight, block.skip.resample_filter)
                x = beside * half + activated(y, block.conv1.bias, half, clamp)
            else:
                x = activated(y, block.conv1.bias, clamp=clamp)


class Blur(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", FILTER.clone())


class Weight(nn.Module):
    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))


class Bias(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.bias = nn.Parameter(0.3 * torch.randn(outputs))


class RosinalityBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Sequential(Weight(inputs, inputs, 3), Bias(inputs))
        self.conv2 = nn.Sequential(Blur(), Weight(inputs, outputs, 3), Bias(outputs))
        self.skip = nn.Sequential(Blur(), Weight(inputs, outputs, 1))


class Rosinality(nn.Module):
    """rosinality's Discriminator."""

    def __init__(self, widths):
        super().__init__()
        last = widths[-1]
        blocks = [RosinalityBlock(a, b) for a, b in pairwise(widths)]
        self.convs = nn.Sequential(nn.Sequential(Weight(3, widths[0], 1), Bias(widths[0])), *blocks)
        self.final_conv = nn.Sequential(Weight(last + 1, last, 3), Bias(last))
        self.final_linear = nn.Sequential(Dense(16 * last, last), Dense(last, 1))

    def activations(self, picture):
        """Activations [n, c, R, R] by name, of pictures [n, c, H, W]."""
        first, *blocks = self.convs
        x = activated(conv(picture, first[0].weight), first[1].bias)
        found = {f"b{x.shape[-1]}": x}
        for block in blocks:
            y = activated(conv(x, block.conv1[0].weight), block.conv1[1].bias)
            y = activated(down_conv(y, block.conv2[1].weight, block.conv2[0].kernel), block.conv2[2].bias)
            x = (y + down_conv(x, block.skip[1].weight, block.skip[0].kernel)) / math.sqrt(2)
            found[f"b{x.shape[-1]}"] = x
        return found
