"""`make_invert`: inversion as a pure function; `invert`: many pictures, restarts in rounds, polish.

Zhang, Zhou, Shumailov, Papernot, On Attribution of Deepfakes, arXiv 2008.09194, section 4: attribution by optimising
over the source of entropy. The methods here are ours.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattr.errors import ImageError
from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.initial import as_floats, make_pool, make_starts
from jattr.inversion.interval import interval_polish
from jattr.inversion.lanes import Job, Status, evaluations, floors_of, run_jobs
from jattr.inversion.optimisers import METHODS
from jattr.inversion.problem import FLOOR, Target, make_problem, target_of
from jattr.inversion.search import advance, begin, make_linearise

NEAR = 20 * FLOOR  # below this a search is close enough that another rounding rule may explain the rest
FIRST_KICK = 2  # the first restart that may begin beside the best latent so far
KICKS = (0.1, 0.03, 0.3)  # standard deviations of those beginnings, in units of the prior's
POLISH_BELOW = 5e-3  # a gradient search that ends above this is in another basin: Gauss-Newton steps would not help
LM = "levenberg-marquardt"
DENSE_POLISH = 512  # the largest latent that is polished with its whole Jacobian


class Inversion(NamedTuple):
    """The result of inverting: of one search (`make_invert`), or of [images, restarts] searches (`invert`)."""

    z: Any  # [..., *latent_shape] float32, the best latent of each search
    loss: Any  # [...], mean squared residual there, images in [-1, 1] units; inf if nothing was finite or not run
    label: Any  # [...] int32, the class; -1 if unconditional
    status: Any  # [...] int, a `Status`
    steps: Any  # [...] int
    evaluations: Any  # [...], forward passes (forward 1, forward and backward 2)


def make_invert(apply: Callable[..., jax.Array], config: InvertConfig | None = None) -> Callable[..., Inversion]:
    """Return `fn(state, image, z0, key, label=None) -> Inversion`: one picture, one start, a fixed number of steps.

    Pure: `vmap`, `jit` or shard it. `image` is [H, W, C] uint8, or float32 in [-1, 1]; `z0` is [*latent_shape]. `key`
    is for methods that draw at random; none of the present ones does. No early stop, no rounds: that is `invert`.

    Args:
      apply: a generator's pure function.
      config: method, steps, polish steps, precision.

    >>> import jax, jax.numpy as jnp
    >>> apply = lambda w, z, *, label=None: jnp.tanh(z @ w).reshape(-1, 4, 4, 1)
    >>> w = jax.random.normal(jax.random.key(0), (3, 16)) / 2
    >>> image = apply(w, jnp.ones((1, 3)))[0]
    >>> found = jax.jit(make_invert(apply))(w, image, jnp.zeros(3), jax.random.key(1))
    >>> bool(jnp.allclose(found.z, 1.0, atol=1e-3))
    True
    """
    config = config or InvertConfig()

    def fn(state: Any, image: jax.Array, z0: jax.Array, key: jax.Array, label: jax.Array | None = None) -> Inversion:
        del key
        with jax.default_matmul_precision(config.precision):
            problem = make_problem(apply, state, target_of(image), z0.shape, label)
            name = config.method_for(z0.size, forward_cost(apply, state, z0.shape, 0 if label is None else 1))
            method = METHODS[name]
            steps = config.steps or method.steps
            carry = advance(method.make(steps), problem, begin(method.make(steps), z0.ravel()), steps)
            cost = steps * method.evaluations(z0.size)
            if method.polish and config.polish_steps:
                polish = METHODS[_polish_method(z0.size)]
                optimiser = polish.make(config.polish_steps)
                carry = advance(optimiser, problem, begin(optimiser, carry.best), config.polish_steps)
                cost += config.polish_steps * polish.evaluations(z0.size)
        failed = ~jnp.isfinite(carry.loss)
        arrived = carry.loss <= 1.2 * FLOOR
        status = jnp.where(failed, Status.FAILED.value, jnp.where(arrived, Status.ARRIVED.value, Status.SPENT.value))
        label = jnp.int32(-1) if label is None else jnp.asarray(label, jnp.int32)
        return Inversion(
            carry.best.reshape(z0.shape), carry.loss, label, status.astype(jnp.int32), jnp.int32(steps),
            jnp.float32(cost),
        )  # fmt: skip

    return fn


def forward_cost(apply: ApplyFn, state: Any, shape: tuple[int, ...], classes: int) -> float:
    """Return the floating-point operations of one picture, as the compiler counts them; inf if it does not."""
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), state)
    return _forward_cost(apply, jax.tree.structure(abstract), tuple(jax.tree.leaves(abstract)), shape, classes > 0)


@functools.lru_cache(maxsize=256)
def _forward_cost(apply: ApplyFn, tree: Any, leaves: tuple[Any, ...], shape: tuple[int, ...], labelled: bool) -> float:
    z = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    label = jax.ShapeDtypeStruct((1,), jnp.int32) if labelled else None
    lowered = jax.jit(lambda state, z, label: apply(state, z, label=label)).lower(tree.unflatten(leaves), z, label)
    return float((lowered.cost_analysis() or {}).get("flops", float("inf")))


def _polish_method(size: int) -> str:
    return LM if size <= DENSE_POLISH else "gauss-newton-cg"


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
            self._search(hopeful, _polish_method(self.size), self.config.polish_steps)
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
        self._search(places, _polish_method(self.size), max(8, self.config.polish_steps))
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


def invert(gen: Generator, images: Any, *, config: InvertConfig | None = None, key: Any = None) -> Inversion:
    """Search the latents of pictures under one generator.

    Args:
      gen: the generator.
      images: [n, H, W, C] uint8, or floats in [-1, 1], which are rounded to bytes.
      config: settings.
      key: PRNG key; None: from `config.seed`.

    Returns:
      Inversion with arrays [n, restarts]; restarts that were not needed have status SKIPPED and loss inf.

    Raises:
      ImageError: pictures of another shape or type.
    """
    config = config or InvertConfig()
    inverter = Inverter(gen, check_pixels(gen, images), config, jax.random.key(config.seed) if key is None else key)
    for restarts in rounds(config.restarts) if config.early_stop else [range(config.restarts)]:
        inverter.round([i for i in range(len(inverter.pixels)) if not inverter.arrived(i)], restarts)
    inverter.interval([i for i in range(len(inverter.pixels)) if inverter.arrived(i)])
    return inverter.result()


def without_early_stop(config: InvertConfig) -> InvertConfig:
    """Return the settings with every restart run to its last step, as benchmarks want."""
    return replace(config, early_stop=False)
