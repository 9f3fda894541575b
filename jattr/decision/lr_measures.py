"""Measures of likelihood ratios and of probabilities, on images that did not calibrate them.

Sources: Brümmer, du Preez, Computer Speech and Language 20 (2006), for Cllr and its minimum by pool
adjacent violators; Tippett curves after Tippett et al., Journal of the Forensic Science Society 8
(1968); Naeini, Cooper, Hauskrecht, AAAI 2015, for the expected calibration error. All ratios are
log10; pure functions of arrays.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jattr.decision.false_attribution import lower_bound, upper_bound
from jattr.decision.likelihood import pav
from jattr.errors import InputError

LOG2_10 = float(np.log2(10.0))


class Tippett(NamedTuple):
    """How often ratios exceed a threshold."""

    log10_lr: np.ndarray  # [t], the thresholds: every ratio that occurs, ascending
    own: np.ndarray  # [t], share of own images whose ratio is at least the threshold
    negatives: np.ndarray  # [t], share of others whose ratio is


@dataclass(frozen=True)
class Reliability:
    """How often images were made by the candidate, by the probability that was stated.

    Empty bins are left out.
    """

    edges: np.ndarray  # [b, 2], the bin's ends: [low, high), the last one closed
    count: np.ndarray  # [b], images
    stated: np.ndarray  # [b], mean of the stated probabilities
    made: np.ndarray  # [b], share that the candidate made
    low: np.ndarray  # [b], Clopper-Pearson interval of that share
    high: np.ndarray  # [b]

    @property
    def error(self) -> float:
        """The expected calibration error: mean of |stated - made| over images, in [0, 1].

        Chance alone makes it positive: with few images, compare it with another of as many images
        and bins.
        """
        return float(np.average(np.abs(self.stated - self.made), weights=self.count))


def cllr(own: ArrayLike, negatives: ArrayLike) -> float:
    """Return the log-likelihood-ratio cost in bits.

    0 perfect, 1 as good as no ratio at all, more is misleading.

    Args:
      own: [n], log10 LR of images that g made; -inf costs infinitely much.
      negatives: [m], log10 LR under g of images that g did not make.

    Raises:
      InputError: an empty side or NaN.

    >>> cllr([0.0], [0.0])
    1.0
    """
    own, negatives = _sides(own, negatives)
    # mean log2(1 + 1 / LR) of own images and mean log2(1 + LR) of others, halved
    own_cost = np.mean(np.logaddexp2(0.0, -LOG2_10 * own))
    return float(own_cost + np.mean(np.logaddexp2(0.0, LOG2_10 * negatives))) / 2.0


def cllr_min(own: ArrayLike, negatives: ArrayLike) -> float:
    """Return the cost that is left after the best monotone recalibration.

    What separation is missing, in bits.

    `cllr - cllr_min` is the cost of bad calibration. It is fitted to the very images that it is
    measured on.

    Raises:
      InputError: as `cllr`.
    """
    own, negatives = _sides(own, negatives)
    is_own = np.repeat([1.0, 0.0], [len(own), len(negatives)])
    best = pav(-np.concatenate([own, negatives]), is_own)
    return cllr(best[: len(own)], best[len(own) :])


def tippett(own: ArrayLike, negatives: ArrayLike) -> Tippett:
    """Return the Tippett curves of two sets of log10 ratios.

    Raises:
      InputError: as `cllr`.
    """
    own, negatives = (np.sort(side) for side in _sides(own, negatives))
    thresholds = np.unique(np.concatenate([own, negatives]))
    shares = [
        1.0 - np.searchsorted(side, thresholds, side="left") / len(side)
        for side in (own, negatives)
    ]
    return Tippett(thresholds, *shares)


def reliability(
    stated: ArrayLike, made: ArrayLike, *, bins: int = 10, level: float = 0.95
) -> Reliability:
    """Return the reliability curve of stated probabilities.

    Args:
      stated: [n], probability that the candidate made the image, in [0, 1].
      made: [n], whether it did.
      bins: of equal width.
      level: of the two-sided Clopper-Pearson interval of each bin.

    Raises:
      InputError: no image, different lengths, NaN or a probability outside [0, 1].
    """
    stated, made = _probabilities(stated, made)
    bin_index = np.minimum((stated * bins).astype(int), bins - 1)
    count = np.bincount(bin_index, minlength=bins)
    hits = np.bincount(bin_index, made, minlength=bins)
    used = np.flatnonzero(count)
    one_sided = (1.0 + level) / 2.0
    pairs = [(int(hits[b]), int(count[b])) for b in used]
    return Reliability(
        edges=np.stack([used / bins, (used + 1) / bins], axis=1),
        count=count[used],
        stated=np.bincount(bin_index, stated, minlength=bins)[used] / count[used],
        made=hits[used] / count[used],
        low=np.array([lower_bound(*pair, level=one_sided) for pair in pairs]),
        high=np.array([upper_bound(*pair, level=one_sided) for pair in pairs]),
    )


def most_probable(chances: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability [n] of each image's most probable answer, and whether it is true [n].

    The calibration error of these is one number an image. That of all answers is diluted by
    candidates that nobody would name: k - 1 of k are stated near 0, and right.

    Args:
      chances: [n, k], probability of each answer; "none" is one of them.
      truth: [n], number of the true answer.

    >>> most_probable([[0.25, 0.75], [0.875, 0.125]], [1, 1])
    (array([0.75 , 0.875]), array([ True, False]))
    """
    chances = np.asarray(chances, dtype=np.float64)
    return chances.max(axis=1), chances.argmax(axis=1) == np.asarray(truth)


