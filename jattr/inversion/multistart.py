"""`Inverter`: the searches of one candidate over a set of images, run round by round by `invert`
and `attribute`.

What a restart does, with the default optimiser and a latent small enough for its whole Jacobian:

* the first goes from the guess by Levenberg-Marquardt, or, where a Jacobian is dear, by L-BFGS, a
  step for a thirtieth;
* every second later one is drawn near first by statistical linearisation, and begins in the logit
  domain: for images with saturated pixels, and for networks with many kinks;
* the others begin beside the best latent so far, once that is near: kinks stop a search close to
  the solution, where a small move frees it;
* where a Jacobian is dear, the first few of an image that is not near yet all go by L-BFGS, and all
  of one far away.

With an optimiser named by the user every restart is that one, from its own start.
"""

from collections.abc import Callable, Container, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattr.inversion.config import (
    CHEAP_JACOBIAN,
    DENSE_POLISH,
    GRADIENTS,
    LM,
    LM_LOGIT,
    InvertConfig,
    dense_jacobian,
    polish_method,
)
from jattr.inversion.evaluate import forward_cost, mean_squares
from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import Target
from jattr.inversion.scheduler import (
    FAR,
    Ending,
    Job,
    Status,
    compile_program,
    evaluations,
    run_jobs,
)
from jattr.inversion.warm_start import (
    CLOUD,
    SPREADS,
    Pool,
    Starts,
    as_floats,
    make_ensemble,
    make_pool,
    make_starts,
)
from jattr.solvers import method_named
from jattr.solvers.base import Array, Prior

Place = tuple[int, int]  # image, restart


class Inversion(NamedTuple):
    """Results of one search (`make_invert`), or of [images, restarts] searches (`invert`)."""

    z: Array  # [..., *latent_shape] float32, the best latent of each search
    # [...], mean squared residual there, images in [-1, 1] units; inf if nothing was finite or not
    # run
    loss: Array
    label: Array  # [...] int32, the class; -1 if unconditional
    status: Array  # [...] int, a `Status`
    steps: Array  # [...] int
    # [...], in forward passes (forward 1, forward and backward 2)
    evaluations: Array


class Search(NamedTuple):
    """How one restart of an image went."""

    restart: int
    status: Status
    # (evaluations, lowest mean squared residual so far), as they came
    trace: tuple[tuple[float, float], ...]


