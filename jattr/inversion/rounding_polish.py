"""Rounding polish: a latent whose every pixel rounds to the image's byte.

Each byte is an interval for its pixel, so near a least-squares solution the exact latents are a
polytope,

    |r + J move| <= 1/2 rounding step for every pixel.                             (1)

The linear part is cheap to solve again and again (Newton steps on the squared violations), so an
image needs one or two Jacobians instead of dozens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from jattr.errors import InputError
from jattr.inversion.problem import STEP
from jattr.solvers.base import check_fields, check_idle


@dataclass(frozen=True, kw_only=True)
class RoundingPolish:
    """How a latent at the rounding floor is moved to one whose every pixel rounds to its byte."""

    jacobians: int = 9  # most; 0: no polish
    # of a rounding step; the widest polytope point is usually at 0.485 to 0.494
    margins: tuple[float, ...] = (0.488, 0.493, 0.497)
    safe: float = 0.4995  # of a rounding step: there a byte is safe from the last bits of float32
    # not monotone: stopping at the first bad one cost half of the exact latents
    newton_steps: int = 60
    ridge: float = 1e-4  # keeps the move short where no violated pixel says otherwise
    max_latent: int = 512  # numbers of a latent, above which whole Jacobians are too large

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self, may_be_0=("jacobians",))
        others = ("margins", "safe", "newton_steps", "ridge", "max_latent")
        check_idle(self, others, idle=not self.jacobians, why="rounding_polish.jacobians is 0")
        # the second one of a margin measures what the first one moved
        least = 2 * len(self.margins)
        if 0 < self.jacobians < least:
            raise InputError(
                f"rounding_polish.jacobians is {self.jacobians}, which moves nothing; it is 0, or"
                f" at least {least}, two for each of the {len(self.margins)} margins"
            )


# z [d] -> residual [pixels], Jacobian [pixels, d]
Linearise: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def interval_polish(
    linearise: Linearise, z: np.ndarray, settings: RoundingPolish
) -> tuple[np.ndarray, int, int, float]:
    """Return (latent, pixels outside their interval, Jacobians used, loss) of the best latent.

    Args:
      linearise: residuals, one-sided at clipped bytes, and their Jacobian.
      z: a latent at the rounding floor.
      settings: of the polish.
    """
    best, fewest, used, loss = z, np.iinfo(np.int64).max, 0, np.inf
    # A narrow box first: it leaves room for what the linear image gets wrong; then wider ones.
    for margin in settings.margins:
        trial = best
        for _ in range(max(1, settings.jacobians // len(settings.margins))):
            # 1. Linearise at the trial latent, in rounding steps.
            residual, jacobian = (
                np.asarray(a, np.float64) / STEP for a in linearise(trial.astype(np.float32))
            )
            used += 1
            # 2. Keep it if fewer pixels are outside their interval; NaN is outside.
            outside = int((~(np.abs(residual) <= settings.safe)).sum())
            if outside >= fewest and trial is not best:
                break  # the linear image no longer helps at this margin
            if outside < fewest:
                best, fewest, loss = trial, outside, float(np.mean(np.square(residual * STEP)))
            if fewest == 0 or not np.isfinite(jacobian).all():
                return best.astype(np.float32), fewest, used, loss
            # 3. Move into the box of the linear image.
            trial = trial + _into_box(residual, jacobian, margin, settings)
    return best.astype(np.float32), fewest, used, loss


def _into_box(
    residual: np.ndarray, jacobian: np.ndarray, margin: float, settings: RoundingPolish
) -> np.ndarray:
    """Return the move [d] that brings |residual + jacobian @ move| within the margin, if any does.

    Args:
      residual: [pixels], in rounding steps.
      jacobian: [pixels, d], of it.
      margin: half the side of the box, in rounding steps.
      settings: of the polish.
    """
    d = jacobian.shape[1]
    normal = jacobian.T @ jacobian
    ridge = settings.ridge * normal + (1e-9 * np.trace(normal) / d + 1e-12) * np.eye(d)
    move = np.zeros(d)
    for _ in range(settings.newton_steps):
        # v, how far each pixel lies beyond the box; half |v|^2 is convex and piecewise quadratic
        moved = residual + jacobian @ move
        violation = np.sign(moved) * np.maximum(np.abs(moved) - margin, 0.0)
        active = violation != 0
        if not active.any():
            break
        # Newton: its gradient is J_a' v_a over the active rows, its Hessian J_a' J_a
        rows = jacobian[active]
        move = move - np.linalg.solve(rows.T @ rows + ridge, rows.T @ violation[active])
    return move
