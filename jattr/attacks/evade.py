"""Evasion: a generated image is altered, so that inversion no longer recognises it.

The attacker knows G and the latent z that was used, and wants a large least residual, min over z'
of |G(z') - x'|^2. To first order in z' - z that is |(1 - P) d|^2, where d = G(z) - x' and P
projects onto the Jacobian's columns at z. It is convex in d, so its maximum over the ball |x' - x|
<= eps lies at a corner, and sweeps of "go to the corner that the gradient (1 - P) d points to"
never lower it: `orthogonal`. There is little to choose: the latent has few numbers and the image
many, so any corner is nearly orthogonal to the columns, and even the best keeps within (eps +
1/2)^2 byte^2, since the true latent is always a candidate; only a clipped byte, moved off the
range's end, may count more.

`unrolled` attacks the search instead: projected gradient ascent through the first Gauss-Newton
steps from the starts that a defender would take. `noise` is random signs.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.attacks.pgd import PgdConfig, ball, check_attack, pgd, sign_noise
from jattr.errors import InputError
from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.linearization import make_linear
from jattr.inversion.observation.base import check_pixels
from jattr.inversion.problem import deviation, target_of, target_problem
from jattr.inversion.settings import LM
from jattr.inversion.warm_start import Pooling, make_pool, regress
from jattr.runtime import jax_defaults
from jattr.solvers.solve import solve
from jattr.typing import PyTree

FEW_STEPS = PgdConfig(steps=10)  # each costs a search forward and backward


@dataclass(frozen=True, kw_only=True)
class EvadeConfig:
    """Settings of evasion."""

    method: str = "orthogonal"  # of EVASIONS
    rounds: int = 2  # orthogonal: linear images, each at the latent that fits the one before best
    sweeps: int = 20  # orthogonal: of the corners in one linear image
    # Gauss-Newton steps that fit an attacked image again: the residual that is stated
    steps: int = 10
    unrolled_steps: int = 4  # unrolled: Gauss-Newton steps that the gradient goes through
    starts: int = 2  # unrolled: the regression's guess, then guesses with noise
    spread: float = 0.3  # unrolled: standard deviation of that noise, in units of the prior's
    pool: int = 512  # unrolled: prior images that the guess is learnt from
    pgd: PgdConfig = FEW_STEPS  # unrolled

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if self.method not in EVASIONS:
            raise InputError(f"method is {self.method!r}; it is one of {', '.join(EVASIONS)}")
        if (
            min(self.rounds, self.sweeps, self.steps, self.unrolled_steps, self.starts, self.pool)
            < 1
        ):
            raise InputError("rounds, sweeps, steps, unrolled_steps, starts and pool are 1 or more")


class Evaded(NamedTuple):
    """Images after `evade`."""

    pixels: np.ndarray  # uint8 [n, H, W, C], each byte within eps of the given one
    true_residual: np.ndarray  # [n], mean squared, at the true latent, [-1, 1] units
    # [n], the same after a local search from the true latent: what a perfect search finds at most
    residual: np.ndarray
    bound: float  # of both where no given byte is clipped (0 or 255): ((eps + 1/2) / 127.5)^2


@jax_defaults()
def evade(
    gen: Generator,
    z: ArrayLike,
    pixels: ArrayLike,
    eps: int,
    *,
    key: jax.Array,
    label: ArrayLike | None = None,
    config: EvadeConfig | None = None,
) -> Evaded:
    """Return generated images altered within eps bytes, far from the generator's range.

    Args:
      gen: the generator that made them.
      z: [n, *latent_shape], their latents.
      pixels: uint8 [n, H, W, C].
      eps: bytes.
      key: of random signs and starts.
      label: [n] int, their classes; None if unconditional.
      config: method and settings.

    Raises:
      ImageError, InputError: images, latents or eps that are not legal.
    """
    config = config or EvadeConfig()
    pixels = check_pixels(gen, check_attack(pixels, eps))
    z = np.asarray(z, np.float32)
    if z.shape != (len(pixels), *gen.latent_shape) or (label is None) == bool(gen.num_classes):
        raise InputError(
            f"latents are {z.shape} for {len(pixels)} images; generator {gen.name!r} takes [n,"
            f" *{gen.latent_shape}]"
            f" and {'labels' if gen.num_classes else 'no labels'}"
        )
    labels = None if label is None else np.asarray(label, np.int32)
    altered = EVASIONS[config.method](gen, z, pixels, eps, labels, key, config)
    refit = _refit(gen.apply, gen.latent_shape, config.steps)
    true, left = [], []
    for i, image in enumerate(altered):
        given = None if labels is None else labels[i]
        fitted, first, last = refit(gen.state, image, z[i], given)
        del fitted
        true.append(float(first))
        left.append(min(float(first), float(last)))
    return Evaded(altered, np.array(true), np.array(left), ((eps + 0.5) / 127.5) ** 2)


def _noise(
    gen: Generator,
    z: np.ndarray,
    pixels: np.ndarray,
    eps: int,
    labels: np.ndarray,
    key: jax.Array,
    config: EvadeConfig,
) -> np.ndarray:
    del gen, z, labels, config
    return sign_noise(pixels, eps, key=key)


def _orthogonal(
    gen: Generator,
    z: np.ndarray,
    pixels: np.ndarray,
    eps: int,
    labels: np.ndarray,
    key: jax.Array,
    config: EvadeConfig,
) -> np.ndarray:
    """Return the best corner of several linear images, the first at the true latent."""
    del key
    fn = make_orthogonal(gen.apply, gen.latent_shape, config.sweeps)
    refit = _refit(gen.apply, gen.latent_shape, config.steps)
    result = []
    for i, image in enumerate(pixels):
        label = None if labels is None else labels[i]
        here, best, best_left = z[i], image, -np.inf
        for _ in range(config.rounds):
            altered = np.asarray(fn(gen.state, label, here, image, jnp.float32(eps)))
            fitted, first, last = refit(gen.state, altered, z[i], label)
            left = min(float(first), float(last))
            if left > best_left:
                best, best_left = altered, left
            here = np.asarray(fitted)
        result.append(best)
    return np.stack(result)


def _unrolled(
    gen: Generator,
    z: np.ndarray,
    pixels: np.ndarray,
    eps: int,
    labels: np.ndarray,
    key: jax.Array,
    config: EvadeConfig,
) -> np.ndarray:
    """Return what ascent through the first steps of a search finds, image by image."""
    del z
    keys = jax.random.split(key, 1 + len(pixels))
    matrix, offset, factor = _guess(gen, config, keys[0])
    spread = config.spread * np.asarray(gen.sample_latent(keys[0], config.starts)).reshape(
        config.starts, -1
    )
    spread[0] = 0.0
    fn = make_unrolled(gen.apply, gen.latent_shape, factor, config.unrolled_steps, config.pgd)
    result = []
    for i, image in enumerate(pixels):
        label = None if labels is None else labels[i]
        result.append(
            fn(
                gen.state, label, matrix, offset, spread, image[None], jnp.float32(eps), keys[1 + i]
            )[0]
        )
    return np.stack(result)


EVASIONS: dict[str, Callable[..., np.ndarray]] = {
    "orthogonal": _orthogonal,
    "unrolled": _unrolled,
    "noise": _noise,
}


@functools.lru_cache(maxsize=64)
def make_orthogonal(
    apply: ApplyFn, shape: tuple[int, ...], sweeps: int
) -> Callable[..., jax.Array]:
    """Return jitted `fn(state, label, z, image, eps) -> uint8 [H, W, C]`.

    The corner of one linear image.
    """
    linear = make_linear(apply, shape)

    def fn(
        state: PyTree, label: jax.Array | None, z: jax.Array, image: jax.Array, eps: jax.Array
    ) -> jax.Array:
        model = linear(state, label, z)
        low, high = (side.astype(jnp.uint8) for side in ball(image, eps))
        ends = [deviation(model.image, target_of(side)).ravel() for side in (high, low)]
        columns = jnp.linalg.qr(model.jacobian)[0]
        return jnp.where(
            farthest(ends[0], ends[1], columns, sweeps).reshape(image.shape), high, low
        )

    return jax.jit(fn)


def farthest(a: jax.Array, b: jax.Array, columns: jax.Array, sweeps: int) -> jax.Array:
    """Return where to take a rather than b, bool [n], for the largest part of that vector
    orthogonal to the columns.

    Args:
      a: [n].
      b: [n].
      columns: [n, d], orthonormal.
      sweeps: each goes to the corner that the gradient of the last one points to, which never
        lowers the part.
    """

    def sweep(chosen: jax.Array, _: None) -> tuple[jax.Array, None]:
        d = jnp.where(chosen, a, b)
        slope = d - columns @ (columns.T @ d)
        return slope * a > slope * b, None

    return jax.lax.scan(sweep, jnp.abs(a) > jnp.abs(b), None, length=sweeps)[0]


@functools.lru_cache(maxsize=64)
def make_unrolled(
    apply: ApplyFn, shape: tuple[int, ...], factor: int, steps: int, config: PgdConfig
) -> Callable[..., jax.Array]:
    """Return jitted `fn(state, label, matrix, offset, spread, pixels, eps, key) -> uint8 [1, H, W,
    C]`.

    It raises the mean over the starts of the log residual after `steps` Gauss-Newton steps. The
    starts are features @ matrix + offset + spread [starts, d], of images averaged over factor x
    factor blocks.
    """

    def fn(
        state: PyTree,
        label: jax.Array | None,
        matrix: Any,
        offset: Any,
        spread: Any,
        pixels: ArrayLike,
        eps: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        def search(image: jax.Array, z: jax.Array) -> jax.Array:
            problem = target_problem(apply, state, target_of(image), shape, label=label)
            return jnp.log(solve(problem, LM, z.reshape(shape), steps=steps).loss)

        def loss_fn(x: jax.Array) -> jax.Array:
            height, width = x.shape[1] // factor, x.shape[2] // factor
            blocks = x[:, : height * factor, : width * factor].reshape(
                1, height, factor, width, factor, -1
            )
            starts = blocks.mean((2, 4)).reshape(1, -1) @ matrix + offset + spread
            return jax.vmap(search, in_axes=(None, 0))(x[0], starts).mean()[None]

        return jnp.asarray(pgd(loss_fn, pixels, eps, key=key, config=config).pixels)

    return jax.jit(fn)


def _guess(
    gen: Generator, config: EvadeConfig, key: jax.Array
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the regression of `initial` as a matrix [features, d] and an offset [d].

    The blocks' side.
    """
    pool = make_pool(gen, Pooling(size=config.pool), key, 1)
    size = pool.features.shape[1]
    offset = regress(pool.features, pool.z, np.zeros((1, size), np.float32))
    matrix = regress(pool.features, pool.z, np.eye(size, dtype=np.float32)) - offset
    return matrix.astype(np.float32), offset.astype(np.float32), pool.factor


@functools.lru_cache(maxsize=64)
def _refit(apply: ApplyFn, shape: tuple[int, ...], steps: int) -> Callable[..., PyTree]:
    """Return jitted `fn(state, image, z, label) -> (latent nearby that fits best, residual at z,
    residual there)`.
    """

    def fn(state: PyTree, image: jax.Array, z: jax.Array, label: jax.Array | None) -> Any:
        given = None if label is None else label[None]
        with jax.default_matmul_precision("highest"):
            first = jnp.mean(
                jnp.square(deviation(apply(state, z[None], label=given)[0], target_of(image)))
            )
            problem = target_problem(apply, state, target_of(image), shape, label=label)
            solution = solve(problem, LM, z, steps=steps)
        return solution.latent, first, solution.loss

    return jax.jit(fn)
