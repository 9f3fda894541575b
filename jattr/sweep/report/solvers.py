"""Solvers beside each other: how many own images each brings to a target, and at what cost.

One table and one figure of the settings of a sweep, from the same numbers as its other tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from jattr.printable import shown
from jattr.report.figures import plain_axis
from jattr.report.html import environment
from jattr.report.plotting import Axes, Figure, FuncFormatter
from jattr.sweep.report.effort import END, ProfilePoint
from jattr.sweep.report.measured import Measured
from jattr.sweep.report.panels import (
    LONGEST_SETTING,
    MAX_SETTINGS_DRAWN,
    band,
    legend,
    look,
    panels,
)
from jattr.sweep.setting import config_json

FLOOR = "floor"  # the target of 8-bit rounding, among `TARGETS`
TARGET_WORDS = {FLOOR: "the floor of 8-bit rounding", "1e-3": "1e-3", "1e-4": "1e-4"}
HEADS = ("solver", "reached", "95 %", "evaluations", "expected", "seconds", "expected")
TABLE = """<table>
<caption>{{ caption }}</caption>
<thead><tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr>{% for text in row %}<td>{{ text | shown(120) }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
"""


class SolverRow(NamedTuple):
    """What one solver reaches, and its cost; None where too few reached it."""

    solver: str
    target: str  # a key of `TARGETS`
    images: int
    reached: float  # share of images
    low: float  # 95 % interval
    high: float
    evaluations_q25: float | None  # of an image until the target, forward passes
    evaluations_median: float | None
    evaluations_q75: float | None
    expected_evaluations: float | None  # spent on all images, over how many reached it
    seconds_q25: float | None  # of an image until the target
    seconds_median: float | None
    seconds_q75: float | None
    expected_seconds: float | None


def solver_rows(measured: Measured) -> tuple[SolverRow, ...]:
    """Return what the settings of a sweep reach on own images, as they were made.

    Settings that search by another distance than pixels are left out: their residuals are of that
    distance.
    """
    times = {(r.setting, r.target): r for r in measured.times if measured.plain(r)}
    rows = []
    for r in measured.to_target:
        if not measured.plain(r) or r.target == END:
            continue
        seconds = times[r.setting, r.target]
        rows.append(
            SolverRow(
                solver=r.setting,
                target=r.target,
                images=r.n,
                reached=r.reached,
                low=r.low,
                high=r.high,
                evaluations_q25=r.evaluations_q25,
                evaluations_median=r.evaluations_median,
                evaluations_q75=r.evaluations_q75,
                expected_evaluations=r.expected_evaluations,
                seconds_q25=seconds.timing_q25,
                seconds_median=seconds.timing_median,
                seconds_q75=seconds.timing_q75,
                expected_seconds=seconds.timing_expected,
            )
        )
    return tuple(rows)


def differ_in_solvers(measured: Measured) -> bool:
    """Return whether the settings of a sweep have several solvers, and own images are searched."""
    solvers = set()
    for setting in measured.spec.settings:
        facts = config_json(setting.config)
        solver = facts["search"]["solver"] if "search" in facts else facts["optimiser"]
        solvers.add(json.dumps(solver, sort_keys=True))
    return len(solvers) > 1 and bool(solver_rows(measured))


def timing_solvers(measured: Measured) -> Figure | None:
    """Success against evaluations, and seconds to the floor, where settings differ in solvers."""
    return solvers_figure(measured, FLOOR) if differ_in_solvers(measured) else None


def solvers_figure(measured: Measured, target: str) -> Figure:
    """Return success against evaluations with 95 % bands, and seconds to a target."""
    rows = [row for row in solver_rows(measured) if row.target == target][:MAX_SETTINGS_DRAWN]
    points = [p for p in measured.profile if measured.plain(p) and p.target == target]
    axes = panels(
        [f"until {TARGET_WORDS[target]}", "time; arrow: over a quarter never get there"],
        len(rows),
        x="evaluations (forward passes)",
        y="share of pictures",
        title=f"Solvers, own pictures, n = {rows[0].images if rows else 0}; bands: 95 %",
        width=4.0,
    )
    if rows:
        _draw_success(axes[0], rows, points)
        _draw_seconds(axes[1], rows)
    return legend(axes)


def caption(rows: Sequence[SolverRow], target: str) -> str:
    """Return what the table is about."""
    images = max((row.images for row in rows), default=0)
    return (
        f"{images} pictures to {TARGET_WORDS[target]}: medians of a picture, and what all cost over"
        " how many got there"
    )


def table_lines(rows: Sequence[SolverRow], target: str) -> list[tuple[str, ...]]:
    """Return the cells of the table of one target, without its heads."""
    return [_texts(row) for row in rows if row.target == target]


def html_table(rows: Sequence[SolverRow], target: str = FLOOR) -> str:
    """Return the table of one target as HTML; names are escaped."""
    template = environment().from_string(TABLE)
    lines = table_lines(rows, target)
    return str(template.render(heads=HEADS, rows=lines, caption=caption(rows, target)))


def _draw_success(axes: Axes, rows: Sequence[SolverRow], points: Sequence[ProfilePoint]) -> None:
    """Draw the share that has reached the target, against evaluations."""
    reached = [p.evaluations for p in points if p.evaluations > 0]
    first, last = (0.7 * min(reached), 1.3 * max(reached)) if reached else (1.0, 10.0)
    for index, row in enumerate(rows):
        curve = [p for p in points if p.setting == row.solver]
        curve.append(curve[-1]._replace(evaluations=max(curve[-1].evaluations, last)))
        way = look(index) | {"marker": "", "drawstyle": "steps-post"}
        x = [max(p.evaluations, first) for p in curve]
        axes.plot(x, [p.share for p in curve], **way)
        axes.plot([], [], label=_label(row), **look(index))  # the mark of the other panel, too
        band(axes, index, x, curve, step="post")
    axes.set_xscale("log")
    axes.set_xlim(first, last)
    _short_labels(axes)


def _draw_seconds(axes: Axes, rows: Sequence[SolverRow]) -> None:
    """Draw the median seconds between quartiles, a line for each solver, the first on top."""
    known = [
        value
        for row in rows
        for value in (row.seconds_q25, row.seconds_median, row.seconds_q75)
        if value is not None
    ]
    least, most = (0.7 * min(known), 1.6 * max(known)) if known else (0.1, 1.0)
    for index, row in enumerate(rows):
        way, y = look(index), 1 - (index + 0.5) / len(rows)
        if row.seconds_q25 is None:
            axes.text(most, y, "reached by less than a quarter ", ha="right", va="center",
                      fontsize=7, color=way["color"])  # fmt: skip
            continue
        end = most if row.seconds_q75 is None else row.seconds_q75
        axes.plot([row.seconds_q25, end], [y, y], **(way | {"marker": "", "ls": "-"}))
        if row.seconds_q75 is None:
            axes.plot(end, y, ">", color=way["color"], ms=4, clip_on=False)
        if row.seconds_median is not None:
            axes.plot(row.seconds_median, y, **way)
    axes.set_xscale("log")
    axes.set_xlim(least, most)
    axes.set_xlabel("seconds of a picture: median, middle half")
    axes.set_yticks([])
    _short_labels(axes)


def _short_labels(axes: Axes) -> None:
    """Label a log axis by numbers as they are read."""
    plain_axis(axes.xaxis)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))


def _label(row: SolverRow) -> str:
    return (
        f"{shown(row.solver, LONGEST_SETTING)}: {row.reached:.0%} ({row.low:.0%} to {row.high:.0%})"
    )


def _texts(row: SolverRow) -> tuple[str, ...]:
    """Return a row as the table has it."""
    return (
        row.solver,
        f"{row.reached:.0%}",
        f"{row.low:.0%}-{row.high:.0%}",
        *map(_count, (row.evaluations_median, row.expected_evaluations)),
        *map(_number, (row.seconds_median, row.expected_seconds)),
    )


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
