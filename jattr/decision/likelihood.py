"""Likelihood ratios: how much more a score is what g's own images give than what other images give.

Sources: Zadrozny, Elkan, KDD 2002, and Brümmer, du Preez, arXiv 1304.2331, for calibration by pool
adjacent violators (PAV); Vergeer et al., Science and Justice 56 (2016) 482-491, for the empirical
bounds (ELUB); ENFSI Guideline for Evaluative Reporting in Forensic Science (2015), table 2, for the
words.

Each candidate's scores are turned into its own likelihood ratio before candidates are compared, so
a generator that reproduces everything a little better than the others gains nothing by it. All
ratios are log10.

Why PAV: it is monotone and depends on ranks alone, so neither the spike of own scores at the
rounding floor nor the tail of missed searches has to fit a curve.
`tests/decision/test_likelihood.py` holds its cost on new scores, learnt from 50 and 200 images a
side, against that of the true ratio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.special import logsumexp

from jattr.decision.scores import check_no_nan, check_scores
from jattr.errors import InputError

LOG_10 = float(np.log(10.0))
ELUB_STEP = 0.01  # log10, the accuracy of the empirical bounds
LR_WORDS = (  # the ratio is below -> ENFSI's words
    (2, "no support"),
    (10, "weak support"),
    (100, "moderate support"),
    (1_000, "moderately strong support"),
    (10_000, "strong support"),
    (1_000_000, "very strong support"),
    (np.inf, "extremely strong support"),
)


@dataclass(frozen=True)
class Likelihood:
    """A candidate's calibrated likelihood ratio as a function of the score."""

    scores: np.ndarray  # [s], ascending, no two alike; the last may be +inf
    log10_lr: np.ndarray  # [s], at these scores, not rising, within the bounds
    low: float  # log10, at most 0: the least that samples of this size can show
    high: float  # log10, at least 0: the most

    def __call__(self, score: ArrayLike) -> np.ndarray:
        """Return log10 of the likelihood ratio of scores [...].

        Linear in between, constant beyond the ends.

        Raises:
          InputError: NaN or -inf.
        """
        values = np.asarray(score, dtype=np.float64)
        check_no_nan(values, "images")
        finite = np.isfinite(self.scores)
        # A score of +inf has the last ratio; where no score is finite, so has every one.
        at_end = np.isposinf(values) | (not finite.any())
        if finite.any():
            scores, log10_lr = self.scores[finite], self.log10_lr[finite]
        else:
            scores, log10_lr = self.scores[:1], self.log10_lr[:1]
        inner = np.interp(np.where(at_end, 0.0, values), scores, log10_lr)
        return np.where(at_end, self.log10_lr[-1], inner)


def fit_likelihood(
    own: ArrayLike, negatives: ArrayLike, weights: ArrayLike | None = None
) -> Likelihood:
    """Return the likelihood ratio, learnt from two sets of scores.

    PAV fits the ratios and `elub` bounds them, so that perfectly separated scores give at most m +
    1 and at least 1 / (n + 1). The alternative that the ratio speaks of is "an image drawn like
    these negatives", in the mix given.

    Args:
      own: [n], scores of images that g made; +inf where every restart failed.
      negatives: [m], scores under g of images that g did not make.
      weights: [m], of the negatives in the mix, above 0; None: all alike.

    Raises:
      InputError: an empty side, NaN or -inf.

    >>> fit = fit_likelihood([-5.0, -4.0, -4.5], [-1.0, -2.0, -1.5])
    >>> [round(10 ** float(fit(score)), 2) for score in (-6.0, -4.0, -2.0)]
    [2.95, 2.95, 0.34]
    """
    own, negatives = check_scores(own, "own scores"), check_scores(negatives, "negatives")
    weights = np.ones(len(negatives)) if weights is None else np.asarray(weights, dtype=np.float64)
    # 1. The ratio at every score, by pool adjacent violators.
    scores = np.concatenate([own, negatives])
    is_own = np.repeat([1.0, 0.0], [len(own), len(negatives)])
    llr = pav(scores, is_own, np.concatenate([np.ones(len(own)), weights]))
    # 2. What samples of this size bear out.
    low, high = elub(llr[: len(own)], llr[len(own) :], weights)
    # 3. One value for each score that occurs.
    distinct, index = np.unique(scores, return_inverse=True)
    values = np.empty(len(distinct))
    values[index] = np.clip(llr, low, high)
    return Likelihood(scores=distinct, log10_lr=values, low=low, high=high)


def fit_evenly(own: ArrayLike, negatives: Mapping[str, Sequence[float] | np.ndarray]) -> Likelihood:
    """Return the likelihood ratio against a mix of the kinds of negatives in which each has the
    same share.

    So more images of an easy kind sharpen what is known of that kind, and do not hide a hard one.

    Raises:
      InputError: as `fit_likelihood`.
    """
    weights = [
        np.full(len(scores), 1.0 / len(scores)) for scores in negatives.values() if len(scores)
    ]
    return fit_likelihood(own, joined(negatives), np.concatenate([np.zeros(0), *weights]))


