"""Traces of a JPEG compression in an image that was saved without loss since.

Compression leaves DCT coefficients near multiples of their quantiser's steps (Fan, de Queiroz, IEEE
Trans. Image Processing 12, 2003). The tables are libjpeg's of some quality; where several fit, the
coarsest is the one.
"""

import numpy as np

from jattr.alterations.jpeg import BLOCK, GREY, Jpeg
from jattr.images.jpeg_file import SAMPLINGS

QUALITIES = range(1, 98)  # above, steps are as small as the roundings of decoding
LEAST_STEP = 4  # smaller ones show nothing
LEAST_COEFFICIENTS = 30  # that are not 0 and have such steps
NUM_NEAR = 10  # qualities above the coarsest that fits, among which the best fit is the one
# times the least change: a compression that was carried out before changes no more than that
REPEATED = 4.5
# mean square distance from multiples, over that of coefficients that know nothing of the step
MAX_MISFIT = 0.35


def find_jpeg(pixels: np.ndarray) -> Jpeg | None:
    """Return the compression of which an image uint8 [H, W, C] shows traces, else None."""
    channels = pixels.shape[2]
    if channels not in (1, 3):
        return None
    samplings = [GREY] if channels == 1 else list(SAMPLINGS)
    # Unquantised luma, only of blocks that are whole and not cut off at 0 or 255.
    inside = _inside(pixels.shape)
    luma = inside.size
    finest = Jpeg.of_quality(100, samplings[0])
    whole = inside & ~finest.cut_off(pixels[None])[0, :luma]
    raw = finest.unquantised(pixels[None])[0, :luma][whole]
    # Luma's table: the coarsest quality that fits, and among those just above the best fit.
    fits = np.array(
        [
            _fit(raw, Jpeg.of_quality(q, samplings[0]).steps(pixels.shape)[:luma][whole])
            for q in QUALITIES
        ]
    )
    if not (fits <= MAX_MISFIT).any():
        return None
    coarsest = int(np.argmax(fits <= MAX_MISFIT))
    quality = QUALITIES[coarsest + int(fits[coarsest : coarsest + NUM_NEAR].argmin())]
    # Chroma's sampling: the coarsest that changes the image no more than the best one.
    candidates = [Jpeg.of_quality(quality, kind, decoded=True) for kind in samplings]
    changes = np.array([_changes(pixels, jpeg) for jpeg in candidates])
    return candidates[int(np.flatnonzero(changes <= REPEATED * changes.min() + 1e-3)[-1])]


def _changes(pixels: np.ndarray, jpeg: Jpeg) -> float:
    """Return how much a compression changes an image: least if it is the one it went through."""
    return float(np.square(jpeg.discrete(pixels[None])[0].astype(np.float64) - pixels).mean())


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    """Return which luma coefficients [N] are of blocks that lie wholly within the image."""
    rows, columns = -(-shape[0] // BLOCK), -(-shape[1] // BLOCK)
    blocks = np.ones((rows, columns), bool)
    blocks[shape[0] // BLOCK :] = False
    blocks[:, shape[1] // BLOCK :] = False
    return np.repeat(blocks.ravel(), BLOCK * BLOCK)


def _fit(values: np.ndarray, steps: np.ndarray) -> float:
    """Return how far coefficients lie from multiples of their steps; inf where too few can tell."""
    multiples = np.round(values / steps)
    informative = (multiples != 0) & (steps >= LEAST_STEP)
    if informative.sum() < LEAST_COEFFICIENTS:
        return np.inf
    # 1/12 is the mean square distance, in steps, where the values know nothing of the step.
    distance = (values - multiples * steps)[informative] / steps[informative]
    return float(np.mean(np.square(distance)) * 12.0)
