"""Figures of a sweep, PNG and SVG, from its metrics alone; the same metrics give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jattr.printable import shown
from jattr.report.figures import STYLE
from jattr.report.plotting import Figure, style_context
from jattr.sweep.report.effort_figures import (
    data_profile,
    evaluations_to_target,
    restart_success,
    timing_to_target,
)
from jattr.sweep.report.groups import overall
from jattr.sweep.report.measured import Measured
from jattr.sweep.report.panels import (
    QUIET,
    bars,
    figure_of,
    left_out,
    legend,
    look,
    matrices,
    matrix,
    named,
    panels,
    rendered,
    settings_of,
    shift,
)
from jattr.sweep.report.solvers import timing_solvers
from jattr.sweep.spec import NONE

MATRICES = 4  # settings whose confusion matrices are drawn
WAYS = {"nearest": "by the nearest candidate", "verdict": "by the verdict"}
ROBUST = {
    "closed_set_accuracy": "closed-set accuracy", "certified": "certified", "auroc": "AUROC",
    "false_attribution": "foreign, but named",
}  # fmt: skip


class Drawn(NamedTuple):
    """A figure."""

    name: str
    files: dict[str, bytes]  # by kind: png, svg


def draw(measured: Measured, kinds: Sequence[str] = ("png", "svg")) -> list[Drawn]:
    """Return every figure that a sweep has data for.

    Names that begin with `timing` depend on the clock.
    """
    result = []
    with style_context(STYLE):
        for name, make in FIGURES.items():
            drawing = make(measured)
            if drawing is not None:
                result.append(Drawn(name, {kind: rendered(drawing, kind) for kind in kinds}))
    return result


def oscr(measured: Measured) -> Figure | None:
    """Own images that are accepted and given to their maker, against foreign ones that are
    accepted.
    """
    points = [p for p in measured.oscr if p.alteration == NONE and p.attack == NONE]
    if not points:
        return None
    settings = settings_of(measured.spec, points)
    areas = {
        m.setting: m.value
        for m in measured.metrics
        if m.measure == "oscr_area" and measured.plain(m)
    }
    title = "Open set: OSCR, a line for each seed" + left_out(points)
    axes = panels(
        [""],
        len(settings),
        x="foreign pictures accepted",
        y="own accepted, right maker",
        title=title,
        width=4.0,
    )
    for index, setting in enumerate(settings):
        some = [p for p in points if p.setting == setting]
        value = areas.get(setting)
        facts = f"{some[0].own} own, {some[0].foreign} foreign"
        facts = facts if value is None else f"area {value:.3f}; {facts}"
        for seed in dict.fromkeys(p.seed for p in some):
            curve = [p for p in some if p.seed == seed]
            x = [p.false_positive_rate for p in curve]
            y = [p.correct_classification_rate for p in curve]
            axes[0].plot(x, y, label=named(setting, facts), **(look(index) | {"marker": ""}))
            low, high = zip(
                *((p.correct_classification_low, p.correct_classification_high) for p in curve),
                strict=True,
            )
            axes[0].fill_between(x, low, high, color=look(index)["color"], alpha=0.1, lw=0)
    axes[0].set_xlim(-0.03, 1.03)
    return legend(axes)


def confusion(measured: Measured) -> Figure | None:
    """Who is said to have made whose images: by the least residual, and by the verdict."""
    rows = [r for r in measured.confusion if measured.plain(r)]
    if not rows:
        return None
    present = settings_of(measured.spec, rows)
    settings = present[:MATRICES]
    counts = {r.truth: r.n for r in rows}
    order = [*measured.candidates, "several", "none", "undecided", "failed"]
    said = [
        name for name in order if name in measured.candidates or any(r.said == name for r in rows)
    ]
    tables = {
        (setting, by): {
            (r.truth, r.said): r.share for r in rows if r.setting == setting and r.by == by
        }
        for setting in settings
        for by in WAYS
    }
    names = [f"{shown(truth, 24)} (n = {n})" for truth, n in counts.items()]
    title = "Confusion: share of each row" + (
        f"; the first {MATRICES} settings" if len(present) > MATRICES else ""
    )
    grid = matrices(title, settings, list(WAYS.values()), names, said)
    for axes, (setting, by) in zip(grid, tables, strict=True):
        matrix(
            axes,
            [[tables[setting, by].get((truth, name), 0.0) for name in said] for truth in counts],
        )
    return figure_of(grid)


def robustness(measured: Measured) -> Figure | None:
    """Accuracy, certificates, AUROC and false attribution, by alteration and attack."""
    rows = [
        m
        for m in measured.metrics
        if m.measure in ROBUST and m.seed == overall(measured.spec) and m.n
    ]
    rows = [m for m in rows if m.value is not None]
    conditions = list(dict.fromkeys((m.alteration, m.attack) for m in rows))
    if len(conditions) < 2:
        return None
    measures = [name for name in ROBUST if any(m.measure == name for m in rows)]
    settings = settings_of(measured.spec, rows)
    width, title = (
        max(2.4, len(conditions) * max(0.3, 0.1 + 0.09 * len(settings))),
        "Robustness; bars: 95 %" + left_out(rows),
    )
    names = [ROBUST[name] for name in measures]
    axes = panels(
        names, len(settings), x="", y="share, or area", title=title, width=width, below=1.25
    )
    for index, setting in enumerate(settings):
        most = max(m.n for m in rows if m.setting == setting)
        for ax, measure in zip(axes, measures, strict=True):
            result = [m for m in rows if m.setting == setting and m.measure == measure]
            x = [
                conditions.index((m.alteration, m.attack)) + shift(index, len(settings))
                for m in result
            ]
            bars(
                ax,
                index,
                x,
                [(m.low, m.value, m.high) for m in result],
                named(setting, f"n up to {most}"),
            )
    words = [_condition(alteration, attack) for alteration, attack in conditions]
    for ax in axes:
        ax.set_xticks(
            range(len(conditions)), [shown(word, 24) for word in words], rotation=35, ha="right"
        )
        ax.set_xlim(-0.5, len(conditions) - 0.5)
    return legend(axes)


def reliability(measured: Measured) -> Figure | None:
    """Share of statements that came true, against the probability that was stated."""
    seed = str(measured.spec.seeds[0])
    bins = [
        b
        for b in measured.reliability
        if b.alteration == NONE and b.attack == NONE and b.seed == seed
    ]
    if not bins:
        return None
    settings = settings_of(measured.spec, bins)
    title = "Reliability on held-out pictures; bars: 95 %" + left_out(bins)
    axes = panels(
        [""], len(settings), x="stated probability", y="share that it made", title=title, width=4
    )
    axes[0].plot([0, 1], [0, 1], color=QUIET, lw=1, ls=":")
    for index, setting in enumerate(settings):
        some = [b for b in bins if b.setting == setting]
        label = named(setting, f"n = {sum(b.n for b in some)} statements")
        bars(
            axes[0], index, [b.stated for b in some], [(b.low, b.made, b.high) for b in some], label
        )
    return legend(axes)


def tippett(measured: Measured) -> Figure | None:
    """Share of likelihood ratios that are at least so large, of images' makers and of other
    candidates.
    """
    seed = str(measured.spec.seeds[0])
    points = [
        p for p in measured.tippett if p.alteration == NONE and p.attack == NONE and p.seed == seed
    ]
    if not points:
        return None
    settings = settings_of(measured.spec, points)
    title = "Tippett curves on held-out pictures; dotted: ratio 1" + left_out(points)
    sides = {"own": "pictures' makers", "others": "candidates that did not make them"}
    x = "log10 likelihood ratio"
    axes = panels(
        list(sides.values()), len(settings), x=x, y="share with at least that", title=title
    )
    for index, setting in enumerate(settings):
        some = [p for p in points if p.setting == setting]
        label = named(setting, f"{some[0].own_n} and {some[0].others_n} ratios")
        indices = [some[0].log10_lr - 0.5, *(p.log10_lr for p in some), some[-1].log10_lr + 0.5]
        for ax, side in zip(axes, sides, strict=True):
            shares = [1.0, *(getattr(p, side) for p in some), 0.0]
            ax.plot(
                indices,
                shares,
                label=label,
                **(look(index) | {"marker": "", "drawstyle": "steps-pre"}),
            )
    for ax in axes:
        ax.axvline(0.0, color=QUIET, lw=1, ls=":")
    return legend(axes)


FIGURES: dict[str, Callable[[Measured], Figure | None]] = {
    "restart_success": restart_success,
    "data_profile": data_profile,
    "evaluations_to_target": evaluations_to_target,
    "oscr": oscr,
    "confusion": confusion,
    "robustness": robustness,
    "reliability": reliability,
    "tippett": tippett,
    "timing_to_target": timing_to_target,
    "timing_solvers": timing_solvers,
}


def _condition(alteration: str, attack: str) -> str:
    if NONE in (alteration, attack):
        return alteration if attack == NONE else f"attack {attack}"
    return f"{alteration}, attack {attack}"
