"""Figures of a sweep, PNG and SVG, from its metrics alone; the same metrics give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jattr.report.figures import STYLE, plain_axis
from jattr.report.words import shown
from jattr.sweep.effort import END, TARGETS
from jattr.sweep.groups import overall
from jattr.sweep.measured import Measured
from jattr.sweep.panels import MOST, QUIET, band, bars, legend, look, matrix, named, panels, rendered, shift, spans
from jattr.sweep.spec import NONE

MATRICES = 4  # settings whose confusion matrices are drawn
ROBUST = {
    "closed_set_accuracy": "closed-set accuracy", "certified": "certified", "auroc": "AUROC",
    "false_attribution": "foreign, but named",
}  # fmt: skip


class Drawn(NamedTuple):
    """A figure in both forms."""

    name: str
    png: bytes
    svg: bytes


def draw(measured: Measured) -> list[Drawn]:
    """Return every figure that a sweep has data for; names that begin with `timing` depend on the clock."""
    import matplotlib

    found = []
    with matplotlib.rc_context(STYLE):
        for name, make in FIGURES.items():
            drawing = make(measured)
            if drawing is not None:
                found.append(Drawn(name, rendered(drawing, "png"), rendered(drawing, "svg")))
    return found


def restart_success(measured: Measured) -> Any:
    """Share of own pictures that have arrived at the floor, against restarts."""
    points = [p for p in measured.restart_points if measured.plain(p)]
    if not points:
        return None
    settings = _settings(measured, points)
    title = "Restart success, own pictures; bands: 95 %" + _left_out(measured, points)
    axes = panels([""], len(settings), x="restarts of a picture", y="share that arrived", title=title, width=5.2)
    for place, setting in enumerate(settings):
        curve = [p for p in points if p.setting == setting]
        x = [p.restarts for p in curve]
        axes[0].plot(x, [p.share for p in curve], label=named(setting, f"n = {curve[0].n}"), **look(place))
        band(axes[0], place, x, curve)
    last = max(p.restarts for p in points)
    step = max(1, last // 8)
    axes[0].set_xticks(range(step if step > 1 else 1, last + 1, step))
    axes[0].set_xlim(0.8, last + 0.2)
    return legend(axes)


def data_profile(measured: Measured) -> Any:
    """Share of own pictures whose search has reached a target, against evaluations."""
    points = [p for p in measured.profile if measured.plain(p)]
    reached = [p for p in points if p.evaluations > 0]
    if not reached:
        return None
    settings, last = _settings(measured, points), max(p.evaluations for p in reached)
    ends = {r.setting: r.evaluations_q75 or last for r in measured.to_target if measured.plain(r) and r.target == END}
    title = "Data profiles, own pictures; bands: 95 %" + _left_out(measured, points)
    y = "share that reached it"
    axes = panels(_targets(), len(settings), x="evaluations (forward passes)", y=y, title=title)
    first = 0.7 * min(p.evaluations for p in reached)
    for place, setting in enumerate(settings):
        for ax, target in zip(axes, TARGETS, strict=True):
            curve = [p for p in points if p.setting == setting and p.target == target]
            curve.append(curve[-1]._replace(evaluations=max(curve[-1].evaluations, ends[setting])))
            x = [max(p.evaluations, first) for p in curve]
            way = look(place) | {"marker": "", "drawstyle": "steps-post"}
            ax.plot(x, [p.share for p in curve], label=named(setting, f"n = {curve[0].n}"), **way)
            band(ax, place, x, curve, step="post")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlim(left=first)
        plain_axis(ax.xaxis)
    return legend(axes)


def evaluations_to_target(measured: Measured) -> Any:
    """Median and quartiles of the evaluations to each target, over all own pictures."""
    rows = [
        (r.setting, r.target, r.n, r.evaluations_q25, r.evaluations_median, r.evaluations_q75)
        for r in measured.to_target
        if measured.plain(r)
    ]
    return _quartiles(measured, rows, "evaluations (forward passes)", "Evaluations to target: medians and quartiles")


def timing_to_target(measured: Measured) -> Any:
    """Median and quartiles of the seconds to each target, estimated from evaluations."""
    rows = [
        (r.setting, r.target, r.n, r.timing_q25, r.timing_median, r.timing_q75)
        for r in measured.times
        if measured.plain(r)
    ]
    return _quartiles(measured, rows, "seconds of a picture (estimated)", "Time to target: medians and quartiles")


def oscr(measured: Measured) -> Any:
    """Own pictures that are accepted and given to their maker, against foreign ones that are accepted."""
    points = [p for p in measured.oscr if p.alteration == NONE and p.attack == NONE]
    if not points:
        return None
    settings = _settings(measured, points)
    areas = {m.setting: m.value for m in measured.metrics if m.measure == "oscr_area" and measured.plain(m)}
    title = "Open set: OSCR, a line for each seed" + _left_out(measured, points)
    axes = panels(
        [""], len(settings), x="foreign pictures accepted", y="own accepted, given to their maker", title=title, width=4
    )
    for place, setting in enumerate(settings):
        some = [p for p in points if p.setting == setting]
        value = areas.get(setting)
        facts = f"{some[0].own} own, {some[0].foreign} foreign"
        facts = facts if value is None else f"area {value:.3f}; {facts}"
        for seed in dict.fromkeys(p.seed for p in some):
            curve = [p for p in some if p.seed == seed]
            x = [p.false_positive_rate for p in curve]
            y = [p.correct_classification_rate for p in curve]
            axes[0].plot(x, y, label=named(setting, facts), **(look(place) | {"marker": ""}))
    axes[0].set_xlim(-0.03, 1.03)
    return legend(axes)


def confusion(measured: Measured) -> Any:
    """Who is said to have made whose pictures: by the least residual, and by the verdict."""
    from matplotlib.figure import Figure

    rows = [r for r in measured.confusion if measured.plain(r)]
    if not rows:
        return None
    settings = _settings(measured, rows)[:MATRICES]
    counts = {r.truth: r.n for r in rows}
    order = [*measured.candidates, "several", "none", "undecided", "failed"]
    said = [name for name in order if name in measured.candidates or any(r.said == name for r in rows)]
    wide, high = max(2.4, 0.55 * len(said)), max(1.0, 0.36 * len(counts))
    left, below, whole = 2.3, 1.25, [0.0, 0.0]
    whole = [left + 2 * (wide + 0.35), 0.4 + len(settings) * (high + below)]
    drawing = Figure(figsize=(whole[0], whole[1]))
    more = len(_settings(measured, rows)) - len(settings)
    title = "Confusion: share of each row" + (f"; the first {len(settings)} settings" if more else "")
    drawing.text(0.12 / whole[0], 1 - 0.1 / whole[1], title, va="top", fontsize=10, fontweight="bold")
    for line, setting in enumerate(settings):
        for column, by in enumerate(("nearest", "verdict")):
            table = {(r.truth, r.said): r.share for r in rows if r.setting == setting and r.by == by}
            bottom = whole[1] - 0.4 - line * (high + below) - 0.25 - high
            corner = (left + column * (wide + 0.35)) / whole[0], bottom / whole[1]
            ax = drawing.add_axes((*corner, wide / whole[0], high / whole[1]))
            shares = [[table.get((truth, name), 0.0) for name in said] for truth in counts]
            matrix(ax, shares, [f"{shown(truth, 22)} (n = {n})" for truth, n in counts.items()], said)
            way = "nearest candidate" if by == "nearest" else "verdict"
            ax.set_title(f"{shown(setting, 36)}: {way}" if not column else way, loc="left", fontsize=8)
            if column:
                ax.tick_params(labelleft=False)
    return drawing


def robustness(measured: Measured) -> Any:
    """Accuracy, certificates, AUROC and false attribution, by alteration and attack."""
    rows = [m for m in measured.metrics if m.measure in ROBUST and m.seed == overall(measured.spec) and m.n]
    rows = [m for m in rows if m.value is not None]
    conditions = list(dict.fromkeys((m.alteration, m.attack) for m in rows))
    if len(conditions) < 2:
        return None
    measures = [name for name in ROBUST if any(m.measure == name for m in rows)]
    settings = _settings(measured, rows)
    width, title = max(2.2, 0.42 * len(conditions)), "Robustness; bars: 95 %" + _left_out(measured, rows)
    names = [ROBUST[name] for name in measures]
    axes = panels(names, len(settings), x="", y="share, or area", title=title, width=width, below=1.25)
    for place, setting in enumerate(settings):
        most = max(m.n for m in rows if m.setting == setting)
        for ax, measure in zip(axes, measures, strict=True):
            found = [m for m in rows if m.setting == setting and m.measure == measure]
            x = [conditions.index((m.alteration, m.attack)) + shift(place, len(settings)) for m in found]
            bars(ax, place, x, [(m.low, m.value, m.high) for m in found], named(setting, f"n up to {most}"))
    words = [_condition(alteration, attack) for alteration, attack in conditions]
    for ax in axes:
        ax.set_xticks(range(len(conditions)), [shown(word, 24) for word in words], rotation=35, ha="right")
        ax.set_xlim(-0.5, len(conditions) - 0.5)
    return legend(axes)


def reliability(measured: Measured) -> Any:
    """Share of statements that came true, against the probability that was stated."""
    seed = str(measured.spec.seeds[0])
    bins = [b for b in measured.reliability if b.alteration == NONE and b.attack == NONE and b.seed == seed]
    if not bins:
        return None
    settings = _settings(measured, bins)
    title = "Reliability on held-out pictures; bars: 95 %" + _left_out(measured, bins)
    axes = panels([""], len(settings), x="stated probability", y="share that it made", title=title, width=4)
    axes[0].plot([0, 1], [0, 1], color=QUIET, lw=1, ls=":")
    for place, setting in enumerate(settings):
        some = [b for b in bins if b.setting == setting]
        label = named(setting, f"n = {sum(b.n for b in some)} statements")
        bars(axes[0], place, [b.stated for b in some], [(b.low, b.made, b.high) for b in some], label)
    return legend(axes)


FIGURES: dict[str, Callable[[Measured], Any]] = {
    "restart_success": restart_success,
    "data_profile": data_profile,
    "evaluations_to_target": evaluations_to_target,
    "oscr": oscr,
    "confusion": confusion,
    "robustness": robustness,
    "reliability": reliability,
    "timing_to_target": timing_to_target,
}


def _settings(measured: Measured, rows: Sequence[Any]) -> list[str]:
    """Return the settings that have rows, in order, at most `MOST`."""
    present = {row.setting for row in rows}
    return [setting.name for setting in measured.spec.settings if setting.name in present][:MOST]


def _left_out(measured: Measured, rows: Sequence[Any]) -> str:
    count = len({row.setting for row in rows})
    return f" (the first {MOST} of {count} settings)" if count > MOST else ""


def _targets() -> list[str]:
    return ["floor of 8-bit rounding" if name == "floor" else f"residual at most {name}" for name in TARGETS]


def _condition(alteration: str, attack: str) -> str:
    if NONE in (alteration, attack):
        return alteration if attack == NONE else f"attack {attack}"
    return f"{alteration}, attack {attack}"


def _quartiles(measured: Measured, rows: Sequence[tuple[Any, ...]], y: str, title: str) -> Any:
    """Draw rows (setting, target, n, quartile, median, quartile), one that too few reached as an open end."""
    rows = [row for row in rows if row[1] in TARGETS and row[3] is not None]
    if not rows:
        return None
    present = {row[0] for row in rows}
    settings = [setting.name for setting in measured.spec.settings if setting.name in present][:MOST]
    axes = panels([""], len(settings) + 1, x="", y=y, title=title, width=5.6)
    top = 1.6 * max(value for row in rows for value in row[3:] if value is not None)
    for place, setting in enumerate(settings):
        some = [row for row in rows if row[0] == setting]
        x = [list(TARGETS).index(row[1]) + shift(place, len(settings), 0.7) for row in some]
        spans(axes[0], place, x, [row[3:] for row in some], top, named(setting, f"n = {some[0][2]}"))
    axes[0].plot([], [], "^", color=QUIET, ms=4, label="open end: fewer than three quarters reached the target")
    axes[0].set_xticks(range(len(TARGETS)), _targets())
    axes[0].set_yscale("log")
    axes[0].set_ylim(0.6 * min(row[3] for row in rows), 1.15 * top)
    plain_axis(axes[0].yaxis)
    return legend(axes)
