"""Images of any number of latents, in batches of one size: one compiled program an architecture.

They are computed at full float32 precision: results state numbers of these images, and `verify`
recomputes them.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Wrapped

from jattr.generators import ops
from jattr.typing import PyTree

# (state, z [n, *latent_shape], *, label=None) -> [n, H, W, C]
ApplyFn: TypeAlias = Callable[..., jax.Array]
# (state, images [n, H, W, C]) -> [n, H', W', C']
AfterFn: TypeAlias = Callable[[PyTree, jax.Array], jax.Array]

MAX_BATCH = 32  # images computed at once
MAX_BATCH_NUMBERS = 1 << 20  # in them


@dataclass(frozen=True)
class Followed:
    """An `apply` of two parts, the second a function of the first's images, kept apart.

    Its state has `generator`, the first part's own, beside what the second part takes. Programs of
    the first part, which are expensive to compile, serve every second part.
    """

    first: ApplyFn
    after: AfterFn
    shape: tuple[int, int, int]  # (H, W, C), of the first part's images

    def __call__(
        self, state: dict[str, PyTree], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """Return both parts, one after the other."""
        return self.after(rest(state), self.first(state["generator"], z, label=label))


def rest(state: dict[str, PyTree]) -> dict[str, PyTree]:
    """Return the state of the second part."""
    return {name: value for name, value in state.items() if name != "generator"}


def batch_size(image_shape: tuple[int, int, int]) -> int:
    """Return how many images of a shape are made at once."""
    return max(1, min(MAX_BATCH, MAX_BATCH_NUMBERS // int(np.prod(image_shape))))


def batched_images(
    apply: ApplyFn, state: PyTree, z: np.ndarray, label: np.ndarray | None, batch: int
) -> np.ndarray:
    """Return the images [n, H, W, C] float32 of latents z [n, *latent_shape], not clipped."""
    fn, inputs = compiled_forward(apply), (z, label)
    if isinstance(apply, Followed):
        first = batched_images(apply.first, state["generator"], z, label, batch_size(apply.shape))
        fn, inputs, state = _compiled_after(apply.after), (first, None), rest(state)
    parts = []
    for start in range(0, len(z), batch):
        # the last latent fills up the last batch
        rows = np.minimum(np.arange(start, start + batch), len(z) - 1)
        part = fn(state, *(None if each is None else each[rows] for each in inputs))
        parts.append(np.asarray(part))
    return np.concatenate(parts)[: len(z)]


@functools.lru_cache(maxsize=64)
def compiled_forward(apply: ApplyFn) -> Wrapped:
    """Return compiled `fn(state, z, label)` of an `apply`, at full float32 precision."""

    def fn(state: PyTree, z: jax.Array, label: jax.Array | None) -> jax.Array:
        here = ops.for_platform(jax.default_backend())
        with here, jax.default_matmul_precision("highest"):
            return jnp.asarray(apply(state, z, label=label), jnp.float32)

    return jax.jit(fn)


@functools.lru_cache(maxsize=64)
def _compiled_after(after: AfterFn) -> Wrapped:
    def fn(state: PyTree, x: jax.Array, _: None) -> jax.Array:
        here = ops.for_platform(jax.default_backend())
        with here, jax.default_matmul_precision("highest"):
            return jnp.asarray(after(state, x), jnp.float32)

    return jax.jit(fn)
