"""The verdict on one image, from its residual and certificate under every candidate.

Without a certificate the rules are thresholds, stated in `DecisionConfig` and printed with every
result; they are no error rates. With a calibration its judgement takes their place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jattr.decision.certificate import BYTE_STEP, MIN_EXCESS, Certificate
from jattr.decision.description_length import MIN_BITS
from jattr.decision.judgement import Judgement

ROUNDING_FLOOR = BYTE_STEP**2 / 12.0  # mean square that rounding to bytes leaves: 5.1e-6
VERDICTS = ("made-by", "none", "undecided", "failed")
SMALL = (
    "{} was compared in only {} numbers beyond those of its latent, which prove nothing; a"
    " larger image would"
)
EXPRESSIVE = (
    "{} reproduces the image {}, and would reproduce images that it did not make: {:.0f} bits of"
    " evidence, {:.0f} are needed"
)
UNKNOWN_BITS = "{} comes near, but what else it can reproduce is not known"
ALL_FAILED = "every restart of every candidate failed; this says nothing about the image"
FAILED_REASON = "a candidate failed in every restart; try more of them"
NONE_REASON = "every candidate ends far above its usual misses on its own images"
NONE_BUT = f"{NONE_REASON}, but"


class Caveat(NamedTuple):
    """What is to be said of an image besides what its searches found."""

    # what no calibration has images of, as a noun: this image was changed so; "": nothing
    uncalibrated: str = ""
    # why it may be a candidate's own, and what would settle it; "": nothing says so
    text: str = ""
    # why it may be one under settings that were not searched, and what would settle it; "": nothing
    elsewhere: str = ""
    # under which settings alone it was searched, because somebody named them; "": not so
    alone: str = ""


NO_CAVEAT = Caveat()


def within(eps: float) -> float:
    """Return the largest mean squared residual of an image whose bytes were moved by at most eps
    and rounded.

    >>> f"{within(4):.2e}, {within(8):.2e}"
    '1.25e-03, 4.44e-03'
    """
    return ((eps + 0.5) / 127.5) ** 2


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """Thresholds of the verdicts that have no certificate.

    The two on residuals are what someone leaves who moves every byte of an image by 4 of 255, or by
    8, and rounds.
    """

    winner: float = within(4)  # the winner's residual is at most this
    ratio: float = 10.0  # and the runner-up's at least this many times it
    none_restarts: int = 8  # "none" needs this many restarts of every candidate, or fewer
    # where so many miss its own images, by its pilot study, with at most this chance
    miss_chance: float = 1e-3
    alpha: float = 0.05  # level of both errors of a calibrated verdict
    # and every residual this many times above a candidate's usual miss on its own images
    none_factor: float = 10.0
    none_above: float = within(8)  # and above this
    # False: residuals are of another distance than pixels, of which these say nothing
    thresholds: bool = True


@dataclass(frozen=True)
class Evidence:
    """What is known of one image under one candidate."""

    name: str
    digest: str
    residual: float | None  # mean squared, [-1, 1] units; None: every restart failed
    certificate: Certificate | None  # None: not near enough to be tested
    restarts: int  # that were run
    arrived: int
    failed: int
    # residual that the candidate reaches on its own images when it misses
    usual_miss: float | None = None
    # space, truncation and noise that were searched with; "" where there are none
    settings: str = ""
    # that miss its own images with at most `miss_chance`, by its pilot study
    restarts_needed: int | None = None
    # share of its own images that so many restarts miss, at most, without a model
    miss_bound: float | None = None
    # numbers observed of the image beyond those of the latent; None: not known
    spare: int | None = None
    # of evidence in the latent, up to the residual; None: not near enough to be asked
    bits: float | None = None


Model = tuple[tuple[str, ...], Evidence]  # a model's names, and its better evidence


@dataclass(frozen=True)
class Verdict:
    """The decision on one image."""

    kind: str  # one of VERDICTS
    # the model's name, or the names of a class that cannot be told apart; empty if none
    candidates: tuple[str, ...]
    certificate: Certificate | None  # of the first of them
    margin: float | None  # runner-up's residual over the winner's; None with fewer than two models
    reason: str  # one sentence

    @property
    def text(self) -> str:
        """The verdict in words."""
        names = " or ".join(self.candidates)
        if self.kind == "made-by":
            proof = (
                ""
                if self.certificate is None
                else " (certificate, bit-exact)"
                if self.certificate.bit_exact
                else " (certificate)"
            )
            return f"made by {names}{proof}"
        return {"none": "none of the candidates", "undecided": "undecided", "failed": "failed"}[
            self.kind
        ]


def decide(
    evidence: Sequence[Evidence],
    policy: DecisionConfig | None = None,
    caveat: Caveat = NO_CAVEAT,
    *,
    judgement: Judgement | None = None,
    uncalibrated: str = "",
) -> Verdict:
    """Return the verdict on one image.

    Candidates of one digest are one model with several names. Several models with certificates are
    one class: this image cannot tell them apart.

    Args:
      evidence: under every candidate.
      policy: the thresholds.
      caveat: what the image's file says, and other settings; with a text there is no "none".
      judgement: a calibration's, in place of thresholds.
      uncalibrated: what a calibration that was given has no images of, as a noun; "": nothing.
    """
    verdict = _decide_here(evidence, policy, caveat, judgement, uncalibrated)
    if verdict.kind == "none" and caveat.elsewhere:
        reason = f"{verdict.reason}, but {caveat.elsewhere}"
        return replace(verdict, kind="undecided", reason=reason)
    if verdict.kind == "undecided" and caveat.elsewhere:
        return replace(verdict, reason=f"{verdict.reason}; {caveat.elsewhere}")
    if verdict.kind == "none" and caveat.alone:
        return replace(verdict, reason=f"{verdict.reason}, {caveat.alone}")
    return verdict


def _decide_here(
    evidence: Sequence[Evidence],
    policy: DecisionConfig | None,
    caveat: Caveat,
    judgement: Judgement | None,
    uncalibrated: str,
) -> Verdict:
    """Return the verdict under the settings that were searched; arguments as of `decide`."""
    policy = policy or DecisionConfig()
    count, ranked = _ranked(evidence)
    # 1. Proof: a certificate needs neither thresholds nor calibration.
    certified = _certified(ranked)
    if certified:
        return _by_certificate(ranked, certified)
    margin = _ratio(ranked[1][1], ranked[0][1]) if len(ranked) > 1 else None
    # 2. Error rates: the calibration's words, where it has images like this one.
    if judgement is not None:
        names = judgement.candidates if judgement.kind == "made-by" else ()
        return Verdict(judgement.kind, names, None, margin, judgement.sentence.rstrip("."))
    # 3. Thresholds; what the file says may forbid "none".
    kind, reason = _by_thresholds(ranked, count, margin, policy)
    if kind == "none" and caveat.text:
        kind, reason = "undecided", f"{NONE_BUT} {caveat.text}"
    if uncalibrated:
        reason = f"{reason}; not calibrated for {uncalibrated}, so by thresholds"
    return Verdict(kind, ranked[0][0] if kind == "made-by" else (), None, margin, reason)


def is_certified(evidence: Sequence[Evidence]) -> bool:
    """Return whether a certificate decides on an image, whatever the policy."""
    return bool(_certified(_ranked(evidence)[1]))


def needs_usual_misses(evidence: Sequence[Evidence], policy: DecisionConfig) -> bool:
    """Return whether an image could be "none" if the candidates' usual misses were known."""
    _, ranked = _ranked(evidence)
    return (
        policy.thresholds
        and bool(ranked)
        and (ranked[0][1].residual or 0.0) > policy.none_above
        and decide(evidence, policy).kind == "undecided"
    )


