"""`result.json`, schema 1: an attribution as JSON values, and the strict reading of them.

`result_v1.schema.json` is the schema; nothing here touches files.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources

from jattr.attribution.result import Attribution
from jattr.bounded_json import read_json_text
from jattr.decision.certificate import Certificate
from jattr.decision.judgement import Judgement
from jattr.decision.looked import Looked
from jattr.decision.verdict import Verdict
from jattr.decision.weights_age import DatedWeights, oldest
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.images import LoadedImage
from jattr.inversion.multistart import Search
from jattr.typing import JsonObject

SCHEMA = 1
SCHEMA_FILE = "result_v1.schema.json"
MAX_SHOWN = 160  # characters of an error of the schema


def to_dict(attribution: Attribution) -> JsonObject:
    """Return an attribution as JSON values: `candidates` and `pictures` of `result.json`.

    Latents are left out.
    """
    return {
        "candidates": [candidate_record(gen) for gen in attribution.candidates],
        "pictures": [finding_record(attribution, i) for i in range(len(attribution.verdicts))],
    }


def candidate_record(
    gen: Generator, path: str = "", dated: Sequence[DatedWeights] = ()
) -> JsonObject:
    """Return what identifies one candidate.

    Args:
      gen: the candidate.
      path: where the user said it is, if anywhere.
      dated: proofs of when weights existed, of any candidates.
    """
    known = oldest(dated, gen.digest, gen.weights_digest)
    return {
        "name": gen.name,
        "digest": gen.digest,
        "weights_digest": gen.weights_digest,
        "path": path,
        "image_shape": list(gen.image_shape),
        "latent_shape": list(gen.latent_shape),
        "prior": gen.prior,
        "num_classes": gen.num_classes,
        "rounding": gen.rounding,
        "space": gen.space,
        "settings": None if gen.settings is None else gen.settings.to_json(),
        "weights_dated": None if known is None else known.to_dict(),
    }


def image_record(image: LoadedImage, att: Attribution, i: int, notes: Sequence[str]) -> JsonObject:
    """Return the row of the image `i` of an attribution.

    Args:
      image: the image as its file stores it.
      att: the attribution.
      i: its index there.
      notes: what was changed to read it and to fit it to the candidates.
    """
    return {
        "file": image.path,
        "sha256": image.sha256,
        **finding_record(att, i),
        "notes": list(notes),
    }


def finding_record(att: Attribution, i: int) -> JsonObject:
    """Return what an attribution states of its image `i`, as JSON values."""
    verdict, evidence, chain = att.verdicts[i], att.evidence[i], att.alterations[i]
    names = [gen.name for gen in att.candidates]
    certificates = {
        e.name: None if e.certificate is None else e.certificate.to_dict() for e in evidence
    }
    winners = proven_first(verdict, {e.name: e.certificate for e in evidence})
    labels = {name: int(att.labels[i, c]) for c, name in enumerate(names)}
    label = labels[winners[0]] if winners else -1
    return {
        "verdict": verdict.kind,
        "candidate": winners[0] if winners else None,
        "candidates": winners,
        "certificate": None if verdict.certificate is None else certificates[winners[0]],
        "certificates": certificates,
        "residual": {name: finite(att.residual[i, c]) for c, name in enumerate(names)},
        "restarts": {
            e.name: {"run": e.restarts, "arrived": e.arrived, "failed": e.failed} for e in evidence
        },
        "latent_sha256": {name: _latent_digest(att, i, c) for c, name in enumerate(names)},
        "searches": {
            name: [_search(run) for run in att.searches[i][c]] for c, name in enumerate(names)
        },
        "label": label if label >= 0 else None,
        "labels": {name: value if value >= 0 else None for name, value in labels.items()},
        "margin": finite(verdict.margin),
        "support": {
            gen.name: support_record(gen, att.support[i, c]) for c, gen in enumerate(att.candidates)
        },
        "usual_miss": {e.name: finite(e.usual_miss) for e in evidence},
        "restarts_needed": {e.name: e.restarts_needed for e in evidence},
        "miss_bound": {e.name: finite(e.miss_bound) for e in evidence},
        "bits": {e.name: finite(e.bits) for e in evidence},
        "reason": verdict.reason,
        "alteration": None if chain is None else chain.text,
        "noise": {name: float(att.noise[i, c]) for c, name in enumerate(names)},
        "scores": {name: finite(att.scores[i, c]) for c, name in enumerate(names)},
        "judgement": judgement_record(att.judgements[i]),
        "tried": list(att.tried[i]) if att.tried else [],
        "near": [
            {"candidate": each.candidate, "residual": finite(each.residual)}
            for each in (att.near[i] if att.near else ())
        ],
        "second_look": looked_record(att.looked[i] if att.looked else None),
    }


def looked_record(looked: Looked | None) -> JsonObject | None:
    """Return what a second look came to as JSON values."""
    return None if looked is None else asdict(looked) | {"alterations": list(looked.alterations)}


def failed_record(file: str, sha256: str | None, reason: str, names: Sequence[str]) -> JsonObject:
    """Return the row of an image that could not be searched."""
    nothing = dict.fromkeys(names)
    return {
        "file": file,
        "sha256": sha256,
        "verdict": "failed",
        "candidate": None,
        "candidates": [],
        "certificate": None,
        "certificates": nothing,
        "residual": nothing,
        "restarts": {name: {"run": 0, "arrived": 0, "failed": 0} for name in names},
        "latent_sha256": nothing,
        "searches": {name: [] for name in names},
        "label": None,
        "labels": nothing,
        "margin": None,
        "support": {name: {"largest": None, "inside": None} for name in names},
        "usual_miss": nothing,
        "restarts_needed": nothing,
        "miss_bound": nothing,
        "bits": nothing,
        "reason": reason,
        "alteration": None,
        "noise": {},
        "scores": nothing,
        "judgement": None,
        "tried": [],
        "near": [],
        "second_look": None,
        "notes": [],
    }


def add_candidate(row: JsonObject, name: str) -> None:
    """State in a row that nothing was searched for under a candidate that it does not speak of."""
    nothing = failed_record("", None, "", [name])
    for field, value in nothing.items():
        if isinstance(value, dict):
            row[field] = row[field] | value


def judgement_record(judgement: Judgement | None) -> JsonObject | None:
    """Return a calibration's judgement as JSON values; a failed candidate's score is null."""
    if judgement is None:
        return None
    values = asdict(judgement)
    for finding, stated in zip(judgement.findings, values["findings"], strict=True):
        stated["score"] = finite(finding.score)
        stated["power"] = None if finding.power is None else finding.power.to_dict()
    return values


def _latent_digest(att: Attribution, i: int, c: int) -> str | None:
    """Return the SHA-256 of a candidate's best latent, float32, little-endian; None if none."""
    if not math.isfinite(att.residual[i, c]):
        return None
    return hashlib.sha256(att.latents[c][i].astype("<f4").tobytes()).hexdigest()


