"""`Records`: what the searches of one candidate have found so far, by picture and restart."""

from typing import NamedTuple

import numpy as np

from jattr.inversion.lanes import Status
from jattr.inversion.protocol import Inversion

Place = tuple[int, int]  # picture, restart


class Search(NamedTuple):
    """How one restart of a picture went."""

    restart: int
    status: Status
    trace: tuple[tuple[float, float], ...]  # (evaluations, lowest mean squared residual so far), as they came


class Records:
    """The best latent of every restart, and how it was found."""

    def __init__(self, z: np.ndarray, label: np.ndarray | None, latent_shape: tuple[int, ...]):
        """Prepare; nothing is searched yet.

        Args:
          z: [pictures, restarts, d], where each restart begins.
          label: [pictures, restarts] int32; None if unconditional.
          latent_shape: of one latent.
        """
        shape = z.shape[:2]
        self.latent_shape, self.restarts = latent_shape, shape[1]
        self.z = np.array(z)
        self.loss = np.full(shape, np.inf)
        self.final = np.full(shape, np.inf)  # what was measured last, by the last search of a restart
        self.label = np.full(shape, -1, np.int32) if label is None else np.array(label)
        self.status = np.full(shape, Status.SKIPPED, np.int32)
        self.steps = np.zeros(shape, np.int32)
        self.evaluations = np.zeros(shape)
        self.traces: dict[Place, list[tuple[float, float]]] = {}  # (evaluations of the restart, loss) as they came
        self.exact: dict[int, int] = {}  # picture -> the restart whose latent the interval polish moved

    def best(self, picture: int) -> Place:
        """Return the place (picture, restart) of the latent that the interval polish moved, or of the lowest loss."""
        return picture, self.exact.get(picture, int(np.argmin(self.loss[picture])))

    def best_loss(self, picture: int) -> float:
        """Return the lowest loss of a picture; inf before its first search."""
        return float(self.loss[picture].min())

    def arrived(self, picture: int) -> bool:
        """Return whether some restart reached the rounding floor."""
        return bool((self.status[picture] == Status.ARRIVED).any())

    def arrivals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return [pictures] each: restarts up to and with the first that arrived, or all that ran; whether one did."""
        arrived = self.status == Status.ARRIVED
        run = (self.status != Status.SKIPPED).sum(1)
        return np.where(arrived.any(1), arrived.argmax(1) + 1, run), arrived.any(1)

    def searches(self, picture: int) -> tuple[Search, ...]:
        """Return how each restart of a picture went that was run."""
        run = [r for r in range(self.restarts) if self.status[picture, r] != Status.SKIPPED]
        return tuple(Search(r, Status(self.status[picture, r]), self.trace((picture, r))) for r in run)

    def trace(self, place: Place) -> tuple[tuple[float, float], ...]:
        """Return (evaluations, lowest loss so far) of a restart, as they came."""
        return tuple(self.traces.get(place, ()))

    def result(self) -> Inversion:
        """Return everything, [images, restarts]."""
        z = self.z.reshape(*self.z.shape[:2], *self.latent_shape).astype(np.float32)
        return Inversion(z, self.loss, self.label, self.status, self.steps, self.evaluations)
