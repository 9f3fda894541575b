"""Calibration on held-out images.

Those of even numbers calibrate each candidate, those of odd numbers judge.

Sources: Brümmer, du Preez, Computer Speech and Language 20 (2006), for Cllr; Naeini, Cooper,
Hauskrecht, AAAI 2015, for the calibration error; Tippett et al., Journal of the Forensic Science
Society 8 (1968), for the curves of ratios; Vovk, Gammerman, Shafer (2005) for the conformal
p-value. `jattr/decision` computes them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jattr.decision.conformal import conformal_p, least_own
from jattr.decision.likelihood import fit_likelihood, posterior
from jattr.decision.lr_measures import (
    LOG2_10,
    calibration_error_interval,
    cllr,
    cllr_min,
    most_probable,
    reliability,
    tippett,
)
from jattr.decision.scores import scores_of
from jattr.sweep.report.estimates import Estimate, Z, by_image, share, shares_above, too_few
from jattr.sweep.report.groups import ALL, Group, Metric, grouped, metric
from jattr.sweep.report.tables import Results, Searched, SourceImage
from jattr.typing import Json

DENIAL_LEVEL = 0.05  # level at which own images are denied
LEAST = least_own(DENIAL_LEVEL)  # own images of each candidate, and others', in either half
DRAWS_SEED = 0  # of the bootstrap
MEASURES = ("cllr", "cllr_min", "posterior_error", "top_error", f"denied_at_{DENIAL_LEVEL}")
Scores = dict[SourceImage, dict[str, float]]  # log10 residual of each image under each candidate


class ReliabilityBin(NamedTuple):
    """How often a candidate made an image that it was stated to have made with about this
    probability.
    """

    setting: str
    alteration: str
    attack: str
    seed: str
    low_edge: float  # of the stated probability
    high_edge: float
    stated: float  # its mean
    n: int  # statements: images times candidates
    made: float  # share that the candidate made
    standard_error: float
    low: float  # 95 % Clopper-Pearson interval
    high: float


class TippettPoint(NamedTuple):
    """How often likelihood ratios are at least so large.

    Of images' makers, and of the other candidates.
    """

    setting: str
    alteration: str
    attack: str
    seed: str
    log10_lr: float  # the threshold
    own: float  # share of the makers' ratios that are at least that
    others: float  # share of the other ratios that are
    own_n: int  # ratios: own images
    others_n: int  # images times candidates that did not make them
    own_standard_error: float  # the calibration being given
    # of images, whose ratios under several candidates are not independent
    others_standard_error: float


class HeldOut(NamedTuple):
    """What held-out images show of a calibration."""

    metrics: list[Metric]
    reliability: list[ReliabilityBin]
    tippett: list[TippettPoint]


def calibration(results: Results) -> HeldOut:
    """Return how well likelihood ratios and probabilities are calibrated, by group of one seed.

    Every measure says "too few" instead of a number where a half has fewer than `LEAST` images of a
    side.
    """

    def facts(s: Searched) -> tuple[Json, ...]:
        return s.setting, s.alteration, s.picture.attack, bool(s.picture.maker), s.seed

    shown = HeldOut([], [], [])
    for group, members in grouped(results.spec, results.searched, facts):
        if group.seed == ALL:
            continue
        table: Scores = {}
        for s in members:
            table.setdefault(s.picture, {})[s.candidate] = float(scores_of([s.residual])[0])
        whole = {
            picture: row for picture, row in table.items() if len(row) == len(results.candidates)
        }
        halves = [{p: row for p, row in whole.items() if p.number % 2 == part} for part in (0, 1)]
        least = min(
            min(len(side) for side in _sides(half, name))
            for half in halves
            for name in results.candidates
        )
        if least < LEAST:
            why = f"too few: a half has {least} pictures of a side, {LEAST} are needed"
            shown.metrics.extend(
                metric(group, name, too_few(len(halves[1]), why)) for name in MEASURES
            )
            continue
        result = _measured(group, halves[0], halves[1], results.candidates)
        shown.metrics.extend(result.metrics)
        shown.reliability.extend(result.reliability)
        shown.tippett.extend(result.tippett)
    return shown


def _sides(table: Scores, name: str) -> tuple[list[float], list[float]]:
    """Return the scores under a candidate of its own images and of all others."""
    own = [row[name] for picture, row in table.items() if picture.own and picture.maker == name]
    others = [
        row[name] for picture, row in table.items() if not (picture.own and picture.maker == name)
    ]
    return own, others


def _measured(group: Group, known: Scores, test: Scores, names: Sequence[str]) -> HeldOut:
    fits = {name: fit_likelihood(*_sides(known, name)) for name in names}
    # log10
    ratios = {
        picture: {name: float(fits[name](row[name])) for name in names}
        for picture, row in test.items()
    }
    true = [(p, row[p.maker]) for p, row in ratios.items() if p.own]
    false = [
        (p, [row[name] for name in names if not (p.own and p.maker == name)])
        for p, row in ratios.items()
    ]
    own, negatives = (
        np.array([value for _, value in true]),
        np.concatenate([np.array(values) for _, values in false]),
    )
    result = {
        "cllr": _cllr(own, [np.array(values) for _, values in false if values], len(test)),
        "cllr_min": Estimate(
            len(test), cllr_min(own, negatives), None, None, None, "fitted to these very pictures"
        ),
    }
    # the last: of none
    chances = np.array([posterior([row[name] for name in names]) for row in ratios.values()])
    made = np.array([[float(p.own and p.maker == name) for name in names] for p in ratios])
    curve = reliability(chances[:, :-1].ravel(), made.ravel())
    truth = [names.index(p.maker) if p.own else len(names) for p in ratios]
    result["posterior_error"] = _calibration_error(chances[:, :-1], made)
    result["top_error"] = _calibration_error(*most_probable(chances, truth))
    usual = {name: _sides(known, name)[0] for name in names}
    denied = {
        p: float(conformal_p(usual[p.maker], test[p][p.maker])) <= DENIAL_LEVEL for p, _ in true
    }
    result[MEASURES[-1]] = share(by_image(denied.items()))
    errors = np.sqrt(curve.made * (1 - curve.made) / curve.count)
    columns = (*curve.edges.T, curve.stated, curve.count, curve.made, errors, curve.low, curve.high)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return HeldOut(
        [metric(group, name, result[name]) for name in MEASURES],
        [ReliabilityBin(*group, *row) for row in rows],
        _tippett(group, own, [np.array(values) for _, values in false if values]),
    )


def _calibration_error(stated: np.ndarray, made: np.ndarray) -> Estimate:
    """Return the expected calibration error of probabilities [n] or [n, k] of n images."""
    low, high = calibration_error_interval(stated, made, np.random.default_rng(DRAWS_SEED))
    value = reliability(stated.ravel(), made.ravel()).error
    note = "interval and standard error by bootstrap of pictures"
    return Estimate(len(stated), value, (high - low) / (2 * Z), low, high, note)


def _tippett(group: Group, own: np.ndarray, negatives: Sequence[np.ndarray]) -> list[TippettPoint]:
    """Return the curves; `negatives`.

    Of each image, its ratios under candidates that did not make it.
    """
    ratios = np.concatenate(negatives)
    curves = tippett(own, ratios)
    _, own_error = shares_above(list(own[:, None]), curves.log10_lr)
    _, others_error = shares_above(negatives, curves.log10_lr)
    columns = (curves.log10_lr, curves.own, curves.negatives, own_error, others_error)
    return [
        TippettPoint(*group, threshold, mine, theirs, len(own), len(ratios), *errors)
        for threshold, mine, theirs, *errors in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def _cllr(own: np.ndarray, negatives: Sequence[np.ndarray], n: int) -> Estimate:
    """Return the cost in bits, and the standard error of its two means over images."""
    value = cllr(own, np.concatenate(negatives))
    misses = np.logaddexp2(0.0, -LOG2_10 * own)
    alarms = np.array([np.logaddexp2(0.0, LOG2_10 * some).mean() for some in negatives])
    error = 0.5 * float(
        np.sqrt(misses.var(ddof=1) / len(misses) + alarms.var(ddof=1) / len(alarms))
    )
    return Estimate(n, value, error, max(0.0, value - Z * error), value + Z * error)
