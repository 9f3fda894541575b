"""From what the searches found to verdicts: the evidence of every candidate, and what it amounts
to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jattr.attribution.certify import certify
from jattr.attribution.pilot import PilotStudies, PilotStudy
from jattr.decision.certificate import Certificate
from jattr.decision.verdict import DecisionConfig, Evidence, Verdict, decide
from jattr.generators.base import Generator
from jattr.inversion.multistart import Inverter
from jattr.inversion.scheduler import Status


class Best(NamedTuple):
    """The best latent of every image under one candidate."""

    latents: np.ndarray  # [n, *latent_shape] float32
    labels: np.ndarray  # [n]; -1 if unconditional
    support: np.ndarray  # [n], largest |z|


def best_of(inverter: Inverter) -> Best:
    """Return the best latent of every image."""
    places = [inverter.best(i) for i in range(inverter.count)]
    z = np.stack([inverter.z[place] for place in places])
    labels = np.stack([inverter.label[place] for place in places])
    latents = z.reshape(-1, *inverter.gen.latent_shape).astype(np.float32)
    return Best(latents, labels, np.abs(z).reshape(len(z), -1).max(1))


def certificates_of(inverter: Inverter) -> list[Certificate | None]:
    """Return the certificate of every image's best latent, None where it is far or where it
    would prove nothing.
    """
    certificates: list[Certificate | None] = []
    observation = inverter.observation
    for image in range(inverter.count):
        place = inverter.best(image)
        z, label = inverter.z[place], int(inverter.label[place])
        if observation.is_near(image, z, label, inverter.loss[place]):
            rule = inverter.rounding[image]
            certificates.append(certify(observation, image, z, label, rounding=rule))
        else:
            certificates.append(None)
    return certificates


def residuals_of(inverter: Inverter) -> np.ndarray:
    """Return the residual of the best latent of every image [n], inf where every restart failed."""
    best = best_of(inverter)
    values = inverter.observation.residuals(best.latents, inverter.gen.label_argument(best.labels))
    lost = np.array(
        [not np.isfinite(inverter.loss[inverter.best(i)]) for i in range(inverter.count)]
    )
    return np.where(lost | ~np.isfinite(values), np.inf, values)


def verdicts_of(
    generators: Sequence[Generator],
    inverters: Sequence[Inverter],
    residuals: dict[Inverter, np.ndarray],
    pilot_studies: PilotStudies,
    decision: DecisionConfig,
) -> tuple[list[tuple[Evidence, ...]], list[Verdict]]:
    """Return the evidence [images][candidates] and the verdict of every image, by certificates and
    thresholds.

    Args:
      generators: the candidates.
      inverters: the searches of each candidate; candidates that are the same share one.
      residuals: of each search, [images].
      pilot_studies: held only where an image could be "none".
      decision: the thresholds.
    """
    certificates = {inverter: certificates_of(inverter) for inverter in residuals}

    def evidence_of(i: int, known: dict[Inverter, PilotStudy]) -> tuple[Evidence, ...]:
        return tuple(
            _evidence(
                gen, inv, i, residuals[inv][i], certificates[inv][i], known.get(inv), decision
            )
            for gen, inv in zip(generators, inverters, strict=True)
        )

    least = np.min(list(residuals.values()), axis=0)
    evidence = [evidence_of(i, {}) for i in range(len(least))]
    verdicts = [decide(row, decision) for row in evidence]
    far = [
        i
        for i, v in enumerate(verdicts)
        if v.kind == "undecided" and least[i] > decision.none_above
    ]
    if far and decision.thresholds:  # could be "none": how far is a miss of each?
        known = _pilot_studies(pilot_studies, residuals, far, decision)
        for i in far:
            evidence[i] = evidence_of(i, known)
            verdicts[i] = decide(evidence[i], decision)
    return evidence, verdicts


def _pilot_studies(
    pilot_studies: PilotStudies,
    residuals: dict[Inverter, np.ndarray],
    images: Sequence[int],
    decision: DecisionConfig,
) -> dict[Inverter, PilotStudy]:
    """Return pilot studies, of cheap candidates first, until no image is left that could be
    "none".
    """
    known: dict[Inverter, PilotStudy] = {}
    left = list(images)
    if min(inverter.restarts for inverter in residuals) < decision.none_restarts:
        return known
    for inverter in sorted(residuals, key=lambda inverter: inverter.cost):
        known[inverter] = pilot_studies.of(inverter)
        left = [
            i for i in left if residuals[inverter][i] > decision.none_factor * known[inverter].miss
        ]
        if not left:
            break
    return known


def _evidence(
    gen: Generator,
    inverter: Inverter,
    image: int,
    residual: float,
    certificate: Certificate | None,
    pilot_study: PilotStudy | None,
    decision: DecisionConfig,
) -> Evidence:
    status = inverter.status[image]
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
        usual_miss=None if pilot_study is None else pilot_study.miss,
        restarts_needed=None
        if pilot_study is None
        else pilot_study.restarts_needed(decision.miss_chance),
        miss_bound=None if pilot_study is None else pilot_study.miss_bound(restarts),
        spare=inverter.observation.num_observed - inverter.size,
    )
