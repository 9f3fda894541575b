"""From searches to evidence: the best latent of each image, its residual and its certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jattr.attribution.certify import certify, describe_image
from jattr.attribution.pilot import PilotStudies, PilotStudy
from jattr.decision.certificate import Certificate
from jattr.decision.verdict import (
    DecisionConfig,
    Evidence,
    leads_by_thresholds,
    needs_usual_misses,
)
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
    indices = [inverter.results.best(i) for i in range(inverter.results.count)]
    z = np.stack([inverter.results.z[index] for index in indices])
    labels = np.stack([inverter.results.label[index] for index in indices])
    latents = z.reshape(-1, *inverter.gen.latent_shape).astype(np.float32)
    return Best(latents, labels, np.abs(z).reshape(len(z), -1).max(1))


def certificates_of(inverter: Inverter) -> list[Certificate | None]:
    """Return the certificate of every image's best latent.

    None where the latent is far from the image, or where a certificate would prove nothing.
    """
    certificates: list[Certificate | None] = []
    observation = inverter.observation
    for image in range(inverter.results.count):
        index = inverter.results.best(image)
        z, label = inverter.results.z[index], int(inverter.results.label[index])
        if observation.is_near(image, z, label, inverter.results.loss[index]):
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
        [
            not np.isfinite(inverter.results.loss[inverter.results.best(i)])
            for i in range(inverter.results.count)
        ]
    )
    return np.where(lost | ~np.isfinite(values), np.inf, values)


def evidence_of(
    candidates: Sequence[Generator],
    inverters: Sequence[Inverter],
    residuals: Mapping[Inverter, np.ndarray],
    pilot_studies: PilotStudies,
    policy: DecisionConfig,
) -> list[tuple[Evidence, ...]]:
    """Return the evidence [images][candidates].

    Args:
      candidates: the models.
      inverters: the searches of each candidate; candidates that are the same share one.
      residuals: of each search, [images].
      pilot_studies: held only where an image could be "none".
      policy: of the decision.
    """
    certificates = {inverter: certificates_of(inverter) for inverter in residuals}

    def row(i: int, studies: Mapping[Inverter, PilotStudy]) -> tuple[Evidence, ...]:
        return tuple(
            _evidence(
                gen, inv, i, residuals[inv][i], certificates[inv][i], studies.get(inv), policy
            )
            for gen, inv in zip(candidates, inverters, strict=True)
        )

    evidence = [row(i, {}) for i in range(inverters[0].results.count)]
    # A lead counts if the leader does not come as near to images that it did not make.
    for i, es in enumerate(evidence):
        if leads_by_thresholds(es, policy):
            evidence[i] = _with_bits(es, inverters, i)
    # Only an image that is far from every candidate asks how far a miss of each would be.
    far = [i for i, es in enumerate(evidence) if needs_usual_misses(es, policy)]
    if far:
        studies = _pilot_studies(pilot_studies, residuals, far, policy)
        for i in far:
            evidence[i] = row(i, studies)
    return evidence


def _with_bits(
    evidence: Sequence[Evidence], inverters: Sequence[Inverter], image: int
) -> tuple[Evidence, ...]:
    """Return the evidence of an image with the bits of the candidate that is closest."""
    closest = min((e for e in evidence if e.residual is not None), key=lambda e: e.residual or 0.0)
    return tuple(
        replace(e, bits=bits_of(inverter, image, e.residual or 0.0)) if e == closest else e
        for e, inverter in zip(evidence, inverters, strict=True)
    )


def bits_of(inverter: Inverter, image: int, residual: float) -> float | None:
    """Return the bits of evidence of an image's best latent; None: it has too many numbers."""
    if inverter.size > inverter.settings.automatic.max_evidence:
        return None
    index = inverter.results.best(image)
    z, label = inverter.results.z[index], int(inverter.results.label[index])
    return describe_image(inverter.observation, image, z, label, residual).evidence


def _pilot_studies(
    pilot_studies: PilotStudies,
    residuals: Mapping[Inverter, np.ndarray],
    images: Sequence[int],
    policy: DecisionConfig,
) -> dict[Inverter, PilotStudy]:
    """Return pilot studies, of cheap candidates first, until no image could be "none" any more."""
    studies: dict[Inverter, PilotStudy] = {}
    undecided = list(images)
    if min(inverter.results.restarts for inverter in residuals) < policy.none_restarts:
        return studies
    for inverter in sorted(residuals, key=lambda inverter: inverter.cost):
        studies[inverter] = pilot_studies.of(inverter)
        bound = policy.none_factor * studies[inverter].miss
        undecided = [i for i in undecided if residuals[inverter][i] > bound]
        if not undecided:
            break
    return studies


def _evidence(
    gen: Generator,
    inverter: Inverter,
    image: int,
    residual: float,
    certificate: Certificate | None,
    pilot_study: PilotStudy | None,
    policy: DecisionConfig,
) -> Evidence:
    status = inverter.results.status[image]
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
        else pilot_study.restarts_needed(policy.miss_chance),
        miss_bound=None if pilot_study is None else pilot_study.miss_bound(restarts),
        spare=inverter.observation.num_observed - inverter.size,
    )
