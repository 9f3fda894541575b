"""Alterations by name, and how a chain is written: `resize:48x48:lanczos,jpeg:75:4:2:0`."""

import re
from collections.abc import Callable, Sequence

from jattr.alterations.base import Alteration
from jattr.alterations.chain import Chain
from jattr.alterations.geometry import Border, Centre, Cover, Crop, Flip, Moved, Shift, Turn
from jattr.alterations.jpeg import DECODED, EXIF, Jpeg
from jattr.alterations.pointwise import (
    FREE,
    Bgr,
    Brightness,
    Channels,
    Contrast,
    Gamma,
    Grey,
    Invert,
    Noise,
)
from jattr.alterations.resample import Blur, Rescale, Resize
from jattr.alterations.saving import ClipLow, Round, Stretch, Truncate, Wrap
from jattr.errors import InputError

Read = Callable[[Sequence[str]], Alteration]
MAX_CHAIN_TEXT = 500  # characters of a chain


def _resize(parts: Sequence[str]) -> Alteration:
    height, width = _matched(r"(\d{1,5})x(\d{1,5})", parts[0])
    return Resize(int(height), int(width), *parts[1:])


def _rectangle(parts: Sequence[str]) -> tuple[int, int, int, int]:
    _only(parts, 1)
    text = _matched(r"(\d{1,5})x(\d{1,5})\+(\d{1,5})\+(\d{1,5})", parts[0])
    height, width, top, left = map(int, text)
    return height, width, top, left


def _shift(parts: Sequence[str]) -> Alteration:
    down, right, *filled = parts
    return Moved(int(down), int(right), *filled) if filled else Shift(int(down), int(right))


def _bare(step: Alteration, parts: Sequence[str]) -> Alteration:
    """Return a step that takes no parameters."""
    _only(parts, 0)
    return step


def _channels(parts: Sequence[str]) -> Alteration:
    _only(parts, 1)
    return Channels(tuple(map(int, parts[0])))


def _stretch(parts: Sequence[str]) -> Alteration:
    if list(parts) == [FREE, FREE]:
        return Stretch(free=True)
    if not parts:
        return Stretch()
    low, high = map(float, parts)
    return Stretch(low, high)


def _wrap(parts: Sequence[str]) -> Alteration:
    if not parts:
        return Wrap()
    low, high = map(float, parts)
    return Wrap(low, high)


def _jpeg(parts: Sequence[str]) -> Alteration:
    decoded = parts[-1] == DECODED
    rest = list(parts[1:-1] if decoded else parts[1:])
    stored = re.fullmatch(f"{EXIF}([2-8])", rest[-1]) if rest else None
    orientation = 1 if stored is None else int(stored[1])
    sampling = ":".join(rest if stored is None else rest[:-1]) or "4:2:0"
    return Jpeg.of_quality(int(parts[0]), sampling, decoded=decoded, orientation=orientation)


def _factor(part: str) -> float | None:
    return None if part == FREE else float(part)


# how it is read, and how it is written: no more parts than there
REGISTRY: dict[str, tuple[Read, str]] = {
    "resize": (_resize, "resize:HEIGHTxWIDTH[:FILTER]"),
    "rescale": (lambda parts: Rescale(float(parts[0]), *parts[1:]), "rescale:FACTOR[:FILTER]"),
    "crop": (lambda parts: Crop(*_rectangle(parts)), "crop:HEIGHTxWIDTH+TOP+LEFT"),
    "centre": (lambda parts: Centre(*map(float, parts)), "centre:FRACTION"),
    "flip": (lambda parts: Flip(*parts), "flip[:horizontal|vertical]"),
    "turn": (lambda parts: Turn(*map(int, parts)), "turn:90|180|270"),
    "shift": (_shift, "shift:DOWN:RIGHT[:wrap|BYTE]"),
    "border": (lambda parts: Border(*map(int, parts)), "border:PIXELS[:BYTE]"),
    "cover": (lambda parts: Cover(*_rectangle(parts)), "cover:HEIGHTxWIDTH+TOP+LEFT"),
    "channels": (_channels, "channels:ORDER, as channels:210"),
    "bgr": (lambda parts: _bare(Bgr(), parts), "bgr"),
    "invert": (lambda parts: _bare(Invert(), parts), "invert"),
    "stretch": (_stretch, "stretch, stretch:LOW:HIGH or stretch:?:?"),
    "clip-low": (lambda parts: _bare(ClipLow(), parts), "clip-low"),
    "truncate": (lambda parts: _bare(Truncate(), parts), "truncate"),
    "round": (lambda parts: _bare(Round(), parts), "round"),
    "wrap": (_wrap, "wrap or wrap:LOW:HIGH"),
    "blur": (lambda parts: Blur(*map(float, parts)), "blur:SIGMA"),
    "brightness": (
        lambda parts: Brightness(*map(_factor, parts)),
        "brightness:FACTOR or brightness:?",
    ),
    "contrast": (lambda parts: Contrast(*map(_factor, parts)), "contrast:FACTOR or contrast:?"),
    "gamma": (lambda parts: Gamma(*map(_factor, parts)), "gamma:POWER or gamma:?"),
    "grey": (lambda parts: Grey(*map(int, parts)), "grey[:1|3]"),
    "noise": (lambda parts: Noise(float(parts[0]), *map(int, parts[1:])), "noise:SIGMA[:SEED]"),
    "jpeg": (
        _jpeg,
        "jpeg:QUALITY[:4:4:4|:4:2:2|:4:4:0|:4:2:0|:4:1:1|:4:1:0|:rgb|:grey][:exif2-8][:decoded]",
    ),
}


def parse_chain(text: str) -> Chain:
    """Return the chain that a text names, alterations separated by commas; none for an empty text.

    Raises:
      InputError: a name or a parameter is not legal.

    >>> parse_chain("centre:0.9,rescale:0.5").text
    'centre:0.9,rescale:0.5:lanczos'
    """
    if len(text) > MAX_CHAIN_TEXT:
        raise InputError(
            f"the alteration has {len(text)} characters; at most {MAX_CHAIN_TEXT} are legal"
        )
    return Chain(tuple(_parse(step.strip()) for step in text.split(",") if step.strip()))


def _parse(text: str) -> Alteration:
    name, *parts = text.split(":")
    if name not in REGISTRY:
        raise InputError(f"there is no alteration {name!r}; there are {', '.join(REGISTRY)}")
    read, form = REGISTRY[name]
    try:
        return read(parts)
    except (ValueError, TypeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"alteration {text!r} cannot be read; it is written {form}") from None


def _only(parts: Sequence[str], most: int) -> None:
    if len(parts) > most:
        raise ValueError(parts)


def _matched(pattern: str, text: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(text)
    return match.groups()
