"""`jattr verify`: the evidence of one image under one candidate, computed again from the latent."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jattr.attribution.alteration_search import stated_image
from jattr.attribution.certify import certify, describe_image
from jattr.attribution.result_json import support_record
from jattr.decision.certificate import Certificate
from jattr.decision.verdict import DecisionConfig
from jattr.decision.weights_age import age_text
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.images import LoadedImage
from jattr.inversion.observation.altered import make_altered_observation
from jattr.inversion.observation.base import Observation
from jattr.inversion.observation.make import make_observation
from jattr.inversion.settings import Automatic, MultiStart
from jattr.typing import Json
from jattr.verification.candidates import reproducible
from jattr.verification.report import RowReport
from jattr.verification.result_folder import LATENTS, SavedResult

# How far figures may differ on another device: float32 sums in another order move a pixel by about
# 1e-6, 1e-4 of a rounding step; the sums of squares by less than this.
RELATIVE = 1e-3  # of statistic, residual and whatever has no limit of its own
RANK = 1  # a direction at the limit of what counts
BYTES = 2e-3  # of the share of identical bytes: pixels at the border of two bytes
EDGE = 0.01  # of a rounding step: how near the border such a pixel lies
P_VALUE = 0.02
GENERAL_BITS = 0.02  # of the bits in general: coders without loss differ a little by version
RESIDUAL = 1e-9  # (1e-6)^2 and its like, far below what rounding leaves (5e-6)
SUPPORT = 1e-6  # of the largest |z|: read, not computed


def latent_differences(saved: SavedResult, number: int, column: int) -> list[str]:
    """Return one line for each statement on a latent that the latent itself contradicts."""
    row, name = saved.data["pictures"][number], saved.data["candidates"][column]["name"]
    z, label, found = (
        saved.z[column][number],
        int(saved.label[number, column]),
        bool(saved.found[number, column]),
    )
    if found != (row["residual"][name] is not None):
        says = "a latent" if found else "no latent"
        return [f"{LATENTS} has {says}, result.json states residual {row['residual'][name]}"]
    if not found:
        return (
            []
            if row["certificates"][name] is None
            else ["a certificate is stated where no latent was found"]
        )
    if not np.isfinite(z).all():
        return ["the latent has numbers that are not finite"]
    lines = []
    if label != (-1 if row["labels"][name] is None else row["labels"][name]):
        lines.append(f"{LATENTS} has class {label}, result.json {row['labels'][name]}")
    largest, stated = float(np.abs(z).max()), (row["support"].get(name) or {}).get("largest")
    if stated is None or abs(stated - largest) > SUPPORT * largest:
        lines.append(f"support: the largest |z| is {largest:.6g}, result.json states {stated}")
    digest = hashlib.sha256(z.astype("<f4").tobytes()).hexdigest()
    if "latent_sha256" in row and row["latent_sha256"].get(name) != digest:
        lines.append("latent_sha256 is not that of the latent")
    return lines


def certificate_differences(stated: Mapping[str, Json], recomputed: Certificate) -> list[str]:
    """Return one line for each figure of a certificate that is not what was stated."""
    if stated["holds"] and not recomputed.holds:
        return [f"the certificate does not hold: {certificate_text(recomputed)}"]
    lines = []
    for name, value in recomputed.to_dict().items():
        # older results lack what was added since
        expected = stated.get(name, "" if name == "alteration" else value)
        if name == "bit_exact":
            lines += _exactness_differs(stated, recomputed)
        elif not (_is_number(value) and _is_number(expected)):
            if value != expected:
                lines.append(f"{name} is {value!r}, result.json states {expected!r}")
        elif abs(value - expected) > _limit(name, stated, recomputed):
            lines.append(f"{name} is {value:.6g}, result.json states {expected:.6g}")
    return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exactness_differs(stated: Mapping[str, Json], recomputed: Certificate) -> list[str]:
    """Return a line where "bit-exact" cannot be true of the device that stated it, or where its
    own share denies it.
    """
    if stated["bit_exact"] != (stated["identical_bytes"] == 1.0):
        return ["result.json states bit_exact, which the share of identical bytes beside it denies"]
    on_the_edge = bool(recomputed.alteration) or recomputed.largest_deviation <= 0.5 + EDGE
    if (
        stated["bit_exact"]
        and not recomputed.bit_exact
        and not (on_the_edge and recomputed.identical_bytes >= 1 - BYTES)
    ):
        return ["result.json states bit-exact, which it is not"]
    return []


def bits_differ(stated: float | None, recomputed: float | None) -> list[str]:
    """Return a line if bits of evidence without a certificate are not what was stated."""
    if stated is None or recomputed is None:
        return []
    if abs(stated - recomputed) <= 1.0 + GENERAL_BITS * abs(recomputed):
        return []
    return [f"bits of evidence are {recomputed:.0f}, result.json states {stated:.0f}"]


def _limit(name: str, stated: Mapping[str, Json], recomputed: Certificate) -> float:
    """Return how far a figure may be from the one that was stated."""
    value = float(getattr(recomputed, name))
    if name == "statistic":
        # a direction more may take a step or two away where the certificate holds, and anything
        # where it does not
        direction = (
            0.0 if recomputed.rank == stated["rank"] else 2.0 if recomputed.holds else math.inf
        )
        return RELATIVE * max(abs(value), 1.0) + direction
    own = {
        "identical_bytes": BYTES,
        "unclipped": 0.0,
        "rank": RANK,
        "excess": RANK,
        "p_value": P_VALUE,
        "alpha": 0.0,
        "largest_deviation": EDGE + RELATIVE * value,
        "expected": RANK + RELATIVE * value,
        "latent_bits": 1.0 + RELATIVE * value,
        "general_bits": GENERAL_BITS * value,
        "evidence_bits": 1.0 + GENERAL_BITS * recomputed.general_bits,
    }
    return own.get(name, RELATIVE * abs(value))


def residual_differs(what: str, stated: float | None, recomputed: float) -> list[str]:
    """Return a line if a residual is not what was stated."""
    if stated is not None and abs(recomputed - stated) <= RELATIVE * stated + RESIDUAL:
        return []
    return [
        (
            f"{what} is {recomputed:.6g}, result.json states"
            f" {stated if stated is None else format(stated, '.6g')}"
        )
    ]


def certificate_text(certificate: Certificate) -> str:
    """Return a certificate's figures in words."""
    return (
        f"p {certificate.p_value:.3g}, statistic {certificate.statistic:.1f} with"
        f" {certificate.excess} degrees of freedom, {100 * certificate.identical_bytes:.2f} % of"
        f" bytes identical ({certificate.rounding}), {certificate.evidence_bits:.0f} bits of"
        " evidence"
    )


