"""Open set: are images of the candidates told from images of nobody by how near the nearest
candidate comes?

Sources: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988), for the standard error of the area
under a ROC curve, and of the mean of several on the same images; Dhamija, Günther, Boult, NeurIPS
2018 (arXiv 1811.04110), for the open-set classification rate (OSCR): the share of own images that
are accepted and given to their maker, against the share of foreign images that are accepted.

The score is log10 of the least residual over the candidates: accepted is what is at most a
threshold.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jattr.sweep.report.estimates import Estimate, Z, share_of, too_few
from jattr.sweep.report.groups import ALL, Group, Metric, grouped, metric
from jattr.sweep.report.metrics import Attributed, group_facts
from jattr.sweep.report.tables import Results, SourceImage

LEAST = 2  # images of each side, for a variance


class OscrPoint(NamedTuple):
    """A point of an OSCR curve."""

    setting: str
    alteration: str
    attack: str
    seed: str
    threshold: float  # log10 of the residual up to which an image is accepted
    false_positive_rate: float  # of foreign images, those accepted
    correct_classification_rate: float  # of own images, those accepted and given to their maker
    own: int  # images
    foreign: int
    # binomial, the threshold being given; 0 where all or none are accepted
    false_positive_standard_error: float
    false_positive_low: float  # 95 % Wilson interval
    false_positive_high: float
    correct_classification_standard_error: float
    correct_classification_low: float
    correct_classification_high: float


def placements(own: Any, foreign: Any, right: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return DeLong's components [m] and [n].

    How often an image is on the right side of the other kind's.

    Args:
      own: [m], scores; less is nearer.
      foreign: [n].
      right: [m], weight of each own image: for OSCR whether it was given to its maker; None: 1.

    >>> [part.tolist() for part in placements([0.0, 2.0], [1.0, 2.0])]
    [[1.0, 0.25], [0.5, 0.75]]
    """
    own, foreign = np.asarray(own, np.float64), np.asarray(foreign, np.float64)
    weight = np.ones(len(own)) if right is None else np.asarray(right, np.float64)
    ordered = np.sort(foreign)
    above = len(foreign) - np.searchsorted(ordered, own, "right")
    ties = np.searchsorted(ordered, own, "right") - np.searchsorted(ordered, own, "left")
    order = np.argsort(own, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weight[order])])
    below, upto = (total[np.searchsorted(own[order], foreign, side)] for side in ("left", "right"))
    return weight * (above + ties / 2) / len(foreign), (below + upto) / 2 / len(own)


def area(own: np.ndarray, foreign: np.ndarray) -> Estimate:
    """Return the area that components add up to, with DeLong's standard error."""
    m, n = len(own), len(foreign)
    if min(m, n) < LEAST:
        return too_few(
            m + n, f"too few: {m} own and {n} foreign pictures; {LEAST} of each are needed"
        )
    value, note = float(own.mean()), f"{m} own, {n} foreign pictures"
    error = float(np.sqrt(own.var(ddof=1) / m + foreign.var(ddof=1) / n))
    # all on the right side: images do not differ, which is no proof that others would not
    if error == 0.0:
        return Estimate(
            m + n, value, None, None, None, note + "; wholly separated, so without a standard error"
        )
    return Estimate(
        m + n, value, error, max(0.0, value - Z * error), min(1.0, value + Z * error), note
    )


def open_set(results: Results, rows: Sequence[Attributed]) -> tuple[list[Metric], list[OscrPoint]]:
    """Return AUROC and area under the OSCR curve by group, and the curves of each seed."""
    result, curves = [], []
    for group, members in grouped(results.spec, rows, group_facts):
        parts = _by_seed(members)
        components = {"auroc": [_components(*part, False) for part in parts]}
        components["oscr_area"] = [_components(*part, True) for part in parts]
        for measure, pairs in components.items():
            own, foreign = (
                np.mean([pair[side] for pair in pairs], axis=0) if pairs else np.zeros(0)
                for side in (0, 1)
            )
            result.append(metric(group, measure, area(own, foreign)))
        if group.seed != ALL:
            curves += [point for part in parts for point in _curve(group, *part)]
    return result, curves


def _by_seed(members: Sequence[Attributed]) -> list[tuple[list[Attributed], list[Attributed]]]:
    """Return own and foreign images of each seed: those that every seed has, in one order."""
    seeds: dict[int, dict[SourceImage, Attributed]] = {}
    for row in members:
        seeds.setdefault(row.seed, {})[row.key] = row
    tables = list(seeds.values())
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    return [
        ([table[key] for key in shared if key.own], [table[key] for key in shared if not key.own])
        for table in tables
    ]


def _components(
    own: list[Attributed], foreign: list[Attributed], closed: bool
) -> tuple[np.ndarray, np.ndarray]:
    if not own or not foreign:
        return np.zeros(len(own)), np.zeros(len(foreign))
    right = [row.right for row in own] if closed else None
    return placements(
        [row.log10_residual for row in own], [row.log10_residual for row in foreign], right
    )


def _curve(group: Group, own: list[Attributed], foreign: list[Attributed]) -> list[OscrPoint]:
    if not own or not foreign:
        return []
    scores = np.array([row.log10_residual for row in own])
    right = np.array([row.right for row in own])
    others = np.array([row.log10_residual for row in foreign])
    points = []
    for threshold in [-np.inf, *np.unique(np.concatenate([scores, others])).tolist()]:
        correct = share_of((right & (scores <= threshold)).astype(float), repeated=False)
        false = share_of((others <= threshold).astype(float), repeated=False)
        rates = threshold, false.value, correct.value, len(own), len(foreign)
        points.append(OscrPoint(*group, *rates, *false[2:5], *correct[2:5]))  # type: ignore[arg-type]
    return points
