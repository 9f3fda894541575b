"""The judgement of a new image by a calibration: p-values, likelihood ratios, and a sentence.

`docs/guarantee.md` says in plain words what each number guarantees and what it does not. In short,
at level alpha:

* "none" is said if every candidate is denied. An image that one of them made meets this with chance
  at most alpha.
* "made-by" needs a candidate whose Holm-adjusted p-value against the negatives is at most alpha. An
  image like any one kind of the negatives, made by no candidate, gets a name with chance at most
  alpha.
* The likelihood ratio says how strongly, against the kind of negatives that speaks most against it;
  the probabilities add the stated prior, and take all kinds for equally likely.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jattr.decision.calibration import NONE, Calibration, Sample
from jattr.decision.conformal import check_enough, conformal_p
from jattr.decision.false_attribution import holm, least_negatives, upper_bound, worst_kind
from jattr.decision.likelihood import in_words, posterior
from jattr.decision.power import Power, missed_by_all, power_of, what_restarts_settle
from jattr.decision.scores import check_no_nan
from jattr.errors import InputError

LEAST_LR = 2.0  # of a named candidate: ENFSI's weak support begins here
DENIED = "Undecided: every candidate is denied, but"
P_VALUE_TOLERANCE = 1e-12  # relative, of an adjusted p-value: 9 * (1 / 300) is not above 0.03


@dataclass(frozen=True)
class Finding:
    """What the calibration says of one image under one candidate."""

    name: str
    score: float  # log10 residual; +inf where every restart failed
    own_p: float  # conformal: small where few own images end at least so far away
    denied: bool  # own_p <= alpha
    # the largest over the kinds: small where few other images come at least so close
    negative_p: float
    negative_kind: str  # that kind; "" without negatives
    holm_p: float  # negative_p, corrected for the number of candidates judged
    supported: bool  # holm_p <= alpha
    log10_lr: float  # own against the kind of negatives for which it is least; 0 without negatives
    log10_lr_most: float  # the most that this calibration can give against that kind
    lr_kind: str  # that kind; "" without negatives
    log10_lr_even: float  # own against a mix of all kinds in equal shares: the probability's
    probability: float  # that the candidate made it, under the prior
    own_count: int
    negative_counts: Mapping[str, int]  # by kind
    # how likely its restarts miss an own image; None: the calibration does not say
    power: Power | None = None


@dataclass(frozen=True)
class Judgement:
    """The decision on one image and what it rests on."""

    kind: str  # made-by | none | undecided | failed
    # the name if made-by; those that cannot be told apart if undecided for that; else ()
    candidates: tuple[str, ...]
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
    caveat: str = "",
) -> Judgement:
    """Return the judgement of one image.

    Args:
      calibration: checked by `check_usable` before.
      scores: of the image under each candidate to judge, by name; +inf: every restart failed.
      condition: what was done to the image, one that was calibrated.
      alpha: level of both errors, in (0, 1).
      prior: probability of each of these candidates and of "none" before looking; None: all alike.
      restarts: of each candidate that were run; None: as many as in the calibration.
      caveat: why a denied image may be a candidate's own all the same: then there is no "none".

    Raises:
      InputError: no candidate, an unknown one, an unknown condition, NaN, too few own images for
        alpha, a prior that does not name each candidate and "none" or does not add up to 1.
    """
    check_ready(calibration, scores, condition, alpha)
    names = tuple(scores)
    check_no_nan(np.array([float(scores[name]) for name in names]), "the image")
    shares = _prior(names, prior)
    num_restarts = restarts or {}
    # 1. Each candidate by itself: p-values and likelihood ratios.
    findings = []
    for name in names:
        sample = calibration.sample(name, condition)
        findings.append(_finding(name, sample, float(scores[name]), alpha, num_restarts.get(name)))
    # 2. All together: Holm's correction, and Bayes' rule under the prior.
    adjusted = holm([f.negative_p for f in findings])
    chances = posterior([f.log10_lr_even for f in findings], list(shares.values()))
    findings = [
        replace(
            f,
            holm_p=float(p),
            supported=bool(p <= alpha * (1 + P_VALUE_TOLERANCE)),
            probability=float(chance),
        )
        for f, p, chance in zip(findings, adjusted, chances[:-1], strict=True)
    ]
    kind, named, sentence = _decide(findings, alpha)
    if kind == "none" and caveat:
        kind, sentence = "undecided", f"{DENIED} {caveat}."
    return Judgement(
        kind, named, sentence, tuple(findings), float(chances[-1]), shares, condition, alpha
    )


def check_ready(
    calibration: Calibration, names: Iterable[str], condition: str, alpha: float
) -> None:
    """Check, before any search and at no cost, that these candidates can be judged at alpha.

    Raises:
      InputError: no candidate, an unknown one, an unknown condition, too few own images for alpha.
    """
    names = list(names)
    if not names:
        raise InputError(
            "there are 0 candidates to judge; give one or more of"
            f" {', '.join(calibration.candidates)}"
        )
    for name in names:
        check_enough(len(calibration.sample(name, condition).own), alpha, f"{name}, {condition}")


def shortfalls(
    calibration: Calibration, names: Sequence[str], condition: str, alpha: float
) -> tuple[str, ...]:
    """Return a line for each candidate with too few negatives to be named: how many it needs."""
    needed = least_negatives(alpha, len(names))
    lines = []
    for name in names:
        text = _shortfall(_negative_counts(calibration.sample(name, condition)), needed)
        if text:
            lines.append(f"{name}: {text}")
    return tuple(lines)


def _negative_counts(sample: Sample) -> dict[str, int]:
    return {kind: len(scores) for kind, scores in sample.negatives.items()}


def _shortfall(counts: Mapping[str, int], needed: int) -> str:
    """Return why the negatives, counted by kind, are too few, or nothing."""
    if not counts:
        return f"0 negatives, {needed} are needed"
    rarest = min(counts, key=lambda kind: counts[kind])
    if counts[rarest] >= needed:
        return ""
    return f"{counts[rarest]} negatives of kind {rarest}, {needed} are needed"


def _finding(
    name: str, sample: Sample, score: float, alpha: float, restarts: int | None
) -> Finding:
    """Return the finding before candidates are compared."""
    own_p = float(conformal_p(sample.own, score))
    negative_p, kind = worst_kind(sample.negatives, score)
    log10_lr, most, lr_kind = _worst_lr(sample, score)
    own_restarts = sample.own_restarts
    power = None
    if own_restarts is not None:
        power = power_of(own_restarts, own_restarts.most if restarts is None else restarts)
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
        lr_kind=lr_kind,
        log10_lr_even=float(sample.even_likelihood(score)) if lr_kind else 0.0,
        probability=0.0,
        own_count=len(sample.own),
        negative_counts=_negative_counts(sample),
        power=power,
    )


def _worst_lr(sample: Sample, score: float) -> tuple[float, float, str]:
    """Return log10 of the least likelihood ratio over the kinds, the most it can be, and the kind.

    Against any mix of the kinds the ratio is at least this.
    """
    ratios = [
        (float(fit(score)), float(fit.log10_lr[0]), kind)
        for kind, fit in sample.likelihoods.items()
    ]
    return min(ratios, key=lambda ratio: ratio[0], default=(0.0, 0.0, ""))


def _prior(names: tuple[str, ...], prior: Mapping[str, float] | None) -> dict[str, float]:
    answers = (*names, NONE)
    if prior is None:
        return dict.fromkeys(answers, 1.0 / len(answers))
    if set(prior) != set(answers):
        raise InputError(
            f"the prior names {', '.join(prior) or 'nothing'}; give a probability to"
            f" {', '.join(answers)}"
        )
    return {name: float(prior[name]) for name in answers}


def _decide(findings: Sequence[Finding], alpha: float) -> tuple[str, tuple[str, ...], str]:
    """Return the kind, the candidates that it names, and the sentence."""
    failed = [f.name for f in findings if np.isinf(f.score)]
    if len(failed) == len(findings):
        reason = "Every restart of every candidate failed; this says nothing about the image."
        return "failed", (), reason

    # A name needs support against the negatives, a ratio that says so, and no denial.
    named = [f for f in findings if f.supported and not f.denied and 10**f.log10_lr >= LEAST_LR]
    if len(named) == 1:
        return "made-by", (named[0].name,), _made_by(named[0], len(findings))
    if named:
        names = tuple(f.name for f in named)
        reason = f"{' and '.join(names)} each fit the image and cannot be told apart"
        return "undecided", names, f"Undecided: {reason}."

    # "none" needs every candidate denied, with a result, and none that fits better than others do.
    if not all(f.denied for f in findings):
        return "undecided", (), _undecided(findings, alpha)
    if failed:
        reason = f"no restart of {failed[0]} came to a result, which speaks against no model"
        return "undecided", (), f"Undecided: {reason}."
    supported = [f.name for f in findings if f.supported or 10**f.log10_lr >= LEAST_LR]
    if supported:
        reason = f"the image is nearer to {supported[0]} than others, yet not like its own"
        return "undecided", (), f"Undecided: {reason}."
    return "none", (), _none(findings, alpha)


def _made_by(f: Finding, candidates: int) -> str:
    at_most = (
        ", the most that this calibration can show" if f.log10_lr >= f.log10_lr_most - 1e-9 else ""
    )
    return (
        f"The findings give {in_words(f.log10_lr)} to {f.name} having made the image rather than a"
        f" source like the negatives of kind {f.lr_kind} (likelihood ratio"
        f" {10**f.log10_lr:.3g}{at_most}); {_so_close(f, candidates)}."
    )


def _so_close(f: Finding, candidates: int) -> str:
    """Return how many of the closest kind of negatives come so close, and what that bounds."""
    count = f.negative_counts[f.negative_kind]
    hits = round(f.negative_p * (count + 1)) - 1
    corrected = f" corrected for {candidates} candidates" * (candidates > 1)
    return (
        f"{hits} of {count} negatives of kind {f.negative_kind} come so close to it"
        f" (p-value{corrected} {f.holm_p:.2g}; at most {100 * upper_bound(hits, count):.2g} % of"
        " such images do, 95 % sure)"
    )


def _so_far(f: Finding) -> str:
    """Return how many own images end so far away, and what that bounds."""
    hits = round(f.own_p * (f.own_count + 1)) - 1
    return (
        f"{hits} of {f.own_count} of its own images end so far away (p-value {f.own_p:.2g}; at most"
        f" {100 * upper_bound(hits, f.own_count):.2g} % of them do, 95 % sure)"
    )


def _none(findings: Sequence[Finding], alpha: float) -> str:
    nearest = max(findings, key=lambda f: f.own_p)
    missed = missed_by_all([f.power for f in findings])
    if len(findings) == 1:
        return f"{nearest.name} is denied: {_so_far(nearest)}{missed}."
    return (
        f"Each of the {len(findings)} candidates is denied at {alpha:g}; the nearest is"
        f" {nearest.name}: {_so_far(nearest)}{missed}."
    )


def _undecided(findings: Sequence[Finding], alpha: float) -> str:
    best = max((f for f in findings if not f.denied), key=lambda f: (f.log10_lr, f.own_p))
    start, restarts = f"Undecided: {best.name} is not denied", what_restarts_settle(best.power)
    short = _shortfall(best.negative_counts, least_negatives(alpha, len(findings)))
    if short:
        return f"{start}, and to name it at {alpha:g} there are {short}{restarts}."
    if best.supported:
        support = in_words(max(0.0, best.log10_lr))
        return f"{start}, but the findings give {support} to it{restarts}."
    return f"{start}, but {_so_close(best, len(findings))}{restarts}."
