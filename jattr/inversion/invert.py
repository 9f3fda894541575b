"""`problem_of`: one image as a problem for `solve`; `invert`: many images, restarts, polish.

Zhang, Zhou, Shumailov, Papernot, On Attribution of Deepfakes, arXiv 2008.09194, section 4:
attribution by optimising over the source of entropy. The methods here are ours.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.distances.base import Distance
from jattr.distances.registry import as_distance
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.images import ValueRange, as_bytes, shape_advice
from jattr.images.values import as_array, check_dtype, check_value_range, to_units
from jattr.inversion.config import InvertConfig, as_search
from jattr.inversion.multistart import Inversion, OnRound, run_rounds
from jattr.inversion.observation.base import Observation
from jattr.inversion.observation.make import make_observation
from jattr.inversion.problem import Target, arrival_floor, prior_of, target_of, target_problem
from jattr.inversion.settings import MultiStart
from jattr.inversion.two_stage import make_inverter
from jattr.inversion.warm_start import Given, Ridge
from jattr.runtime import jax_defaults
from jattr.solvers.prior import Prior
from jattr.solvers.problem import Problem

ROUNDINGS = ("round", "truncate")
CompareFn: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]


def problem_of(
    gen: Generator,
    image: ArrayLike | None,
    *,
    observation: str | Distance | CompareFn | Observation | None = None,
    prior: bool | Prior | None = True,
    label: ArrayLike | None = None,
    value_range: ValueRange | None = None,
) -> Problem:
    """Return the problem of one image: which latent of a generator makes it.

    Pure, and cheap: call it inside of `jit` or `vmap`, over images, labels, or weights
    (`dataclasses.replace(gen, state=...)`).

    Args:
      gen: the generator, in the space that is searched.
      image: [H, W, C] uint8, or floats in [-1, 1], where -1 and 1 are clipped values. None where
        an `Observation` holds it.
      observation: what the image says. None: its bytes, made by the generator's rounding rule;
        "round" or "truncate": by this one; a `Distance` or its text; a function of reproduction and
        image, both [H, W, C] floats in [-1, 1] units, that returns residuals, or one number not
        below 0; or an `Observation` of one image.
      prior: True: the moments of the generator's latents; a `Prior`; False or None: none.
      label: the class; None if the generator is unconditional.
      value_range: of a float image, (-1, 1) or (0, 1). None: it is in [-1, 1], and one that has no
        negative number is refused, unless it is traced.

    Raises:
      ImageError: the image has another shape or type than the generator's, or other values.
      InputError: another argument is not legal.

    >>> import jax, jax.numpy as jnp, jattr
    >>> apply = lambda w, z, *, label=None: jnp.tanh(z @ w).reshape(-1, 4, 4, 1)
    >>> w = jax.random.normal(jax.random.key(0), (3, 16)) / 2
    >>> gen = jattr.Generator.from_function(apply, w, latent=(3,))
    >>> problem = problem_of(gen, apply(w, jnp.ones((1, 3)))[0])
    >>> solution = jattr.solve(problem, "levenberg-marquardt", jnp.zeros(3))
    >>> bool(jnp.allclose(solution.latent, 1.0, atol=1e-3))
    True
    """
    _check_label(gen, label)
    moments = _prior_of(gen, prior)
    if isinstance(observation, Observation):
        if image is not None or len(observation.pixels) != 1:
            raise InputError(
                f"observation holds {len(observation.pixels)} images; it holds the one that is"
                " searched, and image is None"
            )
        rule = "truncate" if observation.rounding == "truncate" else "round"
        target = jax.tree.map(lambda part: part[0], observation.targets([0], [rule]))
        seen, floor = observation.gen, observation.floors[0]
        return target_problem(
            seen.apply,
            seen.state,
            target,
            seen.latent_shape,
            label=label,
            prior=moments,
            floor=floor,
        )
    pixels = _checked_image(gen, image, value_range)
    if observation is None or (isinstance(observation, str) and observation in ROUNDINGS):
        target = target_of(pixels, observation or gen.rounding or "round")
        floor = arrival_floor(target.below | target.above)
        return target_problem(
            gen.apply, gen.state, target, gen.latent_shape, label=label, prior=moments, floor=floor
        )
    if isinstance(observation, str):
        observation = as_distance(observation)
    if not callable(observation):
        raise InputError(
            f"observation is {observation!r}; it is {' or '.join(ROUNDINGS)}, a Distance or its"
            " text, a function of reproduction and image, an Observation of one image, or None"
        )
    return _compared(gen, target_of(pixels), observation, label, moments)


def _compared(
    gen: Generator,
    target: Target,
    observation: Distance | CompareFn,
    label: ArrayLike | None,
    prior: Prior | None,
) -> Problem:
    """Return the problem whose residuals a distance or a function of two images gives."""

    def residual(z: jax.Array) -> jax.Array:
        labels = None if label is None else jnp.asarray(label)[None]
        reproduction = gen.apply(gen.state, z[None], label=labels)[0]
        if isinstance(observation, Distance):
            return observation.apply(observation.state, reproduction, target.center)
        compared = jnp.asarray(observation(reproduction, target.center))
        # of a number the residual is its root
        if compared.shape == ():
            return as_distance(observation).apply(None, reproduction, target.center)
        return compared

    return Problem(residual, prior, latent=jax.ShapeDtypeStruct(gen.latent_shape, jnp.float32))


def _checked_image(
    gen: Generator, image: ArrayLike | None, value_range: ValueRange | None
) -> jax.Array | np.ndarray:
    if image is None:
        raise ImageError(f"image is None; it is {gen.image_shape} uint8, or floats in [-1, 1]")
    array = image if isinstance(image, jax.Array) else as_array(image)
    if array.shape != gen.image_shape:
        advice = shape_advice(array.shape, gen.image_shape).replace("[None]", "")
        raise ImageError(
            f"image has the shape {array.shape}; {gen.name!r} makes {gen.image_shape}{advice}; of"
            " many images one problem each, by jax.vmap"
        )
    if array.dtype == np.uint8:
        check_value_range(value_range, floats=False)
        return array
    if not isinstance(array, jax.core.Tracer):
        return to_units(np.asarray(array), value_range)
    # its values are not known yet
    check_dtype(array.dtype)
    scale = check_value_range(value_range, floats=True)
    return array * 2 - 1 if scale == (0.0, 1.0) else array


def _check_label(gen: Generator, label: ArrayLike | None) -> None:
    if gen.num_classes and label is None:
        raise InputError(
            f"label is None; {gen.name!r} makes {gen.num_classes} classes: give one, 0 to"
            f" {gen.num_classes - 1}"
        )
    if not gen.num_classes and label is not None:
        raise InputError(f"label is {label!r}; {gen.name!r} is unconditional: leave it away")


def _prior_of(gen: Generator, prior: bool | Prior | None) -> Prior | None:
    if isinstance(prior, Prior):
        return prior
    if prior is None or prior is False:
        return None
    if prior is not True:
        raise InputError(f"prior is {prior!r}; it is True, False, or a jattr.Prior(mean, scale)")
    return prior_of(gen)


@jax_defaults()
def invert(
    gen: Generator,
    images: ArrayLike,
    *,
    search: MultiStart | InvertConfig | None = None,
    latents0: ArrayLike | None = None,
    key: jax.Array | None = None,
    on_round: OnRound | None = None,
    value_range: ValueRange | None = None,
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
      value_range: of float images, (-1, 1) or (0, 1). None: they are in [-1, 1], and images without
        a negative number are refused.

    Returns:
      Inversion with arrays [n, restarts]; restarts that were not needed have status SKIPPED and
      loss inf. So has a restart of a style-based generator whose styles promised nothing: its
      latent was not looked for.

    Raises:
      ImageError: images of another shape or type, or other values.
      InputError: latents0 of another shape, or settings that contradict each other.
    """
    check_generator(gen)
    settings, key = as_search(search), check_key(key)
    if latents0 is not None:
        settings = _from(settings, Given(cast(np.ndarray, latents0)), gen)
    gen = settings.view(gen)
    if value_range is not None:
        images = as_bytes(images, value_range)
    observation = make_observation(gen, images, settings)
    key = jax.random.key(settings.seed) if key is None else key
    inverter = make_inverter(observation, settings, key)
    run_rounds(inverter, on_round)
    inverter.finish()
    return inverter.result()


