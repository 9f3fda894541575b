"""The host's side of the loop: any number of searches through one program of few lanes.

What is searched is an `Execution`; a `Scheduler` decides how: the number of lanes, their devices
and the program. A lane that has finished is refilled at once from the queue, so that the program
stays full and is compiled once.
"""

import functools
import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.evaluate import forward_cost
from jattr.inversion.linearization import make_single_engine
from jattr.inversion.problem import ComparedBy, Target, make_problem_fn
from jattr.inversion.settings import MultiStart, Stopping
from jattr.solvers.base import Array, Prior, PyTree, Solver, Status
from jattr.solvers.solve import AdvanceFn, Carry, Engine, make_engine

TargetsFn: TypeAlias = Callable[[Sequence[int]], Target]  # from image numbers to stacked targets

log = logging.getLogger("jattr")


@dataclass(frozen=True)
class Job:
    """One search: which image, from where."""

    image: int
    z: np.ndarray  # [d]
    label: int = -1
    steps: int = 1_000_000  # most, if fewer than the method's


class Ending(NamedTuple):
    """How one search ended."""

    z: np.ndarray  # [d], the best latent
    loss: float  # mean squared residual there; inf if nothing was finite
    steps: int
    status: Status
    trace: tuple[tuple[int, float], ...]  # (steps, lowest loss so far) after each segment
    last: float  # the loss measured last; not finite: it diverged


@dataclass(frozen=True, eq=False)
class Execution:
    """Searches of one candidate that run through the same program."""

    gen: Generator
    targets: TargetsFn
    floors: np.ndarray  # [images], the mean squared residual at or below which a job has arrived
    prior: Prior  # of the candidate's latents
    method: Solver
    steps: int  # most steps of a job
    settings: MultiStart  # lanes, precision, early stopping

    @property
    def latent_size(self) -> int:
        """How many numbers a latent has."""
        return int(np.prod(self.gen.latent_shape))

    @property
    def singly(self) -> bool:
        """Whether searches run one at a time: on CPU, where their Jacobians are dear."""
        return _singly(self.gen, self.method, self.settings)

    def engine(self, lanes: int) -> Engine:
        """Return the programs for so many lanes."""
        gen, method, sharpest = self.gen, self.method, self.settings.observing.sharpest
        if lanes == 1 and self.singly:
            return make_single_engine(
                gen.apply, gen.latent_shape, method, self.steps, self.settings.precision, sharpest
            )
        problem_fn = make_problem_fn(gen.apply, gen.latent_shape, sharpest)
        return make_engine(problem_fn, method, self.steps, self.settings.precision)


