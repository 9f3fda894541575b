"""`SolverComparison`: solvers beside each other, as a table and a figure for people."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from jattr.errors import InputError, suggest
from jattr.folders import AnyPath
from jattr.report.figures import STYLE
from jattr.report.plotting import Figure, style_context
from jattr.sweep.report.effort import TARGETS
from jattr.sweep.report.export import csv_bytes
from jattr.sweep.report.measured import Measured, measure
from jattr.sweep.report.panels import rendered
from jattr.sweep.report.solvers import (
    FLOOR,
    HEADS,
    SolverRow,
    caption,
    html_table,
    solver_rows,
    solvers_figure,
    table_lines,
)
from jattr.sweep.report.tables import Results, rows_table


@dataclass(frozen=True, eq=False)
class SolverComparison:
    """Solvers on the same images: `table`, `figure()`, `rows`, `to_csv`.

    A notebook shows table and figure.
    """

    results: Results  # every search, restart and trace
    measured: Measured
    rows: tuple[SolverRow, ...]  # of every target
    target: str = FLOOR  # that table and figure are about

    def of(self, target: str) -> tuple[SolverRow, ...]:
        """Return the rows of one target.

        Raises:
          InputError: it is none of `TARGETS`.
        """
        check_target(target)
        return tuple(row for row in self.rows if row.target == target)

    @property
    def table(self) -> str:
        """The table as text, a line for each solver."""
        lines = [HEADS, *table_lines(self.rows, self.target)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
        text = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        return "\n".join([caption(self.rows, self.target), *text])

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table

    def figure(self, target: str | None = None) -> Figure:
        """Return success against evaluations with 95 % bands, and seconds to the target.

        Args:
          target: a key of `TARGETS`; None: the comparison's own.

        Raises:
          InputError: there is no such target.
        """
        target = self.target if target is None else target
        check_target(target)
        with style_context(STYLE):
            return solvers_figure(self.measured, target)

    def to_csv(self, path: AnyPath) -> None:
        """Write the rows of every target as CSV."""
        Path(path).write_bytes(csv_bytes(rows_table(SolverRow, self.rows)))

    def _repr_html_(self) -> str:
        png = base64.b64encode(rendered(self.figure(), "png")).decode("ascii")
        table = html_table(self.rows, self.target)
        words = caption(self.rows, self.target)
        return f'{table}<img alt="{words}" src="data:image/png;base64,{png}">'


def comparison_of(results: Results, target: str = FLOOR) -> SolverComparison:
    """Return the comparison of a sweep's settings, whichever sweep it is.

    Raises:
      InputError: there is no such target.
    """
    check_target(target)
    measured = measure(results)
    return SolverComparison(results, measured, solver_rows(measured), target)


def check_target(target: str) -> None:
    """Raise an InputError unless a target is one of `TARGETS`."""
    if target not in TARGETS:
        raise InputError(f"target is {target!r}; {suggest(str(target), list(TARGETS))}")
