"""Images and their differences as they are shown."""

import numpy as np
from numpy.typing import NDArray

from jattr.images.fitting import fit
from jattr.images.values import to_float

AMPLIFICATION = 8  # one level of difference, of 255, is shown as eight; grey is none


def difference(
    reproduction: NDArray[np.float32], observation: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the amplified difference as levels, 128 is none, in the candidate's shape."""
    height, width, channels = reproduction.shape
    fitted = fit(observation, (height, width, channels), resize=True)
    deviation = visible(reproduction) - visible(to_float(fitted))
    return np.float32(128) + np.float32(AMPLIFICATION) * deviation


def visible(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [H, W, 1 | 3 | 4] in [-1, 1] as levels 0..255 [H, W, 3].

    Grey is repeated, alpha shown over a checkerboard.
    """
    levels = (np.asarray(image, np.float32) + 1) * np.float32(127.5)
    if levels.shape[2] < 4:
        return np.broadcast_to(levels, (*levels.shape[:2], 3))
    rows, columns = np.indices(levels.shape[:2]) * 16 // max(levels.shape[:2])
    checkers = np.where((rows + columns) % 2, 204, 255)[..., None].astype(np.float32)
    alpha = np.clip(levels[..., 3:] / np.float32(255), np.float32(0), np.float32(1))
    return levels[..., :3] * alpha + checkers * (np.float32(1) - alpha)