class Scheduler:
    """Runs executions; one serves all candidates of one call of `attribute` or `invert`.

    It remembers which programs ran with a single lane in this call, and how many lanes fitted into
    memory. Both are kept here and not in the process, so that results do not depend on what was
    searched before.
    """

    def __init__(self) -> None:
        """Prepare; nothing has run yet."""
        self._single: set[AdvanceFn] = set()
        self._limits: dict[tuple[ApplyFn, Solver], int] = {}

    def compile(self, execution: Execution, num_jobs: int) -> None:
        """Compile the program in which so many jobs will run."""
        gen, lanes = execution.gen, self.lanes_for(execution, num_jobs)
        engine = execution.engine(lanes)
        start = np.zeros((lanes, execution.latent_size), np.float32)
        carry = spread(lanes, engine.begin(start))
        label = np.zeros(lanes, np.int32) if gen.num_classes else None
        target = _put(lanes, execution.targets([0] * lanes))
        engine.compile(weights_for(lanes, gen), execution.prior, target, label, carry)

    def run(self, execution: Execution, jobs: Sequence[Job]) -> list[Ending]:
        """Run every job to its end and return the endings, in order."""
        lanes = self.lanes_for(execution, len(jobs))
        engine = execution.engine(lanes)
        endings: dict[int, Ending] = {}
        while len(endings) < len(jobs):
            if lanes == 1:
                self._single.add(engine.advance)
            try:
                narrows = engine.advance in self._single
                _Pass(execution, engine, jobs, lanes, endings, narrows=narrows).run()
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                fewer = self._halve(execution, lanes)
                if fewer is None:
                    raise
                lanes = fewer
                name = execution.gen.name
                log.warning("out of memory with generator %r: going on with %d lanes", name, lanes)
        return [endings[number] for number in range(len(jobs))]

    def lanes_for(self, execution: Execution, num_jobs: int) -> int:
        """Return the number of lanes of the program for so many jobs."""
        gen, method, asked = execution.gen, execution.method, execution.settings.lanes.count
        default = asked or default_lanes(gen, method, execution.settings)
        limit, few = (
            self._limits.get((gen.apply, method), default),
            execution.settings.lanes.few_jobs,
        )
        if asked is None and device_count() > 1 and num_jobs > few:
            each = -(-num_jobs // device_count())
            return device_count() * min(limit, lanes_of_a_device(each, limit, few))
        return min(asked or limit, limit, lanes_of_a_device(num_jobs, limit, few))

    def _halve(self, execution: Execution, lanes: int) -> int | None:
        """Remember, and return, half as many lanes; None: there can be no fewer."""
        parts = device_count() if is_spread(lanes) else 1
        if lanes <= parts:
            return None
        each = lanes // parts // 2
        self._limits[execution.gen.apply, execution.method] = each
        return parts * each


def lanes_of_a_device(num_jobs: int, limit: int, few_jobs: int) -> int:
    """Return the lanes of one device for so many jobs.

    On CPU there are few different numbers of them, for each size is compiled on its own.
    """
    if jax.default_backend() == "cpu":
        return limit if num_jobs > few_jobs else 1
    return 1 << max(0, num_jobs - 1).bit_length()


def default_lanes(gen: Generator, method: Solver, settings: MultiStart) -> int:
    """Return how many searches a device takes at once: what fills it, or on CPU its caches."""
    size, lanes = int(np.prod(gen.latent_shape)), settings.lanes
    dense = method.dense
    if jax.default_backend() == "cpu":
        if not dense:
            return lanes.on_cpu
        if _singly(gen, method, settings):
            return 1
        return max(1, min(lanes.on_cpu, lanes.max_cpu_tangents // size))
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 8 << 30)
    pixels = int(np.prod(gen.image_shape))
    # bytes of a lane, an upper guess; a quarter of the memory is filled
    lane = 4 * pixels * lanes.activations * (size if dense else 3)
    return int(max(1, min(lanes.on_device, limit // 4 // lane)))


def _singly(gen: Generator, method: Solver, settings: MultiStart) -> bool:
    if not method.dense or jax.default_backend() != "cpu" or isinstance(gen.apply, ComparedBy):
        return False
    return int(np.prod(gen.latent_shape)) * forward_cost(gen) > settings.automatic.cheap_jacobian


class _Pass:
    """Jobs on their way through the lanes of one program."""

    def __init__(
        self,
        execution: Execution,
        engine: Engine,
        jobs: Sequence[Job],
        lanes: int,
        endings: dict[int, Ending],
        *,
        narrows: bool,
    ):
        """Fill the lanes.

        Args:
          execution: what is searched.
          engine: its programs.
          jobs: all searches.
          lanes: how many run at once.
          endings: by job, of those that have ended; the others' are added.
          narrows: whether the last job may go on alone, in the program of one lane.
        """
        self.execution, self.engine, self.jobs, self.endings = execution, engine, jobs, endings
        self.narrows = narrows
        self.queue = [number for number in range(len(jobs)) if number not in endings]
        self.taken = dict.fromkeys(self.queue, 0)  # steps so far
        self.before = dict.fromkeys(self.queue, np.inf)  # loss a segment ago
        self.traces: dict[int, list[tuple[int, float]]] = {number: [] for number in self.queue}
        self.lanes = [-1] * lanes  # the job of each lane; -1: idle
        self.carry: Carry | None = None
        self.target: Target | None = None
        self.label: np.ndarray | None = None
        self._fill()

    def run(self) -> None:
        """Advance all lanes, a segment at a time, until every job has ended."""
        while any(number >= 0 for number in self.lanes):
            lanes = len(self.lanes)
            carry = self.engine.advance(
                weights_for(lanes, self.execution.gen),
                self.execution.prior,
                self.target,
                self.label,
                spread(lanes, self.carry),
            )
            self.carry = carry
            losses, lasts = np.asarray(carry.loss), np.asarray(carry.last)
            finished = False
            for lane, number in enumerate(self.lanes):
                if number < 0:
                    continue
                if self._ended(number, carry, lane, float(losses[lane]), float(lasts[lane])):
                    self.lanes[lane], finished = -1, True
            if finished:
                self._fill()

    def _ended(self, number: int, carry: Carry, lane: int, loss: float, last: float) -> bool:
        """Note a segment of a job; return whether it was its last."""
        execution, job = self.execution, self.jobs[number]
        self.taken[number] += self.engine.segment
        taken = self.taken[number]
        stall = stall_fraction(execution.settings.stopping, execution.method, taken, loss)
        status = _status(
            loss,
            last,
            self.before[number],
            taken,
            min(execution.steps, job.steps),
            execution.floors[job.image],
            stall,
        )
        self.before[number] = loss
        self.traces[number].append((taken, loss))
        if status is None:
            return False
        trace = tuple(self.traces[number])
        z = np.asarray(carry.best[lane])
        self.endings[number] = Ending(z, loss, taken, status, trace, last)
        return True

    def _fill(self) -> None:
        """Fill idle lanes from the queue; those that stay idle repeat a busy one."""
        execution, idle = self.execution, [lane for lane, n in enumerate(self.lanes) if n < 0]
        for lane in idle:
            if self.queue:
                self.lanes[lane] = self.queue.pop(0)
        busy = [number for number in self.lanes if number >= 0]
        if not busy:
            return
        lane = self.lanes.index(busy[0])
        alone = len(busy) == 1 and len(self.lanes) > 1 and not self.queue
        if alone and self.narrows and self.carry is not None and lane not in idle:
            # the last job goes on in the program of one lane
            self.carry = on_one(_one_lane(self.carry, lane))
            self.lanes, idle = busy, []
        filled = [self.jobs[number if number >= 0 else busy[0]] for number in self.lanes]
        starts = self.engine.begin(np.stack([job.z for job in filled]).astype(np.float32))
        if self.carry is None:
            self.carry = starts
        elif idle:
            self.carry = _refilled(np.isin(np.arange(len(filled)), idle), starts, self.carry)
        self.label = None
        if execution.gen.num_classes:
            self.label = np.array([max(job.label, 0) for job in filled], np.int32)
        self.target = _put(len(filled), execution.targets([job.image for job in filled]))


def _put(lanes: int, target: Target) -> Target:
    """Return targets [lanes, ...] on the devices of their lanes."""
    return spread(lanes, target) if is_spread(lanes) else jax.device_put(target)


@jax.jit
def _one_lane(carry: Carry, lane: Array | int) -> Carry:
    """Return the carry of one lane of many."""
    return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, lane, 1), carry)


@jax.jit
def _refilled(fresh: Array, starts: Carry, carry: Carry) -> Carry:
    """Return the carry with the fresh lanes [lanes] begun anew."""
    return jax.tree.map(
        lambda a, b: jnp.where(fresh.reshape(-1, *[1] * (a.ndim - 1)), a, b), starts, carry
    )


def stall_fraction(stopping: Stopping, method: Solver, taken: int, loss: float) -> float | None:
    """Return by which fraction a segment must lower the loss; None: a lane may not stall yet."""
    if not stopping.early or taken <= method.patience:
        return None
    if stopping.stall is not None:
        return stopping.stall
    return max(method.stall, stopping.far_stall) if loss > stopping.far else method.stall


def _status(
    loss: float,
    last: float,
    before: float,
    taken: int,
    steps: int,
    floor: float,
    stall: float | None,
) -> Status | None:
    """Return how a lane has ended, or None while it goes on; without `stall` it may not stall."""
    if not np.isfinite(loss) or (np.isnan(last) and loss >= before):
        return Status.FAILED
    if loss <= floor:
        return Status.ARRIVED
    if taken >= steps:
        return Status.SPENT
    if stall is not None and loss > (1 - stall) * before:
        return Status.STALLED
    return None


def evaluations(gen: Generator, method: Solver, steps: int) -> float:
    """Return the cost of steps, in forward passes (forward 1, forward and backward 2)."""
    return steps * method.evaluations(int(np.prod(gen.latent_shape)))


AXIS = "lanes"
_EVERYWHERE: weakref.WeakKeyDictionary[Generator, PyTree] = weakref.WeakKeyDictionary()


def device_count() -> int:
    """Return the number of devices that lanes are spread over."""
    return len(jax.local_devices())


def is_spread(lanes: int) -> bool:
    """Return whether so many lanes are spread over several devices."""
    return device_count() > 1 and lanes % device_count() == 0


def spread(lanes: int, tree: PyTree) -> PyTree:
    """Return arrays with a leading lane axis, each device holding its part of the lanes."""
    return jax.device_put(tree, _sharding(PartitionSpec(AXIS))) if is_spread(lanes) else tree


def weights_for(lanes: int, gen: Generator) -> PyTree:
    """Return the weights of a generator where programs of so many lanes want them.

    They are copied to every device once.
    """
    if not is_spread(lanes):
        return gen.state
    if gen not in _EVERYWHERE:
        _EVERYWHERE[gen] = jax.device_put(gen.state, _sharding(PartitionSpec()))
    return _EVERYWHERE[gen]


def on_one(tree: PyTree) -> PyTree:
    """Return arrays on the first device alone."""
    return jax.device_put(tree, jax.local_devices()[0]) if device_count() > 1 else tree


@functools.cache
def _sharding(axes: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), axes)
