"""The calibration as JSON, schema 2, and its strict reading. Nothing here touches files.

A score is a number; null stands for +inf, every restart failed, since JSON has no infinity. NaN
never occurs. The counts are written beside the scores and must agree with them. Schema 1 had no
`own_restarts`.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from jattr.bounded_json import read_json_text
from jattr.decision.calibration import CALIBRATION_SCHEMA, Calibrated, Calibration, Sample
from jattr.decision.restart_power import Restarts
from jattr.errors import InputError

NULL = "a score of null: every restart failed; it counts as +inf, above every number"
CALIBRATION_FIELDS = ("schema", "null", "settings_digest", "versions", "candidates")
CANDIDATE = ("digest", "conditions")
CONDITION = ("own", "own_count", "own_seed", "own_restarts", "negatives")
RESTART_FIELDS = ("used", "arrived")
KIND_FIELDS = ("scores", "count", "seed")
CALIBRATE_AGAIN = "; use a file that jattr calibrate wrote"


def to_json(calibration: Calibration) -> str:
    """Return the calibration as JSON text; the same calibration gives the same text."""
    data = {
        "schema": CALIBRATION_SCHEMA,
        "null": NULL,
        "settings_digest": calibration.settings_digest,
        "versions": dict(calibration.versions),
        "candidates": {
            name: {
                "digest": candidate.digest,
                "conditions": {
                    condition: _record(sample) for condition, sample in candidate.samples.items()
                },
            }
            for name, candidate in calibration.candidates.items()
        },
    }
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def is_calibration(text: str) -> bool:
    """Return whether text is a calibration that jattr wrote, of whichever schema.

    Its scores are not checked.
    """
    try:
        data = read_json_text(text)
    except ValueError:
        return False
    return isinstance(data, dict) and set(data) == set(CALIBRATION_FIELDS) and data["null"] == NULL


def from_json(text: str) -> Calibration:
    """Return the calibration that JSON text holds.

    Raises:
      InputError: no JSON, NaN or an infinite number, a key twice, a key too few or too many, a
        wrong type, another schema, counts that are negative or do not agree, or what `Calibration`
        refuses.
    """
    try:
        data = read_json_text(text, parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the calibration is no JSON: {error}{CALIBRATE_AGAIN}") from None
    if isinstance(data, dict) and "schema" in data and data["schema"] != CALIBRATION_SCHEMA:
        raise InputError(
            f"the calibration has schema {data['schema']!r}, this jattr reads"
            f" {CALIBRATION_SCHEMA}; calibrate"
            " again, or use the"
            " jattr that wrote it"
        )
    _check_keys(data, CALIBRATION_FIELDS, "the calibration")
    _check_type(data["schema"], int, "schema")
    _check_type(data["candidates"], dict, "candidates")
    _check_type(data["versions"], dict, "versions")
    candidates = {name: _candidate(value, name) for name, value in data["candidates"].items()}
    return Calibration(candidates, data["settings_digest"], data["versions"])


def _record(sample: Sample) -> dict[str, Any]:
    return {
        "own": _scores_record(sample.own),
        "own_count": len(sample.own),
        "own_seed": sample.own_seed,
        "own_restarts": _restarts_record(sample.own_restarts),
        "negatives": {
            kind: {
                "scores": _scores_record(scores),
                "count": len(scores),
                "seed": sample.negative_seeds.get(kind),
            }
            for kind, scores in sample.negatives.items()
        },
    }


def _restarts_record(restarts: Restarts | None) -> dict[str, Any] | None:
    return (
        None
        if restarts is None
        else {"used": list(restarts.used), "arrived": list(restarts.arrived)}
    )


def _scores_record(scores: tuple[float, ...]) -> list[float | None]:
    return [None if math.isinf(score) else float(score) for score in scores]


def _candidate(data: Any, name: str) -> Calibrated:
    _check_keys(data, CANDIDATE, name)
    _check_type(data["conditions"], dict, f"{name}: conditions")
    samples = {
        condition: _sample(value, f"{name}, {condition}")
        for condition, value in data["conditions"].items()
    }
    return Calibrated(data["digest"], samples)


def _sample(data: Any, where: str) -> Sample:
    _check_keys(data, CONDITION, where)
    _check_type(data["negatives"], dict, f"{where}: negatives")
    for kind, negatives in data["negatives"].items():
        _check_keys(negatives, KIND_FIELDS, f"{where}, {kind}")
    return Sample(
        own=_scores(data["own"], data["own_count"], f"{where}: own"),
        negatives={
            kind: _scores(negatives["scores"], negatives["count"], f"{where}, {kind}")
            for kind, negatives in data["negatives"].items()
        },
        own_seed=data["own_seed"],
        negative_seeds={
            kind: negatives["seed"]
            for kind, negatives in data["negatives"].items()
            if negatives["seed"] is not None
        },
        own_restarts=None
        if data["own_restarts"] is None
        else _restarts(data["own_restarts"], f"{where}: own_restarts"),
    )


def _restarts(data: Any, where: str) -> Restarts:
    _check_keys(data, RESTART_FIELDS, where)
    for key, kind, what in (
        ("used", int, "a whole number up to 10^9"),
        ("arrived", bool, "true or false"),
    ):
        _check_type(data[key], list, f"{where}: {key}")
        for value in data[key]:
            if type(value) is not kind or abs(value) > 10**9:
                raise InputError(
                    f"{where}: {key} holds {str(value)[:40]!r}; it is {what}{CALIBRATE_AGAIN}"
                )
    return Restarts(tuple(data["used"]), tuple(data["arrived"]))


def _scores(values: Any, count: Any, where: str) -> tuple[float, ...]:
    _check_type(values, list, f"{where}: scores")
    _check_type(count, int, f"{where}: count")
    if count != len(values) or count < 0:
        raise InputError(
            f"{where}: there are {len(values)} scores, the count says {count}{CALIBRATE_AGAIN}"
        )
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(
                f"{where}: a score is {value!r}; a number, or null where every restart"
                f" failed{CALIBRATE_AGAIN}"
            )
        if value is not None and not abs(value) <= 1e9:
            raise InputError(
                f"{where}: a score is {_short(value)}; log10 of a residual is far"
                f" smaller{CALIBRATE_AGAIN}"
            )
    return tuple(math.inf if value is None else float(value) for value in values)


def _short(value: float) -> str:
    """Return a number in a few characters, however large."""
    return f"{value:.3g}" if isinstance(value, float) else "a whole number that is too large"


def _check_keys(data: Any, keys: tuple[str, ...], where: str) -> None:
    _check_type(data, dict, where)
    missing, more = sorted(set(keys) - set(data)), sorted(set(data) - set(keys))
    if missing or more:
        found = f"{missing[0]!r} is missing" if missing else f"{more[0]!r} is unknown"
        raise InputError(f"{where}: {found}; the keys are {', '.join(keys)}{CALIBRATE_AGAIN}")


def _check_type(value: Any, kind: type, where: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {dict: "an object", list: "a list", int: "a whole number"}
        raise InputError(
            f"{where}: got {type(value).__name__}; it is {names[kind]}{CALIBRATE_AGAIN}"
        )


def _no_constant(name: str) -> NoReturn:
    raise InputError(
        f"the calibration holds {name}; scores are numbers, or null where every restart"
        f" failed{CALIBRATE_AGAIN}"
    )


def _no_key_twice(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"the calibration has the key {twice!r} twice in one object{CALIBRATE_AGAIN}"
        )
    return data
