"""From what the searches found to verdicts: the evidence of every candidate, and what it amounts to."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jattr.attribution.pilot import Rehearsal, Rehearsals
from jattr.decision.certificate import Certificate, certify, certify_altered
from jattr.decision.verdict import DecisionConfig, Evidence, Verdict, decide
from jattr.generators.base import Generator
from jattr.inversion.multistart import Inverter
from jattr.inversion.observation.altered import Altered
from jattr.inversion.observation.by_distance import Compared
from jattr.inversion.scheduler import Status


class Best(NamedTuple):
    """The best latent of every picture under one candidate."""

    latents: np.ndarray  # [n, *latent_shape] float32
    labels: np.ndarray  # [n]; -1 if unconditional
    support: np.ndarray  # [n], largest |z|


def best_of(inverter: Inverter) -> Best:
    """Return the best latent of every picture."""
    places = [inverter.best(i) for i in range(inverter.count)]
    z = np.stack([inverter.z[place] for place in places])
    labels = np.stack([inverter.label[place] for place in places])
    latents = z.reshape(-1, *inverter.gen.latent_shape).astype(np.float32)
    return Best(latents, labels, np.abs(z).reshape(len(z), -1).max(1))


def certificates_of(inverter: Inverter) -> list[Certificate | None]:
    """Return the certificate of every picture's best latent, None where it is far or where it would prove nothing."""
    found: list[Certificate | None] = []
    for i in range(inverter.count):
        place = inverter.best(i)
        accused, label = inverter.accused, int(inverter.label[place])
        near = inverter.gen.proves and inverter.loss[place] < accused.near
        if isinstance(accused, Altered):
            proof = certify_altered(accused, i, inverter.z[place], label) if near and accused.provable else None
            found.append(proof)
            continue
        if isinstance(accused, Compared):  # certificates speak of pixels
            labels = np.array([label]) if inverter.gen.num_classes else None
            plain = dataclasses.replace(accused.as_pixels(), pixels=accused.pixels[i : i + 1])
            near = accused.original.proves and float(plain.residuals(inverter.z[place][None], labels)[0]) < plain.near
        z = inverter.z[place].reshape(inverter.gen.latent_shape)
        rule = accused.maker.rounding if isinstance(accused, Compared) else inverter.rounding[i]
        found.append(certify(accused.maker, z, accused.pixels[i], label=label, rounding=rule) if near else None)
    return found


def residuals_of(inverter: Inverter) -> np.ndarray:
    """Return the residual of the best latent of every picture [n], inf where every restart failed."""
    best = best_of(inverter)
    values = inverter.accused.residuals(best.latents, best.labels if inverter.gen.num_classes else None)
    lost = np.array([not np.isfinite(inverter.loss[inverter.best(i)]) for i in range(inverter.count)])
    return np.where(lost | ~np.isfinite(values), np.inf, values)


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
