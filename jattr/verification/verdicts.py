"""`jattr verify`: the verdict on one image, decided anew from evidence that was computed again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jattr.alterations.chain import Chain
from jattr.alterations.history import traces_of
from jattr.attribution.alteration_search import (
    Alternative,
    Hypotheses,
    caveat_under,
    check_candidates,
    hypotheses_of,
    parse_alternatives,
    stated_image,
    without_alterations,
)
from jattr.attribution.calibrate import condition_of
from jattr.attribution.caveats import OwnLevels, caveat_of, caveat_of_samples
from jattr.attribution.other_settings import NAMED, named_flags, with_other_settings
from jattr.attribution.racing import CUT_SHORT
from jattr.attribution.result import Near
from jattr.attribution.result_json import finite, judgement_record, proven_first
from jattr.attribution.second_look import choice_bits
from jattr.decision.calibration import Calibration
from jattr.decision.certificate import Certificate
from jattr.decision.judgement import Judgement, judge
from jattr.decision.looked import Looked, after_second_look
from jattr.decision.verdict import (
    NO_CAVEAT,
    Caveat,
    DecisionConfig,
    Evidence,
    Verdict,
    decide,
    is_certified,
)
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.generators.settings import Settings
from jattr.images import LoadedImage
from jattr.inversion.settings import MultiStart
from jattr.printable import named
from jattr.typing import Json
from jattr.verification.candidates import first_names
from jattr.verification.evidence import RecomputedEvidence, bits_differ
from jattr.verification.report import CALIBRATION, HOLDS, SEARCH, RowReport, holding

MARGIN_TOLERANCE = 1e-6  # of the margin: a quotient of two stated numbers
JUDGEMENT_TOLERANCE = 1e-6  # relative, of a judgement's numbers: sums in another order


@dataclass(frozen=True, eq=False)
class Rules:
    """By what the verdicts of a result are decided anew: never by what the result says itself."""

    config: DecisionConfig  # this version's; of an Attribution what its caller named
    same_version: bool = True  # whether this version of jattr wrote the result: its sentences
    calibrated: bool = False  # whether the result states that a calibration judged
    calibration: Calibration | None = None  # that one, where it is at hand
    # of an Attribution whose verdicts are its caller's
    function: Callable[[Sequence[Evidence], Caveat], Verdict] | None = None


class ImageAtHand(NamedTuple):
    """What a file says of an image besides its pixels."""

    caveats: tuple[Caveat, ...]  # of which one was decided under
    chain: Chain | None  # what is stated to have been done to it
    notes: tuple[str, ...] | None  # None: they cannot be made anew
    complete: bool  # whether nothing is missing that a verdict depends on


def image_at_hand(
    data: Mapping[str, Json],
    row: Mapping[str, Json],
    image: LoadedImage | None,
    generators: Mapping[str, Generator],
) -> ImageAtHand:
    """Return what an image's file says, read again, and what its row says of other settings.

    Args:
      data: the result.
      row: the image's.
      image: as its file stores it; None if it is not at hand.
      generators: the candidates at hand, by name.
    """
    at_hand = _file_at_hand(data, row, image, generators)
    names = first_names(data)
    stated = row.get("near") or []
    if any(name not in generators for name in names) or any(
        each["candidate"] not in names for each in stated
    ):
        return at_hand
    # What came near can only be searched for again; it turns "none" into less.
    near = [Near(each["candidate"], each["residual"]) for each in stated]
    candidates = [dataclasses.replace(generators[name], name=name) for name in names]
    flags = _named(data)
    caveats = [with_other_settings(each, near, candidates, flags) for each in at_hand.caveats]
    return at_hand._replace(caveats=tuple(caveats))


def _named(data: Mapping[str, Json]) -> str:
    """Return the settings that somebody named for a run, as flags."""
    settings = data["settings"]
    if "named" in settings:  # of an Attribution
        return str(settings["named"])
    stated = settings["inversion"]
    return named_flags({name: stated.get(name) for name in NAMED})


def _file_at_hand(
    data: Mapping[str, Json],
    row: Mapping[str, Json],
    image: LoadedImage | None,
    generators: Mapping[str, Generator],
) -> ImageAtHand:
    """Return what an image's file says, read again; arguments as of `image_at_hand`."""
    if image is None or len(generators) < len(data["candidates"]):
        return ImageAtHand((NO_CAVEAT,), None, None, complete=False)
    candidates = [generators[name] for name in first_names(data)]
    shapes, own_levels = [gen.image_shape for gen in candidates], OwnLevels(candidates)
    traces = traces_of(image.pixels)
    try:
        chain = None
        if row.get("alteration"):
            chain = stated_image(row["alteration"], image, candidates[0]).chain
        if "notes" not in row:  # an Attribution: its images may have been arrays, or files
            caveats = (
                NO_CAVEAT,
                caveat_of_samples(image.pixels, chain, own_levels),
                caveat_of(image, chain, shapes, traces=traces, own_levels=own_levels),
            )
            return ImageAtHand(caveats, chain, None, complete=True)
        hypotheses = hypotheses_again(data, image, candidates)
    except (ImageError, InputError):
        return ImageAtHand((NO_CAVEAT,), None, None, complete=False)
    if hypotheses is None:
        caveat = caveat_of(image, chain, shapes, traces=traces, own_levels=own_levels)
        return ImageAtHand((caveat,), chain, None, complete=True)
    caveat = caveat_under(hypotheses, chain, own_levels)
    return ImageAtHand((caveat,), chain, tuple(hypotheses.all_notes()), complete=True)


