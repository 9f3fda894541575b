"""Estimates from images, each with its number of images and its standard error.

Sources: Wilson, Journal of the American Statistical Association 22 (1927), for the interval of a
share; Cameron, Miller, Journal of Human Resources 50 (2015), for standard errors of repeats that
share an image.

Repeats of a search of one image are not independent, so the unit is the image: an image counts with
the mean of its repeats, n is the number of images, and the interval is that of n images searched
once, which repeats only narrow.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # of a two-sided interval of 95 %


class Estimate(NamedTuple):
    """A number with what it rests on; None where nothing supports one, and then `note` says why."""

    n: int  # images
    value: float | None
    standard_error: float | None
    low: float | None  # 95 % interval
    high: float | None
    note: str = ""


def too_few(n: int, why: str) -> Estimate:
    """Return that there is no number."""
    return Estimate(n, None, None, None, None, why)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of n.

    >>> [round(end, 3) for end in wilson(1.0, 10)]
    [0.722, 1.0]
    """
    scale = 1.0 + Z * Z / n
    middle = (share + Z * Z / (2 * n)) / scale
    half = Z / scale * math.sqrt(share * (1.0 - share) / n + Z * Z / (4 * n * n))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def by_image(outcomes: Iterable[tuple[Hashable, float]]) -> dict[Hashable, list[float]]:
    """Return values by image, in the order in which images come."""
    result: dict[Hashable, list[float]] = {}
    for picture, value in outcomes:
        result.setdefault(picture, []).append(float(value))
    return result


def share(outcomes: Mapping[Hashable, Sequence[float]]) -> Estimate:
    """Return the share of images of which something holds, 0 or 1 for each repeat.

    >>> share({1: [1.0], 2: [1.0], 3: [0.0], 4: [1.0]})[:2]
    (4, 0.75)
    """
    means = np.array([sum(values) / len(values) for values in outcomes.values()])
    return share_of(means, repeated=max(map(len, outcomes.values()), default=1) > 1)


def share_of(means: np.ndarray, *, repeated: bool) -> Estimate:
    """Return a share from what each image contributes, in [0, 1].

    0 or 1 unless it was `repeated`.
    """
    n = len(means)
    if not n:
        return too_few(0, "no pictures")
    value = float(means.mean())
    error = math.sqrt(value * (1.0 - value) / n)
    if repeated:
        error = float(means.std(ddof=1) / math.sqrt(n)) if n > 1 else error
    return Estimate(n, value, error, *wilson(value, n))


def shares_above(
    ratios: Sequence[np.ndarray], thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares [t] of values that are at least each threshold, with standard errors that
    know of images.

    An image's values are not independent: with s of its m values above, and q the share of all, the
    variance is n / (n - 1) times the sum over n images of (s - q m)^2, over the square of all
    values (Cameron, Miller, 2015).

    Args:
      ratios: the values of each image, one or more each.
      thresholds: [t], ascending.

    >>> values = [np.array([1.0, 1.0]), np.array([0.0, 0.0])]
    >>> [part.tolist() for part in shares_above(values, np.array([0.0, 1.0]))]
    [[1.0, 0.5], [0.0, 0.5]]
    """
    n, sizes = len(ratios), np.array([len(some) for some in ratios])
    # each image's from the largest on
    values = np.concatenate([-np.sort(-some) for some in ratios])
    index = np.concatenate([np.arange(1, size + 1) for size in sizes])  # s once that value is above
    order = np.argsort(values, kind="stable")
    upto = np.searchsorted(values[order], thresholds, side="left")

    # sum over the values that are at least each threshold
    def above(steps: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.cumsum(steps[order][::-1])[::-1], [0]])
        return np.asarray(total[upto], np.float64)

    share = above(np.ones_like(index)) / len(values)
    squares = (
        above(2 * index - 1)
        - 2 * share * above(np.repeat(sizes, sizes))
        + share**2 * (sizes**2).sum()
    )
    return share, np.sqrt(np.maximum(squares, 0.0) * n / max(n - 1, 1)) / len(values)


def mean(values: Mapping[Hashable, Sequence[float]]) -> Estimate:
    """Return the mean over images, and the interval that its standard error gives.

    Two images at least.
    """
    n = len(values)
    if n < 2:
        return too_few(n, "too few: a mean with a standard error needs 2 pictures")
    means = np.array([np.mean(some) for some in values.values()])
    value, error = float(means.mean()), float(means.std(ddof=1) / math.sqrt(n))
    return Estimate(n, value, error, value - Z * error, value + Z * error)
