"""The least-squares problem of one image and one generator, aware of 8-bit rounding and the prior.

A byte says that the value before rounding lay in an interval; the bytes 0 and 255 also stand for
everything beyond the range, so there the problem is one-sided. The prior says which latents the
generator is fed with: without it searches end in latents that no image came from, several times too
long (docs/decisions/0002 has the measurements).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators import ops
from jattr.generators.base import ApplyFn, Generator
from jattr.runtime import jax_defaults
from jattr.solvers.base import FlatProblem, Prior
from jattr.solvers.problem import Problem
from jattr.solvers.solve import ProblemFn
from jattr.typing import PyTree

STEP = 2.0 / 255.0  # between neighbouring bytes, in [-1, 1] units
FLOOR = STEP**2 / 12.0  # mean squared error of rounding alone: 5.1e-6
LOGIT_SCALE = 0.998  # of values before arctanh: the outermost byte stays finite


class Target(NamedTuple):
    """What a reproduction is compared with."""

    center: jax.Array  # [H, W, C], middle of each byte's interval, [-1, 1] units
    below: jax.Array  # [H, W, C] bool: everything below the interval fits as well (byte 0)
    above: jax.Array  # [H, W, C] bool: everything above the interval fits as well (byte 255)
    # [H, W, C], how far inside its middle a clipped byte reaches: half a step; 0 where unrounded
    slack: jax.Array


def prior_of(gen: Generator) -> Prior:
    """Return mean and standard deviation of a generator's latents, in its space."""
    if gen.prior == "normal" and gen.space == "z":
        return Prior(0.0, 1.0)
    with jax_defaults(devices=False):  # the key and the samples do not depend on the process
        return Prior.from_sampler(gen.sample_latent, jax.random.key(0))


