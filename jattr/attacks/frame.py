"""Framing: an image that G did not make is altered, so that G comes as close to it as possible.

The attacker wants the least of |G(z) - x'|^2 over latents z and over x' in the ball |x' - x| <=
eps. For given z the best x' is the projection of G(z) onto the ball, x' = clip(G(z), x - eps, x +
eps), number by number. What then is left is the eps-insensitive residual,

    sign(d) max(|d| - eps, 0),  d = G(z) - x,

so framing is an inversion with that residual in place of d, and any inverter solves it; here the
one of attribution. At a minimum over z the envelope theorem gives a gradient with respect to x' of
2 (x' - G(z)): gradient ascent through an unrolled, converged inversion follows the same direction,
one small step at a time.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.attacks.pgd import ball, check_attack, to_units
from jattr.errors import InputError
from jattr.generators import ops
from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.observation.base import check_pixels
from jattr.inversion.problem import Target, deviation, make_problem, target_of
from jattr.inversion.settings import LM, Observing
from jattr.inversion.warm_start import Pooling, Ridge, as_floats, make_pool, make_starts
from jattr.runtime import jax_defaults
from jattr.solvers.base import FlatProblem, Prior
from jattr.solvers.solve import advance, begin
from jattr.typing import PyTree

FRAME_LANES = 8  # restarts in one program: DESIGN.md, speed facts
BYTE = 1.0 / 127.5  # in [-1, 1] units


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """Settings of framing."""

    restarts: int = 8
    steps: int = 12  # of Levenberg-Marquardt on the image itself
    ball_steps: int = 12  # then on the eps-insensitive residual
    pool: int = 512  # prior images that the starts are learnt from
    # residual at which a model is blamed: `DecisionConfig.winner`; for the diagnostics
    winner: float = 1e-3

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if min(self.restarts, self.ball_steps, self.pool) < 1 or self.steps < 1:
            raise InputError("restarts, steps, ball_steps and pool are 1 or more")


class Framed(NamedTuple):
    """Images after `frame`."""

    pixels: np.ndarray  # uint8 [n, H, W, C], each byte within eps of the given one
    z: np.ndarray  # [n, d], the latent whose image they approach
    label: np.ndarray  # [n] int32; -1 if unconditional
    residual: np.ndarray  # [n], mean squared residual at that latent, [-1, 1] units
    # [n] int, bytes of eps at which it would be at most `winner` at that latent; 256: none
    needed: np.ndarray


@jax_defaults()
def frame(
    gen: Generator,
    pixels: ArrayLike,
    eps: int,
    *,
    key: jax.Array,
    config: FrameConfig | None = None,
) -> Framed:
    """Return images altered within eps bytes towards the generator's range.

    Args:
      gen: the generator to be blamed.
      pixels: uint8 [n, H, W, C], of other origin.
      eps: bytes.
      key: of the restarts.
      config: settings.

    Raises:
      ImageError, InputError: images or eps that are not legal.
    """
    config = config or FrameConfig()
    pixels = check_pixels(gen, check_attack(pixels, eps))
    keys = jax.random.split(key)
    pool = make_pool(gen, Pooling(size=config.pool), keys[0], len(pixels))
    starts = make_starts(Ridge(), gen, as_floats(pixels), config.restarts, keys[1], pool)
    prior = Prior(pool.z.mean(0), np.maximum(pool.z.std(0), 1e-6))
    fn = make_frame(gen.apply, gen.latent_shape, config.steps, config.ball_steps)
    result = []
    for i, image in enumerate(pixels):
        lanes = []
        for at in range(0, config.restarts, FRAME_LANES):
            label = None if starts.label is None else starts.label[i, at : at + FRAME_LANES]
            lanes.append(
                fn(
                    gen.state,
                    prior,
                    image,
                    jnp.float32(eps),
                    starts.z[i, at : at + FRAME_LANES],
                    label,
                )
            )
        z, generated, loss = (
            np.concatenate([np.asarray(lane[k]) for lane in lanes]) for k in range(3)
        )
        best = int(np.nanargmin(np.where(np.isfinite(loss), loss, np.inf)))
        label_of = -1 if starts.label is None else int(starts.label[i, best])
        result.append((*_landed(image, generated[best], eps, config.winner), z[best], label_of))
    framed, residual, needed, latents, labels = (
        np.stack(part) for part in zip(*result, strict=True)
    )
    return Framed(framed, latents, labels.astype(np.int32), residual, needed)


@functools.lru_cache(maxsize=64)
def make_frame(
    apply: ApplyFn, shape: tuple[int, ...], steps: int, ball_steps: int
) -> Callable[..., PyTree]:
    """Return jitted `fn(state, prior, image, eps, z, label) -> (z, G(z), loss)`, z [lanes, d],
    eps in bytes.
    """

    def one(
        state: PyTree,
        prior: Prior,
        target: Target,
        low: jax.Array,
        high: jax.Array,
        z: jax.Array,
        label: jax.Array | None,
    ) -> Any:
        first = dataclasses.replace(LM, steps=steps)
        problem = make_problem(apply, state, target, shape, label, prior)
        z = advance(first.step, problem, begin(first, z), steps).best
        second = dataclasses.replace(LM, steps=ball_steps)
        problem = insensitive(apply, state, shape, low, high, label, prior)
        carry = advance(second.step, problem, begin(second, z), ball_steps)
        given = None if label is None else label[None]
        return carry.best, apply(state, carry.best.reshape(1, *shape), label=given)[0], carry.loss

    def fn(
        state: PyTree,
        prior: Prior,
        image: jax.Array,
        eps: jax.Array,
        z: jax.Array,
        label: jax.Array | None,
    ) -> Any:
        low, high = (to_units(side) for side in ball(image, eps))
        each = jax.vmap(one, in_axes=(None, None, None, None, None, 0, 0))
        return each(state, prior, target_of(image), low, high, z, label)

    return jax.jit(fn)


def insensitive(
    apply: ApplyFn,
    state: PyTree,
    shape: tuple[int, ...],
    low: jax.Array,
    high: jax.Array,
    label: jax.Array | None,
    prior: Prior | None = None,
) -> FlatProblem:
    """Return the problem of the latent whose image is nearest to the box [low, high], both [H, W,
    C].

    A value beyond -1 or 1 is clipped by the generator's program: the box's side there has no end.
    """

    def residual(z: jax.Array) -> jax.Array:
        given = None if label is None else label[None]
        generated = apply(state, z.reshape(1, *shape), label=given)[0]
        return (generated - nearest(generated, low, high)).ravel()

    return FlatProblem(
        residual, low.size, prior, variance_floor=Observing.sharpest, tangents=ops.for_tangents
    )


def nearest(generated: Any, low: jax.Array, high: jax.Array) -> Any:
    """Return the point of the box that is nearest to an image.

    Where it ends at -1 or 1, it goes on without end.
    """
    return jnp.clip(
        generated, jnp.where(low <= -1.0, -jnp.inf, low), jnp.where(high >= 1.0, jnp.inf, high)
    )


def _landed(
    image: np.ndarray, generated: np.ndarray, eps: int, winner: float
) -> tuple[np.ndarray, float, int]:
    """Return the bytes of the ball that are nearest to an image, their residual, and the eps
    that would do.
    """
    low, high = (np.asarray(side) for side in ball(image, eps))
    bytes_ = np.clip(
        np.round((np.nan_to_num(generated).astype(np.float64) + 1.0) * 127.5), low, high
    ).astype(np.uint8)
    residual = float(np.mean(np.square(deviation(generated, target_of(bytes_)), dtype=np.float64)))
    return (
        bytes_,
        residual,
        eps_needed(np.abs(deviation(generated, target_of(image))) / BYTE, winner),
    )


def eps_needed(distance: np.ndarray, winner: float) -> int:
    """Return the least whole eps, bytes, that brings the mean squared residual down to `winner`.

    Args:
      distance: of each number of an image from G(z), bytes.
      winner: mean squared residual, [-1, 1] units.
    """
    left = [np.mean(np.square(np.maximum(distance - eps, 0.0) * BYTE)) for eps in range(256)]
    return next((eps for eps, residual in enumerate(left) if residual <= winner), 256)
