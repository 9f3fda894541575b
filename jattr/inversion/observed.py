"""A generator followed by an alteration: again a generator, of what is observed of its pictures."""

import dataclasses
import functools
import hashlib
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import ApplyFn, Generator, Route
from jattr.inversion.problem import STEP
from jattr.nuisances.chain import Chain, smooth_observation, smooth_pixels


def _state(gen: Generator, chain: Chain, weight: Any) -> dict[str, Any]:
    shift = -STEP / 2 if gen.rounding == "truncate" else 0.0
    return {
        "generator": gen.state, "shift": jnp.float32(shift), "parameters": chain.parameters(gen.image_shape),
        "weight": weight,
    }  # fmt: skip


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


def _replaced(gen: Generator, chain: Chain, apply: ApplyFn, state: Any, shape: tuple[int, int, int]) -> Generator:
    digest = hashlib.sha256(f"{gen.digest} {chain.digest}".encode()).hexdigest()
    return dataclasses.replace(
        gen, apply=apply, state=state, image_shape=shape, encoder=None, viewer=None, digest=digest, rounding="round",
        router=None if gen.router is None else functools.partial(_route, gen),
    )  # fmt: skip


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
    """Return the generator of altered pictures: one for a candidate and chain, so that its pool is made once."""
    if not chain.before:
        return gen  # but for what compression changes, which is too little to matter where searches begin
    known = _SEEN.setdefault(gen, {})
    if chain not in known:
        apply = smooth_pixels(gen.apply, chain, gen.image_shape)
        state = _state(gen, chain, jnp.float32(1))
        found = _replaced(gen, chain, apply, state, chain.out_shape(gen.image_shape))
        known[chain] = dataclasses.replace(found, router=None)  # a router would keep the candidate alive
    return known[chain]