@dataclass(frozen=True)
class ComparedBy:
    """A generator's `apply` whose images a distance compares.

    Targets are codes of images, not `Target`s.

    Its state has `generator`, the generator's own, and `distance`.
    """

    first: ApplyFn
    encode: Callable[[PyTree, jax.Array], Any]  # (state, image [H, W, C]) -> code
    # (state, reproduction [H, W, C], code) -> residual
    compare: Callable[[PyTree, jax.Array, Any], jax.Array]

    def __call__(
        self, state: dict[str, Any], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """Return the generator's images."""
        return self.first(state["generator"], z, label=label)


def target_of(image: Any, rounding: str = "round") -> Target:
    """Return the target of an image: arrays of NumPy for one of NumPy, else of JAX.

    Args:
      image: [..., H, W, C]; uint8, or float32 in [-1, 1] units, where -1 and 1 are clipped values.
      rounding: how bytes were made from values: "round", or "truncate" (`(x * 255).astype(uint8)`).
    """
    xp = np if isinstance(image, np.ndarray) else jnp
    center = image.astype(np.float32)
    if image.dtype == np.uint8:
        below, above = image == 0, image == 255
        center = center / np.float32(127.5) - np.float32(1.0)
    else:
        below, above = center <= -1.0, center >= 1.0
    slack = xp.full(image.shape, STEP / 2 if image.dtype == np.uint8 else 0.0, np.float32)
    if rounding == "truncate":
        center = center + np.float32(STEP / 2)
    return Target(center, below, above, slack)


def deviation(reproduction: Any, target: Target) -> Any:
    """Return reproduction - image [H, W, C], of NumPy or JAX.

    At clipped bytes what lies outside the interval.
    """
    xp = np if isinstance(reproduction, np.ndarray) else jnp
    difference = reproduction - target.center
    difference = xp.where(target.below, xp.maximum(difference - target.slack, 0.0), difference)
    return xp.where(target.above, xp.minimum(difference + target.slack, 0.0), difference)


def _logit_deviation(reproduction: jax.Array, target: Target) -> jax.Array:
    """Return the deviation in the domain before a last tanh (half a logit).

    There saturated pixels can move.
    """
    difference = logit(reproduction) - logit(edge_of(target))
    difference = jnp.where(target.below, jnp.maximum(difference, 0.0), difference)
    return jnp.where(target.above, jnp.minimum(difference, 0.0), difference)


def edge_of(target: Target) -> jax.Array:
    """Return what a value is compared with [H, W, C].

    The byte's middle, or a clipped byte's inner edge.
    """
    return target.center + target.slack * (
        target.below.astype(jnp.float32) - target.above.astype(jnp.float32)
    )


def arrival_floor(clipped: Any) -> Any:
    """Return the mean squared residual at which a search has arrived.

    What rounding leaves of the unclipped bytes, and a little more: five standard deviations of
    that, at most a fifth.

    Args:
      clipped: [n, H, W, C] or [H, W, C] bool, the bytes 0 and 255; of NumPy or JAX.
    """
    unclipped = 1.0 - clipped.mean((-3, -2, -1))
    spread = 5.0 * (0.8 / (unclipped * math.prod(clipped.shape[-3:]) + 1.0)) ** 0.5
    return (1.0 + spread.clip(0.0, 0.2)) * FLOOR * unclipped.clip(0.01, 1.0)


def floors_of(pixels: np.ndarray) -> np.ndarray:
    """Return the arrival floor [n] of images uint8 [n, H, W, C]."""
    return np.asarray(arrival_floor((pixels == 0) | (pixels == 255)))


def logit(x: jax.Array) -> jax.Array:
    """Return arctanh, a little inside [-1, 1], and its tangents beyond."""
    inside = jnp.clip(x, -1.0, 1.0)
    return jnp.arctanh(LOGIT_SCALE * inside) + (x - inside) * (LOGIT_SCALE / (1.0 - LOGIT_SCALE**2))


def make_problem(
    apply: ApplyFn,
    state: PyTree,
    target: Any,
    shape: tuple[int, ...],
    label: object,
    prior: Prior | None = None,
    variance_floor: float = FLOOR / 50,
    platform: str | None = None,
) -> FlatProblem:
    """Return the problem of one image; latents of `shape` are flat in it.

    `target` is a `Target`, or the image's code where a distance compares. `platform` states what
    the program is for, see `ops.for_platform`; None: what it is lowered for.
    """

    def image(z: jax.Array) -> jax.Array:
        labels = None if label is None else jnp.asarray(label)[None]
        with ops.for_platform(platform):
            return apply(state, z.reshape(1, *shape), label=labels)[0]

    problem_of = functools.partial(
        FlatProblem, prior=prior, variance_floor=variance_floor, tangents=ops.for_tangents
    )

    if isinstance(apply, ComparedBy):

        def compared(z: jax.Array) -> jax.Array:
            with ops.for_platform(platform):
                return apply.compare(state["distance"], image(z), target).ravel()

        return problem_of(compared, jax.eval_shape(compared, jnp.zeros(math.prod(shape))).size)

    def residual(z: jax.Array) -> jax.Array:
        return deviation(image(z), target).ravel()

    def stretched(z: jax.Array, on: jax.Array) -> tuple[jax.Array, jax.Array]:
        reproduction = image(z)
        plain = deviation(reproduction, target)
        logits = _logit_deviation(reproduction, target)
        return jnp.where(on, logits, plain).ravel(), plain.ravel()

    return problem_of(residual, target.center.size, stretched=stretched)


def target_problem(
    apply: ApplyFn,
    state: PyTree,
    target: Any,
    shape: tuple[int, ...],
    *,
    label: object = None,
    prior: Prior | None = None,
    floor: float | jax.Array = 0.0,
) -> Problem:
    """Return the problem of one image as `solve` takes it; arguments as of `make_problem`.

    `floor` is the loss at which a search has arrived.
    """
    flat = make_problem(apply, state, target, shape, label)
    stretched = flat.stretched
    return Problem(
        lambda z: flat.residual(z.ravel()),
        prior,
        latent=jax.ShapeDtypeStruct(shape, jnp.float32),
        floor=floor,
        variance_floor=flat.variance_floor,
        stretched_fn=None if stretched is None else lambda z, on: stretched(z.ravel(), on),
        tangents=flat.tangents,
    )


@functools.lru_cache(maxsize=256)
def make_problem_fn(
    apply: ApplyFn, shape: tuple[int, ...], variance_floor: float = FLOOR / 50
) -> ProblemFn:
    """Return `fn(state, prior, target, label) -> FlatProblem`, the same for the same arguments."""

    def problem_fn(
        state: PyTree, prior: Prior, target: PyTree, label: jax.Array | None
    ) -> FlatProblem:
        # the engine lowers its programs for where it runs
        here = jax.default_backend()
        return make_problem(
            apply, state, target, shape, label, prior, variance_floor, platform=here
        )

    return problem_fn
