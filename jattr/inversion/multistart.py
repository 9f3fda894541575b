"""The searches of one candidate over a set of images, run round by round by `invert`, `attribute`.

What a restart does, with the default optimiser and a latent small enough for its whole Jacobian:

* the first goes from the guess by Levenberg-Marquardt, or, where a Jacobian is dear, by L-BFGS, a
  step for a thirtieth;
* every second later one is drawn near first by statistical linearisation, and begins in the logit
  domain: for images with saturated pixels, and for networks with many kinks;
* the others begin beside the best latent so far, once that is near: kinks stop a search close to
  the solution, where a small move frees it;
* where a Jacobian is dear, the first few of an image that is not near yet all go by L-BFGS, and all
  of one far away.

With an optimiser named by the user every restart is that one, from its own start. `plan` is this
list as a function.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import Generator
from jattr.inversion.evaluate import forward_cost, mean_squares
from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import Target
from jattr.inversion.scheduler import (
    Ending,
    Execution,
    Job,
    Scheduler,
    Status,
    TargetsFn,
    evaluations,
)
from jattr.inversion.settings import LM, Automatic, MultiStart, Variation
from jattr.inversion.warm_start import (
    PriorSamples,
    as_floats,
    make_ensemble,
    make_pool,
    make_starts,
)
from jattr.solvers.base import Array, Prior, Solver

Index: TypeAlias = tuple[int, int]  # image, restart


class Origin(IntEnum):
    """Where a restart begins."""

    START = 0  # at its own start
    DRAWN = 1  # at its own start, drawn near by statistical linearisation
    BESIDE = 2  # beside the best latent of its image so far


class Plan(NamedTuple):
    """What a restart does."""

    method: Solver
    origin: Origin


@dataclass(frozen=True)
class Strategy:
    """What the plan of restarts depends on beside the image."""

    method: Solver  # of the first restart, and of all where they do not vary
    varied: bool  # whether later restarts differ from the first
    dear: bool  # whether a Jacobian costs much
    stretchable: bool  # whether there is a logit domain
    far: float  # a loss above this is far from any solution
    variation: Variation
    automatic: Automatic  # the solvers of later restarts


def plan(strategy: Strategy, restart: int, lowest: float, best: float) -> Plan:
    """Return what a restart of an image does.

    The first line that holds:

    | restarts vary | restart | Jacobian | lowest loss | best loss | method | origin |
    |---|---|---|---|---|---|---|
    | no | | | | | the first's | START |
    | | 0 | | | | the first's | START |
    | | | dear | > far | | `gradient_solver` | START |
    | | < gradients_first | dear | > almost | | `gradient_solver` | START |
    | | even | | | < far | `jacobian_solver` | BESIDE |
    | | | | | | `logit_solver`, if there is a logit domain | DRAWN |
    | | | | | | `jacobian_solver` | START |

    Args:
      strategy: the candidate's.
      restart: its number.
      lowest: the lowest loss of the image.
      best: the loss of its best latent, which the interval polish may have chosen.
    """
    if not strategy.varied or restart == 0:
        return Plan(strategy.method, Origin.START)
    variation, solver_of = strategy.variation, strategy.automatic.solver
    by_gradients = lowest > variation.almost and restart < variation.gradients_first
    if strategy.dear and (lowest > strategy.far or by_gradients):
        return Plan(solver_of("gradient"), Origin.START)
    if restart % 2 == 0 and best < strategy.far:
        return Plan(solver_of("jacobian"), Origin.BESIDE)
    if strategy.stretchable:
        return Plan(solver_of("logit"), Origin.DRAWN)
    return Plan(solver_of("jacobian"), Origin.START)


def strategy_for(observation: Observation, settings: MultiStart, cost: float) -> Strategy:
    """Return the strategy for a candidate whose forward pass costs so many operations."""
    size = int(np.prod(observation.gen.latent_shape))
    dear = size * cost > settings.automatic.cheap_jacobian
    automatic = settings.solver is None
    gradients = automatic and (dear or not observation.traits.smooth)
    return Strategy(
        method=(
            settings.automatic.solver("gradient") if gradients else settings.solver_for(size, cost)
        ),
        varied=automatic
        and observation.traits.smooth
        and settings.automatic.dense_jacobian(size, cost),
        dear=dear,
        stretchable=observation.traits.has_logits,
        far=settings.stopping.far,
        variation=settings.variation,
        automatic=settings.automatic,
    )


def rounds(restarts: int) -> list[range]:
    """Return the restarts of each round: 1, 2, 4, 8, ...

    >>> rounds(8)
    [range(0, 1), range(1, 3), range(3, 7), range(7, 8)]
    """
    edges = [0, 1]
    while edges[-1] < restarts:
        edges.append(min(2 * edges[-1] + 1, restarts))
    return [range(a, b) for a, b in pairwise(edges)]


class Inversion(NamedTuple):
    """Results of the searches of `invert`, [images, restarts]."""

    z: Array  # [..., *latent_shape] float32, the best latent of each search
    # [...], mean squared residual there, images in [-1, 1] units; inf if nothing was finite or not
    # run
    loss: Array
    label: Array  # [...] int32, the class; -1 if unconditional
    status: Array  # [...] int, a `Status`
    steps: Array  # [...] int
    # [...], in forward passes (forward 1, forward and backward 2)
    evaluations: Array


Trace: TypeAlias = tuple[tuple[float, float], ...]  # (evaluations, lowest loss so far)


class Search(NamedTuple):
    """How one restart of an image went."""

    restart: int
    status: Status
    trace: Trace


class Results:
    """The best latent of every restart, and how it was reached: arrays [images, restarts]."""

    def __init__(self, z: np.ndarray, label: np.ndarray | None):
        """Prepare; nothing is searched yet.

        Args:
          z: [images, restarts, d], where each restart begins.
          label: [images, restarts] int32; None if unconditional.
        """
        shape = self.count, self.restarts = z.shape[:2]
        self.z = np.array(z)  # [images, restarts, d]
        self.loss = np.full(shape, np.inf)
        self.final = np.full(shape, np.inf)  # measured last, by the last search of a restart
        self.label = np.full(shape, -1, np.int32) if label is None else np.array(label)
        self.status = np.full(shape, Status.SKIPPED, np.int32)
        self.steps = np.zeros(shape, np.int32)
        self.evaluations = np.zeros(shape)
        self.traces: dict[Index, list[tuple[float, float]]] = {}
        # image -> the restart whose latent the interval polish moved
        self.exact: dict[int, int] = {}

    def best(self, image: int) -> Index:
        """Return the index of the latent that the interval polish moved, or of the lowest loss."""
        return image, self.exact.get(image, int(np.argmin(self.loss[image])))

    def lowest(self, image: int) -> float:
        """Return the lowest loss of an image; inf before its first search."""
        return float(self.loss[image].min())

    def arrived(self, image: int) -> bool:
        """Return whether some restart reached the rounding floor."""
        return bool((self.status[image] == Status.ARRIVED).any())

    def arrivals(self) -> tuple[np.ndarray, np.ndarray]:
        """Return [images] each: restarts up to the first that arrived, or all; whether one did."""
        arrived = self.status == Status.ARRIVED
        run = (self.status != Status.SKIPPED).sum(1)
        return np.where(arrived.any(1), arrived.argmax(1) + 1, run), arrived.any(1)

    def trace(self, index: Index) -> Trace:
        """Return (evaluations, lowest loss so far) of a restart, as they came."""
        return tuple(self.traces.get(index, ()))

    def extend_trace(self, index: Index, trace: Trace) -> None:
        """Add losses at numbers of evaluations since the restart's search before."""
        points = self.traces.setdefault(index, [])
        lowest = points[-1][1] if points else np.inf
        for spent, loss in trace:
            lowest = min(lowest, loss)
            points.append((float(self.evaluations[index] + spent), lowest))

    def inversion(self, latent_shape: tuple[int, ...]) -> Inversion:
        """Return everything, with latents of this shape."""
        z = self.z.reshape(*self.loss.shape, *latent_shape).astype(np.float32)
        return Inversion(z, self.loss, self.label, self.status, self.steps, self.evaluations)


