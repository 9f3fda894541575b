"""Text on contact sheets: names reduced to what Pillow's font can draw, shortened to the room."""

import bisect
import functools
import unicodedata

from PIL import ImageFont

_LONGEST = 500  # characters looked at; no figure has room for more


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's built-in font at a size in pixels."""
    built_in = ImageFont.load_default(size)
    assert isinstance(built_in, ImageFont.FreeTypeFont)  # every Pillow wheel has FreeType
    return built_in


def fitted(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """The text as it can be drawn in `room` pixels, its middle left out where it is too long.

    >>> fitted("folder/a-long-name-0007.png", font(13), 100)
    'folder/...07.png'
    """
    text = drawable(text)
    if font.getlength(text) <= room:
        return text

    def shortened(length: int) -> str:
        return f"{text[: (length + 1) // 2]}...{text[len(text) - length // 2 :]}"

    fitting = bisect.bisect_right(
        range(len(text)), room, key=lambda length: font.getlength(shortened(length))
    )
    return shortened(max(0, fitting - 1))


def drawable(text: str) -> str:
    """Printable ASCII: accents dropped, all else, control and direction marks too, as `?`.

    >>> drawable("\u00e9t\u00e9\\n\u65e5")
    'ete??'
    """
    plain = unicodedata.normalize("NFKD", _shortened(text))
    return _shortened(
        "".join(c if " " <= c <= "~" else "?" for c in plain if not unicodedata.combining(c))
    )


def wrapped(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """The text in lines of at most `room` pixels, words kept whole."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _shortened(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"
