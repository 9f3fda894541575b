"""What a sweep will cost, said before it starts.

An upper estimate, for searches may stop long before the end.
"""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import Generator
from jattr.inversion.evaluate import forward_cost
from jattr.inversion.settings import MultiStart
from jattr.inversion.warm_start import Pooling
from jattr.sweep.cells import Plan

SHARE_OF_PEAK = 0.2  # that searches of small images reach, with what the host does between steps
COMPILATION = 10.0  # seconds for the programs of a candidate and method
IDLE_BYTES = 500 << 20  # of a process with JAX and its programs
MATRIX_SIDE = 1536  # of the matrices that are multiplied to measure the machine


@dataclass(frozen=True)
class Estimate:
    """Upper estimates of a sweep's cost."""

    cells: int
    searches: int  # images times restarts
    evaluations: float  # forward passes, forward and backward counted as 2
    seconds: float
    memory_bytes: int
    flops_per_second: float  # of the machine, measured on a matrix product


def estimate(plan: Plan) -> Estimate:
    """Return what a plan costs at most, about."""
    rate = matmul_rate()
    searches, total, operations = 0, 0.0, 0.0
    programs: set[tuple[str, object]] = set()
    largest = 0
    costs: dict[tuple[str, str], tuple[int, float, float]] = {}
    for cell in plan.cells:
        name = cell.candidate, cell.setting.name
        if name not in costs:
            gen = cell.search.view(plan.candidates[cell.candidate])
            costs[name] = _of_image(gen, cell.search)
            programs.add((gen.digest, cell.search.solver))
            largest = max(largest, _memory(gen, cell.batch.count))
        restarts, evaluations, flops = costs[name]
        searches += restarts * cell.batch.count
        total += evaluations * cell.batch.count
        operations += flops * cell.batch.count
    seconds = operations / (SHARE_OF_PEAK * rate) + COMPILATION * len(programs)
    return Estimate(len(plan.cells), searches, total, seconds, IDLE_BYTES + largest, rate)


def _of_image(gen: Generator, search: MultiStart) -> tuple[int, float, float]:
    """Return most restarts of an image, their evaluations and floating-point operations."""
    size, cost = int(np.prod(gen.latent_shape)), forward_cost(gen)
    restarts = search.restarts_for(size, cost)
    method = search.solver_for(size, cost)
    evaluations = restarts * (search.steps or method.steps) * method.evaluations(size)
    return restarts, evaluations, evaluations * cost


def _memory(gen: Generator, pictures: int) -> int:
    numbers = int(np.prod(gen.image_shape))
    pooling = Pooling()
    pool = pooling.size_for(pictures) * min(numbers, pooling.max_features) * 4
    jacobians = 8 * int(np.prod(gen.latent_shape)) * numbers * 4 * 4
    return min(pool, pooling.max_bytes) + jacobians + pictures * numbers * 64


def matmul_rate() -> float:
    """Return the floating-point operations a second of a float32 matrix product on this
    machine's devices.
    """
    a = jnp.ones((MATRIX_SIDE, MATRIX_SIDE), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return len(jax.devices()) * 2 * MATRIX_SIDE**3 / min(seconds)
