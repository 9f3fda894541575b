"""Projected gradient ascent in a ball of bytes, and random signs.

The attacks that need no knowledge of inversion.

Madry, Makelov, Schmidt, Tsipras, Vladu, Towards Deep Learning Models Resistant to Adversarial
Attacks, ICLR 2018, arXiv 1706.06083. Every step's image is rounded to bytes before its loss and
gradient are taken, so the best image is the best of those that can be saved, and it lies in the
ball exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.errors import ImageError, InputError

MAX_EPS = 255
# images [n, H, W, C] in [-1, 1] units -> what the attacker raises, [n]
LossFn = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True, kw_only=True)
class PgdConfig:
    """Settings of projected gradient ascent."""

    steps: int = 20
    step_size: float | None = None  # bytes; None: 2.5 eps / steps, enough to cross the ball
    random_start: bool = True  # in the ball; the untouched image otherwise

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps is {self.steps!r}; give a whole number, 1 or more")
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"step_size is {self.step_size!r}; give bytes, above 0")


class Attacked(NamedTuple):
    """Images after `pgd`."""

    pixels: ArrayLike  # uint8 [n, H, W, C], each byte within eps of the given one
    before: Any  # [n], the loss of the given images
    after: Any  # [n], the highest loss, that of `pixels`


def check_attack(pixels: ArrayLike, eps: int) -> np.ndarray:
    """Return the images, uint8 [n, H, W, C].

    Raises:
      ImageError: images of another type.
      InputError: eps is no whole number of bytes from 0 to 255.
    """
    array = np.asarray(pixels)
    if array.dtype != np.uint8 or array.ndim != 4 or not len(array):
        raise ImageError(f"images are {array.dtype} {array.shape}; give uint8 [n, H, W, C]")
    if isinstance(eps, bool) or not isinstance(eps, (int, np.integer)) or not 0 <= eps <= MAX_EPS:
        raise InputError(f"eps is {eps!r}; give a whole number of bytes, 0 to {MAX_EPS}")
    return array


def ball(pixels: ArrayLike, eps: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Return the lowest and highest value of every byte within eps of it, float32, in bytes."""
    center, eps = jnp.asarray(pixels).astype(jnp.float32), jnp.asarray(eps).astype(jnp.float32)
    return jnp.maximum(center - eps, 0.0), jnp.minimum(center + eps, 255.0)


def to_units(values: jax.Array) -> jax.Array:
    """Return bytes' values as [-1, 1] units."""
    return values / 127.5 - 1.0


def sign_noise(pixels: ArrayLike, eps: int, *, key: jax.Array) -> np.ndarray:
    """Return images [n, H, W, C] with every byte moved up or down by eps at random.

    Up or down to the range's end.
    """
    pixels = check_attack(pixels, eps)
    signs = np.asarray(jax.random.rademacher(key, pixels.shape, jnp.int32))
    return np.clip(pixels.astype(np.int32) + eps * signs, 0, 255).astype(np.uint8)


def pgd(
    loss_fn: LossFn,
    pixels: ArrayLike,
    eps: ArrayLike,
    *,
    key: jax.Array,
    config: PgdConfig | None = None,
) -> Attacked:
    """Return the images of the highest loss that signed gradient steps find within eps bytes.

    Pure, where `pixels` is an array of JAX; `jit` it with what `loss_fn` closes over as arguments.

    Args:
      loss_fn: differentiable; images do not act on each other.
      pixels: uint8 [n, H, W, C].
      eps: whole bytes; may be traced.
      key: of the random start.
      config: settings.
    """
    config = config or PgdConfig()
    low, high = ball(pixels, eps)
    given = jnp.asarray(pixels).astype(jnp.float32)
    size = 2.5 * eps / config.steps if config.step_size is None else config.step_size

    def measured(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        loss, pull_back = jax.vjp(loss_fn, to_units(jnp.round(values)))
        return loss, jnp.nan_to_num(pull_back(jnp.ones_like(loss))[0])

    def better(best: Attacked, values: jax.Array, loss: jax.Array) -> Attacked:
        wins = loss > best.after  # NaN never wins
        pixels = jnp.where(
            wins[:, None, None, None], jnp.round(values).astype(jnp.uint8), best.pixels
        )
        return best._replace(pixels=pixels, after=jnp.where(wins, loss, best.after))

    def step(carry: tuple[jax.Array, Attacked], _: None) -> tuple[tuple[jax.Array, Attacked], None]:
        values, best = carry
        loss, gradient = measured(values)
        return (
            jnp.clip(values + size * jnp.sign(gradient), low, high),
            better(best, values, loss),
        ), None

    before = loss_fn(to_units(given))
    start = (
        jax.random.uniform(key, given.shape, minval=low, maxval=high)
        if config.random_start
        else given
    )
    best = Attacked(jnp.asarray(pixels), before, before)
    (values, best), _ = jax.lax.scan(step, (start, best), None, length=config.steps)
    return better(best, values, loss_fn(to_units(jnp.round(values))))
