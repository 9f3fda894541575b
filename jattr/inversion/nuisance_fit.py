"""Alterations with unknown factors: brightness, contrast, gamma; searched together with the latent.

A factor that is free becomes one more number of the latent, log-normal about 1. Where the search
ends best the factor is read off; the alteration is then a known one, and the image is attributed
under it as any other.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from jattr.typing import PyTree


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
            " candidates; write brightness:?, contrast:?, gamma:? or stretch:?:? for factors to be"
            " found, and give a candidate"
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
    images = chain.observed(pixels[None])
    # values that are rounded once are fitted as closely as an unaltered image
    observation = (
        Observation(joint, images)
        if chain.rounds_once
        else TwiceRoundedObservation(joint, images, fit.floor)
    )
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
    steps = tuple(_FreeStep.of(chain, index) for index in range(len(neutral.steps)))
    sample = functools.partial(_sample, gen, len(chain.free))
    digest = hashlib.sha256(f"{gen.digest} free {chain.digest}".encode()).hexdigest()
    return dataclasses.replace(
        altered,
        apply=_make_joint(gen.apply, gen.latent_shape, steps, log_spread, of_values=chain.saves),
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


class _FreeStep(NamedTuple):
    """A step as the joint model applies it."""

    smooth: SmoothFn
    factors: tuple[int, ...]  # which of the free factors are its own; none: nothing is unknown
    # from its own factors to what `smooth` takes; None where nothing is unknown
    parameters: Callable[[jax.Array], PyTree] | None

    @classmethod
    def of(cls, chain: Chain, index: int) -> "_FreeStep":
        """Return a step of a chain."""
        step = chain.steps[index]
        own = tuple(number for number, at in enumerate(chain.free) if at == index)
        return cls(step.smooth, own, step.free_parameters if own else None)


@functools.lru_cache(maxsize=64)
def _make_joint(
    apply: ApplyFn,
    shape: tuple[int, ...],
    steps: tuple[_FreeStep, ...],
    log_spread: float,
    *,
    of_values: bool,
) -> ApplyFn:
    count = sum(len(step.factors) for step in steps)

    def joint(state: dict[str, Any], z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        factors = jnp.exp(log_spread * z[:, -count:])  # [n, factors]
        latents = z[:, :-count].reshape(-1, *shape)
        images = apply(state["generator"], latents, label=label)
        images = images if of_values else clip(images) + state["shift"]

        def altered(x: jax.Array, own_factors: jax.Array) -> jax.Array:
            x = x[None]
            for step, given in zip(steps, state["parameters"], strict=True):
                if step.parameters is not None:
                    given = step.parameters(own_factors[np.array(step.factors)])
                x = step.smooth(given, x)
            return x[0]

        return jax.vmap(altered)(images, factors) + state["bias"]

    return joint
