"""The host's side of the loop: any number of searches through one compiled program of a fixed
number of lanes.

A lane that has finished is refilled at once from the queue, so that the program stays full and is
compiled once.
"""

import functools
import logging
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.config import CHEAP_JACOBIAN, InvertConfig
from jattr.inversion.evaluate import forward_cost
from jattr.inversion.linearization import make_single_engine
from jattr.inversion.problem import ComparedBy, Target, arrival_floor, make_problem_fn
from jattr.solvers import method_named
from jattr.solvers.base import Method, Prior
from jattr.solvers.solve import Engine, make_engine

AXIS = "lanes"
_EVERYWHERE: weakref.WeakKeyDictionary[Generator, Any] = weakref.WeakKeyDictionary()


def device_count() -> int:
    """Return the number of devices that lanes are spread over."""
    return len(jax.local_devices())


def is_spread(lanes: int) -> bool:
    """Return whether so many lanes are spread over several devices."""
    return device_count() > 1 and lanes % device_count() == 0


def spread(lanes: int, tree: Any) -> Any:
    """Return arrays with a leading lane axis, each device holding its part of the lanes."""
    return jax.device_put(tree, _sharding(PartitionSpec(AXIS))) if is_spread(lanes) else tree


def weights_for(lanes: int, gen: Generator) -> Any:
    """Return the weights of a generator where programs of so many lanes want them: copied to
    every device once.
    """
    if not is_spread(lanes):
        return gen.state
    if gen not in _EVERYWHERE:
        _EVERYWHERE[gen] = jax.device_put(gen.state, _sharding(PartitionSpec()))
    return _EVERYWHERE[gen]


def on_one(tree: Any) -> Any:
    """Return arrays on the first device alone."""
    return jax.device_put(tree, jax.local_devices()[0]) if device_count() > 1 else tree


@functools.cache
def _sharding(axes: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), axes)


MAX_CPU_TANGENTS = 400  # of the dense Jacobian in one program: more no longer speeds a CPU up
FEW_JOBS = 2  # up to so many run one after another in the program of one lane
# lanes that fit on a device, learnt from running out of memory
_LIMITS: dict[tuple[ApplyFn, str], int] = {}


def compile_program(
    gen: Generator,
    targets: Callable[[Sequence[int]], Target],
    jobs: int,
    config: InvertConfig,
    *,
    method: str,
    steps: int,
    prior: Prior,
) -> None:
    """Compile the program in which so many jobs will run; arguments as of `run_jobs`."""
    engine, lanes = program_for(gen, jobs, config, method, steps)
    carry = spread(
        lanes, engine.begin(np.zeros((lanes, int(np.prod(gen.latent_shape))), np.float32))
    )
    label = np.zeros(lanes, np.int32) if gen.num_classes else None
    target = targets([0] * lanes)
    target = spread(lanes, target) if is_spread(lanes) else jax.device_put(target)
    engine.compile(weights_for(lanes, gen), prior, target, label, carry)


