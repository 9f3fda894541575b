"""Interval polish: a latent whose every pixel rounds to the accused byte.

Each byte is an interval for its pixel, so near a least-squares solution the latents wanted are a
polytope, |r + J move| <= 1/2 rounding step for every pixel. The linear part is cheap to solve again
and again (Newton steps on the squared violations), so an image needs one or two Jacobians instead
of dozens.
"""

from collections.abc import Callable

import numpy as np

from jattr.inversion.problem import STEP

# of a rounding step; the widest polytope point is usually at 0.485 to 0.494
MARGINS = (0.488, 0.493, 0.497)
SAFE = 0.4995  # of a rounding step: within this a byte is safe from the last bits of float32
NEWTON_STEPS = 60  # not monotone: stopping at the first bad one cost half of the exact latents
RIDGE = 1e-4  # keeps the move short where no violated pixel says otherwise

# z [d] -> residual [pixels], Jacobian [pixels, d]
Linearise = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def interval_polish(
    linearise: Linearise, z: np.ndarray, jacobians: int
) -> tuple[np.ndarray, int, int, float]:
    """Return (latent, pixels outside their interval, Jacobians used, loss) of the best latent found
    from z [d] on.

    Args:
      linearise: residuals, one-sided at clipped bytes, and their Jacobian.
      z: a latent at the rounding floor.
      jacobians: the most Jacobians to compute.
    """
    best, fewest, used, loss = z, np.iinfo(np.int64).max, 0, np.inf
    for margin in MARGINS:
        here = best
        for _ in range(max(1, jacobians // len(MARGINS))):
            residual, jacobian = (
                np.asarray(a, np.float64) / STEP for a in linearise(here.astype(np.float32))
            )
            used += 1
            outside = int((~(np.abs(residual) <= SAFE)).sum())  # NaN is outside
            if outside >= fewest and here is not best:
                break  # the linear image no longer helps at this margin
            if outside < fewest:
                best, fewest, loss = here, outside, float(np.mean(np.square(residual * STEP)))
            if fewest == 0 or not np.isfinite(jacobian).all():
                return best.astype(np.float32), fewest, used, loss
            here = here + _into_box(residual, jacobian, margin)
    return best.astype(np.float32), fewest, used, loss


def _into_box(residual: np.ndarray, jacobian: np.ndarray, margin: float) -> np.ndarray:
    """Return the move [d] that brings |residual + jacobian @ move| within the margin, as far as
    it can be.
    """
    d = jacobian.shape[1]
    normal = jacobian.T @ jacobian
    ridge = RIDGE * normal + (1e-9 * np.trace(normal) / d + 1e-12) * np.eye(d)
    move = np.zeros(d)
    for _ in range(NEWTON_STEPS):
        now = residual + jacobian @ move
        violation = np.sign(now) * np.maximum(np.abs(now) - margin, 0.0)
        active = violation != 0
        if not active.any():
            break
        rows = jacobian[active]
        move = move - np.linalg.solve(rows.T @ rows + ridge, rows.T @ violation[active])
    return move
