"""The likelihood of numbers that are known to lie in intervals: its maximum, and a test of it.

What is observed of an altered image is rounded: a byte, or a quantised DCT coefficient, says in
which interval a value lay. What the model predicts differs from that value by roundings on the way,
noise of a known standard deviation s. So

    P(observed | z) = Phi((upper - c(z)) / s) - Phi((lower - c(z)) / s)            (1)

for each number (interval-censored regression: Tobin, Econometrica 26, 1958), and -log P is convex
in the prediction c. The most probable latent is found by Newton steps on it. The test compares the
sum of -log P there with what it would be if the prediction were right: the sum of the entropies,
with a variance that is known as well, since each outcome's chances are. Where an interval is wide
and the prediction well inside, both are zero: it says nothing, and counts for nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.special import gammaincc, log_ndtr

from jattr.solvers.base import Prior, check_fields

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """How the expected -log P of a number is summed over its outcomes."""

    reach: float = 6.0  # standard deviations on each side that the outcomes cover
    broad: float = 2.0  # times an interval's width: noise above it makes the outcomes a density
    negligible: float = 1e-12  # probability of an outcome that adds nothing
    informative: float = 1e-3  # nats that a number is expected to give, or gives

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class PosteriorMode:
    """How the most probable latent is searched, by damped moves on linear images."""

    jacobians: int = 4  # times as many as unaltered images get: wide intervals hold less
    newton_steps: int = 12  # of one move
    halvings: int = 8  # of a Newton step
    # of the largest curvature that a number can have: less is left out of a Newton step
    min_curvature: float = 1e-3
    # log likelihood that a further Jacobian has to gain to be worth it; a Newton step, a tenth
    min_gain: float = 0.1
    # of a move, in units of the prior's precision
    damping: float = 30.0
    ease: float = 0.2  # factor of the damping after a move that is better
    tighten: float = 5.0  # after one that is not
    max_damping: float = 1e6

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


# z [d] -> prediction [N], Jacobian [N, d]
Predict: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Intervals(NamedTuple):
    """The intervals in which N numbers lie: float64, in one unit."""

    center: np.ndarray  # [N]
    half: np.ndarray  # [N], half the width
    sigma: np.ndarray  # [N], standard deviation of the prediction, above 0
    below: np.ndarray  # [N] bool: everything below the interval fits as well
    above: np.ndarray  # [N] bool


class LikelihoodStatistic(NamedTuple):
    """The sum of -log P under a prediction, and its distribution if the prediction is right."""

    total: float  # sum of -log P, nats
    expected: float  # its mean if the prediction is right
    variance: float
    num_informative: int  # numbers whose outcome was not certain beforehand, or is improbable

    @property
    def z_score(self) -> float:
        """Standard deviations above the mean."""
        return (self.total - self.expected) / max(self.variance, 1e-12) ** 0.5


def minus_log_probability(
    prediction: np.ndarray, intervals: Intervals
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return -log P of each number [N], and its first and second derivative in the prediction."""
    center, half, sigma, below, above = intervals
    # (1) with a, b the standardised ends of the interval; one-sided intervals end at infinity.
    a = np.where(below, -np.inf, (center - half - prediction) / sigma)
    b = np.where(above, np.inf, (center + half - prediction) / sigma)
    log_p = _log_between(a, b)
    # phi(a) / P and phi(b) / P, with P = Phi(b) - Phi(a); the exponent is capped where P underflows
    at_a, at_b = (
        np.exp(np.minimum(-0.5 * edge**2 - 0.5 * LOG_2PI - log_p, 700.0)) for edge in (a, b)
    )
    # d(-log P)/dc = (phi(b) - phi(a)) / (s P)
    slope = (at_b - at_a) / sigma
    # d2(-log P)/dc2 = (b phi(b) - a phi(a)) / (s^2 P) + slope^2, between 0 and 1 / s^2 (convexity)
    curvature = (_times(b, at_b) - _times(a, at_a)) / sigma**2 + slope**2
    return -log_p, slope, np.clip(curvature, 0.0, 1.0 / sigma**2)


