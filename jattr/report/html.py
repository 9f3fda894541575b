"""`report.html`: a result on one page of its own, for a browser without network or for paper.

Names of files and models are untrusted: the template escapes everything, and the page's policy lets
no script run.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jattr.images.values import to_float
from jattr.inversion.problem import FLOOR
from jattr.printable import shown
from jattr.report.contact_sheet import SheetRow
from jattr.report.figures import figure
from jattr.report.levels import AMPLIFICATION, difference, visible

if TYPE_CHECKING:
    from jattr.inversion.multistart import Search

TEMPLATE = "page.html"
LARGEST = 256  # pixels a side; larger images are reduced
MAX_DETAILED = 60  # images with figures; the others are in the table only
LONGEST = 200  # characters of a name


@dataclass(frozen=True, eq=False)
class ReportRow:
    """One image of a result."""

    record: Mapping[str, Any]  # its row of `result.json`
    sheet: SheetRow  # its images
    searches: Mapping[str, Sequence[Search]] = field(default_factory=dict)  # by candidate


def report_page(data: Mapping[str, Any], rows: Sequence[ReportRow], command: str) -> str:
    """Return the page.

    Args:
      data: what `result.json` holds.
      rows: its images.
      command: what verifies the certificates, for a shell.
    """
    images = [_image(number, row, number < MAX_DETAILED) for number, row in enumerate(rows)]
    page: str = _template().render(
        data=data,
        distance=data["settings"].get("inversion", {}).get("distance"),
        images=images,
        command=command,
        counts=_counts(rows),
        amplification=AMPLIFICATION,
        left_out=max(0, len(rows) - MAX_DETAILED),
    )
    return page


def image_uri(levels: NDArray[np.float32]) -> str:
    """Return levels 0..255 [H, W, 3] as a PNG in a data URI."""
    image = Image.fromarray(np.floor(np.clip(levels, 0, 255) + 0.5).astype(np.uint8))
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return _uri("image/png", file.getvalue())


@functools.cache
def environment() -> Any:
    """Return the templates' environment: everything that is put in is escaped, everything must
    be given.
    """
    import jinja2

    made = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"shown": _shown, "number": number_text}
    return made


def number_text(value: float | None) -> str:
    """Return a number in short; a dash for none.

    >>> number_text(5.123e-06), number_text(None), number_text(1234.5)
    ('5.1e-06', '-', '1.2e+03')
    """
    return (
        "-" if value is None else f"{value:.1e}" if value < 1e-2 or value >= 1e3 else f"{value:.3g}"
    )


def _shown(text: Any, longest: int = LONGEST) -> str:
    return shown(str(text), longest)


@functools.cache
def _template() -> Any:
    return environment().from_string(
        resources.files("jattr.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    )


def _image(number: int, row: ReportRow, detailed: bool) -> dict[str, Any]:
    """Return what the template shows of an image."""
    record, sheet = row.record, row.sheet
    show = detailed and sheet.observation is not None
    candidates = (
        [_candidate(row, made.name, made.image, made.residual) for made in sheet.reproductions]
        if show
        else []
    )
    candidates.sort(
        key=lambda c: (
            c["name"] != record["candidate"],
            np.inf if c["residual"] is None else c["residual"],
        )
    )
    floor = min(record.get("noise", {}).values(), default=FLOOR)
    chart = figure(record["residual"], row.searches, record["candidate"], floor) if show else None
    return {
        "number": number + 1,
        "record": record,
        "verdict": sheet.verdict,
        "observation": image_uri(visible(to_float(sheet.observation)))
        if show and sheet.observation is not None
        else None,
        "shape": None if sheet.observation is None else sheet.observation.shape,
        "candidates": candidates,
        "floor": floor,
        "chart": None if chart is None else _uri("image/svg+xml", chart),
    }


def _candidate(
    row: ReportRow, name: str, image: NDArray[np.float32] | None, residual: float | None
) -> dict[str, Any]:
    made = image is not None and bool(np.isfinite(image).all())
    assert row.sheet.observation is not None
    return {
        "name": name,
        "residual": residual,
        "winner": name in row.record["candidates"],
        "restarts": row.record["restarts"][name],
        "image": image_uri(visible(np.clip(image, -1, 1))) if made and image is not None else None,
        "difference": image_uri(difference(image, row.sheet.observation))
        if made and image is not None
        else None,
    }


def _counts(rows: Sequence[ReportRow]) -> list[tuple[str, int]]:
    """Return how many images have which kind of verdict, those that occur."""
    kinds = {
        "made by a candidate, with certificate": lambda r: (
            r["verdict"] == "made-by" and r["certificate"] is not None
        ),
        "made by a candidate, without certificate": lambda r: (
            r["verdict"] == "made-by" and r["certificate"] is None
        ),
        "made by none of the candidates": lambda r: r["verdict"] == "none",
        "undecided": lambda r: r["verdict"] == "undecided",
        "failed": lambda r: r["verdict"] == "failed",
    }
    counts = [
        (words, sum(map(fits, (row.record for row in rows)))) for words, fits in kinds.items()
    ]
    return [(words, count) for words, count in counts if count]


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