def pav(scores: ArrayLike, is_own: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """Return log10 likelihood ratios [n] by pool adjacent violators, not rising with the score.

    They are ±inf where the sides are separated.

    Args:
      scores: [n]; tied ones get one ratio.
      is_own: [n], 1 for g's own and 0 for others; both occur, and both sides weigh the same in all.
      weights: [n], within each side, above 0; None: all alike.
    """
    is_own = np.asarray(is_own, dtype=np.float64)
    weights = np.ones(len(is_own)) if weights is None else np.asarray(weights, dtype=np.float64)
    own_side, other_side = weights * is_own, weights * (1.0 - is_own)
    # Each side weighs 1 in all, so that the fitted probability p gives the ratio p / (1 - p).
    weight = own_side / own_side.sum() + other_side / other_side.sum()
    # Ties are pooled first; then blocks of one fitted value are PAV's.
    _, index = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    total = np.bincount(index, weight)
    fit = isotonic_regression(
        np.bincount(index, weight * is_own) / total, weights=total, increasing=False
    )
    starts = fit.blocks[:-1]
    block = np.repeat(np.arange(len(starts)), np.diff(fit.blocks))
    # The ratio of each block from sums of its weights, not from p: of numbers that are 0 or more,
    # so that 0 is exactly 0.
    own = np.add.reduceat(np.bincount(index, own_side), starts)
    others = np.add.reduceat(np.bincount(index, other_side), starts)
    with np.errstate(divide="ignore"):
        llr = np.log10(own / own_side.sum()) - np.log10(others / other_side.sum())
    return np.asarray(llr[block][index])


def elub(
    own: ArrayLike, negatives: ArrayLike, weights: ArrayLike | None = None
) -> tuple[float, float]:
    """Return the empirical lower and upper bound (ELUB) of log10 likelihood ratios.

    (low <= 0, high >= 0).

    A threshold t is borne out if deciding by LR > t costs no more than deciding without the LR,
    misses costing 1 and false alarms t, after one misleading ratio more is counted on each side.
    The bounds are the thresholds nearest to 1 beyond which that fails; at most those that the
    numbers of samples allow.

    Args:
      own: [n], log10 LR of images that g made; ±inf allowed.
      negatives: [m], log10 LR under g of images that g did not make.
      weights: [m], of the negatives; None: all alike. They count as (sum w)^2 / sum w^2 images
        (Kish, 1965).
    """
    own, negatives = np.sort(np.asarray(own, np.float64)), np.asarray(negatives, np.float64)
    weights = np.ones(len(negatives)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(negatives, kind="stable")
    # share of the negatives' weight below each place in their order, and Kish's effective number
    negatives, share = negatives[order], np.append(0.0, np.cumsum(weights[order])) / weights.sum()
    count = weights.sum() ** 2 / np.square(weights).sum()
    n, m = len(own) + 1, count + 1
    # Thresholds t in steps, from the least ratio to the largest; at most 1 / n and m.
    both = np.concatenate([own, negatives])
    first = min(0, int(np.floor(max(both.min(), -np.log10(n)) / ELUB_STEP)))
    last = max(0, int(np.floor(min(both.max(), np.log10(m)) / ELUB_STEP)) + 1)
    log_t = np.arange(first, last + 1) * ELUB_STEP
    # Cost of deciding by LR > t, one misleading ratio more on each side, against deciding without.
    missed = (np.searchsorted(own, log_t, side="right") + 1) / n
    alarms = (1 + count * (1.0 - share[np.searchsorted(negatives, log_t, side="right")])) / m
    fails = missed + 10**log_t * alarms > np.minimum(1.0, 10**log_t)
    # The bounds: one step inside the failing thresholds that are nearest to 1.
    low = np.max(log_t[fails & (log_t <= 0)] + ELUB_STEP, initial=log_t[0])
    high = np.min(log_t[fails & (log_t >= 0)] - ELUB_STEP, initial=log_t[-1])
    return min(0.0, float(low)), max(0.0, float(high))


def posterior(log10_lr: ArrayLike, prior: ArrayLike | None = None) -> np.ndarray:
    """Return the probabilities [k + 1] of the k candidates and, last, of none of them.

    Each ratio compares "g made it" with its own alternative, an image like g's negatives, among
    which the other candidates' images count; each looks at the image's score under g alone. So this
    is an approximation.

    Args:
      log10_lr: [k], of the candidates, each finite.
      prior: [k + 1], 0 or more, of the candidates and of none; None: all alike.

    Raises:
      InputError: ratios that are not finite, or a prior of another length, or one that does not add
        up to 1.

    >>> posterior([2.0, 0.0]).round(4).tolist()
    [0.9804, 0.0098, 0.0098]
    """
    log10_lr = np.asarray(log10_lr, dtype=np.float64)
    if log10_lr.ndim != 1 or not np.isfinite(log10_lr).all():
        raise InputError(f"got log10 ratios {log10_lr.tolist()}; give [k] finite numbers")
    count = len(log10_lr) + 1
    prior = np.full(count, 1.0 / count) if prior is None else np.asarray(prior, dtype=np.float64)
    if prior.shape != (count,) or not (prior >= 0).all() or not abs(prior.sum() - 1) < 1e-6:
        raise InputError(
            f"the prior is {prior.tolist()}; give {count} numbers, 0 or more, that add up to 1:"
            " one for each candidate"
            " and one for none"
        )
    # Bayes: prior * LR, of none with LR 1, normalised in the log domain.
    with np.errstate(divide="ignore"):
        joint = np.log(prior) + LOG_10 * np.append(log10_lr, 0.0)
    return np.exp(joint - logsumexp(joint))


def in_words(log10_lr: float) -> str:
    """Return ENFSI's words for a ratio of 1 or more.

    Below 1, give the words of its inverse to the alternative.

    >>> in_words(2.3), in_words(0.1)
    ('moderately strong support', 'no support')
    """
    ratio = 10.0 ** min(abs(log10_lr), 300.0)
    return next(words for limit, words in LR_WORDS if ratio < limit)


def joined(negatives: Mapping[str, Sequence[float] | np.ndarray]) -> np.ndarray:
    """Return the scores of all kinds of negatives together, [m]."""
    return np.concatenate(
        [np.zeros(0), *(np.asarray(scores, dtype=np.float64) for scores in negatives.values())]
    )