def alternatives_of_result(data: Mapping[str, Json]) -> tuple[Alternative, ...]:
    """Return what the settings of a result say that may have been done to the images.

    Raises:
      InputError: it is none of what `attribute` takes.
    """
    texts = data["settings"].get("alteration", ["auto"])
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise InputError("settings.alteration in result.json is no list of texts")
    alternatives = parse_alternatives(texts)
    if data["settings"]["inversion"].get("distance") is not None:
        alternatives = without_alterations(alternatives)
    return alternatives


def hypotheses_again(
    data: Mapping[str, Json],
    image: LoadedImage,
    candidates: Sequence[Generator],
) -> Hypotheses | None:
    """Return an image as the run took it; None where that takes a search for unknown factors.

    Raises:
      InputError: the settings or the image do not allow it.
    """
    alternatives, resize = alternatives_of_result(data), data["settings"]["resize"]
    if any(each.before is not None and each.before.free for each in alternatives):
        return None
    check_candidates(alternatives, candidates, resize=resize)
    return hypotheses_of(image, alternatives, candidates, search=MultiStart(), resize=resize)


def verify_verdict(
    data: Mapping[str, Json],
    row: Mapping[str, Json],
    at_hand: ImageAtHand,
    recomputed: Mapping[str, RecomputedEvidence],
    rules: Rules,
    report: RowReport,
) -> None:
    """Decide on an image anew, and compare what the result states.

    Args:
      data: the result.
      row: the image's.
      at_hand: what its file says.
      recomputed: the evidence that was computed again, by candidate.
      rules: of the decision.
      report: where differences are put, and what is missing.
    """
    proofs = _certificates(data, row)
    evidence = _evidence(data, row, proofs, recomputed)
    certified = is_certified(evidence)
    # 1. Decide, in every way that what is known of the file and of the calibration leaves open.
    verdicts = []
    for caveat in at_hand.caveats:
        if rules.function is not None:
            verdicts.append(rules.function(evidence, caveat))
            continue
        for judgement, words in _judgements(row, evidence, at_hand, caveat, rules, report):
            verdicts.append(
                decide(evidence, rules.config, caveat, judgement=judgement, uncalibrated=words)
            )
    looked = looked_of_row(data, row, at_hand, report)
    verdicts = [after_second_look(verdict, looked) for verdict in verdicts]
    stated = row["verdict"], row["candidates"], row["reason"]
    decided = next(
        (v for v in verdicts if (v.kind, proven_first(v, proofs), v.reason) == stated), verdicts[0]
    )
    # 2. Compare kind, names, certificate, class, margin.
    names = proven_first(decided, proofs)
    lines = _contradictions(row)
    if (decided.kind, names) != (row["verdict"], row["candidates"]) and not _withheld(
        decided.kind, row
    ):
        lines.append(
            f"result.json states {_verdict_text(row['verdict'], row['candidates'])}, its evidence"
            f" gives {_verdict_text(decided.kind, names)}"
        )
    lines += _margin_differs(row, finite(decided.margin))
    report.differs(lines)
    # 3. The words: made anew, and compared.
    _compare_words(row, at_hand, decided, certified, rules, report)
    digests = {each["name"]: each["digest"] for each in data["candidates"]}
    report.verdict, report.reason = verdict_text(decided, names, digests), decided.reason
    # 4. What the verdict rests on besides: without a certificate, on what no search found.
    carried_out = {each["candidate"] for each in report.certificates}
    if decided.certificate is not None and carried_out >= set(holding(row)) >= set(names):
        report.kind = HOLDS
    else:
        report.need(SEARCH)


