"""From what the searches found to verdicts: the evidence of every candidate, and what it amounts to."""

from collections.abc import Sequence

import numpy as np

from jattr.decision.certificate import Certificate
from jattr.decision.verdict import DecisionConfig, Evidence, Verdict, decide
from jattr.findings import certificates_of
from jattr.generators.base import Generator
from jattr.inversion.inverter import Inverter
from jattr.inversion.lanes import Status
from jattr.rehearsal import Rehearsal, Rehearsals


def verdicts_of(
    generators: Sequence[Generator],
    inverters: Sequence[Inverter],
    residuals: dict[Inverter, np.ndarray],
    rehearsals: Rehearsals,
    decision: DecisionConfig,
) -> tuple[list[tuple[Evidence, ...]], list[Verdict]]:
    """Return the evidence [pictures][candidates] and the verdict of every picture, by certificates and thresholds.

    Args:
      generators: the candidates.
      inverters: the searches of each candidate; candidates that are the same share one.
      residuals: of each search, [pictures].
      rehearsals: held only where a picture could be "none".
      decision: the thresholds.
    """
    certificates = {inverter: certificates_of(inverter) for inverter in residuals}

    def evidence_of(i: int, known: dict[Inverter, Rehearsal]) -> tuple[Evidence, ...]:
        return tuple(
            _evidence(gen, inv, i, residuals[inv][i], certificates[inv][i], known.get(inv), decision)
            for gen, inv in zip(generators, inverters, strict=True)
        )

    least = np.min(list(residuals.values()), axis=0)
    evidence = [evidence_of(i, {}) for i in range(len(least))]
    verdicts = [decide(row, decision) for row in evidence]
    far = [i for i, v in enumerate(verdicts) if v.kind == "undecided" and least[i] > decision.none_above]
    if far and decision.thresholds:  # could be "none": how far is a miss of each?
        known = _rehearsed(rehearsals, residuals, far, decision)
        for i in far:
            evidence[i] = evidence_of(i, known)
            verdicts[i] = decide(evidence[i], decision)
    return evidence, verdicts


def _rehearsed(
    rehearsals: Rehearsals, residuals: dict[Inverter, np.ndarray], pictures: Sequence[int], decision: DecisionConfig
) -> dict[Inverter, Rehearsal]:
    """Return rehearsals, of cheap candidates first, until no picture is left that could be "none"."""
    known: dict[Inverter, Rehearsal] = {}
    left = list(pictures)
    if min(inverter.restarts for inverter in residuals) < decision.none_restarts:
        return known
    for inverter in sorted(residuals, key=lambda inverter: inverter.cost):
        known[inverter] = rehearsals.of(inverter)
        left = [i for i in left if residuals[inverter][i] > decision.none_factor * known[inverter].miss]
        if not left:
            break
    return known


def _evidence(
    gen: Generator,
    inverter: Inverter,
    picture: int,
    residual: float,
    certificate: Certificate | None,
    rehearsal: Rehearsal | None,
    decision: DecisionConfig,
) -> Evidence:
    status = inverter.status[picture]
    restarts = int((status != Status.SKIPPED).sum())
    return Evidence(
        name=gen.name,
        digest=gen.digest,
        residual=float(residual) if np.isfinite(residual) else None,
        certificate=certificate,
        restarts=restarts,
        arrived=int((status == Status.ARRIVED).sum()),
        failed=int((status == Status.FAILED).sum()),
        settings="" if gen.settings is None else f"{gen.space}, {gen.settings}",
        usual_miss=None if rehearsal is None else rehearsal.miss,
        restarts_needed=None if rehearsal is None else rehearsal.restarts_needed(decision.miss_chance),
        miss_bound=None if rehearsal is None else rehearsal.miss_bound(restarts),
        spare=inverter.accused.numbers - inverter.size,
    )
