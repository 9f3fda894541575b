"""Power of restarts: how likely a search misses an image that the candidate did make, after k
restarts.

Sources: Clopper, Pearson, Biometrika 26 (1934); the beta-geometric law after Weinberg, Gladen,
  Biometrics 42 (1986).

Each image is searched up to the first restart that arrives, or up to a cap. Three readings of the
same data, from the strongest assumption to none:

* Equally hard images: one chance p per restart, bounded from below (`Restarts.success_bound`). k
  restarts miss with (1 - p)^k. Cheap, and too hopeful where images differ: the mean of (1 - p_i)^k
  is never below (1 - mean p)^k.
* Images whose p is Beta distributed (`fit_difficulty`): the miss chance falls as a power of k. A
  fitted curve, too hopeful about half of the time; where every image arrived at once it cannot see
  any difference.
* No model (`Restarts.miss_bound`): of n images so many were missed within k restarts, hence the
  miss chance is at most its Clopper-Pearson bound. A guarantee, but n images without a miss show no
  less than about 3 / n.

`Restarts.needed` takes the most of the first two and of the hardest image seen. Print `miss_bound`
beside it. `power` puts these together for a judgement.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit

from jattr.decision.false_attribution import lower_bound, upper_bound
from jattr.errors import InputError

MAX_RESTARTS = 10**6  # more are called none
# logits of mean and spread that a fit may start from
LOGIT_GRID = (np.linspace(-9.0, 9.0, 19), np.linspace(-8.0, 5.0, 14))


@dataclass(frozen=True)
class Difficulty:
    """Beta distribution of a restart's chance to arrive, over images."""

    mean: float  # in (0, 1), chance that the first restart arrives
    # in (0, 1): variance = spread * mean * (1 - mean); near 0: all images are equally hard
    spread: float

    @property
    def shape(self) -> tuple[float, float]:
        """The two parameters (a, b) of the Beta distribution."""
        total = 1.0 / self.spread - 1.0
        return self.mean * total, (1.0 - self.mean) * total

    def miss_chance(self, restarts: int) -> float:
        """Return the chance that so many restarts miss an image: B(a, b + k) / B(a, b)."""
        a, b = self.shape
        return float(np.exp(betaln(a, b + restarts) - betaln(a, b)))

    def needed(self, chance: float) -> int | None:
        """Return the least restarts that miss with at most this chance.

        None if `MAX_RESTARTS` do not.
        """
        _check_chance(chance)
        if self.miss_chance(MAX_RESTARTS) > chance:
            return None
        # Bisection: the chance falls with the restarts; `high` are always enough, `low` never.
        low, high = 0, MAX_RESTARTS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.miss_chance(middle) <= chance else (middle, high)
        return high


@dataclass(frozen=True)
class Restarts:
    """How the searches of a candidate's own images went, image by image."""

    used: tuple[int, ...]  # restarts, up to and with the first that arrived, or up to the cap
    arrived: tuple[bool, ...]  # whether one arrived

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.used or len(self.used) != len(self.arrived) or min(self.used) < 1:
            raise InputError(
                f"got {len(self.used)} numbers of restarts and {len(self.arrived)} outcomes; give"
                " as many of both, at"
                " least one image, each searched from at least one restart"
            )

    @property
    def most(self) -> int:
        """The most restarts of an image."""
        return max(self.used)

    @property
    def rate(self) -> float:
        """Arrivals over restarts: a restart's chance to arrive, were all images equally hard."""
        return sum(self.arrived) / sum(self.used)

    def success_bound(self, *, level: float = 0.95) -> float:
        """Return the lower bound on a restart's chance to arrive, as if all images were equally
        hard.
        """
        return lower_bound(sum(self.arrived), sum(self.used), level=level)

    def miss_bound(self, restarts: int, *, level: float = 0.95) -> float | None:
        """Return the upper bound on the chance that so many restarts miss an own image, without a
        model.

        None if an image was given up after fewer: what more restarts would have found is unknown.
        """
        if any(
            not done and used < restarts for used, done in zip(self.used, self.arrived, strict=True)
        ):
            return None
        missed = sum(
            not done or used > restarts for used, done in zip(self.used, self.arrived, strict=True)
        )
        return upper_bound(missed, len(self.used), level=level)

    def missed_at_most(self, restarts: int, *, level: float = 0.95) -> float:
        """Return `miss_bound`, of fewer restarts where an image was given up before.

        More miss no more.
        """
        given_up = [used for used, done in zip(self.used, self.arrived, strict=True) if not done]
        bound = self.miss_bound(min([restarts, *given_up]), level=level)
        assert bound is not None
        return bound

    def missed(self, restarts: int, *, level: float = 0.95) -> float:
        """Return the chance that so many restarts miss an own image, by the models.

        The most of two: equally hard images with `success_bound`, and the fitted `Difficulty`.
        """
        equally_hard = miss_chance(self.success_bound(level=level), restarts)
        if not any(self.arrived) or self.most == 1:  # nothing to fit
            return equally_hard
        difficulty = fit_difficulty(self.used, self.arrived)
        return max(equally_hard, difficulty.miss_chance(restarts))

    def needed(self, chance: float, *, level: float = 0.95) -> int | None:
        """Return the restarts that miss an own image with at most this chance.

        None if none are enough.

        The most of: `success_bound` under equal hardness, the fitted `Difficulty`, the hardest
        image that arrived.
        """
        hardest = max(
            (used for used, done in zip(self.used, self.arrived, strict=True) if done), default=0
        )
        needed = restarts_needed(sum(self.arrived), sum(self.used), hardest, chance, level=level)
        if needed is None or self.most == 1:  # no image took more than another: nothing to fit
            return needed
        needed_if_varied = fit_difficulty(self.used, self.arrived).needed(chance)
        return None if needed_if_varied is None else max(needed, needed_if_varied)


