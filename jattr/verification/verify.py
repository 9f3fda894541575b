"""What `jattr verify` checks: a saved result against the candidates, the images and a new run of
every test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.images import load_image
from jattr.verification.candidates import load_candidates
from jattr.verification.evidence import latent_differences, verify_evidence, verify_verdict
from jattr.verification.report import NOT_CHECKED, Report, holding
from jattr.verification.result_folder import LATENTS, SavedResult, file_sha256


def verify_result(saved: SavedResult, paths: Sequence[str], images: Sequence[str] | None) -> Report:
    """Return what was checked and what differs.

    Args:
      saved: the result.
      paths: of the candidates, any order; those that certificates name must be among them.
      images: files to look for the images in, by SHA-256; None: the paths that the result states.

    Raises:
      InputError: a file cannot be read, or a candidate that is needed was not given.
    """
    report = Report()
    _check_latents(saved, report)
    generators = load_candidates(saved, paths, report)
    files = None if images is None else {file_sha256(path): path for path in images}
    for number in range(len(saved.data["pictures"])):
        _verify_row(saved, number, generators, files, report)
    if len(report.checked) < report.stated:
        report.differences.append(
            f"{report.stated} certificates are stated, {len(report.checked)} could be checked"
        )
    report.unchecked += NOT_CHECKED
    return report


def _check_latents(saved: SavedResult, report: Report) -> None:
    if saved.latents_sha256 != saved.data["latents"]["sha256"]:
        report.differences.append(f"{LATENTS}: its SHA-256 is not the one that result.json states")
    for stated, candidate in zip(saved.digests, saved.data["candidates"], strict=True):
        if stated != candidate["digest"]:
            report.differences.append(
                f"{LATENTS}: states another digest of candidate {candidate['name']!r}"
            )


def _verify_row(
    saved: SavedResult,
    number: int,
    generators: Mapping[str, Generator],
    files: Mapping[str, str] | None,
    report: Report,
) -> None:
    """Check one image: its file, every candidate's latent and evidence, the verdict."""
    row, candidates = saved.data["pictures"][number], saved.data["candidates"]
    proven, searched = len(holding(row)), bool(saved.found[number].any())
    report.stated, report.images = report.stated + proven, report.images + bool(proven)
    path = _find_image(row, files, searched, report)
    image = load_image(path) if path is not None and searched else None
    for column, candidate in enumerate(candidates):
        name = candidate["name"]
        lines = latent_differences(saved, number, column)
        report.differences += [f"{row['file']!r}, candidate {name!r}: {line}" for line in lines]
        if image is not None and name in generators and saved.found[number, column]:
            verify_evidence(saved, number, column, generators[name], image, report)
    verify_verdict(saved.data, row, image, report)


def _find_image(
    row: Mapping[str, Any], files: Mapping[str, str] | None, searched: bool, report: Report
) -> str | None:
    """Return where the image is; one that differs is reported, and one that a certificate needs
    and is missing.
    """
    name, sha256, needed = row["file"], row["sha256"], bool(holding(row))
    if sha256 is None:
        if needed or searched:
            report.differences.append(
                f"{name!r}: no SHA-256 is stated, so nothing says which image this is about"
            )
        return None
    if files is not None:
        if needed and sha256 not in files:
            report.differences.append(f"{name!r}: none of the given images has its SHA-256")
        elif searched and sha256 not in files:
            report.unchecked.append(
                f"the residuals of {name!r}, which is not among the given images"
            )
        return files.get(sha256)
    if not needed and not Path(name).is_file():
        report.unchecked += [f"the residuals of {name!r}, which is not there"] if searched else []
        return None
    try:
        now = file_sha256(name)
    except InputError as error:
        raise InputError(f"{error}; give the images with --pictures") from error
    if now != sha256:
        report.differences.append(f"{name!r}: the image was changed, its SHA-256 differs")
        return None
    return str(name)
