"""How far a candidate ends from its own pictures when a search misses: what "none of these" is measured against."""

import weakref

import jax
import numpy as np

from jattr.generators.base import Generator
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig
from jattr.inversion.measure import make_pictures
from jattr.inversion.problem import FLOOR
from jattr.inversion.through_styles import make_inverter

MISS_PICTURES = 16  # own pictures that are searched


def usual_miss(gen: Generator, config: InvertConfig, key: jax.Array) -> float:
    """Return the residual that a candidate reaches on its own pictures when a search misses.

    The largest best residual over `MISS_PICTURES` of its own pictures, each searched as an accused one, but not below
    the floor. Measured once for a generator, configuration and key, and kept while the generator is.
    """
    known = _MISSES.setdefault(gen, {})
    name = (config, np.asarray(jax.random.key_data(key)).tobytes())
    if name not in known:
        known[name] = _measure_miss(gen, config, key)
    return known[name]


_MISSES: weakref.WeakKeyDictionary[Generator, dict[tuple[InvertConfig, bytes], float]] = weakref.WeakKeyDictionary()


def _measure_miss(gen: Generator, config: InvertConfig, key: jax.Array) -> float:
    keys = jax.random.split(key, 3)
    z = gen.sample_latent(keys[0], MISS_PICTURES)
    label = None
    if gen.num_classes:
        label = np.asarray(jax.random.randint(keys[1], (MISS_PICTURES,), 0, gen.num_classes))
    made = to_byte(make_pictures(gen, z, label), rule=gen.rounding or "round")
    return float(max(FLOOR, make_inverter(gen, made, config, keys[2]).rehearse().max()))