class Records:
    """The best latent of every restart, and how it was found."""

    def __init__(self, z: np.ndarray, label: np.ndarray | None, latent_shape: tuple[int, ...]):
        """Prepare; nothing is searched yet.

        Args:
          z: [images, restarts, d], where each restart begins.
          label: [images, restarts] int32; None if unconditional.
          latent_shape: of one latent.
        """
        shape = z.shape[:2]
        self.latent_shape, self.restarts = latent_shape, shape[1]
        self.z = np.array(z)
        self.loss = np.full(shape, np.inf)
        # what was measured last, by the last search of a restart
        self.final = np.full(shape, np.inf)
        self.label = np.full(shape, -1, np.int32) if label is None else np.array(label)
        self.status = np.full(shape, Status.SKIPPED, np.int32)
        self.steps = np.zeros(shape, np.int32)
        self.evaluations = np.zeros(shape)
        # (evaluations of the restart, loss) as they came
        self.traces: dict[Place, list[tuple[float, float]]] = {}
        # image -> the restart whose latent the interval polish moved
        self.exact: dict[int, int] = {}

    def best(self, image: int) -> Place:
        """Return the place (image, restart) of the latent that the interval polish moved, or of
        the lowest loss.
        """
        return image, self.exact.get(image, int(np.argmin(self.loss[image])))

    def best_loss(self, image: int) -> float:
        """Return the lowest loss of an image; inf before its first search."""
        return float(self.loss[image].min())

    def arrived(self, image: int) -> bool:
        """Return whether some restart reached the rounding floor."""
        return bool((self.status[image] == Status.ARRIVED).any())

    def arrivals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return [images] each: restarts up to and with the first that arrived, or all that ran;
        whether one did.
        """
        arrived = self.status == Status.ARRIVED
        run = (self.status != Status.SKIPPED).sum(1)
        return np.where(arrived.any(1), arrived.argmax(1) + 1, run), arrived.any(1)

    def searches(self, image: int) -> tuple[Search, ...]:
        """Return how each restart of an image went that was run."""
        run = [r for r in range(self.restarts) if self.status[image, r] != Status.SKIPPED]
        return tuple(Search(r, Status(self.status[image, r]), self.trace((image, r))) for r in run)

    def trace(self, place: Place) -> tuple[tuple[float, float], ...]:
        """Return (evaluations, lowest loss so far) of a restart, as they came."""
        return tuple(self.traces.get(place, ()))

    def result(self) -> Inversion:
        """Return everything, [images, restarts]."""
        z = self.z.reshape(*self.z.shape[:2], *self.latent_shape).astype(np.float32)
        return Inversion(z, self.loss, self.label, self.status, self.steps, self.evaluations)


SETTLED_STEPS = 12  # most steps for an image that another candidate has brought to the floor


class Searches(Records):
    """Searches of one candidate over a set of images, and their results by image and restart."""

    def __init__(
        self, observation: Observation, config: InvertConfig, prior: Prior, starts: Starts
    ):
        """Prepare; nothing is searched yet.

        Args:
          observation: the images and the candidate.
          config: settings.
          prior: of the latents.
          starts: where restarts begin.
        """
        self.observation, self.gen, self.config, self.prior = (
            observation,
            observation.gen,
            config,
            prior,
        )
        self.count = len(observation.pixels)
        self.size = int(np.prod(self.gen.latent_shape))
        super().__init__(starts.z, starts.label, self.gen.latent_shape)
        self.rounding = ["truncate" if observation.rounding == "truncate" else "round"] * self.count
        self.floors = observation.floors

    def targets(self, images: Sequence[int]) -> Target:
        """Return the stacked targets of images, each under its rounding rule."""
        return self._targets_of(self.observation)(images)

    def _targets_of(self, observation: Observation) -> Callable[[Sequence[int]], Target]:
        return lambda images: observation.targets(images, [self.rounding[i] for i in images])

    def _searched(self, method: str) -> Observation:
        """Return the images in the form that a method searches."""
        looks = (
            self.observation.gradient_view
            if method == GRADIENTS and self.config.optimiser == "auto"
            else None
        )
        return self.observation if looks is None else looks

    def _as_observed(self, places: Sequence[Place], endings: Sequence[Ending]) -> list[Ending]:
        """Return endings of searches in another form with the residual that counts; none of them
        has arrived.
        """
        z = np.stack([ending.z for ending in endings])
        label = (
            np.array([max(self.label[place], 0) for place in places])
            if self.gen.num_classes
            else None
        )
        losses = mean_squares(self.gen, z, label, self.targets([image for image, _ in places]))
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
        self,
        places: Sequence[Place],
        method: str,
        short: Container[int] = (),
        *,
        most: int | None = None,
    ) -> None:
        """Run least squares at these places from where they are, and keep what is better."""
        if not places:
            return
        steps = (
            method_named(method).steps if most else self.config.steps or method_named(method).steps
        )
        jobs = [
            Job(
                i,
                self.z[i, r],
                int(self.label[i, r]),
                min(most or steps, SETTLED_STEPS if i in short else steps),
            )
            for i, r in places
        ]
        observation = self._searched(method)
        endings = run_jobs(
            observation.gen,
            self._targets_of(observation),
            jobs,
            self.config,
            method=method,
            steps=steps,
            floors=observation.floors,
            prior=self.prior,
        )
        if observation is not self.observation:
            endings = self._as_observed(places, endings)
        for place, ending in zip(places, endings, strict=True):
            self._trace(place, method, ending.trace)
            self.steps[place] += ending.steps
            self.evaluations[place] += evaluations(self.gen, method, ending.steps)
            self.final[place] = ending.last
            if ending.loss <= self.loss[place]:
                self.z[place], self.loss[place] = ending.z, ending.loss
            if ending.status != Status.FAILED or self.status[place] == Status.SKIPPED:
                # `polish` tells
                unsure = ending.status == Status.ARRIVED and self.observation.traits.needs_test
                self.status[place] = Status.STALLED if unsure else ending.status

    def _trace(self, place: Place, method: str, trace: Sequence[tuple[int, float]]) -> None:
        """Note how a search went: the lowest loss of the restart so far, against its
        evaluations.
        """
        known = self.traces.setdefault(place, [])
        lowest = known[-1][1] if known else np.inf
        cost = self.evaluations[place]
        for steps, loss in trace:
            lowest = min(lowest, loss)
            known.append((float(cost + evaluations(self.gen, method, steps)), lowest))

    def _measure(self, places: Sequence[Place]) -> np.ndarray:
        """Return the mean squared residual at each place [n], under its image's rounding rule."""
        if not places:
            return np.zeros(0)
        z = np.stack([self.z[place] for place in places])
        label = (
            np.array([max(self.label[place], 0) for place in places])
            if self.gen.num_classes
            else None
        )
        return mean_squares(self.gen, z, label, self.targets([image for image, _ in places]))


