"""diffusers' AutoencoderKL, as a PyTorch module of our own with its tensor names.

The independent half of the tests.

Written from the paper (arXiv 2112.10752) and the names of a state dict. NCHW.
"""

import torch
from torch import nn
from torch.nn import functional


class Resnet(nn.Module):
    def __init__(self, inputs, outputs, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        return y + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x):
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        y = functional.scaled_dot_product_attention(
            self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        )
        return x + self.to_out[0](y).transpose(1, 2).reshape(x.shape)


class Mid(nn.Module):
    def __init__(self, channels, groups, attention):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(channels, channels, groups) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels, groups)] if attention else [])

    def forward(self, x):
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class Resample(nn.Module):
    def __init__(self, channels, up):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else 0)

    def forward(self, x):
        return self.conv(
            functional.interpolate(x, scale_factor=2)
            if self.up
            else functional.pad(x, (0, 1, 0, 1))
        )


class Half(nn.Module):
    """Encoder or decoder."""

    def __init__(self, inputs, outputs, channels, layers, groups, attention, up):
        super().__init__()
        self.up = up
        self.conv_in = nn.Conv2d(inputs, channels[0], 3, padding=1)
        self.mid_block = Mid(channels[0] if up else channels[-1], groups, attention)
        blocks, before, name = [], channels[0], "upsamplers" if up else "downsamplers"
        for i, width in enumerate(channels):
            block = nn.Module()
            block.resnets = nn.ModuleList(
                [Resnet(width if j else before, width, groups) for j in range(layers)]
            )
            if i < len(channels) - 1:
                setattr(block, name, nn.ModuleList([Resample(width, up)]))
            blocks.append(block)
            before = width
        setattr(self, "up_blocks" if up else "down_blocks", nn.ModuleList(blocks))
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(channels[-1], outputs, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        x = self.mid_block(x) if self.up else x
        for block in self.up_blocks if self.up else self.down_blocks:
            for resnet in block.resnets:
                x = resnet(x)
            for resample in getattr(block, "upsamplers" if self.up else "downsamplers", []):
                x = resample(x)
        x = x if self.up else self.mid_block(x)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))


class Autoencoder(nn.Module):
    def __init__(self, arch):
        super().__init__()
        channels, groups, attention = (
            arch.block_out_channels,
            arch.norm_num_groups,
            arch.mid_block_add_attention,
        )
        latents, layers = arch.latent_channels, arch.layers_per_block
        if arch.has_encoder:
            self.encoder = Half(
                arch.image_channels, 2 * latents, channels, layers, groups, attention, up=False
            )
        self.decoder = Half(
            latents, arch.image_channels, channels[::-1], layers + 1, groups, attention, up=True
        )
        if arch.use_quant_conv:
            self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1)
        if arch.use_post_quant_conv:
            self.post_quant_conv = nn.Conv2d(latents, latents, 1)

    def encode(self, x):
        moments = self.encoder(x)
        return self.quant_conv(moments) if hasattr(self, "quant_conv") else moments

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z) if hasattr(self, "post_quant_conv") else z)


def make(arch):
    """(state dict of numpy arrays, decode, encode), of random weights.

    Both functions map numpy to numpy, NCHW.
    """
    torch.manual_seed(0)
    model = Autoencoder(arch).eval()
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1:  # PyTorch begins with normalisations that scale by 1 and shift by 0
            tensor += 0.3 * torch.randn(tensor.shape)
        assert tensor.isfinite().all(), name
    state = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    wrap = [torch.inference_mode()(function) for function in (model.decode, model.encode)]
    return state, *[
        lambda x, function=function: function(torch.tensor(x)).numpy() for function in wrap
    ]


def config_of(arch):
    """What config.json says of it."""
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "in_channels": arch.image_channels,
        "out_channels": arch.image_channels,
        "block_out_channels": list(arch.block_out_channels),
        "layers_per_block": arch.layers_per_block,
        "latent_channels": arch.latent_channels,
        "norm_num_groups": arch.norm_num_groups,
        "scaling_factor": arch.scaling_factor,
        "shift_factor": arch.shift_factor or None,
        "use_quant_conv": arch.use_quant_conv,
        "use_post_quant_conv": arch.use_post_quant_conv,
        "mid_block_add_attention": arch.mid_block_add_attention,
        "sample_size": list(arch.image_shape[:2]),
    }
