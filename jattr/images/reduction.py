"""Whether an image's colours or levels were reduced, by how few of them it uses.

A palette, posterising, dithering or fewer bits a sample leave few of them; but some generators make
few themselves, so an image is compared with a generator's own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ReductionSettings:
    """When colours were reduced. `scripts/bench_traces.py` measures what these numbers do."""

    palette: int = 256  # the most colours of a palette (GIF, PNG)
    # Distance of a pixel's colour from the next one in use, in levels, as a mean over pixels: flat
    # parts of photographs have few colours side by side, and so fine a palette moves no byte by 8.
    spacing: float = 4.0
    # share of the levels that a smooth histogram would use: a sixth bit leaves 0.3, a fifth 0.15
    filled: float = 0.5
    smoothing: int = 17  # levels over which a histogram is smoothed
    least_pixels: int = 64  # neither black nor white in a channel: fewer say nothing of levels
    fewer: float = 0.75  # than the fewest of own images, as a share
    num_own: int = 16  # own images to compare with
    max_numbers: int = 1 << 23  # of all of them; at least 4 are made


@dataclass(frozen=True)
class Levels:
    """How many colours and levels an image uses."""

    colours: int
    # least over its channels, share of the levels that a smooth histogram would use; 1 where too
    # few pixels tell
    filled: float
    spacing: float  # mean distance over pixels from the next colour in use; 0: too many to tell

    def is_suspicious(self, settings: ReductionSettings) -> bool:
        """Return whether they are few enough to compare them with own images'."""
        return self.colours <= settings.palette or self.filled <= settings.filled

    def is_reduced(self, own: "list[Levels]", settings: ReductionSettings) -> bool:
        """Return whether they are few, and fewer than those of all images of a generator."""
        fewest = settings.fewer * min(each.colours for each in own)
        sparsest = settings.fewer * min(each.filled for each in own)
        few = self.colours <= settings.palette and self.spacing >= settings.spacing
        few = few and self.colours < fewest
        sparse = self.filled <= settings.filled and self.filled < sparsest
        return few or sparse


def levels_of(
    pixels: NDArray[np.uint8], settings: ReductionSettings = ReductionSettings()
) -> Levels:
    """Return how many colours and levels an image uint8 [H, W, 1 | 3 | 4] uses; without alpha."""
    samples = pixels[..., :3].reshape(-1, min(3, pixels.shape[2])).astype(np.int64)
    codes = samples @ (256 ** np.arange(samples.shape[1]))
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    spacing = _spacing(samples[first], counts) if len(first) <= settings.palette else 0.0
    filled = min(_filled(channel, settings) for channel in samples.T)
    return Levels(len(first), filled, spacing)


def _spacing(colours: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Return the mean distance of colours [n, C], seen so often [n], from the next other one."""
    if len(colours) == 1:
        return np.inf
    squares = np.square(colours[:, None] - colours[None]).sum(-1).astype(np.float64)
    np.fill_diagonal(squares, np.inf)
    return float(np.average(np.sqrt(squares.min(1)), weights=counts))


def _filled(channel: NDArray[np.int64], settings: ReductionSettings) -> float:
    # Black and white are where clipping ends: they say nothing of the levels between.
    counts = np.bincount(channel, minlength=256)[1:255].astype(np.float64)
    used = np.flatnonzero(counts)
    if counts.sum() < settings.least_pixels:
        return 1.0
    smooth = np.convolve(counts, np.ones(settings.smoothing) / settings.smoothing, "same")
    # Of a Poisson number with that mean, the chance of not being 0.
    expected = 1.0 - np.exp(-smooth[used[0] : used[-1] + 1])
    return float(len(used) / expected.sum())
