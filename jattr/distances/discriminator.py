"""StyleGAN2's discriminator up to its 4x4 block, whose activations are features.

Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958, section 4.1
(forms "resnet", "skip" and "orig"), as https://github.com/NVlabs/stylegan2-ada-pytorch,
training/networks.py, and https://github.com/rosinality/stylegan2-pytorch, model.py, compute it;
StyleGAN3 is trained with the same. What follows the activations of 4x4 pixels is left out: the
standard deviation over a minibatch is no function of one image, and labels come after it.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.errors import InputError, show
from jattr.generators import ops
from jattr.generators.filters import Axis, resample
from jattr.generators.style_parts import leaky, smooth

DISCRIMINATOR_FORMS = ("resnet", "skip", "orig")
BLUR_TAPS = (0.125, 0.375, 0.375, 0.125)  # of the filter before images and activations are halved
HALF = math.sqrt(0.5)  # gain of the two branches of a residual block
SIDES = (8, 1024)  # of images, pixels: smallest and largest
MAX_WIDTH = 8192  # feature maps
MAX_CLAMP = 1e5
VARIANTS = (
    "FORM CHANNELS-WIDTH-...-WIDTH, perhaps clamp NUMBER, such as resnet 3-64-128-256-512 clamp 256"
)
_VARIANT = re.compile(
    rf"({'|'.join(DISCRIMINATOR_FORMS)}) ([0-9]{{1,4}}(?:-[0-9]{{1,4}}){{2,9}})(?: clamp"
    rf" ([0-9.e+-]{{1,12}}))?"
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Everything that shapes and computation depend on; `str` writes what `parse` reads.

    Raises:
      InputError: a number is out of range.

    >>> variant = parse("resnet 3-16-32-64")
    >>> variant.side, variant.layers, str(variant)
    (16, ('b16', 'b8', 'b4'), 'resnet 3-16-32-64')
    """

    form: str  # of DISCRIMINATOR_FORMS
    image_channels: int
    widths: tuple[int, ...]  # feature maps at the image's size, half of it, ..., 4x4 pixels
    clamp: float | None = None  # of activations (NVlabs: conv_clamp)

    def __post_init__(self) -> None:
        """Check the numbers."""
        low, high = SIDES
        if self.form not in DISCRIMINATOR_FORMS:
            raise InputError(f"the form is {self.form!r}; legal: {', '.join(DISCRIMINATOR_FORMS)}")
        if not low <= self.side <= high:
            raise InputError(
                f"there are {len(self.widths)} widths; there must be 2 to"
                f" {int(math.log2(high)) - 1}: one for each size from the image's, {low} to {high}"
                " pixels, to 4"
            )
        if self.image_channels not in (1, 3, 4) or not all(
            1 <= width <= MAX_WIDTH for width in self.widths
        ):
            raise InputError(
                f"the channels are {self.image_channels} and the widths {list(self.widths)};"
                f" channels must be 1, 3 or 4, widths 1 to {MAX_WIDTH}"
            )
        if self.clamp is not None and not 0 < self.clamp <= MAX_CLAMP:
            raise InputError(f"clamp is {self.clamp}; it must be above 0, at most {MAX_CLAMP:g}")

    @property
    def side(self) -> int:
        """Height and width of an image, in pixels."""
        return 2 << len(self.widths)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the activations, by their height and width: b64, b32, ..., b4."""
        return tuple(f"b{self.side >> level}" for level in range(len(self.widths)))

    def __str__(self) -> str:
        """Return the text in a feature folder's card."""
        clamp = "" if self.clamp is None else f" clamp {self.clamp:g}"
        return f"{self.form} {'-'.join(map(str, (self.image_channels, *self.widths)))}{clamp}"


