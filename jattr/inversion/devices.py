"""Where lanes live: spread over all local devices in equal parts, the weights on each of them.

One device: nothing is moved. Several: the lane axis is sharded over a mesh (`jax.sharding`), and XLA partitions the
program; lanes never speak to each other, so no device waits for another within a step.
"""

import functools
import weakref
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jattr.generators.base import Generator

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
    """Return the weights of a generator where programs of so many lanes want them: copied to every device once."""
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
