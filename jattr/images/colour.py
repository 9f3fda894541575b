"""Whether the colours that a file states are sRGB's: what a generator's bytes mean.

ICC.1:2022 for profiles; PNG, third edition, for `gAMA`, `cHRM` and `cICP`; IEC 61966-2-1 for sRGB
itself.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MAX_PROFILE = 1 << 16  # bytes; sRGB's have up to about 3,200, larger ones are taken for others
MAX_TAGS = 100
SRGB_GAMMA = 45455  # what PNG states for sRGB, times 100,000
# white, red, green, blue; times 100,000
SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
SRGB_CODE = bytes((1, 13, 0, 1))  # cICP
COLORANTS = {  # of sRGB under the white of ICC profiles, D50
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
COLORANT_ERROR = 0.003
CURVE_ERROR = 2.0  # bytes by which another curve may move a sample
_PARAMETERS = (1, 3, 4, 5, 7)  # of a parametric curve, by its function


def is_srgb_png(bodies: Mapping[bytes, bytes]) -> bool:
    """Whether the chunks of a PNG file, by type, state no colours but sRGB's."""
    gamma, primaries = bodies.get(b"gAMA"), bodies.get(b"cHRM")
    profile, code = bodies.get(b"iCCP"), bodies.get(b"cICP")
    if gamma is not None and gamma != struct.pack(">I", SRGB_GAMMA):
        return False
    if primaries is not None:
        if len(primaries) != 32:
            return False
        stated = np.array(struct.unpack(">8I", primaries), np.int64)
        if np.abs(stated - SRGB_PRIMARIES).max() > 100:
            return False
    if profile is not None and not is_srgb_profile(_inflated(profile)):
        return False
    return code is None or code == SRGB_CODE


def is_srgb_profile(profile: bytes) -> bool:
    """Whether an ICC profile is sRGB's: three primaries and three curves, and no table besides."""
    try:
        return _is_srgb(profile)
    # cut off, or numbers that are none
    except (struct.error, ValueError, OverflowError, FloatingPointError):
        return False


def _inflated(body: bytes) -> bytes:
    """Return the profile in an iCCP chunk; nothing where it is damaged or too large."""
    _, _, rest = body.partition(b"\0")
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(rest[1:], MAX_PROFILE)
    except zlib.error:
        return b""
    return b"" if stream.unconsumed_tail else profile


def _is_srgb(profile: bytes) -> bool:
    if len(profile) > MAX_PROFILE or profile[16:24] != b"RGB XYZ " or profile[36:40] != b"acsp":
        return False
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > MAX_TAGS:
        return False
    tags = {}
    for number in range(count):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        tags[name] = profile[start : start + size]
    if any(name[:3] in (b"A2B", b"D2B") for name in tags):
        return False  # a table that takes precedence
    for name, expected in COLORANTS.items():
        colorant = np.array(struct.unpack_from(">3i", tags.get(name, b""), 8)) / 65536
        if np.abs(colorant - expected).max() > COLORANT_ERROR:
            return False
    return all(_is_srgb_curve(tags.get(name, b"")) for name in (b"rTRC", b"gTRC", b"bTRC"))


def _is_srgb_curve(tag: bytes) -> bool:
    """Whether a tone curve moves no sample by more than `CURVE_ERROR` against sRGB's."""
    sample = np.arange(256) / 255
    with np.errstate(all="raise"):
        light = np.clip(_curve(tag, sample), 0, 1)
    meant = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    )
    return bool(np.abs(meant - sample).max() * 255 <= CURVE_ERROR)


def _curve(tag: bytes, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a tone curve makes of samples in [0, 1].

    Raises:
      ValueError, struct.error, FloatingPointError: it is none.
    """
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count > len(tag):
            raise ValueError(count)
        table = np.array(struct.unpack_from(f">{count}H", tag, 12), np.float64)
        if count == 0:
            return x
        return (
            x ** (table[0] / 256)
            if count == 1
            else np.interp(x, np.linspace(0, 1, count), table / 65535)
        )
    if tag[:4] != b"para":
        raise ValueError(tag[:4])
    (function,) = struct.unpack_from(">H", tag, 8)
    if function >= len(_PARAMETERS):
        raise ValueError(function)
    count = _PARAMETERS[function]
    g, a, b, c, d, e, f = [value / 65536 for value in struct.unpack_from(f">{count}i", tag, 12)] + [
        0.0
    ] * (7 - count)
    if function == 0:
        return np.asarray(x**g)
    if function in (1, 2):
        return np.where(a * x + b >= 0, np.maximum(a * x + b, 0) ** g, 0) + c
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
