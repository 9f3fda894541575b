"""Figures of effort: restarts, evaluations and seconds that own images take."""

from __future__ import annotations

from collections.abc import Sequence

from jattr.report.figures import plain_axis
from jattr.report.plotting import Figure
from jattr.sweep.report.effort import END, TARGETS
from jattr.sweep.report.measured import Measured
from jattr.sweep.report.panels import (
    MAX_SETTINGS_DRAWN,
    QUIET,
    band,
    bars,
    left_out,
    legend,
    look,
    named,
    panels,
    settings_of,
    shift,
    spans,
)
from jattr.typing import Json

FEW = 12  # restarts up to which curves stand beside each other


def restart_success(measured: Measured) -> Figure | None:
    """Share of own images that have arrived at the floor, against restarts."""
    points = [p for p in measured.restart_points if measured.plain(p)]
    if not points:
        return None
    settings, last = settings_of(measured.spec, points), max(p.restarts for p in points)
    title = "Restart success, own pictures; bands: 95 %" + left_out(points)
    axes = panels(
        [""],
        len(settings),
        x="restarts of a picture",
        y="share that arrived",
        title=title,
        width=5.2,
    )
    for index, setting in enumerate(settings):
        curve = [p for p in points if p.setting == setting]
        # all have arrived: more restarts change nothing
        if curve[-1].share == 1.0 and curve[-1].restarts < last:
            curve.append(curve[-1]._replace(restarts=last))
        beside = shift(index, len(settings), 0.3) if last <= FEW else 0.0
        x = [p.restarts + beside for p in curve]
        label = named(setting, f"n = {curve[0].n}")
        if len(curve) == 1:
            bars(axes[0], index, x, [(curve[0].low, curve[0].share, curve[0].high)], label)
            continue
        axes[0].plot(x, [p.share for p in curve], label=label, **look(index))
        band(axes[0], index, x, curve)
    step = max(1, last // 8)
    axes[0].set_xticks(range(step if step > 1 else 1, last + 1, step))
    axes[0].set_xlim(0.7, last + 0.3)
    return legend(axes)


def data_profile(measured: Measured) -> Figure | None:
    """Share of own images whose search has reached a target, against evaluations."""
    points = [p for p in measured.profile if measured.plain(p)]
    reached = [p for p in points if p.evaluations > 0]
    if not reached:
        return None
    settings, last = settings_of(measured.spec, points), max(p.evaluations for p in reached)
    ends = {
        r.setting: r.evaluations_q75 or last
        for r in measured.to_target
        if measured.plain(r) and r.target == END
    }
    title = "Data profiles, own pictures; bands: 95 %" + left_out(points)
    y = "share that reached it"
    axes = panels(_targets(), len(settings), x="evaluations (forward passes)", y=y, title=title)
    first = 0.7 * min(p.evaluations for p in reached)
    for index, setting in enumerate(settings):
        for ax, target in zip(axes, TARGETS, strict=True):
            curve = [p for p in points if p.setting == setting and p.target == target]
            curve.append(curve[-1]._replace(evaluations=max(curve[-1].evaluations, ends[setting])))
            x = [max(p.evaluations, first) for p in curve]
            way = look(index) | {"marker": "", "drawstyle": "steps-post"}
            ax.plot(x, [p.share for p in curve], label=named(setting, f"n = {curve[0].n}"), **way)
            band(ax, index, x, curve, step="post")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlim(left=first)
        plain_axis(ax.xaxis)
    return legend(axes)


def evaluations_to_target(measured: Measured) -> Figure | None:
    """Median and quartiles of the evaluations to each target, over all own images."""
    rows = [
        (r.setting, r.target, r.n, r.evaluations_q25, r.evaluations_median, r.evaluations_q75)
        for r in measured.to_target
        if measured.plain(r)
    ]
    return _quartiles(
        measured,
        rows,
        "evaluations (forward passes)",
        "Evaluations to target: medians and quartiles",
    )


def timing_to_target(measured: Measured) -> Figure | None:
    """Median and quartiles of the seconds to each target, estimated from evaluations."""
    rows = [
        (r.setting, r.target, r.n, r.timing_q25, r.timing_median, r.timing_q75)
        for r in measured.times
        if measured.plain(r)
    ]
    return _quartiles(
        measured, rows, "seconds of a picture (estimated)", "Time to target: medians and quartiles"
    )


def _quartiles(
    measured: Measured, rows: Sequence[tuple[Json, ...]], y: str, title: str
) -> Figure | None:
    """Draw rows (setting, target, n, quartile, median, quartile).

    One that too few reached has an open end.
    """
    rows = [row for row in rows if row[1] in TARGETS and row[3] is not None]
    if not rows:
        return None
    present = {row[0] for row in rows}
    settings = [setting.name for setting in measured.spec.settings if setting.name in present][
        :MAX_SETTINGS_DRAWN
    ]
    axes = panels([""], len(settings) + 1, x="", y=y, title=title, width=5.6)
    top = 1.6 * max(value for row in rows for value in row[3:] if value is not None)
    for index, setting in enumerate(settings):
        some = [row for row in rows if row[0] == setting]
        x = [list(TARGETS).index(row[1]) + shift(index, len(settings), 0.7) for row in some]
        spans(
            axes[0], index, x, [row[3:] for row in some], top, named(setting, f"n = {some[0][2]}")
        )
    axes[0].plot(
        [],
        [],
        "^",
        color=QUIET,
        ms=4,
        label="open end: fewer than three quarters reached the target",
    )
    axes[0].set_xticks(range(len(TARGETS)), _targets())
    axes[0].set_yscale("log")
    axes[0].set_ylim(0.6 * min(row[3] for row in rows), 1.15 * top)
    plain_axis(axes[0].yaxis)
    return legend(axes)


def _targets() -> list[str]:
    return [
        "floor of 8-bit rounding" if name == "floor" else f"residual at most {name}"
        for name in TARGETS
    ]
