"""Final-layer inversion: the activations before a generator's last layer that make an image, and
are they usual?

Laszkiewicz, Ricker, Lederer, Fischer, Single-Model Attribution of Generative Models Through
Final-Layer Inversion (FLIPAD), arXiv 2306.06210: with the output function undone, an image is t =
L(a); the activations nearest to the mean ones, min |t - L(a)|^2 / 2 + penalty |a - mean|_1, are a
convex lasso, solved by FISTA (Beck, Teboulle, SIAM J. Imaging Sciences 2009). An anomaly detector
(Deep SAD), trained on the activations of own images, each standardised, and of others, judges them.
Ours: the others are the other sources' images, not photographs; a smaller detector; 100 steps of
FISTA of the largest stable length, not thousands; bytes at the border count as half a byte inside
it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.attribution.pilot import candidate_key
from jattr.baselines.base import Attributor, checked_images, in_batches, to_unit
from jattr.baselines.deep_sad import fit_detector
from jattr.errors import InputError
from jattr.generators.base import FinalLayer, Generator
from jattr.typing import PyTree

PRIOR_SAMPLES, ACTIVATION_BATCH = (
    512,
    32,
)  # latents whose activations are averaged, and images at once
# of the power iteration for the largest singular value, and over what it finds
POWER_STEPS, SINGULAR_VALUE_MARGIN = 40, 1.05
# added to the deviation that an activation is divided by, as the authors' program does
DEVIATION_FLOOR = 0.05
DISTANCE_OFFSET = 1e-9


@dataclass(frozen=True, kw_only=True)
class FinalLayerConfig:
    """Settings of the lasso, the detector's training and the threshold."""

    penalty: float = 5e-4  # of |a - mean|_1
    steps: int = 100  # of FISTA
    held: float = 0.2  # share of own images kept from training, for the threshold
    level: float = 0.05  # share of those beyond the threshold
    epochs: int = 30
    batch: int = 64
    rate: float = 3e-3  # of Adam at its highest
    warmup: int = 20  # steps in which it rises from 0
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if (
            min(self.steps, self.epochs, self.batch) < 1
            or not 0 < self.held < 1
            or not 0 < self.level < 1
        ):
            raise InputError(
                "steps, epochs and batch are 1 or more, held and level between 0 and 1"
            )
        if not self.rate > 0 or min(self.penalty, self.weight_decay, self.warmup) < 0:
            raise InputError("rate is above 0, penalty, weight_decay and warmup are 0 or more")


def fit(
    generators: Sequence[Generator],
    images: Mapping[str, np.ndarray],
    key: jax.Array,
    *,
    config: FinalLayerConfig | None = None,
) -> Attributor:
    """Return final-layer inversion as an attributor.

    Scores are log(threshold / squared distance from the centre).

    Args:
      generators: the sources, whose last layer is linear and the same for every image.
      images: own images of each by its name, uint8 [n, H, W, C].
      key: of prior samples, weights and orders.
      config: settings.

    Raises:
      InputError: a generator that does not end so, images that are not the sources', or fewer than
        5 of one.
      ImageError: images of another shape or type.
    """
    config = config or FinalLayerConfig()
    other = [gen.name for gen in generators if gen.final is None]
    if other:
        raise InputError(
            f"generators {', '.join(map(repr, other))} do not end in one linear layer that is the"
            " same for every"
            " image; final-layer inversion takes layered ones, ProGAN and StyleGAN"
        )
    own = checked_images(generators, images, least=5)
    judges = []
    for number, gen in enumerate(generators):
        others = _some_of([part for at, part in enumerate(own) if at != number], len(own[number]))
        judges.append(_fit_one(gen, own[number], others, candidate_key(key, gen), config))

    def score_fn(pixels: np.ndarray) -> np.ndarray:
        return np.stack([judge(pixels) for judge in judges], 1)

    return Attributor(
        "final-layer", tuple(gen.name for gen in generators), generators[0].image_shape, score_fn
    )


