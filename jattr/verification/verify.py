"""`verify`: a result against the candidates, the images and a new run of every test."""

import dataclasses
import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np

from jattr._version import __version__
from jattr.attribution.attribute import attribute
from jattr.attribution.calibrate import settings_digest
from jattr.attribution.calibration_files import read_calibration
from jattr.attribution.pilot import PilotStudy
from jattr.attribution.result import Attribution
from jattr.attribution.result_json import candidate_record, finding_record, schema_fields
from jattr.decision.calibration import Calibration
from jattr.decision.verdict import DecisionConfig
from jattr.decision.weights_age import DatedWeights, check_all_used, oldest
from jattr.errors import ImageError, InputError
from jattr.folders import AnyPath
from jattr.generators.base import Generator
from jattr.generators.settings import Settings
from jattr.images import LoadedImage, load_image
from jattr.inversion.config import InvertConfig, as_search
from jattr.inversion.settings import MultiStart
from jattr.runtime import jax_defaults
from jattr.typing import Json, JsonObject
from jattr.verification.candidates import first_names, load_candidates
from jattr.verification.evidence import (
    UNSTATED,
    RecomputedEvidence,
    latent_differences,
    verify_evidence,
)
from jattr.verification.repeated_search import RepeatedSearch, compare_search, config_of_result
from jattr.verification.report import SEARCH, Report, RowReport, Verification, holding
from jattr.verification.result_folder import LATENTS, SavedResult, file_sha256, read_result
from jattr.verification.verdicts import Rules, image_at_hand, verify_failed, verify_verdict

# files; of an Attribution the images themselves, too, in its order: uint8 [H, W, C] each
Images: TypeAlias = Sequence[AnyPath] | Sequence[LoadedImage] | Sequence[np.ndarray] | np.ndarray
Progress: TypeAlias = Callable[[int, int], object]  # called with (done, total) searches
NAMED = ("alpha", "thresholds")  # settings of the decision that a run may name
PACKAGES = ("jax", "jaxlib", "numpy")  # whose versions a search may depend on


