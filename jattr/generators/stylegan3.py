"""StyleGAN3 generators, configurations T and R.

Karras et al., Alias-Free Generative Adversarial Networks, arXiv 2106.12423: Fourier features that w
rotates and shifts (section 3.2, appendix F), leaky ReLUs between an upsampling and a downsampling
filter (section 3.1, appendix D). T has 3x3 convolutions and separable filters; R has 1x1
convolutions and, behind all but the last leaky ReLUs, radial ones.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.generators import ops
from jattr.generators.filters import Axis, resample
from jattr.generators.style_parts import (
    PIXEL_NORM_EPSILON,
    Dense,
    MappingNet,
    leaky,
    mapping_gains,
    normalise,
)

MAX_SIZE = 4096
LEAST_SQUARED_FREQUENCY = (
    1e-30  # below the square of any frequency that matters; the root of 0 has no derivative
)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that shapes and computation depend on."""

    # of the Fourier features, then behind each layer; the last are the image's
    channels: tuple[int, ...]
    sizes: tuple[int, ...]  # pixels along a side of the same, margin included
    rates: tuple[int, ...]  # sampling rates of the same, in pixels for an image's side
    z_dim: int
    w_dim: int
    mapping_layers: int
    num_classes: int = 0
    kernel_size: int = 3  # of the convolutions but the last, which is 1x1; T has 3, R has 1
    num_radial: int = 0  # first layers whose downsampling filter is radial, that is, not separable
    filter_size: int = 6  # taps of a filter for each step of its resampling factor
    # of the leaky ReLUs, against the higher rate of a layer's input and output
    oversampling: int = 2
    bandwidth: float = 2.0  # of the Fourier features, in periods for an image's side
    clamp: float | None = 256.0  # of activations (NVlabs: conv_clamp)
    output_scale: float = 0.25

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        if len(self.sizes) < 3 or not len(self.sizes) == len(self.channels) == len(self.rates):
            yield (
                "channels, sizes and rates must have equally many numbers: features, each layer (1"
                " or more), image"
            )
            return
        if (
            min(
                (
                    *self.channels,
                    *self.sizes,
                    *self.rates,
                    self.z_dim,
                    self.w_dim,
                    self.mapping_layers,
                )
            )
            < 1
        ):
            yield "channels, sizes, rates, z_dim, w_dim and mapping_layers must be 1 or more"
            return
        if max((*self.sizes, *self.rates)) > MAX_SIZE or self.sizes[-1] != self.sizes[-2]:
            yield f"sizes is {list(self.sizes)}; they must be up to {MAX_SIZE}, the last two equal"
        if (
            any(rate % before for before, rate in itertools.pairwise(self.rates))
            or self.rates[-1] != self.rates[-2]
        ):
            yield (
                f"rates is {list(self.rates)}; each must be a multiple of that before it, the last"
                " two equal"
            )
        if not 0 < self.bandwidth < self.rates[0] / 2:
            yield (
                f"bandwidth is {self.bandwidth}; it must be above 0 and below half the first rate"
                f" {self.rates[0]}"
            )
        if not 0 <= self.num_radial <= self.num_layers or self.num_classes < 0:
            yield (
                f"num_radial must be from 0 to {self.num_layers}, the number of layers, num_classes"
                " 0 or more"
            )
        if not (
            1 <= self.kernel_size <= 9
            and 1 <= self.filter_size <= 32
            and 2 <= self.oversampling <= 8
        ):
            yield (
                "kernel_size must be from 1 to 9, filter_size from 1 to 32, oversampling from 2 to"
                " 8"
            )
        if (self.clamp is not None and self.clamp <= 0) or self.output_scale == 0:
            yield (
                f"clamp is {self.clamp}, output_scale {self.output_scale}; clamp must be above 0,"
                " output_scale not 0"
            )

    @property
    def num_layers(self) -> int:
        """Number of layers between the Fourier features and the layer that makes the image."""
        return len(self.sizes) - 2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        return self.sizes[-1], self.sizes[-1], self.channels[-1]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return (self.z_dim,)

    @property
    def num_ws(self) -> int:
        """Number of styles: one for the Fourier features, one for each layer."""
        return len(self.sizes)

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """No noise in this family."""
        return ()


