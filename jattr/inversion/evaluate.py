"""Images and residuals of given latents, in batches of one size: one program an architecture.

At full float32 precision: these are the numbers that results state and `verify` recomputes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.generators import ops
from jattr.generators.base import Generator
from jattr.generators.forward import (
    ApplyFn,
    Followed,
    batch_size,
    batched_images,
    compiled_forward,
)
from jattr.inversion.problem import ComparedBy, Target, deviation
from jattr.typing import PyTree


def make_images(gen: Generator, z: ArrayLike, label: ArrayLike | None = None) -> np.ndarray:
    """Return the images [n, H, W, C] float32 of latents, in [-1, 1] units, not clipped.

    Args:
      gen: the generator.
      z: [n, *latent_shape] or [n, d].
      label: [n] int; None if unconditional.
    """
    z = np.asarray(z, np.float32).reshape(-1, *gen.latent_shape)
    labels = None if label is None else np.asarray(label, np.int32)
    apply, state = gen.apply, gen.state
    if isinstance(apply, ComparedBy):
        apply, state = apply.first, state["generator"]
    return batched_images(apply, state, z, labels, batch_size(gen.image_shape))


def forward_cost(gen: Generator) -> float:
    """Return the floating-point operations of one image of a generator.

    Its trace serves `make_images` as well.
    """
    batch, shape = batch_size(gen.image_shape), gen.latent_shape
    if isinstance(gen.apply, Followed):  # what follows a network costs little beside it
        batch, first = batch_size(gen.apply.shape), gen.apply.first
        return cost_of(first, gen.state["generator"], shape, gen.num_classes, batch)
    if isinstance(gen.apply, ComparedBy):
        first = gen.apply.first
        plain = cost_of(first, gen.state["generator"], shape, gen.num_classes, batch)
        return plain + _comparison_cost(gen.apply, gen.state["distance"], gen.image_shape)
    return cost_of(gen.apply, gen.state, shape, gen.num_classes, batch)


def _comparison_cost(apply: ComparedBy, state: PyTree, shape: tuple[int, int, int]) -> float:
    """Return the floating-point operations of one comparison."""
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    code = jax.eval_shape(apply.encode, state, image)
    lowered = _make_compare(apply.compare).lower(state, image, code)
    return float((lowered.cost_analysis() or {}).get("flops", float("inf")))


def cost_of(
    apply: ApplyFn, state: PyTree, shape: tuple[int, ...], classes: int, batch: int = 1
) -> float:
    """Return the floating-point operations of one image, as the compiler counts them; else inf.

    Only shapes are looked at, so it works while tracing.
    """
    leaves, tree = jax.tree.flatten(state)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return _cost(apply, shapes, tree, shape, classes, batch)


@functools.lru_cache(maxsize=256)
def _cost(
    apply: ApplyFn, shapes: Any, tree: PyTree, shape: tuple[int, ...], classes: int, batch: int
) -> float:
    state = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*leaf) for leaf in shapes])
    z = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    label = jax.ShapeDtypeStruct((batch,), jnp.int32) if classes else None
    lowered = compiled_forward(apply).lower(state, z, label)
    try:
        costs = lowered.cost_analysis() or {}
    except jax.errors.JaxRuntimeError:  # programs of any number of images cannot be counted
        costs = {}
    return float(costs.get("flops", float("inf"))) / batch


def mean_squares(
    gen: Generator, z: ArrayLike, label: ArrayLike | None, target: Target, *, limit: float = np.inf
) -> np.ndarray:
    """Return the mean squared residual [n], [-1, 1] units, not finite where the image is not.

    Args:
      gen: the generator.
      z: [n, *latent_shape] or [n, d].
      label: [n] int; None if unconditional.
      target: stacked targets of n images.
      limit: values beyond it, on both sides, are cut off.
    """
    if isinstance(gen.apply, ComparedBy):
        return _compared(gen.apply, gen.state, make_images(gen, z, label), target)
    images = np.clip(make_images(gen, z, label), -limit, limit)
    residuals = deviation(images, jax.tree.map(np.asarray, target))
    return np.asarray(np.mean(np.square(residuals), axis=(1, 2, 3), dtype=np.float64))


def _compared(apply: ComparedBy, state: PyTree, images: np.ndarray, codes: Any) -> np.ndarray:
    """Return the distance [n] of reproductions [n, H, W, C], as they are shown, from codes."""
    fn, distances = _make_compare(apply.compare), []
    for index, image in enumerate(np.clip(images, -1.0, 1.0)):
        code = jax.tree.map(lambda codes, i=index: codes[i], codes)
        distances.append(float(fn(state["distance"], image, code)))
    return np.array(distances)


@functools.lru_cache(maxsize=64)
def _make_compare(compare: Callable[[PyTree, jax.Array, Any], jax.Array]) -> Any:
    def fn(state: PyTree, image: jax.Array, code: Any) -> jax.Array:
        here = ops.for_platform(jax.default_backend())
        with here, jax.default_matmul_precision("highest"):
            return jnp.mean(jnp.square(compare(state, image, code)))

    return jax.jit(fn)
