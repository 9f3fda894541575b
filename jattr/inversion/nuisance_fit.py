"""Alterations with unknown factors: brightness, contrast, gamma. They are searched together with
the latent.

A factor that is free becomes one more number of the latent, log-normal about 1. Where the search
ends best the factor is read off; the alteration is then a known one, and the image is attributed
under it as any other.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.alterations.base import SmoothFn, clip
from jattr.alterations.chain import Chain
from jattr.errors import ImageError, InputError
from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import Inverter
from jattr.inversion.observation.base import Observation
from jattr.inversion.observation.noise_model import UNIT, learn_roundings, observed_generator
from jattr.inversion.problem import FLOOR

SPREAD = 0.3  # standard deviation of a free factor's logarithm
ARRIVED = 4.0  # times the floor of one rounding
RESTARTS = 3  # unless the settings say how many
DIGITS = 5  # of a factor that was found


def fit_factors(
    pixels: np.ndarray,
    chain: Chain,
    generators: Sequence[Generator],
    config: InvertConfig | None = None,
) -> Chain:
    """Return the chain with its free factors as they explain an image best under any of the
    generators.

    Args:
      pixels: the image after the chain's steps before a compression, uint8 [H, W, C].
      chain: what was done; a factor of None is free.
      generators: the candidates.
      config: of the searches.

    Raises:
      InputError: no factor is free, or there are no generators.
      ImageError: the chain does not lead to images of this shape.
    """
    if not chain.free or not generators:
        raise InputError(
            f"{chain.text or 'no alteration'} has {len(chain.free)} free factors, and there are"
            f" {len(generators)}"
            " candidates; write brightness:?, contrast:? or gamma:? for a factor to be found, and"
            " give a candidate"
        )
    config = config or InvertConfig()
    config = dataclasses.replace(config, restarts=config.restarts or RESTARTS)
    found = [
        (*_search(gen, pixels, chain, config, 0.0), gen)
        for gen in (config.view(gen) for gen in generators)
    ]
    _, known, gen = min(found, key=lambda each: each[0])
    # programs may cut off, not round
    bias = float(np.mean(learn_roundings(gen, Chain(known.before)).bias)) / UNIT
    return _search(gen, pixels, chain, config, bias)[1]


def _search(
    gen: Generator, pixels: np.ndarray, chain: Chain, config: InvertConfig, bias: float
) -> tuple[float, Chain]:
    """Return the least residual of one candidate, and the chain with its factors there."""
    joint = free_generator(gen, chain, bias)
    if pixels.shape != joint.image_shape:
        raise ImageError(
            f"images are {pixels.shape}; {chain.text} makes {joint.image_shape} of {gen.name!r}"
        )
    inverter = Inverter(Twice(joint, pixels[None]), config, jax.random.key(config.seed))
    inverter.run()
    factors = np.exp(SPREAD * inverter.z[inverter.best(0)][-len(chain.free) :])
    legal = [
        float(f"{factor:.{DIGITS}g}")
        for factor in np.clip(np.nan_to_num(factors, nan=1.0), 0.01, 100.0)
    ]
    return inverter.best_loss(0), chain.with_factors(legal)


@dataclass(frozen=True, eq=False)
class Twice(Observation):
    """Images whose bytes were rounded more than once."""

    @property
    def floors(self) -> np.ndarray:
        """More than a single rounding leaves."""
        return np.full(len(self.pixels), ARRIVED * FLOOR)


def free_generator(gen: Generator, chain: Chain, bias: float = 0.0) -> Generator:
    """Return the generator of altered images whose latent ends with the logarithms of the free
    factors.

    Args:
      gen: the candidate.
      chain: with unknown factors.
      bias: what programs add to the smooth form in the mean, [-1, 1] units.
    """
    known = Chain(chain.with_factors([1.0] * len(chain.free)).before)
    size = math.prod(gen.latent_shape)
    altered = observed_generator(gen, known, np.ones(1))
    kinds = tuple(step.smooth for step in known.steps)
    sample = functools.partial(_sample, gen, len(chain.free))
    digest = hashlib.sha256(f"{gen.digest} free {chain.digest}".encode()).hexdigest()
    return dataclasses.replace(
        altered,
        apply=_make_joint(gen.apply, gen.latent_shape, kinds, chain.free),
        state=altered.state | {"bias": jnp.float32(bias)},
        latent_shape=(size + len(chain.free),),
        image_shape=known.out_shape(gen.image_shape),
        sample=sample,
        digest=digest,
        router=None,
    )


def _sample(gen: Generator, count: int, key: jax.Array, n: int) -> jax.Array:
    keys = jax.random.split(key)
    z = gen.sample_latent(keys[0], n).reshape(n, -1)
    return jnp.concatenate([z, jax.random.normal(keys[1], (n, count))], axis=1)


@functools.lru_cache(maxsize=64)
def _make_joint(
    apply: ApplyFn, shape: tuple[int, ...], kinds: tuple[SmoothFn, ...], free: tuple[int, ...]
) -> ApplyFn:
    def joint(state: dict[str, Any], z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        factors = jnp.exp(SPREAD * z[:, -len(free) :])
        made = (
            clip(apply(state["generator"], z[:, : -len(free)].reshape(-1, *shape), label=label))
            + state["shift"]
        )

        def altered(x: jax.Array, mine: jax.Array) -> jax.Array:
            x, given = x[None], dict(zip(free, mine, strict=True))
            for place, (kind, parameters) in enumerate(
                zip(kinds, state["parameters"], strict=True)
            ):
                x = kind(given.get(place, parameters), x)
            return x[0]

        return jax.vmap(altered)(made, factors) + state["bias"]

    return joint