class FourierFeatures(nnx.Module):
    """The input of the synthesis network: waves over the image, rotated and shifted by w."""

    def __init__(self, arch: Architecture):
        channels = arch.channels[0]
        self.size, self.rate, self.bandwidth = arch.sizes[0], arch.rates[0], arch.bandwidth
        self.affine = Dense(arch.w_dim, 4)  # to r_c, r_s, t_x, t_y
        self.transform = nnx.Param(jnp.zeros((3, 3)))  # of homogeneous coordinates (x, y, 1)
        self.freqs = nnx.Param(jnp.zeros((channels, 2)))  # of (x, y)
        self.phases = nnx.Param(jnp.zeros(channels))  # in periods
        self.kernel = nnx.Param(jnp.zeros((channels, channels)))

    def __call__(self, w: jax.Array) -> jax.Array:
        """Return the features [n, size, size, channels] of w [n, w_dim]."""
        moved = self._moved_waves(w)
        freqs, phases = moved[:, :, :2], moved[:, :, 2] + self.phases[...]
        # Waves beyond the bandwidth fade out up to the rate's Nyquist frequency.
        radii = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(freqs), axis=-1), LEAST_SQUARED_FREQUENCY))
        amplitudes = jnp.clip(
            1.0 - (radii - self.bandwidth) / (self.rate / 2 - self.bandwidth), 0.0, 1.0
        )
        # Sample at the middles of pixels, the image's centre at 0.
        points = jnp.asarray((np.arange(self.size) + 0.5 - self.size / 2) / self.rate, w.dtype)
        along_x = points[None, None, :, None] * freqs[:, None, None, :, 0]
        along_y = points[None, :, None, None] * freqs[:, None, None, :, 1]
        waves = jnp.sin(2.0 * math.pi * (along_x + along_y + phases[:, None, None, :]))
        return (waves * amplitudes[:, None, None, :]) @ self.kernel[...]

    def _moved_waves(self, w: jax.Array) -> jax.Array:
        """Return frequencies (x, y) and shifts of the phases, [n, channels, 3], of w [n, w_dim].

        A point p of the image is looked up at R T U p: the rotation, the translation, the stored
        transform.
        """
        # The rotation (r_c, r_s) to length 1; the translation is divided by the same length.
        t = self.affine(w)
        c, s, x, y = jnp.unstack(
            t / jnp.sqrt(jnp.sum(jnp.square(t[:, :2]), axis=-1, keepdims=True)), axis=-1
        )
        # the upper of R T
        rows = jnp.stack([c, -s, s * y - c * x, s, c, -s * x - c * y], axis=-1).reshape(-1, 2, 3)
        return jnp.einsum(
            "ci,nij,jk->nck", self.freqs[...], rows, self.transform[...], precision="highest"
        )