def check_generator(gen: Generator) -> None:
    """Check that a generator is one.

    Raises:
      InputError: it is a name, a folder, or something else.
    """
    if not isinstance(gen, Generator):
        raise InputError(
            f"the generator is of type {type(gen).__name__}; it is a jattr.Generator, as"
            " jattr.load_generator(NAME_OR_FOLDER) returns"
        )


def check_key(key: jax.Array | None) -> jax.Array | None:
    """Return a PRNG key as it is.

    Raises:
      InputError: it is none.
    """
    if key is None:
        return None
    try:
        single = jax.random.key_data(key).ndim == 1
    except (TypeError, ValueError):
        single = False
    if not single:
        kind = f"{getattr(key, 'dtype', type(key).__name__)} {getattr(key, 'shape', '')}".strip()
        raise InputError(f"key is {kind}; it is one PRNG key, as jax.random.key(0), or None")
    return key


def _from(settings: MultiStart, start: Given, gen: Generator) -> MultiStart:
    """Return the settings of searches that begin at latents of the caller's own."""
    if settings.warm_start != Ridge():
        raise InputError("latents0 and search.warm_start are given; give one of them")
    latents0 = start.latents
    given = latents0.size // max(1, len(latents0)) // int(np.prod(settings.view(gen).latent_shape))
    restarts = max(1, given) if settings.restarts is None else settings.restarts
    return dataclasses.replace(settings, warm_start=start, restarts=restarts)
