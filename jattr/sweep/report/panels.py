"""What a sweep's figures are made of.

Panels side by side, one legend below them, one look for each setting.

Colours are those of Okabe, Ito, Color Universal Design (2008), which the colour-blind tell apart;
lines differ in dashes and marks besides.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Protocol

from jattr.printable import shown
from jattr.report.plotting import Axes, Figure, FigureCanvasAgg, FigureCanvasSVG
from jattr.sweep.spec import Spec
from jattr.typing import Json, JsonObject

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Json, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
MARKS = "osD^vPX"
QUIET = "#8a949e"
MAX_SETTINGS_DRAWN = 14  # settings that are drawn
LONGEST_SETTING = 60  # characters of a setting's name
PANEL = (3.3, 2.7)  # inches
# inches: margins, between panels, a line of the legend
LEFT, PANEL_GAP, TOP_MARGIN, BELOW, LINE = 0.85, 0.35, 0.62, 0.55, 0.157
DPI = 130


def look(index: int) -> JsonObject:
    """Return how the setting of an index is drawn; no two of `MAX_SETTINGS_DRAWN` look alike.

    Lines that coincide both show: later ones are drawn over earlier ones, thinner, and with gaps.
    """
    colour, later = COLOURS[index % len(COLOURS)], index // len(COLOURS) % 2
    return {
        "color": colour,
        "ls": DASHES[index % len(DASHES)],
        "marker": MARKS[(index + later) % len(MARKS)],
        "ms": 5,
        "lw": 2.6 if index % len(DASHES) == 0 else 1.6,
        "mfc": "white" if later else colour,
    }


class OfSetting(Protocol):
    """A row that belongs to a setting of the sweep."""

    @property
    def setting(self) -> str:
        """The setting's name."""


def shift(index: int, count: int, span: float = 0.5) -> float:
    """Return how far beside a tick the setting of an index is drawn."""
    return span * ((index + 0.5) / count - 0.5)


def settings_of(spec: Spec, rows: Sequence[OfSetting]) -> list[str]:
    """Return the settings that have rows, in order, at most `MAX_SETTINGS_DRAWN`."""
    present = {row.setting for row in rows}
    return [setting.name for setting in spec.settings if setting.name in present][
        :MAX_SETTINGS_DRAWN
    ]


def left_out(rows: Sequence[OfSetting]) -> str:
    """Return words for the settings that are not drawn."""
    count = len({row.setting for row in rows})
    return (
        f" (the first {MAX_SETTINGS_DRAWN} of {count} settings)"
        if count > MAX_SETTINGS_DRAWN
        else ""
    )


def panels(
    titles: Sequence[str],
    lines: int,
    *,
    x: str,
    y: str,
    title: str,
    width: float = PANEL[0],
    below: float = BELOW,
) -> list[Axes]:
    """Return axes side by side, shares from 0 to 1 on their y axes, with room for a legend of so
    many lines.
    """
    whole = (
        LEFT + len(titles) * (width + PANEL_GAP),
        TOP_MARGIN + PANEL[1] + below + LINE * (lines + 1),
    )
    drawing = Figure(figsize=(max(whole[0] + 0.1, 6.6), whole[1]))
    wide, high = drawing.get_size_inches()
    drawing.text(
        0.12 / wide, 1 - 0.12 / high, title, va="top", ha="left", fontsize=10, fontweight="bold"
    )
    result = []
    for index, name in enumerate(titles):
        corner = (LEFT + index * (width + PANEL_GAP)) / wide, 1 - (TOP_MARGIN + PANEL[1]) / high
        axes = drawing.add_axes((*corner, width / wide, PANEL[1] / high))
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(x)
        axes.grid(color="#e4e8eb", lw=0.6)
        axes.set_axisbelow(True)
        if index:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(y)
        result.append(axes)
    return result


def figure_of(axes: Sequence[Axes]) -> Figure:
    """Return the figure that axes belong to."""
    drawing = axes[0].figure
    assert isinstance(drawing, Figure)  # panels and matrices make no figures within figures
    return drawing


def legend(axes: Sequence[Axes]) -> Figure:
    """Put one legend of all panels below them, and return the figure."""
    drawing = figure_of(axes)
    entries: JsonObject = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    wide, _ = drawing.get_size_inches()
    drawing.legend(
        entries.values(),
        entries.keys(),
        loc="lower left",
        bbox_to_anchor=((LEFT - 0.3) / wide, 0.0),
        frameon=False,
        fontsize=8,
        handlelength=3.2,
        labelspacing=0.35,
    )
    return drawing


