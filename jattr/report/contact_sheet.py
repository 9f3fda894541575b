"""The contact sheet: each image beside every candidate's best reproduction and their difference.

Pillow and numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from jattr.images.fitting import check_pixels
from jattr.images.values import to_float
from jattr.report.lettering import fitted, font, wrapped
from jattr.report.levels import AMPLIFICATION, difference, visible

MAX_SHEET_ROWS = 100
MAX_CANDIDATES = 6  # shown in a row: those with the smallest residuals, in the order given
MAX_HEIGHT = 30_000  # several viewers and browsers fail above 32767
MAX_SHEET_PIXELS = 48_000_000
# pixels: shorter images are enlarged towards the first, longer ones reduced to the second
SMALLEST_CELL, LARGEST_CELL = 128, 256

_MARGIN, _GAP, _PAIR_GAP = 24, 30, 4
# heights of a row's title, of the labels above its images, of a line of text
_TITLE, _LABEL, _LINE = 40, 42, 18
_TAG = 70  # width of the winner's tag
_PAGE, _INK, _QUIET = "#ffffff", "#1d2733", "#65717e"
_RULE, _EMPTY, _WINNER = "#dde1e5", "#f1f3f5", "#0b5d44"


@dataclass(frozen=True, eq=False)
class Reproduction:
    """One candidate's best reproduction of one image."""

    name: str
    # [H, W, C] in [-1, 1], C = 1 | 3 | 4; None when every restart failed
    image: NDArray[np.float32] | None
    residual: float | None  # mean squared error in [-1, 1] units


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One image with the candidates' reproductions."""

    file: str
    verdict: str  # as it shall be read, for example "made by face-gan-64"
    observation: NDArray[np.uint8] | None  # [H, W, C]; None when the file could not be read
    reproductions: Sequence[Reproduction]
    winner: str | None = None  # the name of the candidate that made it
    # of a class that cannot be told apart all names; (): the winner alone
    winners: tuple[str, ...] = ()
    left_out: bool = False  # its images were not kept, for want of memory


def contact_sheet(rows: Sequence[SheetRow]) -> Image.Image:
    """The sheet as an RGB image, one row per image, within MAX_SHEET_ROWS, MAX_HEIGHT and
    MAX_SHEET_PIXELS.

    It says how many images are left out. Raises ImageError for an array that is not an image.
    """
    kept = [row for row in rows if not row.left_out]
    width = max([480, *(_row_width(row) for row in kept[:MAX_SHEET_ROWS])])
    shown = _rows_that_fit(kept, width)
    lines = wrapped(_explanation(len(rows), len(shown)), font(13), width - 2 * _MARGIN)
    top = _MARGIN + 32 + _LINE * len(lines) + 14
    sheet = Image.new("RGB", (width, top + sum(map(_row_height, shown))), _PAGE)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), "Attribution by inversion", _INK, font(20))
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + 28 + number * _LINE), line, _QUIET, font(13))
    for row in shown:
        draw.line([(_MARGIN, top), (width - _MARGIN, top)], _RULE)
        _draw_row(sheet, row, top)
        top += _row_height(row)
    return sheet


def _explanation(total: int, shown: int) -> str:
    count = f"{total} image{'s' * (total != 1)}"
    if shown < total:
        count = f"First {shown} of {count}, {total - shown} left out"
    return (
        f"{count}. Left: the image. Then, for each candidate, its best reproduction and the"
        " difference "
        f"from the image x{AMPLIFICATION} (even grey = equal). Residual: mean square."
    )


def _rows_that_fit(rows: Sequence[SheetRow], width: int) -> list[SheetRow]:
    shown: list[SheetRow] = []
    height = 200  # the heading, generously
    for row in rows[:MAX_SHEET_ROWS]:
        height += _row_height(row)
        if shown and (height > MAX_HEIGHT or height * width > MAX_SHEET_PIXELS):
            break
        shown.append(row)
    return shown


def _cell(row: SheetRow) -> int:
    """Return the width that each image of a row takes."""
    return max([SMALLEST_CELL, *(width for _, width in _shown_sizes(row))])


def _row_width(row: SheetRow) -> int:
    cell, pairs = _cell(row), min(MAX_CANDIDATES, len(row.reproductions))
    return 2 * _MARGIN + cell + pairs * (_GAP + 2 * cell + _PAIR_GAP)