def looked_of_row(
    data: Mapping[str, Json],
    row: Mapping[str, Json],
    at_hand: ImageAtHand,
    report: RowReport,
) -> Looked | None:
    """Return what a row states of a second look, the bits of its choice counted anew."""
    stated = row.get("second_look")
    if stated is None:
        return None
    looked = Looked(**(stated | {"alterations": tuple(stated["alterations"])}))
    if not looked.chosen:
        return looked
    if looked.chosen != row.get("alteration"):
        report.differs(["a second look states another alteration than the image's"])
    if at_hand.chain is None:
        return looked
    shape = tuple(data["candidates"][0]["image_shape"])
    models = len({each["digest"] for each in data["candidates"]})
    bits = choice_bits(at_hand.chain, looked.alterations, models, shape)
    return dataclasses.replace(looked, bits=bits)


def _margin_differs(row: Mapping[str, Json], margin: float | None) -> list[str]:
    if (margin is None) == (row["margin"] is None) and abs(
        (margin or 0) - (row["margin"] or 0)
    ) <= MARGIN_TOLERANCE * (margin or 0):
        return []
    return [f"the margin is {margin}, result.json states {row['margin']}"]


def _judgements(
    row: Mapping[str, Json],
    evidence: Sequence[Evidence],
    at_hand: ImageAtHand,
    caveat: Caveat,
    rules: Rules,
    report: RowReport,
) -> list[tuple[Judgement | None, str]]:
    """Return the judgements that the verdict may rest on, each with what is not calibrated."""
    stated = row.get("judgement")
    if not rules.calibrated or is_certified(evidence):
        if stated is not None:
            why = "has a certificate" if rules.calibrated else "no calibration judged"
            report.differs([f"a judgement is stated of an image that {why}"])
        return [(None, "")]
    condition = condition_of(at_hand.chain)
    if rules.calibration is None:
        report.need(CALIBRATION)
        if stated is None:
            reasons = (caveat.uncalibrated, condition, CUT_SHORT)
            return [(None, words) for words in dict.fromkeys(reasons) if words]
        return [(_stated_judgement(stated, report), "")]
    uncalibrated = caveat.uncalibrated
    if not uncalibrated and condition not in rules.calibration.conditions:
        uncalibrated = condition
    if uncalibrated or stated is None:
        if stated is not None:
            report.differs([f"a judgement is stated, and {uncalibrated} is not calibrated"])
        return [(None, uncalibrated or CUT_SHORT)]
    # further columns are of other settings than the calibration's
    calibrated = [e for e in evidence if e.name in rules.calibration.candidates]
    try:
        judgement = judge(
            rules.calibration,
            {e.name: _score(row["scores"][e.name]) for e in calibrated},
            condition,
            rules.config.alpha,
            restarts={e.name: e.restarts for e in calibrated},
            caveat=caveat.text,
        )
    except (InputError, KeyError, TypeError) as error:
        report.differs([f"scores and restarts cannot be judged: {error}"])
        return [(None, "")]
    record = json.loads(json.dumps(judgement_record(judgement)))
    if at_hand.complete and not _alike(record, stated):
        report.differs([f"the judgement is: {judgement.sentence} result.json states another"])
    return [(judgement, "")]


