"""What an alteration leaves over at the true latent, learnt from the candidate's own pictures."""

import functools
import math
import weakref
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import chdtri

from jattr.generators.base import Generator
from jattr.images import to_byte
from jattr.inversion.likely import Intervals, surprise
from jattr.inversion.measure import make_pictures
from jattr.inversion.observed import observed_generator
from jattr.nuisances.chain import Chain

UNIT = 127.5  # bytes to [-1, 1] units
OWN = 32  # own pictures from which the roundings are learnt
MAX_NUMBERS = 1 << 23  # of all of them; at least 8 are made
LEAST_NOISE = 0.05  # standard deviation of a prediction, in bytes
CAUTION = 0.01  # the dispersion is taken at this lower tail of what `OWN` pictures show


class Roundings(NamedTuple):
    """What the alteration leaves over at the true latent, per number observed, in bytes."""

    bias: np.ndarray  # [N], mean of what is observed minus the smooth prediction
    noise: np.ndarray  # [N], standard deviation of what is rounded last about the prediction
    left: np.ndarray  # [N], mean square of the number observed minus the prediction
    dispersion: float  # variance of a picture's surprise, over that of independent numbers


@functools.lru_cache(maxsize=256)
def learn_roundings(original: "weakref.ref[Generator]", chain: Chain) -> Roundings:
    """Send own pictures through the alteration as programs do it, and compare with the smooth prediction."""
    gen = original()
    assert gen is not None
    keys = jax.random.split(jax.random.key(OWN))
    count = int(np.clip(MAX_NUMBERS // math.prod(chain.out_shape(gen.image_shape)), 8, OWN))
    z = np.asarray(gen.sample_latent(keys[0], count))
    label = np.asarray(jax.random.randint(keys[1], (count,), 0, gen.num_classes)) if gen.num_classes else None
    made = chain.discrete(to_byte(make_pictures(gen, z, label), rule=gen.rounding or "round"))
    smooth = make_pictures(observed_generator(gen, chain, np.ones(1)), z, label).astype(np.float64).reshape(count, -1)
    jpeg = chain.jpeg
    if jpeg is None:
        value = made.reshape(count, -1).astype(np.float64)
        prediction, groups = (smooth + 1.0) * UNIT, np.zeros(value.shape[1], np.int64)
        inside = (made.reshape(count, -1) > 0) & (made.reshape(count, -1) < 255)
        observed, extra, half = value, 1.0 / 12.0, np.full(value.shape[1], 0.5)
    else:
        value = jpeg.unquantised(made)
        steps = jpeg.steps(made.shape[1:])
        prediction, groups = smooth * UNIT, jpeg.groups(made.shape[1:])
        inside = np.ones(value.shape, bool)
        observed, extra, half = to_steps(value / steps) * steps, 0.0, steps / 2.0
    bias = _by_group(value - prediction, groups, inside)
    noise = np.sqrt(np.maximum(_by_group((value - prediction - bias) ** 2, groups, inside) - extra, LEAST_NOISE**2))
    left = _by_group((observed - prediction - bias) ** 2, groups, inside) + LEAST_NOISE**2
    below, above = (
        (made.reshape(count, -1) == 0, made.reshape(count, -1) == 255) if jpeg is None else (~inside, ~inside)
    )
    scores = [
        surprise(p, Intervals(o - bias, half, noise, b, a)).score
        for p, o, b, a in zip(prediction, observed, below, above, strict=True)
    ]
    spread = float(np.square(np.maximum(scores, 0.0)).sum()) / float(chdtri(count, 1.0 - CAUTION))
    return Roundings(bias, noise, left, max(1.0, spread))


def _by_group(values: np.ndarray, groups: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the mean over pictures and over the numbers of each group [N], of values [n, N] that are inside."""
    total = np.bincount(groups, (values * inside).sum(0))
    count = np.bincount(groups, inside.sum(0).astype(np.float64))
    return (total / np.maximum(count, 1.0))[groups]


def to_steps(values: np.ndarray) -> np.ndarray:
    """Return whole numbers, halves away from 0, as a quantiser does it."""
    return np.sign(values) * np.floor(np.abs(values) + 0.5)
