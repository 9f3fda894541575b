"""`jattr verify`: the evidence of one picture under one candidate, computed again from the latent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jattr.cli.result_folder import SavedResult
from jattr.cli.verify_candidates import reproducible
from jattr.cli.verify_figures import certificate_differences, certificate_text, residual_differs
from jattr.cli.verify_report import Report
from jattr.errors import InputError
from jattr.images import Picture

if TYPE_CHECKING:
    from jattr.decision.certificate import Certificate
    from jattr.generators.base import Generator
    from jattr.inversion.accused import Accused

PROVES_NOTHING = "a certificate is stated where a latent proves nothing"


class Evidence(NamedTuple):
    """What a latent, the picture and the candidate give."""

    certificate: Certificate | None  # None: none is stated, and the latent is not near enough for one
    proves: bool  # whether one can prove anything here
    residual: float | None  # None: the distance that it is by cannot be had
    noise: float | None
    unchecked: str = ""  # why there is no residual


def verify_evidence(
    saved: SavedResult, number: int, column: int, gen: Generator, picture: Picture, report: Report
) -> None:
    """Compute the evidence of a latent again and compare it with what is stated."""
    row, candidate = saved.data["pictures"][number], saved.data["candidates"][column]
    name, stated = candidate["name"], row["certificates"][candidate["name"]]
    z, label = saved.z[column][number], int(saved.label[number, column])
    if stated is None and not reproducible(candidate):
        report.unchecked.append(f"the residuals of {name!r}, whose noise was searched for")
        return
    try:
        problem = _unusable(gen, z, label) if reproducible(candidate) else PROVES_NOTHING
        found = None if problem else _again(saved, number, name, gen, picture, z, label)
    except InputError as error:
        found, problem = None, str(error)
    lines = [problem] if found is None else _differences(row, name, gen, found)
    report.differences += [f"{row['file']!r}, candidate {name!r}: {line}" for line in lines]
    report.unchecked += [] if found is None or not found.unchecked else [found.unchecked]
    if found is not None and found.certificate is not None and stated is not None and stated["holds"]:
        proof = found.certificate
        report.checked.append(
            {"file": picture.path, "candidate": name, "text": certificate_text(proof), **proof.to_dict()}
        )


def _again(
    saved: SavedResult, number: int, name: str, gen: Generator, picture: Picture, z: np.ndarray, label: int
) -> Evidence:
    """Return the evidence, computed again: a certificate where one is stated or the latent is near enough for one.

    Raises:
      InputError: the picture does not fit the candidate, or cannot have been altered as is stated.
    """
    from jattr.decision.certificate import certify
    from jattr.inversion.accused import Accused
    from jattr.inversion.config import InvertConfig
    from jattr.inversion.observation import make_accused

    row, settings = saved.data["pictures"][number], saved.data["settings"]
    stated = row["certificates"][name]
    if row.get("alteration"):
        return _altered_again(row["alteration"], stated, gen, picture, z, label)
    pixels = picture.fit(gen.image_shape, resize=settings["resize"]).pixels
    plain = Accused(gen, pixels[None])
    residual = _residual(plain, z, label)
    wanted = stated is not None or (gen.proves and residual < plain.near)
    rule = gen.rounding if stated is None else stated["rounding"]
    proof = certify(gen, z, pixels, label=label, rounding=rule) if wanted else None
    distance = settings["inversion"].get("distance")
    if distance is None:
        return Evidence(proof, gen.proves, residual, plain.noise)
    try:
        accused = make_accused(gen, pixels[None], InvertConfig(distance=distance))
    except InputError as error:  # the certificate speaks of pixels
        return Evidence(proof, gen.proves, None, None, f"the residuals by {distance!r}: {error}")
    return Evidence(proof, gen.proves, _residual(accused, z, label), accused.noise)


def _altered_again(
    alteration: str, stated: Mapping[str, Any] | None, gen: Generator, picture: Picture, z: np.ndarray, label: int
) -> Evidence:
    """Return the evidence of a picture that was altered as is stated."""
    from jattr.cli.alterations import stated_picture
    from jattr.decision.certificate import certify_altered
    from jattr.inversion.altered import make_altered

    altered = make_altered(gen, stated_picture(alteration, picture, gen))
    residual, proves = _residual(altered, z, label), gen.proves and altered.provable
    wanted = stated is not None or (proves and residual < altered.near)
    proof = certify_altered(altered, 0, z, label) if wanted else None
    return Evidence(proof, proves, residual, altered.noise)


def _differences(row: Mapping[str, Any], name: str, gen: Generator, found: Evidence) -> list[str]:
    """Return one line for each statement that the evidence contradicts."""
    from jattr.result import support_record

    stated, proof, lines = row["certificates"][name], found.certificate, []
    if stated is not None and not found.proves:
        lines.append(PROVES_NOTHING)
    if stated is not None and not row.get("alteration") and gen.rounding not in (None, stated["rounding"]):
        lines.append(f"rounding is {gen.rounding!r} by its card, result.json states {stated['rounding']!r}")
    if stated is None and proof is not None and proof.holds:
        lines.append(f"a certificate holds that result.json does not state: {certificate_text(proof)}")
    if stated is not None and proof is not None:
        lines += certificate_differences(stated, proof)
    if found.residual is not None:
        lines += residual_differs("the residual", row["residual"][name], found.residual)
    if found.noise is not None and name in row.get("noise", {}):
        lines += residual_differs("the noise", row["noise"][name], found.noise)
    support = row["support"].get(name)  # where it is missing, that was reported
    if support is not None and support_record(gen, support["largest"])["inside"] != support["inside"]:
        lines.append(f"support: inside is not {support['inside']} of a prior that is {gen.prior!r}")
    return lines


def _unusable(gen: Generator, z: np.ndarray, label: int) -> str:
    """Return why no picture can be made of a latent, or nothing."""
    if z.shape != gen.latent_shape:
        return f"the latent has shape {list(z.shape)}, the generator takes {list(gen.latent_shape)}"
    if not np.isfinite(z).all():
        return "no picture can be made of numbers that are not finite"
    if (label < 0) != (gen.num_classes == 0) or not -1 <= label < max(1, gen.num_classes):
        return f"the class is {label} but the generator has {gen.num_classes} classes"
    return ""


def _residual(accused: Accused, z: np.ndarray, label: int) -> float:
    """Return the residual as `attribute` defines it; a large number where it is not finite."""
    labels = np.array([label], np.int32) if accused.gen.num_classes else None
    value = float(accused.residuals(z[None], labels)[0])
    return value if math.isfinite(value) else 1e30