class StyledLayer(nnx.Module):
    """A modulated convolution and a leaky ReLU between two filters."""

    def __init__(self, index: int, arch: Architecture):
        inputs, outputs = arch.channels[index : index + 2]
        kernel, down = arch.kernel_size, arch.oversampling
        up = down * arch.rates[index + 1] // arch.rates[index]
        up_taps, down_taps = arch.filter_size * up, arch.filter_size * down
        between = (arch.sizes[index + 1] - 1) * down + down_taps
        # Zeros to be added in all, then those in front: samples stand in the middle of their pixels
        # (appendix C.3).
        zeros = between + up_taps - 1 - (arch.sizes[index] + kernel - 1) * up
        self.up = Axis(between, up=up, before=(zeros + up) // 2)
        self.down = Axis(arch.sizes[index + 1], down=down)
        self.clamp = arch.clamp
        self.affine = Dense(arch.w_dim, inputs)
        self.kernel = nnx.Param(jnp.zeros((kernel, kernel, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        # mean square of the inputs in training; prepared: its -1/2 power
        self.magnitude_ema = nnx.Param(jnp.zeros(()))
        self.up_filter = nnx.Param(jnp.zeros(up_taps))
        self.down_filter = nnx.Param(
            jnp.zeros((down_taps,) * (2 if index < arch.num_radial else 1))
        )

    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Return the activations [n, H', W', outputs] of x [n, H, W, inputs], w [n, w_dim]."""
        # Demodulation, as in StyleGAN2 (arXiv 1912.04958, equation 3), of a style of mean square 1;
        # the division by the inputs' root mean square joins its factor.
        kernel = self.kernel[...]
        style = normalise(self.affine(w))
        squares = jnp.sum(jnp.square(kernel), axis=(0, 1))
        scale = self.magnitude_ema[...] * jax.lax.rsqrt(
            jnp.square(style) @ squares + PIXEL_NORM_EPSILON
        )
        x = ops.conv(x * style[:, None, None, :], kernel, padding=kernel.shape[0] - 1)
        x = x * scale[:, None, None, :] + self.bias[...]
        # The leaky ReLU acts at a higher rate, so that what it adds beyond the band can be filtered
        # away before the way down (section 3.2).
        x = leaky(resample(x, self.up_filter[...], self.up), clamp=self.clamp)
        return resample(x, self.down_filter[...], self.down)


class ToImage(nnx.Module):
    """A modulated 1x1 convolution to the image's channels, without demodulation."""

    def __init__(self, arch: Architecture):
        inputs, outputs = arch.channels[-2:]
        self.clamp = arch.clamp
        self.affine = Dense(arch.w_dim, inputs)
        self.kernel = nnx.Param(jnp.zeros((1, 1, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.magnitude_ema = nnx.Param(jnp.zeros(()))  # as in `StyledLayer`

    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Return the image [n, H, W, outputs] of x [n, H, W, inputs] and styles w [n, w_dim]."""
        style = self.affine(w) * self.magnitude_ema[...]
        x = ops.conv(x * style[:, None, None, :], self.kernel[...]) + self.bias[...]
        return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)


class Net(nnx.Module):
    """Mapping and synthesis network."""

    def __init__(self, arch: Architecture):
        self.output_scale = arch.output_scale
        self.mapper = MappingNet(arch.z_dim, (arch.w_dim,) * arch.mapping_layers, arch.num_classes)
        self.w_avg = nnx.Param(jnp.zeros(arch.w_dim))
        self.noise: Any = nnx.List([])
        self.features = FourierFeatures(arch)
        self.layers = nnx.List([StyledLayer(index, arch) for index in range(arch.num_layers)])
        self.to_image = ToImage(arch)

    def mapping(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Return w [n, w_dim], before truncation, of z [n, z_dim] and labels [n]."""
        return self.mapper(z, label)

    def synthesis(self, ws: jax.Array, noise: Sequence[jax.Array] = ()) -> jax.Array:
        """Return images [n, H, W, C] of styles ws [n, num_ws, w_dim]; the family has no noise."""
        x = self.features(ws[:, 0])
        for index, layer in enumerate(self.layers, 1):
            x = layer(x, ws[:, index])
        return self.to_image(x, ws[:, -1]) * self.output_scale


def prepare(arch: Architecture, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the stored tensors, by path, with their run-time factors multiplied in."""
    return {
        path: np.asarray(array * _gain(arch, path, array), array.dtype)
        for path, array in tensors.items()
    }


def _gain(arch: Architecture, path: str, array: np.ndarray) -> float | np.ndarray:
    """Return the factor of a stored tensor: a number, or an array that broadcasts."""
    if path.startswith("mapper/"):
        return mapping_gains(path.removeprefix("mapper/"), array.shape)
    if path.endswith("magnitude_ema"):
        return array.astype(np.float64) ** -1.5  # times itself: what scales inputs to mean square 1
    if path.endswith("up_filter"):
        return len(array) / arch.filter_size  # the inserted zeros take away as much
    if path == "features/kernel":
        return 1.0 / math.sqrt(array.shape[0])
    if path.startswith("layers/") and path.endswith("/kernel") and "affine" not in path:
        return 1.0 / np.sqrt(np.mean(np.square(array, dtype=np.float64), axis=(0, 1, 2)))
    gain = 1.0 / math.sqrt(arch.w_dim) if path.endswith("affine/kernel") else 1.0
    return gain / math.sqrt(arch.channels[-2]) if path.startswith("to_image/affine") else gain
