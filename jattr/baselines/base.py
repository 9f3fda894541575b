"""What every baseline gives: scores of images for each source, learnt from own images of the
sources.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator

BASELINE_BATCH = 256  # images that one compiled program takes


@dataclass(frozen=True, eq=False)
class Attributor:
    """A fitted baseline. Which source made an image: the largest score.

    Whether any did: how large that one is.
    """

    name: str  # a key of `registry.BASELINES`
    sources: tuple[str, ...]  # names of the generators, in the order of the scores
    image_shape: tuple[int, int, int]
    # uint8 [n, H, W, C] -> [n, sources]
    score_fn: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Return how likely each source made each image.

        float64 [n, sources], higher is more likely.

        Args:
          pixels: uint8 [n, H, W, C].

        Raises:
          ImageError: images of another shape or type.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != self.image_shape:
            raise ImageError(
                f"baseline {self.name!r} got images {pixels.dtype} {pixels.shape}; it was fitted"
                " to uint8"
                f" [n, {', '.join(map(str, self.image_shape))}]"
            )
        if not len(pixels):
            return np.zeros((0, len(self.sources)))
        return np.asarray(self.score_fn(pixels), np.float64)


FitFn: TypeAlias = Callable[..., Attributor]  # fit(generators, images, key, *, config=None)


class Baseline(NamedTuple):
    """A method to compare with."""

    fit: FitFn
    config: Callable[[], Any]  # its frozen dataclass of settings
    needs: str  # what of a generator it needs besides own images
    source: str  # the paper
    simplified: str  # where it differs from the paper


def checked_images(
    generators: Sequence[Generator],
    images: Mapping[str, np.ndarray],
    *,
    sources: int = 1,
    least: int = 2,
) -> list[np.ndarray]:
    """Return the own images uint8 [n, H, W, C] of each generator, in the generators' order.

    Args:
      generators: the sources.
      images: own images of each by its name.
      sources: how many sources the method needs.
      least: how many images of each it needs.

    Raises:
      InputError: too few or equally named generators, images of others, or too few of them.
      ImageError: images of another shape or type.
    """
    names = [gen.name for gen in generators]
    if len(names) < sources:
        raise InputError(f"there are {len(names)} sources; give at least {sources}")
    if len(set(names)) < len(names) or set(names) != set(images):
        raise InputError(
            f"there are images of {sorted(images)} and generators {sorted(names)}; give own images"
            " of each"
            " generator by its name, which no other has"
        )
    shape = generators[0].image_shape
    for gen in generators:
        own = np.asarray(images[gen.name])
        if (
            gen.image_shape != shape
            or own.dtype != np.uint8
            or own.ndim != 4
            or own.shape[1:] != shape
        ):
            raise ImageError(
                f"images of {gen.name!r}, which makes {gen.image_shape}, are {own.dtype}"
                f" {own.shape}; give uint8"
                f" [n, {', '.join(map(str, shape))}] of each, as {names[0]!r} makes them"
            )
        if len(own) < least:
            raise InputError(f"there are {len(own)} images of {gen.name!r}; give at least {least}")
    return [np.asarray(images[name]) for name in names]


def to_unit(pixels: jax.Array) -> jax.Array:
    """Return images of bytes as float32 in [-1, 1]."""
    return pixels.astype(jnp.float32) / 127.5 - 1.0


def in_batches(
    fn: Callable[[np.ndarray], Any], pixels: np.ndarray, batch: int = BASELINE_BATCH
) -> np.ndarray:
    """Return fn of images [n, ...], `batch` of them at once, so that it is compiled for one size
    only.
    """
    parts = []
    for at in range(0, len(pixels), batch):
        # the last one fills the batch up
        some = np.minimum(np.arange(at, at + batch), len(pixels) - 1)
        parts.append(np.asarray(fn(pixels[some])))
    return np.concatenate(parts)[: len(pixels)]
