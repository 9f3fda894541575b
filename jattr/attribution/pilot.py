"""Pilot studies: how searches of a candidate's own images go. What "none of these" is measured
against.

Two things are learnt: how far a search ends from an image that the candidate did make when it
misses, and how often a restart arrives, hence how many restarts leave but a small chance that such
an image was missed.
"""

import functools
import hashlib
import json
from collections.abc import MutableMapping
from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import numpy as np

from jattr._version import __version__
from jattr.decision.restart_power import Restarts
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import Inverter
from jattr.inversion.two_stage import make_inverter

IMAGES = 16  # own images that are searched


class PilotStudy(NamedTuple):
    """How the searches of a candidate's own images went."""

    # the largest best residual of an image, not below the rounding floor; mean squared, [-1, 1]
    # units
    miss: float
    used: tuple[int, ...]  # restarts of each image, up to the first that arrived
    arrived: tuple[bool, ...]  # whether one did

    @property
    def restarts(self) -> Restarts:
        """The searches' ends as statistics take them."""
        return Restarts(self.used, self.arrived)

    def restarts_needed(self, chance: float) -> int | None:
        """Return the restarts that miss an own image with at most this chance; None if none ever
        arrived.

        The most of three: from the Clopper-Pearson bound (Biometrika 26, 1934) on the chance that a
        restart arrives, as if every image were equally hard; from a Beta distribution of it over
        images; what the hardest one took.
        """
        return _needed(self.restarts, chance)

    def miss_bound(self, restarts: int) -> float | None:
        """Return what share of own images so many restarts miss at most (95 %), without a model;
        None if unknown.
        """
        return self.restarts.miss_bound(restarts) if restarts else None


@functools.lru_cache(maxsize=1024)
def _needed(restarts: Restarts, chance: float) -> int | None:
    return restarts.needed(chance)


def candidate_key(key: jax.Array, gen: Generator) -> jax.Array:
    """Return the PRNG key of a candidate's searches: of what it is, not of its place among the
    others.
    """
    return jax.random.fold_in(key, int(hashlib.sha256(gen.digest.encode()).hexdigest()[:8], 16))


class PilotStudies:
    """Pilot studies of candidates, each made when it is first asked for and kept in a store."""

    def __init__(
        self, config: InvertConfig, key: jax.Array, store: MutableMapping[str, PilotStudy]
    ):
        """Prepare.

        Args:
          config: of the searches.
          key: of the random choices.
          store: of pilot studies by name; the name says everything that a pilot study depends on.
        """
        self.config, self.key, self.store = config, key, store

    def of(self, inverter: Inverter) -> PilotStudy:
        """Return the pilot study of an inverter's candidate."""
        name = self._name(inverter)
        if name not in self.store:
            self.store[name] = run_pilot_study(
                inverter,
                self.config,
                jax.random.fold_in(candidate_key(self.key, inverter.observation.maker), 1),
            )
        return self.store[name]

    def _name(self, inverter: Inverter) -> str:
        gen, maps = inverter.gen, _noise_digest(inverter.observation.maker)
        facts = {
            "candidate": [gen.digest, gen.rounding, gen.prior, gen.space, repr(gen.settings), maps],
            "config": asdict(self.config),
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
            "pool": len(inverter.pool.z),
            "versions": [__version__, jax.__version__, jax.default_backend()],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _noise_digest(gen: Generator) -> str:
    """Return the SHA-256 of the noise maps of a generator that has some: they may be the
    caller's own.
    """
    maps = [] if gen.settings is None else jax.tree.leaves(gen.state["noise"])
    return hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in maps)).hexdigest()


def run_pilot_study(inverter: Inverter, config: InvertConfig, key: jax.Array) -> PilotStudy:
    """Search `PICTURES` images that the candidate makes, each as an accused one."""
    keys = jax.random.split(key, 3)
    made = _own_images(inverter.observation.maker, keys[:2])
    loss, restarts, arrived = make_inverter(
        inverter.observation.with_images(made), config, keys[2], inverter.pool
    ).run_pilot_study()
    return PilotStudy(
        miss=float(max(inverter.observation.noise, loss.max())),
        used=tuple(restarts.tolist()),
        arrived=tuple(arrived.tolist()),
    )


def _own_images(gen: Generator, keys: Any) -> np.ndarray:
    z = np.asarray(gen.sample_latent(keys[0], IMAGES))
    return gen.make_bytes(z, gen.sample_labels(keys[1], IMAGES))