def leads_by_thresholds(evidence: Sequence[Evidence], policy: DecisionConfig) -> bool:
    """Return whether an image without a certificate is named if the closest one's bits suffice."""
    _, ranked = _ranked(evidence)
    return policy.thresholds and not _certified(ranked) and _leads(ranked, policy)


def _leads(ranked: list[Model], policy: DecisionConfig) -> bool:
    """Return whether the closest model is near, and the second one far behind.

    Below the floor of rounding nothing is better.
    """
    if len(ranked) < 2:
        return False
    first, second = (model[1].residual or 0.0 for model in ranked[:2])
    return first <= policy.winner and second >= policy.ratio * max(first, ROUNDING_FLOOR)


def _ranked(evidence: Sequence[Evidence]) -> tuple[int, list[Model]]:
    """Return the number of models, and those that have a reproduction, the closest first."""
    models = _models(evidence)
    with_residual = [model for model in models if model[1].residual is not None]
    return len(models), sorted(with_residual, key=lambda model: model[1].residual or 0.0)


def _certified(ranked: list[Model]) -> list[Model]:
    """Return the models whose reproduction is proof."""
    return [(names, e) for names, e in ranked if e.certificate is not None and e.certificate.holds]


def _by_certificate(ranked: list[Model], certified: list[Model]) -> Verdict:
    """Return the verdict that names every model with a certificate."""
    certificate = certified[0][1].certificate
    assert certificate is not None
    names = tuple(name for group, _ in certified for name in group)
    rest = [e for group, e in ranked if group not in [g for g, _ in certified]]
    margin = _ratio(rest[0], certified[0][1]) if rest else None
    cause = f"{certificate.alteration} explains" if certificate.alteration else "8-bit rounding"
    reason = (
        f"the reproduction differs from the image by no more than {cause}, with"
        f" {certificate.evidence_bits:.0f} bits of evidence"
    )
    if len(certified) > 1:
        reason += f"; {len(certified)} models reproduce it, so the image cannot tell them apart"
    return Verdict("made-by", names, certificate, margin, reason)