def _row_height(row: SheetRow) -> int:
    return (
        _TITLE
        + _LABEL
        + max([SMALLEST_CELL // 2, *(height for height, _ in _shown_sizes(row))])
        + _MARGIN
    )


def _shown_sizes(row: SheetRow) -> list[tuple[int, int]]:
    arrays = [row.observation, *(candidate.image for candidate in row.reproductions)]
    return [_shown_size(*array.shape[:2]) for array in arrays if array is not None]


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """Enlarged by a whole factor, so that pixels stay square, or reduced in proportion."""
    longest = max(height, width)
    if longest <= LARGEST_CELL:
        factor = max(1, SMALLEST_CELL // longest)
        return height * factor, width * factor
    return max(1, round(height * LARGEST_CELL / longest)), max(
        1, round(width * LARGEST_CELL / longest)
    )


def _draw_row(sheet: Image.Image, row: SheetRow, top: int) -> None:
    draw, cell = ImageDraw.Draw(sheet), _cell(row)
    room = sheet.width - 2 * _MARGIN
    name = fitted(row.file, font(16), room // 2)
    draw.text((_MARGIN, top + 25), name, _INK, font(16), anchor="ls")
    beside = font(16).getlength(name) + 18
    verdict = fitted(row.verdict, font(15), room - beside)
    draw.text((_MARGIN + beside, top + 25), verdict, _QUIET, font(15), anchor="ls")
    _draw_image(sheet, row.observation, (_MARGIN, top + _TITLE), cell)
    for number, candidate in enumerate(_best(row)):
        left = _MARGIN + cell + _GAP + number * (2 * cell + _PAIR_GAP + _GAP)
        _draw_candidate(sheet, row, candidate, (left, top + _TITLE))
    left_out = len(row.reproductions) - MAX_CANDIDATES
    if left_out > 0:
        text = f"+ {left_out} with larger residuals, not shown"
        draw.text(
            (sheet.width - _MARGIN, top + _row_height(row) - 4), text, _QUIET, font(12), anchor="rb"
        )


def _draw_image(
    sheet: Image.Image, observation: NDArray[np.uint8] | None, at: tuple[int, int], cell: int
) -> None:
    images_at = (at[0], at[1] + _LABEL)
    if observation is None:
        _draw_label(sheet, at, cell, "questioned", "not read")
        _draw_empty(sheet, images_at, cell, "no image")
        return
    check_pixels(observation)
    height, width = observation.shape[:2]
    size = f"{width} x {height}" if width == height else f"{width} wide, {height} high"
    _draw_label(sheet, at, cell, "questioned", size)
    _paste(sheet, visible(to_float(observation)), images_at)


def _best(row: SheetRow) -> list[Reproduction]:
    """Return at most MAX_CANDIDATES, in the order given: the winner and the closest others."""

    def rank(index: int) -> tuple[bool, float]:
        candidate = row.reproductions[index]
        return (
            candidate.name != row.winner,
            np.inf if candidate.residual is None else candidate.residual,
        )

    best = sorted(range(len(row.reproductions)), key=rank)[:MAX_CANDIDATES]
    return [row.reproductions[index] for index in sorted(best)]


def _draw_candidate(
    sheet: Image.Image, row: SheetRow, candidate: Reproduction, at: tuple[int, int]
) -> None:
    (left, top), cell = at, _cell(row)
    width, images_at = 2 * cell + _PAIR_GAP, (left, top + _LABEL)
    residual = "no residual" if candidate.residual is None else f"residual {candidate.residual:.1e}"
    is_winner = candidate.name in (row.winners or (row.winner,))
    _draw_label(sheet, at, width, candidate.name, residual, ink=_WINNER if is_winner else _INK)
    if candidate.image is None or not np.isfinite(candidate.image).all():
        shown = _draw_empty(sheet, images_at, width, "no reproduction")
    else:
        reproduced, shown = _paste(sheet, visible(np.clip(candidate.image, -1, 1)), images_at)
        if row.observation is not None:
            beside = (left + reproduced + _PAIR_GAP, images_at[1])
            _paste(sheet, difference(candidate.image, row.observation), beside)
    if is_winner:
        # of a class nobody can tell which one it was
        tag = "made by" if len(row.winners) < 2 else "one of"
        _draw_frame(sheet, (left - 8, top - 5, left + width + 7, images_at[1] + shown + 7), tag)


def _draw_frame(sheet: Image.Image, box: tuple[int, int, int, int], tag: str) -> None:
    draw, (_, top, right, _) = ImageDraw.Draw(sheet), box
    draw.rectangle(box, outline=_WINNER, width=3)
    draw.rectangle((right - _TAG, top, right, top + 22), fill=_WINNER)
    draw.text((right - _TAG // 2, top + 11), tag, _PAGE, font(13), anchor="mm")


def _draw_label(
    sheet: Image.Image, at: tuple[int, int], width: int, first: str, second: str, *, ink: str = _INK
) -> None:
    draw, (left, top) = ImageDraw.Draw(sheet), at
    draw.text((left, top), fitted(first, font(13), width - _TAG), ink, font(13))
    draw.text((left, top + _LINE), fitted(second, font(13), width), _QUIET, font(13))


def _draw_empty(sheet: Image.Image, at: tuple[int, int], width: int, text: str) -> int:
    """Draw a box in an image's place; returns its height."""
    draw, (left, top), height = ImageDraw.Draw(sheet), at, SMALLEST_CELL // 2
    draw.rectangle((left, top, left + width - 1, top + height - 1), _EMPTY, _RULE)
    draw.text((left + width // 2, top + height // 2), text, _QUIET, font(13), anchor="mm")
    return height


def _paste(sheet: Image.Image, levels: NDArray[np.float32], at: tuple[int, int]) -> tuple[int, int]:
    """Draw levels 0..255 [H, W, 3] at the size they are shown; return the width and height."""
    height, width = _shown_size(*levels.shape[:2])
    method = Image.Resampling.NEAREST if height >= len(levels) else Image.Resampling.BOX
    image = Image.fromarray(np.floor(np.clip(levels, 0, 255) + 0.5).astype(np.uint8)).resize(
        (width, height), method
    )
    edge = (at[0] - 1, at[1] - 1, at[0] + width, at[1] + height)  # shows where a white image ends
    ImageDraw.Draw(sheet).rectangle(edge, outline=_RULE)
    sheet.paste(image, at)
    return width, height