def _score(value: Any) -> float:
    return float("inf") if value is None else float(value)


def _alike(a: Any, b: Any) -> bool:
    """Return whether two JSON values are the same but for the last digits of numbers."""
    numbers = (int, float)
    if isinstance(a, numbers) and isinstance(b, numbers) and bool not in (type(a), type(b)):
        return abs(a - b) <= JUDGEMENT_TOLERANCE * max(abs(a), abs(b), JUDGEMENT_TOLERANCE)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_alike, a, b))
    return type(a) is type(b) and bool(a == b)


def _stated_judgement(stated: Mapping[str, Any], report: RowReport) -> Judgement | None:
    """Return what a row states of its judgement, as far as a verdict repeats it."""
    kind, names, sentence = (stated.get(name) for name in ("kind", "candidates", "sentence"))
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not (isinstance(kind, str) and listed and isinstance(sentence, str)):
        report.differs(["the judgement has no kind, candidates or sentence"])
        return None
    return Judgement(kind, tuple(names or ()), sentence, (), 0.0, {}, "", 0.0)


def _compare_words(
    row: Mapping[str, Json],
    at_hand: ImageAtHand,
    decided: Verdict,
    certified: bool,
    rules: Rules,
    report: RowReport,
) -> None:
    """Compare the sentence and the notes of a row with those that are made anew."""
    lines = []
    if row["reason"] != decided.reason:
        lines.append(f"the reason is {decided.reason!r}, result.json states another")
    if at_hand.notes is not None and list(at_hand.notes) != row["notes"]:
        notes = "; ".join(at_hand.notes) or "none"
        lines.append(f"the notes are: {notes}; result.json states others")
    unread = at_hand.notes is None and row.get("notes")
    # Other versions have other sentences, and those of a verdict without a certificate rest on
    # searches, too.
    settled = certified and rules.function is None
    if lines and settled and rules.same_version:
        report.differs(lines)
    elif lines or unread:
        lines += ["its notes, which cannot be made anew"] if unread else []
        missing = "the jattr that wrote it, for its words" if settled else SEARCH
        report.need(missing, *(f"{report.file!r}: {line}" for line in lines))


def verify_failed(
    data: Mapping[str, Json],
    row: Mapping[str, Json],
    error: str | None,
    image: LoadedImage | None,
    generators: Mapping[str, Generator],
    report: RowReport,
) -> None:
    """Check that an image that was never searched cannot be.

    Args:
      data: the result.
      row: the image's.
      error: why its file cannot be read now; None: it can, or was not looked for.
      image: as its file stores it; None if it is not at hand, or cannot be read.
      generators: the candidates at hand, by name.
      report: where differences are put, and what is missing.
    """
    report.verdict = "failed"
    report.differs(_contradictions(row) + _margin_differs(row, None))
    if row["candidates"]:
        report.differs(["names are stated of an image that was never searched"])
    if image is None and error is None:
        report.need("the image")
        return
    if len(generators) < len(data["candidates"]):
        report.need("every candidate")
        return
    if error is None and image is not None:
        candidates = [generators[each["name"]] for each in data["candidates"]]
        try:
            if hypotheses_again(data, image, candidates) is None:
                report.need(SEARCH)
                return
        except (ImageError, InputError) as raised:
            error = str(raised)
    if error is None:
        report.differs(["result.json states that the image could not be used, which it can"])
        return
    report.reason = error
    if error != row["reason"]:
        report.unchecked.append(
            f"{report.file!r}: the reason is {error!r}, result.json states another"
        )


def verdict_text(verdict: Verdict, names: Sequence[str], digests: Mapping[str, str]) -> str:
    """Return a verdict in words, eight digits of its digest with every name."""
    listed = tuple(named(name, digests.get(name, "")) for name in names)
    return dataclasses.replace(verdict, candidates=listed).text


