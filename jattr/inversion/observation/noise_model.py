"""The noise model of an alteration: what it leaves over at the true latent.

A generator followed by the alteration's smooth form is again a generator, of what is observed of
its images. Programs round on the way; by how much is learnt from own images of the candidate.
"""

import dataclasses
import functools
import hashlib
import math
import weakref
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import chdtri

from jattr.alterations.chain import Chain, smooth_observation, smooth_pixels
from jattr.generators.base import ApplyFn, Generator, Route
from jattr.inversion.evaluate import make_images
from jattr.inversion.observation.censored_likelihood import (
    Entropy,
    Intervals,
    likelihood_statistic,
)
from jattr.inversion.problem import STEP
from jattr.solvers.base import check_fields
from jattr.typing import PyTree

BYTES_PER_UNIT = 127.5  # from [-1, 1] units to bytes


@dataclass(frozen=True, kw_only=True)
class NoiseLearning:
    """How a noise model is learnt from own images of the candidate."""

    num_images: int = 32
    max_numbers: int = 1 << 23  # of all of them; at least 8 images are made
    min_sigma: float = 0.05  # standard deviation of a prediction, in bytes
    # share of a number's outcomes that must be certain for those alone to give its residual
    often: float = 0.5
    varied: float = 1 / 16  # share of images that must differ in a number to make it informative
    lower_tail: float = 0.01  # of what the images show: where the dispersion is taken
    entropy: Entropy = field(default_factory=Entropy)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


class NoiseModel(NamedTuple):
    """What the alteration leaves over at the true latent, per number observed, in bytes."""

    bias: np.ndarray  # [N], mean of what is observed minus the smooth prediction
    sigma: np.ndarray  # [N], standard deviation of what is rounded last about the prediction
    residual_variance: np.ndarray  # [N], mean square of the number observed minus the prediction
    dispersion: float  # variance of an image's statistic, over that of independent numbers
    # standard deviation of own images' numbers, over that of the residual: how many can be told
    # apart
    levels: float
    # bool [N], whether the number differs between own images: one that does not says nothing
    informative: np.ndarray
    worst: float  # the largest residual of an own image at its true latent, over the mean one


_MODELS: weakref.WeakKeyDictionary[Generator, dict[tuple[Chain, NoiseLearning], NoiseModel]] = (
    weakref.WeakKeyDictionary()
)


def learn_noise_model(
    gen: Generator, chain: Chain, settings: NoiseLearning = NoiseLearning()
) -> NoiseModel:
    """Return what an alteration leaves of own images that programs send through it.

    Learnt once for a candidate, chain and settings, which determine it, and held while the
    candidate is.
    """
    models = _MODELS.setdefault(gen, {})
    if (chain, settings) not in models:
        models[chain, settings] = _learn(gen, chain, settings)
    return models[chain, settings]


class _OwnNumbers(NamedTuple):
    """Numbers of own images after an alteration, in bytes: n images, N numbers each."""

    observed: np.ndarray  # [n, N], rounded as the last step does it
    value: np.ndarray  # [n, N], before that rounding where that is available
    prediction: np.ndarray  # [n, N], by the smooth form
    half: np.ndarray  # [N], half the width of the last rounding's intervals
    groups: np.ndarray  # int [N], numbers of one group share their statistics
    below: np.ndarray  # bool [n, N], one-sided numbers; see `Intervals`
    above: np.ndarray


