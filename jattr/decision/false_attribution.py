"""False attribution: how rarely an image that a candidate did not make comes so close to it.

Sources: Holm, Scandinavian Journal of Statistics 6 (1979); Clopper, Pearson, Biometrika 26 (1934).

The p-value speaks of images that are drawn like the negatives, kind by kind. Of a kind that was not
measured it says nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from jattr.decision.scores import as_fraction, check_no_nan, check_scores
from jattr.errors import InputError


def negative_p(negatives: ArrayLike, score: ArrayLike) -> np.ndarray:
    """Return the p-value of "g did not make this image": (1 + #{negative <= score}) / (m + 1).

    Args:
      negatives: [m], scores under g of images that g did not make.
      score: [...], of the images under g.

    Returns:
      [...], in [1 / (m + 1), 1]; small: images that g did not make rarely come so close.

    Raises:
      InputError: no negative, NaN or -inf.

    >>> negative_p([-2.0, -1.0, -0.5], [-3.0, -1.0]).tolist()
    [0.25, 0.75]
    """
    others = np.sort(check_scores(negatives, "negatives"))
    scores = np.asarray(score, dtype=np.float64)
    check_no_nan(scores, "images")
    # The negatives at or below the image's score, and the image itself: its rank among m + 1.
    num_below = np.searchsorted(others, scores, side="right")
    return np.asarray((1 + num_below) / (len(others) + 1))


def worst_kind(
    negatives: Mapping[str, Sequence[float] | np.ndarray], score: float
) -> tuple[float, str]:
    """Return the largest `negative_p` over the kinds of negatives, and its kind.

    (1, "") without negatives.

    It holds for an image of any one of the kinds. The p-value of all kinds pooled would only hold
    for their mix: 180 photographs can hide that 10 of 20 images of a sibling model come closer.
    """
    p_values = [
        (float(negative_p(scores, score)), kind)
        for kind, scores in negatives.items()
        if len(scores)
    ]
    return max(p_values, key=lambda item: item[0], default=(1.0, ""))


def holm(p: ArrayLike) -> np.ndarray:
    """Return Holm's adjusted p-values [k] of p-values [k].

    Those at most alpha are false with chance at most alpha together, however the candidates depend
    on each other.

    Raises:
      InputError: a value outside [0, 1].

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"got p-values {p.tolist()}; give a list of numbers from 0 to 1")
    # Step down: the j-th smallest of k times (k - j + 1), never below the one before, at most 1.
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def least_negatives(alpha: float, candidates: int = 1) -> int:
    """Return the least negatives of each kind with which one of so many candidates can be named at
    alpha.

    >>> [least_negatives(0.05, k) for k in (1, 3, 7)]
    [19, 59, 139]
    """
    if candidates < 1:
        raise InputError(f"there are {candidates} candidates; give at least one")
    return -int(-candidates / as_fraction(alpha) // 1) - 1


def upper_bound(events: int, trials: int, *, level: float = 0.95) -> float:
    """Return the one-sided upper Clopper-Pearson bound on a rate after `events` of `trials`.

    1 without trials.

    Raises:
      InputError: counts that are negative, more events than trials, or a level outside (0, 1).

    >>> round(upper_bound(0, 200), 4)
    0.0149
    """
    _check_counts(events, trials, level)
    # The rate at which P(at most so many events) = 1 - level: a quantile of Beta(e + 1, t - e).
    return 1.0 if events == trials else float(betaincinv(events + 1, trials - events, level))


def lower_bound(events: int, trials: int, *, level: float = 0.95) -> float:
    """Return the one-sided lower Clopper-Pearson bound on a rate after `events` of `trials`.

    0 without trials.

    Raises:
      InputError: as `upper_bound`.
    """
    _check_counts(events, trials, level)
    # The rate at which P(at least so many events) = 1 - level: a quantile of Beta(e, t - e + 1).
    return 0.0 if events == 0 else float(betaincinv(events, trials - events + 1, 1.0 - level))


def _check_counts(events: int, trials: int, level: float) -> None:
    if not 0 <= events <= trials or not 0 < level < 1:
        raise InputError(
            f"got {events} events in {trials} trials at level {level:g}; give 0 <= events <="
            " trials and a level"
            " between 0 and 1"
        )
