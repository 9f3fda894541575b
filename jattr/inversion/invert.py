"""`make_invert`: inversion as a pure function; `invert`: many images, restarts in rounds, polish.

Zhang, Zhou, Shumailov, Papernot, On Attribution of Deepfakes, arXiv 2008.09194, section 4:
attribution by optimising over the source of entropy. The methods here are ours.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig, polish_method
from jattr.inversion.evaluate import cost_of
from jattr.inversion.multistart import Inversion, run_rounds
from jattr.inversion.observation.make import make_observation
from jattr.inversion.problem import arrival_floor, make_problem, target_of
from jattr.inversion.scheduler import Status
from jattr.inversion.two_stage import make_inverter
from jattr.solvers.base import Prior
from jattr.solvers.solve import advance, begin
from jattr.typing import PyTree


def make_invert(
    apply: Callable[..., jax.Array], config: InvertConfig | None = None
) -> Callable[..., Inversion]:
    """Return `fn(state, image, z0, key, label=None, prior=None) -> Inversion`.

    One image, one start, fixed steps.

    Pure: `vmap`, `jit` or shard it. `image` is [H, W, C] uint8, or float32 in [-1, 1]; `z0` is
    [*latent_shape]. `key` is for methods that draw at random; none of the present ones does.
    `prior` is the `Prior` of the latents: with it Gauss-Newton methods search for the most probable
    latent, else for any. No early stop, no rounds: that is `invert`.

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

    def fn(
        state: PyTree,
        image: jax.Array,
        z0: jax.Array,
        key: jax.Array,
        label: jax.Array | None = None,
        prior: Prior | None = None,
    ) -> Inversion:
        del key
        with jax.default_matmul_precision(config.precision):
            target = target_of(image)
            problem = make_problem(apply, state, target, z0.shape, label, prior)
            method = config.method_for(
                z0.size, cost_of(apply, state, z0.shape, 0 if label is None else 1)
            )
            steps = config.steps or method.steps
            solver = dataclasses.replace(method, steps=steps)
            carry = advance(solver.step, problem, begin(solver, z0.ravel()), steps)
            cost = steps * method.evaluations(z0.size)
            if method.polish and config.polish_steps:
                polish = polish_method(z0.size)
                solver = dataclasses.replace(polish, steps=config.polish_steps)
                carry = advance(
                    solver.step, problem, begin(solver, carry.best), config.polish_steps
                )
                cost += config.polish_steps * polish.evaluations(z0.size)
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
    config: InvertConfig | None = None,
    key: jax.Array | None = None,
) -> Inversion:
    """Search the latents of images under one generator.

    Args:
      gen: the generator.
      images: [n, H, W, C] uint8, or floats in [-1, 1], which are rounded to bytes.
      config: settings.
      key: PRNG key; None: from `config.seed`.

    Returns:
      Inversion with arrays [n, restarts]; restarts that were not needed have status SKIPPED and
      loss inf. So has a restart of a style-based generator whose styles promised nothing: its
      latent was not looked for.

    Raises:
      ImageError: images of another shape or type.
    """
    config = config or InvertConfig()
    gen = config.view(gen)
    observation = make_observation(gen, images, config)
    inverter = make_inverter(
        observation, config, jax.random.key(config.seed) if key is None else key
    )
    run_rounds(inverter)
    inverter.finish()
    return inverter.result()
