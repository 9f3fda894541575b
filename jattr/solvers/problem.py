"""`Problem`: residuals of any latent, a pytree; and its form over flat arrays for solvers."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jattr.errors import InputError
from jattr.solvers.base import FlatProblem, Prior
from jattr.solvers.ravel import joined, ravel_latent
from jattr.typing import PyTree

StretchedFn: TypeAlias = Callable[[PyTree, jax.Array], tuple[PyTree, PyTree]]


@dataclass(frozen=True, eq=False)
class Problem:
    """Residuals to make small: their mean square is the loss.

    >>> import jax.numpy as jnp
    >>> Problem(lambda z: {"data": z["a"] * z["b"] - 1.0}, Prior(0.0, 1.0)).floor
    0.0
    """

    residual_fn: Callable[[PyTree], PyTree]  # latent -> residuals, both any pytree of floats
    # Gauss-Newton solvers search for the most probable latent; None: any is as good as another.
    # Solvers that see gradients alone make the residuals small, whatever the prior.
    prior: Prior | None = None
    _: KW_ONLY
    # arrays or `jax.ShapeDtypeStruct`s of a latent; None: as z0 is. A z0 of 64 bits is searched in
    # 32 where this says so.
    latent: PyTree = None
    floor: float | jax.Array = 0.0  # loss at or below which a search has arrived
    # loss below which the prior no longer gives way to the residuals
    variance_floor: float = 1e-7
    # (latent, bool []) -> residuals, in another domain where true, and the plain ones: for the
    # `logit_steps` of Levenberg-Marquardt
    stretched_fn: StretchedFn | None = None
    # entered while residuals are traced for many forward-mode tangents at once
    tangents: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def __post_init__(self) -> None:
        """Check what can be checked without a latent.

        Raises:
          InputError: the residuals are no function, or the prior is none.
        """
        if not callable(self.residual_fn):
            raise InputError(
                f"residual_fn of Problem is {self.residual_fn!r}; it is a function of a latent that"
                " returns residuals, arrays in any pytree"
            )
        if self.prior is not None and not isinstance(self.prior, Prior):
            raise InputError(
                f"prior of Problem is {self.prior!r}; it is a jattr.Prior(mean, scale) or None: of"
                " samples by jattr.Prior.from_samples, of a density by jattr.Prior.from_density"
            )


class Flat(NamedTuple):
    """A problem and a latent over flat arrays."""

    problem: FlatProblem
    z: jax.Array  # [d]
    unravel: Callable[[jax.Array], PyTree]  # [d] -> latent, with the dtypes of z0


def flatten(problem: Problem, z0: PyTree) -> Flat:
    """Return a problem over flat latents, and z0 as one.

    Raises:
      InputError: z0 is not what the problem's latents are, the residuals of it cannot be computed
        or are none, or the prior does not fit it.
    """
    if problem.latent is not None:
        _check_latent(problem.latent, z0)
        z0 = jax.tree.map(_narrowed, problem.latent, z0)
    z, unravel = ravel_latent(z0)

    def residual(z: jax.Array) -> jax.Array:
        return _ravel_residuals(problem.residual_fn(unravel(z)), z.dtype)

    def stretched(z: jax.Array, on: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert problem.stretched_fn is not None
        both = problem.stretched_fn(unravel(z), on)
        return _ravel_residuals(both[0], z.dtype), _ravel_residuals(both[1], z.dtype)

    flat = FlatProblem(
        residual,
        _num_residuals(residual, z, z0),
        _flat_prior(problem.prior, z0, z.dtype),
        None if problem.stretched_fn is None else stretched,
        problem.variance_floor,
        problem.tangents,
    )
    return Flat(flat, z, unravel)


def _check_latent(latent: PyTree, z0: PyTree) -> None:
    if not _same_structure(latent, z0):
        raise InputError(
            f"z0 has the structure {jax.tree.structure(z0)}; latents of this problem have"
            f" {jax.tree.structure(latent)}"
        )
    for part, array in zip(jax.tree.leaves(latent), jax.tree.leaves(z0), strict=True):
        if tuple(part.shape) != jnp.shape(array):
            raise InputError(
                f"z0 has a part of shape {jnp.shape(array)} where latents of this problem have"
                f" {tuple(part.shape)}; for many starts use jax.vmap over z0"
            )


def _narrowed(part: jax.ShapeDtypeStruct | jax.Array, array: jax.Array) -> jax.Array:
    """Return 64-bit numbers in the 32 bits that a problem states of its latents, others as given.

    Where `jax_enable_x64` is set, `jnp.zeros(n)` has 64 bits without anybody asking for them.
    """
    wide = jnp.result_type(array) == jnp.float64 and part.dtype == jnp.float32
    return jnp.asarray(array, jnp.float32) if wide else array


def _same_structure(one: PyTree, other: PyTree) -> bool:
    structures: list[object] = [jax.tree.structure(one), jax.tree.structure(other)]
    return structures[0] == structures[1]


def _ravel_residuals(residuals: PyTree, dtype: jnp.dtype) -> jax.Array:
    parts = [jnp.asarray(part) for part in jax.tree.leaves(residuals)]
    for part in parts:
        if not jnp.issubdtype(part.dtype, jnp.floating):
            raise InputError(
                f"residual_fn returns a part of dtype {part.dtype}; residuals are real floats: of"
                " complex numbers give real and imaginary parts"
            )
    if sum(part.size for part in parts) == 0:
        raise InputError(
            f"residual_fn returns {residuals!r}, in which there is no number; it returns"
            " differences, arrays of floats in any pytree"
        )
    return joined([part.ravel().astype(dtype) for part in parts])


def _num_residuals(residual: Callable[[jax.Array], jax.Array], z: jax.Array, z0: PyTree) -> int:
    try:
        return int(jax.eval_shape(residual, z).size)
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        shapes = jax.tree.map(lambda part: jnp.shape(part), z0)
        raise InputError(
            f"residual_fn cannot be computed of a latent like z0, with shapes {shapes}:"
            f" {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error


def _flat_prior(prior: Prior | None, z0: PyTree, dtype: jnp.dtype) -> Prior | None:
    if prior is None:
        return None
    mean, scale = (
        _flat_moment(name, moment, z0, dtype)
        for name, moment in (("mean", prior.mean), ("scale", prior.scale))
    )
    if not isinstance(scale, jax.core.Tracer) and not bool(
        ((scale > 0) & jnp.isfinite(scale)).all()
    ):
        raise InputError(
            f"scale of the prior is {prior.scale!r}; it is finite standard deviations above 0"
        )
    return Prior(mean, scale)


def _flat_moment(name: str, moment: PyTree, z0: PyTree, dtype: jnp.dtype) -> jax.Array:
    leaves, parts = jax.tree.leaves(z0), jax.tree.leaves(moment)
    if _same_structure(moment, 0.0):
        parts = [moment] * len(leaves)
    elif not _same_structure(moment, z0):
        raise InputError(
            f"{name} of the prior has the structure {jax.tree.structure(moment)}; it is a number or"
            f" has the structure of z0, {jax.tree.structure(z0)}"
        )
    try:
        wide = [
            jnp.broadcast_to(jnp.asarray(part, dtype), jnp.shape(leaf)).ravel()
            for part, leaf in zip(parts, leaves, strict=True)
        ]
    except ValueError as error:
        raise InputError(
            f"{name} of the prior does not fit z0: {error}; its parts are numbers or arrays that"
            " broadcast against those of z0"
        ) from None
    return joined(wide)
