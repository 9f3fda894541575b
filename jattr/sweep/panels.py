"""What a sweep's figures are made of: panels side by side, one legend below them, one look for each setting.

Colours are those of Okabe, Ito, Color Universal Design (2008), which the colour-blind tell apart; lines differ in
dashes and marks besides.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from jattr.report.words import shown

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MARKS = "osD^vPX"
QUIET = "#8a949e"
MOST = 14  # settings that are drawn
LONGEST = 60  # characters of a setting's name
PANEL = (3.3, 2.7)  # inches
LEFT, GAP, TOP, BELOW, LINE = 0.65, 0.35, 0.62, 0.55, 0.19  # inches: margins, between panels, a line of the legend
DPI = 130


def look(place: int) -> dict[str, Any]:
    """Return how the setting of a place is drawn; no two of `MOST` look alike."""
    dashes = DASHES[(place // len(COLOURS)) % len(DASHES)]
    return {
        "color": COLOURS[place % len(COLOURS)],
        "ls": dashes,
        "marker": MARKS[(place + place // len(COLOURS)) % len(MARKS)],
        "ms": 5,
        "lw": 1.5,
        "mfc": "white" if place // len(COLOURS) % 2 else COLOURS[place % len(COLOURS)],
    }


def shift(place: int, count: int, span: float = 0.5) -> float:
    """Return how far beside a tick the setting of a place is drawn."""
    return span * ((place + 0.5) / count - 0.5)


def panels(
    titles: Sequence[str], lines: int, *, x: str, y: str, title: str, width: float = PANEL[0], below: float = BELOW
) -> list[Any]:
    """Return axes side by side, shares from 0 to 1 on their y axes, with room for a legend of so many lines."""
    from matplotlib.figure import Figure

    whole = LEFT + len(titles) * (width + GAP), TOP + PANEL[1] + below + LINE * (lines + 1)
    drawing = Figure(figsize=(max(whole[0], 6.6), whole[1]))
    wide, high = drawing.get_size_inches()
    drawing.text(0.12 / wide, 1 - 0.12 / high, title, va="top", ha="left", fontsize=10, fontweight="bold")
    found = []
    for place, name in enumerate(titles):
        corner = (LEFT + place * (width + GAP)) / wide, 1 - (TOP + PANEL[1]) / high
        axes = drawing.add_axes((*corner, width / wide, PANEL[1] / high))
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(x)
        axes.grid(color="#e4e8eb", lw=0.6)
        axes.set_axisbelow(True)
        if place:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(y)
        found.append(axes)
    return found


def legend(axes: Sequence[Any]) -> Any:
    """Put one legend of all panels below them, and return the figure."""
    drawing = axes[0].figure
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    wide, _ = drawing.get_size_inches()
    drawing.legend(
        entries.values(), entries.keys(), loc="lower left", bbox_to_anchor=((LEFT - 0.3) / wide, 0.0), frameon=False,
        fontsize=8, handlelength=3.2, labelspacing=0.35,
    )  # fmt: skip
    return drawing


def named(setting: str, facts: str) -> str:
    """Return a legend's line."""
    return f"{shown(setting, LONGEST)} ({facts})"


def band(axes: Any, place: int, x: Sequence[float], curve: Sequence[Any], **options: Any) -> None:
    """Draw the intervals of a curve's points."""
    low, high = [p.low for p in curve], [p.high for p in curve]
    axes.fill_between(x, low, high, color=look(place)["color"], alpha=0.1, lw=0, **options)


def bars(axes: Any, place: int, x: Sequence[float], spans: Sequence[tuple[Any, ...]], label: str) -> None:
    """Draw values with their intervals; without one, the value alone."""
    if not spans:
        return
    below = [0.0 if low is None else max(0.0, value - low) for low, value, _ in spans]
    above = [0.0 if high is None else max(0.0, high - value) for _, value, high in spans]
    way = look(place) | {"ls": "", "capsize": 2, "elinewidth": 0.9}
    axes.errorbar(x, [value for _, value, _ in spans], [below, above], label=label, **way)


def spans(
    axes: Any, place: int, x: Sequence[float], quartiles: Sequence[tuple[Any, ...]], top: float, label: str
) -> None:
    """Draw medians between quartiles; an upper quartile that is None is an open end at `top`."""
    way = look(place)
    for at, (low, middle, high) in zip(x, quartiles, strict=True):
        axes.plot([at, at], [low, high or top], **(way | {"marker": "", "ls": "-"}))
        if high is None:
            axes.plot(at, top, "^", color=way["color"], ms=4)
        if middle is not None:
            axes.plot(at, middle, **way)
    axes.plot([], [], label=label, **(way | {"ls": "-"}))


def matrix(axes: Any, shares: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draw shares [rows, columns] as a matrix with its numbers."""
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for i, row in enumerate(shares):
        for j, value in enumerate(row):
            if value:
                colour = "white" if value > 0.55 else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(columns)), [shown(name, 20) for name in columns], rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), [shown(name, 30) for name in rows], fontsize=8)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)


def rendered(drawing: Any, kind: str) -> bytes:
    """Return a figure as `png` or `svg`, without dates or versions: the same drawing gives the same bytes."""
    file = io.BytesIO()
    if kind == "svg":
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        FigureCanvasSVG(drawing).print_svg(file, metadata={"Date": None, "Creator": None})
    else:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        drawing.set_dpi(DPI)
        FigureCanvasAgg(drawing).print_png(file, metadata={"Software": None})
    return file.getvalue()
