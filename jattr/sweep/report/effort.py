"""Effort: how many restarts, evaluations and seconds the candidates' own images take.

Sources: Moré, Wild, SIAM Journal on Optimization 20 (2009), for data profiles; Hansen et al.,
Optimization Methods and Software 36 (2021) (arXiv 1603.08785), for targets and the expected
evaluations to one (what all searches spent, over how many reached it); Clopper, Pearson, Biometrika
26 (1934), for the interval of a restart's chance.

A search is an image under its maker. Its restarts count one after the other, whatever ran side by
side. Evaluations are forward passes of the candidate.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jattr.decision.false_attribution import lower_bound, upper_bound
from jattr.decision.restart_power import Restarts
from jattr.inversion.problem import FLOOR
from jattr.sweep.report.estimates import Estimate, Z, by_image, share, share_of, too_few
from jattr.sweep.report.groups import ALL, Group, Metric, grouped, metric
from jattr.sweep.report.tables import Results, Searched
from jattr.typing import Json

# residuals; the floor of 8-bit rounding and a fifth
TARGETS = {"1e-3": 1e-3, "1e-4": 1e-4, "floor": 1.2 * FLOOR}
END = "end"  # the end of a search, whatever it reached
MISS = 0.01  # chance of a miss that restarts are asked for
TWO_SIDED = 0.975  # level of either bound of a 95 % interval


class RestartPoint(NamedTuple):
    """How many own images have arrived within so many restarts."""

    setting: str
    alteration: str
    attack: str
    seed: str
    restarts: int
    n: int  # images
    share: float
    standard_error: float
    low: float  # 95 % interval
    high: float


class ProfilePoint(NamedTuple):
    """How many own images have reached a target within so many evaluations."""

    setting: str
    alteration: str
    attack: str
    seed: str
    target: str
    evaluations: float
    n: int
    share: float
    standard_error: float
    low: float
    high: float


class ToTarget(NamedTuple):
    """What a target costs; a quantile that falls among searches that did not reach it is None."""

    setting: str
    alteration: str
    attack: str
    seed: str
    target: str
    n: int  # images
    searches: int  # images times repeats
    reached: float  # share of them
    standard_error: float
    low: float
    high: float
    evaluations_q25: float | None
    evaluations_median: float | None
    evaluations_q75: float | None
    expected_evaluations: float | None  # spent by all, over how many reached it
    expected_standard_error: float | None


class TimeToTarget(NamedTuple):
    """Seconds to a target, estimated.

    A search's share of its cell's evaluations, of its cell's seconds.
    """

    setting: str
    alteration: str
    attack: str
    seed: str
    target: str
    n: int
    searches: int
    timing_q25: float | None
    timing_median: float | None
    timing_q75: float | None
    timing_expected: float | None  # spent by all, over how many reached it
    timing_standard_error: float | None


def evaluations_to(s: Searched, residual: float) -> float:
    """Return the evaluations of a search until its residual is at most this, inf if it never is."""
    spent = 0.0
    for run in s.runs:
        there = np.flatnonzero(run.trace[:, 1] <= residual)
        if len(there):
            return spent + float(run.trace[there[0], 0])
        spent += run.evaluations
    return math.inf


def own_searches(results: Results) -> Iterator[tuple[Group, list[Searched]]]:
    """Return the searches of images under their maker, by group."""

    def facts(s: Searched) -> tuple[Json, ...]:
        return s.setting, s.alteration, s.picture.attack, True, s.seed

    mine = [
        s for s in results.searched if s.picture.own and s.candidate == s.picture.maker and s.runs
    ]
    return grouped(results.spec, mine, facts)


def restart_success(results: Results) -> tuple[list[RestartPoint], list[Metric]]:
    """Return the curves of success against restarts, and each group's chance of a restart and
    restarts to 99 %.

    A curve ends where an image was given up: what more restarts would have found is unknown.
    """
    points: list[RestartPoint] = []
    metrics: list[Metric] = []
    for group, members in own_searches(results):
        given_up = [s.used for s in members if not s.arrived]
        last = min(given_up) if given_up else max(s.used for s in members)
        for restarts in range(1, last + 1):
            outcomes = by_image((s.picture, s.arrived and s.used <= restarts) for s in members)
            n, value, error, low, high, _ = share(outcomes)
            points.append(
                RestartPoint(
                    *group, restarts, n, value or 0.0, error or 0.0, low or 0.0, high or 0.0
                )
            )
        chance = _chance(members, repeated=group.seed == ALL)
        metrics.append(metric(group, "restart_success", chance))
        metrics.append(metric(group, "restarts_to_99", _restarts_to(chance)))
        if group.seed != ALL:
            metrics.append(metric(group, "restarts_to_99_at_most", _at_most(members)))
    return points, metrics


def _chance(members: Sequence[Searched], *, repeated: bool) -> Estimate:
    """Return the chance that a restart arrives.

    Arrivals over restarts up to them, as if all were equally hard.
    """
    pictures = by_image((s.picture, s.arrived) for s in members)
    arrived = np.array([sum(values) for values in pictures.values()])
    used = np.array(
        [sum(values) for values in by_image((s.picture, s.used) for s in members).values()]
    )
    value, error = _ratio(arrived, used)
    low, high = (_bound(f, arrived, used) for f in (lower_bound, upper_bound))
    if repeated and error is not None:
        low, high = max(0.0, value - Z * error), min(1.0, value + Z * error)
    return Estimate(
        len(pictures),
        value,
        error,
        low,
        high,
        f"{int(arrived.sum())} of {int(used.sum())} restarts",
    )


def _bound(bound: Any, arrived: np.ndarray, used: np.ndarray) -> float:
    return float(bound(int(arrived.sum()), int(used.sum()), level=TWO_SIDED))


def _ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, float | None]:
    """Return sum / sum over images, and its standard error by linearisation.

    None for a single image.
    """
    value, n = float(above.sum() / below.sum()), len(above)
    if n < 2:
        return value, None
    return value, float(np.sqrt(n / (n - 1) * ((above - value * below) ** 2).sum()) / below.sum())


def _restarts_to(chance: Estimate) -> Estimate:
    """Return the restarts that miss an own image with chance `MISS`, if all images were equally
    hard.
    """
    if not chance.value:
        return too_few(chance.n, "none arrived")

    def needed(p: float | None) -> float | None:
        return None if not p else 1.0 if p >= 1 - MISS else math.log(MISS) / math.log1p(-p)

    p, error = chance.value, None
    if p < 1 - MISS and chance.standard_error is not None:
        error = -math.log(MISS) / ((1.0 - p) * math.log1p(-p) ** 2) * chance.standard_error
    return Estimate(
        chance.n, needed(p), error, needed(chance.high), needed(chance.low), "as if equally hard"
    )


def _at_most(members: Sequence[Searched]) -> Estimate:
    ends = Restarts(tuple(s.used for s in members), tuple(s.arrived for s in members))
    value, n = ends.needed(MISS), len(members)
    if value is None:
        return too_few(n, "no number of restarts is enough as far as this shows")
    return Estimate(
        n, float(value), None, None, float(value), "95 % bound, differences between pictures fitted"
    )


def to_targets(results: Results) -> tuple[list[ToTarget], list[ProfilePoint]]:
    """Return what each target costs, and the data profiles.

    The share that has reached it, against evaluations.

    Settings that search by another distance than pixels have none: their residuals are of that
    distance.
    """
    result, profiles = [], []
    for group, members in _by_pixels(results):
        for target in (*TARGETS, END):
            costs = [_cost(s, target) for s in members]
            result.append(_to_target(group, target, members, costs))
            if target != END:
                profiles += _profile(group, target, members, costs)
    return result, profiles


def times_to_targets(results: Results) -> list[TimeToTarget]:
    """Return the seconds that each target takes.

    They hold the cell's compilation, its starts and its certificates.
    """
    at = [results.cells.columns.index(name) for name in ("number", "timing_seconds")]
    seconds = {row[at[0]]: row[at[1]] for row in results.cells.rows}
    total: dict[int, float] = {}
    for s in results.searched:
        total[s.cell] = total.get(s.cell, 0.0) + s.evaluations
    result = []
    for group, members in _by_pixels(results):
        for target in (*TARGETS, END):
            timed = [s for s in members if total[s.cell]]
            rates = [seconds[s.cell] / total[s.cell] for s in timed]
            costs = [_cost(s, target) for s in timed]
            times = [cost * rate for cost, rate in zip(costs, rates, strict=True)]
            expected = _expected(timed, costs, rates)
            n = len({s.picture for s in timed})
            result.append(
                TimeToTarget(*group, target, n, len(times), *_quartiles(times), *expected)
            )
    return result


def _by_pixels(results: Results) -> Iterator[tuple[Group, list[Searched]]]:
    pixels = {setting.name for setting in results.spec.settings if setting.config.distance is None}
    return ((group, members) for group, members in own_searches(results) if group.setting in pixels)


def _cost(s: Searched, target: str) -> float:
    return s.evaluations if target == END else evaluations_to(s, TARGETS[target])


def _to_target(
    group: Group, target: str, members: Sequence[Searched], costs: Sequence[float]
) -> ToTarget:
    reached = by_image((s.picture, cost < math.inf) for s, cost in zip(members, costs, strict=True))
    n, value, error, low, high, _ = share(reached)
    expected = _expected(members, costs, [1.0] * len(costs))
    numbers = (value or 0.0, error or 0.0, low or 0.0, high or 0.0)
    return ToTarget(*group, target, n, len(members), *numbers, *_quartiles(costs), *expected)


def _expected(
    members: Sequence[Searched], costs: Sequence[float], rates: Sequence[float]
) -> tuple[float | None, float | None]:
    """Return what all searches spent over how many reached the target, and its standard error.

    None if none did.
    """
    reached = by_image((s.picture, cost < math.inf) for s, cost in zip(members, costs, strict=True))
    pairs = zip(members, costs, rates, strict=True)
    spent = by_image((s.picture, min(cost, s.evaluations) * rate) for s, cost, rate in pairs)
    above, below = (np.array([sum(some) for some in part.values()]) for part in (spent, reached))
    return _ratio(above, below) if below.sum() else (None, None)


def _quartiles(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not values:
        return None, None, None
    result = [float(np.quantile(values, q, method="inverted_cdf")) for q in (0.25, 0.5, 0.75)]
    low, middle, high = (value if math.isfinite(value) else None for value in result)
    return low, middle, high


def _profile(
    group: Group, target: str, members: Sequence[Searched], costs: Sequence[float]
) -> list[ProfilePoint]:
    pictures = list(
        by_image((s.picture, cost) for s, cost in zip(members, costs, strict=True)).values()
    )
    repeats = max(map(len, pictures))
    table = np.array([some + [np.nan] * (repeats - len(some)) for some in pictures])
    counts = np.isfinite(table).sum(1) + np.isposinf(table).sum(1)
    points = []
    for cost in [0.0, *np.unique(table[np.isfinite(table)]).tolist()]:
        n, value, error, low, high, _ = share_of(
            (table <= cost).sum(1) / counts, repeated=repeats > 1
        )
        points.append(
            ProfilePoint(
                *group, target, cost, n, value or 0.0, error or 0.0, low or 0.0, high or 0.0
            )
        )
    return points
