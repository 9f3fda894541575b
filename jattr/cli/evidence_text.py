"""What `jattr evidence` says."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jattr.report.words import shown

if TYPE_CHECKING:
    from jattr.ledger.evidence.bundle import Attribution
    from jattr.ledger.evidence.make import Made
    from jattr.ledger.evidence.verify import Verified
    from jattr.ledger.policy import OpenedCheckpoint

STATED = ("fit", "certificate", "alteration", "residual")


def facts_of(found: Made | Verified, attribution: Attribution) -> dict[str, Any]:
    """Return the facts as JSON values."""
    bundle = found.bundle
    facts = {"verdict": found.verdict.json, "examined": bundle.examined, "origin": bundle.origin}
    stated = {name: getattr(attribution, name) for name in STATED}
    return facts | {
        "attribution": stated | {"latent": attribution.latent is not None},
        "level": bundle.level,
    }


def text_of(
    found: Made | Verified,
    attribution: Attribution,
    last: Sequence[str],
    whose: str = "",
    limit: str = "",
) -> str:
    """Return the text of a verdict, with these last lines."""
    bundle, counts, sample = (
        found.bundle,
        found.bundle.examined["counts"],
        found.bundle.examined["sample"],
    )
    lines = [f"{shown(bundle.name, 100)}: {limit}{found.verdict.text}"]
    lines += [f"weaker because {shown(weak, 400)}" for weak in found.verdict.weaknesses]
    lines.append(f"inversion{whose}: {shown(attribution.reason, 600)}")
    closest = bundle.examined["closest"]
    away = "" if closest is None else f"; the closest is {closest} of 256 bits away"
    lines.append(
        f"log {shown(bundle.origin, 200)}: {counts['entries']} entries in the window,"
        f" {counts['results']} outputs,"
        f" {counts['opened']} opened{away}; {len(sample)} made again by the nonce"
        f" {shown(bundle.nonce, 100)}"
    )
    return "\n".join([*lines, *last])


def verified_text(found: Verified) -> str:
    """Return the text of evidence that was verified."""
    lines = [
        _window_text(found.start, found.end),
        *(f"NOT CHECKED: {what}" for what in found.unchecked),
    ]
    if found.unchecked:
        lines.append(
            "log, window and openings are as they follow from the public log; the verdict rests on"
            " the above too"
        )
    else:
        lines.append(
            "verified: log, window, openings and verdict are as they follow from the public log"
        )
    whose = "" if found.own else ", in the words of the log's owner"
    return text_of(
        found,
        found.attribution,
        lines,
        whose,
        "as far as it was checked: " if found.unchecked else "",
    )


def _window_text(start: OpenedCheckpoint | None, end: OpenedCheckpoint) -> str:
    first = 0 if start is None else start.checkpoint.size
    text = f"window: entries {first} to {end.checkpoint.size - 1}"
    for what, opened in (("begins", start), ("ends", end)):
        if opened is None or not opened.witnesses:
            continue
        if opened.time is None:
            text += f"; when it {what}: no time stated"
        else:
            text += (
                f"; it {what} no later than {_date(opened.time)}, by"
                f" {shown(', '.join(opened.dated_by), 200)}"
            )
    return text


def _date(seconds: int) -> str:
    """Return a time, seconds since 1970, as a date."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(
            "%Y-%m-%d %H:%M:%S UTC"
        )
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds after 1970"
