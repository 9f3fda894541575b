"""Results as text for a terminal: one row an image, whatever the names of files are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from jattr.printable import shown
from jattr.report.words import ages_of, digests_of, verdict_text
from jattr.typing import JsonObject

# candidates with a column of their own; more are numbered and listed below each row
MAX_COLUMNS = 4
WIDTH = 110
LONGEST_FILE, LONGEST_NAME = 36, 26


def result_table(
    rows: Sequence[JsonObject],
    names: Sequence[str],
    distance: str | None = None,
    candidates: Sequence[JsonObject] = (),
) -> str:
    """Return the table of a result's images.

    Args:
      rows: of `result.json`.
      names: of the candidates.
      distance: the one that was searched by; None: pixels.
      candidates: of `result.json`, for their digests and dates; (): names stand alone.
    """
    data = {"candidates": candidates}
    digests = digests_of(data) if candidates else None
    wide = len(names) > MAX_COLUMNS
    heads = ["picture", "verdict", *([] if wide else [shown(name, LONGEST_NAME) for name in names])]
    heads += ["margin", "restarts"]
    cells = [_cells(row, [] if wide else names, digests) for row in rows]
    widths = [max(len(line[column]) for line in [heads, *cells]) for column in range(len(heads))]
    units = "mean squared, [-1, 1] units" if distance is None else shown(distance, LONGEST_FILE)
    lines = [f"residual: {units}; restarts: arrived/run of the best candidate", ""]
    if wide:
        lines[:0] = [
            f"{number:>3} = {shown(name, WIDTH - 8)}" for number, name in enumerate(names, 1)
        ]
    lines.append(_line(heads, widths))
    for row, line in zip(rows, cells, strict=True):
        lines.append(_line(line, widths))
        if wide:
            lines += _wrapped(
                "  ".join(
                    f"{n}: {_number(row['residual'][name])}" for n, name in enumerate(names, 1)
                )
            )
        if candidates:
            lines += ["    " + shown(text, 400) for text in ages_of(row, data)]
        if row["verdict"] != "made-by":
            lines += ["    " + shown(text, 400) for text in (row["reason"], *row["notes"])]
    return "\n".join(lines)


def _cells(row: JsonObject, names: Sequence[str], digests: Mapping[str, str] | None) -> list[str]:
    residuals = {name: value for name, value in row["residual"].items() if value is not None}
    best = row["candidate"] or min(residuals, key=lambda name: residuals[name], default=None)
    restarts = (
        "-"
        if best is None
        else f"{row['restarts'][best]['arrived']}/{row['restarts'][best]['run']}"
    )
    margin = "-" if row["margin"] is None else f"{row['margin']:.3g}"
    return [
        shown(row["file"], LONGEST_FILE),
        verdict_text(row, digests),
        *(_number(row["residual"][name]) for name in names),
        margin,
        restarts,
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
