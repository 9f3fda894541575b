"""A start by statistical linearisation: regressions from pictures to latents over a shrinking cloud around the guess.

The derivative at a point sees one side of every ReLU and nothing where pixels saturate; a regression over pictures of
the generator near the guess sees both. Each pass moves the guess by the regression's answer and shrinks the cloud:
ensemble Kalman inversion (Iglesias, Law, Stuart, Inverse Problems 29, 2013) of the mean, in the logit domain.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jattr.generators.base import ApplyFn
from jattr.inversion.problem import Prior, Target, edge_of, logit

CLOUD = 128  # pictures a pass
SPREADS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12)  # of the cloud in each pass, in the prior's standard deviations
RIDGE = 1e-2  # of the pictures' mean variance
MAX_NUMBERS = 1 << 20  # of pictures made at once


@functools.lru_cache(maxsize=64)
def make_ensemble(apply: ApplyFn, shape: tuple[int, ...], precision: str) -> Callable[..., jax.Array]:
    """Return compiled `fn(state, prior, target, label, z [d], key) -> z [d]` for one picture."""

    def run(state: Any, prior: Prior, target: Target, label: Any, z: jax.Array, key: jax.Array) -> jax.Array:
        cloud = jax.random.normal(key, (CLOUD, z.size))
        cloud = (cloud - cloud.mean(0)) * prior.scale
        edge = edge_of(target)
        low, high = jnp.where(target.below, edge, -1.0), jnp.where(target.above, edge, 1.0)
        wanted = logit(jnp.clip(edge, -1.0, 1.0)).ravel()
        size = max(8, min(CLOUD, 1 << int(math.log2(max(1, MAX_NUMBERS // target.center.size)))))

        def pictures(z: jax.Array) -> jax.Array:
            given = None if label is None else jnp.broadcast_to(label, z.shape[:1])
            return logit(jnp.clip(apply(state, z, label=given), low, high)).reshape(len(z), -1)

        def shrink(z: jax.Array, spread: jax.Array) -> tuple[jax.Array, None]:
            around = (z + spread * cloud).reshape(CLOUD // size, size, *shape)
            made = jax.lax.map(pictures, around).reshape(CLOUD, -1) if size < CLOUD else pictures(around[0])
            offsets = made - made.mean(0)
            gram = offsets @ offsets.T
            gram = gram + (RIDGE * jnp.trace(gram) / CLOUD + 1e-12) * jnp.eye(CLOUD)
            weights = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(gram), offsets @ (wanted - made.mean(0)))
            moved = z + spread * (cloud.T @ weights)
            return jnp.where(jnp.isfinite(moved).all(), moved, z), None

        with jax.default_matmul_precision(precision):
            return jax.lax.scan(shrink, z, jnp.asarray(SPREADS))[0]

    return jax.jit(run)
