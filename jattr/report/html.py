"""`report.html`: a result on one page of its own, for a browser without network or for paper.

Names of files and models are untrusted: the template escapes everything, and the page's policy lets
no script run.
"""

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jattr.images.values import to_float
from jattr.inversion.multistart import Search
from jattr.inversion.problem import FLOOR
from jattr.printable import named, shown
from jattr.report.contact_sheet import Reproduction, SheetRow
from jattr.report.levels import AMPLIFICATION, difference, visible
from jattr.report.words import ages_of, digests_of, rests_on, role_of
from jattr.typing import JsonObject

TEMPLATE = "page.html"
LARGEST = 256  # pixels a side; larger images are reduced
MAX_DETAILED = 60  # images with figures; the others are in the table only
LONGEST_TEXT = 200  # characters of a name


@dataclass(frozen=True, eq=False)
class ReportRow:
    """One image of a result."""

    record: JsonObject  # its row of `result.json`
    sheet: SheetRow  # its images
    searches: Mapping[str, Sequence[Search]] = field(default_factory=dict)  # by candidate


def report_page(data: JsonObject, rows: Sequence[ReportRow], command: str) -> str:
    """Return the page.

    Args:
      data: what `result.json` holds.
      rows: its images.
      command: what verifies the certificates, for a shell.
    """
    images = [_image(number, row, number < MAX_DETAILED) for number, row in enumerate(rows)]
    for image, row in zip(images, rows, strict=True):
        image["rests_on"] = rests_on(row.record, data)
        image["ages"] = ages_of(row.record, data)
    page: str = _template().render(
        data=data,
        distance=data["settings"].get("inversion", {}).get("distance"),
        images=images,
        command=command,
        counts=_counts(rows),
        amplification=AMPLIFICATION,
        left_out=sum(n >= MAX_DETAILED or row.sheet.left_out for n, row in enumerate(rows)),
        digests=digests_of(data),
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
def environment() -> jinja2.Environment:
    """Return the templates' environment: it escapes all values, and none may be missing."""
    templates = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {"shown": _shown, "number": number_text, "named": named}
    return templates


def number_text(value: float | None) -> str:
    """Return a number in short; a dash for none.

    >>> number_text(5.123e-06), number_text(None), number_text(1234.5)
    ('5.1e-06', '-', '1.2e+03')
    """
    if value is None:
        return "-"
    return f"{value:.1e}" if value < 1e-2 or value >= 1e3 else f"{value:.3g}"


def _shown(text: object, longest: int = LONGEST_TEXT) -> str:
    return shown(str(text), longest)


@functools.cache
def _template() -> jinja2.Template:
    return environment().from_string(
        resources.files("jattr.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    )


def _image(number: int, row: ReportRow, detailed: bool) -> dict[str, object]:
    """Return what the template shows of an image."""
    record, sheet, observation = row.record, row.sheet, row.sheet.observation
    floor = min(record.get("noise", {}).values(), default=FLOOR)
    values: dict[str, object] = {
        "number": number + 1,
        "record": record,
        "verdict": sheet.verdict,
        "observation": None,
        "shape": None if observation is None else observation.shape,
        "candidates": [],
        "floor": floor,
        "chart": None,
    }
    if detailed and observation is not None:
        values["observation"] = image_uri(visible(to_float(observation)))
        values["candidates"] = _candidates(row, observation)
        from jattr.report.figures import figure  # matplotlib: 0.5 s, while the searches run

        # of the settings that this image was searched under
        residuals = {each.name: each.residual for each in sheet.reproductions}
        chart = figure(residuals, row.searches, record["candidate"], floor)
        values["chart"] = _uri("image/svg+xml", chart)
    return values


def _candidates(row: ReportRow, observation: NDArray[np.uint8]) -> list[dict[str, object]]:
    """Return what the template shows of every candidate: the winner, then the closest first."""

    def rank(reproduction: Reproduction) -> tuple[bool, float]:
        residual = np.inf if reproduction.residual is None else reproduction.residual
        return reproduction.name != row.record["candidate"], residual

    candidates: list[dict[str, object]] = []
    for reproduction in sorted(row.sheet.reproductions, key=rank):
        name, image = reproduction.name, reproduction.image
        values: dict[str, object] = {
            "name": name,
            "residual": reproduction.residual,
            "winner": name in row.record["candidates"],
            "role": role_of(name, row.record),
            "restarts": row.record["restarts"][name],
            "image": None,
            "difference": None,
        }
        if image is not None and np.isfinite(image).all():
            values["image"] = image_uri(visible(np.clip(image, -1, 1)))
            values["difference"] = image_uri(difference(image, observation))
        candidates.append(values)
    return candidates


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