class Inverter(Protocol):
    """The searches of one candidate: one stage (`OneStageSearch`), or two (`TwoStageSearch`)."""

    observation: Observation  # the images and the candidate
    gen: Generator
    settings: MultiStart
    scheduler: Scheduler
    pool: PriorSamples  # images of the candidate from its prior
    cost: float  # floating-point operations of a forward pass
    size: int  # numbers of a latent
    results: Results
    rounding: list[str]  # the rule of each image's bytes
    fair: np.ndarray  # [images], the lowest loss after the first `FAIR` restarts

    @property
    def first(self) -> "OneStageSearch":
        """The stage that searches from the image: to latents, or to styles."""

    def prepare(self) -> None:
        """Compile the program of the first round."""

    def round(self, images: Sequence[int], restarts: range, settled: Sequence[int] = ()) -> None:
        """Search these images from these restarts; `polish` comes after."""

    def polish(self, images: Sequence[int]) -> None:
        """Do what follows a round for images that it brought near."""

    def finish(self, settled: Container[int] = ()) -> None:
        """Do what follows the last round."""

    def run_pilot_study(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search own images; return [n] each: best residual, `arrivals`."""

    def best_loss(self, image: int) -> float:
        """Return the lowest loss of an image; inf before its first search."""

    def trace(self, index: Index) -> Trace:
        """Return (evaluations, lowest loss so far) of a restart, as they came."""

    def result(self) -> Inversion:
        """Return everything, [images, restarts]."""


class Round(NamedTuple):
    """What a round of restarts of one candidate has brought; for progress and loggers."""

    candidate: str  # its name
    restarts: range  # of this round
    loss: np.ndarray  # [images], the lowest so far; inf before an image's first search
    arrived: np.ndarray  # bool [images], whether some restart has reached the rounding floor
    evaluations: np.ndarray  # [images], spent so far, in forward passes


OnRound: TypeAlias = Callable[[Round], object]


def report_round(inverter: Inverter, restarts: range) -> Round:
    """Return what a round has brought."""
    results, images = inverter.results, range(inverter.results.count)
    return Round(
        inverter.gen.name,
        restarts,
        np.array([inverter.best_loss(i) for i in images]),
        np.array([results.arrived(i) for i in images]),
        np.asarray(inverter.result().evaluations).sum(1),
    )


def run_rounds(inverter: Inverter, on_round: OnRound | None = None) -> None:
    """Search every image, round by round, until it has arrived."""
    results = inverter.results
    for restarts in rounds(results.restarts):
        images = [
            i
            for i in range(results.count)
            if not (inverter.settings.stopping.early and results.arrived(i))
        ]
        inverter.round(images, restarts)
        inverter.polish(images)
        if on_round is not None:
            on_round(report_round(inverter, restarts))


def excess(inverter: Inverter, image: int) -> int:
    """Return how many informative numbers an image has beyond those of a latent."""
    return inverter.observation.num_informative(image) - inverter.size


def searches_of(inverter: Inverter, image: int) -> tuple[Search, ...]:
    """Return how each restart of an image went that was run."""
    status = inverter.results.status[image]
    run = np.flatnonzero(status != Status.SKIPPED).tolist()
    return tuple(Search(r, Status(status[r]), inverter.trace((image, r))) for r in run)


class OneStageSearch:
    """Searches of one candidate over a set of images, straight from image to latent."""

    def __init__(
        self,
        observation: Observation,
        settings: MultiStart,
        key: jax.Array,
        pool: PriorSamples | None = None,
        scheduler: Scheduler | None = None,
    ):
        """Prepare; nothing is searched yet.

        Args:
          observation: the images and the candidate.
          settings: of the searches.
          key: of every random choice.
          pool: images of the candidate from its prior, as `observation` would see them; None: make
            them.
          scheduler: of the call that this is a part of; None: a new one.
        """
        gen, count = observation.gen, len(observation.pixels)
        self.observation, self.gen, self.settings = observation, gen, settings
        self.scheduler = scheduler or Scheduler()
        self.size, self.cost = int(np.prod(gen.latent_shape)), forward_cost(gen)
        self.strategy = strategy_for(observation, settings, self.cost)
        self.polish_method = settings.automatic.polish_solver(self.size)
        restarts = settings.restarts_for(self.size, self.cost)
        keys = jax.random.split(key, 4)
        self.pool = (
            make_pool(observation.warm_start_generator, settings.pooling, keys[0], count)
            if pool is None
            else pool
        )
        self.prior = Prior(self.pool.z.mean(0), np.maximum(self.pool.z.std(0), 1e-6))
        starts = make_starts(
            settings.warm_start,
            observation.warm_start_generator,
            as_floats(observation.pixels),
            restarts,
            keys[1],
            self.pool,
        )
        self.results = Results(starts.z, starts.label)
        # of the prior, [images, restarts, d]: directions in which starts are moved
        samples = np.asarray(gen.sample_latent(keys[2], count * restarts))
        self.samples = samples.reshape(count, restarts, self.size)
        self.cloud_key = keys[3]
        self.rounding = ["truncate" if observation.rounding == "truncate" else "round"] * count
        self.fair = np.full(count, np.inf)
        self.polished: dict[int, float] = {}  # image -> the loss that its last polish reached
        # image -> the loss of the latent that a test denied last
        self.tested: dict[int, float] = {}

    # --- The interface of every inverter -------------------------------------------------------

    @property
    def first(self) -> "OneStageSearch":
        """This search itself."""
        return self

    def prepare(self) -> None:
        """Compile the program of the first round."""
        method = self.strategy.method
        steps = self.settings.steps or method.steps
        execution = self._execution(self._searched(method), method, steps)
        self.scheduler.compile(execution, self.results.count)

    def round(self, images: Sequence[int], restarts: range, settled: Sequence[int] = ()) -> None:
        """Search these images from these restarts, those that this candidate has.

        Images that are `settled` besides, by another candidate's certificate to be, get a few steps
        only.
        """
        results, plans = self.results, dict[Plan, list[Index]]()
        for index in [
            (i, r) for i in (*images, *settled) for r in restarts if r < results.restarts
        ]:
            best = float(results.loss[results.best(index[0])])
            step = plan(self.strategy, index[1], results.lowest(index[0]), best)
            plans.setdefault(step, []).append(index)
            # before anything of this round is searched
            if step.origin == Origin.BESIDE:
                self._move_beside_best(index)
        # gradients first, then what begins at starts of its own
        gradients = self.settings.automatic.solver("gradient")
        for step in sorted(plans, key=lambda step: (step.origin, step.method != gradients)):
            if step.origin == Origin.DRAWN:
                self._draw_near(plans[step])
            self.search(plans[step], step.method, set(settled))

    def polish(self, images: Sequence[int]) -> None:
        """Take Gauss-Newton steps from near latents, and try the other rounding rule there."""
        if self.strategy.method.polish and self.observation.traits.smooth:
            self._polish(images)
        near = [i for i in self.open(images) if self.results.loss[i] < self.observation.traits.near]
        if self.observation.rounding is None:
            self._try_truncation(near)
        if self.observation.traits.needs_test:
            self.confirm(self.untested(near))

    def finish(self, settled: Container[int] = ()) -> None:
        """Move the latents of images that arrived to ones whose every pixel rounds to its byte.

        Images that are `settled` by another candidate get nothing that costs much.
        """
        del settled
        pixels = self.observation.as_pixels()
        if pixels is not self.observation and self.settings.polish.steps:
            self._finish_in_pixels(pixels)
        self.interval([i for i in range(self.results.count) if self.results.arrived(i)])

    def run_pilot_study(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search own images; return [n] each: best residual, `arrivals`."""
        run_rounds(self)
        return self.results.loss.min(1), *self.results.arrivals()

    def best_loss(self, image: int) -> float:
        """Return the lowest loss of an image; inf before its first search."""
        return self.results.lowest(image)

    def trace(self, index: Index) -> Trace:
        """Return (evaluations, lowest loss so far) of a restart, as they came."""
        return self.results.trace(index)

    def result(self) -> Inversion:
        """Return everything, [images, restarts]."""
        return self.results.inversion(self.gen.latent_shape)

    # --- Parts that two stages use as well -----------------------------------------------------

    def search(
        self,
        indices: Sequence[Index],
        method: Solver,
        short: Container[int] = (),
        *,
        most: int | None = None,
    ) -> None:
        """Run a method on restarts from where they are, and keep what is better.

        Args:
          indices: the restarts.
          method: with its schedule.
          short: images that get `stopping.settled_steps` at most.
          most: steps; None: those of the settings, or the method's own number.
        """
        if not indices:
            return
        results, steps = self.results, method.steps
        if most is None:
            steps = self.settings.steps or steps
        jobs = []
        for i, r in indices:
            limit = self.settings.stopping.settled_steps if i in short else steps
            jobs.append(
                Job(i, results.z[i, r], int(results.label[i, r]), min(most or steps, limit))
            )
        observation = self._searched(method)
        endings = self.scheduler.run(self._execution(observation, method, steps), jobs)
        if observation is not self.observation:
            endings = self._as_observed(indices, endings)
        for index, ending in zip(indices, endings, strict=True):
            costs = [evaluations(self.gen, method, steps) for steps, _ in ending.trace]
            losses = [loss for _, loss in ending.trace]
            results.extend_trace(index, tuple(zip(costs, losses, strict=True)))
            results.steps[index] += ending.steps
            results.evaluations[index] += evaluations(self.gen, method, ending.steps)
            results.final[index] = ending.last
            if ending.loss <= results.loss[index]:
                results.z[index], results.loss[index] = ending.z, ending.loss
            if ending.status != Status.FAILED or results.status[index] == Status.SKIPPED:
                # where the floor proves nothing, `confirm` decides on arrival
                unsure = ending.status == Status.ARRIVED and self.observation.traits.needs_test
                results.status[index] = Status.STALLED if unsure else ending.status

    def measure(self, indices: Sequence[Index]) -> np.ndarray:
        """Return the mean squared residual of restarts [n], under their images' rounding rules."""
        if not indices:
            return np.zeros(0)
        z = np.stack([self.results.z[index] for index in indices])
        images = [image for image, _ in indices]
        return mean_squares(self.gen, z, self._labels(indices), self.targets(images))

    def open(self, images: Sequence[int]) -> list[Index]:
        """Return the best restarts of the images that have not arrived."""
        return [self.results.best(i) for i in images if not self.results.arrived(i)]

    def untested(self, indices: Sequence[Index]) -> list[Index]:
        """Return restarts much better than what a test denied last; note them as tested."""
        loss = self.results.loss
        new = [
            i
            for i in indices
            if loss[i] < self.settings.polish.again * self.tested.get(i[0], np.inf)
        ]
        self.tested |= {index[0]: float(loss[index]) for index in new}
        return new

    def confirm(self, indices: Sequence[Index]) -> None:
        """Move near latents into the intervals; those that explain their image have arrived."""
        results = self.results
        for index in indices:
            image, restart = index
            z, _, loss = self._into_intervals(index)
            if not np.isfinite(loss):
                continue
            label = int(results.label[index])
            if self.observation.accepts(image, self.rounding[image], label, z):
                results.z[index], results.status[index] = z, Status.ARRIVED
                results.exact[image] = restart
                results.loss[index] = self.measure([index])[0]

    def interval(self, images: Sequence[int]) -> None:
        """Move the best latents to ones whose every pixel rounds to the byte, if there are any."""
        results = self.results
        polish = self.settings.rounding_polish
        if not polish.jacobians or self.size > polish.max_latent:
            return
        for index in [results.best(i) for i in images if i not in results.exact]:
            z, _, loss = self._into_intervals(index)
            if np.isfinite(loss):
                results.z[index] = z
                results.loss[index] = self.measure([index])[0]
                results.exact[index[0]] = index[1]

    def targets(self, images: Sequence[int]) -> Target:
        """Return the stacked targets of images, each under its rounding rule."""
        return self._targets_fn(self.observation)(images)

    # --- Inside --------------------------------------------------------------------------------

    def _targets_fn(self, observation: Observation) -> TargetsFn:
        return lambda images: observation.targets(images, [self.rounding[i] for i in images])

    def _execution(self, observation: Observation, method: Solver, steps: int) -> Execution:
        """Return the searches of the images in one form by one method."""
        return Execution(
            gen=observation.gen,
            targets=self._targets_fn(observation),
            floors=observation.floors,
            prior=self.prior,
            method=method,
            steps=steps,
            settings=self.settings,
        )

    def _labels(self, indices: Sequence[Index]) -> np.ndarray | None:
        """Return the classes of restarts [n]; None if unconditional."""
        if not self.gen.num_classes:
            return None
        return np.array([max(self.results.label[index], 0) for index in indices])

    def _searched(self, method: Solver) -> Observation:
        """Return the images in the form that a method searches."""
        looks = None
        by_gradients = method == self.settings.automatic.solver("gradient")
        if by_gradients and self.settings.solver is None:
            looks = self.observation.gradient_view
        return self.observation if looks is None else looks

    def _as_observed(self, indices: Sequence[Index], endings: Sequence[Ending]) -> list[Ending]:
        """Return endings of searches in another form with the residual that counts.

        None of them has arrived.
        """
        z = np.stack([ending.z for ending in endings])
        images = [image for image, _ in indices]
        losses = mean_squares(self.gen, z, self._labels(indices), self.targets(images))
        return [
            ending._replace(
                loss=loss if np.isfinite(loss) else np.inf,
                status=Status.STALLED if ending.status == Status.ARRIVED else ending.status,
                trace=((ending.steps, loss),) if np.isfinite(loss) else (),
                last=loss,
            )
            for ending, loss in zip(endings, losses.tolist(), strict=True)
        ]

    def _move_beside_best(self, index: Index) -> None:
        """Move a start beside the best latent of its image so far."""
        best = self.results.best(index[0])
        kicks = self.settings.variation.kicks
        size = kicks[(index[1] // 2) % len(kicks)]
        self.results.z[index] = self.results.z[best] + size * self.samples[index]
        self.results.label[index] = self.results.label[best]

    def _draw_near(self, indices: Sequence[Index]) -> None:
        """Improve starts by statistical linearisation."""
        settings = self.settings
        ensemble = make_ensemble(
            self.gen.apply, self.gen.latent_shape, settings.precision, settings.ensemble
        )
        results = self.results
        for index in indices:
            target = self.observation.target(index[0], self.rounding[index[0]])
            label = jnp.int32(results.label[index]) if self.gen.num_classes else None
            z = jnp.asarray(results.z[index])
            results.z[index] = ensemble(
                self.gen.state, self.prior, target, label, z, self.cloud_key
            )
            results.evaluations[index] += len(settings.ensemble.spreads) * settings.ensemble.size

    def _polish(self, images: Sequence[int]) -> None:
        """Take Gauss-Newton steps from the best latents that gradients have brought near."""
        if not self.settings.polish.steps:
            return
        loss = self.results.loss
        near = max(self.settings.stopping.far, self.observation.traits.near)
        promising = []
        for index in self.open(list(dict.fromkeys(images))):
            again = self.settings.polish.again * self.polished.get(index[0], np.inf)
            if loss[index] < min(near, again):
                promising.append(index)
        self.search(
            promising,
            self.polish_method,
            most=self.settings.polish.steps,
        )
        self.polished |= {index[0]: float(loss[index]) for index in promising}

    def _into_intervals(self, index: Index) -> tuple[np.ndarray, int, float]:
        """Return a latent moved towards one whose every number lies in its interval.

        With it the Jacobians used, and its residual; inf: nothing was reached.
        """
        image, results = index[0], self.results
        z, jacobians, loss = self.observation.rounding_polish(
            image,
            self.rounding[image],
            int(results.label[index]),
            results.z[index],
            self.settings.rounding_polish,
            self.prior,
        )
        results.evaluations[index] += evaluations(self.gen, LM, jacobians)
        return z, jacobians, loss

    def _try_truncation(self, indices: Sequence[Index]) -> None:
        """Search on under the other rounding rule, and keep that where it reaches the floor."""
        results = self.results
        before = {
            index: (results.z[index].copy(), results.loss[index], results.status[index])
            for index in indices
        }
        for index in indices:
            self.rounding[index[0]] = "truncate"
            results.loss[index] = np.inf
        self.search(
            indices,
            self.polish_method,
            most=max(8, self.settings.polish.steps),
        )
        for index, (z, loss, status) in before.items():
            image, restart = index
            if results.status[index] != Status.ARRIVED:
                self.rounding[image] = "round"
                results.z[index], results.loss[index], results.status[index] = z, loss, status
                continue
            # the other restarts, too, are judged by this rule from now on
            run = np.flatnonzero(np.isfinite(results.loss[image])).tolist()
            others = [(image, r) for r in run if r != restart]
            for other, value in zip(others, self.measure(others), strict=True):
                results.loss[other] = value if np.isfinite(value) else np.inf

    def _finish_in_pixels(self, pixels: Observation) -> None:
        """Take Gauss-Newton steps on the pixels; keep latents that reach the floor of rounding."""
        results, targets = self.results, self._targets_fn(pixels)
        indices = [results.best(i) for i in range(results.count)]
        z = np.stack([results.z[index] for index in indices])
        left = mean_squares(pixels.gen, z, self._labels(indices), targets(range(results.count)))
        far = self.settings.stopping.far
        near = [index for index, loss in zip(indices, left, strict=True) if loss < far]
        if not near:
            return
        steps, method = self.settings.polish.steps, self.polish_method
        jobs = [Job(i, results.z[i, r], int(results.label[i, r]), steps) for i, r in near]
        endings = self.scheduler.run(self._execution(pixels, method, steps), jobs)
        for index, ending in zip(near, endings, strict=True):
            results.evaluations[index] += evaluations(self.gen, method, ending.steps)
            if ending.status == Status.ARRIVED:
                results.z[index], results.status[index] = ending.z, Status.ARRIVED
                results.loss[index] = self.measure([index])[0]
