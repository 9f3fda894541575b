"""Images that a distance compares with their reproductions, in place of their numbers.

The distance's residual takes the place of the pixels' difference: methods, restarts and rounds stay
the same. What the true latent leaves, 8-bit rounding as the distance sees it, is learnt from images
of the candidate itself.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jattr.distances.base import Distance
from jattr.errors import ImageError, InputError
from jattr.generators import ops
from jattr.generators.base import Generator
from jattr.inversion.observation.base import (
    CensoredData,
    Observation,
    RoundingData,
    Thresholds,
    Traits,
)
from jattr.inversion.problem import ComparedBy, target_of
from jattr.inversion.rounding_polish import RoundingPolish
from jattr.solvers import METHODS
from jattr.solvers.base import Prior, Solver, check_fields
from jattr.typing import PyTree


@dataclass(frozen=True, kw_only=True)
class ByDistance:
    """How images that a distance compares are searched."""

    floor_images: int = 16  # own images from which the floor is learnt
    min_residual: float = 1e-12
    leader: float = 2.0  # times the noise: a leader

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


@dataclass(frozen=True, eq=False)
class DistanceObservation(Observation):
    """Images and the distance that compares them."""

    original: Generator  # of images, without the distance
    distance: Distance
    mean_residual: float  # of the candidate's own images at their true latents
    max_residual: float  # of the same images
    settings: ByDistance = field(default_factory=ByDistance, kw_only=True)

    @property
    def maker(self) -> Generator:
        """The generator of images."""
        return self.original

    @property
    def warm_start_generator(self) -> Generator:
        """The generator of images: warm starts are learnt from pixels."""
        return self.original

    @property
    def rounding(self) -> str:
        """The card's; no other one is tried."""
        return self.original.byte_rule

    @property
    def noise(self) -> float:
        """What 8-bit rounding leaves, as the distance sees it."""
        return self.mean_residual

    @property
    def traits(self) -> Traits:
        """Features have no logits, whole latents are searched, and a leader is within the noise."""
        return Traits(
            near=self.thresholds.near * self.noise,
            leader=self.settings.leader * self.noise,
            lead_ratio=self.thresholds.lead_ratio,
            smooth=self.distance.smooth_squares,
            has_logits=False,
            uses_styles=False,
        )

    @property
    def floors(self) -> np.ndarray:
        """What the worst own image leaves."""
        return np.full(len(self.pixels), self.max_residual)

    @functools.cached_property
    def codes(self) -> list[Any]:
        """What the distance makes of each image, once."""
        encode = _encoder(self.gen.apply.encode)  # type: ignore[attr-defined]
        images = [target_of(image, self.rounding).center for image in self.pixels]
        return [
            jax.tree.map(np.asarray, encode(self.distance.state, jnp.asarray(image)))
            for image in images
        ]

    def target(self, image: int, rounding: str) -> Any:
        """Return the code of one image."""
        del rounding
        return self.codes[image]

    def as_pixels(self) -> Observation:
        """Return the same images compared by their bytes: certificates speak of those."""
        return Observation(self.original, self.pixels, thresholds=self.thresholds)

    def rounding_polish(
        self,
        image: int,
        rounding: str,
        label: int,
        z: np.ndarray,
        settings: RoundingPolish,
        prior: Prior,
    ) -> tuple[np.ndarray, int, float]:
        """Move a latent at the floor into the intervals of the pixels."""
        return self.as_pixels().rounding_polish(image, rounding, label, z, settings, prior)

    def is_near(self, image: int, z: np.ndarray, label: int, loss: float) -> bool:
        """Return whether a latent is near enough in pixels: certificates speak of those."""
        del loss
        labels = self.gen.label_argument(label)
        plain = dataclasses.replace(self.as_pixels(), pixels=self.pixels[image : image + 1])
        return plain.is_near(0, z, label, float(plain.residuals(z[None], labels)[0]))

    def rounding_rules(self, rounding: str | None) -> tuple[str, ...]:
        """Return the card's rule, or both: searches by a distance do not tell which it was."""
        del rounding
        return self.as_pixels().rounding_rules(None)

    def certificate_data(
        self, image: int, z: np.ndarray, label: int, rounding: str
    ) -> RoundingData | CensoredData:
        """Return what the test of the pixels needs."""
        return self.as_pixels().certificate_data(image, z, label, rounding)

    def with_images(self, pixels: np.ndarray) -> Self:
        """Return images of the candidate, to be compared in the same way."""
        return dataclasses.replace(self, pixels=pixels)


def make_distance_observation(
    gen: Generator,
    pixels: np.ndarray,
    distance: Distance,
    method: Solver | None,
    settings: ByDistance = ByDistance(),
    thresholds: Thresholds = Thresholds(),
) -> DistanceObservation:
    """Return images [n, H, W, C] uint8 as searches by a distance see them.

    Raises:
      InputError: a method that needs smooth residuals, and a distance that has none; a distance
        that is not finite, or below 0.
      ImageError: the distance cannot compare images of this shape.
    """
    # Gauss-Newton methods, which need no polish
    if not distance.smooth_squares and method is not None and not method.polish:
        legal = [name for name, solver in METHODS.items() if solver.polish]
        raise InputError(
            f"distance {distance.name!r} is not smooth for {method!r}; use {', '.join(legal)}"
        )
    encode = (
        distance.encode
        if distance.compare is not None and distance.encode is not None
        else _as_it_is
    )
    compare = (
        distance.compare
        if distance.compare is not None and distance.encode is not None
        else distance.apply
    )
    digest = hashlib.sha256(f"{gen.digest} {distance.digest}".encode()).hexdigest()
    observed = dataclasses.replace(
        gen,
        apply=ComparedBy(gen.apply, encode, compare),
        state={"generator": gen.state, "distance": distance.state},
        encoder=None,
        router=None,
        viewer=None,
        digest=digest,
    )
    try:
        left = _own_residuals(observed, gen, distance, settings.floor_images)
    except InputError as error:  # too small, or of channels that it does not know
        raise ImageError(
            f"distance {distance.name!r} cannot compare images {gen.image_shape}: {error}"
        ) from None
    if not np.isfinite(left).all():
        raise InputError(
            f"distance {distance.name!r} of {gen.name!r}'s own images from their reproductions is"
            f" {left.tolist()}; it is a finite number not below 0 for any two images"
        )
    return DistanceObservation(
        observed,
        pixels,
        gen,
        distance,
        max(settings.min_residual, float(left.mean())),
        float(left.max()),
        settings=settings,
        thresholds=thresholds,
    )


def _own_residuals(
    observed: Generator, gen: Generator, distance: Distance, num_images: int
) -> np.ndarray:
    """Return what own images leave at their true latents [n]."""
    z, label, pixels = gen.sample_images(jax.random.key(num_images), num_images)
    return DistanceObservation(observed, pixels, gen, distance, 1.0, 1.0).residuals(z, label)


def _as_it_is(state: PyTree, image: jax.Array) -> jax.Array:
    del state
    return image


@functools.lru_cache(maxsize=64)
def _encoder(encode: Callable[[PyTree, jax.Array], Any]) -> Any:
    def fn(state: PyTree, image: jax.Array) -> Any:
        with ops.for_platform(jax.default_backend()):
            return encode(state, image)

    return jax.jit(fn)