def _own_numbers(gen: Generator, chain: Chain, settings: NoiseLearning) -> _OwnNumbers:
    """Send own images through the alteration, as programs do it and in its smooth form."""
    numbers = math.prod(chain.out_shape(gen.image_shape))
    count = int(np.clip(settings.max_numbers // numbers, 8, settings.num_images))
    z, label, images = gen.sample_images(jax.random.key(settings.num_images), count)
    if chain.saves:
        altered = chain.discrete_of_values(make_images(gen, z, label), gen.to_bytes)
    else:
        altered = chain.discrete(images)
    smooth = make_images(observed_generator(gen, chain, np.ones(1)), z, label)
    smooth = smooth.astype(np.float64).reshape(count, -1)
    jpeg = chain.jpeg
    if jpeg is None:
        observed = altered.reshape(count, -1).astype(np.float64)
        prediction = (smooth + 1.0) * BYTES_PER_UNIT
        half, groups = np.full(smooth.shape[1], 0.5), np.zeros(smooth.shape[1], np.int64)
        return _OwnNumbers(
            observed, observed, prediction, half, groups, observed == 0, observed == 255
        )
    steps, groups = jpeg.steps(altered.shape[1:]), jpeg.groups(altered.shape[1:])
    observed = jpeg.quantised(altered) * steps
    value = jpeg.unquantised(altered).astype(np.float64)
    uncertain = jpeg.uncertain(jpeg.discrete(altered))
    return _OwnNumbers(
        observed, value, smooth * BYTES_PER_UNIT, steps / 2.0, groups, uncertain, uncertain
    )


def _learn(gen: Generator, chain: Chain, settings: NoiseLearning) -> NoiseModel:
    observed, value, prediction, half, groups, below, above = _own_numbers(gen, chain, settings)
    count, jpeg = len(observed), chain.jpeg
    inside = ~(below | above)

    # value = prediction + bias + noise: the mean, and the variance without that of whole numbers
    bias = _group_means(value - prediction, groups, inside)
    variance = _group_means((value - prediction - bias) ** 2, groups, inside) - 1.0 / 12.0
    if jpeg is not None and jpeg.decoded:
        # A second compression has moved values besides: what exceeds its own quantisation noise.
        moved = _group_means((observed - value) ** 2, groups, inside)
        variance = variance + np.maximum(moved - (2.0 * half) ** 2 / 12.0, 0.0)
    sigma = np.sqrt(np.maximum(variance, settings.min_sigma**2))

    # The mean square that least squares meet: over certain numbers, or all where few are certain.
    squares = (observed - prediction - bias) ** 2
    seldom = _group_means(inside.astype(np.float64), groups, np.ones_like(inside)) < settings.often
    compared = inside | seldom[None] if jpeg is not None else inside
    residual_variance = _group_means(squares, groups, compared) + settings.min_sigma**2

    # Dispersion: sum of squared positive z-scores over the lower tail of a chi-square's quantile,
    # so that it is too small with a chance of `lower_tail` only.
    scores = np.array(
        [
            likelihood_statistic(
                p, Intervals(o - bias, half, sigma, b, a), settings.entropy
            ).z_score
            for p, o, b, a in zip(prediction, observed, below, above, strict=True)
        ]
    )
    dispersion = float(np.square(np.maximum(scores, 0.0)).sum()) / float(
        chdtri(count, 1.0 - settings.lower_tail)
    )
    worst = float((squares * compared / residual_variance).mean(1).max())
    levels = float(np.sqrt(prediction.var(0).mean() / residual_variance.mean()))
    return NoiseModel(
        bias,
        sigma,
        residual_variance,
        max(1.0, dispersion),
        levels,
        _informative(observed, settings.varied),
        max(1.0, worst),
    )


def _informative(observed: np.ndarray, share: float) -> np.ndarray:
    """Return which numbers [N] differ from their median in a share of images [n, N]."""
    median = np.median(observed, axis=0, keepdims=True)
    return np.asarray((observed != median).mean(0) >= share)


def _group_means(values: np.ndarray, groups: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the mean [N] over images and each group's numbers, of values [n, N] inside."""
    total = np.bincount(groups, (values * inside).sum(0))
    count = np.bincount(groups, inside.sum(0).astype(np.float64))
    return (total / np.maximum(count, 1.0))[groups]


def _state(gen: Generator, chain: Chain, weight: Any) -> dict[str, Any]:
    shift = -STEP / 2 if gen.rounding == "truncate" else 0.0
    return {
        "generator": gen.state,
        "shift": jnp.float32(shift),
        "parameters": chain.parameters(gen.image_shape),
        "weight": weight,
    }


def observed_generator(gen: Generator, chain: Chain, weight: np.ndarray) -> Generator:
    """Return the generator of what is observed."""
    shape = chain.out_shape(gen.image_shape)
    weights = jnp.float32(1.0)
    if chain.jpeg is not None:
        count = len(chain.jpeg.groups(shape))
        weights = jnp.asarray(np.broadcast_to(weight, (count,)).astype(np.float32)[:, None])
        shape = (1, count, 1)
    apply = smooth_observation(gen.apply, chain, gen.image_shape)
    return _replaced(gen, chain, apply, _state(gen, chain, weights), shape)


def _replaced(
    gen: Generator, chain: Chain, apply: ApplyFn, state: PyTree, shape: tuple[int, int, int]
) -> Generator:
    digest = hashlib.sha256(f"{gen.digest} {chain.digest}".encode()).hexdigest()
    return dataclasses.replace(
        gen,
        apply=apply,
        state=state,
        image_shape=shape,
        encoder=None,
        viewer=None,
        digest=digest,
        rounding="round",
        router=None if gen.router is None else functools.partial(_route, gen),
    )


def _route(gen: Generator, altered: Generator) -> Route:
    """Return the two steps of a generator whose state lies within an altered one's."""
    del altered
    assert gen.router is not None
    mapping, styles = gen.router(gen)
    return Route(_within(mapping), styles)


@functools.lru_cache(maxsize=64)
def _within(mapping: ApplyFn) -> ApplyFn:
    def apply(state: dict[str, Any], z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        return mapping(state["generator"], z, label=label)

    return apply


_PIXEL_GENERATORS: weakref.WeakKeyDictionary[Generator, dict[Chain, Generator]] = (
    weakref.WeakKeyDictionary()
)


def altered_generator(gen: Generator, chain: Chain) -> Generator:
    """Return the generator of altered images; the same object for a candidate and chain.

    So its pool of images for warm starts is made once.
    """
    if not chain.before:
        # Compression changes too little to matter where searches begin.
        return gen
    generators = _PIXEL_GENERATORS.setdefault(gen, {})
    if chain not in generators:
        apply = smooth_pixels(gen.apply, chain, gen.image_shape)
        state = _state(gen, chain, jnp.float32(1))
        altered = _replaced(gen, chain, apply, state, chain.out_shape(gen.image_shape))
        # A router would keep the candidate, the key of the weak dictionary, alive.
        generators[chain] = dataclasses.replace(altered, router=None)
    return generators[chain]
