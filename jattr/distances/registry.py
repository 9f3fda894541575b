"""The distances by name, and distances from a text.

Such as `l2`, `huber:0.1`, `FOLDER:Mixed_6e`, `l2*1+ssim*0.5`.
"""

import functools
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jattr.distances.base import Distance, digest_of, weighted
from jattr.distances.feature_folder import load_features
from jattr.distances.features import features, lpips
from jattr.distances.pixel import multiscale, pixel_huber, pixel_l1, pixel_l2
from jattr.distances.structure import ssim
from jattr.errors import InputError
from jattr.runtime import jax_defaults
from jattr.typing import PyTree

# A distance, a text that `load_distance` reads, or a function of two images [H, W, C] -> []
DistanceLike: TypeAlias = Distance | str | Callable[[jax.Array, jax.Array], jax.Array]

DISTANCES: dict[str, Callable[..., Distance]] = {
    "l2": pixel_l2,
    "l1": pixel_l1,
    "huber": pixel_huber,
    "multiscale": multiscale,
    "ssim": ssim,
    "features": features,
    "lpips": lpips,
}
ROUNDED = 1e-4  # a distance so little below 0 is 0: as 1 - similarity, computed in float32
OF_FOLDERS = ("features", "lpips")  # a folder is their first argument
# after a colon
SETTING: dict[str, tuple[str, type]] = {"huber": ("delta", float), "multiscale": ("levels", int)}
FORM = (
    "write NAME, NAME:SETTING, FOLDER or FOLDER:LAYER, each with *WEIGHT if it is one of several"
    " joined by +"
)


@jax_defaults()
def load_distance(spec: str) -> Distance:
    """Return the distance that a text describes.

    One term, or several joined by `+`, each of them `TERM` or `TERM*WEIGHT` (weight 1). A term is
    the name of a distance of pixels, if it has a setting followed by that (`huber:0.1`,
    `multiscale:3`); or a feature folder: LPIPS where it has heads, else its default layer, or the
    layer after a colon. A folder may be written `lpips:FOLDER` or `features:FOLDER:LAYER` too. A
    text that is the path of a folder is that folder, whatever signs it has.

    Raises:
      InputError: the text is no distance, or the folder cannot be used.

    >>> load_distance("l2").name, load_distance("l2*1+ssim*0.5").name
    ('l2', 'l2*1+ssim*0.5')
    """
    if not spec.strip():
        raise InputError(f"the distance is empty; {FORM}. Names: {', '.join(DISTANCES)}")
    if _is_folder(spec):
        return _of_folder(spec)
    parts = [_part(term.strip(), spec) for term in spec.split("+")]
    if len(parts) == 1 and "*" not in spec:
        return parts[0][0]
    return weighted(*parts)


def as_distance(distance: DistanceLike) -> Distance:
    """Return a distance: itself, the one that a text describes, or that of a function.

    The same object for the same argument: a network is read once, and programs are shared.

    Raises:
      InputError: it is none of these, or the text describes no distance.
    """
    if isinstance(distance, Distance):
        return distance
    if isinstance(distance, str) or (callable(distance) and isinstance(distance, Hashable)):
        return _cached_distance(distance)
    raise InputError(
        f"distance is {distance!r}; it is a Distance, a text that load_distance reads, or a"
        " hashable function of two images [H, W, C] that returns a number"
    )


@functools.lru_cache(maxsize=64)
def _cached_distance(distance: str | Callable[[jax.Array, jax.Array], jax.Array]) -> Distance:
    if isinstance(distance, str):
        return load_distance(distance)
    name, version = getattr(distance, "name", None), getattr(distance, "version", "")
    return from_function(distance, name=name, version=version)


