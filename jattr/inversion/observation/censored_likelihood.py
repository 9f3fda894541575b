"""Numbers known to lie in intervals: the likeliest latent, and a test of whether it explains them.

What is observed of an altered image is rounded: a byte, or a quantised DCT coefficient, says in
which interval a value lay. What the model predicts differs from that value by roundings on the way,
noise of a known standard deviation s. So

    P(observed | z) = Phi((upper - c(z)) / s) - Phi((lower - c(z)) / s)

for each number (interval-censored regression: Tobin, Econometrica 26, 1958), and -log P is convex
in the prediction c. The likeliest latent is found by Newton steps on it. The test compares the sum
of -log P there with what it would be if the prediction were right: the sum of the entropies, with a
variance that is known as well, since each outcome's chances are. Where an interval is wide and the
prediction well inside, both are zero: it says nothing, and counts for nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc, log_ndtr

from jattr.solvers.base import Prior

LOG_2PI = float(np.log(2 * np.pi))
NEWTON_STEPS, HALVINGS = 12, 8
BENT = 1e-3  # curvature, of the largest that a number can have: less is left out of a Newton step
CLOSE_ENOUGH = 0.1  # gain of a further Jacobian, in units of log likelihood, that is not worth it
# of a move, in units of the prior's precision
FIRST_DAMPING, EASE, TIGHTEN, MOST_DAMPING = 30.0, 0.2, 5.0, 1e6
RANGE = 6.0  # standard deviations on each side that the entropy's outcomes cover
BROAD = 2.0  # times an interval's width
CERTAIN = 1e-12  # outcomes of less chance add nothing to it

# z [d] -> prediction [N], Jacobian [N, d]
Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Intervals(NamedTuple):
    """What is known of N numbers: float64, in one unit."""

    center: np.ndarray  # [N]
    half: np.ndarray  # [N], half the width
    noise: np.ndarray  # [N], standard deviation of the prediction, above 0
    below: np.ndarray  # [N] bool: everything below the interval fits as well
    above: np.ndarray  # [N] bool


class Surprise(NamedTuple):
    """How unlikely the observation is under a prediction, against what is to be expected."""

    total: float  # sum of -log P, nats
    expected: float  # its mean if the prediction is right
    variance: float
    telling: int  # numbers whose outcome was not certain beforehand, or came as a surprise

    @property
    def score(self) -> float:
        """Standard deviations above the mean."""
        return (self.total - self.expected) / max(self.variance, 1e-12) ** 0.5


def minus_log_chance(
    prediction: np.ndarray, known: Intervals
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return -log P of each number [N], and its first and second derivative in the prediction."""
    a = np.where(known.below, -np.inf, (known.center - known.half - prediction) / known.noise)
    b = np.where(known.above, np.inf, (known.center + known.half - prediction) / known.noise)
    log_p = _log_between(a, b)
    at_a, at_b = (
        np.exp(np.minimum(-0.5 * edge**2 - 0.5 * LOG_2PI - log_p, 700.0)) for edge in (a, b)
    )
    slope = (at_b - at_a) / known.noise
    bend = (_times(b, at_b) - _times(a, at_a)) / known.noise**2 + slope**2
    return -log_p, slope, np.clip(bend, 0.0, 1.0 / known.noise**2)


def _times(edge: np.ndarray, density: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(edge), edge, 0.0) * density


