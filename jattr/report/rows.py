"""The images of a run as contact sheet and report show them, collected block by block."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jattr.attribution.result import Attribution
from jattr.errors import OutputError
from jattr.report.contact_sheet import MAX_SHEET_ROWS, Reproduction, SheetRow, contact_sheet
from jattr.report.html import ReportRow, report_page
from jattr.report.words import verdict_text
from jattr.typing import JsonObject

MAX_SHEET_BYTES = 256 << 20  # of all images that are kept for sheet and report
# of an image that is shown as it is; larger ones as the first candidate saw them
MAX_OWN_PIXELS = 1 << 20


class SheetRows:
    """Keeps what contact sheet and report show."""

    def __init__(self) -> None:
        self.rows: list[ReportRow] = []
        self.bytes = 0

    def add_failed(self, row: JsonObject) -> None:
        """Add the row of an image that could not be used."""
        self.rows.append(
            ReportRow(row, SheetRow(row["file"], f"failed: {row['reason']}", None, ()))
        )

    def add(
        self,
        row: JsonObject,
        own: np.ndarray,
        fitted: np.ndarray,
        attribution: Attribution,
        i: int,
    ) -> None:
        """Add an image.

        Args:
          row: of `result.json`.
          own: its pixels.
          fitted: its pixels as the first candidate's searches compare with them.
          attribution: that it is part of.
          i: its index there.
        """
        full = len(self.rows) >= MAX_SHEET_ROWS or self.bytes > MAX_SHEET_BYTES
        observation = None
        if not full:
            observation = own if own.shape[0] * own.shape[1] <= MAX_OWN_PIXELS else fitted
        reproductions, searches = [], {}
        for c, gen in enumerate(attribution.candidates):
            if not row["restarts"][gen.name]["run"]:
                continue  # other settings, which this image was not tried under
            image = None if full else attribution.altered_reproduction(i, c)
            reproductions.append(Reproduction(gen.name, image, row["residual"][gen.name]))
            if not full:
                searches[gen.name] = attribution.searches[i][c]
        arrays = [observation, *(each.image for each in reproductions)]
        self.bytes += sum(array.nbytes for array in arrays if array is not None)
        verdict = verdict_text(row, {gen.name: gen.digest for gen in attribution.candidates})
        sheet = SheetRow(
            row["file"],
            verdict,
            observation,
            reproductions,
            row["candidate"],
            winners=tuple(row["candidates"]),
            left_out=full,
        )
        self.rows.append(ReportRow(row, sheet, searches))

    def write(self, path: Path) -> None:
        """Write the contact sheet as PNG.

        Raises:
          OutputError: it cannot be written.
        """
        with _writing(path):
            contact_sheet([row.sheet for row in self.rows]).save(path, "PNG")

    def write_report(self, path: Path, data: JsonObject, command: str) -> None:
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
