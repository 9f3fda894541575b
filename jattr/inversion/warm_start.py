"""Where restarts begin: prior samples, the nearest of a shared pool, or a guess from the image.

The guess of an autoencoder is its encoder's. Of others it is a regression from images to latents.

The regression is a ridge regression of the latent on the pixels of a pool of the generator's own
images. It costs a fraction of a second once a candidate, serves every image, and for most small
generators its guess lies where Gauss-Newton steps converge, where a prior sample seldom does
(docs/decisions/0001 has the measurements).
"""

import functools
import math
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.evaluate import forward_cost, make_images
from jattr.inversion.problem import Target, edge_of, logit
from jattr.solvers.base import Prior
from jattr.typing import PyTree

CLOUD = 128  # images a pass
# of the cloud in each pass, in the prior's standard deviations
SPREADS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12)
CLOUD_RIDGE = 1e-2  # of the images' mean variance
MAX_ENSEMBLE_NUMBERS = 1 << 20  # of images made at once


@functools.lru_cache(maxsize=64)
def make_ensemble(
    apply: ApplyFn, shape: tuple[int, ...], precision: str
) -> Callable[..., jax.Array]:
    """Return compiled `fn(state, prior, target, label, z [d], key) -> z [d]` for one image."""

    def run(
        state: PyTree,
        prior: Prior,
        target: Target,
        label: jax.Array | None,
        z: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        cloud = jax.random.normal(key, (CLOUD, z.size))
        # directions of the prior about 0
        cloud = (cloud - cloud.mean(0)) * prior.scale
        edge = edge_of(target)
        low, high = jnp.where(target.below, edge, -1.0), jnp.where(target.above, edge, 1.0)
        observed = logit(jnp.clip(edge, -1.0, 1.0)).ravel()
        size = max(
            8, min(CLOUD, 1 << int(math.log2(max(1, MAX_ENSEMBLE_NUMBERS // target.center.size))))
        )

        def images(z: jax.Array) -> jax.Array:
            given = None if label is None else jnp.broadcast_to(label, z.shape[:1])
            return logit(jnp.clip(apply(state, z, label=given), low, high)).reshape(len(z), -1)

        def shrink(z: jax.Array, spread: jax.Array) -> tuple[jax.Array, None]:
            around = (z + spread * cloud).reshape(CLOUD // size, size, *shape)
            values = (
                jax.lax.map(images, around).reshape(CLOUD, -1)
                if size < CLOUD
                else images(around[0])
            )
            # the linear map from latents to logits that fits the cloud, in its dual form:
            # move = C'(Y Y' + r I)^-1 Y (y - mean), C and Y the cloud's latents and logits
            offsets = values - values.mean(0)
            gram = offsets @ offsets.T
            gram = gram + (CLOUD_RIDGE * jnp.trace(gram) / CLOUD + 1e-12) * jnp.eye(CLOUD)
            weights = jax.scipy.linalg.cho_solve(
                jax.scipy.linalg.cho_factor(gram), offsets @ (observed - values.mean(0))
            )
            moved = z + spread * (cloud.T @ weights)
            return jnp.where(jnp.isfinite(moved).all(), moved, z), None

        with jax.default_matmul_precision(precision):
            return jax.lax.scan(shrink, z, jnp.asarray(SPREADS))[0]

    return jax.jit(run)


MAX_FEATURES = 1024  # pixels that the regression sees: larger images are averaged down first
POOL_RIDGE = 1e-3  # of the mean feature's variance
POOL_BATCH = 64  # images kept whole at once
SMALL_POOL, LARGE_POOL = 512, 2048
MANY_IMAGES = 16  # from which on the large one pays
CLASS_POOL = 32  # images of a class that its own regression needs
MAX_POOL_BYTES = 256 << 20
MAX_POOL_WORK = 2e12  # floating-point operations; at least 64 images are made all the same


class Starts(NamedTuple):
    """Where to begin, for each image the most hopeful first."""

    z: np.ndarray  # [images, restarts, d] float32
    label: np.ndarray | None  # [images, restarts] int32; None if unconditional


class Pool(NamedTuple):
    """Images of the generator from its prior, as latents and features; made once a candidate."""

    z: np.ndarray  # [n, d]
    label: np.ndarray | None  # [n]
    features: np.ndarray  # [n, features], averaged-down images; [0, 0] where an encoder guesses
    factor: int  # by which images are averaged down


_POOLS: weakref.WeakKeyDictionary[Generator, dict[tuple[int, bytes], Pool]] = (
    weakref.WeakKeyDictionary()
)


def make_pool(gen: Generator, config: InvertConfig, key: jax.Array, images: int) -> Pool:
    """Return the pool of a candidate: `config.pool` images, at least 128 of each class up to 64.

    Made once for a generator, size and key, and kept while the generator is.
    """
    count = config.pool or (SMALL_POOL if images < MANY_IMAGES else LARGE_POOL)
    pools = _POOLS.setdefault(gen, {})
    name = (count, np.asarray(jax.random.key_data(key)).tobytes())
    if name not in pools:
        pools[name] = _sample_pool(gen, count, key)
    return pools[name]


def forget_pools() -> None:
    """Drop every pool that is kept; for benchmarks that time a first call."""
    _POOLS.clear()


def _sample_pool(gen: Generator, count: int, key: jax.Array) -> Pool:
    if gen.num_classes:
        count = max(count, min(gen.num_classes, 64) * 128)
    factor = _factor(gen.image_shape)
    size = int(np.prod(gen.image_shape)) * 4
    count = max(64, min(count, MAX_POOL_BYTES * factor * factor // size))
    keys = jax.random.split(key, 2)
    if gen.encoder is not None:
        z = np.asarray(
            gen.sample_latent(keys[0], min(count, max(64, MAX_POOL_BYTES // (4 * size))))
        )
        return Pool(z.reshape(len(z), -1), None, np.zeros((0, 0), np.float32), factor)
    count = max(64, min(count, int(MAX_POOL_WORK / max(1.0, forward_cost(gen)))))
    z = np.asarray(gen.sample_latent(keys[0], count))
    label = np.arange(count, dtype=np.int32) % gen.num_classes if gen.num_classes else None
    parts = []
    for at in range(0, count, POOL_BATCH):
        part = None if label is None else label[at : at + POOL_BATCH]
        parts.append(features_of(make_images(gen, z[at : at + POOL_BATCH], part), factor))
    return Pool(z.reshape(count, -1), label, np.concatenate(parts), factor)


def features_of(images: np.ndarray, factor: int) -> np.ndarray:
    """Return images [n, H, W, C] clipped, averaged over blocks of factor^2, flat: [n, features]."""
    n, height, width, channels = images.shape
    height, width = height // factor, width // factor
    images = np.clip(images[:, : height * factor, : width * factor], -1, 1)
    blocks = images.reshape(n, height, factor, width, factor, channels)
    return np.ascontiguousarray(blocks.mean((2, 4), dtype=np.float32)).reshape(n, -1)


def make_starts(
    gen: Generator,
    pool: Pool,
    images: np.ndarray,
    restarts: int,
    config: InvertConfig,
    key: jax.Array,
) -> Starts:
    """Return the starts of every image.

    Args:
      gen: the candidate.
      pool: its pool.
      images: [n, H, W, C] float32 in [-1, 1].
      restarts: number of starts of an image.
      config: kind of starts.
      key: of the noise or the prior samples.
    """
    n = len(images)
    d = int(np.prod(gen.latent_shape))
    samples = np.asarray(gen.sample_latent(key, n * restarts)).reshape(n, restarts, d)
    if gen.num_classes:
        return _conditional(gen, pool, images, config, samples)
    if config.start == "prior":
        return Starts(samples, None)
    if gen.encoder is not None:
        return Starts(_spread(_encode(gen, images)[:, None], samples, config), None)
    features = features_of(images, pool.factor)
    if config.start == "pool":
        nearest = np.argsort(_distances(features, pool.features), axis=1, kind="stable")[
            :, :restarts
        ]
        z = pool.z[nearest[:, np.arange(restarts) % nearest.shape[1]]]
        return Starts(z, None)
    guess = regress(pool.features, pool.z, features)
    return Starts(_spread(guess[:, None], samples, config), None)


def _encode(gen: Generator, images: np.ndarray) -> np.ndarray:
    """Return the encoder's guesses [images, d], one image at a time: its activations are large."""
    fn = _encoder(gen.encoder)
    return np.concatenate(
        [np.asarray(fn(gen.state, image[None])).reshape(1, -1) for image in images]
    )


@functools.lru_cache(maxsize=64)
def _encoder(encode: Any) -> Any:
    return jax.jit(encode)


def _spread(guess: np.ndarray, samples: np.ndarray, config: InvertConfig) -> np.ndarray:
    """Return the guess, then the guess with growing noise; every fourth is a prior sample."""
    restart = np.arange(samples.shape[1])
    noise = np.where(restart == 0, 0.0, config.spread * (1 + restart // 4)).astype(np.float32)
    moved = guess + noise[None, :, None] * samples
    z = np.where((restart % 4 == 3)[None, :, None], samples, moved)
    return z.astype(np.float32)


def _conditional(
    gen: Generator, pool: Pool, images: np.ndarray, config: InvertConfig, samples: np.ndarray
) -> Starts:
    """Return starts over the classes, ranked by how well each one's guess reproduces the image."""
    assert pool.label is not None
    features = features_of(images, pool.factor)
    n, restarts = samples.shape[:2]
    guesses = _class_guesses(gen, pool, features)
    losses = np.stack(
        [_start_loss(gen, guesses[c], c, features, pool.factor) for c in range(gen.num_classes)]
    )
    order = np.argsort(losses, axis=0, kind="stable").T  # [n, classes]
    picked = order[:, _ranks(restarts) % gen.num_classes]
    guess = np.stack([guesses[picked[i], i] for i in range(n)])  # [n, restarts, d]
    again = (np.arange(restarts) >= gen.num_classes)[None, :, None]
    z = (
        samples
        if config.start == "prior"
        else np.where(again, guess + config.spread * samples, guess)
    )
    return Starts(z.astype(np.float32), picked.astype(np.int32))


def _ranks(restarts: int) -> np.ndarray:
    """Return the rank of the class that each restart searches [restarts].

    The best first, then the odd restarts in order, then the even ones, which may be used to begin
    beside the best latent so far instead.
    """
    restart = np.arange(restarts)
    even = np.where(restart == 0, 0, restarts // 2 + restart // 2)
    return np.where(restart % 2, (restart + 1) // 2, even)


def _class_guesses(gen: Generator, pool: Pool, features: np.ndarray) -> np.ndarray:
    """Return the latent guessed for each image if it were of each class [classes, n, d].

    By a regression within the class, or over the whole pool where a class has too few images in it.
    """
    labels = np.asarray(pool.label)
    if np.bincount(labels, minlength=gen.num_classes).min() < CLASS_POOL:
        shared = regress(pool.features, pool.z, features)
        return np.broadcast_to(shared, (gen.num_classes, *shared.shape))
    own = [labels == label for label in range(gen.num_classes)]
    return np.stack([regress(pool.features[rows], pool.z[rows], features) for rows in own])


def _start_loss(
    gen: Generator, z: np.ndarray, label: int, features: np.ndarray, factor: int
) -> np.ndarray:
    images = make_images(gen, z, np.full(len(z), label))
    return np.mean(np.square(features_of(images, factor) - features), axis=1)


def regress(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the ridge regression of y [n, d] on x [n, p], at new points [m, p]."""
    mean, center = x.mean(0), y.mean(0)
    x = x - mean
    if len(x) >= x.shape[1]:
        # (X'X + r I) b = X'y, r a fraction of the mean variance: p equations where p <= n
        gram = x.T @ x
        gram[np.diag_indices_from(gram)] += POOL_RIDGE * np.trace(gram) / len(gram) + 1e-12
        return (at - mean) @ np.linalg.solve(gram, x.T @ (y - center)) + center
    # its dual, b = X'(X X' + r I)^-1 y: n equations where features outnumber samples
    gram = x @ x.T
    gram[np.diag_indices_from(gram)] += POOL_RIDGE * np.trace(gram) / len(gram) + 1e-12
    return (at - mean) @ (x.T @ np.linalg.solve(gram, y - center)) + center


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * a, 1)[:, None] - 2 * a @ b.T + np.sum(b * b, 1)[None]


def _factor(image_shape: tuple[int, int, int]) -> int:
    height, width, channels = image_shape
    factor = 1
    while (height // factor) * (width // factor) * channels > MAX_FEATURES and min(
        height, width
    ) // factor > 4:
        factor += 1
    return factor


def as_floats(images: ArrayLike) -> np.ndarray:
    """Return uint8 images as float32 in [-1, 1]."""
    return np.asarray(images).astype(np.float32) / np.float32(127.5) - np.float32(1)
