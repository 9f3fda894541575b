"""Images with a guess of what was done to them undone, for cheap looks at many guesses.

The candidate's own program, compiled for unaltered images, searches them: only what it is compared
with differs. A guess may change between two searches, as the latent becomes known better.
"""

from dataclasses import dataclass
from typing import Self

import jax
import numpy as np

from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import STEP, Target, target_of


@dataclass(frozen=True, eq=False)
class UndoneObservation(Observation):
    """Images as they may have been before; `pixels` are these as bytes, for warm starts."""

    undone: Target  # [n, H, W, C] each, of NumPy; `revise` changes them

    @property
    def rounding(self) -> str:
        """The targets hold the maker's rule already."""
        return "round"

    @property
    def floors(self) -> np.ndarray:
        """None: these searches end after a number of steps."""
        return np.zeros(len(self.pixels))

    def target(self, image: int, rounding: str) -> Target:
        """Return what reproductions of one image are compared with."""
        del rounding
        return Target._make([part[image] for part in self.undone])

    def revise(self, image: int, target: Target) -> None:
        """Take another guess of what one image was before."""
        for part, new in zip(self.undone, target, strict=True):
            part[image] = new

    @classmethod
    def of(cls, observation: Observation, pixels: np.ndarray, targets: list[Target]) -> Self:
        """Return guesses [n] for the candidate of an observation."""
        undone = jax.tree.map(lambda *parts: np.stack(parts), *targets)
        return cls(observation.gen, pixels, undone, thresholds=observation.thresholds)


def undone_bytes(pixels: np.ndarray, rule: str) -> Target:
    """Return the target of bytes [H, W, C] that were only moved, made by a rounding rule."""
    parts = [np.array(part) for part in target_of(pixels, rule)]
    return Target._make(parts)


def undone_map(pixels: np.ndarray, gain: float, offset: float) -> Target:
    """Return the target of bytes [H, W, C] that are gain * value + offset, the value in bytes too.

    The gain is not 0; where it is negative black and white change places.
    """
    value = (pixels.astype(np.float32) - np.float32(offset)) / np.float32(gain)
    black, white = pixels == 0, pixels == 255
    slack = np.full(pixels.shape, STEP / 2 / abs(gain), np.float32)
    below, above = (black, white) if gain > 0 else (white, black)
    return Target._make([value / np.float32(127.5) - np.float32(1), below, above, slack])


def ignoring(target: Target, ignored: np.ndarray) -> Target:
    """Return a target that everything fits at the pixels that are ignored, bool [H, W]."""
    everywhere = np.broadcast_to(ignored[..., None], target.center.shape)
    # one-sided on both sides, and farther than images reach
    slack = np.where(everywhere, np.float32(1e6), target.slack)
    below, above = target.below | everywhere, target.above | everywhere
    return Target._make([target.center, below, above, slack])
