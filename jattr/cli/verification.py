"""What `jattr verify` checks: a saved result against the candidates, the pictures and a new run of every test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jattr.bounded_json import read_json_text
from jattr.cli.result_folder import LATENTS, SavedResult, file_sha256
from jattr.errors import CardError, GeneratorError, InputError
from jattr.generators.settings import NOISE
from jattr.images import Picture, load_picture

if TYPE_CHECKING:
    from jattr.decision.certificate import Certificate
    from jattr.generators.base import Generator
    from jattr.inversion.accused import Accused

# How far figures may differ on another device: float32 sums in another order move a pixel by about 1e-6, 1e-4 of a
# rounding step; the sums of squares by less than this.
RELATIVE = 1e-3  # of statistic and residual
RANK = 1  # a direction at the limit of what counts
BYTES = 2e-3  # of the share of identical bytes: pixels at the border of two bytes
P_VALUE = 0.02
RESIDUAL = 1e-9  # (1e-6)^2 and its like, far below what rounding leaves (5e-6)


@dataclass
class Report:
    """The outcome of a verification."""

    checked: list[dict[str, Any]] = field(default_factory=list)  # certificates that were carried out again
    pictures: int = 0  # with a stated certificate
    differences: list[str] = field(default_factory=list)  # one line each
    unchecked: list[str] = field(default_factory=list)  # what could not be carried out again, and why


def verify_result(saved: SavedResult, paths: Sequence[str], pictures: Sequence[str] | None) -> Report:
    """Return what was checked and what differs.

    Args:
      saved: the result.
      paths: of the candidates, any order; those that certificates name must be among them.
      pictures: files to look for the pictures in, by SHA-256; None: the paths that the result states.

    Raises:
      InputError: a file cannot be read, or a candidate that is needed was not given.
    """
    report = Report()
    _check_latents(saved, report)
    generators = _load_candidates(saved, paths, report)
    files = None if pictures is None else {file_sha256(path): path for path in pictures}
    for number, row in enumerate(saved.data["pictures"]):
        _check_row(row, report)
        names = [name for name, stated in row["certificates"].items() if stated is not None and stated["holds"]]
        path = _find_picture(row, files, bool(names), report)
        if not names:
            continue
        report.pictures += 1
        picture = None if path is None else load_picture(path)
        for name in names:
            if picture is not None and name in generators:
                _verify_certificate(saved, number, name, generators[name], picture, report)
    return report


def _check_latents(saved: SavedResult, report: Report) -> None:
    if saved.latents_sha256 != saved.data["latents"]["sha256"]:
        report.differences.append(f"{LATENTS}: its SHA-256 is not the one that result.json states")
    for stated, candidate in zip(saved.digests, saved.data["candidates"], strict=True):
        if stated != candidate["digest"]:
            report.differences.append(f"{LATENTS}: states another digest of candidate {candidate['name']!r}")


def _load_candidates(saved: SavedResult, paths: Sequence[str], report: Report) -> dict[str, Generator]:
    """Return the candidates by their names in the result; those that differ from it are reported and left out."""
    stated = {candidate["name"]: candidate for candidate in saved.data["candidates"]}
    found: dict[str, Generator] = {}
    changed = set()
    for path in paths:
        gen, name = _load_candidate(path, stated, report)
        changed |= {name} if gen is None else set()
        if gen is None:
            continue
        same = [name for name, candidate in stated.items() if candidate["digest"] == gen.digest]
        found |= {name: _viewed(gen, stated[name]) for name in same}
        if not same:
            if gen.name not in stated:
                raise InputError(f"{path!r} is generator {gen.name!r}, no candidate of the result; leave it away")
            what = "weights" if stated[gen.name]["weights_digest"] != gen.weights_digest else "card's settings"
            report.differences.append(
                f"candidate {gen.name!r}: its {what} are not those of the result (digest differs)"
            )
            changed.add(gen.name)
    needed = {
        n for row in saved.data["pictures"] for n, c in row["certificates"].items() if c is not None and c["holds"]
    }
    missing = sorted(needed - set(found) - changed)
    if missing and not (changed - set(stated)):
        raise InputError(f"certificates name {', '.join(map(repr, missing))}; give them with --candidates")
    return found


def _viewed(gen: Generator, candidate: Mapping[str, Any]) -> Generator:
    """Return a candidate in the space and under the settings that the result states."""
    settings, space = candidate.get("settings") or {}, candidate.get("space", "z")
    if settings.get("noise", "const") not in NOISE:
        return gen.view(space)  # its latents prove nothing, so no certificate needs it
    return gen.view(space, **settings)


def _load_candidate(path: str, stated: Mapping[str, Any], report: Report) -> tuple[Generator | None, str]:
    """Return a candidate; None and its name if the folder is not as it was written, which is reported."""
    from jattr.generators.store import find_generator, load_generator

    folder = find_generator(path)
    try:
        return load_generator(path), ""
    except CardError:
        raise
    except GeneratorError as error:  # damaged weights, or digests that are not what its card states
        report.differences.append(f"candidate {path!r} is not as it was written: {error}")
        return None, _card_name(folder, stated)


def _card_name(folder: Path, stated: Mapping[str, Any]) -> str:
    """Return the name of the candidate in a damaged folder: the card's, or the folder's."""
    try:
        name = read_json_text((folder / "card.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        name = folder.name
    return name if name in stated else folder.name


def _check_row(row: Mapping[str, Any], report: Report) -> None:
    """Check that a row's verdict follows from its certificates."""
    certificate, candidate = row["certificate"], row["candidate"]
    holding = sorted(name for name, stated in row["certificates"].items() if stated is not None and stated["holds"])
    stated = row["certificates"].get(candidate) if candidate is not None else None
    agrees = certificate is None or (row["verdict"] == "made-by" and certificate == stated)
    if not agrees or (holding and (certificate is None or candidate not in holding)):
        report.differences.append(f"{row['file']!r}: verdict and certificates in result.json contradict each other")