def named(setting: str, facts: str) -> str:
    """Return a legend's line."""
    return f"{shown(setting, LONGEST_SETTING)} ({facts})"


def band(axes: Axes, index: int, x: Sequence[float], curve: Sequence[Any], **options: Any) -> None:
    """Draw the intervals of a curve's points."""
    low, high = [p.low for p in curve], [p.high for p in curve]
    axes.fill_between(x, low, high, color=look(index)["color"], alpha=0.1, lw=0, **options)


def bars(
    axes: Axes, index: int, x: Sequence[float], spans: Sequence[tuple[Json, ...]], label: str
) -> None:
    """Draw values with their intervals; without one, the value alone."""
    if not spans:
        return
    below = [0.0 if low is None else max(0.0, value - low) for low, value, _ in spans]
    above = [0.0 if high is None else max(0.0, high - value) for _, value, high in spans]
    way = look(index) | {"ls": "", "capsize": 2, "elinewidth": 0.9}
    axes.errorbar(x, [value for _, value, _ in spans], [below, above], label=label, **way)


def spans(
    axes: Axes,
    index: int,
    x: Sequence[float],
    quartiles: Sequence[tuple[Json, ...]],
    top: float,
    label: str,
) -> None:
    """Draw medians between quartiles; an upper quartile that is None is an open end at `top`."""
    way = look(index)
    for at, (low, middle, high) in zip(x, quartiles, strict=True):
        axes.plot([at, at], [low, high or top], **(way | {"marker": "", "ls": "-"}))
        if high is None:
            axes.plot(at, top, "^", color=way["color"], ms=4)
        if middle is not None:
            axes.plot(at, middle, **way)
    axes.plot([], [], label=label, **(way | {"ls": "-"}))


def matrices(
    title: str,
    lines: Sequence[str],
    ways: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
) -> list[Axes]:
    """Return axes for matrices [rows, columns], line by line under its name, the ways side by
    side.
    """
    wide, high = max(2.0, 0.62 * len(columns)), 0.3 * len(rows) + 0.12
    left, head = 0.35 + 0.068 * max(map(len, rows)), 0.5
    below = 0.3 + 0.05 * min(20, max(map(len, columns)))
    whole = left + len(ways) * (wide + 0.3) + 0.2, 0.35 + len(lines) * (head + high + below)
    drawing = Figure(figsize=whole)
    drawing.text(
        0.12 / whole[0], 1 - 0.1 / whole[1], title, va="top", fontsize=10, fontweight="bold"
    )
    result = []
    for i, line in enumerate(lines):
        top = whole[1] - 0.35 - i * (head + high + below)
        drawing.text(
            0.12 / whole[0],
            (top - 0.08) / whole[1],
            shown(line, LONGEST_SETTING),
            va="top",
            fontsize=9,
        )
        for j, way in enumerate(ways):
            corner = (left + j * (wide + 0.3)) / whole[0], (top - head - high) / whole[1]
            axes = drawing.add_axes((*corner, wide / whole[0], high / whole[1]))
            axes.set_title(way, loc="left", fontsize=8)
            axes.set_xticks(
                [j + 0.5 for j in range(len(columns))],
                [shown(name, 20) for name in columns],
                rotation=35,
                ha="right",
            )
            axes.set_yticks([i + 0.5 for i in range(len(rows))], rows)
            axes.tick_params(length=0, labelsize=8, labelleft=j == 0)
            result.append(axes)
    return result


def matrix(axes: Axes, shares: Sequence[Sequence[float]]) -> None:
    """Draw shares [rows, columns] with their numbers."""
    axes.pcolormesh(shares, cmap="Blues", vmin=0.0, vmax=1.0, shading="flat")
    axes.invert_yaxis()
    for i, row in enumerate(shares):
        for j, value in enumerate(row):
            if value:
                colour = "white" if value > 0.55 else "black"
                axes.text(
                    j + 0.5,
                    i + 0.5,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=colour,
                )
    for side in axes.spines.values():
        side.set_visible(False)


def rendered(drawing: Figure, kind: str) -> bytes:
    """Return a figure as `png` or `svg`, without dates or versions.

    The same drawing gives the same bytes.
    """
    file = io.BytesIO()
    if kind == "svg":
        FigureCanvasSVG(drawing).print_svg(file, metadata={"Date": None, "Creator": None})
    else:
        drawing.set_dpi(DPI)
        FigureCanvasAgg(drawing).print_png(file, metadata={"Software": None})
    return file.getvalue()
