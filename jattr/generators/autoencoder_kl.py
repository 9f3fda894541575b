"""The autoencoder of latent diffusion.

A decoder from latent maps to images, and the encoder to latent maps.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752
(sections 3.1, D.1, G), in the form of diffusers' `AutoencoderKL`. A diffusion model draws the
scaled latent scaling_factor (z - shift_factor); z itself is what the decoder takes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.errors import GeneratorError
from jattr.generators.autoencoder_kl_parts import (
    Block,
    Conv,
    Downsample,
    GroupNorm,
    MidBlock,
    Upsample,
)

MAX_SIDE = 4096  # pixels of an image's height and width
MAX_BLOCKS = 10
MAX_CHANNELS = 65536
MAX_LAYERS = 64  # residual blocks of one size
LOGVAR_RANGE = (-30.0, 20.0)  # what diffusers clamps the logarithm of the posterior's variance to


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that shapes and computation depend on; names as in diffusers' config.json."""

    block_out_channels: tuple[int, ...]  # from the images' size to the latents'
    layers_per_block: int  # residual blocks of one size in the encoder; the decoder has one more
    latent_channels: int
    latent_height: int
    latent_width: int
    image_channels: int = 3
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215  # 1 / standard deviation of z
    shift_factor: float = 0.0  # mean of z
    use_quant_conv: bool = True  # a 1x1 convolution behind the encoder
    use_post_quant_conv: bool = True  # a 1x1 convolution before the decoder
    mid_block_add_attention: bool = True
    has_encoder: bool = True

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        channels = self.block_out_channels
        if not 1 <= len(channels) <= MAX_BLOCKS:
            yield f"block_out_channels has {len(channels)} numbers; it must have 1 to {MAX_BLOCKS}"
        if not 1 <= self.norm_num_groups <= MAX_CHANNELS:
            yield f"norm_num_groups is {self.norm_num_groups}; it must be from 1 to {MAX_CHANNELS}"
        elif any(
            not 1 <= width <= MAX_CHANNELS or width % self.norm_num_groups for width in channels
        ):
            yield (
                f"block_out_channels is {list(channels)}; each must be a multiple of"
                f" norm_num_groups, {self.norm_num_groups}, from 1 to {MAX_CHANNELS}"
            )
        if not 1 <= self.layers_per_block <= MAX_LAYERS:
            yield f"layers_per_block is {self.layers_per_block}; it must be from 1 to {MAX_LAYERS}"
        for name in ("latent_channels", "image_channels"):
            if not 1 <= getattr(self, name) <= MAX_CHANNELS:
                yield f"{name} is {getattr(self, name)}; it must be from 1 to {MAX_CHANNELS}"
        most = MAX_SIDE // self.downsampling if len(channels) <= MAX_BLOCKS else MAX_SIDE
        for name in ("latent_height", "latent_width"):
            if not 1 <= getattr(self, name) <= most:
                yield (
                    f"{name} is {getattr(self, name)}; it must be from 1 to {most} (images of"
                    f" {MAX_SIDE} pixels)"
                )
        if not (math.isfinite(self.scaling_factor) and self.scaling_factor > 0):
            yield f"scaling_factor is {self.scaling_factor}; it must be above 0"
        if not math.isfinite(self.shift_factor):
            yield f"shift_factor is {self.shift_factor}; it must be a finite number"

    @property
    def downsampling(self) -> int:
        """Pixels of an image for each of its latent map, along one side."""
        return 1 << max(0, len(self.block_out_channels) - 1)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        return (
            self.latent_height * self.downsampling,
            self.latent_width * self.downsampling,
            self.image_channels,
        )

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one z."""
        return self.latent_height, self.latent_width, self.latent_channels

    @property
    def num_classes(self) -> int:
        """Number of labels: none."""
        return 0

    @property
    def latent_scale(self) -> float:
        """Standard deviation of z in the prior."""
        return 1.0 / self.scaling_factor

    @property
    def latent_shift(self) -> float:
        """Mean of z in the prior."""
        return self.shift_factor

    @property
    def encoder_widths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """(inputs, outputs) of each residual block in each of the encoder's blocks."""
        return _widths(self.block_out_channels, self.layers_per_block)

    @property
    def decoder_widths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """(inputs, outputs) of each residual block in each of the decoder's blocks."""
        return _widths(self.block_out_channels[::-1], self.layers_per_block + 1)