def _find_picture(row: Mapping[str, Any], files: Mapping[str, str] | None, needed: bool, report: Report) -> str | None:
    """Return where the picture is; a picture that differs is reported, and one that is needed and missing."""
    name, sha256 = row["file"], row["sha256"]
    if files is not None:
        if needed and sha256 not in files:
            report.differences.append(f"{name!r}: none of the given pictures has its SHA-256")
        return files.get(sha256)
    if sha256 is None or (not needed and not Path(name).is_file()):
        return None
    try:
        now = file_sha256(name)
    except InputError as error:
        raise InputError(f"{error}; give the pictures with --pictures") from error
    if now != sha256:
        report.differences.append(f"{name!r}: the picture was changed, its SHA-256 differs")
        return None
    return str(name)


def _verify_certificate(
    saved: SavedResult, number: int, name: str, gen: Generator, picture: Picture, report: Report
) -> None:
    """Carry out one certificate again and compare it with what is stated."""
    row = saved.data["pictures"][number]
    column = [candidate["name"] for candidate in saved.data["candidates"]].index(name)
    z, label, stated = saved.z[column][number], int(saved.label[number, column]), row["certificates"][name]
    problem = _unusable(gen, z, label, row["labels"][name])
    if problem:
        report.differences.append(f"{row['file']!r}, candidate {name!r}: {problem}")
        return
    try:
        found, residual = _again(saved, row, stated, gen, picture, z, label, report)
    except InputError as error:
        report.differences.append(f"{row['file']!r}, candidate {name!r}: {error}")
        return
    lines = _differences(stated, found)
    lines += [] if residual is None else _residual_differs(row["residual"][name], residual)
    report.differences += [f"{row['file']!r}, candidate {name!r}: {line}" for line in lines]
    report.checked.append({"file": row["file"], "candidate": name, "text": _text(found), **found.to_dict()})


