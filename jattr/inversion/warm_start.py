"""Warm starts: where restarts begin.

The guess of an autoencoder is its encoder's. Of others it is a regression from images to latents:
a ridge regression of the latent on the pixels of a pool of the generator's own images. It costs a
fraction of a second once a candidate, serves every image, and for most small generators its guess
lies where Gauss-Newton steps converge, where a prior sample seldom does (docs/decisions/0001 has
the measurements).

A warm start is any callable that takes the arguments of `WarmStart` and returns latents
[images, restarts, d], or `Starts` with their classes.
"""

import functools
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.errors import InputError
from jattr.generators import ops
from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.evaluate import forward_cost, make_images
from jattr.inversion.problem import Target, edge_of, logit
from jattr.solvers.base import Prior as LatentPrior
from jattr.solvers.base import check_fields, check_number
from jattr.typing import PyTree


@dataclass(frozen=True, kw_only=True)
class EnsembleKalman:
    """Statistical linearisation: a cloud of latents about a start shows which way to move it.

    Iglesias, Law, Stuart, Ensemble Kalman methods for inverse problems, Inverse Problems 29 (2013);
    here one regression a pass.
    """

    size: int = 128  # latents of the cloud, images a pass: a power of 2
    # of the cloud in each pass, in the prior's standard deviations
    spreads: tuple[float, ...] = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12)
    ridge: float = 1e-2  # of the images' mean variance
    max_numbers: int = 1 << 20  # of images made at once

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)
        if self.size < 8 or self.size & (self.size - 1):
            raise InputError(
                f"size of EnsembleKalman is {self.size}; it is a power of 2 from 8, so that large"
                " images are made in equal parts"
            )