def with_image_size(arch: Architecture, height: int, width: int) -> Architecture:
    """Return the same network for images of `height` x `width` pixels.

    It is convolutional: its weights fit all sizes.

    Raises:
      GeneratorError: the size is no multiple of the downsampling factor, or out of range.
    """
    step = arch.downsampling
    if (
        height % step
        or width % step
        or not step <= height <= MAX_SIDE
        or not step <= width <= MAX_SIDE
    ):
        raise GeneratorError(
            f"images of {height} x {width} pixels do not fit this autoencoder; height and width"
            f" must be multiples of {step} from {step} to {MAX_SIDE}"
        )
    return replace(arch, latent_height=height // step, latent_width=width // step)


class Encoder(nnx.Module):
    """Images [n, H, W, C] to moments [n, h, w, 2 latent_channels]."""

    def __init__(self, arch: Architecture):
        channels, groups = arch.block_out_channels, arch.norm_num_groups
        self.conv_in = Conv(arch.image_channels, channels[0])
        resamplers = [*(Downsample(width, width) for width in channels[:-1]), None]
        self.blocks = nnx.List(
            [
                Block(widths, groups, down)
                for widths, down in zip(arch.encoder_widths, resamplers, strict=True)
            ]
        )
        self.mid_block = MidBlock(channels[-1], groups, attention=arch.mid_block_add_attention)
        self.conv_norm_out = GroupNorm(channels[-1], groups)
        self.conv_out = Conv(channels[-1], 2 * arch.latent_channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the moments of images x."""
        x = self.conv_in(x)
        for block in self.blocks:
            x = block(x)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nnx.Module):
    """Latent maps [n, h, w, latent_channels] to images [n, H, W, C]."""

    def __init__(self, arch: Architecture):
        channels, groups = arch.block_out_channels[::-1], arch.norm_num_groups
        self.conv_in = Conv(arch.latent_channels, channels[0])
        self.mid_block = MidBlock(channels[0], groups, attention=arch.mid_block_add_attention)
        resamplers = [*(Upsample(width, width) for width in channels[:-1]), None]
        self.blocks = nnx.List(
            [
                Block(widths, groups, up)
                for widths, up in zip(arch.decoder_widths, resamplers, strict=True)
            ]
        )
        self.conv_norm_out = GroupNorm(channels[-1], groups)
        self.conv_out = Conv(channels[-1], arch.image_channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the images of latent maps x."""
        x = self.mid_block(self.conv_in(x))
        for block in self.blocks:
            x = block(x)
        return self.conv_out(jax.nn.silu(self.conv_norm_out(x)))


class Net(nnx.Module):
    """The autoencoder; called, it decodes."""

    def __init__(self, arch: Architecture):
        latents = arch.latent_channels
        self.encoder = Encoder(arch) if arch.has_encoder else None
        self.quant_conv = Conv(2 * latents, 2 * latents, 1) if arch.use_quant_conv else None
        self.post_quant_conv = Conv(latents, latents, 1) if arch.use_post_quant_conv else None
        self.decoder = Decoder(arch)

    def __call__(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Return the images [n, H, W, C] of z [n, h, w, latent_channels], about [-1, 1].

        Not clipped.
        """
        return self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))

    def encode(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return mean and logarithm of the variance of z, each [n, h, w, latent_channels].

        `images` [n, H, W, C] are in [-1, 1], height and width multiples of
        `Architecture.downsampling`.
        """
        assert self.encoder is not None, (
            "these weights came without an encoder (Architecture.has_encoder)"
        )
        moments = self.encoder(images)
        moments = moments if self.quant_conv is None else self.quant_conv(moments)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return mean, jnp.clip(logvar, *LOGVAR_RANGE)


def prepare(arch: Architecture, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors that `Net` computes with, by path.

    The stored ones: this family has no run-time gains.
    """
    return dict(tensors)


def _widths(channels: tuple[int, ...], num_layers: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return (inputs, outputs) of `num_layers` residual blocks at each size.

    From the first of `channels` on.
    """
    return tuple(
        ((inputs, outputs), *((outputs, outputs),) * (num_layers - 1))
        for inputs, outputs in pairwise((channels[0], *channels))
    )
