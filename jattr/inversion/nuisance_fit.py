"""Alterations with unknown factors: brightness, contrast, gamma; searched together with the latent.

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
from jattr.inversion.multistart import OneStageSearch, run_rounds
from jattr.inversion.observation.base import Observation
from jattr.inversion.observation.noise_model import (
    BYTES_PER_UNIT,
    learn_noise_model,
    observed_generator,
)
from jattr.inversion.problem import FLOOR
from jattr.inversion.scheduler import Scheduler
from jattr.inversion.settings import MultiStart, NuisanceFit


def fit_factors(
    pixels: np.ndarray,
    chain: Chain,
    generators: Sequence[Generator],
    settings: MultiStart | None = None,
) -> Chain:
    """Return the chain with the free factors that explain an image best under any generator.

    Args:
      pixels: the image after the chain's steps before a compression, uint8 [H, W, C].
      chain: what was done; a factor of None is free.
      generators: the candidates.
      settings: of the searches.

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
    settings, scheduler = settings or MultiStart(), Scheduler()
    restarts = settings.restarts or settings.observing.nuisance_fit.restarts
    settings = settings.with_restarts(restarts)
    # 1. The candidate that explains the image best, as if programs rounded without bias.
    views = [settings.view(gen) for gen in generators]
    fits = [(*_search(gen, pixels, chain, settings, 0.0, scheduler), gen) for gen in views]
    _, fitted, gen = min(fits, key=lambda fit: fit[0])
    # 2. Its own images sent through that chain show the bias: programs may cut off, not round.
    model = learn_noise_model(gen, Chain(fitted.before), settings.observing.altered.noise)
    bias = float(np.mean(model.bias)) / BYTES_PER_UNIT
    # 3. The factors again, with the bias in the model.
    return _search(gen, pixels, chain, settings, bias, scheduler)[1]


def _search(
    gen: Generator,
    pixels: np.ndarray,
    chain: Chain,
    settings: MultiStart,
    bias: float,
    scheduler: Scheduler,
) -> tuple[float, Chain]:
    """Return the least residual of one candidate, and the chain with its factors there."""
    fit = settings.observing.nuisance_fit
    joint = free_generator(gen, chain, bias, fit.log_spread)
    if pixels.shape != joint.image_shape:
        raise ImageError(
            f"images are {pixels.shape}; {chain.text} makes {joint.image_shape} of {gen.name!r}"
        )
    observation = TwiceRoundedObservation(joint, pixels[None], fit.floor)
    key = jax.random.key(settings.seed)
    inverter = OneStageSearch(observation, settings, key, scheduler=scheduler)
    run_rounds(inverter)
    results = inverter.results
    # The last numbers of the best latent are the factors' logarithms, in units of `log_spread`.
    factors = np.exp(fit.log_spread * results.z[results.best(0)][-len(chain.free) :])
    legal = np.clip(np.nan_to_num(factors, nan=1.0), *fit.bounds)
    rounded = [float(f"{factor:.{fit.digits}g}") for factor in legal]
    return inverter.best_loss(0), chain.with_factors(rounded)


@dataclass(frozen=True, eq=False)
class TwiceRoundedObservation(Observation):
    """Images whose bytes were rounded more than once."""

    floor: float  # times the floor of one rounding

    @property
    def floors(self) -> np.ndarray:
        """More than a single rounding leaves."""
        return np.full(len(self.pixels), self.floor * FLOOR)


def free_generator(
    gen: Generator,
    chain: Chain,
    bias: float = 0.0,
    log_spread: float = NuisanceFit.log_spread,
) -> Generator:
    """Return the generator of altered images whose latent ends with the free factors' logarithms.

    Args:
      gen: the candidate.
      chain: with unknown factors.
      bias: what programs add to the smooth form in the mean, [-1, 1] units.
      log_spread: standard deviation of the factors' logarithms: the latent's last numbers are in
        units of it.
    """
    neutral = Chain(chain.with_factors([1.0] * len(chain.free)).before)
    size = math.prod(gen.latent_shape)
    altered = observed_generator(gen, neutral, np.ones(1))
    kinds = tuple(step.smooth for step in neutral.steps)
    sample = functools.partial(_sample, gen, len(chain.free))
    digest = hashlib.sha256(f"{gen.digest} free {chain.digest}".encode()).hexdigest()
    return dataclasses.replace(
        altered,
        apply=_make_joint(gen.apply, gen.latent_shape, kinds, chain.free, log_spread),
        state=altered.state | {"bias": jnp.float32(bias)},
        latent_shape=(size + len(chain.free),),
        image_shape=neutral.out_shape(gen.image_shape),
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
    apply: ApplyFn,
    shape: tuple[int, ...],
    kinds: tuple[SmoothFn, ...],
    free: tuple[int, ...],
    log_spread: float,
) -> ApplyFn:
    def joint(state: dict[str, Any], z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        factors = jnp.exp(log_spread * z[:, -len(free) :])  # [n, factors]
        latents = z[:, : -len(free)].reshape(-1, *shape)
        images = clip(apply(state["generator"], latents, label=label)) + state["shift"]

        def altered(x: jax.Array, own_factors: jax.Array) -> jax.Array:
            x, given = x[None], dict(zip(free, own_factors, strict=True))
            for index, (kind, parameters) in enumerate(
                zip(kinds, state["parameters"], strict=True)
            ):
                x = kind(given.get(index, parameters), x)
            return x[0]

        return jax.vmap(altered)(images, factors) + state["bias"]

    return joint
