"""StyleGAN2 in PyTorch as its users run it, from a state dict with NVlabs' names.

What jattr's is compared with.

Two forms of the modulated convolution: grouped (a kernel for every image, as most programs do) and
scaled (the activations are scaled before and after one shared convolution).
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

SQRT2 = math.sqrt(2.0)


class TorchStyleGAN2(torch.nn.Module):
    """`forward(z, label=None, psi=1)` and `synthesis(ws)`: images [n, C, H, W]."""

    def __init__(
        self, state: Mapping[str, np.ndarray], *, grouped: bool, clamp: float | None = None
    ):
        super().__init__()
        self.grouped, self.clamp = grouped, clamp
        self.names = {name: name.replace(".", "/") for name in state}
        for name, array in state.items():
            self.register_buffer(self.names[name], torch.tensor(np.asarray(array, np.float32)))
        self.sizes = sorted(
            int(name.split(".")[1][1:]) for name in state if name.endswith("conv1.weight")
        )
        self.num_ws = 2 * len(self.sizes)

    def get(self, name: str) -> torch.Tensor:
        """Return a tensor by its name in the state dict."""
        return getattr(self, self.names[name])

    def has(self, name: str) -> bool:
        """Return whether the state dict has it."""
        return name in self.names

    def dense(self, name: str, x: torch.Tensor, rate: float = 1.0) -> torch.Tensor:
        """Return an equalised dense layer."""
        weight = self.get(f"{name}.weight")
        return F.linear(
            x, weight * (rate / math.sqrt(weight.shape[1])), self.get(f"{name}.bias") * rate
        )

    def mapping(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """Return w [n, w_dim]."""
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        if label is not None:
            one_hot = F.one_hot(label, self.get("mapping.embed.weight").shape[1]).to(z)
            y = self.dense("mapping.embed", one_hot)
            x = torch.cat([x, y * (y.square().mean(1, keepdim=True) + 1e-8).rsqrt()], 1)
        number = 0
        while self.has(f"mapping.fc{number}.weight"):
            x = F.leaky_relu(self.dense(f"mapping.fc{number}", x, 0.01), 0.2) * SQRT2
            number += 1
        return x

    def forward(
        self, z: torch.Tensor, label: torch.Tensor | None = None, psi: float = 1.0
    ) -> torch.Tensor:
        """Return the images of latents z [n, z_dim]."""
        average = self.get("mapping.w_avg")
        w = average + psi * (self.mapping(z, label) - average)
        return self.synthesis(w[:, None].expand(-1, self.num_ws, -1))

    def synthesis(self, ws: torch.Tensor) -> torch.Tensor:
        """Return the images of styles ws [n, num_ws, w_dim]."""
        x = self.get("synthesis.b4.const")[None].expand(len(ws), -1, -1, -1)
        image, number = None, 0
        for size in self.sizes:
            block = f"synthesis.b{size}"
            skip = self.has(f"{block}.skip.weight")
            around = None
            if skip:
                weight = self.get(f"{block}.skip.weight")
                around = self.upsample(
                    F.conv2d(x, weight / math.sqrt(weight.shape[1]))
                ) * math.sqrt(0.5)
            if size > 4:
                x = self.layer(f"{block}.conv0", x, ws[:, number], up=True)
                number += 1
            x = self.layer(f"{block}.conv1", x, ws[:, number], gain=math.sqrt(0.5) if skip else 1.0)
            number += 1
            x = x if around is None else around + x
            image = None if image is None else self.upsample(image)
            if self.has(f"{block}.torgb.weight"):
                new = self.to_image(f"{block}.torgb", x, ws[:, number])
                image = new if image is None else image + new
        return image

    def layer(
        self, name: str, x: torch.Tensor, w: torch.Tensor, *, up: bool = False, gain: float = 1.0
    ) -> torch.Tensor:
        """Return a modulated convolution with noise, bias and leaky ReLU."""
        x = self.modulated(x, self.get(f"{name}.weight"), self.dense(f"{name}.affine", w), up=up)
        x = x + self.get(f"{name}.noise_const") * self.get(f"{name}.noise_strength")
        x = F.leaky_relu(x + self.get(f"{name}.bias")[:, None, None], 0.2) * (SQRT2 * gain)
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)

    def to_image(self, name: str, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return a modulated 1x1 convolution without demodulation."""
        weight = self.get(f"{name}.weight")
        style = self.dense(f"{name}.affine", w) / math.sqrt(weight.shape[1])
        x = (
            self.modulated(x, weight, style, demodulate=False)
            + self.get(f"{name}.bias")[:, None, None]
        )
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

    def modulated(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        style: torch.Tensor,
        *,
        demodulate: bool = True,
        up: bool = False,
    ) -> torch.Tensor:
        """Return x [n, I, H, W] convolved with weight [O, I, k, k] under styles [n, I]."""
        n, _, height, width = x.shape
        kernels = weight[None] * style[:, None, :, None, None]
        scale = (kernels.square().sum((2, 3, 4)) + 1e-8).rsqrt() if demodulate else None
        if not self.grouped:
            x = self.convolve(x * style[:, :, None, None], weight, up=up, groups=1)
            return x if scale is None else x * scale[:, :, None, None]
        kernels = kernels if scale is None else kernels * scale[:, :, None, None, None]
        x = self.convolve(x.reshape(1, -1, height, width), kernels.flatten(0, 1), up=up, groups=n)
        return x.reshape(n, -1, *x.shape[2:])

    def convolve(
        self, x: torch.Tensor, weight: torch.Tensor, *, up: bool, groups: int
    ) -> torch.Tensor:
        """Return a convolution, or a transposed one of stride 2 with the filter behind it."""
        if not up:
            return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
        outputs, inputs = weight.shape[0] // groups, weight.shape[1]
        kernel = (
            weight.reshape(groups, outputs, inputs, *weight.shape[2:]).transpose(1, 2).flatten(0, 1)
        )
        x = F.conv_transpose2d(x, kernel, stride=2, groups=groups)
        count = len(self.get("synthesis.b4.resample_filter"))
        return self.smooth(x, (count + 1) // 2 - 1, (count - 2) // 2)

    def smooth(self, x: torch.Tensor, before: int, after: int) -> torch.Tensor:
        """Return x filtered, channel by channel; the taps sum to 4."""
        taps = (self.get("synthesis.b4.resample_filter") * 4).flip(0, 1)
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, taps.expand(x.shape[1], 1, *taps.shape), groups=x.shape[1])

    def upsample(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with zeros between the pixels, filtered: twice as large."""
        n, channels, height, width = x.shape
        stuffed = x.new_zeros(n, channels, 2 * height, 2 * width)
        stuffed[:, :, ::2, ::2] = x
        count = len(self.get("synthesis.b4.resample_filter"))
        return self.smooth(stuffed, (count + 1) // 2, (count - 2) // 2)