UNSTATED = "unstated"  # distance of an Attribution that was not written to files
PROVES_NOTHING = "a certificate is stated where a latent proves nothing"


class RecomputedEvidence(NamedTuple):
    """What a latent, the image and the candidate give."""

    # None: none is stated, and the latent is not near enough for one
    certificate: Certificate | None
    proves: bool  # whether one can prove anything here
    residual: float | None  # None: the distance that it is by cannot be had
    noise: float | None
    # numbers observed of the image beyond those of the latent
    spare: int | None = None
    unchecked: str = ""  # why there is no residual
    bits: float | None = None  # of evidence; None: not near enough to be asked


def verify_evidence(
    saved: SavedResult,
    number: int,
    column: int,
    gen: Generator,
    image: LoadedImage,
    report: RowReport,
) -> RecomputedEvidence | None:
    """Compute the evidence of a latent again and compare it with what is stated.

    Returns:
      The evidence; None where it could not be computed, which is reported.
    """
    row, candidate = saved.data["pictures"][number], saved.data["candidates"][column]
    name, stated = candidate["name"], row["certificates"][candidate["name"]]
    z, label = saved.z[column][number], int(saved.label[number, column])
    if stated is None and not reproducible(candidate):
        line = f"the residuals of {name!r}, whose noise was searched for"
        report.need(f"the noise of {name!r}", line)
        return None
    try:
        problem = _unusable(gen, z, label) if reproducible(candidate) else PROVES_NOTHING
        recomputed = None if problem else _again(saved, number, name, gen, image, z, label)
    except InputError as error:
        recomputed, problem = None, str(error)
    lines = [problem] if recomputed is None else _differences(row, name, gen, recomputed)
    report.differs(lines, f", candidate {name!r}")
    if recomputed is None:
        return None
    if recomputed.unchecked:
        report.need("the distance that was searched by", recomputed.unchecked)
    proof = recomputed.certificate
    if proof is not None and stated is not None and stated["holds"]:
        report.certificates.append(
            {
                "file": image.path,
                "candidate": name,
                "text": certificate_text(proof),
                **proof.to_dict(),
                "digest": gen.digest,
                "age": age_text(candidate.get("weights_dated")),
            }
        )
    return recomputed