def _again(
    saved: SavedResult,
    row: Mapping[str, Any],
    stated: Mapping[str, Any],
    gen: Generator,
    picture: Picture,
    z: np.ndarray,
    label: int,
    report: Report,
) -> tuple[Certificate, float | None]:
    """Return the certificate and the residual, computed again; None if the distance that it is by cannot be had.

    Raises:
      InputError: the picture does not fit the candidate, or cannot have been altered as is stated.
    """
    from jattr.cli.alterations import stated_picture
    from jattr.decision.certificate import certify, certify_altered
    from jattr.inversion.altered import make_altered
    from jattr.inversion.config import InvertConfig
    from jattr.inversion.observation import make_accused

    if row.get("alteration"):
        altered = make_altered(gen, stated_picture(row["alteration"], picture, gen))
        return certify_altered(altered, 0, z, label), _residual(altered, z, label)
    pixels = picture.fit(gen.image_shape, resize=saved.data["settings"]["resize"]).pixels
    found = certify(gen, z, pixels, label=label, rounding=stated["rounding"])
    config = InvertConfig(distance=saved.data["settings"]["inversion"].get("distance"))
    try:
        accused = make_accused(gen, pixels[None], config)
    except InputError as error:  # the certificate speaks of pixels
        if config.distance is None:
            raise
        report.unchecked.append(f"the residuals by {config.distance!r}: {error}")
        return found, None
    return found, _residual(accused, z, label)


def _unusable(gen: Generator, z: np.ndarray, label: int, stated: int | None) -> str:
    """Return why no picture can be made of a latent, or nothing."""
    if z.shape != gen.latent_shape:
        return f"the latent has shape {list(z.shape)}, the generator takes {list(gen.latent_shape)}"
    if not np.isfinite(z).all():
        return "the latent has numbers that are not finite"
    if label != (-1 if stated is None else stated) or not (0 <= label < gen.num_classes or label == -1):
        return f"{LATENTS} has class {label}, result.json {stated}"
    if (label < 0) != (gen.num_classes == 0):
        return f"the class is {label} but the generator has {gen.num_classes} classes"
    return ""


def _differences(stated: Mapping[str, Any], found: Certificate) -> list[str]:
    """Return one line for each figure that is not what was stated."""
    lines = []
    if not found.holds:
        lines.append(f"the certificate does not hold: {_text(found)}")
    limits = {
        "identical_bytes": BYTES,
        "unclipped": 0,
        "rank": RANK,
        "excess": RANK,
        "statistic": RELATIVE * max(abs(found.statistic), 1.0) + 2.0 * (found.rank != stated["rank"]),
        "p_value": P_VALUE,
    }
    for name, limit in limits.items():
        value = getattr(found, name)
        if abs(value - stated[name]) > limit:
            lines.append(f"{name} is {value:.6g}, result.json states {stated[name]:.6g}")
    if stated["bit_exact"] and found.identical_bytes < 1 - BYTES:
        lines.append("result.json states bit-exact, which it is not")
    return lines


def _residual(accused: Accused, z: np.ndarray, label: int) -> float:
    """Return the residual as `attribute` defines it."""
    return float(accused.residuals(z[None], np.array([label], np.int32) if accused.gen.num_classes else None)[0])


def _residual_differs(stated: float | None, found: float) -> list[str]:
    if stated is not None and abs(found - stated) <= RELATIVE * stated + RESIDUAL:
        return []
    return [f"the residual is {found:.6g}, result.json states {stated if stated is None else format(stated, '.6g')}"]


def _text(found: Certificate) -> str:
    return (
        f"p {found.p_value:.3g}, statistic {found.statistic:.1f} with {found.excess} degrees of freedom,"
        f" {100 * found.identical_bytes:.2f} % of bytes identical ({found.rounding})"
    )
