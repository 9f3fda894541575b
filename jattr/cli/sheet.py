"""The contact sheet of a run: rows are collected block by block, as many as a sheet shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jattr.cli.table import verdict_text
from jattr.errors import OutputError
from jattr.report.contact_sheet import MAX_ROWS, Reproduction, SheetRow, contact_sheet

if TYPE_CHECKING:
    from jattr.attribution import Attribution

MAX_BYTES = 256 << 20  # of pictures kept for it
MAX_OWN_PIXELS = 1 << 20  # of an accused picture that is shown as it is; larger ones as the first candidate saw them


class SheetRows:
    """Keeps what the contact sheet shows."""

    def __init__(self) -> None:
        self.rows: list[SheetRow] = []
        self.bytes = 0

    def add_failed(self, row: dict[str, Any]) -> None:
        """Add the row of a picture that could not be used."""
        self.rows.append(SheetRow(row["file"], f"failed: {row['reason']}", None, ()))

    def add(self, row: dict[str, Any], own: np.ndarray, fitted: np.ndarray, att: Attribution, i: int) -> None:
        """Add a picture: its row of `result.json`, its pixels, those the first candidate saw, number i of `att`."""
        full = len(self.rows) >= MAX_ROWS or self.bytes > MAX_BYTES
        accused = None if full else own if own.shape[0] * own.shape[1] <= MAX_OWN_PIXELS else fitted
        made = [
            Reproduction(gen.name, None if full else att.reproduction(i, c), row["residual"][gen.name])
            for c, gen in enumerate(att.candidates)
        ]
        self.bytes += sum(array.nbytes for array in [accused, *(m.image for m in made)] if array is not None)
        self.rows.append(SheetRow(row["file"], verdict_text(row), accused, made, row["candidate"]))

    def write(self, path: Path) -> None:
        """Write the sheet as PNG.

        Raises:
          OutputError: it cannot be written.
        """
        try:
            contact_sheet(self.rows).save(path, "PNG")
        except OSError as error:
            raise OutputError(f"cannot write {path.name}: {error.strerror or error}; make room") from error
