"""Pilot studies: how searches of a candidate's own images go.

"None of these" is measured against them. Two things are learnt: how far a search ends from an image
that the candidate did make when it misses, and how often a restart arrives, hence how many restarts
leave but a small chance that such an image was missed.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import MutableMapping
from typing import NamedTuple

import jax
import numpy as np

from jattr._version import __version__
from jattr.decision.restart_power import Restarts
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.inversion.multistart import Inverter
from jattr.inversion.settings import MultiStart, describe
from jattr.inversion.two_stage import make_inverter
from jattr.inversion.warm_start import Given, Ridge


class PilotStudy(NamedTuple):
    """How the searches of a candidate's own images went."""

    # the largest best residual of an image, not below the floor; mean squared, [-1, 1] units
    miss: float
    used: tuple[int, ...]  # restarts of each image, up to the first that arrived
    arrived: tuple[bool, ...]  # whether one did

    @property
    def restarts(self) -> Restarts:
        """The searches' ends as statistics take them."""
        return Restarts(self.used, self.arrived)

    def restarts_needed(self, chance: float) -> int | None:
        """Return the restarts that miss an own image with at most this chance.

        None if none ever arrived.

        The most of three: from the Clopper-Pearson bound (Biometrika 26, 1934) on the chance that a
        restart arrives, as if every image were equally hard; from a Beta distribution of it over
        images; what the hardest one took.
        """
        return _needed(self.restarts, chance)

    def miss_bound(self, restarts: int) -> float | None:
        """Return what share of own images so many restarts miss at most; None if unknown.

        At 95 %, without a model.
        """
        return self.restarts.miss_bound(restarts) if restarts else None


@functools.lru_cache(maxsize=1024)
def _needed(restarts: Restarts, chance: float) -> int | None:
    return restarts.needed(chance)


def candidate_key(key: jax.Array, gen: Generator) -> jax.Array:
    """Return the PRNG key of a candidate's searches: of its digest, not of its index."""
    return jax.random.fold_in(key, int(hashlib.sha256(gen.digest.encode()).hexdigest()[:8], 16))


class PilotStudies:
    """Pilot studies of candidates, each made when it is first needed and put into a store."""

    def __init__(
        self,
        search: MultiStart,
        key: jax.Array,
        store: MutableMapping[str, PilotStudy],
        num_images: int,
    ):
        """Prepare.

        Args:
          search: settings of the searches.
          key: of the random choices.
          store: of pilot studies by name; the name says everything that a pilot study depends on.
          num_images: own images that a study searches.
        """
        self.search, self.key, self.store, self.num_images = search, key, store, num_images
        try:
            self._settings = describe(search)
        except InputError:
            # of a function without a name, studies serve this call alone
            self._settings, self.store = None, {}

    def of(self, inverter: Inverter) -> PilotStudy:
        """Return the pilot study of an inverter's candidate."""
        name = self._name(inverter)
        if name not in self.store:
            self.store[name] = run_pilot_study(
                inverter,
                self.search,
                jax.random.fold_in(candidate_key(self.key, inverter.observation.maker), 1),
                self.num_images,
            )
        return self.store[name]

    def _name(self, inverter: Inverter) -> str:
        """Return the SHA-256 of everything that a pilot study depends on."""
        gen, noise_maps = inverter.gen, noise_digest(inverter.observation.maker)
        candidate = [gen.digest, gen.rounding, gen.prior, gen.space, repr(gen.settings), noise_maps]
        facts = {
            "candidate": candidate,
            "search": self._settings,
            "images": self.num_images,
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
            "pool": len(inverter.pool.z),
            "versions": [__version__, jax.__version__, jax.default_backend()],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def noise_digest(gen: Generator) -> str:
    """Return the SHA-256 of a generator's noise maps: they may be the caller's own."""
    maps = [] if gen.settings is None else jax.tree.leaves(gen.state["noise"])
    return hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in maps)).hexdigest()


def run_pilot_study(
    inverter: Inverter, search: MultiStart, key: jax.Array, num_images: int
) -> PilotStudy:
    """Search images of the candidate's own, each as if nobody knew who made it."""
    if isinstance(search.warm_start, Given):  # of the accused images: these have none
        search = dataclasses.replace(search, warm_start=Ridge())
    observation, gen = inverter.observation, inverter.observation.maker
    latent_key, label_key, search_key = jax.random.split(key, 3)
    # 1. Own images, treated as the images of the run were.
    z = np.asarray(gen.sample_latent(latent_key, num_images))
    images = gen.make_bytes(z, gen.sample_labels(label_key, num_images))
    # 2. Search them with the run's settings and its pool of prior samples.
    loss, restarts, arrived = make_inverter(
        observation.with_images(images), search, search_key, inverter.pool, inverter.scheduler
    ).run_pilot_study()
    # 3. The worst of the best residuals is a usual miss; below the floor nothing is better.
    return PilotStudy(
        miss=float(max(observation.noise, loss.max())),
        used=tuple(restarts.tolist()),
        arrived=tuple(arrived.tolist()),
    )