def _search(search: Search) -> JsonObject:
    """Return how one restart ended: in words, its evaluations and its residual."""
    evaluations, loss = search.trace[-1] if search.trace else (0.0, math.inf)
    return {
        "restart": search.restart,
        "status": search.status.name.lower(),
        "evaluations": finite(evaluations),
        "residual": finite(loss),
    }


def finite(value: float | None) -> float | None:
    """Return a number for JSON: None for what is not finite.

    >>> finite(2), finite(float("nan")), finite(None)
    (2.0, None, None)
    """
    return float(value) if value is not None and math.isfinite(value) else None


def parse_result(text: str) -> JsonObject:
    """Return the content of a `result.json` after checking all of it.

    Raises:
      InputError: it is no JSON, has NaN or infinities, does not fit the schema or contradicts
        itself.
    """
    try:
        data = read_json_text(text, parse_constant=_no_constant, parse_float=_float)
    except ValueError as error:
        raise InputError(
            f"is no sound JSON ({error}); write it again with `jattr attribute`"
        ) from error
    _check_schema(data)
    names = [candidate["name"] for candidate in data["candidates"]]
    if len(set(names)) < len(names):
        raise InputError(
            f"has two candidates of one name ({', '.join(sorted(names))[:MAX_SHOWN]}); write it"
            " again"
        )
    for number, row in enumerate(data["pictures"]):
        _check_row(number, row, names)
    return dict(data)


def _check_row(number: int, row: JsonObject, names: list[str]) -> None:
    """Check that a row speaks of every candidate and of no other."""
    for field in ("residual", "restarts", "certificates", "labels"):
        if set(row[field]) != set(names):
            raise InputError(
                f"has images[{number}].{field} with other names than its candidates; write it again"
            )
    for name in (*row["candidates"], *([row["candidate"]] if row["candidate"] is not None else [])):
        if name not in names:
            raise InputError(
                f"names {name!r} in images[{number}], which is no candidate of it; write it again"
            )


def schema_fields() -> dict[str, frozenset[str]]:
    """Return the names that the schema knows: of settings, of a candidate, of a picture."""
    schema = _schema()
    return {
        "settings": frozenset(schema["properties"]["settings"]["properties"]),
        "candidate": frozenset(schema["$defs"]["candidate"]["properties"]),
        "picture": frozenset(schema["$defs"]["picture"]["properties"]),
    }


def _schema() -> JsonObject:
    text = resources.files("jattr").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")
    schema: JsonObject = json.loads(text)
    return schema


def _check_schema(data: object) -> None:
    import jsonschema  # 0.2 s, which only the reading of results needs

    schema = _schema()
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(data)
    )
    if error is not None:
        message = " ".join(str(error.message).split())
        shown = message if len(message) <= MAX_SHOWN else f"{message[:60]} ... {message[-60:]}"
        raise InputError(
            f"is no result of schema {SCHEMA}: at {error.json_path}: {shown}; write it again"
        )


def proven_first(verdict: Verdict, certificates: Mapping[str, Certificate | None]) -> list[str]:
    """Return the verdict's names, first the one whose latent has the verdict's certificate."""
    return sorted(
        verdict.candidates, key=lambda name: certificates[name] is not verdict.certificate
    )


def support_record(gen: Generator, largest: float | None) -> JsonObject:
    """Return the largest |z|, and whether it lies within the prior's support, if that ends."""
    value = finite(largest)
    inside = None if gen.prior != "uniform" or value is None else value <= 1.0
    return {"largest": value, "inside": inside}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:30]} is too large")
    return value