@jax_defaults()
def verify(
    found_or_folder: Attribution | AnyPath,
    candidates: Sequence[Generator | AnyPath],
    *,
    images: Images | None = None,
    calibration: Calibration | AnyPath | None = None,
    search: bool | MultiStart | InvertConfig = False,
    weights_dated: Sequence[DatedWeights] = (),
    pilot_studies: MutableMapping[str, PilotStudy] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Carry out every certificate of a result again, from its latents, and decide anew.

    Verdicts, sentences and notes are made anew from what was computed again, by this version's
    thresholds; nothing that the result says of itself is taken for its proof. A verdict without a
    certificate rests on what searches did not find, so it is verified with `search` alone, and one
    that a calibration gave with that calibration besides.

    Args:
      found_or_folder: what `attribute` returned, or a folder that `jattr attribute` wrote.
      candidates: in any order, generators or where they are loaded from; those that certificates
        name must be among them.
      images: of a folder, files among which its images are found by SHA-256; None: the paths that
        it states. Of an Attribution the images in its order, which are needed.
      calibration: the one that judged. Of a folder its file, whose SHA-256 the folder states.
      search: whether to repeat the seeded searches of images without a certificate, by the
        settings that the folder states. An Attribution states none: give the search itself.
      weights_dated: what proofs show of the age of candidates' weights: certificates state it.
      pilot_studies: earlier ones by name, and where new ones are put; None: those of this process.
      progress: called with (done, total) searches of image and candidate, of one block of images.

    Returns:
      The certificates that were carried out, the outcome of every image, the differences, and what
      was not verified.

    Raises:
      InputError: a file cannot be read, or an image or a candidate that is needed was not given.
    """
    report = Report()
    if isinstance(found_or_folder, Attribution):
        return _verify_attribution(
            found_or_folder, candidates, images, calibration, search, weights_dated, report
        )
    if not isinstance(search, bool):
        raise InputError("search is given and the folder states its own; give search=True")
    saved = read_result(found_or_folder)
    _check_latents(saved, report)
    _date_weights(saved.data, weights_dated, report)
    generators = load_candidates(saved, candidates, report)
    files = None if images is None else {file_sha256(path): path for path in _paths(images)}
    rows = saved.data["pictures"]
    # 1. The images, the rules and the calibration, as far as they are at hand.
    reports = [RowReport(row["file"]) for row in rows]
    at_hand = [_load(row, files, each) for row, each in zip(rows, reports, strict=True)]
    rules = _rules(saved.data, calibration, report)
    _check_fields(saved.data, report)
    repeated = None
    if search:
        loaded = [image for image, _ in at_hand]
        repeated = RepeatedSearch(
            saved.data,
            generators,
            loaded,
            calibration=rules.calibration,
            pilot_studies=pilot_studies,
            progress=progress,
        )
    # 2. Every image: latents, evidence, verdict, and its own search where the verdict needs one.
    for number, (row, each) in enumerate(zip(rows, reports, strict=True)):
        image, error = at_hand[number]
        if image is not None:
            each.file = image.path
        _verify_row(saved, number, generators, image, error, rules, each)
        if repeated is not None and SEARCH in each.needs:
            _search_row(row, number, repeated, saved.data, rules, each)
        report.stated += len(holding(row))
        report.images += bool(holding(row))
        report.rows.append(each)
    return report.finish()


def _date_weights(data: JsonObject, dated: Sequence[DatedWeights], report: Report) -> None:
    """Put what proofs show of the age of weights in place of what a result states of it."""
    check_all_used(dated, [(each["digest"], each["weights_digest"]) for each in data["candidates"]])
    for candidate in data["candidates"]:
        stated = candidate.get("weights_dated")
        own = oldest(dated, candidate["digest"], candidate["weights_digest"])
        candidate["weights_dated"] = None if own is None else own.to_dict()
        if stated is None:
            continue
        name = candidate["name"]
        if own is None:
            report.unchecked.append(
                f"by when the weights of {name!r} existed, which needs --weights-dated FILE"
            )
        elif own.date > str(stated["date"]):
            report.differences.append(
                f"the weights of {name!r} existed by {own.date} as the proof shows, result.json"
                f" states {stated['date']}"
            )


def _search_row(
    row: Mapping[str, Json],
    number: int,
    repeated: RepeatedSearch,
    data: Mapping[str, Json],
    rules: Rules,
    report: RowReport,
) -> None:
    """Search an image again, and compare."""
    own = repeated.row(number)
    if own is None:
        why = repeated.problems.get(number, "it cannot be repeated")
        report.need(SEARCH, f"{report.file!r}: the search was not repeated: {why}")
        return
    report.settle(SEARCH)
    compare_search(
        row,
        own,
        same_version=rules.same_version,
        same_machine=_same_machine(data),
        report=report,
    )


def _same_machine(data: Mapping[str, Json]) -> bool:
    """Return whether this process searches as the run did, by what the result states of it."""
    device = jax.devices()[0]
    here = {"platform": device.platform, "kind": device.device_kind}
    versions = {name: metadata.version(name) for name in PACKAGES}
    return data["settings"]["device"] == here and all(
        data["versions"].get(name) == version for name, version in versions.items()
    )


def _rules(
    data: Mapping[str, Json], calibration: Calibration | AnyPath | None, report: Report
) -> Rules:
    """Return by what the verdicts of a folder are decided anew; what it says otherwise differs."""
    decision, own = data["settings"]["decision"], dataclasses.asdict(DecisionConfig())
    same_version = data["versions"].get("jattr") == __version__
    for name, value in own.items():
        stated = decision.get(name, value)
        if name not in NAMED and stated != value:
            line = f"settings: the threshold {name} is {value}, result.json states {stated}"
            (report.differences if same_version else report.unchecked).append(line)
    alpha = decision.get("alpha", own["alpha"])
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        report.differences.append(f"settings: alpha is {alpha!r}, which is no error rate")
        alpha = own["alpha"]
    thresholds = decision.get("thresholds", True) is True
    stated_digest = data["settings"].get("calibration")
    given = None
    if calibration is not None:
        given = _given_calibration(data, calibration, stated_digest, report)
    return Rules(
        DecisionConfig(alpha=alpha, thresholds=thresholds),
        same_version=same_version,
        calibrated=stated_digest is not None,
        calibration=given,
    )


def _given_calibration(
    data: Mapping[str, Json],
    calibration: Calibration | AnyPath,
    stated_digest: str | None,
    report: Report,
) -> Calibration | None:
    """Return the calibration of a file, if it is the one that a result states.

    Raises:
      InputError: it cannot be read, or is not of these candidates and settings.
    """
    if isinstance(calibration, Calibration):
        raise InputError("calibration is an object, whose SHA-256 nobody knows; give its file")
    loaded, sha256 = read_calibration(calibration)
    if sha256 != stated_digest:
        stated = stated_digest or "none"
        report.differences.append(
            f"the calibration given has the SHA-256 {sha256}, result.json states {stated}"
        )
        return None
    loaded.check_usable(
        {
            candidate["name"]: candidate["digest"]
            for candidate in data["candidates"]
            if candidate["name"] in first_names(data)
        },
        settings_digest(config_of_result(data).search),
        loaded.versions,  # scores are read, not made
    )
    return loaded


def _check_fields(data: Mapping[str, Json], report: Report) -> None:
    """Report what a result says that this version does not know: nothing verifies it."""
    fields = schema_fields()
    unknown = set(data["settings"]) - fields["settings"]
    unknown |= {f"candidates.{name}" for c in data["candidates"] for name in c} - {
        f"candidates.{name}" for name in fields["candidate"]
    }
    unknown |= {f"pictures.{name}" for row in data["pictures"] for name in row} - {
        f"pictures.{name}" for name in fields["picture"]
    }
    if unknown:
        report.unchecked.append(
            f"fields that this version does not know: {', '.join(sorted(unknown)[:10])}"
        )


def _load(
    row: Mapping[str, Json], files: Mapping[str, AnyPath] | None, report: RowReport
) -> tuple[LoadedImage | None, str | None]:
    """Return an image, or None and why it cannot be used; None and None where it is not there."""
    path = _find_image(row, files, report)
    if path is None:
        return None, None
    try:
        return load_image(path), None
    except ImageError as error:
        if row["verdict"] != "failed":
            raise
        return None, str(error)


def _verify_attribution(
    found: Attribution,
    candidates: Sequence[Generator | AnyPath],
    images: Images | None,
    calibration: Calibration | AnyPath | None,
    search: bool | MultiStart | InvertConfig,
    weights_dated: Sequence[DatedWeights],
    report: Report,
) -> Verification:
    """Verify what `attribute` returned."""
    if calibration is not None and not isinstance(calibration, Calibration):
        calibration = read_calibration(calibration)[0]
    loaded = _loaded_images(found, images)
    saved = _without_files(found, loaded)
    _date_weights(saved.data, weights_dated, report)
    generators = load_candidates(saved, candidates, report)
    named = found.policy if isinstance(found.policy, DecisionConfig) else DecisionConfig()
    rules = Rules(
        named,
        calibrated=calibration is not None or any(each is not None for each in found.judgements),
        calibration=calibration,
        function=None if isinstance(found.policy, DecisionConfig) else found.policy,
    )
    rows = saved.data["pictures"]
    own = None
    for number, row in enumerate(rows):
        each = RowReport(row["file"])
        _verify_row(saved, number, generators, loaded[number], None, rules, each)
        if search is not False and SEARCH in each.needs:
            own = own or _attributed_again(found, loaded, calibration, search)
            each.settle(SEARCH)
            record = json.loads(json.dumps(finding_record(own, number)))
            compare_search(row, record, same_version=True, same_machine=True, report=each)
        report.stated += len(holding(row))
        report.images += bool(holding(row))
        report.rows.append(each)
    return report.finish()


def _attributed_again(
    found: Attribution,
    images: Sequence[LoadedImage],
    calibration: Calibration | None,
    search: bool | MultiStart | InvertConfig,
) -> Attribution:
    """Return the images attributed once more, by the search that is given.

    Raises:
      InputError: none is, or the images were altered, of which an Attribution does not say all.
    """
    if isinstance(search, bool):
        raise InputError("an Attribution does not state its search; give search=MultiStart(...)")
    from_files = all(image.sha256 for image in images)
    if not from_files and len({image.pixels.shape for image in images}) > 1:
        raise InputError("images of several shapes; give them as files")
    return attribute(
        list(images) if from_files else np.stack([image.pixels for image in images]),
        found.candidates,
        search=as_search(search),
        policy=found.policy,
        calibration=calibration,
    )


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
    settings["named"] = attribution.named
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
    # Those that were searched first share a space; further settings have their own.
    spaces = {each["name"]: each.get("space", "z") for each in saved.data["candidates"]}
    first = {spaces[name] for name in first_names(saved.data)}
    if {saved.data["settings"]["space"]} != first or saved.spaces not in (
        None,
        tuple(spaces.values()),
    ):
        report.differences.append(f"{LATENTS}, settings and candidates state other spaces")
    for stated, candidate in zip(saved.settings, saved.data["candidates"], strict=False):
        if stated != _settings_text(candidate.get("settings")):
            report.differences.append(
                f"{LATENTS}: states other settings of candidate {candidate['name']!r}"
            )


def _settings_text(settings: Mapping[str, Json] | None) -> str:
    """Return a candidate's settings as `latents.npz` has them."""
    return "" if settings is None else json.dumps(Settings(**settings).to_json())


def _verify_row(
    saved: SavedResult,
    number: int,
    generators: Mapping[str, Generator],
    image: LoadedImage | None,
    error: str | None,
    rules: Rules,
    report: RowReport,
) -> None:
    """Check one image: every candidate's latent and evidence, and the verdict."""
    data, row = saved.data, saved.data["pictures"][number]
    recomputed: dict[str, RecomputedEvidence] = {}
    for column, candidate in enumerate(data["candidates"]):
        name = candidate["name"]
        report.differs(latent_differences(saved, number, column), f", candidate {name!r}")
        if image is None or not saved.found[number, column]:
            continue
        if name not in generators:
            report.need(f"candidate {name!r}")
            continue
        again = verify_evidence(saved, number, column, generators[name], image, report)
        if again is not None:
            recomputed[name] = again
    never_searched = not any(counts["run"] for counts in row["restarts"].values())
    if row["verdict"] == "failed" and never_searched:
        verify_failed(data, row, error, image, generators, report)
        return
    at_hand = image_at_hand(data, row, image, generators)
    verify_verdict(data, row, at_hand, recomputed, rules, report)


def _find_image(
    row: Mapping[str, Json], files: Mapping[str, AnyPath] | None, report: RowReport
) -> AnyPath | None:
    """Return where an image is; one that differs is reported, and one that is missed."""
    name, sha256, needed = row["file"], row["sha256"], bool(holding(row))
    failed = row["verdict"] == "failed"
    if sha256 is None:
        if not failed:
            report.differs(["no SHA-256 is stated, so nothing says which image this is about"])
        return name if failed and files is None else None
    if files is not None:
        if needed and sha256 not in files:
            report.differs(["none of the given images has its SHA-256"])
        elif sha256 not in files:
            report.need(
                "the image", f"the residuals of {name!r}, which is not among the given images"
            )
        return files.get(sha256)
    if not needed and not Path(name).is_file():
        report.need("the image", f"the residuals of {name!r}, which is not there")
        return None
    try:
        now = file_sha256(name)
    except InputError as error:
        raise InputError(f"{error}; give the images with --pictures") from error
    if now != sha256:
        report.differs(["the image was changed, its SHA-256 differs"])
        return None
    return str(name)
