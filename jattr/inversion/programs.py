"""Which compiled program searches run in: how many lanes it has, and whether its Jacobian is a program of its own."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.config import CHEAP_JACOBIAN, InvertConfig
from jattr.inversion.devices import device_count, is_spread, spread, weights_for
from jattr.inversion.linear import make_single_engine
from jattr.inversion.measure import forward_cost
from jattr.inversion.optimisers import METHODS
from jattr.inversion.problem import ComparedBy, Prior, Target
from jattr.inversion.search import Engine, make_engine

MAX_CPU_TANGENTS = 400  # of the dense Jacobian in one program: more no longer speeds a CPU up
FEW_JOBS = 2  # up to so many run one after another in the program of one lane
_LIMITS: dict[tuple[ApplyFn, str], int] = {}  # lanes that fit on a device, learnt from running out of memory


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
    carry = spread(lanes, engine.begin(np.zeros((lanes, int(np.prod(gen.latent_shape))), np.float32)))
    label = np.zeros(lanes, np.int32) if gen.num_classes else None
    target = targets([0] * lanes)
    target = spread(lanes, target) if is_spread(lanes) else jax.device_put(target)
    engine.compile(weights_for(lanes, gen), prior, target, label, carry)


def program_for(gen: Generator, jobs: int, config: InvertConfig, method: str, steps: int) -> tuple[Engine, int]:
    """Return the program for so many jobs, and its number of lanes."""
    limit = _LIMITS.get((gen.apply, method), config.lanes or default_lanes(gen, method))
    lanes = min(config.lanes or limit, limit, _lanes_for(jobs, limit))
    if config.lanes is None and device_count() > 1 and jobs > FEW_JOBS:
        lanes = device_count() * min(limit, _lanes_for(-(-jobs // device_count()), limit))
    make = make_single_engine if lanes == 1 and _singly(gen, method) else make_engine
    return make(gen.apply, gen.latent_shape, method, steps, config.precision), lanes


def _lanes_for(jobs: int, limit: int) -> int:
    """Return the lanes of a program for so many jobs: on CPU few different ones, each size is compiled on its own."""
    if jax.default_backend() == "cpu":
        return limit if jobs > FEW_JOBS else 1
    return 1 << max(0, jobs - 1).bit_length()


def _singly(gen: Generator, method: str) -> bool:
    """Return whether searches run one at a time: on CPU, where their Jacobians are dear."""
    if not METHODS[method].dense or jax.default_backend() != "cpu" or isinstance(gen.apply, ComparedBy):
        return False
    return int(np.prod(gen.latent_shape)) * forward_cost(gen) > CHEAP_JACOBIAN


def default_lanes(gen: Generator, method: str) -> int:
    """Return how many searches a device takes at once: on CPU what fills its caches, elsewhere what fills it."""
    size = int(np.prod(gen.latent_shape))
    dense = METHODS[method].dense
    if jax.default_backend() == "cpu":
        if not dense:
            return 8
        return 1 if _singly(gen, method) else max(1, min(8, MAX_CPU_TANGENTS // size))
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 8 << 30)
    pixels = int(np.prod(gen.image_shape))
    lane = 4 * pixels * 64 * (size if dense else 3)  # 64: activations a pixel, an upper guess; halved when it fails
    return int(max(1, min(1024, limit // 4 // lane)))


def halve_lanes(gen: Generator, method: str, lanes: int) -> int | None:
    """Remember, and return, half as many lanes, for so many did not fit into memory; None: there can be no fewer."""
    parts = device_count() if is_spread(lanes) else 1
    if lanes <= parts:
        return None
    _LIMITS[gen.apply, method] = lanes // parts // 2
    return parts * _LIMITS[gen.apply, method]
