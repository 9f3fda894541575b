"""`Separable`: alterations that are one matrix for rows and one for columns."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jattr.alterations.base import Alteration, Shape, SmoothFn, clip

MAX_SIDE = 4096


def mixed(parameters: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    """Return images mixed along rows, then along columns."""
    vertical, horizontal = parameters
    x = jnp.einsum("ow,nhwc->nhoc", horizontal, x)
    return jnp.einsum("oh,nhwc->nowc", vertical, x)


def _two_sided(parameters: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    """Return images mixed along rows, cut off, then along columns."""
    vertical, horizontal = parameters
    x = clip(jnp.einsum("ow,nhwc->nhoc", horizontal, x))
    return clip(jnp.einsum("oh,nhwc->nowc", vertical, x))


class Separable(Alteration):
    """An alteration that is one matrix for rows and one for columns."""

    def matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return what mixes rows [H', H] and columns [W', W]."""
        raise NotImplementedError

    def parameters(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return both matrices."""
        return self.matrices(shape)

    def transfer_matrices(self, shape: Shape) -> tuple[np.ndarray, np.ndarray, int]:
        """Return both matrices, and all channels."""
        return *self.matrices(shape), shape[2]

    @property
    def smooth(self) -> SmoothFn:
        """One program for all of them."""
        return _two_sided

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape that the matrices give."""
        vertical, horizontal = self.matrices(shape)
        return len(vertical), len(horizontal), shape[2]

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return what copying pixels gives."""
        vertical, horizontal = self.matrices(pixels.shape[1:])
        return np.ascontiguousarray(pixels[:, vertical.argmax(1)][:, :, horizontal.argmax(1)])


def each(pixels: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Return images that Pillow has changed, one by one."""
    single = pixels.shape[-1] == 1
    changed = [np.asarray(change(Image.fromarray(p[..., 0] if single else p))) for p in pixels]
    return np.stack(changed)[..., None] if single else np.stack(changed)
