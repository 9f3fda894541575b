"""`make_invert`: inversion as a pure function; `invert`: many images, restarts in rounds, polish.

Zhang, Zhou, Shumailov, Papernot, On Attribution of Deepfakes, arXiv 2008.09194, section 4:
attribution by optimising over the source of entropy. The methods here are ours.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig, as_search
from jattr.inversion.evaluate import cost_of
from jattr.inversion.multistart import Inversion, OnRound, run_rounds
from jattr.inversion.observation.make import make_observation
from jattr.inversion.problem import arrival_floor, make_problem, target_of
from jattr.inversion.scheduler import Status
from jattr.inversion.settings import MultiStart
from jattr.inversion.two_stage import make_inverter
from jattr.inversion.warm_start import Given, Ridge
from jattr.solvers.base import Prior
from jattr.solvers.solve import advance, begin
from jattr.typing import PyTree


def make_invert(
    apply: Callable[..., jax.Array], search: MultiStart | InvertConfig | None = None
) -> Callable[..., Inversion]:
    """Return `fn(state, image, z0, key, label=None, prior=None) -> Inversion`.

    One image, one start, fixed steps.

    Pure: `vmap`, `jit` or shard it. `image` is [H, W, C] uint8, or float32 in [-1, 1]; `z0` is
    [*latent_shape]. `key` is for methods that draw at random; none of the present ones does.
    `prior` is the `Prior` of the latents: with it Gauss-Newton methods search for the most probable
    latent, else for any. No early stop, no rounds: that is `invert`.

    Args:
      apply: a generator's pure function.
      search: solver, steps, polish steps, precision.

    >>> import jax, jax.numpy as jnp
    >>> apply = lambda w, z, *, label=None: jnp.tanh(z @ w).reshape(-1, 4, 4, 1)
    >>> w = jax.random.normal(jax.random.key(0), (3, 16)) / 2
    >>> image = apply(w, jnp.ones((1, 3)))[0]
    >>> found = jax.jit(make_invert(apply))(w, image, jnp.zeros(3), jax.random.key(1))
    >>> bool(jnp.allclose(found.z, 1.0, atol=1e-3))
    True
    """
    settings = as_search(search)
    _check_single(settings)

    def fn(
        state: PyTree,
        image: jax.Array,
        z0: jax.Array,
        key: jax.Array,
        label: jax.Array | None = None,
        prior: Prior | None = None,
    ) -> Inversion:
        del key
        with jax.default_matmul_precision(settings.precision):
            target = target_of(image)
            problem = make_problem(apply, state, target, z0.shape, label, prior)
            cost = cost_of(apply, state, z0.shape, 0 if label is None else 1)
            method = settings.solver_for(z0.size, cost)
            steps = settings.steps or method.steps
            solver = dataclasses.replace(method, steps=steps)
            carry = advance(solver.step, problem, begin(solver, z0.ravel()), steps)
            cost = steps * method.evaluations(z0.size)
            polish_steps = settings.polish.steps
            if method.polish and polish_steps:
                polish = settings.automatic.polish_solver(z0.size)
                solver = dataclasses.replace(polish, steps=polish_steps)
                carry = advance(solver.step, problem, begin(solver, carry.best), polish_steps)
                cost += polish_steps * polish.evaluations(z0.size)
        failed = ~jnp.isfinite(carry.loss)
        arrived = carry.loss <= arrival_floor(target.below | target.above)
        status = jnp.where(
            failed,
            Status.FAILED.value,
            jnp.where(arrived, Status.ARRIVED.value, Status.SPENT.value),
        )
        label = jnp.int32(-1) if label is None else jnp.asarray(label, jnp.int32)
        return Inversion(
            carry.best.reshape(z0.shape),
            carry.loss,
            label,
            status.astype(jnp.int32),
            jnp.int32(steps),
            jnp.float32(cost),
        )

    return fn


def invert(
    gen: Generator,
    images: ArrayLike,
    *,
    search: MultiStart | InvertConfig | None = None,
    latents0: ArrayLike | None = None,
    key: jax.Array | None = None,
    on_round: OnRound | None = None,
) -> Inversion:
    """Search the latents of images under one generator.

    Args:
      gen: the generator.
      images: [n, H, W, C] uint8, or floats in [-1, 1], which are rounded to bytes.
      search: settings; None: the default ones.
      latents0: where restarts begin, [n, restarts, *latent_shape], or [n, *latent_shape] for one
        restart of each image; None: where the warm start of `search` says.
      key: PRNG key; None: from `search.seed`.
      on_round: called with a `Round` after every round of restarts.

    Returns:
      Inversion with arrays [n, restarts]; restarts that were not needed have status SKIPPED and
      loss inf. So has a restart of a style-based generator whose styles promised nothing: its
      latent was not looked for.

    Raises:
      ImageError: images of another shape or type.
      InputError: latents0 of another shape, or settings that contradict each other.
    """
    settings = as_search(search)
    if latents0 is not None:
        settings = _from(settings, np.asarray(latents0, np.float32), gen)
    gen = settings.view(gen)
    observation = make_observation(gen, images, settings)
    key = jax.random.key(settings.seed) if key is None else key
    inverter = make_inverter(observation, settings, key)
    run_rounds(inverter, on_round)
    inverter.finish()
    return inverter.result()


def _from(settings: MultiStart, latents0: np.ndarray, gen: Generator) -> MultiStart:
    """Return the settings of searches that begin at latents of the caller's own."""
    if settings.warm_start != Ridge():
        raise InputError("latents0 and search.warm_start are given; give one of them")
    given = latents0.size // max(1, len(latents0)) // int(np.prod(settings.view(gen).latent_shape))
    restarts = max(1, given) if settings.restarts is None else settings.restarts
    return dataclasses.replace(settings, warm_start=Given(latents0), restarts=restarts)


def _check_single(settings: MultiStart) -> None:
    """Check that nothing is set which a single search of one start has no use for.

    Raises:
      InputError: something is.
    """
    used = ("solver", "steps", "precision", "automatic", "polish")
    default = MultiStart()
    for item in dataclasses.fields(MultiStart):
        value = getattr(settings, item.name)
        if item.name not in used and value != getattr(default, item.name):
            raise InputError(
                f"{item.name} is {value!r}, which has no effect on one search from one start;"
                f" make_invert takes {', '.join(used)}; jattr.invert takes all of MultiStart"
            )