def _by_thresholds(
    ranked: list[Model], count: int, margin: float | None, policy: DecisionConfig
) -> tuple[str, str]:
    """Return the kind of a verdict without certificate or calibration, and its reason.

    Args:
      ranked: the models that have a reproduction, the closest first.
      count: of all models.
      margin: the second one's residual over the first one's.
      policy: the thresholds.
    """
    if not ranked:
        return (
            "failed",
            "every restart of every candidate failed; this says nothing about the image",
        )
    names, winner = ranked[0]
    assert winner.residual is not None
    if not policy.thresholds:
        return "undecided", f"{names[0]} is the closest by this distance; calibrate to judge"
    # A latent with as many numbers as the image has can fit anything.
    if winner.spare is not None and winner.spare < MIN_EXCESS:
        return "undecided", SMALL.format(names[0], winner.spare)
    proof = winner.certificate
    if proof is not None and proof.fits and proof.evidence_bits < MIN_BITS:
        how = f"as near as {proof.alteration} explains" if proof.alteration else "but for rounding"
        return "undecided", EXPRESSIVE.format(names[0], how, proof.evidence_bits, MIN_BITS)
    # "made-by": near, and the runner-up far behind; and no sign of a candidate that can come near
    # to anything.
    if _leads(ranked, policy):
        if len(ranked) < count:
            return "undecided", FAILED_REASON
        if winner.bits is None:
            return "undecided", UNKNOWN_BITS.format(names[0])
        if winner.bits < MIN_BITS:
            how = f"up to a residual of {winner.residual:.1e}"
            return "undecided", EXPRESSIVE.format(names[0], how, winner.bits, MIN_BITS)
        return "made-by", (
            f"residual {winner.residual:.1e} is at most {policy.winner:.3g} and the"
            f" runner-up's {margin:.3g} times it, with {winner.bits:.0f} bits of evidence; no"
            " certificate"
        )
    # "none": every model far above its usual misses, after enough restarts.
    misses = [e for _, e in ranked if not _far(e, policy)]
    few = [e for _, e in ranked if e.restarts < _enough(e, policy)]
    if not misses and not few and len(ranked) == count:
        return "none", NONE_REASON + _missed([e for _, e in ranked])
    return "undecided", _what_would_settle(ranked, misses, few, policy)


def _missed(evidence: Sequence[Evidence]) -> str:
    """Return how many own images so many restarts may miss, in words, where that was measured."""
    bounds = [e.miss_bound for e in evidence]
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(bounds):
        return ""
    return f"; so many restarts miss at most {max(known):.0%} of those (95 %, without a model)"


def _what_would_settle(
    ranked: list[Model], misses: list[Evidence], few: list[Evidence], policy: DecisionConfig
) -> str:
    """Return why there is no verdict, and what would settle it."""
    names, winner = ranked[0]
    if (winner.residual or 0.0) <= policy.winner and len(ranked) > 1:
        return (
            f"{names[0]} and {ranked[1][0][0]} both come near; the original file, the alteration by"
            " name, or a"
            " calibration would tell them apart"
        )
    if (winner.residual or 0.0) <= policy.none_above:
        return (
            f"{names[0]} comes so near that small changes to an image of its own would explain it;"
            " name the"
            " alteration, find the original file, or calibrate"
        )
    measured = [e for e in misses if e.usual_miss is not None]
    if measured:
        name = measured[0].name
        return (
            f"{name} comes as close as it does on its own images when a search misses; try more"
            " restarts"
        )
    if few:
        return (
            f"{few[0].name} had {few[0].restarts} restarts; {_enough(few[0], policy)} are"
            " needed to say none"
        )
    if misses:
        return "no candidate is far enough ahead of the others; try more restarts, or calibrate"
    return FAILED_REASON


def _enough(evidence: Evidence, policy: DecisionConfig) -> int:
    """Return the restarts of a candidate that "none" needs."""
    return min(policy.none_restarts, evidence.restarts_needed or policy.none_restarts)


def _far(evidence: Evidence, policy: DecisionConfig) -> bool:
    if evidence.usual_miss is None or evidence.residual is None:
        return False
    return evidence.residual > max(policy.none_above, policy.none_factor * evidence.usual_miss)


def _ratio(runner_up: Evidence, winner: Evidence) -> float:
    return float(min(1e30, (runner_up.residual or 0.0) / max(winner.residual or 0.0, 1e-12)))


def _models(evidence: Sequence[Evidence]) -> list[Model]:
    """Return the candidates with those of one digest joined: (names, the better evidence).

    Of a model that was searched under several settings, only the names with the better evidence's
    are its names.
    """
    groups: dict[str, list[Evidence]] = {}
    for e in evidence:
        groups.setdefault(e.digest, []).append(e)
    best = {d: min(es, key=_rank) for d, es in groups.items()}
    alike = {d: [e.name for e in es if e.settings == best[d].settings] for d, es in groups.items()}
    first = {d: best[d].name for d in groups}  # the name whose evidence is stated comes first
    names = {d: (first[d], *(name for name in alike[d] if name != first[d])) for d in groups}
    return [(names[d], best[d]) for d in groups]


def _rank(evidence: Evidence) -> tuple[bool, float]:
    """Return the order of evidence of one model: proof first, then what comes nearest.

    A wider space comes nearer than a narrow one, and proves less: it does not hide a certificate.
    """
    proven = evidence.certificate is not None and evidence.certificate.holds
    return not proven, np.inf if evidence.residual is None else evidence.residual
