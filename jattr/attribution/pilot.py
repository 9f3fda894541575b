"""Rehearsals: how searches of a candidate's own pictures go. What "none of these" is measured against.

Two things are learnt: how far a search ends from a picture that the candidate did make when it misses, and how often a
restart arrives, hence how many restarts leave but a small chance that such a picture was missed.
"""

import functools
import hashlib
import json
from collections.abc import MutableMapping
from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import numpy as np

from jattr import __version__
from jattr.decision.restart_power import Restarts
from jattr.generators.base import Generator
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig
from jattr.inversion.evaluate import make_pictures
from jattr.inversion.multistart import Inverter
from jattr.inversion.two_stage import make_inverter

PICTURES = 16  # own pictures that are searched


class Rehearsal(NamedTuple):
    """How the searches of a candidate's own pictures went."""

    miss: float  # the largest best residual of a picture, not below the rounding floor; mean squared, [-1, 1] units
    used: tuple[int, ...]  # restarts of each picture, up to the first that arrived
    arrived: tuple[bool, ...]  # whether one did

    @property
    def restarts(self) -> Restarts:
        """The searches' ends as statistics take them."""
        return Restarts(self.used, self.arrived)

    def restarts_needed(self, chance: float) -> int | None:
        """Return the restarts that miss an own picture with at most this chance; None if none ever arrived.

        The most of three: from the Clopper-Pearson bound (Biometrika 26, 1934) on the chance that a restart arrives, as
        if every picture were equally hard; from a Beta distribution of it over pictures; what the hardest one took.
        """
        return _needed(self.restarts, chance)

    def miss_bound(self, restarts: int) -> float | None:
        """Return what share of own pictures so many restarts miss at most (95 %), without a model; None if unknown."""
        return self.restarts.miss_bound(restarts) if restarts else None


@functools.lru_cache(maxsize=1024)
def _needed(restarts: Restarts, chance: float) -> int | None:
    return restarts.needed(chance)


def candidate_key(key: jax.Array, gen: Generator) -> jax.Array:
    """Return the PRNG key of a candidate's searches: of what it is, not of its place among the others."""
    return jax.random.fold_in(key, int(hashlib.sha256(gen.digest.encode()).hexdigest()[:8], 16))


class Rehearsals:
    """Rehearsals of candidates, each made when it is first asked for and kept in a store."""

    def __init__(self, config: InvertConfig, key: jax.Array, store: MutableMapping[str, Rehearsal]):
        """Prepare.

        Args:
          config: of the searches.
          key: of the random choices.
          store: of rehearsals by name; the name says everything that a rehearsal depends on.
        """
        self.config, self.key, self.store = config, key, store

    def of(self, inverter: Inverter) -> Rehearsal:
        """Return the rehearsal of an inverter's candidate."""
        name = self._name(inverter)
        if name not in self.store:
            self.store[name] = rehearse(
                inverter, self.config, jax.random.fold_in(candidate_key(self.key, inverter.accused.maker), 1)
            )
        return self.store[name]

    def _name(self, inverter: Inverter) -> str:
        gen, maps = inverter.gen, _noise_digest(inverter.accused.maker)
        facts = {
            "candidate": [gen.digest, gen.rounding, gen.prior, gen.space, repr(gen.settings), maps],
            "config": asdict(self.config),
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
            "pool": len(inverter.pool.z),
            "versions": [__version__, jax.__version__, jax.default_backend()],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _noise_digest(gen: Generator) -> str:
    """Return the SHA-256 of the noise maps of a generator that has some: they may be the caller's own."""
    maps = [] if gen.settings is None else jax.tree.leaves(gen.state["noise"])
    return hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in maps)).hexdigest()


def rehearse(inverter: Inverter, config: InvertConfig, key: jax.Array) -> Rehearsal:
    """Search `PICTURES` pictures that the candidate makes, each as an accused one."""
    keys = jax.random.split(key, 3)
    made = _own_pictures(inverter.accused.maker, keys[:2])
    loss, restarts, arrived = make_inverter(inverter.accused.alike(made), config, keys[2], inverter.pool).rehearse()
    return Rehearsal(
        miss=float(max(inverter.accused.noise, loss.max())),
        used=tuple(restarts.tolist()),
        arrived=tuple(arrived.tolist()),
    )


def _own_pictures(gen: Generator, keys: Any) -> np.ndarray:
    z = gen.sample_latent(keys[0], PICTURES)
    label = None
    if gen.num_classes:
        label = np.asarray(jax.random.randint(keys[1], (PICTURES,), 0, gen.num_classes))
    return to_byte(make_pictures(gen, z, label), rule=gen.rounding or "round")
