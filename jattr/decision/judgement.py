"""The judgement of a new picture by a calibration: p-values, likelihood ratios, probabilities, and a sentence.

`docs/guarantee.md` says in plain words what each number guarantees and what it does not. In short, at level alpha:

* "none" is said if every candidate is denied. A picture that one of them made meets this with chance at most alpha.
* "made-by" needs a candidate whose Holm-adjusted p-value against the negatives is at most alpha. A picture like any one
  kind of the negatives, made by no candidate, gets a name with chance at most alpha.
* The likelihood ratio says how strongly; the probabilities add the stated prior.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jattr.decision.calibration import NONE, Calibration, Sample
from jattr.decision.conformal import check_enough, conformal_p
from jattr.decision.false_attribution import holm, least_negatives, worst_kind
from jattr.decision.likelihood import fit_likelihood, in_words, joined, posterior
from jattr.decision.power import Power, missed_by_all, power_of, what_restarts_settle
from jattr.decision.scores import check_no_nan
from jattr.errors import InputError

LEAST_LR = 2.0  # of a named candidate: ENFSI's weak support begins here
ROUNDING = 1e-12  # relative, of an adjusted p-value: 9 * (1 / 300) is not above 0.03


@dataclass(frozen=True)
class Finding:
    """What the calibration says of one picture under one candidate."""

    name: str
    score: float  # log10 residual; +inf where every restart failed
    own_p: float  # conformal: chance that an own picture ends at least so far away
    denied: bool  # own_p <= alpha
    negative_p: float  # the largest over the kinds: chance that another picture comes at least so close
    negative_kind: str  # that kind; "" without negatives
    holm_p: float  # negative_p, corrected for the number of candidates judged
    supported: bool  # holm_p <= alpha
    log10_lr: float  # own against all negatives; 0 without negatives
    log10_lr_most: float  # the most that this calibration can give
    probability: float  # that the candidate made it, under the prior
    own_count: int
    negative_counts: Mapping[str, int]  # by kind
    power: Power | None = None  # how likely its restarts miss an own picture; None: the calibration does not say


@dataclass(frozen=True)
class Judgement:
    """The decision on one picture and what it rests on."""

    kind: str  # made-by | none | undecided | failed
    candidates: tuple[str, ...]  # the name if made-by; those that cannot be told apart if undecided for that; else ()
    sentence: str  # the decision in words that match its strength
    findings: tuple[Finding, ...]  # of every candidate judged
    none_probability: float  # that no candidate made it, under the prior
    prior: Mapping[str, float]  # of each candidate and of "none"
    condition: str
    alpha: float


def judge(
    calibration: Calibration,
    scores: Mapping[str, float],
    condition: str,
    alpha: float = 0.05,
    *,
    prior: Mapping[str, float] | None = None,
    restarts: Mapping[str, int] | None = None,
) -> Judgement:
    """Return the judgement of one picture.

    Args:
      calibration: checked by `check_usable` before.
      scores: of the picture under each candidate to judge, by name; +inf: every restart failed.
      condition: what was done to the picture, one that was calibrated.
      alpha: level of both errors, in (0, 1).
      prior: probability of each of these candidates and of "none" before looking; None: all alike.
      restarts: of each candidate that were run; None: as many as in the calibration.

    Raises:
      InputError: no candidate, an unknown one, an unknown condition, NaN, too few own pictures for alpha, a prior that
        does not name each candidate and "none" or does not add up to 1.
    """
    check_ready(calibration, scores, condition, alpha)
    names = tuple(scores)
    check_no_nan(np.array([float(scores[name]) for name in names]), "the picture")
    shares = _prior(names, prior)
    run = restarts or {}
    findings = [
        _finding(name, calibration.sample(name, condition), float(scores[name]), alpha, run.get(name)) for name in names
    ]
    adjusted = holm([f.negative_p for f in findings])
    chances = posterior([f.log10_lr for f in findings], list(shares.values()))
    findings = [
        replace(f, holm_p=float(p), supported=bool(p <= alpha * (1 + ROUNDING)), probability=float(chance))
        for f, p, chance in zip(findings, adjusted, chances[:-1], strict=True)
    ]
    kind, named, sentence = _decide(findings, alpha)
    return Judgement(kind, named, sentence, tuple(findings), float(chances[-1]), shares, condition, alpha)


def check_ready(calibration: Calibration, names: Iterable[str], condition: str, alpha: float) -> None:
    """Raise an InputError if these candidates cannot be judged at alpha: before any search, at no cost.

    Raises:
      InputError: no candidate, an unknown one, an unknown condition, too few own pictures for alpha.
    """
    names = list(names)
    if not names:
        raise InputError(f"there are 0 candidates to judge; give one or more of {', '.join(calibration.candidates)}")
    for name in names:
        check_enough(len(calibration.sample(name, condition).own), alpha, f"{name}, {condition}")


def shortfalls(calibration: Calibration, names: Sequence[str], condition: str, alpha: float) -> tuple[str, ...]:
    """Return a line for each candidate that cannot be named at alpha for want of negatives, with the number needed."""
    needed = least_negatives(alpha, len(names))
    samples = {name: calibration.sample(name, condition) for name in names}
    return tuple(
        f"{name}: {text}"
        for name, sample in samples.items()
        if (text := _shortfall({kind: len(of_kind) for kind, of_kind in sample.negatives.items()}, needed))
    )


def _shortfall(counts: Mapping[str, int], needed: int) -> str:
    """Return why the negatives are too few, or nothing."""
    least = min(counts, key=lambda kind: counts[kind], default="")
    if counts and counts[least] >= needed:
        return ""
    return f"{counts.get(least, 0)} negatives{f' of kind {least}' * bool(least)}, {needed} are needed"


def _finding(name: str, sample: Sample, score: float, alpha: float, restarts: int | None) -> Finding:
    """Return the finding before candidates are compared."""
    own_p = float(conformal_p(sample.own, score))
    negative_p, kind = worst_kind(sample.negatives, score)
    log10_lr, most = _log10_lr(sample, score)
    known = sample.own_restarts
    return Finding(
        name=name,
        score=score,
        own_p=own_p,
        denied=own_p <= alpha,
        negative_p=negative_p,
        negative_kind=kind,
        holm_p=1.0,
        supported=False,
        log10_lr=log10_lr,
        log10_lr_most=most,
        probability=0.0,
        own_count=len(sample.own),
        negative_counts={kind: len(scores) for kind, scores in sample.negatives.items()},
        power=None if known is None else power_of(known, known.most if restarts is None else restarts),
    )


def _log10_lr(sample: Sample, score: float) -> tuple[float, float]:
    """Return log10 of the likelihood ratio and the most it can be."""
    negatives = joined(sample.negatives)
    if not len(negatives):
        return 0.0, 0.0
    fit = fit_likelihood(sample.own, negatives)
    return float(fit(score)), float(fit.log10_lr[0])


def _prior(names: tuple[str, ...], prior: Mapping[str, float] | None) -> dict[str, float]:
    wanted = (*names, NONE)
    if prior is None:
        return dict.fromkeys(wanted, 1.0 / len(wanted))
    if set(prior) != set(wanted):
        raise InputError(f"the prior names {', '.join(prior) or 'nothing'}; give a probability to {', '.join(wanted)}")
    return {name: float(prior[name]) for name in wanted}


def _decide(findings: Sequence[Finding], alpha: float) -> tuple[str, tuple[str, ...], str]:
    """Return the kind, the candidates that it names, and the sentence."""
    failed = [f.name for f in findings if np.isinf(f.score)]
    if len(failed) == len(findings):
        return "failed", (), "Every restart of every candidate failed; this says nothing about the picture."
    named = [f for f in findings if f.supported and not f.denied and 10**f.log10_lr >= LEAST_LR]
    if len(named) == 1:
        return "made-by", (named[0].name,), _made_by(named[0])
    if len(named) > 1:
        names = tuple(f.name for f in named)
        return "undecided", names, f"Undecided: {' and '.join(names)} each fit the picture and cannot be told apart."
    if all(f.denied for f in findings):
        if failed:
            return (
                "undecided",
                (),
                f"Undecided: no restart of {failed[0]} came to a result, which speaks against no model.",
            )
        odd = [f.name for f in findings if f.supported]
        if odd:
            return "undecided", (), f"Undecided: the picture is nearer to {odd[0]} than others, yet not like its own."
        return "none", (), _none(findings, alpha)
    return "undecided", (), _undecided(findings, alpha)


def _made_by(f: Finding) -> str:
    at_most = ", the most that this calibration can show" if f.log10_lr >= f.log10_lr_most - 1e-9 else ""
    return (
        f"The findings give {in_words(f.log10_lr)} to {f.name} having made the picture rather than a source like the"
        f" negatives (likelihood ratio {10**f.log10_lr:.3g}{at_most}); a picture like the negatives"
        f" comes so close to one of the candidates with chance at most {f.holm_p:.2g}."
    )


def _none(findings: Sequence[Finding], alpha: float) -> str:
    nearest, missed = max(findings, key=lambda f: f.own_p), missed_by_all([f.power for f in findings])
    if len(findings) == 1:
        far = f"end so far away with chance at most {nearest.own_p:.2g}"
        return f"{nearest.name} is denied: its own pictures {far}{missed}."
    return (
        f"Each of the {len(findings)} candidates is denied at {alpha:g}: pictures of the nearest one, {nearest.name},"
        f" end so far away with chance at most {nearest.own_p:.2g}{missed}."
    )


def _undecided(findings: Sequence[Finding], alpha: float) -> str:
    left = [f for f in findings if not f.denied]
    best = max(left, key=lambda f: (f.log10_lr, f.own_p))
    said, more = f"Undecided: {best.name} is not denied", what_restarts_settle(best.power)
    short = _shortfall(best.negative_counts, least_negatives(alpha, len(findings)))
    if short:
        return f"{said}, and to name it at {alpha:g} there are {short}{more}."
    kind = f" of kind {best.negative_kind}" * bool(best.negative_kind)
    if best.supported:
        return f"{said}, but the findings give {in_words(max(0.0, best.log10_lr))} to it{more}."
    return (
        f"{said}, but a negative{kind} comes so close to one of the"
        f" {len(findings)} candidates with a chance of up to {best.holm_p:.2g}{more}."
    )
