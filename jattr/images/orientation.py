"""EXIF orientations, 1 to 8: how a file stores an image that is to be shown upright.

CIPA DC-008, tag 0x0112.
"""

from __future__ import annotations

from typing import Any

_INVERSE = {6: 8, 8: 6}  # the others are their own


def upright(stored: Any, orientation: int) -> Any:
    """Return images [..., H, W, C], of numpy or JAX, as they are to be shown.

    H and W are exchanged from 5 on.

    >>> import numpy as np
    >>> upright(np.arange(6).reshape(2, 3, 1), 6)[..., 0].tolist()  # a quarter turn clockwise
    [[3, 0], [4, 1], [5, 2]]
    """
    if orientation >= 5:
        stored = stored.swapaxes(-3, -2)
    if orientation in (3, 4, 7, 8):
        stored = stored[..., ::-1, :, :]
    if orientation in (2, 3, 6, 7):
        stored = stored[..., ::-1, :]
    return stored


def as_stored(shown: Any, orientation: int) -> Any:
    """Return what `upright` turns into images [..., H, W, C]: its inverse."""
    return upright(shown, _INVERSE.get(orientation, orientation))
