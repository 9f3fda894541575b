"""The linear picture: what a generator makes of one latent, and the Jacobian there; one program an architecture.

Certificates and the interval polish work on it. So does the search, one latent at a time, where a Jacobian is dear: its
step then goes through the linear picture in a small program that all architectures of one picture and latent size
share, so that a candidate costs one compilation less and nothing is computed twice.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.gauss_newton import value_and_jacobian
from jattr.inversion.optimisers import METHODS
from jattr.inversion.problem import Target, deviation
from jattr.inversion.search import Carry, Engine, make_begin, make_steps


class Linear(NamedTuple):
    """The picture around one latent, to first order."""

    picture: jax.Array  # [H, W, C], there; [-1, 1] units, not clipped
    jacobian: jax.Array  # [H W C, d], of the picture's numbers
    z: jax.Array  # [d], the latent


@functools.lru_cache(maxsize=64)
def make_linear(apply: ApplyFn, shape: tuple[int, ...]) -> Any:
    """Return jitted `fn(state, label, z) -> Linear` for one latent of `shape`, at full float32 precision."""

    def fn(state: Any, label: jax.Array | None, z: jax.Array) -> Linear:
        def picture(z: jax.Array) -> jax.Array:
            given = None if label is None else label[None]
            return apply(state, z.reshape(1, *shape), label=given)[0]

        with jax.default_matmul_precision("highest"):
            made = jax.eval_shape(picture, z)
            value, jacobian = value_and_jacobian(lambda z: picture(z).ravel(), z.ravel())
        return Linear(value.reshape(made.shape), jacobian, z.ravel())

    return jax.jit(fn)


def linearise(gen: Generator, target: Target, label: Any, z: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (picture [H, W, C], residual [pixels], its Jacobian [pixels, d]) at a latent.

    The residual of a clipped byte counts from the middle of its interval, as those of the others do.
    """
    given = jnp.int32(label) if gen.num_classes else None
    found = make_linear(gen.apply, gen.latent_shape)(gen.state, given, jnp.asarray(z, jnp.float32))
    picture, jacobian = np.asarray(found.picture), np.asarray(found.jacobian)
    target = jax.tree.map(np.asarray, target._replace(slack=0 * target.slack))
    residual = deviation(picture, target)
    beyond = (target.below & (residual <= 0)) | (target.above & (residual >= 0))
    return picture, residual.ravel(), np.where(np.asarray(beyond).ravel()[:, None], np.float32(0), jacobian)


def apply_linear(model: Linear, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
    """Return the linear pictures [n, H, W, C] of latents z, as a generator's `apply`; `label` is in the model."""
    del label
    moved = (z.reshape(len(z), -1) - model.z) @ model.jacobian.T
    return model.picture + moved.reshape(len(z), *model.picture.shape)


@functools.lru_cache(maxsize=64)
def make_single_engine(apply: ApplyFn, shape: tuple[int, ...], method: str, steps: int, precision: str) -> Engine:
    """Return the programs of one lane of a method with the whole Jacobian; arguments as of `make_engine`."""
    optimiser = METHODS[method].make(steps)
    segment = min(METHODS[method].segment, steps)
    linear = make_linear(apply, shape)
    step = make_steps(apply_linear, shape, optimiser.step, 1, precision)

    def advance(state: Any, prior: Any, target: Target, label: jax.Array | None, carry: Carry) -> Carry:
        for _ in range(segment):
            model = linear(state, None if label is None else label[0], carry.optimiser.trial[0])
            carry = step(model, prior, target, None, carry)
        return carry

    def compile_linear(state: Any, prior: Any, target: Target, label: jax.Array | None, carry: Carry) -> object:
        del prior, target
        args = (state, None if label is None else label[0], carry.optimiser.trial[0])
        return linear.lower(*args).compile()

    return Engine(make_begin(method, steps), advance, segment, compile_linear)
