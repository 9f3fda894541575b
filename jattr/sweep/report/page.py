"""`report.html` of a sweep: tables and figures on one page of its own, for a browser without
network or for paper.

Names of settings, models and folders are untrusted: the template escapes everything, and the page's
policy lets no script run.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from markupsafe import Markup

from jattr.report.html import environment
from jattr.sweep.report.effort import END
from jattr.sweep.report.figures import Drawn
from jattr.sweep.report.groups import Metric, overall
from jattr.sweep.report.measured import Measured
from jattr.sweep.report.solvers import differ_in_solvers, html_table, solver_rows
from jattr.sweep.report.tables import Results
from jattr.sweep.store import DONE

TEMPLATE = "page.html"
MAX_ROWS = 200  # of a table on the page; CSV files have all
MAX_FAILED = 20
SENTENCES = {  # under each figure
    "restart_success": "How many of the candidates' own pictures have been found, down to the"
    " floor of 8-bit rounding,"
    " after so many restarts under their maker; a curve ends where a picture was given up.",
    "data_profile": "How many own pictures have reached a residual, against the forward passes"
    " spent on them, restarts"
    " one after the other (data profiles after Moré and Wild, 2009, costs not scaled).",
    "evaluations_to_target": "Forward passes to each residual: the median own picture, and the"
    " middle half.",
    "oscr": "Accepting every picture whose least residual is below a threshold: how many own"
    " pictures are accepted and"
    " given to their maker, against how many foreign ones are accepted (Dhamija et al., 2018);"
    " shaded: 95 % interval.",
    "confusion": "Each row: what is said of pictures of one origin; n counts repeats. No foreign"
    " picture has a right"
    " nearest candidate: the verdict has to refuse it.",
    "robustness": "The same pictures after each alteration and attack. Pictures that no generator"
    " made are never"
    " attacked, and count in every attack.",
    "reliability": "Of all statements that a candidate made a picture with about this probability,"
    " how many are true;"
    " calibrated on pictures of even numbers, tested on those of odd ones. On the line is right.",
    "tippett": "How often the likelihood ratio is at least so large, calibrated on pictures of"
    " even numbers, tested on"
    " those of odd ones: left of the candidate that made the picture, right of the others. What"
    " the left curve lacks at"
    " 0, and what the right one has there, is evidence that misleads.",
    "timing_to_target": "Seconds to each residual, estimated: a search's share of its cell's"
    " forward passes, of its"
    " cell's seconds, compilation and certificates included.",
    "timing_solvers": "The solvers beside each other: how many own pictures each has brought to the"
    " floor of 8-bit rounding within so many forward passes, and the seconds until there.",
}
MEASURES: dict[str, dict[str, str]] = {  # table -> measure -> heading
    "Attribution of own pictures": {
        "closed_set_accuracy": "nearest is the maker",
        "certified": "certified",
        "named_right": "named rightly",
        "named_class": "among several",
        "named_wrong": "named wrongly",
        "none_wrong": "said none",
        "undecided": "undecided",
    },
    "Open set": {
        "auroc": "AUROC",
        "oscr_area": "area under OSCR",
        "false_attribution": "foreign, but named",
        "none_right": "foreign, said none",
        "undecided_foreign": "foreign, undecided",
    },
    "Restarts": {
        "restart_success": "a restart arrives",
        "restarts_to_99": "restarts to 99 %",
        "restarts_to_99_at_most": "at most (95 %)",
    },
    "Calibration on held-out pictures": {
        "cllr": "Cllr, bits",
        "cllr_min": "least Cllr",
        "posterior_error": "calibration error",
        "top_error": "calibration error, likeliest answer",
        "denied_at_0.05": "own denied at 0.05",
    },
}


class Section(NamedTuple):
    """A table of the page: groups down, measures across."""

    title: str
    heads: list[str]
    # (setting, alteration, attack, seed), cells
    rows: list[tuple[tuple[str, ...], list[Metric | None]]]
    left_out: int


def report_page(results: Results, measured: Measured, figures: Sequence[Drawn]) -> str:
    """Return the page."""
    cells = [dict(zip(results.cells.columns, row, strict=True)) for row in results.cells.rows]
    failed = [cell for cell in cells if cell["status"] != DONE]
    seconds = sum(cell["timing_seconds"] for cell in cells)
    targets = [r for r in measured.to_target if r.seed == overall(results.spec)]
    times = [r for r in measured.times if r.seed == overall(results.spec) and r.target == END]
    page: str = _template().render(
        spec=results.spec,
        origin=results.origin,
        candidates=results.candidates,
        digests=results.digests,
        counts={
            "cells": len(cells),
            "failed": len(failed),
            "pictures": len(results.pictures.rows),
            "restarts": len(results.restarts.rows),
        },
        failed=failed[:MAX_FAILED],
        sections=[
            section
            for title, names in MEASURES.items()
            if (section := _section(measured, title, names)).rows
        ],
        targets=targets[:MAX_ROWS],
        targets_left_out=max(0, len(targets) - MAX_ROWS),
        times=times[:MAX_ROWS],
        solvers=Markup(html_table(solver_rows(measured))) if differ_in_solvers(measured) else "",
        seconds=seconds,
        figures=[
            (figure.name, _uri(figure.files["svg"]), SENTENCES[figure.name]) for figure in figures
        ],
    )
    return page


def _section(measured: Measured, title: str, names: Mapping[str, str]) -> Section:
    """Return a table of measures.

    Calibration, which no group of several seeds has, for each seed.
    """
    last = overall(measured.spec)
    known = [m for m in measured.metrics if m.measure in names]
    chosen = [m for m in known if m.seed == last] or known
    groups: dict[tuple[str, ...], dict[str, Metric]] = {}
    for m in chosen:
        groups.setdefault((m.setting, m.alteration, m.attack, m.seed), {})[m.measure] = m
    if not any(m.n for m in chosen):
        groups = {}
    rows = [(group, [result.get(name) for name in names]) for group, result in groups.items()]
    return Section(title, list(names.values()), rows[:MAX_ROWS], max(0, len(rows) - MAX_ROWS))


@functools.cache
def _template() -> Any:
    text = resources.files("jattr.sweep.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment().from_string(text)


def _uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"