def restarts_needed(
    arrived: int, restarts: int, hardest: int, chance: float, *, level: float = 0.95
) -> int | None:
    """Return the restarts that miss an own image with at most this chance.

    None if none ever arrived.

    From totals alone: from `lower_bound` on the chance that a restart arrives, as if every image
    were equally hard; but at least what the hardest one here took. Stopping at the first arrival
    does not weaken the bound: it is also that of a negative binomial number of trials.

    Args:
      arrived: images that a restart brought to the floor.
      restarts: of all images, each up to the first that arrived.
      hardest: the most restarts of an image that arrived.
      chance: of a miss, in (0, 1).
      level: of the bound.

    Raises:
      InputError: impossible counts, or a chance outside (0, 1).

    >>> restarts_needed(16, 16, 1, 1e-3), restarts_needed(0, 128, 0, 1e-3)
    (4, None)
    """
    _check_chance(chance)
    success = lower_bound(arrived, restarts, level=level)
    if success == 0:
        return None
    # (1 - success)^k <= chance
    return max(hardest, math.ceil(math.log(chance) / math.log1p(-success)))


def expected_restarts(success: float) -> float:
    """Return the mean number of restarts up to the first that arrives, inf if none does."""
    return math.inf if success == 0 else 1.0 / success


def miss_chance(success: float, restarts: int) -> float:
    """Return the chance that so many restarts all miss, each arriving with chance `success`."""
    return (1.0 - success) ** restarts


def fit_difficulty(used: Sequence[int], arrived: Sequence[bool]) -> Difficulty:
    """Return the Beta distribution of maximum likelihood.

    An image that arrived at restart j has likelihood B(a + 1, b + j - 1) / B(a, b); one that never
    did in k restarts B(a, b + k) / B(a, b). The mean is kept within 1e-4 of 0 and 1, the spread
    between 3e-4 and 0.993.

    Args:
      used: int [n], restarts of each image.
      arrived: bool [n].

    Raises:
      InputError: as `Restarts`.
    """
    Restarts(tuple(used), tuple(arrived))
    num_used = np.asarray(used, dtype=np.float64)
    has_arrived = np.asarray(arrived, dtype=np.float64)

    def loss(logits: np.ndarray) -> float:
        """Return -log likelihood at the logits of (mean, spread)."""
        mean, total = expit(logits[0]), np.exp(-logits[1])  # spread = 1 / (1 + total)
        a, b = mean * total, expit(-logits[0]) * total
        return float(np.sum(betaln(a, b) - betaln(a + has_arrived, b + num_used - has_arrived)))

    # From the best point of a grid: the likelihood can have a ridge, and Nelder-Mead goes downhill.
    grid = ((mean, spread) for mean in LOGIT_GRID[0] for spread in LOGIT_GRID[1])
    start = min(grid, key=lambda point: loss(np.array(point)))
    bounds = [(axis[0], axis[-1]) for axis in LOGIT_GRID]
    best = minimize(loss, start, method="Nelder-Mead", bounds=bounds).x
    return Difficulty(mean=float(expit(best[0])), spread=float(expit(best[1])))


def _check_chance(chance: float) -> None:
    if not 0 < chance < 1:
        raise InputError(
            f"the chance of a miss is {chance:g}; give a number between 0 and 1, such as 0.001"
        )