def _contradictions(row: Mapping[str, Json]) -> list[str]:
    """Return what a row's verdict, names, certificate and class say against each other."""
    first, certificate = row["candidates"][0] if row["candidates"] else None, row["certificate"]
    proof = row["certificates"][first] if holding(row) and first is not None else None
    lines = []
    if (
        row["candidate"] != first
        or certificate != proof
        or (certificate is not None and not certificate["holds"])
    ):
        lines.append("verdict and certificates in result.json contradict each other")
    if (row["verdict"] == "made-by") != (first is not None):
        lines.append("verdict and names in result.json contradict each other")
    label = None if first is None else row["labels"][first]
    if row["label"] != label:
        lines.append(f"the class is {label}, result.json states {row['label']}")
    if certificate is not None and certificate.get("alteration", "") != (
        row.get("alteration") or ""
    ):
        lines.append("the certificate's alteration is not the image's")
    for name, searches in (row.get("searches") or {}).items():
        lines += _searches_differ(name, searches, row["restarts"].get(name))
    return lines


def _searches_differ(
    name: str, searches: Sequence[Mapping[str, Json]], counts: Mapping[str, Json] | None
) -> list[str]:
    """Return a line where the counts of a candidate's restarts are not those of its searches."""
    states = [search["status"] for search in searches]
    listed = {
        "run": len(states),
        "arrived": states.count("arrived"),
        "failed": states.count("failed"),
    }
    if counts is None or all(counts[field] == listed[field] for field in listed):
        return []
    return [f"restarts of {name!r} are {listed} by its searches, result.json states {counts}"]


def _evidence(
    data: Mapping[str, Json],
    row: Mapping[str, Json],
    proofs: Mapping[str, Certificate | None],
    recomputed: Mapping[str, RecomputedEvidence],
) -> list[Evidence]:
    """Return what is stated of an image under every candidate, and was compared."""
    evidence = []
    for candidate in data["candidates"]:
        name, settings = candidate["name"], candidate.get("settings")
        restarts = row["restarts"][name]
        evidence.append(
            Evidence(
                name=name,
                digest=candidate["digest"],
                residual=row["residual"][name],
                certificate=proofs[name],
                restarts=restarts["run"],
                arrived=restarts["arrived"],
                failed=restarts["failed"],
                usual_miss=row["usual_miss"].get(name),
                settings=""
                if settings is None
                else f"{candidate.get('space', 'z')}, {Settings(**settings)}",
                restarts_needed=row["restarts_needed"].get(name),
                miss_bound=row.get("miss_bound", {}).get(name),
                spare=recomputed[name].spare if name in recomputed else None,
                bits=_bits(row.get("bits", {}).get(name), recomputed.get(name)),
            )
        )
    return evidence


def _bits(stated: float | None, recomputed: RecomputedEvidence | None) -> float | None:
    """Return the bits as they are stated, where they agree with those computed again."""
    if recomputed is None or recomputed.bits is None:
        return None
    agrees = stated is not None and not bits_differ(stated, recomputed.bits)
    return stated if agrees else recomputed.bits


def _certificates(
    data: Mapping[str, Json], row: Mapping[str, Json]
) -> dict[str, Certificate | None]:
    """Return the stated certificates; candidates of one digest share one that is the same."""
    field_names = {field.name for field in dataclasses.fields(Certificate)}
    shared: dict[tuple[str, str], Certificate] = {}
    proofs: dict[str, Certificate | None] = {}
    for candidate in data["candidates"]:
        stated = row["certificates"][candidate["name"]]
        if stated is None:
            proofs[candidate["name"]] = None
            continue
        proof = Certificate(
            **{name: value for name, value in stated.items() if name in field_names}
        )
        text = json.dumps(stated, sort_keys=True)
        proofs[candidate["name"]] = shared.setdefault((candidate["digest"], text), proof)
    return proofs


def _withheld(kind: str, row: Mapping[str, Json]) -> bool:
    """Return whether a row says less than its evidence.

    What its file states may forbid "none", and too few numbers to compare a name by thresholds.
    """
    return (
        kind != "failed"
        and not holding(row)
        and row["verdict"] == "undecided"
        and not row["candidates"]
    )


def _verdict_text(kind: str, names: Sequence[str]) -> str:
    return f"made by {' or '.join(names)}" if names else kind
