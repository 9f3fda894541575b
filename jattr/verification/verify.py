"""`verify`: a result against the candidates, the images and a new run of every test."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from jattr.attribution.result import Attribution
from jattr.attribution.result_json import candidate_record, finding_record
from jattr.errors import InputError
from jattr.folders import AnyPath
from jattr.generators.base import Generator
from jattr.images import LoadedImage, load_image
from jattr.typing import Json
from jattr.verification.candidates import load_candidates
from jattr.verification.evidence import (
    UNSTATED,
    latent_differences,
    verify_evidence,
    verify_verdict,
)
from jattr.verification.report import Report, Verification, holding
from jattr.verification.result_folder import LATENTS, SavedResult, file_sha256, read_result

# files; of an Attribution the images themselves, too, in its order: uint8 [H, W, C] each
Images: TypeAlias = Sequence[AnyPath] | Sequence[LoadedImage] | Sequence[np.ndarray] | np.ndarray


def verify(
    found_or_folder: Attribution | AnyPath,
    candidates: Sequence[Generator | AnyPath],
    *,
    images: Images | None = None,
) -> Verification:
    """Carry out every certificate of a result again, from its latents, and compare the verdicts.

    Nothing is searched. What rests on searches, or on files that are not at hand, is listed as
    unchecked; so are an Attribution's residuals that are not those of pixels, and its verdicts of
    images without a certificate, since it states neither distance nor thresholds.

    Args:
      found_or_folder: what `attribute` returned, or a folder that `jattr attribute` wrote.
      candidates: in any order, generators or where they are loaded from; those that certificates
        name must be among them.
      images: of a folder, files among which its images are found by SHA-256; None: the paths that
        it states. Of an Attribution the images in its order, which are needed.

    Returns:
      The certificates that were carried out, the differences, and what was not checked.

    Raises:
      InputError: a file cannot be read, or an image or a candidate that is needed was not given.
    """
    report = Report()
    if isinstance(found_or_folder, Attribution):
        loaded = _loaded_images(found_or_folder, images)
        saved = _without_files(found_or_folder, loaded)
    else:
        saved = read_result(found_or_folder)
        _check_latents(saved, report)
    generators = load_candidates(saved, candidates, report)
    files: dict[str, AnyPath] | None = None  # of a folder, by SHA-256
    if not isinstance(found_or_folder, Attribution) and images is not None:
        files = {file_sha256(path): path for path in _paths(images)}
    rows = saved.data["pictures"]
    for number, row in enumerate(rows):
        if isinstance(found_or_folder, Attribution):
            image: LoadedImage | None = loaded[number]
        else:
            searched = bool(saved.found[number].any())
            path = _find_image(row, files, searched, report)
            image = load_image(path) if path is not None and searched else None
        _verify_row(saved, number, generators, image, report)
    return report.finish(len(rows))


def _paths(images: Images) -> list[AnyPath]:
    """Return the paths of files.

    Raises:
      InputError: they are something else.
    """
    paths = [image for image in images if isinstance(image, str | Path)]
    if len(paths) < len(images):
        raise InputError("images of a result folder are found by SHA-256; give paths of files")
    return list(paths)


def _loaded_images(attribution: Attribution, images: Images | None) -> list[LoadedImage]:
    """Return the images of an attribution, in its order.

    Raises:
      InputError: there is not one for each of its verdicts.
    """
    count = len(attribution.verdicts)
    if images is None or len(images) != count:
        given = "none" if images is None else len(images)
        raise InputError(
            f"an Attribution does not hold its images; give all {count} with images=, in its order"
            f" (got {given})"
        )
    loaded = []
    for number, image in enumerate(images):
        if isinstance(image, np.ndarray):
            image = LoadedImage(f"image {number}", _pixels(number, image), "")
        loaded.append(image if isinstance(image, LoadedImage) else load_image(image))
    return loaded


def _pixels(number: int, image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3:
        raise InputError(
            f"image {number} is {image.dtype} {list(image.shape)}; give uint8 [H, W, C]"
        )
    return image


def _without_files(attribution: Attribution, images: Sequence[LoadedImage]) -> SavedResult:
    """Return an attribution as `read_result` returns one that was written."""
    rows = [
        {"file": image.path, "sha256": image.sha256} | finding_record(attribution, number)
        for number, image in enumerate(images)
    ]
    settings = {"resize": False, "inversion": {"distance": UNSTATED}, "decision": None}
    records = [candidate_record(gen) for gen in attribution.candidates]
    data = {"settings": settings, "candidates": records, "pictures": rows}
    has_latent = np.array(
        [np.isfinite(z).reshape(len(z), -1).all(axis=1) for z in attribution.latents]
    )
    return SavedResult(
        json.loads(json.dumps(data, allow_nan=False)),
        tuple(attribution.latents),
        attribution.labels,
        np.isfinite(attribution.residual) & has_latent.T,
        tuple(gen.digest for gen in attribution.candidates),
        "",
    )


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
    image: LoadedImage | None,
    report: Report,
) -> None:
    """Check one image: every candidate's latent and evidence, and the verdict."""
    row, candidates = saved.data["pictures"][number], saved.data["candidates"]
    certified = len(holding(row))
    report.stated += certified
    report.images += bool(certified)
    for column, candidate in enumerate(candidates):
        name = candidate["name"]
        lines = latent_differences(saved, number, column)
        report.differences += [f"{row['file']!r}, candidate {name!r}: {line}" for line in lines]
        if image is not None and name in generators and saved.found[number, column]:
            verify_evidence(saved, number, column, generators[name], image, report)
    verify_verdict(saved.data, row, image, report)


def _find_image(
    row: Mapping[str, Json], files: Mapping[str, AnyPath] | None, searched: bool, report: Report
) -> AnyPath | None:
    """Return where an image is; one that differs is reported, and one that is missed."""
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