# a loss below this is near: where a Jacobian is dear, it is taken for such images from the start
ALMOST = 1e-3
CHEAP_FIRST = 5  # restarts by gradients alone of images that are not, where a Jacobian is dear
KICKS = (0.1, 0.05, 0.2)  # standard deviations of those starts, in units of the prior's
# times what the last polish of an image reached: another latent above this is not polished
POLISH_AGAIN = 0.9


class Inverter(Searches):
    """The searches of one candidate over a set of images: results by image and restart, run
    round by round.
    """

    def __init__(
        self,
        observation: Observation,
        config: InvertConfig,
        key: jax.Array,
        pool: Pool | None = None,
    ):
        """Prepare; nothing is searched yet.

        Args:
          observation: the images and the candidate.
          config: settings.
          key: of every random choice.
          pool: images of the candidate from its prior, as `observation` would see them; None: make
            them.
        """
        gen, count = observation.gen, len(observation.pixels)
        size, self.cost = int(np.prod(gen.latent_shape)), forward_cost(gen)
        self.dear = size * self.cost > CHEAP_JACOBIAN
        chosen = config.optimiser == "auto"
        gradients = chosen and (self.dear or not observation.traits.smooth)
        self.method = GRADIENTS if gradients else config.method_for(size, self.cost)
        self.varied = chosen and observation.traits.smooth and dense_jacobian(size, self.cost)
        restarts = config.restarts_for(size, self.cost)
        keys = jax.random.split(key, 4)
        self.pool = (
            make_pool(observation.warm_start_generator, config, keys[0], count)
            if pool is None
            else pool
        )
        prior = Prior(self.pool.z.mean(0), np.maximum(self.pool.z.std(0), 1e-6))
        starts = make_starts(
            observation.warm_start_generator,
            self.pool,
            as_floats(observation.pixels),
            restarts,
            config,
            keys[1],
        )
        super().__init__(observation, config, prior, starts)
        self.samples = np.asarray(gen.sample_latent(keys[2], count * restarts)).reshape(
            count, restarts, size
        )
        self.cloud_key = keys[3]
        self.fair = np.full(self.count, np.inf)  # the lowest loss after the first `FAIR` restarts
        self.polished: dict[int, float] = {}  # image -> the loss that its last polish reached
        # image -> the loss of the latent that a test denied last
        self.tested: dict[int, float] = {}

    def prepare(self) -> None:
        """Compile the program of the first round."""
        method, observation = method_named(self.method), self._searched(self.method)
        compile_program(
            observation.gen,
            self._targets_of(observation),
            self.count,
            self.config,
            method=self.method,
            steps=self.config.steps or method.steps,
            prior=self.prior,
        )

    def run(self) -> None:
        """Search every image, round by round, until it has arrived."""
        for restarts in rounds(self.restarts):
            images = [
                i for i in range(self.count) if not (self.config.early_stop and self.arrived(i))
            ]
            self.round(images, restarts)
            self.polish(images)

    def run_pilot_study(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search own images; return [n] each: best residual, restarts up to one that arrived,
        whether one did.
        """
        self.run()
        return self.loss.min(1), *self.arrivals()

    def round(self, images: Sequence[int], restarts: range, settled: Sequence[int] = ()) -> None:
        """Search these images from these restarts, those that this candidate has; `polish` comes
        after.

        Images that are `settled` besides, by another candidate's certificate to be, get a few steps
        only.
        """
        places = [(i, r) for i in (*images, *settled) for r in restarts if r < self.restarts]
        if not places:
            return
        short = set(settled)
        if self.varied and restarts.start:
            cheap = [place for place in places if self._by_gradients(place)]
            others = [place for place in places if place not in cheap]
            kicked = [place for place in others if self._kick(place)]
            fresh = [place for place in others if place not in kicked]
            self._search(cheap, GRADIENTS, short)
            if self.observation.traits.has_logits:
                self._draw_near(fresh)
            self._search(fresh, LM_LOGIT if self.observation.traits.has_logits else LM, short)
            self._search(kicked, LM, short)
        else:
            self._search(places, self.method, short)

    def polish(self, images: Sequence[int]) -> None:
        """Take Gauss-Newton steps from latents that gradients have brought near; try the other
        rounding rule there.
        """
        if method_named(self.method).polish and self.observation.traits.smooth:
            self._polish(images)
        near = [
            place for place in self._open(images) if self.loss[place] < self.observation.traits.near
        ]
        if self.observation.rounding is None:
            self._try_truncation(near)
        if self.observation.traits.needs_test:
            self._confirm(self._untested(near))

    def excess(self, image: int) -> int:
        """Return how many informative numbers an image has beyond those of a latent."""
        return self.observation.num_informative(image) - self.size

    def finish(self, settled: Container[int] = ()) -> None:
        """Do what follows the last restart: latents whose every pixel rounds to its byte, of images
        that arrived.

        Images that are `settled` by another candidate get nothing that costs much.
        """
        del settled
        pixels = self.observation.as_pixels()
        if pixels is not self.observation and self.config.polish_steps:
            self._finish_in_pixels(pixels)
        self.interval([i for i in range(self.count) if self.arrived(i)])

    def _finish_in_pixels(self, pixels: Observation) -> None:
        """Take Gauss-Newton steps on the pixels from near latents, and keep those that reach the
        floor of rounding.
        """
        places, targets = [self.best(i) for i in range(self.count)], self._targets_of(pixels)
        z = np.stack([self.z[place] for place in places])
        label = (
            np.array([max(self.label[place], 0) for place in places])
            if self.gen.num_classes
            else None
        )
        left = mean_squares(pixels.gen, z, label, targets(range(self.count)))
        near = [place for place, loss in zip(places, left, strict=True) if loss < FAR]
        if not near:
            return
        steps, method = self.config.polish_steps, polish_method(self.size)
        jobs = [Job(i, self.z[i, r], int(self.label[i, r]), steps) for i, r in near]
        endings = run_jobs(
            pixels.gen,
            targets,
            jobs,
            self.config,
            method=method,
            steps=steps,
            floors=pixels.floors,
            prior=self.prior,
        )
        for place, ending in zip(near, endings, strict=True):
            self.evaluations[place] += evaluations(self.gen, method, ending.steps)
            if ending.status == Status.ARRIVED:
                self.z[place], self.status[place] = ending.z, Status.ARRIVED
                self.loss[place] = self._measure([place])[0]

    def interval(self, images: Sequence[int]) -> None:
        """Move the best latents to ones whose every pixel rounds to the byte, where there are
        such.
        """
        if not self.config.interval_steps or self.size > DENSE_POLISH:
            return
        for place in (self.best(i) for i in images if i not in self.exact):
            z, _, loss = self._into_intervals(place)
            if np.isfinite(loss):
                self.z[place] = z
                self.loss[place] = self._measure([place])[0]
                self.exact[place[0]] = place[1]

    def _open(self, images: Sequence[int]) -> list[Place]:
        """Return the best places of the images that have not arrived."""
        return [self.best(i) for i in images if not self.arrived(i)]

    def _polish(self, images: Sequence[int]) -> None:
        """Take Gauss-Newton steps from the best latents that gradients have brought near."""
        hopeful = [
            place
            for place in self._open(list(dict.fromkeys(images)))
            if self.loss[place]
            < min(
                max(FAR, self.observation.traits.near),
                POLISH_AGAIN * self.polished.get(place[0], np.inf),
            )
        ]
        if self.config.polish_steps:
            self._search(hopeful, polish_method(self.size), most=self.config.polish_steps)
            self.polished |= {place[0]: float(self.loss[place]) for place in hopeful}

    def _by_gradients(self, place: Place) -> bool:
        """Return whether a restart, not the first, goes by gradients from its own start."""
        loss = self.best_loss(place[0])
        return self.dear and (loss > FAR or (loss > ALMOST and place[1] < CHEAP_FIRST))

    def _kick(self, place: Place) -> bool:
        """Move a start beside the best latent so far, if this restart is one for that; return
        whether it was moved.
        """
        image, restart = place
        near = self.best(image)
        if restart % 2 or not self.loss[near] < FAR:
            return False
        size = KICKS[(restart // 2) % len(KICKS)]
        self.z[place] = self.z[near] + size * self.samples[place]
        self.label[place] = self.label[near]
        return True

    def _draw_near(self, places: Sequence[Place]) -> None:
        """Improve starts by statistical linearisation."""
        ensemble = make_ensemble(self.gen.apply, self.gen.latent_shape, self.config.precision)
        for place in places:
            target = self.observation.target(place[0], self.rounding[place[0]])
            label = jnp.int32(self.label[place]) if self.gen.num_classes else None
            z = jnp.asarray(self.z[place])
            self.z[place] = ensemble(self.gen.state, self.prior, target, label, z, self.cloud_key)
            self.evaluations[place] += len(SPREADS) * CLOUD

    def _confirm(self, places: Sequence[Place]) -> None:
        """Move near latents into the intervals; those that explain their image then have
        arrived.
        """
        for place in places:
            z, _, loss = self._into_intervals(place)
            if np.isfinite(loss) and self.observation.accepts(
                place[0], self.rounding[place[0]], int(self.label[place]), z
            ):
                self.z[place], self.status[place], self.exact[place[0]] = (
                    z,
                    Status.ARRIVED,
                    place[1],
                )
                self.loss[place] = self._measure([place])[0]

    def _untested(self, places: Sequence[Place]) -> list[Place]:
        """Return the places that are much better than what a test denied last, and note them as
        tested.
        """
        new = [
            place
            for place in places
            if self.loss[place] < POLISH_AGAIN * self.tested.get(place[0], np.inf)
        ]
        self.tested |= {place[0]: float(self.loss[place]) for place in new}
        return new

    def _into_intervals(self, place: Place) -> tuple[np.ndarray, int, float]:
        """Return a latent moved towards one whose every number lies in its interval, Jacobians
        used, residual.
        """
        image = place[0]
        found = self.observation.rounding_polish(
            image,
            self.rounding[image],
            int(self.label[place]),
            self.z[place],
            self.config.interval_steps,
            self.prior,
        )
        self.evaluations[place] += evaluations(self.gen, LM, found[1])
        return found

    def _try_truncation(self, places: Sequence[Place]) -> None:
        """Search on under the other rounding rule, and keep that where it reaches the floor."""
        before = {
            place: (self.z[place].copy(), self.loss[place], self.status[place]) for place in places
        }
        for place in places:
            self.rounding[place[0]] = "truncate"
            self.loss[place] = np.inf
        self._search(places, polish_method(self.size), most=max(8, self.config.polish_steps))
        for place, (z, loss, status) in before.items():
            image = place[0]
            # the other restarts, too, are judged by this rule from now on
            if self.status[place] == Status.ARRIVED:
                run = [
                    (image, int(r))
                    for r in np.flatnonzero(np.isfinite(self.loss[image]))
                    if r != place[1]
                ]
                for other, value in zip(run, self._measure(run), strict=True):
                    self.loss[other] = value if np.isfinite(value) else np.inf
            else:
                self.rounding[image] = "round"
                self.z[place], self.loss[place], self.status[place] = z, loss, status


def rounds(restarts: int) -> list[range]:
    """Return the restarts of each round: 1, 2, 4, 8, ...

    >>> rounds(8)
    [range(0, 1), range(1, 3), range(3, 7), range(7, 8)]
    """
    edges = [0, 1]
    while edges[-1] < restarts:
        edges.append(min(2 * edges[-1] + 1, restarts))
    return [range(a, b) for a, b in pairwise(edges)]