def calibration_error_interval(
    stated: ArrayLike,
    made: ArrayLike,
    rng: np.random.Generator,
    *,
    bins: int = 10,
    draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the expected calibration error
    (`Reliability.error`).

    Resampling adds chance to chance, so the interval lies too high rather than too low for a well
    calibrated candidate.

    Args:
      stated: as `reliability`; or [n, k], k probabilities of each image, which are drawn together.
      made: in the shape of `stated`, as `reliability`.
      bins: as `reliability`.
      rng: of the resampled images.
      draws: how many sets of images are drawn.
      level: of the two-sided interval.

    Raises:
      InputError: as `reliability`.
    """
    count = len(np.atleast_1d(stated))
    stated, made = _probabilities(
        *(np.ravel(side) if np.ndim(side) == 2 else side for side in (stated, made))
    )
    each = len(stated) // count  # probabilities of an image
    cell = np.minimum((stated * bins).astype(int), bins - 1) + bins * np.repeat(
        np.arange(count), each
    )
    # by image
    excess = np.bincount(cell, stated - made, minlength=bins * count).reshape(count, bins)
    drawn = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
    times = np.bincount(drawn.ravel(), minlength=count * draws).reshape(draws, count)
    # a bin's share of the error is |sum of excesses| / n
    errors = np.abs(times @ excess).sum(axis=1) / len(stated)
    low, high = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _sides(own: ArrayLike, negatives: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    own, negatives = np.asarray(own, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    for values, what in ((own, "own"), (negatives, "negative")):
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise InputError(
                f"{what} log10 ratios: got shape {values.shape}, or NaN; give one or more numbers"
            )
    return own, negatives


def _probabilities(stated: ArrayLike, made: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    stated, made = np.asarray(stated, dtype=np.float64), np.asarray(made, dtype=np.float64)
    if (
        stated.ndim != 1
        or not len(stated)
        or stated.shape != made.shape
        or not np.isin(made, (0, 1)).all()
    ):
        raise InputError(
            f"got {stated.shape} probabilities and {made.shape} outcomes; give one or more, as"
            " many, outcomes 0 or 1"
        )
    if not ((stated >= 0) & (stated <= 1)).all():
        raise InputError("a stated probability is NaN or outside [0, 1]; give numbers from 0 to 1")
    return stated, made
