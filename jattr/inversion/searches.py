"""`Searches`: running searches of one candidate from given places, and keeping what they find."""

from collections.abc import Callable, Container, Sequence

import numpy as np

from jattr.inversion.accused import Accused
from jattr.inversion.choice import GRADIENTS
from jattr.inversion.config import InvertConfig
from jattr.inversion.initial import Starts
from jattr.inversion.lanes import Ending, Job, Status, evaluations, run_jobs
from jattr.inversion.measure import mean_squares
from jattr.inversion.optimisers import METHODS
from jattr.inversion.problem import Prior, Target
from jattr.inversion.records import Place, Records

SETTLED_STEPS = 12  # most steps for a picture that another candidate has brought to the floor


class Searches(Records):
    """Searches of one candidate over a set of pictures, and their results by picture and restart."""

    def __init__(self, accused: Accused, config: InvertConfig, prior: Prior, starts: Starts):
        """Prepare; nothing is searched yet.

        Args:
          accused: the pictures and the candidate.
          config: settings.
          prior: of the latents.
          starts: where restarts begin.
        """
        self.accused, self.gen, self.config, self.prior = accused, accused.gen, config, prior
        self.count = len(accused.pixels)
        self.size = int(np.prod(self.gen.latent_shape))
        super().__init__(starts.z, starts.label, self.gen.latent_shape)
        self.rounding = ["truncate" if accused.rounding == "truncate" else "round"] * self.count
        self.floors = accused.floors

    def targets(self, pictures: Sequence[int]) -> Target:
        """Return the stacked targets of pictures, each under its rounding rule."""
        return self._targets_of(self.accused)(pictures)

    def _targets_of(self, accused: Accused) -> Callable[[Sequence[int]], Target]:
        return lambda pictures: accused.targets(pictures, [self.rounding[i] for i in pictures])

    def _searched(self, method: str) -> Accused:
        """Return the pictures in the form that a method searches."""
        looks = self.accused.looks if method == GRADIENTS and self.config.optimiser == "auto" else None
        return self.accused if looks is None else looks

    def _as_observed(self, places: Sequence[Place], endings: Sequence[Ending]) -> list[Ending]:
        """Return endings of searches in another form with the residual that counts; none of them has arrived."""
        z = np.stack([ending.z for ending in endings])
        label = np.array([max(self.label[place], 0) for place in places]) if self.gen.num_classes else None
        losses = mean_squares(self.gen, z, label, self.targets([picture for picture, _ in places]))
        return [
            ending._replace(
                loss=loss if np.isfinite(loss) else np.inf,
                status=Status.STALLED if ending.status == Status.ARRIVED else ending.status,
                trace=((ending.steps, loss),) if np.isfinite(loss) else (),
                last=loss,
            )
            for ending, loss in zip(endings, losses.tolist(), strict=True)
        ]

    def _search(
        self, places: Sequence[Place], method: str, short: Container[int] = (), *, most: int | None = None
    ) -> None:
        """Run least squares at these places from where they are, and keep what is better."""
        if not places:
            return
        steps = METHODS[method].steps if most else self.config.steps or METHODS[method].steps
        jobs = [
            Job(i, self.z[i, r], int(self.label[i, r]), min(most or steps, SETTLED_STEPS if i in short else steps))
            for i, r in places
        ]
        accused = self._searched(method)
        endings = run_jobs(
            accused.gen, self._targets_of(accused), jobs, self.config,
            method=method, steps=steps, floors=accused.floors, prior=self.prior,
        )  # fmt: skip
        if accused is not self.accused:
            endings = self._as_observed(places, endings)
        for place, ending in zip(places, endings, strict=True):
            self._trace(place, method, ending.trace)
            self.steps[place] += ending.steps
            self.evaluations[place] += evaluations(self.gen, method, ending.steps)
            self.final[place] = ending.last
            if ending.loss <= self.loss[place]:
                self.z[place], self.loss[place] = ending.z, ending.loss
            if ending.status != Status.FAILED or self.status[place] == Status.SKIPPED:
                unsure = ending.status == Status.ARRIVED and self.accused.doubtful  # `polish` tells
                self.status[place] = Status.STALLED if unsure else ending.status

    def _trace(self, place: Place, method: str, trace: Sequence[tuple[int, float]]) -> None:
        """Note how a search went: the lowest loss of the restart so far, against its evaluations."""
        known = self.traces.setdefault(place, [])
        lowest = known[-1][1] if known else np.inf
        cost = self.evaluations[place]
        for steps, loss in trace:
            lowest = min(lowest, loss)
            known.append((float(cost + evaluations(self.gen, method, steps)), lowest))

    def _measure(self, places: Sequence[Place]) -> np.ndarray:
        """Return the mean squared residual at each place [n], under its picture's rounding rule."""
        if not places:
            return np.zeros(0)
        z = np.stack([self.z[place] for place in places])
        label = np.array([max(self.label[place], 0) for place in places]) if self.gen.num_classes else None
        return mean_squares(self.gen, z, label, self.targets([picture for picture, _ in places]))
