"""Which method polishes, and what one forward pass costs: what the choice of a method needs to know."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jattr.generators.base import ApplyFn

LM = "levenberg-marquardt"
LM_LOGIT = "levenberg-marquardt-logit"
DENSE_POLISH = 512  # the largest latent that is polished with its whole Jacobian
DEAR_JACOBIAN = 5e10  # floating-point operations: above this searches begin with gradients alone


def forward_cost(apply: ApplyFn, state: Any, shape: tuple[int, ...], classes: int) -> float:
    """Return the floating-point operations of one picture, as the compiler counts them; inf if it does not."""
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), state)
    return _forward_cost(apply, jax.tree.structure(abstract), tuple(jax.tree.leaves(abstract)), shape, classes > 0)


@functools.lru_cache(maxsize=256)
def _forward_cost(apply: ApplyFn, tree: Any, leaves: tuple[Any, ...], shape: tuple[int, ...], labelled: bool) -> float:
    z = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    label = jax.ShapeDtypeStruct((1,), jnp.int32) if labelled else None
    lowered = jax.jit(lambda state, z, label: apply(state, z, label=label)).lower(tree.unflatten(leaves), z, label)
    return float((lowered.cost_analysis() or {}).get("flops", float("inf")))


def dense_jacobian(latent_size: int, forward_cost: float) -> bool:
    """Return whether every step of a search may take the whole Jacobian."""
    return latent_size <= DENSE_POLISH and latent_size * forward_cost <= DEAR_JACOBIAN


def polish_method(size: int) -> str:
    """Return the Gauss-Newton method for latents of this size."""
    return LM if size <= DENSE_POLISH else "gauss-newton-cg"