def from_function(
    fn: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    name: str | None = None,
    version: str = "",
    smooth_squares: bool = False,
) -> Distance:
    """Return the distance that a function of two images computes.

    Args:
      fn: (reproduction, image), both [H, W, C] float32 in [-1, 1] units, to a number not below 0;
        differentiable, pure.
      name: by which reports and sweeps know it; None: the function's own.
      version: to be changed with what the function computes: sweeps keep results by it.
      smooth_squares: whether the square root of it is smooth, so that least-squares methods may
        use it.

    Raises:
      InputError: when it is used, if it returns anything but one number.
    """
    name = name or str(getattr(fn, "__name__", type(fn).__name__))

    def apply(state: PyTree, a: jax.Array, b: jax.Array) -> jax.Array:
        del state
        try:
            value = fn(a, b)
        except InputError:
            raise
        except (TypeError, ValueError) as error:  # jax's errors of values not known are such, too
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"distance {name!r} cannot be computed of two jax arrays {a.shape}:"
                f" {type(error).__name__}: {reason}"
            ) from error
        try:
            value = jnp.asarray(value)
        except TypeError:
            raise InputError(
                f"distance {name!r} returns {value!r}; it is one floating-point number []"
            ) from None
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(
                f"distance {name!r} returns {value.dtype} {value.shape}; it is one floating-point"
                " number []"
            )
        # a residual whose mean square is the distance; at 0 the root has no gradient
        positive = value > 0
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1.0)), 0.0)
        # NaN, or below 0 by more than rounding does, must not pass for a perfect reproduction
        return jnp.where(value >= -ROUNDED, root, jnp.nan)[None]

    return Distance(
        name=name,
        apply=apply,
        digest=digest_of("function", {"name": name, "version": version}),
        smooth_squares=smooth_squares,
    )


def _part(term: str, spec: str) -> tuple[Distance, float]:
    """Return distance and weight of `TERM` or `TERM*WEIGHT`."""
    name, star, weight = term.rpartition("*")
    if not star:
        return _term(term, spec), 1.0
    try:
        number = float(weight)
    except ValueError as error:
        raise InputError(
            f"distance {spec!r} has the weight {weight!r}, which is no number; {FORM}"
        ) from error
    return _term(name.strip(), spec), number


def _term(term: str, spec: str) -> Distance:
    name, colon, rest = term.partition(":")
    if name in OF_FOLDERS and not _is_folder(name):
        if not rest:
            raise InputError(
                f"distance {spec!r}: {name} needs a feature folder; write its path in place of"
                f" {name}"
            )
        return _of_heads(rest) if name == "lpips" else _of_folder(rest, plain=True)
    if name in DISTANCES and not _is_folder(term):
        return _of_pixels(name, rest, spec) if colon else DISTANCES[name]()
    return _of_folder(term)


def _of_pixels(name: str, setting: str, spec: str) -> Distance:
    if name not in SETTING:
        raise InputError(
            f"distance {spec!r}: {name} takes no setting, but has {setting!r}; write {name}"
        )
    keyword, kind = SETTING[name]
    try:
        value = kind(setting)
    except ValueError as error:
        number = "a whole number" if kind is int else "a number"
        raise InputError(
            f"distance {spec!r}: {name}'s {keyword} is {setting!r}; it must be {number}"
        ) from error
    return DISTANCES[name](**{keyword: value})


def _of_heads(folder: str) -> Distance:
    _check_folder(folder)
    return lpips(folder)


def _of_folder(term: str, *, plain: bool = False) -> Distance:
    """Return the distance of `FOLDER` or `FOLDER:LAYER`.

    `plain`: a layer, even where there are heads.
    """
    folder, colon, layer = term.rpartition(":")
    if not colon or _is_folder(term):
        folder, layer = term, ""
    _check_folder(folder)
    network = load_features(folder)
    if layer or plain or not network.architecture.startswith("lpips-"):
        return features(network, layer=layer or None)
    return lpips(network)


def _check_folder(folder: str) -> None:
    if not folder or not _is_folder(folder):
        raise InputError(
            f"there is no distance and no feature folder {folder!r}; {FORM}. Names:"
            f" {', '.join(DISTANCES)}; folders are made by `jattr convert`"
        )


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # too long for a path
        return False
