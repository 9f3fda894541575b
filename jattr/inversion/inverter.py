"""`Inverter`: the searches of one candidate over a set of pictures, run round by round by `invert` and `attribute`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.errors import ImageError
from jattr.generators.base import Generator
from jattr.inversion.choice import DENSE_POLISH, LM, forward_cost, polish_method
from jattr.inversion.config import InvertConfig
from jattr.inversion.initial import as_floats, make_pool, make_starts
from jattr.inversion.interval import interval_polish
from jattr.inversion.lanes import Job, Status, evaluations, floors_of, run_jobs
from jattr.inversion.optimisers import METHODS
from jattr.inversion.problem import FLOOR, Target, target_of
from jattr.inversion.protocol import Inversion
from jattr.inversion.search import make_linearise

NEAR = 20 * FLOOR  # below this a search is close enough that another rounding rule may explain the rest
FIRST_KICK = 2  # the first restart that may begin beside the best latent so far
KICKS = (0.1, 0.03, 0.3)  # standard deviations of those beginnings, in units of the prior's
POLISH_BELOW = 5e-3  # a gradient search that ends above this is in another basin: Gauss-Newton steps would not help


class Inverter:
    """The searches of one candidate over a set of pictures: results by picture and restart, run round by round."""

    def __init__(self, gen: Generator, pixels: np.ndarray, config: InvertConfig, key: jax.Array):
        """Prepare; nothing is searched yet.

        Args:
          gen: the candidate.
          pixels: uint8 [n, H, W, C], of the candidate's shape.
          config: settings.
          key: of every random choice.
        """
        self.gen, self.pixels, self.config = gen, pixels, config
        self.size = int(np.prod(gen.latent_shape))
        cost = forward_cost(gen.apply, gen.state, gen.latent_shape, gen.num_classes)
        self.method = config.method_for(self.size, cost)
        self.later = LM if config.optimiser == "auto" and self.size <= DENSE_POLISH else self.method
        keys = jax.random.split(key, 3)
        self.starts = make_starts(gen, make_pool(gen, config, keys[0], len(pixels)), as_floats(pixels), config, keys[1])
        shape = (len(pixels), config.restarts)
        self.samples = np.asarray(gen.sample_latent(keys[2], shape[0] * shape[1])).reshape(*shape, self.size)
        self.z = np.array(self.starts.z)
        if self.later != self.method and config.restarts > 1:
            self.z[:, 1] = self.z[:, 0]  # the other method begins at the best guess as well
        self.loss = np.full(shape, np.inf)
        self.label = np.full(shape, -1, np.int32) if self.starts.label is None else np.array(self.starts.label)
        self.status = np.full(shape, Status.SKIPPED, np.int32)
        self.steps = np.zeros(shape, np.int32)
        self.evaluations = np.zeros(shape)
        self.rounding = ["truncate" if gen.rounding == "truncate" else "round"] * len(pixels)
        self.floors = floors_of(pixels)

    def round(self, pictures: Sequence[int], restarts: range) -> None:
        """Search these pictures from these restarts, and polish what comes near."""
        places = [(i, r) for i in pictures for r in restarts]
        if not places:
            return
        method = self.later if restarts.start else self.method
        self._kick(places)
        self._search(places, method, self.config.steps or METHODS[method].steps)
        best = [p for p in (self.best(i) for i in pictures) if self.status[p] != Status.ARRIVED]
        if METHODS[method].polish and self.config.polish_steps:
            hopeful = [p for p in best if self.loss[p] < POLISH_BELOW]
            self._search(hopeful, polish_method(self.size), self.config.polish_steps)
        if self.gen.rounding is None:
            self._try_truncation([p for p in best if self.status[p] != Status.ARRIVED and self.loss[p] < NEAR])

    def _kick(self, places: Sequence[tuple[int, int]]) -> None:
        """Begin every second of the later restarts beside the best latent so far: kinks of ReLU networks stop a search
        close to the solution, where a small move frees it."""
        for i, r in places:
            near = self.best(i)
            if r >= FIRST_KICK and r % 2 and np.isfinite(self.loss[near]):
                size = KICKS[(r // 2) % len(KICKS)]
                self.z[i, r] = self.z[near] + size * self.samples[i, r]
                self.label[i, r] = self.label[near]

    def best(self, picture: int) -> tuple[int, int]:
        """Return the place (picture, restart) of the lowest loss."""
        return picture, int(np.argmin(self.loss[picture]))

    def arrived(self, picture: int) -> bool:
        """Return whether some restart reached the rounding floor."""
        return bool((self.status[picture] == Status.ARRIVED).any())

    def interval(self, pictures: Sequence[int]) -> None:
        """Move the best latents to ones whose every pixel rounds to the byte, where there are such."""
        if not self.config.interval_steps or self.size > DENSE_POLISH:
            return
        linearise = make_linearise(self.gen.apply, self.gen.latent_shape)
        for place in (self.best(i) for i in pictures):
            target = jax.tree.map(lambda a: a[0], self.targets([place[0]]))
            label = jnp.int32(self.label[place]) if self.gen.num_classes else None

            def fn(z: np.ndarray, target: Any = target, label: Any = label) -> Any:
                return linearise(self.gen.state, target, label, jnp.asarray(z))[1:]

            z, _, used, loss = interval_polish(fn, self.z[place], self.config.interval_steps)
            if np.isfinite(loss):
                self.z[place], self.loss[place] = z, loss
            self.evaluations[place] += evaluations(self.gen, LM, used)

    def targets(self, pictures: Sequence[int]) -> Target:
        """Return the stacked targets of pictures, each under its rounding rule."""
        parts = [target_of(jnp.asarray(self.pixels[i]), self.rounding[i]) for i in pictures]
        return jax.tree.map(lambda *a: jnp.stack(a), *parts)

    def result(self) -> Inversion:
        """Return everything, [images, restarts]."""
        z = self.z.reshape(*self.z.shape[:2], *self.gen.latent_shape).astype(np.float32)
        return Inversion(z, self.loss, self.label, self.status, self.steps, self.evaluations)

    def _search(self, places: Sequence[tuple[int, int]], method: str, steps: int) -> None:
        """Run least squares at these places from where they are, and keep what is better."""
        if not places:
            return
        jobs = [Job(i, self.z[i, r], int(self.label[i, r])) for i, r in places]
        endings = run_jobs(self.gen, self.targets, jobs, self.config, method=method, steps=steps, floors=self.floors)
        for place, ending in zip(places, endings, strict=True):
            self.steps[place] += ending.steps
            self.evaluations[place] += evaluations(self.gen, method, ending.steps)
            if ending.loss <= self.loss[place]:
                self.z[place], self.loss[place] = ending.z, ending.loss
            if ending.status != Status.FAILED or self.status[place] == Status.SKIPPED:
                self.status[place] = ending.status

    def _try_truncation(self, places: Sequence[tuple[int, int]]) -> None:
        """Search on under the other rounding rule, and keep that where it reaches the floor."""
        before = {place: (self.z[place].copy(), self.loss[place], self.status[place]) for place in places}
        for place in places:
            self.rounding[place[0]] = "truncate"
            self.loss[place] = np.inf
        self._search(places, polish_method(self.size), max(8, self.config.polish_steps))
        for place, (z, loss, status) in before.items():
            if self.status[place] != Status.ARRIVED:
                self.rounding[place[0]] = "round"
                self.z[place], self.loss[place], self.status[place] = z, loss, status


def rounds(restarts: int) -> list[range]:
    """Return the restarts of each round: 1, 1, 2, 4, ...

    >>> rounds(8)
    [range(0, 1), range(1, 2), range(2, 4), range(4, 8)]
    """
    edges = [0, 1]
    while edges[-1] < restarts:
        edges.append(min(2 * edges[-1], restarts))
    return [range(a, b) for a, b in pairwise(edges)]


def check_pixels(gen: Generator, images: Any) -> np.ndarray:
    """Return pictures as uint8 [n, H, W, C] of the generator's shape.

    Raises:
      ImageError: another shape or type, or values outside [-1, 1].
    """
    array = np.asarray(images)
    if array.shape[1:] != gen.image_shape or array.ndim != 4 or not len(array):
        raise ImageError(
            f"pictures have shape {array.shape}; generator {gen.name!r} makes [n, H, W, C] = {gen.image_shape}"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f" or not np.isfinite(array).all() or np.abs(array).max() > 1.0 + 1e-6:
        raise ImageError(f"pictures are {array.dtype}; they must be uint8, or floats in [-1, 1]")
    return np.floor((np.clip(array, -1, 1).astype(np.float64) + 1) * 127.5 + 0.5).astype(np.uint8)
