"""`Distance`: the mean square of a residual vector of two images, and weighted sums.

It has a residual and not a number alone, because Gauss-Newton steps need one.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jattr.errors import InputError
from jattr.generators.digest import canonical_json
from jattr.typing import PyTree

# (state, a [H, W, C], b [H, W, C]) -> [m]
ResidualFn: TypeAlias = Callable[[PyTree, jax.Array, jax.Array], jax.Array]
# (state, image [H, W, C]) -> code
EncodeFn: TypeAlias = Callable[[PyTree, jax.Array], PyTree]
# (state, a [H, W, C], code of b) -> [m]
CompareFn: TypeAlias = Callable[[PyTree, jax.Array, PyTree], jax.Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Distance:
    """A distance between a reproduction a and an image b, both [H, W, C] float32 in [-1, 1] units.

    `apply` is pure, differentiable, and the same object for all distances of one kind and
    architecture, which differ in `state`: so they share compiled programs. Where `encode` and
    `compare` are given, `apply(state, a, b) == compare(state, a, encode(state, b))`: a search
    encodes its image once.
    """

    name: str  # `load_distance` takes it where no folder belongs to the distance
    # -> residual [m] float32, whose mean square is the distance
    apply: ResidualFn = field(repr=False)
    digest: str  # identifies function and weights
    smooth_squares: bool  # the residual is smooth in a: least-squares methods may use it
    state: PyTree = field(default=None, repr=False)  # settings and weights, a pytree of arrays
    encode: EncodeFn | None = field(default=None, repr=False)
    compare: CompareFn | None = field(default=None, repr=False)

    def __call__(self, a: ArrayLike, b: ArrayLike) -> jax.Array:
        """Return the distance [] float32 of reproduction a and image b, [H, W, C] in [-1, 1] units.

        Raises:
          InputError: the images are of different shapes, are bytes, or are too small or of a wrong
            number of channels for this distance.
        """
        a, b = jnp.asarray(a), jnp.asarray(b)
        if a.ndim != 3 or a.shape != b.shape:
            raise InputError(
                f"distance {self.name!r} got images of shapes {a.shape} and {b.shape}; it takes two"
                " [H, W, C] of one shape; for more, use jax.vmap"
            )
        if not (jnp.issubdtype(a.dtype, jnp.floating) and jnp.issubdtype(b.dtype, jnp.floating)):
            raise InputError(
                f"distance {self.name!r} got {a.dtype} and {b.dtype}; it takes floats in [-1, 1]:"
                " value / 127.5 - 1"
            )
        return _mean_square(self.apply, self.state, a.astype(jnp.float32), b.astype(jnp.float32))


@functools.partial(jax.jit, static_argnums=0)
def _mean_square(apply: ResidualFn, state: PyTree, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(apply(state, a, b)))


def digest_of(kind: str, settings: Mapping[str, object]) -> str:
    """Return the digest of a distance's kind and settings, among them the digest of its network."""
    return hashlib.sha256(canonical_json({"distance": kind, **settings})).hexdigest()


def join(residuals: Sequence[jax.Array], weights: Sequence[ArrayLike]) -> jax.Array:
    """Return one residual [m] whose mean square is the weighted sum of the mean squares of several.

    >>> join([jnp.ones(2), jnp.full(3, 2.0)], [1.0, 0.5]).shape
    (5,)
    >>> joined = join([jnp.ones(2), jnp.full(3, 2.0)], [1.0, 0.5])
    >>> round(float(jnp.mean(jnp.square(joined))), 5)  # 1 + 0.5 * 4
    3.0
    """
    total = sum(residual.size for residual in residuals)
    scaled = [
        residual.ravel() * jnp.sqrt(jnp.float32(total / residual.size) * weight)
        for residual, weight in zip(residuals, weights, strict=True)
    ]
    return jnp.concatenate(scaled)


def weighted(*parts: tuple[Distance, float]) -> Distance:
    """Return the weighted sum of distances: parts are (distance, weight).

    Weights are part of the state: sums of the same distances by other weights share compiled
    programs.

    Raises:
      InputError: there are no parts, or a weight is not a finite number above 0.
    """
    if not parts:
        raise InputError("a weighted distance has no parts; give at least one (distance, weight)")
    for distance, weight in parts:
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(
                f"distance {distance.name!r} has the weight {weight:g}; a weight is a finite number"
                " above 0: omit what is not to count"
            )
    distances = [distance for distance, _ in parts]
    weights = tuple(jnp.float32(weight) for _, weight in parts)
    apply, encode, compare = _sum_of(
        tuple((part.apply, part.encode, part.compare) for part in distances)
    )
    return Distance(
        name="+".join(f"{distance.name}*{weight:g}" for distance, weight in parts),
        apply=apply,
        encode=encode,
        compare=compare,
        digest=digest_of(
            "weighted", {"parts": [[distance.digest, float(weight)] for distance, weight in parts]}
        ),
        smooth_squares=all(distance.smooth_squares for distance in distances),
        state=(tuple(distance.state for distance in distances), weights),
    )


@functools.lru_cache(maxsize=256)
def _sum_of(
    parts: tuple[tuple[ResidualFn, EncodeFn | None, CompareFn | None], ...],
) -> tuple[ResidualFn, EncodeFn, CompareFn]:
    """Return (apply, encode, compare) of a sum: the same objects for the same parts."""

    def encode(state: PyTree, b: jax.Array) -> PyTree:
        codes = [
            b if encode is None else encode(one, b)
            for (_, encode, _), one in zip(parts, state[0], strict=True)
        ]
        return tuple(codes)

    def compare(state: PyTree, a: jax.Array, codes: PyTree) -> jax.Array:
        states, weights = state
        residuals = [
            (apply if compare is None else compare)(one, a, code)
            for (apply, _, compare), one, code in zip(parts, states, codes, strict=True)
        ]
        return join(residuals, weights)

    def apply(state: PyTree, a: jax.Array, b: jax.Array) -> jax.Array:
        return compare(state, a, encode(state, b))

    return apply, encode, compare