def _again(
    saved: SavedResult,
    number: int,
    name: str,
    gen: Generator,
    image: LoadedImage,
    z: np.ndarray,
    label: int,
) -> RecomputedEvidence:
    """Return the evidence, with a certificate where one is stated or the latent is near enough.

    Raises:
      InputError: the image does not fit the candidate, or cannot have been altered as is stated.
    """
    row, settings = saved.data["pictures"][number], saved.data["settings"]
    stated = row["certificates"][name]
    if row.get("alteration"):
        return _altered_again(row["alteration"], stated, gen, image, z, label)
    pixels = image.fit(gen.image_shape, resize=settings["resize"]).pixels
    plain = Observation(gen, pixels[None])
    residual = _residual(plain, z, label)
    certifiable = stated is not None or plain.is_near(0, z, label, residual)
    rule = gen.rounding if stated is None else stated["rounding"]
    proof = certify(plain, 0, z, label, rounding=rule) if certifiable else None
    spare = plain.num_observed - z.size
    distance = settings["inversion"].get("distance")
    if distance == UNSTATED and residual_differs("", row["residual"][name], residual):
        reason = f"the residuals of {name!r}, which are not those of pixels"
        return RecomputedEvidence(proof, gen.proves, None, None, spare, reason)
    if distance in (None, UNSTATED):
        bits = _bits(plain, z, label, residual, proof)
        return RecomputedEvidence(proof, gen.proves, residual, plain.noise, spare, bits=bits)
    try:
        observation = make_observation(gen, pixels[None], MultiStart(distance=distance))
    except InputError as error:  # the certificate speaks of pixels
        return RecomputedEvidence(
            proof, gen.proves, None, None, spare, f"the residuals by {distance!r}: {error}"
        )
    return RecomputedEvidence(
        proof,
        gen.proves,
        _residual(observation, z, label),
        observation.noise,
        observation.num_observed - z.size,
    )


def _altered_again(
    alteration: str,
    stated: Mapping[str, Json] | None,
    gen: Generator,
    image: LoadedImage,
    z: np.ndarray,
    label: int,
) -> RecomputedEvidence:
    """Return the evidence of an image that was altered as is stated."""
    altered = make_altered_observation(gen, stated_image(alteration, image, gen))
    residual = _residual(altered, z, label)
    certifiable = stated is not None or altered.is_near(0, z, label, residual)
    proof = certify(altered, 0, z, label) if certifiable else None
    spare = altered.num_observed - z.size
    bits = _bits(altered, z, label, residual, proof)
    return RecomputedEvidence(proof, altered.certifiable, residual, altered.noise, spare, bits=bits)


def _bits(
    observation: Observation, z: np.ndarray, label: int, residual: float, proof: Certificate | None
) -> float | None:
    """Return the bits of evidence of a latent so near that its candidate may lead."""
    near = residual <= DecisionConfig.winner and z.size <= Automatic.max_evidence
    if not near or (proof is not None and proof.holds):
        return None
    return describe_image(observation, 0, z, label, residual).evidence


def _differences(
    row: Mapping[str, Json], name: str, gen: Generator, recomputed: RecomputedEvidence
) -> list[str]:
    """Return one line for each statement that the evidence contradicts."""
    stated, proof, lines = row["certificates"][name], recomputed.certificate, []
    if stated is not None and not recomputed.proves:
        lines.append(PROVES_NOTHING)
    if (
        stated is not None
        and not row.get("alteration")
        and gen.rounding not in (None, stated["rounding"])
    ):
        lines.append(
            f"rounding is {gen.rounding!r} by its card, result.json states {stated['rounding']!r}"
        )
    if stated is None and proof is not None and proof.holds:
        lines.append(
            f"a certificate holds that result.json does not state: {certificate_text(proof)}"
        )
    if stated is not None and proof is not None:
        lines += certificate_differences(stated, proof)
    if recomputed.residual is not None:
        lines += residual_differs("the residual", row["residual"][name], recomputed.residual)
    lines += bits_differ(row.get("bits", {}).get(name), recomputed.bits)
    if recomputed.noise is not None and name in row.get("noise", {}):
        lines += residual_differs("the noise", row["noise"][name], recomputed.noise)
    support = row["support"].get(name)  # where it is missing, that was reported
    if (
        support is not None
        and support_record(gen, support["largest"])["inside"] != support["inside"]
    ):
        lines.append(f"support: inside is not {support['inside']} of a prior that is {gen.prior!r}")
    return lines


def _unusable(gen: Generator, z: np.ndarray, label: int) -> str:
    """Return why no image can be made of a latent, or nothing."""
    if z.shape != gen.latent_shape:
        return f"the latent has shape {list(z.shape)}, the generator takes {list(gen.latent_shape)}"
    if not np.isfinite(z).all():
        return "no image can be made of numbers that are not finite"
    if (label < 0) != (gen.num_classes == 0) or not -1 <= label < max(1, gen.num_classes):
        return f"the class is {label} but the generator has {gen.num_classes} classes"
    return ""


def _residual(observation: Observation, z: np.ndarray, label: int) -> float:
    """Return the residual as `attribute` defines it; a large number where it is not finite."""
    labels = observation.gen.label_argument(label)
    value = float(observation.residuals(z[None], labels)[0])
    return value if math.isfinite(value) else 1e30
