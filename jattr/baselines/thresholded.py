"""Thresholded inversion: the residual of a plain search, against those of the source's own images.

Wang, Chen, Zeng, Lyu, Ma, Where Did I Come From? Origin Attribution of AI-Generated Images (RONAN),
NeurIPS 2023, arXiv 2305.18439: search the input whose image is the given one by gradient steps,
divide the loss reached by the image's complexity, and test by Grubbs' test for an outlier among the
losses of images that the model is known to have made. Ours: complexity is the entropy of pairs
(grey value, mean of the 8 neighbours); a score is how far the statistic stays below its critical
value; a few of the known images are searched, not all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
import scipy.stats

from jattr.attribution.pilot import candidate_key
from jattr.baselines.base import Attributor, checked_images
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert

SEARCH_BLOCK = 32  # images searched together
SIMPLEST = 1e-3  # bits: an image of one value has no entropy
SEARCH = InvertConfig(
    optimiser="adam:0.1:constant",
    steps=1500,
    restarts=1,
    start="prior",
    pool=512,
    stall=0.0,
    polish_steps=0,
    interval_steps=0,
)


@dataclass(frozen=True, kw_only=True)
class ThresholdedConfig:
    """Settings of the search and the test."""

    search: InvertConfig = field(default_factory=lambda: SEARCH)
    known: int = 50  # own images of each source that are searched to learn the losses of such
    level: float = 0.05  # of Grubbs' test, one-sided

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if self.known < 3 or not 0 < self.level < 1:
            raise InputError(
                f"known {self.known}, level {self.level}: known is 3 or more, the level between 0"
                " and 1"
            )


def fit(
    generators: Sequence[Generator],
    images: Mapping[str, np.ndarray],
    key: jax.Array,
    *,
    config: ThresholdedConfig | None = None,
) -> Attributor:
    """Return thresholded inversion as an attributor.

    At a score of 0 and more the test does not reject the source.

    Args:
      generators: the sources.
      images: own images of each by its name, uint8 [n, H, W, C]; the first `known` of each are
        searched.
      key: of the starts.
      config: settings.

    Raises:
      InputError: images that are not the sources', or fewer than 3 of one.
      ImageError: images of another shape or type.
    """
    config = config or ThresholdedConfig()
    own = checked_images(generators, images, least=3)
    keys = jax.random.split(key)
    samples = [
        calibrated_losses(gen, part[: config.known], config.search, keys[0])
        for gen, part in zip(generators, own, strict=True)
    ]

    def score_fn(pixels: np.ndarray) -> np.ndarray:
        columns = []
        for gen, sample in zip(generators, samples, strict=True):
            losses = calibrated_losses(gen, pixels, config.search, keys[1])
            columns.append(grubbs_critical(len(sample), config.level) - grubbs(losses, sample))
        return np.stack(columns, 1)

    return Attributor(
        "thresholded", tuple(gen.name for gen in generators), generators[0].image_shape, score_fn
    )


def calibrated_losses(
    gen: Generator, pixels: np.ndarray, search: InvertConfig, key: jax.Array
) -> np.ndarray:
    """Return the loss [n] that a search of each image reaches under a generator, over the
    image's complexity.
    """
    key, losses = candidate_key(key, gen), []
    for number, at in enumerate(range(0, len(pixels), SEARCH_BLOCK)):
        result = invert(
            gen, pixels[at : at + SEARCH_BLOCK], search=search, key=jax.random.fold_in(key, number)
        )
        losses.append(np.asarray(result.loss, np.float64).min(1))
    return np.concatenate(losses) / complexity(pixels)


def complexity(pixels: np.ndarray) -> np.ndarray:
    """Return the two-dimensional entropy [n], bits, of images uint8 [n, H, W, C].

    That of the pairs (value of a pixel, mean of its 8 neighbours), both rounded, of grey images.
    """
    grey = np.floor(np.asarray(pixels, np.float64)[..., :3].mean(-1) + 0.5)
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = grey.shape[1:]
    shifts = [
        (down, across) for down in range(3) for across in range(3) if (down, across) != (1, 1)
    ]
    around = (
        sum(padded[:, down : down + height, across : across + width] for down, across in shifts)
        / 8.0
    )
    pairs = (256.0 * grey + np.floor(around + 0.5)).reshape(len(grey), -1)
    entropy = []
    for row in pairs:
        share = np.unique(row, return_counts=True)[1] / row.size
        entropy.append(-(share * np.log2(share)).sum())
    return np.maximum(entropy, SIMPLEST)


def grubbs(losses: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Return by how many standard deviations of a sample losses [n] exceed its mean."""
    # searches that end alike
    deviation = max(sample.std(ddof=1), 1e-6 * sample.mean(), np.finfo(np.float64).tiny)
    return np.asarray((np.nan_to_num(losses, nan=np.inf) - sample.mean()) / deviation)


def grubbs_critical(count: int, level: float) -> float:
    """Return the critical value of Grubbs' one-sided test for an outlier, for a sample of
    `count` values.
    """
    t = scipy.stats.t.isf(level / count, count - 2)
    return float((count - 1) / np.sqrt(count) * np.sqrt(t**2 / (count - 2 + t**2)))
