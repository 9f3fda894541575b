"""Deep semi-supervised anomaly detection.

A network that draws normal examples to a point and others away from it.

Ruff, Vandermeulen, Goernitz, Binder, Mueller, Mueller, Kloft, Deep Semi-Supervised Anomaly
Detection, arXiv 1906.02694: mean of |phi(x) - c|^2 over normal examples and of its inverse over
known anomalies; c is the mean output before training. No layer has a bias, so that no constant
output can be learnt. Without anomalies it is Deep SVDD. Ours: the last layer sees means over all
places, so that a few hundred examples are enough.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jattr.baselines.base import in_batches
from jattr.baselines.classifier import space_to_depth
from jattr.baselines.training import LossFn, Schedule, fit_state
from jattr.generators import ops
from jattr.typing import PyTree

DETECTOR_SLOPE = 0.1  # of leaky ReLU
# magnitude of each number of c: near 0 a network without biases could reach it by weights of 0
LEAST_CENTRE = 0.1
LEAST_DISTANCE = 1e-6
WIDTHS = (32, 64)  # channels at half the side, a quarter
NUM_OUTPUTS = 32  # of the output


class Net(nnx.Module):
    """Features [n, h, w, c] to points [n, NUM_OUTPUTS].

    Sides below 8 or 4 are halved once or never.
    """

    def __init__(self, shape: tuple[int, int, int], *, rngs: nnx.Rngs) -> None:
        height, width, inputs = shape
        kernels = []
        for outputs in WIDTHS:
            if min(height, width) >= 4:
                kernels.append(nnx.Param(_drawn(rngs, (3, 3, 4 * inputs, outputs))))
                height, width, inputs = height // 2, width // 2, outputs
        self.kernels = nnx.List(kernels)
        self.dense = nnx.Param(_drawn(rngs, (inputs, NUM_OUTPUTS)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the points."""
        for kernel in self.kernels:
            x = jax.nn.leaky_relu(
                ops.conv(space_to_depth(x), kernel[...], padding=1), DETECTOR_SLOPE
            )
        return x.mean((1, 2)) @ self.dense[...]


def _drawn(rngs: nnx.Rngs, shape: tuple[int, ...]) -> jax.Array:
    return (2.0 / np.prod(shape[:-1])) ** 0.5 * jax.random.normal(rngs.params(), shape)


def fit_detector(
    normal: np.ndarray, anomalies: np.ndarray, key: jax.Array, schedule: Schedule
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the squared distance from the centre as a function of features, the same for the same
    key.

    Args:
      normal: float32 [n, h, w, c].
      anomalies: [m, h, w, c]; m may be 0.
      key: of weights and order.
      schedule: settings of the training.

    Returns:
      Function of [k, h, w, c] to float64 [k].
    """
    shape = normal.shape[1:]
    weights_key, *order_keys = jax.random.split(key, 1 + schedule.epochs)
    _, state = nnx.split(Net(shape, rngs=nnx.Rngs(weights_key)))
    points_fn, loss_fn = _make(shape)
    centre = in_batches(lambda some: points_fn(state, some), normal).mean(0)
    centre = np.where(
        np.abs(centre) < LEAST_CENTRE, np.where(centre < 0, -LEAST_CENTRE, LEAST_CENTRE), centre
    )
    arrays = (
        np.concatenate([normal, anomalies]),
        np.repeat(np.array([1, -1], np.float32), [len(normal), len(anomalies)]),
        np.broadcast_to(centre.astype(np.float32), (len(normal) + len(anomalies), NUM_OUTPUTS)),
    )
    trained = fit_state(loss_fn, state, arrays, jnp.stack(order_keys), schedule)

    def distances(features: np.ndarray) -> np.ndarray:
        points = in_batches(lambda some: points_fn(trained.state, some), features)
        return np.asarray(np.square(points.astype(np.float64) - centre).sum(-1))

    return distances


@functools.lru_cache(maxsize=16)
def _make(shape: tuple[int, int, int]) -> tuple[Callable[[PyTree, Any], jax.Array], LossFn]:
    graph, _ = nnx.split(nnx.eval_shape(lambda: Net(shape, rngs=nnx.Rngs(0))))

    def points_of(state: PyTree, x: jax.Array) -> jax.Array:
        with ops.for_weights():
            return nnx.merge(graph, state)(x)

    def loss_of(state: PyTree, x: jax.Array, sign: jax.Array, centre: jax.Array) -> jax.Array:
        distance = jnp.square(points_of(state, x) - centre).sum(-1)
        return jnp.where(sign > 0, distance, 1.0 / (distance + LEAST_DISTANCE)).mean()

    return jax.jit(points_of), loss_of