def parse(text: object) -> Variant:
    """Return the variant that a text describes.

    Raises:
      InputError: it describes none, or writes it in another way than `str` does: one network has
        one text.
    """
    match = _VARIANT.fullmatch(text) if isinstance(text, str) else None
    clamp = _number(match[3]) if match and match[3] else None
    if match is None or (match[3] and clamp is None):
        raise InputError(f"variant is {show(text)}; it must be {VARIANTS}")
    channels, *widths = map(int, match[2].split("-"))
    try:
        variant = Variant(form=match[1], image_channels=channels, widths=tuple(widths), clamp=clamp)
    except InputError as error:
        raise InputError(f"variant is {show(text)}: {error}") from None
    if str(variant) != text:
        raise InputError(f'variant is {show(text)}; it must be written "{variant}"')
    return variant


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class ScaledConv(nnx.Module):
    """A convolution with equalised learning rate, and with bias and leaky ReLU unless `linear`.

    `down` halves the size: the zero-padded image is filtered, then windows are two pixels apart.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, *, down: bool = False, linear: bool = False
    ):
        self.down, self.gain = down, 1.0 / math.sqrt(inputs * size * size)
        self.kernel = nnx.Param(jnp.zeros((size, size, inputs, outputs)))
        self.bias = None if linear else nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array, gain: float = 1.0, clamp: float | None = None) -> jax.Array:
        """Return `gain` times the activations [n, H', W', outputs] of x [n, H, W, inputs].

        H' is H, or H / 2 with `down`.
        """
        size = self.kernel.shape[0]
        kernel = self.kernel[...] * np.float32(
            self.gain if self.bias is not None else self.gain * gain
        )
        if not self.down:
            x = ops.conv(x, kernel, padding=size // 2)
        elif size == 1:
            x = ops.conv(halved(x), kernel)
        else:
            x = ops.conv(smooth(x, BLUR_TAPS, x.shape[1] + size - 2), kernel, stride=2)
        return x if self.bias is None else leaky(x + self.bias[...], gain, clamp)


class Block(nnx.Module):
    """Two convolutions, the second of which halves the size; "resnet" adds a linear branch."""

    def __init__(self, inputs: int, outputs: int, variant: Variant):
        self.clamp = variant.clamp
        self.conv0 = ScaledConv(inputs, inputs, 3)
        self.conv1 = ScaledConv(inputs, outputs, 3, down=True)
        residual = variant.form == "resnet"
        self.skip = ScaledConv(inputs, outputs, 1, down=True, linear=True) if residual else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations [n, H / 2, W / 2, outputs] of x [n, H, W, inputs]."""
        y = self.conv0(x, clamp=self.clamp)
        if self.skip is None:
            return self.conv1(y, clamp=self.clamp)
        return self.skip(x, HALF) + self.conv1(y, HALF, self.clamp)


class DiscriminatorNet(nnx.Module):
    """Images [n, side, side, channels] in [-1, 1] units to the activations of layers."""

    def __init__(self, variant: Variant):
        self.variant = variant
        widths = variant.widths
        num_inputs = len(widths) if variant.form == "skip" else 1
        self.from_image = nnx.List(
            [ScaledConv(variant.image_channels, width, 1) for width in widths[:num_inputs]]
        )
        self.blocks = nnx.List([Block(a, b, variant) for a, b in pairwise(widths)])

    def __call__(self, x: jax.Array, layers: tuple[str, ...]) -> tuple[jax.Array, ...]:
        """Return the activations [n, R, R, width] of `layers`, names in `Variant.layers`.

        bR is what the block of R pixels convolves; b4 what its minibatch standard deviation is
        taken of.
        """
        names = self.variant.layers
        image, activations = x, {names[0]: self.from_image[0](x, clamp=self.variant.clamp)}
        for level in range(1, max(map(names.index, layers)) + 1):
            x = self.blocks[level - 1](activations[names[level - 1]])
            if level < len(self.from_image):
                image = halved(image)
                # as NVlabs: none at 4x4 pixels
                clamp = self.variant.clamp if level < len(self.blocks) else None
                x = x + self.from_image[level](image, clamp=clamp)
            activations[names[level]] = x
        return tuple(activations[name] for name in layers)


def halved(x: jax.Array) -> jax.Array:
    """Return x [n, H, W, C] filtered between zeros, every second pixel: [n, H / 2, W / 2, C]."""
    return resample(x, jnp.asarray(BLUR_TAPS, x.dtype), Axis(x.shape[1] // 2, down=2, before=1))
