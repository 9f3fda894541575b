"""`jattr verify`: the verdict on a picture, decided anew from its evidence.

The evidence is what result.json states, once every figure of it that follows from the files was computed again and
compared: so names keep their order, and a margin its digits, on any device.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jattr.cli.verify_report import Report, holding
from jattr.generators.settings import Settings
from jattr.images import Picture

if TYPE_CHECKING:
    from jattr.decision.certificate import Certificate
    from jattr.decision.verdict import DecisionConfig, Evidence

MARGIN = 1e-6  # of the margin: a quotient of two stated numbers
CALIBRATED = "verdicts of pictures without a certificate that a calibration gave"
OTHER_THRESHOLDS = "verdicts of pictures without a certificate: their thresholds are not this version's"


def verify_verdict(data: Mapping[str, Any], row: Mapping[str, Any], picture: Picture | None, report: Report) -> None:
    """Decide on a picture anew and compare: the kind, the names in their order, certificate, class and margin.

    Args:
      data: the result.
      row: the picture's.
      picture: None if it is not at hand.
      report: where differences are put.
    """
    from jattr.decision.verdict import decide
    from jattr.result import finite, proven_first

    proofs, config = _certificates(data, row), _thresholds(data)
    decided = decide(_evidence(data, row, proofs), config)
    names, lines = proven_first(decided, proofs), _contradictions(row)
    if not holding(row) and (config is None or row.get("judgement") is not None):
        report.unchecked.append(OTHER_THRESHOLDS if config is None else CALIBRATED)
    elif (decided.kind, names) != (row["verdict"], row["candidates"]) and not _withheld(decided.kind, row):
        stated = _verdict_text(row["verdict"], row["candidates"])
        lines.append(f"result.json states {stated}, its evidence gives {_verdict_text(decided.kind, names)}")
    elif decided.kind == row["verdict"] == "none" and _doubtful(data, row, picture):
        lines.append("result.json states none of the candidates, which the picture's file does not allow")
    margin = finite(decided.margin)
    if (margin is None) != (row["margin"] is None) or abs((margin or 0) - (row["margin"] or 0)) > MARGIN * (
        margin or 0
    ):
        lines.append(f"the margin is {margin}, result.json states {row['margin']}")
    report.differences += [f"{row['file']!r}: {line}" for line in lines]


def _contradictions(row: Mapping[str, Any]) -> list[str]:
    """Return what a row's verdict, its names, its certificate and its class say against each other."""
    first, certificate = row["candidates"][0] if row["candidates"] else None, row["certificate"]
    proof = row["certificates"][first] if holding(row) and first is not None else None
    lines = []
    if row["candidate"] != first or certificate != proof or (certificate is not None and not certificate["holds"]):
        lines.append("verdict and certificates in result.json contradict each other")
    if (row["verdict"] == "made-by") != (first is not None):
        lines.append("verdict and names in result.json contradict each other")
    label = None if first is None else row["labels"][first]
    if row["label"] != label:
        lines.append(f"the class is {label}, result.json states {row['label']}")
    if certificate is not None and certificate.get("alteration", "") != (row.get("alteration") or ""):
        lines.append("the certificate's alteration is not the picture's")
    return lines


def _evidence(
    data: Mapping[str, Any], row: Mapping[str, Any], proofs: Mapping[str, Certificate | None]
) -> list[Evidence]:
    """Return what is stated of a picture under every candidate."""
    from jattr.decision.verdict import Evidence

    found = []
    for candidate in data["candidates"]:
        name, settings = candidate["name"], candidate.get("settings")
        restarts = row["restarts"][name]
        found.append(
            Evidence(
                name=name,
                digest=candidate["digest"],
                residual=row["residual"][name],
                certificate=proofs[name],
                restarts=restarts["run"],
                arrived=restarts["arrived"],
                failed=restarts["failed"],
                usual_miss=row["usual_miss"].get(name),
                settings="" if settings is None else f"{candidate.get('space', 'z')}, {Settings(**settings)}",
                restarts_needed=row["restarts_needed"].get(name),
                miss_bound=row.get("miss_bound", {}).get(name),
            )
        )
    return found


def _certificates(data: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Certificate | None]:
    """Return the stated certificates; candidates of one digest share one that is the same."""
    from jattr.decision.certificate import Certificate

    known = {field.name for field in dataclasses.fields(Certificate)}
    shared: dict[tuple[str, str], Certificate] = {}
    found: dict[str, Certificate | None] = {}
    for candidate in data["candidates"]:
        stated = row["certificates"][candidate["name"]]
        if stated is None:
            found[candidate["name"]] = None
            continue
        proof = Certificate(**{name: value for name, value in stated.items() if name in known})
        text = json.dumps(stated, sort_keys=True)
        found[candidate["name"]] = shared.setdefault((candidate["digest"], text), proof)
    return found


def _thresholds(data: Mapping[str, Any]) -> DecisionConfig | None:
    """Return the thresholds of verdicts without a certificate; None if those stated are not this version's."""
    from jattr.decision.verdict import DecisionConfig

    own, stated = dataclasses.asdict(DecisionConfig()), data["settings"]["decision"]
    chosen = {"alpha", "thresholds"}
    if any(stated.get(name, value) != value for name, value in own.items() if name not in chosen):
        return None
    return DecisionConfig(thresholds=stated.get("thresholds", True) is True)


def _withheld(kind: str, row: Mapping[str, Any]) -> bool:
    """Return whether a row says less than its evidence.

    What its file states may forbid "none", and too few numbers to compare a name by thresholds.
    """
    return kind != "failed" and not holding(row) and row["verdict"] == "undecided" and not row["candidates"]


def _doubtful(data: Mapping[str, Any], row: Mapping[str, Any], picture: Picture | None) -> bool:
    """Return whether a picture's file forbids "none", as far as that can be told without its alteration."""
    from jattr.doubt import doubt_of

    shapes = [tuple(candidate["image_shape"]) for candidate in data["candidates"]]
    return picture is not None and not row.get("alteration") and bool(doubt_of(picture, None, shapes).text)


def _verdict_text(kind: str, names: list[str]) -> str:
    return f"made by {' or '.join(names)}" if names else kind