def _log_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return log(Phi(b) - Phi(a)), a < b, exact far out on both sides."""
    swap = a > 0
    a, b = np.where(swap, -b, a), np.where(swap, -a, b)
    log_a, log_b = log_ndtr(a), log_ndtr(b)
    return log_b + np.log1p(-np.exp(np.minimum(log_a - log_b, -1e-15)))


def surprise(prediction: np.ndarray, known: Intervals) -> Surprise:
    """Return the sum of -log P under a prediction [N], and its mean and variance if the
    prediction is right.
    """
    found = minus_log_chance(prediction, known)[0]
    expected, variance = np.zeros_like(found), np.zeros_like(found)
    width = 2.0 * known.half
    broad = known.noise > BROAD * width  # so many outcomes that they are a density
    reach = int(np.ceil((RANGE * np.where(broad, 0.0, known.noise) / width).max())) + 1
    nearest = known.center + width * np.round((prediction - known.center) / width)
    nowhere = np.zeros(found.shape, bool)  # of one-sided ones see below
    outcomes = [nearest + width * step for step in range(-reach, reach + 1)]
    for center in outcomes:
        log_p = -minus_log_chance(
            prediction, known._replace(center=center, below=nowhere, above=nowhere)
        )[0]
        p = np.exp(log_p)
        term = np.where(p > CERTAIN, p * log_p, 0.0)
        expected -= term
        variance += term * log_p
    variance -= expected**2
    expected = np.where(
        broad, 0.5 * (LOG_2PI + 1.0 + np.log(known.noise**2 / width**2 + 1.0 / 12.0)), expected
    )
    variance = np.where(broad, 0.5, variance)
    one_sided = known.below | known.above
    if one_sided.any():  # two outcomes: inside or not
        log_in = -found[one_sided]
        p = np.exp(log_in)
        log_out = np.log(np.maximum(1.0 - p, 1e-300))
        mean = -(p * log_in + (1 - p) * np.where(p < 1, log_out, 0.0))
        expected[one_sided] = mean
        variance[one_sided] = p * log_in**2 + (1 - p) * np.where(p < 1, log_out, 0.0) ** 2 - mean**2
    telling = (expected > 1e-3) | (found > 1e-3)
    return Surprise(
        float(found.sum()),
        float(expected.sum()),
        float(np.maximum(variance, 0).sum()),
        int(telling.sum()),
    )


def chance_of(found: Surprise, dispersion: float) -> float:
    """Return the chance of so large a surprise if the prediction is right.

    By a gamma distribution of its mean and variance, the variance times `dispersion`: roundings of
    neighbouring numbers depend on each other, which widens their sum. One exponential term of mean
    1 is added on both sides, at its mean on
    one: where next to nothing is expected, next to nothing is no surprise.
    """
    total, mean, variance = (
        found.total + 1.0,
        found.expected + 1.0,
        found.variance * dispersion + 1.0,
    )
    return (
        float(gammaincc(mean**2 / variance, total * mean / variance)) if np.isfinite(total) else 0.0
    )


def likeliest(
    predict: Predict, z: np.ndarray, known: Intervals, prior: Prior, jacobians: int
) -> tuple[np.ndarray, int]:
    """Return the most probable latent [d] near z, or one that leaves no surprise, and the Jacobians
    used.

    Each move goes to the optimum of the linear image, held back by a damping that grows where the
    image was not linear so far (Levenberg-Marquardt).

    Args:
      predict: the prediction and its Jacobian.
      z: a latent near the solution.
      known: the intervals.
      prior: of the latent, taken as normal.
      jacobians: the most to compute.
    """
    best, lowest, damping = z.astype(np.float64), np.inf, FIRST_DAMPING
    here, model, used = best, None, 0
    while used < jacobians:
        used += 1
        prediction, jacobian = (np.asarray(a, np.float64) for a in predict(here.astype(np.float32)))
        sound = bool(np.isfinite(prediction).all() and np.isfinite(jacobian).all())
        value = _objective(prediction, here, known, prior) if sound else np.inf
        if value < lowest:
            gain, best, lowest, model = lowest - value, here, value, (prediction, jacobian)
            damping *= EASE
            if gain < CLOSE_ENOUGH or surprise(prediction, known).score < 0.0:
                break
        else:
            damping *= TIGHTEN
        if model is None or damping > MOST_DAMPING:
            break
        here = best + _move(*model, best, known, prior, damping)
    return best.astype(np.float32), used


def _objective(prediction: np.ndarray, z: np.ndarray, known: Intervals, prior: Prior) -> float:
    return float(
        minus_log_chance(prediction, known)[0].sum()
        + 0.5 * np.square((z - prior.mean) / prior.scale).sum()
    )


def _move(
    prediction: np.ndarray,
    jacobian: np.ndarray,
    z: np.ndarray,
    known: Intervals,
    prior: Prior,
    damping: float,
) -> np.ndarray:
    """Return the move [d] to the damped optimum of the linear image: Newton's method with halved
    steps, convex.
    """
    brake = damping / np.square(prior.scale)

    def objective(move: np.ndarray) -> float:
        held = 0.5 * float(brake @ np.square(move))
        return _objective(prediction + jacobian @ move, z + move, known, prior) + held

    move = np.zeros_like(z)
    value = objective(move)
    for _ in range(NEWTON_STEPS):
        _, slope, bend = minus_log_chance(prediction + jacobian @ move, known)
        gradient = (
            jacobian.T @ slope + (z + move - prior.mean) / np.square(prior.scale) + brake * move
        )
        strong = bend * np.square(known.noise) > BENT
        rows = jacobian[strong]
        matrix = rows.T @ (rows * bend[strong][:, None]) + np.diag(
            1.0 / np.square(prior.scale) + brake
        )
        step = -np.linalg.solve(matrix, gradient)
        halved = (step / 2.0**k for k in range(HALVINGS))
        found = next(((s, v) for s in halved if (v := objective(move + s)) < value), None)
        if found is None or value - found[1] < CLOSE_ENOUGH / 10:
            return move if found is None else move + found[0]
        move, value = move + found[0], found[1]
    return move
