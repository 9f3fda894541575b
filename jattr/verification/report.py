"""The outcome of `jattr verify`, and what no verification of files can settle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What only another search, or the writer's word, can tell: printed with every verification.
NOT_CHECKED = (
    "what the searches did, which only another search tells: restarts, searches, scores,"
    " usual_miss, restarts_needed, miss_bound, judgement",
    "what result.json says besides: reason, notes, timing_seconds, versions, settings (but resize,"
    " distance and thresholds), paths of candidates, contact_sheet.png and report.html",
)


@dataclass
class Report:
    """The outcome of a verification."""

    # certificates that were carried out again
    checked: list[dict[str, Any]] = field(default_factory=list)
    stated: int = 0  # certificates that are stated to hold
    images: int = 0  # with a stated certificate
    differences: list[str] = field(default_factory=list)  # one line each
    # what could not be carried out again, and why
    unchecked: list[str] = field(default_factory=list)


def holding(row: Mapping[str, Any]) -> list[str]:
    """Return the candidates whose certificates a row states to hold."""
    return [
        name
        for name, stated in row["certificates"].items()
        if stated is not None and stated["holds"]
    ]
