"""The images of a run: rows for contact sheet and report, collected block by block, as many as
they show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jattr.attribution.result import Attribution
from jattr.errors import OutputError
from jattr.report.contact_sheet import MAX_ROWS, Reproduction, SheetRow, contact_sheet
from jattr.report.html import ReportRow, report_page
from jattr.report.words import verdict_text

MAX_BYTES = 256 << 20  # of images kept for it
# of an image that is shown as it is; larger ones as the first candidate saw them
MAX_OWN_PIXELS = 1 << 20


class SheetRows:
    """Keeps what contact sheet and report show."""

    def __init__(self) -> None:
        self.rows: list[ReportRow] = []
        self.bytes = 0

    def add_failed(self, row: dict[str, Any]) -> None:
        """Add the row of an image that could not be used."""
        self.rows.append(
            ReportRow(row, SheetRow(row["file"], f"failed: {row['reason']}", None, ()))
        )

    def add(
        self, row: dict[str, Any], own: np.ndarray, fitted: np.ndarray, att: Attribution, i: int
    ) -> None:
        """Add an image: its row of `result.json`, its pixels, those the first candidate saw,
        number i of `att`.
        """
        full = len(self.rows) >= MAX_ROWS or self.bytes > MAX_BYTES
        observation = (
            None if full else own if own.shape[0] * own.shape[1] <= MAX_OWN_PIXELS else fitted
        )
        made = [
            Reproduction(
                gen.name,
                None if full else att.altered_reproduction(i, c),
                row["residual"][gen.name],
            )
            for c, gen in enumerate(att.candidates)
        ]
        self.bytes += sum(
            array.nbytes for array in [observation, *(m.image for m in made)] if array is not None
        )
        sheet = SheetRow(row["file"], verdict_text(row), observation, made, row["candidate"])
        searches = (
            {} if full else {gen.name: att.searches[i][c] for c, gen in enumerate(att.candidates)}
        )
        self.rows.append(ReportRow(row, sheet, searches))

    def write(self, path: Path) -> None:
        """Write the contact sheet as PNG.

        Raises:
          OutputError: it cannot be written.
        """
        with _writing(path):
            contact_sheet([row.sheet for row in self.rows]).save(path, "PNG")

    def write_report(self, path: Path, data: dict[str, Any], command: str) -> None:
        """Write the report.

        Args:
          path: of the file.
          data: what `result.json` holds.
          command: what verifies the certificates, for a shell.

        Raises:
          OutputError: it cannot be written.
        """
        with _writing(path):
            path.write_text(report_page(data, self.rows, command), encoding="utf-8")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path.name}: {error.strerror or error}; make room"
        ) from error
