"""The mean squared residual of given latents, at full float32 precision: what results state and `verify` recomputes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.problem import Target, deviation

BATCH = 8


def mean_squares(gen: Generator, z: np.ndarray, label: np.ndarray | None, target: Target) -> np.ndarray:
    """Return the mean squared residual [n], [-1, 1] units, not finite where the picture is not.

    Args:
      gen: the generator.
      z: [n, *latent_shape].
      label: [n] int32; None if unconditional.
      target: stacked targets of n pictures.
    """
    fn = _mean_squares(gen.apply)
    parts = []
    for at in range(0, len(z), BATCH):
        some = np.minimum(np.arange(at, at + BATCH), len(z) - 1)  # the last one fills the batch up
        labels = None if label is None else jnp.asarray(label[some])
        parts.append(fn(gen.state, jnp.asarray(z[some]), labels, jax.tree.map(lambda a, some=some: a[some], target)))
    return np.concatenate([np.asarray(part) for part in parts])[: len(z)].astype(np.float64)


@functools.lru_cache(maxsize=64)
def _mean_squares(apply: ApplyFn) -> Any:
    def fn(state: Any, z: jax.Array, label: jax.Array | None, target: Target) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return jnp.mean(jnp.square(deviation(apply(state, z, label=label), target)), axis=(1, 2, 3))

    return jax.jit(fn)
