"""Conformal p-values: how often a candidate's own images end as far away as the image observed.

Sources: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005), for the p-value;
Vovk, ACML 2012 (arXiv 1209.2673), and Angelopoulos, Bates, arXiv 2107.07511, section 3.2, for the
distribution of the coverage.

If the image is one that g made, and exchangeable with the n calibration images of g (same way of
making them, same alteration, same search), then P(p <= alpha) <= alpha for every n, whatever the
scores' distribution. Ties count against denial. Since at most one candidate made the image, no
correction over the candidates is needed.

The coverage law: with l = floor(alpha (n + 1)) and scores without ties, the chance that a test
image is denied, given the calibration set, is Beta(l, n + 1 - l); of m test images BetaBinomial(m,
l, n + 1 - l) are denied. Its mean is l / (n + 1) <= alpha. Several splits depend on each other in
three ways, and each has its interval (`denial_interval`):

* Random splits of one set, drawn independently: whether an image is denied depends on ranks alone,
  so given the set every split is a fresh draw of that law, and the law does not depend on the set.
  The splits are independent though they share all images, and their sum's law is the `splits`-fold
  convolution. For the same reason this checks the arithmetic (and shows ties), never the images:
  any set passes.
* New sets for every split, calibration and test, with new seeds: independent as well, the same
  interval, and this one can fail. One calibration set and one new test set is `splits=1`.
* Anything else, such as folds, or one calibration set and several test sets: `independent=False`.
  However the rates X_1 ... X_S depend, their mean is below X_1 in convex order, so its quantile at
  1 - t is at most the mean of X_1's upper tail of mass t (expected shortfall; Shaked, Shanthikumar,
  Stochastic Orders, 2007, section 3.A).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom

from jattr.decision.scores import as_fraction, check_no_nan, check_scores
from jattr.errors import InputError


def conformal_p(own: ArrayLike, score: ArrayLike) -> np.ndarray:
    """Return the p-value of "g made this image": (1 + #{own >= score}) / (n + 1).

    Args:
      own: [n], scores of images that g made; +inf where every restart failed.
      score: [...], of the images under g.

    Returns:
      [...], in [1 / (n + 1), 1]; small: g's own images rarely end so far away.

    Raises:
      InputError: no own score, NaN or -inf.

    >>> conformal_p([-5.0, -4.0, -3.0], [-4.5, -4.0, float("inf")]).tolist()
    [0.75, 0.75, 0.25]
    """
    own_scores = np.sort(check_scores(own, "own scores"))
    scores = np.asarray(score, dtype=np.float64)
    check_no_nan(scores, "images")
    # The own scores at or above the image's, and the image itself: its rank among n + 1.
    num_above = len(own_scores) - np.searchsorted(own_scores, scores, side="left")
    return np.asarray((1 + num_above) / (len(own_scores) + 1))


def least_own(alpha: float) -> int:
    """Return the least number of own images with which an image can be denied at alpha.

    ceil(1/alpha) - 1.

    Raises:
      InputError: alpha outside (0, 1).

    >>> [least_own(alpha) for alpha in (0.1, 0.05, 0.01)]
    [9, 19, 99]
    """
    return -int(-1 / as_fraction(alpha) // 1) - 1


def check_enough(count: int, alpha: float, what: str) -> None:
    """Raise an InputError that names the number needed if `count` own images are too few for
    alpha.
    """
    needed = least_own(alpha)
    if count < needed:
        least = f"; with {count} the least alpha is {1 / (count + 1):.3g}" if count else ""
        raise InputError(
            f"{what}: {count} own images cannot deny anything at alpha {alpha:g}; calibrate with"
            " at least"
            f" {needed} or ask for a larger alpha{least}"
        )


def denied_ranks(count: int, alpha: float) -> int:
    """Return floor(alpha (n + 1)): the image is denied where its score is above so many own scores'
    least one.

    >>> denied_ranks(99, 0.29)  # in floating point 0.29 * 100 < 29
    29
    """
    return int(as_fraction(alpha) * (count + 1) // 1)


def denial_interval(
    count: int,
    tests: int,
    alpha: float,
    *,
    splits: int = 1,
    level: float = 0.99,
    independent: bool = True,
) -> tuple[float, float]:
    """Return the interval in which the mean denial rate of a sound calibration lies with chance
    `level` or more.

    The law is at the top of this file, and which splits are independent. Ties only lower the rate:
    then only the upper end is a test.

    Args:
      count: n, own images that calibrate.
      tests: m, own images that are tested in each split.
      alpha: level of the denial, in (0, 1).
      splits: how many rates are averaged.
      level: chance of the interval, two-sided with equal tails.
      independent: whether the splits are.

    Returns:
      (low, high), rates in [0, 1].

    Raises:
      InputError: too few own images for alpha, or numbers out of range.
    """
    check_enough(count, alpha, "own scores")
    if min(tests, splits) < 1 or not 0 < level < 1:
        raise InputError(
            f"got {tests} tests, {splits} splits, level {level:g}; give 1 or more of both and a"
            " level between 0 and 1"
        )
    # The coverage law: BetaBinomial(m, l, n + 1 - l) of m test images are denied.
    ranks, tail = denied_ranks(count, alpha), (1 - level) / 2
    denied = np.arange(tests + 1)
    mass = betabinom.pmf(denied, tests, ranks, count + 1 - ranks)
    if splits > 1 and not independent:
        # Convex order: quantiles of the mean lie within the upper and lower tails' means.
        low_end = _tail_mean(denied / tests, mass, tail)
        return low_end, _tail_mean(denied[::-1] / tests, mass[::-1], tail)
    size = tests * splits + 1
    if splits > 1:
        # The sum of independent splits: the law's `splits`-fold convolution, by its spectrum.
        mass = np.fft.irfft(np.fft.rfft(mass, 2 * size) ** splits, 2 * size)[:size]
    distribution = np.cumsum(np.maximum(mass, 0.0))
    low, high = np.searchsorted(distribution, [tail, 1 - tail])
    return float(low / (size - 1)), float(min(high, size - 1) / (size - 1))


def _tail_mean(values: np.ndarray, mass: np.ndarray, tail: float) -> float:
    """Return the mean of the first values, of mass `tail`, the last of them counted in part.

    The expected shortfall of values [k] of mass [k], in order.
    """
    before = np.concatenate([[0.0], np.cumsum(mass)[:-1]])
    return float(np.clip(tail - before, 0.0, mass) @ values / tail)
