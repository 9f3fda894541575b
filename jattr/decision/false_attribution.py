"""False attribution: how rarely an image that a candidate did not make comes so close to it.

Sources: Holm, Scandinavian Journal of Statistics 6 (1979); Clopper, Pearson, Biometrika 26 (1934).

The p-value speaks of images that are drawn like the negatives, kind by kind. Of a kind that was not
measured it says nothing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import betaincinv

from jattr.decision.scores import as_fraction, check_no_nan, check_scores
from jattr.errors import InputError

MAX_TRIALS = 10**9


def negative_p(negatives: Any, score: Any) -> np.ndarray:
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
    negatives, score = (
        np.sort(check_scores(negatives, "negatives")),
        np.asarray(score, dtype=np.float64),
    )
    check_no_nan(score, "images")
    return (1 + np.searchsorted(negatives, score, side="right")) / (len(negatives) + 1)


def worst_kind(negatives: Mapping[str, Any], score: float) -> tuple[float, str]:
    """Return the largest `negative_p` over the kinds of negatives, and its kind; (1, "") without
    negatives.

    It holds for an image of any one of the kinds. The p-value of all kinds pooled would only hold
    for their mix: 180 photographs can hide that 10 of 20 images of a sibling model come closer.
    """
    values = [
        (float(negative_p(scores, score)), kind)
        for kind, scores in negatives.items()
        if len(scores)
    ]
    return max(values, key=lambda item: item[0], default=(1.0, ""))


def holm(p: Any) -> np.ndarray:
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
    """Return the one-sided upper Clopper-Pearson bound on a rate after `events` of `trials`; 1
    without trials.

    Raises:
      InputError: counts that are negative, more events than trials, or a level outside (0, 1).

    >>> round(upper_bound(0, 200), 4)
    0.0149
    """
    _check_counts(events, trials, level)
    return 1.0 if events == trials else float(betaincinv(events + 1, trials - events, level))


def lower_bound(events: int, trials: int, *, level: float = 0.95) -> float:
    """Return the one-sided lower Clopper-Pearson bound on a rate after `events` of `trials`; 0
    without trials.

    Raises:
      InputError: as `upper_bound`.
    """
    _check_counts(events, trials, level)
    return 0.0 if events == 0 else float(betaincinv(events, trials - events + 1, 1.0 - level))


def trials_needed(rate: float, *, events: int = 0, level: float = 0.95) -> int:
    """Return the least trials of which `events` may fail so that `upper_bound` is at most `rate`.

    Raises:
      InputError: a rate outside (0, 1), or one that needs more than a thousand million trials.

    >>> trials_needed(0.01), trials_needed(0.01, events=1)
    (299, 473)
    """
    if not 0 < rate < 1:
        raise InputError(f"the rate is {rate:g}; give a number between 0 and 1")
    low, high = events, events + 1  # `low` trials are too few: all of them were events
    while upper_bound(events, high, level=level) > rate:
        low, high = high, 2 * high
        if high > MAX_TRIALS:
            raise InputError(
                f"a rate of {rate:g} needs more than {MAX_TRIALS} trials; ask for a larger one"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if upper_bound(events, middle, level=level) <= rate else (middle, high)
        )
    return high


def _check_counts(events: int, trials: int, level: float) -> None:
    if not 0 <= events <= trials or not 0 < level < 1:
        raise InputError(
            f"got {events} events in {trials} trials at level {level:g}; give 0 <= events <="
            " trials and a level"
            " between 0 and 1"
        )
