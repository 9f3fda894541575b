"""The linear image: a generator's image at one latent, and the Jacobian there.

One program an architecture. Certificates and the rounding polish work on it. So does the search,
one latent at a time, where a Jacobian is dear: its step then goes through the linear image in a
small program that all architectures of one image and latent size share, so that a candidate costs
one compilation less and nothing is computed twice.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.generators import ops
from jattr.generators.base import ApplyFn, Generator
from jattr.generators.forward import AfterFn, Followed, rest
from jattr.inversion.problem import FLOOR, Target, deviation, make_problem_fn
from jattr.solvers.base import Array, Prior, Solver
from jattr.solvers.levenberg_marquardt import value_and_jacobian
from jattr.solvers.solve import Carry, Engine, make_begin, make_steps
from jattr.typing import PyTree


class Linear(NamedTuple):
    """The image around one latent, to first order."""

    image: jax.Array  # [H, W, C], there; [-1, 1] units, not clipped
    jacobian: jax.Array  # [H W C, d], of the image's numbers
    z: jax.Array  # [d], the latent


class LinearProgram(NamedTuple):
    """How the linear image is computed."""

    run: Callable[..., Linear]  # (state, label, z) -> Linear
    compile: Callable[..., object]  # arguments as of `run`: compile what is dear of it now


def make_linear(apply: ApplyFn, shape: tuple[int, ...]) -> Callable[..., Linear]:
    """Return compiled `fn(state, label, z) -> Linear` for one latent of `shape`, full float32."""
    return make_linear_program(apply, shape).run


@functools.lru_cache(maxsize=64)
def make_linear_program(apply: ApplyFn, shape: tuple[int, ...]) -> LinearProgram:
    """Return how the linear image is computed; by the chain rule where something follows.

    So the generator's Jacobian, the dear program, is the same whatever follows.
    """
    if isinstance(apply, Followed):
        first, push = make_linear_program(apply.first, shape), _make_push(apply.after)

        def run(state: PyTree, label: jax.Array | None, z: jax.Array) -> Linear:
            return push(rest(state), first.run(state["generator"], label, z))

        return LinearProgram(
            run, lambda state, label, z: first.compile(state["generator"], label, z)
        )

    def fn(state: PyTree, label: jax.Array | None, z: jax.Array) -> Linear:
        def image(z: jax.Array) -> jax.Array:
            given = None if label is None else label[None]
            return apply(state, z.reshape(1, *shape), label=given)[0]

        here = ops.for_platform(jax.default_backend())
        with here, jax.default_matmul_precision("highest"):
            image_shape = jax.eval_shape(image, z).shape
            value, jacobian = value_and_jacobian(
                lambda z: image(z).ravel(), z.ravel(), ops.for_tangents
            )
        return Linear(value.reshape(image_shape), jacobian, z.ravel())

    program = jax.jit(fn)
    return LinearProgram(program, lambda *args: program.lower(*args).compile())


@functools.lru_cache(maxsize=64)
def _make_push(after: AfterFn) -> Callable[..., Linear]:
    """Return compiled `fn(state, Linear) -> Linear`: of the images after what follows.

    By the chain rule: each column of the Jacobian is pushed through what follows, forward mode.
    """

    def fn(state: PyTree, model: Linear) -> Linear:
        def push(x: jax.Array) -> jax.Array:
            return after(state, x[None])[0]

        def along(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.jvp(push, (model.image,), (direction.reshape(model.image.shape),))

        with jax.default_matmul_precision("highest"):
            image, moved = jax.vmap(along, in_axes=1, out_axes=(None, -1))(model.jacobian)
        return Linear(image, moved.reshape(image.size, -1), model.z)

    return jax.jit(fn)


def linearise(
    gen: Generator, target: Target, label: ArrayLike | None, z: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (image [H, W, C], residual [pixels], its Jacobian [pixels, d]) at a latent.

    The residual of a clipped byte counts from the middle of its interval, as those of the others
    do.
    """
    given = jnp.int32(label) if gen.num_classes else None
    linear = make_linear(gen.apply, gen.latent_shape)(gen.state, given, jnp.asarray(z, jnp.float32))
    image, jacobian = np.asarray(linear.image), np.asarray(linear.jacobian)
    # Without slack: one-sided residuals are 0 from the middle of a clipped byte's interval on.
    target = jax.tree.map(np.asarray, target._replace(slack=0 * target.slack))
    residual = deviation(image, target)
    # There they are constant: their rows of the Jacobian are 0.
    satisfied = (target.below & (residual <= 0)) | (target.above & (residual >= 0))
    rows = np.where(np.asarray(satisfied).ravel()[:, None], np.float32(0), jacobian)
    return image, residual.ravel(), rows


def apply_linear(model: Linear, z: jax.Array, *, label: ArrayLike | None = None) -> jax.Array:
    """Return the linear images [n, H, W, C] of latents z, as a generator's `apply` does.

    `label` is in the model.
    """
    del label
    moved = (z.reshape(len(z), -1) - model.z) @ model.jacobian.T
    return model.image + moved.reshape(len(z), *model.image.shape)


@functools.lru_cache(maxsize=64)
def make_single_engine(
    apply: ApplyFn,
    shape: tuple[int, ...],
    method: Solver,
    steps: int,
    precision: str,
    variance_floor: float = FLOOR / 50,
) -> Engine:
    """Return the programs of one lane of a method with the whole Jacobian.

    Arguments are those of `make_engine` and `make_problem_fn`.
    """
    solver, segment = dataclasses.replace(method, steps=steps), min(method.segment, steps)
    linear = make_linear_program(apply, shape)
    step = make_steps(
        make_problem_fn(apply_linear, shape, variance_floor), solver.kernel(), 1, precision
    )

    def advance(
        state: PyTree, prior: Prior, target: PyTree, label: Array | None, carry: Carry
    ) -> Carry:
        for _ in range(segment):
            model = linear.run(
                state, None if label is None else label[0], carry.solver_state.trial[0]
            )
            carry = step(model, prior, target, None, carry)
        return carry

    def compile_linear(
        state: PyTree, prior: Prior, target: PyTree, label: Array | None, carry: Carry
    ) -> object:
        del prior, target
        args = (state, None if label is None else label[0], carry.solver_state.trial[0])
        return linear.compile(*args)

    return Engine(make_begin(solver), advance, segment, compile_linear)