def _times(edge: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Return edge * density [N], 0 at infinite edges."""
    return np.where(np.isfinite(edge), edge, 0.0) * density


def _log_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return log(Phi(b) - Phi(a)), a < b, exact far out on both sides."""
    # By symmetry both ends are taken to the lower tail, where log Phi loses no digits.
    swap = a > 0
    a, b = np.where(swap, -b, a), np.where(swap, -a, b)
    log_a, log_b = log_ndtr(a), log_ndtr(b)
    return log_b + np.log1p(-np.exp(np.minimum(log_a - log_b, -1e-15)))


def likelihood_statistic(
    prediction: np.ndarray, intervals: Intervals, entropy: Entropy = Entropy()
) -> LikelihoodStatistic:
    """Return the sum of -log P under a prediction [N], with mean and variance if it is right."""
    observed = minus_log_probability(prediction, intervals)[0]
    expected, variance = _entropy(prediction, intervals, entropy)

    # A one-sided number has two outcomes, inside or not: the mean and variance of a coin's -log P.
    one_sided = intervals.below | intervals.above
    if one_sided.any():
        log_in = -observed[one_sided]
        p = np.exp(log_in)
        log_out = np.log(np.maximum(1.0 - p, 1e-300))
        mean = -(p * log_in + (1 - p) * np.where(p < 1, log_out, 0.0))
        square = p * log_in**2 + (1 - p) * np.where(p < 1, log_out, 0.0) ** 2
        expected[one_sided] = mean
        variance[one_sided] = square - mean**2

    informative = (expected > entropy.informative) | (observed > entropy.informative)
    return LikelihoodStatistic(
        float(observed.sum()),
        float(expected.sum()),
        float(np.maximum(variance, 0).sum()),
        int(informative.sum()),
    )


def _entropy(
    prediction: np.ndarray, intervals: Intervals, entropy: Entropy
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of -log P [N] of two-sided numbers if the prediction is right.

    The mean over a number's outcomes, the intervals of its width around the prediction, is its
    entropy, -sum P log P.
    """
    width, sigma = 2.0 * intervals.half, intervals.sigma
    expected, variance = np.zeros(prediction.shape), np.zeros(prediction.shape)
    broad = sigma > entropy.broad * width
    reach = int(np.ceil((entropy.reach * np.where(broad, 0.0, sigma) / width).max())) + 1
    nearest = intervals.center + width * np.round((prediction - intervals.center) / width)
    two_sided = np.zeros(prediction.shape, bool)
    outcomes = [nearest + width * step for step in range(-reach, reach + 1)]
    for center in outcomes:
        outcome = intervals._replace(center=center, below=two_sided, above=two_sided)
        log_p = -minus_log_probability(prediction, outcome)[0]
        p = np.exp(log_p)
        term = np.where(p > entropy.negligible, p * log_p, 0.0)
        expected -= term
        variance += term * log_p
    variance -= expected**2

    # Where outcomes are many they are a density: the differential entropy of a normal of variance
    # s^2 + width^2 / 12, in units of the width; -log P is half a chi-square, of variance 1/2.
    density = 0.5 * (LOG_2PI + 1.0 + np.log(sigma**2 / width**2 + 1.0 / 12.0))
    return np.where(broad, density, expected), np.where(broad, 0.5, variance)


def p_value_of(statistic: LikelihoodStatistic, dispersion: float) -> float:
    """Return the chance of so large a statistic if the prediction is right.

    By a gamma distribution of its mean and variance, the variance times `dispersion`: roundings of
    neighbouring numbers depend on each other, which widens their sum (quasi-likelihood: Wedderburn,
    Biometrika 61, 1974). One exponential term of mean 1 is added on both sides, at its mean on the
    observed one: where next to nothing is expected, next to nothing does not count against the
    prediction.
    """
    total, mean = statistic.total + 1.0, statistic.expected + 1.0
    variance = statistic.variance * dispersion + 1.0
    if not np.isfinite(total):
        return 0.0
    return float(gammaincc(mean**2 / variance, total * mean / variance))


def maximum_a_posteriori(
    predict: Predict,
    z: np.ndarray,
    intervals: Intervals,
    prior: Prior,
    jacobians: int,
    settings: PosteriorMode = PosteriorMode(),
    entropy: Entropy = Entropy(),
) -> tuple[np.ndarray, int]:
    """Return the most probable latent [d] near z, and the Jacobians used.

    Each move goes to the optimum of the linear image, held back by a damping that grows where the
    image was not linear so far (Levenberg-Marquardt). It ends early at a latent whose statistic is
    below its mean.

    Args:
      predict: the prediction and its Jacobian.
      z: [d], a latent near the solution.
      intervals: what was observed.
      prior: of the latent, taken as normal.
      jacobians: the most to compute.
      settings: of moves and damping.
      entropy: of the statistic.
    """
    best, lowest, damping = z.astype(np.float64), np.inf, settings.damping
    trial, model, used = best, None, 0
    while used < jacobians:
        # 1. Linearise at the trial latent.
        used += 1
        prediction, jacobian = (
            np.asarray(a, np.float64) for a in predict(trial.astype(np.float32))
        )
        finite = bool(np.isfinite(prediction).all() and np.isfinite(jacobian).all())
        value = _objective(prediction, trial, intervals, prior) if finite else np.inf
        # 2. Accept it if it is better, and trust the linear image further; else less far.
        if value < lowest:
            gain, best, lowest, model = lowest - value, trial, value, (prediction, jacobian)
            damping *= settings.ease
            statistic = likelihood_statistic(prediction, intervals, entropy)
            if gain < settings.min_gain or statistic.z_score < 0.0:
                break
        else:
            damping *= settings.tighten
        if model is None or damping > settings.max_damping:
            break
        # 3. The next trial is the optimum of the linear image about the best latent.
        trial = best + _move(*model, best, intervals, prior, damping, settings)
    return best.astype(np.float32), used


def _objective(prediction: np.ndarray, z: np.ndarray, intervals: Intervals, prior: Prior) -> float:
    """Return minus the log of the posterior density, but for a constant."""
    return float(
        minus_log_probability(prediction, intervals)[0].sum()
        + 0.5 * np.square((z - prior.mean) / prior.scale).sum()
    )


def _move(
    prediction: np.ndarray,
    jacobian: np.ndarray,
    z: np.ndarray,
    intervals: Intervals,
    prior: Prior,
    damping: float,
    settings: PosteriorMode,
) -> np.ndarray:
    """Return the move [d] to the damped optimum of the linear image, by Newton's method.

    The problem is convex, so halving a step until it descends is enough.
    """
    brake = damping / np.square(prior.scale)

    def objective(move: np.ndarray) -> float:
        penalty = 0.5 * float(brake @ np.square(move))
        return _objective(prediction + jacobian @ move, z + move, intervals, prior) + penalty

    move = np.zeros_like(z)
    value = objective(move)
    for _ in range(settings.newton_steps):
        # gradient J' l' + (z + move - mean) / scale^2 + brake move, of l = -log P
        _, slope, curvature = minus_log_probability(prediction + jacobian @ move, intervals)
        gradient = (
            jacobian.T @ slope + (z + move - prior.mean) / np.square(prior.scale) + brake * move
        )
        # Hessian J' diag(l'') J + 1 / scale^2 + brake; rows of next to no curvature cost time only
        curved = curvature * np.square(intervals.sigma) > settings.min_curvature
        rows = jacobian[curved]
        hessian = rows.T @ (rows * curvature[curved][:, None]) + np.diag(
            1.0 / np.square(prior.scale) + brake
        )
        step = -np.linalg.solve(hessian, gradient)
        # backtracking: the first of the halved steps that descends
        halved = (step / 2.0**k for k in range(settings.halvings))
        better = next(((s, v) for s in halved if (v := objective(move + s)) < value), None)
        if better is None:
            return move
        gain = value - better[1]
        move, value = move + better[0], better[1]
        if gain < settings.min_gain / 10:
            return move
    return move
