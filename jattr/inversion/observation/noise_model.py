"""A generator followed by an alteration: again a generator, of what is observed of its images."""

import dataclasses
import functools
import hashlib
import math
import weakref
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import chdtri

from jattr.alterations.chain import Chain, smooth_observation, smooth_pixels
from jattr.generators.base import ApplyFn, Generator, Route
from jattr.inversion.evaluate import make_images
from jattr.inversion.observation.censored_likelihood import Intervals, surprise
from jattr.inversion.problem import STEP

UNIT = 127.5  # bytes to [-1, 1] units
OWN = 32  # own images from which the roundings are learnt
MAX_NUMBERS = 1 << 23  # of all of them; at least 8 are made
LEAST_NOISE = 0.05  # standard deviation of a prediction, in bytes
# share of a number's outcomes that must be known for those alone to say what is left of it
OFTEN = 0.5
SELDOM = 1 / 16  # share of own images that must differ in a number for it to tell something
CAUTION = 0.01  # the dispersion is taken at this lower tail of what `OWN` images show


class Roundings(NamedTuple):
    """What the alteration leaves over at the true latent, per number observed, in bytes."""

    bias: np.ndarray  # [N], mean of what is observed minus the smooth prediction
    noise: np.ndarray  # [N], standard deviation of what is rounded last about the prediction
    left: np.ndarray  # [N], mean square of the number observed minus the prediction
    dispersion: float  # variance of an image's surprise, over that of independent numbers
    # standard deviation of own images' numbers, over that of what is left: how many can be told
    # apart
    levels: float
    # bool [N], whether the number differs between own images: one that does not tells nothing
    varied: np.ndarray
    worst: float  # the largest residual of an own image at its true latent, over the mean one


_KNOWN: weakref.WeakKeyDictionary[Generator, dict[Chain, Roundings]] = weakref.WeakKeyDictionary()


def learn_roundings(gen: Generator, chain: Chain) -> Roundings:
    """Send own images through the alteration as programs do it, and compare with the smooth
    prediction.

    Once for a candidate and chain, and kept while the candidate is.
    """
    known = _KNOWN.setdefault(gen, {})
    if chain not in known:
        known[chain] = _learn(gen, chain)
    return known[chain]


def _learn(gen: Generator, chain: Chain) -> Roundings:
    count = int(np.clip(MAX_NUMBERS // math.prod(chain.out_shape(gen.image_shape)), 8, OWN))
    z, label, images = gen.sample_images(jax.random.key(OWN), count)
    made = chain.discrete(images)
    smooth = (
        make_images(observed_generator(gen, chain, np.ones(1)), z, label)
        .astype(np.float64)
        .reshape(count, -1)
    )
    jpeg, groups = chain.jpeg, np.zeros(smooth.shape[1], np.int64)
    if jpeg is None:
        observed = value = made.reshape(count, -1).astype(np.float64)
        prediction, half = (smooth + 1.0) * UNIT, np.full(value.shape[1], 0.5)
    else:
        steps, groups = jpeg.steps(made.shape[1:]), jpeg.groups(made.shape[1:])
        observed, value = jpeg.quantised(made) * steps, jpeg.unquantised(made).astype(np.float64)
        prediction, half = smooth * UNIT, steps / 2.0
    below, above = (
        (value == 0, value == 255) if jpeg is None else (jpeg.uncertain(jpeg.discrete(made)),) * 2
    )
    inside = ~(below | above)
    bias = _by_group(value - prediction, groups, inside)
    # of whole numbers
    spread = _by_group((value - prediction - bias) ** 2, groups, inside) - 1.0 / 12.0
    if jpeg is not None and jpeg.decoded:  # what the second compression has moved besides
        moved = _by_group((observed - value) ** 2, groups, inside)
        spread = spread + np.maximum(moved - (2.0 * half) ** 2 / 12.0, 0.0)
    noise = np.sqrt(np.maximum(spread, LEAST_NOISE**2))
    squares = (observed - prediction - bias) ** 2
    seldom = _by_group(inside.astype(np.float64), groups, np.ones_like(inside)) < OFTEN
    # least squares take all numbers
    compared = inside | seldom[None] if jpeg is not None else inside
    left = _by_group(squares, groups, compared) + LEAST_NOISE**2
    scores = np.array(
        [
            surprise(p, Intervals(o - bias, half, noise, b, a)).score
            for p, o, b, a in zip(prediction, observed, below, above, strict=True)
        ]
    )
    dispersion = float(np.square(np.maximum(scores, 0.0)).sum()) / float(
        chdtri(count, 1.0 - CAUTION)
    )
    worst = float((squares * compared / left).mean(1).max())
    levels = float(np.sqrt(prediction.var(0).mean() / left.mean()))
    return Roundings(
        bias, noise, left, max(1.0, dispersion), levels, _varied(observed), max(1.0, worst)
    )


def _varied(observed: np.ndarray) -> np.ndarray:
    """Return which numbers [N] differ from their median in at least a share `SELDOM` of the
    images [n, N].
    """
    middle = np.median(observed, axis=0, keepdims=True)
    return np.asarray((observed != middle).mean(0) >= SELDOM)


def _by_group(values: np.ndarray, groups: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the mean over images and over the numbers of each group [N], of values [n, N] that
    are inside.
    """
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
    gen: Generator, chain: Chain, apply: ApplyFn, state: Any, shape: tuple[int, int, int]
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


_SEEN: weakref.WeakKeyDictionary[Generator, dict[Chain, Generator]] = weakref.WeakKeyDictionary()


def seen_generator(gen: Generator, chain: Chain) -> Generator:
    """Return the generator of altered images: one for a candidate and chain, so that its pool is
    made once.
    """
    if not chain.before:
        # but for what compression changes, which is too little to matter where searches begin
        return gen
    known = _SEEN.setdefault(gen, {})
    if chain not in known:
        apply = smooth_pixels(gen.apply, chain, gen.image_shape)
        state = _state(gen, chain, jnp.float32(1))
        found = _replaced(gen, chain, apply, state, chain.out_shape(gen.image_shape))
        # a router would keep the candidate alive
        known[chain] = dataclasses.replace(found, router=None)
    return known[chain]