def _fit_one(
    gen: Generator, own: np.ndarray, others: np.ndarray, key: jax.Array, config: FinalLayerConfig
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the score [n] of images for one source."""
    keys = jax.random.split(key)
    features_fn = make_activations(gen, keys[0], config)
    normal = features_fn(own)
    held = max(1, round(config.held * len(own)))
    mean, deviation = normal[held:].mean(0), normal[held:].std(0) + DEVIATION_FLOOR
    features = [
        (part - mean) / deviation
        for part in (normal[held:], features_fn(others) if len(others) else normal[:0])
    ]
    distances = fit_detector(features[0], features[1], keys[1], config)
    threshold = np.quantile(distances((normal[:held] - mean) / deviation), 1.0 - config.level)

    def judge(pixels: np.ndarray) -> np.ndarray:
        return np.log(threshold + DISTANCE_OFFSET) - np.log(
            distances((features_fn(pixels) - mean) / deviation) + DISTANCE_OFFSET
        )

    return judge


def make_activations(
    gen: Generator, key: jax.Array, config: FinalLayerConfig
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from images uint8 [n, H, W, C] to activations [n, h, w, c] before the
    last layer.

    Args:
      gen: the generator; it has `final`.
      key: of the prior samples that the mean is of.
      config: settings.
    """
    assert gen.final is not None, "checked before"
    final = gen.final(gen)
    mean = _mean_activations(gen, final, key)
    recover_fn, state = _make_recover(final, config.penalty, config.steps), gen.state
    size = _make_largest_singular(final)(state, mean)

    def features(pixels: np.ndarray) -> np.ndarray:
        result = in_batches(
            lambda some: recover_fn(state, mean, size, some), pixels, ACTIVATION_BATCH
        )
        return result if result.ndim == 4 else result.reshape(len(result), 1, 1, -1)

    return features


def _mean_activations(gen: Generator, final: FinalLayer, key: jax.Array) -> jax.Array:
    keys = jax.random.split(key)
    z = np.asarray(gen.sample_latent(keys[0], PRIOR_SAMPLES)).reshape(
        -1, ACTIVATION_BATCH, *gen.latent_shape
    )
    label = np.asarray(jax.random.randint(keys[1], z.shape[:2], 0, max(1, gen.num_classes)))
    fn = _make_mean(final, gen.num_classes > 0)
    return jnp.mean(jnp.stack([fn(gen.state, *some) for some in zip(z, label, strict=True)]), 0)


@functools.lru_cache(maxsize=16)
def _make_mean(final: FinalLayer, conditional: bool) -> Callable[..., jax.Array]:
    return jax.jit(
        lambda state, z, label: final.activations(
            state, z, label=label if conditional else None
        ).mean(0)
    )


@functools.lru_cache(maxsize=16)
def _make_recover(final: FinalLayer, penalty: float, steps: int) -> Callable[..., jax.Array]:
    def recover(state: PyTree, mean: jax.Array, size: jax.Array, pixels: jax.Array) -> jax.Array:
        target = before_output(to_unit(pixels), final)
        start = jnp.broadcast_to(mean, (len(pixels), *mean.shape))
        length = 1.0 / (SINGULAR_VALUE_MARGIN * size) ** 2

        def step(carry: tuple[jax.Array, jax.Array, jax.Array], _: None) -> tuple[Any, None]:
            a, extrapolated, t = carry
            output, pull_back = jax.vjp(lambda x: final.linear(state, x), extrapolated)
            moved = extrapolated - length * pull_back(output - target)[0] - mean
            new = mean + jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - length * penalty, 0.0)
            t_new = (1.0 + jnp.sqrt(1.0 + 4.0 * jnp.square(t))) / 2.0
            return (new, new + ((t - 1.0) / t_new) * (new - a), t_new), None

        (a, _, _), _ = jax.lax.scan(step, (start, start, jnp.float32(1.0)), None, length=steps)
        return a

    return jax.jit(recover)


@functools.lru_cache(maxsize=16)
def _make_largest_singular(final: FinalLayer) -> Callable[[PyTree, jax.Array], jax.Array]:
    """Return the function from state and one image's activations to the last layer's largest
    singular value.
    """

    def power_iteration(state: PyTree, like: jax.Array) -> jax.Array:
        zero = jnp.zeros((1, *like.shape))
        offset, back = jax.vjp(lambda x: final.linear(state, x), zero)

        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return back(final.linear(state, x / jnp.linalg.norm(x)) - offset)[0], None

        x, _ = jax.lax.scan(
            step, jax.random.normal(jax.random.key(0), zero.shape), None, length=POWER_STEPS
        )
        return jnp.sqrt(jnp.linalg.norm(x))

    return jax.jit(power_iteration)


def before_output(x: jax.Array, final: FinalLayer) -> jax.Array:
    """Return what the last linear layer gave, of images x in [-1, 1], at most half a byte from
    the border.
    """
    low, high = final.value_range
    if final.output == "identity":
        return low + (x + 1.0) * ((high - low) / 2.0)
    inside = jnp.clip(low + (x + 1.0) * ((high - low) / 2.0), *_inside(final.output))
    return jnp.arctanh(inside) if final.output == "tanh" else jnp.log(inside) - jnp.log1p(-inside)


def _inside(output: str) -> tuple[float, float]:
    half = 1.0 / 255.0 if output == "tanh" else 0.5 / 255.0
    return (-1.0 + half, 1.0 - half) if output == "tanh" else (half, 1.0 - half)


def _some_of(kinds: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Return about `count` images, equally many of each kind; none of no kinds."""
    if not kinds:
        return np.zeros((0, 1, 1, 1), np.uint8)
    return np.concatenate([images[: -(-count // len(kinds))] for images in kinds])
