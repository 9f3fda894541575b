"""`Prior`: mean and scale of each number of a latent; of samples, a sampler or a density."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jattr.errors import InputError
from jattr.solvers.ravel import ravel_latent
from jattr.typing import PyTree


class Prior(NamedTuple):
    """Mean and standard deviation of the latents, each number on its own.

    In a `FlatProblem` both are [d]; in a `Problem` they are pytrees like the latent, whose leaves
    broadcast against it, or single numbers.
    """

    mean: PyTree
    scale: PyTree

    @staticmethod
    def from_samples(samples: PyTree, *, smallest_scale: float = 1e-6) -> "Prior":
        """Return the prior with the moments of samples.

        Args:
          samples: a pytree like a latent, each array with a leading axis of at least two samples.
          smallest_scale: of numbers that hardly vary.

        Raises:
          InputError: fewer than two samples, or some that are not finite.

        >>> Prior.from_samples(jnp.array([[0.0, 1.0], [2.0, 1.0]])).mean.tolist()
        [1.0, 1.0]
        """
        arrays = [jnp.asarray(part) for part in jax.tree.leaves(samples)]
        if not arrays or any(part.ndim == 0 or len(part) < 2 for part in arrays):
            shapes = [part.shape for part in arrays]
            raise InputError(
                f"samples have shapes {shapes}; each has a leading axis of at least two samples"
            )
        if any(_is_known(part) and not bool(jnp.isfinite(part).all()) for part in arrays):
            raise InputError("samples hold numbers that are not finite; a prior has finite moments")
        mean = jax.tree.map(lambda part: jnp.mean(jnp.asarray(part), 0), samples)
        scale = jax.tree.map(
            lambda part: jnp.maximum(jnp.std(jnp.asarray(part), 0), smallest_scale), samples
        )
        return Prior(mean, scale)

    @staticmethod
    def from_sampler(
        sample_fn: Callable[[jax.Array, int], PyTree], key: jax.Array, *, num_samples: int = 2048
    ) -> "Prior":
        """Return the prior with the moments of `sample_fn(key, n) -> samples [n, ...]`."""
        return Prior.from_samples(sample_fn(key, num_samples))

    @staticmethod
    def from_density(
        log_density: Callable[[PyTree], jax.Array],
        start: PyTree,
        *,
        steps: int = 100,
        first_damping: float = 1e-2,
        ease: float = 0.2,
        tighten: float = 4.0,
    ) -> "Prior":
        """Return Laplace's approximation of a density: its mode, and standard deviations there.

        The mode is searched by damped Newton steps; the deviations are the roots of the diagonal of
        the inverse of -d^2 log p / dz^2.

        Args:
          log_density: of a latent, up to a constant; smooth, a number.
          start: a latent from which a mode is reached.
          steps: of Newton's method.
          first_damping: of the Hessian, in units of its largest diagonal number.
          ease: factor of the damping after a step that raised the density.
          tighten: factor after one that did not.

        Raises:
          InputError: the density is no number, not finite at the start, or has no peak at the point
            that is reached.

        >>> log_density = lambda z: -0.5 * jnp.sum(((z - 1.0) / 3.0) ** 2)
        >>> prior = Prior.from_density(log_density, jnp.zeros(2))
        >>> round(float(prior.mean[0]), 3), round(float(prior.scale[0]), 3)
        (1.0, 3.0)
        """
        z, unravel = ravel_latent(start)

        def energy(z: jax.Array) -> jax.Array:
            value = -jnp.asarray(log_density(unravel(z)))
            if value.shape != ():
                raise InputError(
                    f"log_density returns an array of shape {value.shape}; it returns one number,"
                    " the sum over all parts of a latent"
                )
            return value.astype(z.dtype)

        def step(carry: tuple[jax.Array, jax.Array, jax.Array], _: None) -> tuple[PyTree, None]:
            z, here, damping = carry
            hessian = jax.hessian(energy)(z)
            # (H + lambda max|H_ii| I) move = -gradient
            size = jnp.maximum(jnp.max(jnp.abs(jnp.diagonal(hessian))), 1e-30)
            matrix = hessian + damping * size * jnp.eye(z.size, dtype=z.dtype)
            trial = z - jnp.linalg.solve(matrix, jax.grad(energy)(z))
            there = energy(trial)
            better = there < here  # false where it is NaN
            damping = damping * jnp.where(better, ease, tighten)
            return (jnp.where(better, trial, z), jnp.where(better, there, here), damping), None

        first = (z, energy(z), jnp.asarray(first_damping, z.dtype))
        (mode, lowest, _), _ = jax.lax.scan(step, first, None, length=steps)
        variance = jnp.diagonal(jnp.linalg.inv(jax.hessian(energy)(mode)))
        if _is_known(lowest):
            if not bool(jnp.isfinite(first[1])):
                raise InputError("log_density is not finite at start; begin where it is")
            peaked = (variance > 0) & jnp.isfinite(variance)
            if not bool(peaked.all() & jnp.isfinite(lowest)):
                raise InputError(
                    "log_density has no peak at the point that was reached from start: its"
                    " curvature is not negative in every direction; give jattr.Prior(mean, scale)"
                )
        return Prior(unravel(mode), unravel(jnp.sqrt(variance)))


def _is_known(value: jax.Array) -> bool:
    """Return whether a value is at hand, and not being traced."""
    return not isinstance(value, jax.core.Tracer)
