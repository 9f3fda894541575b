"""Double reconstruction: how much worse an autoencoder reproduces an image than it reproduces its
own reproduction.

Wang, Yang, Wang, Zhang, Chen, AEDR: Training-Free AI-Generated Image Attribution via Autoencoder
Double-Reconstruction, AAAI 2026, arXiv 2507.18988. With x1 = D(E(x)) and x2 = D(E(x1)) the signal
is (|x1 - x|^2 / |x2 - x1|^2) h, where h is the homogeneity of the grey image's co-occurrence
matrix; near or below the signals of own images means made by it. The threshold is the 95 % point of
a kernel density of the signals of own images. Ours: the encoder gives the mean of its posterior,
not a sample; both losses are at least what rounding to bytes leaves of an image; scores are
logarithms.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jattr.baselines.base import Attributor, checked_images, in_batches, to_unit
from jattr.errors import InputError
from jattr.generators.base import ApplyFn, Generator
from jattr.typing import PyTree

GREY_LEVELS = 32  # of grey in the co-occurrence matrix
# mean square of rounding to bytes, [-1, 1] units: no loss below it says anything
ROUNDING_FLOOR = (2.0 / 255.0) ** 2 / 12.0
DENSITY_POINTS = 10_000  # points at which the density is summed


@dataclass(frozen=True, kw_only=True)
class DoubleReconstructionConfig:
    """Settings of the threshold."""

    level: float = 0.05  # share of own images beyond the threshold
    batch: int = 8  # images encoded at once: activations of an autoencoder can be large

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if not 0 < self.level < 1 or self.batch < 1:
            raise InputError(
                f"level {self.level}, batch {self.batch}: between 0 and 1, and 1 or more"
            )


def fit(
    generators: Sequence[Generator],
    images: Mapping[str, np.ndarray],
    key: jax.Array,
    *,
    config: DoubleReconstructionConfig | None = None,
) -> Attributor:
    """Return double reconstruction as an attributor.

    Scores are log(threshold / signal), at 0 and more: made by it.

    Args:
      generators: the sources, autoencoders with their encoders.
      images: own images of each by its name, uint8 [n, H, W, C].
      key: not used: nothing is drawn.
      config: settings.

    Raises:
      InputError: a generator without encoder, images that are not the sources', or fewer than 3 of
        one.
      ImageError: images of another shape or type.
    """
    del key
    config = config or DoubleReconstructionConfig()
    without = [gen.name for gen in generators if gen.encoder is None]
    if without:
        raise InputError(
            f"generators {', '.join(map(repr, without))} have no encoder; double reconstruction is"
            " for autoencoders"
            " whose encoder was converted with them"
        )
    own = checked_images(generators, images, least=3)
    thresholds = [
        density_point(log_signals(gen, part, config.batch), 1.0 - config.level)
        for gen, part in zip(generators, own, strict=True)
    ]

    def score_fn(pixels: np.ndarray) -> np.ndarray:
        return np.array(thresholds) - np.stack(
            [log_signals(gen, pixels, config.batch) for gen in generators], 1
        )

    names = tuple(gen.name for gen in generators)
    return Attributor("double-reconstruction", names, generators[0].image_shape, score_fn)


def log_signals(gen: Generator, pixels: np.ndarray, batch: int) -> np.ndarray:
    """Return the logarithm of the signal [n] of images uint8 [n, H, W, C] under an autoencoder."""
    assert gen.encoder is not None, "checked before"
    fn = _make_losses(gen.apply, gen.encoder)
    losses = np.maximum(
        in_batches(lambda some: fn(gen.state, some), pixels, batch).astype(np.float64),
        ROUNDING_FLOOR,
    )
    return np.asarray(np.log(losses[:, 0]) - np.log(losses[:, 1]) + np.log(homogeneity(pixels)))


def homogeneity(pixels: np.ndarray) -> np.ndarray:
    """Return the homogeneity [n] of images uint8 [n, H, W, C], in (0, 1]: mean of 1 / (1 + d^2).

    d is the difference of a pixel's grey level, one of 32, and its right neighbour's: the
    co-occurrence matrix's sum of p(i, j) / (1 + (i - j)^2), summed pixel by pixel.
    """
    colours = np.asarray(pixels, np.float64)[..., :3]
    weights = (
        (0.299, 0.587, 0.114)
        if colours.shape[-1] == 3
        else np.full(colours.shape[-1], 1 / colours.shape[-1])
    )
    level = np.floor(np.floor(colours @ np.asarray(weights) + 0.5) * (GREY_LEVELS / 256.0))
    return np.asarray((1.0 / (1.0 + np.square(np.diff(level, axis=2)))).mean((1, 2)))


def density_point(values: np.ndarray, share: float) -> float:
    """Return the value that a share of the Gaussian kernel density of `values` [n] lies below."""
    deviation = values.std(ddof=1)
    if deviation <= 1e-9 * max(1.0, abs(values.mean())):
        return float(values.max())
    grid = np.linspace(values.min() - 3 * deviation, values.max() + 3 * deviation, DENSITY_POINTS)
    mass = np.cumsum(scipy.stats.gaussian_kde(values)(grid))
    return float(np.interp(share, mass / mass[-1], grid))


@functools.lru_cache(maxsize=16)
def _make_losses(apply: ApplyFn, encode: ApplyFn) -> Callable[[PyTree, Any], jax.Array]:
    def losses_of(state: PyTree, pixels: jax.Array) -> jax.Array:
        x = to_unit(pixels)
        first = apply(state, encode(state, x))
        second = apply(state, encode(state, first))
        pairs = (first - x, second - first)
        return jnp.stack([jnp.mean(jnp.square(pair), axis=(1, 2, 3)) for pair in pairs], -1)

    return jax.jit(losses_of)