def program_for(
    gen: Generator, jobs: int, config: InvertConfig, method: str, steps: int
) -> tuple[Engine, int]:
    """Return the program for so many jobs, and its number of lanes."""
    limit = _LIMITS.get((gen.apply, method), config.lanes or default_lanes(gen, method))
    lanes = min(config.lanes or limit, limit, _lanes_for(jobs, limit))
    if config.lanes is None and device_count() > 1 and jobs > FEW_JOBS:
        lanes = device_count() * min(limit, _lanes_for(-(-jobs // device_count()), limit))
    if lanes == 1 and _singly(gen, method):
        return make_single_engine(
            gen.apply, gen.latent_shape, method_named(method), steps, config.precision
        ), lanes
    problem_fn = make_problem_fn(gen.apply, gen.latent_shape)
    return make_engine(problem_fn, method_named(method), steps, config.precision), lanes


def _lanes_for(jobs: int, limit: int) -> int:
    """Return the lanes of a program for so many jobs: on CPU few different ones, each size is
    compiled on its own.
    """
    if jax.default_backend() == "cpu":
        return limit if jobs > FEW_JOBS else 1
    return 1 << max(0, jobs - 1).bit_length()


def _singly(gen: Generator, method: str) -> bool:
    """Return whether searches run one at a time: on CPU, where their Jacobians are dear."""
    if (
        not method_named(method).dense
        or jax.default_backend() != "cpu"
        or isinstance(gen.apply, ComparedBy)
    ):
        return False
    return int(np.prod(gen.latent_shape)) * forward_cost(gen) > CHEAP_JACOBIAN


def default_lanes(gen: Generator, method: str) -> int:
    """Return how many searches a device takes at once: on CPU what fills its caches, elsewhere
    what fills it.
    """
    size = int(np.prod(gen.latent_shape))
    dense = method_named(method).dense
    if jax.default_backend() == "cpu":
        if not dense:
            return 8
        return 1 if _singly(gen, method) else max(1, min(8, MAX_CPU_TANGENTS // size))
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 8 << 30)
    pixels = int(np.prod(gen.image_shape))
    # 64: activations a pixel, an upper guess; halved when it fails
    lane = 4 * pixels * 64 * (size if dense else 3)
    return int(max(1, min(1024, limit // 4 // lane)))


def halve_lanes(gen: Generator, method: str, lanes: int) -> int | None:
    """Remember, and return, half as many lanes, for so many did not fit into memory; None: there
    can be no fewer.
    """
    parts = device_count() if is_spread(lanes) else 1
    if lanes <= parts:
        return None
    _LIMITS[gen.apply, method] = lanes // parts // 2
    return parts * _LIMITS[gen.apply, method]


# a loss above this is far from any solution: in another basin, or of an image that this model did
# not make
FAR = 1e-2
FAR_STALL = 0.1  # fraction by which a segment must lower such a loss
_SINGLE: weakref.WeakSet[Any] = weakref.WeakSet()  # programs that have been compiled for one lane
log = logging.getLogger("jattr")


class Status(IntEnum):
    """How a restart ended."""

    ARRIVED = 0  # at the rounding floor
    STALLED = 1  # no longer gets better, above the floor
    SPENT = 2  # all its steps
    FAILED = 3  # diverged: not a finite loss
    SKIPPED = 4  # never ran: another restart had arrived, or another candidate was far ahead


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


class _Chunk(NamedTuple):
    """The lanes in flight."""

    jobs: list[int]  # the job of each lane; -1: idle
    carry: Any
    target: Target
    label: np.ndarray | None


def run_jobs(
    gen: Generator,
    targets: Callable[[Sequence[int]], Target],
    jobs: Sequence[Job],
    config: InvertConfig,
    *,
    method: str,
    steps: int,
    floors: np.ndarray,
    prior: Prior,
) -> list[Ending]:
    """Run every job to its end and return the endings, in order.

    Args:
      gen: the candidate.
      targets: from image numbers to their stacked targets.
      jobs: what to search.
      config: lanes, precision, early stopping.
      method: a key of METHODS.
      steps: most steps of a job.
      floors: [images], the mean squared residual at or below which a job has arrived.
      prior: of the candidate's latents.
    """
    engine, lanes = program_for(gen, len(jobs), config, method, steps)
    endings: dict[int, Ending] = {}
    while len(endings) < len(jobs):
        if lanes == 1:
            _SINGLE.add(engine.advance)
        try:
            _drain(engine, gen, targets, jobs, config, method, steps, floors, prior, lanes, endings)
        except jax.errors.JaxRuntimeError as error:
            fewer = halve_lanes(gen, method, lanes) if "RESOURCE_EXHAUSTED" in str(error) else None
            if fewer is None:
                raise
            lanes = fewer
            log.warning("out of memory with generator %r: going on with %d lanes", gen.name, lanes)
    return [endings[number] for number in range(len(jobs))]


def _drain(
    engine: Engine,
    gen: Generator,
    targets: Callable[[Sequence[int]], Target],
    jobs: Sequence[Job],
    config: InvertConfig,
    method: str,
    steps: int,
    floors: np.ndarray,
    prior: Prior,
    lanes: int,
    endings: dict[int, Ending],
) -> None:
    queue = [number for number in range(len(jobs)) if number not in endings]
    taken: dict[int, int] = dict.fromkeys(queue, 0)  # steps so far
    before: dict[int, float] = dict.fromkeys(queue, np.inf)  # loss a segment ago
    traces: dict[int, list[tuple[int, float]]] = {number: [] for number in queue}
    chunk = _fill(engine, gen, targets, jobs, [-1] * lanes, None, queue)
    while any(number >= 0 for number in chunk.jobs):
        carry = engine.advance(
            weights_for(len(chunk.jobs), gen),
            prior,
            chunk.target,
            chunk.label,
            spread(len(chunk.jobs), chunk.carry),
        )
        losses, lasts = np.asarray(carry.loss), np.asarray(carry.last)
        finished = []
        for lane, number in enumerate(chunk.jobs):
            if number < 0:
                continue
            taken[number] += engine.segment
            loss = float(losses[lane])
            floor = floors[jobs[number].image]
            stall = _stall(config, method_named(method), taken[number], loss)
            most = min(steps, jobs[number].steps)
            status = _status(
                loss, float(lasts[lane]), before[number], taken[number], most, floor, stall
            )
            before[number] = loss
            traces[number].append((taken[number], loss))
            if status is not None:
                z = np.asarray(carry.best[lane])
                endings[number] = Ending(
                    z, loss, taken[number], status, tuple(traces[number]), float(lasts[lane])
                )
                finished.append(lane)
        chunk = chunk._replace(carry=carry)
        if finished:
            kept = [-1 if lane in finished else number for lane, number in enumerate(chunk.jobs)]
            chunk = _fill(engine, gen, targets, jobs, kept, carry, queue)


def _fill(
    engine: Engine,
    gen: Generator,
    targets: Callable[[Sequence[int]], Target],
    jobs: Sequence[Job],
    kept: list[int],
    carry: Any,
    queue: list[int],
) -> _Chunk:
    """Return the chunk with its idle lanes filled from the queue; lanes that stay idle repeat a
    busy one.
    """
    fresh = [lane for lane, number in enumerate(kept) if number < 0]
    numbers = [queue.pop(0) if number < 0 and queue else number for number in kept]
    busy = [number for number in numbers if number >= 0]
    if not busy:
        return _Chunk(numbers, carry, targets([0] * len(numbers)), None)
    alone = len(busy) == 1 and len(numbers) > 1 and carry is not None and not queue
    if alone and engine.advance in _SINGLE:  # the last one goes on alone
        lane = numbers.index(busy[0])
        if lane not in fresh:
            carry = on_one(_alone(carry, lane))
            numbers, fresh = busy, []
    shown = [number if number >= 0 else busy[0] for number in numbers]
    starts = engine.begin(np.stack([jobs[number].z for number in shown]).astype(np.float32))
    if carry is None:
        carry = starts
    elif fresh:
        carry = _refilled(np.isin(np.arange(len(numbers)), fresh), starts, carry)
    label = (
        np.array([max(jobs[number].label, 0) for number in shown], np.int32)
        if gen.num_classes
        else None
    )
    target = targets([jobs[number].image for number in shown])
    target = spread(len(numbers), target) if is_spread(len(numbers)) else jax.device_put(target)
    return _Chunk(numbers, carry, target, label)


def forget_single_lanes() -> None:
    """Forget which programs of one lane there are: then results do not depend on what was
    searched before.
    """
    _SINGLE.clear()


@jax.jit
def _alone(carry: Any, lane: jax.Array) -> Any:
    """Return the carry of one lane of many."""
    return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, lane, 1), carry)


@jax.jit
def _refilled(fresh: jax.Array, starts: Any, carry: Any) -> Any:
    """Return the carry with the fresh lanes [lanes] begun anew."""
    return jax.tree.map(
        lambda a, b: jnp.where(fresh.reshape(-1, *[1] * (a.ndim - 1)), a, b), starts, carry
    )


def _stall(config: InvertConfig, method: Method, taken: int, loss: float) -> float | None:
    """Return the fraction by which a segment must lower the loss, or None where a lane may not
    stall yet.
    """
    if not config.early_stop or taken <= method.patience:
        return None
    if config.stall is not None:
        return config.stall
    return max(method.stall, FAR_STALL) if loss > FAR else method.stall


def _status(
    loss: float,
    last: float,
    before: float,
    taken: int,
    steps: int,
    floor: float,
    stall: float | None,
) -> Status | None:
    """Return how a lane has ended, or None while it goes on; it may stall only where `stall` is
    given.
    """
    if not np.isfinite(loss) or (np.isnan(last) and loss >= before):
        return Status.FAILED
    if loss <= floor:
        return Status.ARRIVED
    if taken >= steps:
        return Status.SPENT
    if stall is not None and loss > (1 - stall) * before:
        return Status.STALLED
    return None


def floors_of(pixels: np.ndarray) -> np.ndarray:
    """Return the residual [n] at which a search has arrived for images uint8 [n, H, W, C]."""
    return np.asarray(arrival_floor((pixels == 0) | (pixels == 255)))


def evaluations(gen: Generator, method: str, steps: int) -> float:
    """Return the cost of steps, in forward passes (forward 1, forward and backward 2)."""
    return steps * method_named(method).evaluations(int(np.prod(gen.latent_shape)))
