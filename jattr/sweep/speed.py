"""The `speed` suite: gradient steps and searches by generator and lanes, beside matrix products.

Peak memory.
"""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import Generator
from jattr.inversion.evaluate import forward_cost
from jattr.inversion.invert import invert
from jattr.inversion.problem import make_problem_fn, target_of
from jattr.inversion.scheduler import Status
from jattr.inversion.warm_start import forget_pools
from jattr.solvers import METHODS
from jattr.solvers.base import Prior
from jattr.solvers.solve import make_engine
from jattr.sweep.estimate import matmul_rate

SPEED_LANES = (1, 8, 32)
METHOD = "adam-cosine"  # value, gradient and an Adam update
REPEATS = 5
PICTURES = 16
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class StepSpeed:
    """Gradient steps of one generator in programs of so many lanes."""

    generator: str
    lanes: int
    milliseconds: float  # a step of one lane, median
    spread: tuple[float, float]  # the fastest and the slowest repeat
    # of the machine's float32 matrix products; forward and backward as 3 forward passes
    share_of_peak: float


@dataclass(frozen=True)
class SearchSpeed:
    """Own images of one generator, searched to the rounding floor."""

    generator: str
    pictures: int
    arrived: int
    seconds: float  # programs compiled before
    pictures_per_minute: float


def step_speeds(
    generators: Sequence[Generator], lanes: Sequence[int] = SPEED_LANES
) -> list[StepSpeed]:
    """Return how long gradient steps take.

    Generators take turns, so that all meet the machine in one mood.
    """
    rates = []
    tasks = [(gen, count, *_stepper(gen, count)) for gen in generators for count in lanes]
    taken: list[list[float]] = [[] for _ in tasks]
    for _ in range(REPEATS):
        rates.append(matmul_rate())
        for seconds, (_, count, run, steps) in zip(taken, tasks, strict=True):
            start = time.perf_counter()
            run()
            seconds.append((time.perf_counter() - start) / (steps * count))
    result = []
    for seconds, (gen, count, _, _) in zip(taken, tasks, strict=True):
        median = float(np.median(seconds))
        spread = (1e3 * min(seconds), 1e3 * max(seconds))
        result.append(
            StepSpeed(
                gen.name, count, 1e3 * median, spread, 3 * forward_cost(gen) / median / max(rates)
            )
        )
    return result


def search_speeds(generators: Sequence[Generator], count: int = PICTURES) -> list[SearchSpeed]:
    """Return how long the default search takes for own images, the second time it is run."""
    speeds = []
    for gen in generators:
        pixels, _ = _own(gen, count)
        for _ in range(2):
            forget_pools()
            start = time.perf_counter()
            result = invert(gen, pixels, search=None)
            seconds = time.perf_counter() - start
        arrived = int((result.status == Status.ARRIVED).any(1).sum())
        speeds.append(SearchSpeed(gen.name, count, arrived, seconds, 60 * count / seconds))
    return speeds


def peak_memory() -> dict[str, int | None]:
    """Return the most bytes in use at once so far, of this process and of its devices together.

    None where the devices are the host itself, or do not say.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    each = [one.get("peak_bytes_in_use") for one in stats]
    stated = [int(one) for one in each if one is not None]
    return {
        "process_bytes": _peak_of_process(),
        "devices_bytes": sum(stated) if len(stated) == len(each) else None,
    }


def _peak_of_process() -> int:
    if STATUS.exists():  # on Linux `ru_maxrss` is inherited from the process that began this one
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _stepper(gen: Generator, lanes: int) -> tuple[Callable[[], Any], int]:
    """Return a function that carries out a segment of steps, compiled, and its number of steps."""
    engine = make_engine(
        make_problem_fn(gen.apply, gen.latent_shape), METHODS[METHOD], 500, "default"
    )
    pixels, label = _own(gen, lanes)
    targets = jax.device_put(
        jax.tree.map(lambda *parts: np.stack(parts), *[target_of(p) for p in pixels])
    )
    z = np.asarray(gen.sample_latent(jax.random.key(7), lanes)).reshape(lanes, -1)
    prior = Prior(jnp.zeros(z.shape[1]), jnp.ones(z.shape[1]))

    def run() -> None:
        jax.block_until_ready(engine.advance(gen.state, prior, targets, label, engine.begin(z)))

    run()
    return run, engine.segment


def _own(gen: Generator, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    _, label, images = gen.sample_images(jax.random.key(5), count)
    return images, label