@functools.lru_cache(maxsize=64)
def make_ensemble(
    apply: ApplyFn, shape: tuple[int, ...], precision: str, settings: EnsembleKalman
) -> Callable[..., jax.Array]:
    """Return compiled `fn(state, prior, target, label, z [d], key) -> z [d]` for one image."""
    count = settings.size

    def run(
        state: PyTree,
        prior: LatentPrior,
        target: Target,
        label: jax.Array | None,
        z: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        cloud = jax.random.normal(key, (count, z.size))
        # directions of the prior about 0
        cloud = (cloud - cloud.mean(0)) * prior.scale
        edge = edge_of(target)
        low, high = jnp.where(target.below, edge, -1.0), jnp.where(target.above, edge, 1.0)
        observed = logit(jnp.clip(edge, -1.0, 1.0)).ravel()
        most = max(1, settings.max_numbers // target.center.size)
        size = max(8, min(count, 1 << int(math.log2(most))))

        def images(z: jax.Array) -> jax.Array:
            given = None if label is None else jnp.broadcast_to(label, z.shape[:1])
            return logit(jnp.clip(apply(state, z, label=given), low, high)).reshape(len(z), -1)

        def shrink(z: jax.Array, spread: jax.Array) -> tuple[jax.Array, None]:
            around = (z + spread * cloud).reshape(count // size, size, *shape)
            values = (
                jax.lax.map(images, around).reshape(count, -1)
                if size < count
                else images(around[0])
            )
            # the linear map from latents to logits that fits the cloud, in its dual form:
            # move = C'(Y Y' + r I)^-1 Y (y - mean), C and Y the cloud's latents and logits
            offsets = values - values.mean(0)
            gram = offsets @ offsets.T
            gram = gram + (settings.ridge * jnp.trace(gram) / count + 1e-12) * jnp.eye(count)
            weights = jax.scipy.linalg.cho_solve(
                jax.scipy.linalg.cho_factor(gram), offsets @ (observed - values.mean(0))
            )
            moved = z + spread * (cloud.T @ weights)
            return jnp.where(jnp.isfinite(moved).all(), moved, z), None

        here = ops.for_platform(jax.default_backend())
        with here, jax.default_matmul_precision(precision):
            return jax.lax.scan(shrink, z, jnp.asarray(settings.spreads))[0]

    return jax.jit(run)


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How many images of a candidate's prior are made, once for all restarts."""

    size: int | None = None  # images; None: `small`, or `large` from `many_images` on
    small: int = 512
    large: int = 2048
    many_images: int = 16  # searched, from which on the large pool pays
    class_size: int = 128  # images of a class at least, of up to 64 classes
    max_features: int = 1024  # pixels that are compared: larger images are averaged down first
    batch: int = 64  # images kept whole at once
    max_bytes: int = 256 << 20  # of the features
    max_work: float = 2e12  # floating-point operations; at least 64 images are made all the same

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)
        if self.size is not None:
            check_number(self, "size", 1, 1_000_000, whole=True)
            for name in ("small", "large", "many_images"):
                if getattr(self, name) != getattr(Pooling, name):
                    raise InputError(
                        f"pooling.{name} has no effect beside pooling.size {self.size!r}, which is"
                        " the size of every pool; leave one of them away"
                    )

    def size_for(self, num_images: int) -> int:
        """Return how many images the pool of a search of so many images has."""
        return self.size or (self.small if num_images < self.many_images else self.large)


class Starts(NamedTuple):
    """Where to begin, for each image the most hopeful first."""

    z: np.ndarray  # [images, restarts, d] float32
    label: np.ndarray | None  # [images, restarts] int32; None if unconditional


class PriorSamples(NamedTuple):
    """Images of the generator from its prior, as latents and features; made once a candidate."""

    z: np.ndarray  # [n, d]
    label: np.ndarray | None  # [n]
    features: np.ndarray  # [n, features], averaged-down images; [0, 0] where an encoder guesses
    factor: int  # by which images are averaged down


_SAMPLES: weakref.WeakKeyDictionary[Generator, dict[tuple[int, Pooling, bytes], PriorSamples]] = (
    weakref.WeakKeyDictionary()
)


def make_pool(gen: Generator, settings: Pooling, key: jax.Array, num_images: int) -> PriorSamples:
    """Return the pool of a candidate for the search of so many images.

    Made once for a generator, settings and key, and kept while the generator is.
    """
    count = settings.size_for(num_images)
    pools = _SAMPLES.setdefault(gen, {})
    name = (count, settings, np.asarray(jax.random.key_data(key)).tobytes())
    if name not in pools:
        pools[name] = _sample_pool(gen, settings, count, key)
    return pools[name]


def forget_pools() -> None:
    """Drop every pool that is kept; for benchmarks that time a first call."""
    _SAMPLES.clear()


def _sample_pool(gen: Generator, settings: Pooling, count: int, key: jax.Array) -> PriorSamples:
    if gen.num_classes:
        count = max(count, min(gen.num_classes, 64) * settings.class_size)
    factor = _factor(gen.image_shape, settings.max_features)
    size = int(np.prod(gen.image_shape)) * 4
    count = max(64, min(count, settings.max_bytes * factor * factor // size))
    keys = jax.random.split(key, 2)
    if gen.encoder is not None:
        most = max(64, settings.max_bytes // (4 * size))
        z = np.asarray(gen.sample_latent(keys[0], min(count, most)))
        return PriorSamples(z.reshape(len(z), -1), None, np.zeros((0, 0), np.float32), factor)
    count = max(64, min(count, int(settings.max_work / max(1.0, forward_cost(gen)))))
    z = np.asarray(gen.sample_latent(keys[0], count))
    label = np.arange(count, dtype=np.int32) % gen.num_classes if gen.num_classes else None
    parts = []
    for at in range(0, count, settings.batch):
        rows = slice(at, at + settings.batch)
        part = None if label is None else label[rows]
        parts.append(features_of(make_images(gen, z[rows], part), factor))
    return PriorSamples(z.reshape(count, -1), label, np.concatenate(parts), factor)


def features_of(images: np.ndarray, factor: int) -> np.ndarray:
    """Return images [n, H, W, C] clipped, averaged over blocks of factor^2, flat: [n, features]."""
    n, height, width, channels = images.shape
    height, width = height // factor, width // factor
    images = np.clip(images[:, : height * factor, : width * factor], -1, 1)
    blocks = images.reshape(n, height, factor, width, factor, channels)
    return np.ascontiguousarray(blocks.mean((2, 4), dtype=np.float32)).reshape(n, -1)


class WarmStart(Protocol):
    """Where restarts begin; any callable with these arguments is one."""

    def __call__(
        self,
        gen: Generator,
        images: np.ndarray,
        *,
        num_restarts: int,
        key: jax.Array,
        pool: PriorSamples,
    ) -> Starts | np.ndarray:
        """Return the latents [images, restarts, d] at which the restarts of every image begin.

        Args:
          gen: the candidate.
          images: [n, H, W, C] float32 in [-1, 1].
          num_restarts: of each image.
          key: of every random choice.
          pool: images of the candidate from its prior.
        """


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """A guess from the image, then the guess with growing noise; every fourth a prior sample.

    The guess is an autoencoder's own, or a ridge regression's on the pool; of a class-conditional
    candidate one for each class, the classes ranked by how well their guesses do.
    """

    spread: float = 0.3  # of the noise, growing, in units of the prior's standard deviation
    ridge: float = 1e-3  # of the mean feature's variance
    class_images: int = 32  # of the pool that a class's own regression needs

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)

    def __call__(
        self,
        gen: Generator,
        images: np.ndarray,
        *,
        num_restarts: int,
        key: jax.Array,
        pool: PriorSamples,
    ) -> Starts:
        """Return the starts of every image; see `WarmStart`."""
        samples = _prior_samples(gen, len(images), num_restarts, key)
        if gen.num_classes:
            return _conditional(gen, pool, images, samples, self)
        if gen.encoder is not None:
            return Starts(_spread(_encode(gen, images)[:, None], samples, self.spread), None)
        guess = regress(pool.features, pool.z, features_of(images, pool.factor), self.ridge)
        return Starts(_spread(guess[:, None], samples, self.spread), None)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """The guess of an autoencoder's own encoder, then the guess with growing noise."""

    spread: float = 0.3  # of the noise, in units of the prior's standard deviation

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)

    def __call__(
        self,
        gen: Generator,
        images: np.ndarray,
        *,
        num_restarts: int,
        key: jax.Array,
        pool: PriorSamples,
    ) -> Starts:
        """Return the starts of every image; see `WarmStart`.

        Raises:
          InputError: the candidate has no encoder.
        """
        del pool
        if gen.encoder is None:
            raise InputError(
                f"generator {gen.name!r} has no encoder to start from; use the warm start ridge,"
                " pool or prior"
            )
        samples = _prior_samples(gen, len(images), num_restarts, key)
        return Starts(_spread(_encode(gen, images)[:, None], samples, self.spread), None)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The latents of the pool's nearest images.

    Of candidates whose pool holds no images to compare, or whose classes must be told first, the
    guess in its place.
    """

    guess: Ridge = field(default_factory=Ridge)

    def __call__(
        self,
        gen: Generator,
        images: np.ndarray,
        *,
        num_restarts: int,
        key: jax.Array,
        pool: PriorSamples,
    ) -> Starts:
        """Return the starts of every image; see `WarmStart`."""
        if gen.num_classes or gen.encoder is not None:
            return self.guess(gen, images, num_restarts=num_restarts, key=key, pool=pool)
        distances = _distances(features_of(images, pool.factor), pool.features)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :num_restarts]
        return Starts(pool.z[nearest[:, np.arange(num_restarts) % nearest.shape[1]]], None)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Samples of the prior; of a class-conditional candidate the classes ranked by guesses."""

    guess: Ridge = field(default_factory=Ridge)

    def __call__(
        self,
        gen: Generator,
        images: np.ndarray,
        *,
        num_restarts: int,
        key: jax.Array,
        pool: PriorSamples,
    ) -> Starts:
        """Return the starts of every image; see `WarmStart`."""
        samples = _prior_samples(gen, len(images), num_restarts, key)
        if not gen.num_classes:
            return Starts(samples, None)
        return _conditional(gen, pool, images, samples, self.guess)._replace(z=samples)


@dataclass(frozen=True, eq=False)
class Given:
    """Latents of the caller's own: [images, restarts, ...], or [images, ...] for one restart."""

    latents: np.ndarray  # kept as float32, a copy of its own

    def __post_init__(self) -> None:
        """Check and copy the latents.

        Raises:
          InputError: they are no real numbers, or have no axis of images.
        """
        try:
            latents = np.array(self.latents)
        except ValueError:
            latents = np.array(None)
        # bfloat16 is of none of numpy's kinds
        real = latents.dtype.kind in "fiu" or jnp.issubdtype(latents.dtype, jnp.floating)
        if latents.ndim < 1 or not real:
            raise InputError(
                f"latents0 is {latents.dtype} {latents.shape}; it is floats"
                " [images, restarts, ...], or [images, ...] for one restart"
            )
        latents = latents.astype(np.float32)
        latents.flags.writeable = False
        object.__setattr__(self, "latents", latents)

    def __call__(
        self,
        gen: Generator,
        images: np.ndarray,
        *,
        num_restarts: int,
        key: jax.Array,
        pool: PriorSamples,
    ) -> np.ndarray:
        """Return the latents of every image; restarts beyond those given are prior samples.

        Raises:
          InputError: latents of another shape.
        """
        del pool
        size = int(np.prod(gen.latent_shape))
        latents = self.latents
        if len(latents) != len(images) or latents.size % (len(images) * size):
            raise InputError(
                f"latents0 has shape {latents.shape}; for {len(images)} images of generator"
                f" {gen.name!r} it is [{len(images)}, restarts, {size}] or"
                f" [{len(images)}, {', '.join(map(str, gen.latent_shape))}]"
            )
        given = latents.reshape(len(images), -1, size)
        if given.shape[1] > num_restarts:
            raise InputError(
                f"latents0 has {given.shape[1]} starts of each image, and {num_restarts} restarts"
                " begin; leave starts away, or let restarts be as many"
            )
        samples = _prior_samples(gen, len(images), num_restarts, key)
        return np.concatenate([given, samples[:, given.shape[1] :]], axis=1)

    def _content(self) -> tuple[tuple[int, ...], bytes]:
        return self.latents.shape, np.ascontiguousarray(self.latents).tobytes()

    def __eq__(self, other: object) -> bool:
        """Return whether these are the same latents."""
        return isinstance(other, Given) and self._content() == other._content()

    def __hash__(self) -> int:
        """Return the hash of the latents."""
        return hash(self._content())


# How files and the command line spell the warm starts.
WARM_STARTS: dict[str, Callable[[float], WarmStart]] = {  # from the spread
    "linear": lambda spread: Ridge(spread=spread),
    "pool": lambda spread: Pool(guess=Ridge(spread=spread)),
    "prior": lambda spread: Prior(guess=Ridge(spread=spread)),
}


def make_starts(
    warm_start: WarmStart,
    gen: Generator,
    images: np.ndarray,
    num_restarts: int,
    key: jax.Array,
    pool: PriorSamples,
) -> Starts:
    """Return the starts of every image, as a warm start gives them.

    Raises:
      InputError: it gives another shape or type, or values that are not finite.
    """
    starts = warm_start(gen, images, num_restarts=num_restarts, key=key, pool=pool)
    if not isinstance(starts, Starts):
        starts = Starts(np.asarray(starts), None)
    shape = (len(images), num_restarts, int(np.prod(gen.latent_shape)))
    if starts.z.size == math.prod(shape) and starts.z.shape[:2] == shape[:2]:
        starts = starts._replace(z=starts.z.reshape(shape))
    if starts.z.shape != shape or starts.z.dtype.kind != "f" or not np.isfinite(starts.z).all():
        raise InputError(
            f"the warm start {getattr(warm_start, '__name__', type(warm_start).__name__)!r} gives"
            f" {starts.z.dtype} {starts.z.shape}; it is finite floats [images, restarts, latent] ="
            f" {shape}"
        )
    if gen.num_classes and starts.label is None:
        label = np.arange(num_restarts, dtype=np.int32) % gen.num_classes
        starts = starts._replace(label=np.broadcast_to(label, shape[:2]))
    return starts._replace(z=starts.z.astype(np.float32))


def _prior_samples(gen: Generator, images: int, restarts: int, key: jax.Array) -> np.ndarray:
    """Return samples of the prior [images, restarts, d]."""
    z = np.asarray(gen.sample_latent(key, images * restarts))
    return z.reshape(images, restarts, int(np.prod(gen.latent_shape)))


def _encode(gen: Generator, images: np.ndarray) -> np.ndarray:
    """Return the encoder's guesses [images, d], one image at a time: its activations are large."""
    fn = _encoder(gen.encoder)
    return np.concatenate(
        [np.asarray(fn(gen.state, image[None])).reshape(1, -1) for image in images]
    )


@functools.lru_cache(maxsize=64)
def _encoder(encode: Any) -> Any:
    def fn(state: PyTree, images: jax.Array) -> jax.Array:
        with ops.for_platform(jax.default_backend()):
            return encode(state, images)

    return jax.jit(fn)


def _spread(guess: np.ndarray, samples: np.ndarray, spread: float) -> np.ndarray:
    """Return the guess, then the guess with growing noise; every fourth is a prior sample."""
    restart = np.arange(samples.shape[1])
    noise = np.where(restart == 0, 0.0, spread * (1 + restart // 4)).astype(np.float32)
    moved = guess + noise[None, :, None] * samples
    z = np.where((restart % 4 == 3)[None, :, None], samples, moved)
    return z.astype(np.float32)


def _conditional(
    gen: Generator, pool: PriorSamples, images: np.ndarray, samples: np.ndarray, settings: Ridge
) -> Starts:
    """Return starts over the classes, ranked by how well each one's guess reproduces the image."""
    assert pool.label is not None
    features = features_of(images, pool.factor)
    n, restarts = samples.shape[:2]
    guesses = _class_guesses(gen, pool, features, settings)
    losses = np.stack(
        [_start_loss(gen, guesses[c], c, features, pool.factor) for c in range(gen.num_classes)]
    )
    order = np.argsort(losses, axis=0, kind="stable").T  # [n, classes]
    picked = order[:, _ranks(restarts) % gen.num_classes]
    guess = np.stack([guesses[picked[i], i] for i in range(n)])  # [n, restarts, d]
    again = (np.arange(restarts) >= gen.num_classes)[None, :, None]
    z = np.where(again, guess + settings.spread * samples, guess)
    return Starts(z.astype(np.float32), picked.astype(np.int32))


def _ranks(restarts: int) -> np.ndarray:
    """Return the rank of the class that each restart searches [restarts].

    The best first, then the odd restarts in order, then the even ones, which may be used to begin
    beside the best latent so far instead.
    """
    restart = np.arange(restarts)
    even = np.where(restart == 0, 0, restarts // 2 + restart // 2)
    return np.where(restart % 2, (restart + 1) // 2, even)


def _class_guesses(
    gen: Generator, pool: PriorSamples, features: np.ndarray, settings: Ridge
) -> np.ndarray:
    """Return the latent guessed for each image if it were of each class [classes, n, d].

    By a regression within the class, or over the whole pool where a class has too few images in it.
    """
    labels = np.asarray(pool.label)
    if np.bincount(labels, minlength=gen.num_classes).min() < settings.class_images:
        shared = regress(pool.features, pool.z, features, settings.ridge)
        return np.broadcast_to(shared, (gen.num_classes, *shared.shape))
    own = [labels == label for label in range(gen.num_classes)]
    return np.stack(
        [regress(pool.features[rows], pool.z[rows], features, settings.ridge) for rows in own]
    )


def _start_loss(
    gen: Generator, z: np.ndarray, label: int, features: np.ndarray, factor: int
) -> np.ndarray:
    images = make_images(gen, z, np.full(len(z), label))
    return np.mean(np.square(features_of(images, factor) - features), axis=1)


def regress(x: np.ndarray, y: np.ndarray, at: np.ndarray, ridge: float = Ridge.ridge) -> np.ndarray:
    """Return the ridge regression of y [n, d] on x [n, p], at new points [m, p]."""
    mean, center = x.mean(0), y.mean(0)
    x = x - mean
    if len(x) >= x.shape[1]:
        # (X'X + r I) b = X'y, r a fraction of the mean variance: p equations where p <= n
        gram = x.T @ x
        gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram) + 1e-12
        return (at - mean) @ np.linalg.solve(gram, x.T @ (y - center)) + center
    # its dual, b = X'(X X' + r I)^-1 y: n equations where features outnumber samples
    gram = x @ x.T
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram) + 1e-12
    return (at - mean) @ (x.T @ np.linalg.solve(gram, y - center)) + center


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * a, 1)[:, None] - 2 * a @ b.T + np.sum(b * b, 1)[None]


def _factor(image_shape: tuple[int, int, int], max_features: int) -> int:
    height, width, channels = image_shape
    factor = 1
    while (height // factor) * (width // factor) * channels > max_features and min(
        height, width
    ) // factor > 4:
        factor += 1
    return factor


def as_floats(images: ArrayLike) -> np.ndarray:
    """Return uint8 images as float32 in [-1, 1]."""
    return np.asarray(images).astype(np.float32) / np.float32(127.5) - np.float32(1)
