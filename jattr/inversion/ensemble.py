"""A start by statistical linearisation: regressions from pictures to latents over a shrinking cloud around the guess.

The derivative at a point sees one side of every ReLU and nothing where pixels saturate; a regression over pictures of
the generator near the guess sees both. Each pass moves the guess by the regression's answer and shrinks the cloud:
ensemble Kalman inversion (Iglesias, Law, Stuart, Inverse Problems 29, 2013) of the mean, in the logit domain.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jattr.generators.base import ApplyFn
from jattr.inversion.problem import Prior, Target, logit

CLOUD = 128  # pictures a pass
SPREADS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12)  # of the cloud in each pass, in the prior's standard deviations
RIDGE = 1e-2  # of the pictures' mean variance


@functools.lru_cache(maxsize=64)
def make_ensemble(apply: ApplyFn, shape: tuple[int, ...]) -> Callable[..., jax.Array]:
    """Return compiled `fn(state, prior, target, label, z [lanes, d], key) -> z [lanes, d]`; a lane is a picture."""

    def one(state: Any, prior: Prior, target: Target, label: Any, z: jax.Array, key: jax.Array) -> jax.Array:
        cloud = jax.random.normal(key, (CLOUD, z.size))
        cloud = (cloud - cloud.mean(0)) * prior.scale
        given = None if label is None else jnp.broadcast_to(label, (CLOUD,))
        wanted = logit(target.center).ravel()

        def shrink(z: jax.Array, spread: jax.Array) -> tuple[jax.Array, None]:
            made = apply(state, (z + spread * cloud).reshape(CLOUD, *shape), label=given)
            made = logit(jnp.clip(made, -1.0, 1.0)).reshape(CLOUD, -1)
            offsets = made - made.mean(0)
            gram = offsets @ offsets.T
            gram = gram + (RIDGE * jnp.trace(gram) / CLOUD + 1e-12) * jnp.eye(CLOUD)
            weights = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(gram), offsets @ (wanted - made.mean(0)))
            moved = z + spread * (cloud.T @ weights)
            return jnp.where(jnp.isfinite(moved).all(), moved, z), None

        return jax.lax.scan(shrink, z, jnp.asarray(SPREADS))[0]

    def run(state: Any, prior: Prior, target: Target, label: Any, z: jax.Array, key: jax.Array) -> jax.Array:
        def lane(each: tuple[Target, Any, jax.Array]) -> jax.Array:
            return one(state, prior, each[0], each[1], each[2], key)

        return jax.lax.map(lane, (target, label, z))

    return jax.jit(run)
