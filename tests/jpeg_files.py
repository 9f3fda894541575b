"""JPEG files to read, and ways to damage them."""

import re

import numpy as np
from image_files import encoded


def photograph(height, width, channels):
    """Waves and a little noise: coefficients of many sizes, runs of zeros of many lengths."""
    rng = np.random.default_rng([height, width, channels])
    y, x = np.mgrid[:height, :width]
    waves = [128 + 110 * np.sin(x / 7 + c) * np.cos(y / 9 - c) for c in range(channels)]
    return (
        (np.stack(waves, -1) + rng.normal(0, 9, (height, width, channels)))
        .clip(0, 255)
        .astype(np.uint8)
    )


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


COLOUR, GREY, ODD = photograph(64, 64, 3), photograph(28, 28, 1), photograph(33, 47, 3)
PLAIN = encoded(COLOUR, "JPEG", quality=75)
SCANS = encoded(ODD, "JPEG", quality=85, progressive=True)
RESTARTS = encoded(ODD, "JPEG", quality=75, restart_marker_blocks=2)


def sos(data, number=0):
    """Where the scan of this number begins."""
    return [match.start() for match in re.finditer(rb"\xff\xda", data)][number]


def segment(data, marker, change):
    """The file with its first segment of this kind replaced."""
    at = data.index(bytes([0xFF, marker]))
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + change(data[at:end]) + data[end:]


def poke(data, marker, offset, *values):
    """The file with bytes of its first segment of this kind overwritten, counted from the
    marker.
    """
    at = data.index(bytes([0xFF, marker])) + offset
    return data[:at] + bytes(values) + data[at + len(values) :]
