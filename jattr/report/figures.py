"""Figures of a result, as SVG: residuals of all candidates, and how their searches went.

Nothing is told by colour alone: lines differ in dashes, ends of searches in their marks.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jattr.inversion.multistart import Search
from jattr.inversion.problem import FLOOR
from jattr.printable import shown
from jattr.report.plotting import (
    Axes,
    Axis,
    Figure,
    FigureCanvasSVG,
    Line2D,
    LogLocator,
    NullLocator,
    StrMethodFormatter,
    style_context,
)

LONGEST_NAME = 24  # characters of a candidate's name
MARKS = {"arrived": "^", "stalled": "o", "spent": "s", "failed": "x"}  # how a restart ended
ENDING_WORDS = {
    "arrived": "at the floor",
    "stalled": "no longer better",
    "spent": "out of steps",
    "failed": "diverged",
}
INK, QUIET, WINNER = "#1d2733", "#8a949e", "#0b5d44"
STYLE: dict[Any, Any] = {  # keys are a type of matplotlib's that has no name
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "jattr",
}
FIGURE_WIDTH, GAP, LETTER = 9.2, 0.7, 0.083  # inches: of a figure, between its panels, of a letter
FEW_DECADES = 50.0  # a smaller ratio of an axis' ends has few decades in it
MAX_TRACES = 64  # restarts drawn of a candidate


class Line(Protocol):
    """`axhline` or `axvline` of some axes."""

    def __call__(self, at: float, /, *, color: str, lw: float, ls: str) -> object:
        """Draw it."""


def figure(
    residuals: Mapping[str, float | None],
    searches: Mapping[str, Sequence[Search]],
    winner: str | None,
    floor: float = FLOOR,
) -> bytes:
    """Return the figure of one image as SVG.

    Args:
      residuals: by candidate, mean squared, [-1, 1] units; None where every restart failed.
      searches: by candidate, the restarts that ran.
      winner: the candidate that made the image, if one did.
      floor: the residual that the true latent leaves: 8-bit rounding, or more of an altered image.
    """
    names = sorted(residuals, key=lambda name: _or_inf(residuals[name]))
    with style_context(STYLE):
        drawing = Figure(figsize=(FIGURE_WIDTH, 1.2 + 0.22 * max(5, len(names))))
        left, right = _panels(drawing, names, winner)
        _draw_residuals(left, names, residuals, winner, floor)
        _draw_searches(right, searches, winner, floor)
        file = io.BytesIO()
        FigureCanvasSVG(drawing).print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _panels(drawing: Figure, names: Sequence[str], winner: str | None) -> tuple[Axes, Axes]:
    """Return the axes of both panels, with room for names.

    matplotlib's own layout takes twice the time of the rest of a figure.
    """
    _, height = drawing.get_size_inches()
    low, high = 0.45, height - 0.3
    first = 0.15 + LETTER * max(len(shown(name, LONGEST_NAME)) for name in names)
    labels = [
        *ENDING_WORDS.values(),
        "other candidates",
        "" if winner is None else shown(winner, LONGEST_NAME),
    ]
    last = FIGURE_WIDTH - 0.5 - LETTER * max(map(len, labels))
    middle = first + (last - first - GAP) * 5 / 11

    def panel(left: float, right: float) -> Axes:
        return drawing.add_axes(
            (
                left / FIGURE_WIDTH,
                low / height,
                (right - left) / FIGURE_WIDTH,
                (high - low) / height,
            )
        )

    return panel(first, middle), panel(middle + GAP, last)


def _draw_residuals(
    axes: Axes,
    names: Sequence[str],
    residuals: Mapping[str, float | None],
    winner: str | None,
    floor: float,
) -> None:
    for row, name in enumerate(names):
        value, colour = residuals[name], WINNER if name == winner else INK
        if value is None:
            axes.text(floor, row, "  every restart failed", va="center", color=colour)
            continue
        axes.plot([floor, value], [row, row], color=colour, lw=1)
        axes.plot(
            value,
            row,
            "D" if name == winner else "o",
            color=colour,
            ms=6 if name == winner else 5,
        )
    _floor(axes.axvline, floor)
    axes.set_xscale("log")
    plain_axis(axes.xaxis)
    axes.set_yticks(range(len(names)), [shown(name, LONGEST_NAME) for name in names])
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if name == winner else "normal")
    axes.invert_yaxis()
    axes.set_xlabel("residual (mean square)")
    axes.set_title("Best reproductions", loc="left", fontsize=9)


def _draw_searches(
    axes: Axes, searches: Mapping[str, Sequence[Search]], winner: str | None, floor: float
) -> None:
    ends: set[str] = set()
    for name, runs in searches.items():
        best = name == winner
        for run in runs[:MAX_TRACES]:
            points = [
                (cost, loss)
                for cost, loss in run.trace
                if loss > 0 and _or_inf(loss) != float("inf")
            ]
            if not points:
                continue
            colour = WINNER if best else QUIET
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                lw=1.6 if best else 0.8,
                ls="-" if best else "--",
                zorder=3 if best else 2,
            )
            end = run.status.name.lower()
            ends.add(end)
            axes.plot(
                *points[-1],
                MARKS[end],
                color=colour,
                ms=6,
                mfc=colour if best else "white",
                zorder=4,
            )
    _floor(axes.axhline, floor)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_axis(axes.xaxis)
    plain_axis(axes.yaxis)
    axes.set_xlabel("evaluations of a restart (forward passes)")
    axes.set_title("Searches", loc="left", fontsize=9)
    _legend(axes, sorted(ends, key=list(MARKS).index), winner)


def _legend(axes: Axes, ends: Sequence[str], winner: str | None) -> None:
    handles = [
        Line2D([], [], color=INK, marker=MARKS[end], ls="", mfc="white", label=ENDING_WORDS[end])
        for end in ends
    ]
    if winner is not None:
        handles.insert(0, Line2D([], [], color=WINNER, lw=1.6, label=shown(winner, LONGEST_NAME)))
        handles.insert(1, Line2D([], [], color=QUIET, lw=0.8, ls="--", label="other candidates"))
    handles.append(Line2D([], [], color=INK, lw=1, ls=":", label="floor"))
    axes.legend(
        handles=handles, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )


def plain_axis(axis: Axis) -> None:
    """Label a log axis as plain text: names may hold dollar signs, so a figure has no formulas.

    Decades, and 2 and 5 times them where there are few; no minor ticks, which take most of the time
    of a figure.
    """
    low, high = axis.get_data_interval()
    axis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if high < FEW_DECADES * low else (1.0,), numticks=7)
    )
    axis.set_major_formatter(StrMethodFormatter("{x:.0e}"))
    axis.set_minor_locator(NullLocator())


def _floor(line: Line, floor: float) -> None:
    line(floor, color=INK, lw=1, ls=":")


def _or_inf(value: float | None) -> float:
    return float("inf") if value is None else value
