"""The verdict on one image, from its residual and certificate under every candidate.

Without a certificate the rules are thresholds, stated in `DecisionConfig` and printed with every
result; they are no error rates. With a calibration its judgement takes their place.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jattr.decision.certificate import BYTE_STEP, MIN_EXCESS, Certificate
from jattr.decision.judgement import Judgement

ROUNDING_FLOOR = BYTE_STEP**2 / 12.0  # mean square that rounding to bytes leaves: 5.1e-6
VERDICTS = ("made-by", "none", "undecided", "failed")
SMALL = (
    "{} was compared in only {} numbers beyond those of its latent, which prove nothing; a"
    " larger image would"
)
FAILED = "a candidate failed in every restart; try more of them"
NONE = "every candidate ends far above its usual misses on its own images"


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


def decide(evidence: Sequence[Evidence], config: DecisionConfig | None = None) -> Verdict:
    """Return the verdict on one image.

    Candidates of one digest are one model with several names. Several models with certificates are
    one class: this image cannot tell them apart.
    """
    config = config or DecisionConfig()
    models = _models(evidence)
    alive = [(names, e) for names, e in models if e.residual is not None]
    if not alive:
        return Verdict(
            "failed",
            (),
            None,
            None,
            "every restart of every candidate failed; this says nothing about the image",
        )
    alive.sort(key=lambda item: item[1].residual or 0.0)
    certified = [
        (names, e) for names, e in alive if e.certificate is not None and e.certificate.holds
    ]
    if certified:
        names = tuple(name for group, _ in certified for name in group)
        rest = [e for group, e in alive if group not in [g for g, _ in certified]]
        margin = _ratio(rest[0], certified[0][1]) if rest else None
        altered = certified[0][1].certificate is not None and certified[0][1].certificate.alteration
        cause = f"{altered} explains" if altered else "8-bit rounding"
        reason = f"the reproduction differs from the image by no more than {cause}"
        if len(certified) > 1:
            reason += f"; {len(certified)} models reproduce it, so the image cannot tell them apart"
        return Verdict("made-by", names, certified[0][1].certificate, margin, reason)
    return _without_certificate(alive, len(models), config)


def by_judgement(verdict: Verdict, judgement: Judgement) -> Verdict:
    """Return the verdict that a calibration's judgement gives, in its words."""
    names = judgement.candidates if judgement.kind == "made-by" else ()
    return Verdict(judgement.kind, names, None, verdict.margin, judgement.sentence.rstrip("."))


def not_calibrated(verdict: Verdict, condition: str) -> Verdict:
    """Return the verdict of thresholds, which says that the calibration has nothing of what was
    done to the image.
    """
    return dataclasses.replace(
        verdict, reason=f"{verdict.reason}; not calibrated for {condition}, so by thresholds"
    )


def _without_certificate(
    alive: list[tuple[tuple[str, ...], Evidence]], models: int, config: DecisionConfig
) -> Verdict:
    names, winner = alive[0]
    assert winner.residual is not None
    margin = _ratio(alive[1][1], winner) if len(alive) > 1 else None
    if not config.thresholds:
        return Verdict(
            "undecided",
            (),
            None,
            margin,
            f"{names[0]} is the closest by this distance; calibrate to judge",
        )
    # what is below the floor of rounding is not better than it
    needed = config.ratio * max(winner.residual, ROUNDING_FLOOR)
    if winner.spare is not None and winner.spare < MIN_EXCESS:
        return Verdict("undecided", (), None, margin, SMALL.format(names[0], winner.spare))
    if (
        winner.residual <= config.winner
        and len(alive) > 1
        and (alive[1][1].residual or 0.0) >= needed
    ):
        if len(alive) < models:
            return Verdict("undecided", (), None, margin, FAILED)
        reason = (
            f"residual {winner.residual:.1e} is at most {config.winner:.3g} and the"
            f" runner-up's {margin:.3g} times it"
        )
        return Verdict("made-by", names, None, margin, reason + "; no certificate")
    misses = [e for _, e in alive if not _far(e, config)]
    few = [e for _, e in alive if e.restarts < _enough(e, config)]
    if not misses and not few and len(alive) == models:
        return Verdict("none", (), None, margin, NONE + _missed([e for _, e in alive]))
    return Verdict("undecided", (), None, margin, _caveat(alive, misses, few, config))


def _missed(evidence: Sequence[Evidence]) -> str:
    """Return how many own images so many restarts may miss, in words, where that was measured."""
    bounds = [e.miss_bound for e in evidence]
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(bounds):
        return ""
    return f"; so many restarts miss at most {max(known):.0%} of those (95 %, without a model)"


def _caveat(
    alive: list[tuple[tuple[str, ...], Evidence]],
    misses: list[Evidence],
    few: list[Evidence],
    config: DecisionConfig,
) -> str:
    """Return why there is no verdict, and what would settle it."""
    names, winner = alive[0]
    if (winner.residual or 0.0) <= config.winner and len(alive) > 1:
        return (
            f"{names[0]} and {alive[1][0][0]} both come near; the original file, the alteration by"
            " name, or a"
            " calibration would tell them apart"
        )
    if (winner.residual or 0.0) <= config.none_above:
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
            f"{few[0].name} had {few[0].restarts} restarts; {_enough(few[0], config)} are"
            " needed to say none"
        )
    if misses:
        return "no candidate is far enough ahead of the others; try more restarts, or calibrate"
    return FAILED


def _enough(evidence: Evidence, config: DecisionConfig) -> int:
    """Return the restarts of a candidate that "none" needs."""
    return min(config.none_restarts, evidence.restarts_needed or config.none_restarts)


def _far(evidence: Evidence, config: DecisionConfig) -> bool:
    if evidence.usual_miss is None or evidence.residual is None:
        return False
    return evidence.residual > max(config.none_above, config.none_factor * evidence.usual_miss)


def _ratio(runner_up: Evidence, winner: Evidence) -> float:
    return float(min(1e30, (runner_up.residual or 0.0) / max(winner.residual or 0.0, 1e-12)))


def _models(evidence: Sequence[Evidence]) -> list[tuple[tuple[str, ...], Evidence]]:
    """Return the candidates with those of one digest joined: (names, the better evidence).

    Of a model that was searched under several settings, only the names with the better evidence's
    are its names.
    """
    groups: dict[str, list[Evidence]] = {}
    for e in evidence:
        groups.setdefault(e.digest, []).append(e)
    best = {
        d: min(es, key=lambda e: np.inf if e.residual is None else e.residual)
        for d, es in groups.items()
    }
    alike = {d: [e.name for e in es if e.settings == best[d].settings] for d, es in groups.items()}
    first = {d: best[d].name for d in groups}  # the name whose evidence is stated comes first
    names = {d: (first[d], *(name for name in alike[d] if name != first[d])) for d in groups}
    return [(names[d], best[d]) for d in groups]
