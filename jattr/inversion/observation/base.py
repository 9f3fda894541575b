"""Images: one check at the door, and what a candidate's searches see of them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import jax
import numpy as np

from jattr.errors import ImageError
from jattr.generators.base import Generator
from jattr.images import BYTE_RULES, as_bytes, shape_advice
from jattr.images.values import as_array
from jattr.inversion.evaluate import mean_squares
from jattr.inversion.linearization import linearise
from jattr.inversion.problem import FLOOR, Target, floors_of, target_of
from jattr.inversion.rounding_polish import RoundingPolish, interval_polish
from jattr.solvers.base import Prior, check_fields


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Losses at which searches treat an image differently, mean squares in [-1, 1] units."""

    near: float = 20.0  # times the noise: below, a certificate or another rule is worth a try
    # a leader below this loss, and so many times better than another candidate, ends the other's
    # search after a fair trial
    leader: float = 1e-3
    lead_ratio: float = 30.0

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


def check_pixels(gen: Generator, images: object) -> np.ndarray:
    """Return images as uint8 [n, H, W, C] of the generator's shape.

    Raises:
      ImageError: another shape or type, values outside [-1, 1], or floats without a negative one.
    """
    array = as_array(images)
    if array.shape[1:] != gen.image_shape or array.ndim != 4 or not len(array):
        raise ImageError(
            f"images have shape {array.shape}; generator {gen.name!r} makes [n, H, W, C] ="
            f" {gen.image_shape}{shape_advice(array.shape, gen.image_shape)}"
        )
    return as_bytes(array)


class RoundingData(NamedTuple):
    """What the test of an image whose bytes are those of its reproduction, rounded, is made of."""

    pixels: np.ndarray  # uint8 [H, W, C]
    reproduction: np.ndarray  # [H, W, C], in [-1, 1] units, not clipped
    deviations: np.ndarray  # [N], from the middle of each byte's interval, in [-1, 1] units
    jacobian: np.ndarray  # [N, d]
    rounding: str  # the rule that is tested
    maker_rounding: str | None = None  # the maker's own, where the bytes were moved since
    alteration: str = ""


class CensoredData(NamedTuple):
    """What the test of an altered image, from its censored likelihood, is made of."""

    prediction: np.ndarray  # float64 [N], of each number observed, in bytes
    center: np.ndarray  # float64 [N], middle of the interval in which it was observed, in bytes
    half: np.ndarray  # float64 [N], half the interval's width
    jacobian: np.ndarray  # float64 [N, d], divided by sqrt(12 residual variance)
    statistic: float  # sum of -log P of what is observed
    expected: float  # its mean if the prediction is right
    p_value: float
    num_informative: int
    identical: float  # share of the numbers that programs give again
    consistent: bool  # whether the whole image is as near as own images are
    rounding: str
    alteration: str


@dataclass(frozen=True)
class Traits:
    """How searches treat an observation."""

    # losses, as those of `Thresholds`
    near: float
    leader: float = Thresholds.leader
    lead_ratio: float = Thresholds.lead_ratio
    smooth: bool = True  # whether least-squares methods may use the residual
    has_logits: bool = True  # whether the residual has a form in the domain before a last tanh
    uses_styles: bool = True  # whether a search may go through the styles of a candidate with some
    # whether a latent at the floor may still not explain the image: then `accepts` decides
    needs_test: bool = False


@dataclass(frozen=True, eq=False)
class Observation:
    """Images as the searches of one candidate see them; here as it makes them, unaltered."""

    gen: Generator  # from latents to what is observed of an image
    pixels: np.ndarray  # uint8 [n, H, W, C], the images as they look
    thresholds: Thresholds = field(default_factory=Thresholds, kw_only=True)

    @property
    def maker(self) -> Generator:
        """The generator of images as they were before anything happened to them."""
        return self.gen

    @property
    def warm_start_generator(self) -> Generator:
        """The generator of images that look like these: warm starts are learnt from them."""
        return self.gen

    @property
    def gradient_view(self) -> "Observation | None":
        """The images in a form that searches by gradients prefer, because it costs less."""
        return None

    @property
    def traits(self) -> Traits:
        """How searches treat the images."""
        limits = self.thresholds
        return Traits(limits.near * self.noise, limits.leader, limits.lead_ratio)

    @property
    def rounding(self) -> str | None:
        """How the generator's bytes were made, or None where both rules are to be tried."""
        return self.gen.rounding

    @property
    def noise(self) -> float:
        """The mean squared residual that the true latent leaves."""
        return FLOOR

    @property
    def floors(self) -> np.ndarray:
        """The mean squared residual [n] at which a search has arrived."""
        return floors_of(self.pixels)

    @property
    def num_observed(self) -> int:
        """How many numbers of one image are observed, clipped ones among them."""
        return int(self.pixels[0].size)

    def num_informative(self, image: int) -> int:
        """Return how many numbers of an image are informative: bytes that are not clipped."""
        pixels = self.pixels[image]
        return int(((pixels > 0) & (pixels < 255)).sum())

    def as_pixels(self) -> "Observation":
        """Return the same images compared by their bytes."""
        return self

    def for_generator(self, gen: Generator) -> Self:
        """Return the same images for another generator of them: of the candidate's styles."""
        return dataclasses.replace(self, gen=gen)

    def with_images(self, pixels: np.ndarray) -> Self:
        """Return images [n, H, W, C] that the candidate made, treated as the images were."""
        return dataclasses.replace(self, pixels=pixels)

    def equals(self, other: "Observation") -> bool:
        """Return whether these are the same images, observed in the same way."""
        return type(self) is type(other) and np.array_equal(self.pixels, other.pixels)

    def target(self, image: int, rounding: str) -> Target:
        """Return what reproductions of one image are compared with, under a rounding rule."""
        return target_of(self.pixels[image], rounding)

    def targets(self, images: Sequence[int], roundings: Sequence[str]) -> Target:
        """Return the stacked targets of images, each under its own rule."""
        parts = [self.target(i, rule) for i, rule in zip(images, roundings, strict=True)]
        return jax.tree.map(lambda *a: np.stack(a), *parts)

    @property
    def limit(self) -> float:
        """Where what is observed ends: values beyond it, on both sides, are cut off."""
        return 1.0

    def residuals(self, z: np.ndarray, label: np.ndarray | None) -> np.ndarray:
        """Return the mean squared residual [n] of a latent [n, ...] for each image, [-1, 1] units.

        Values that the generator makes beyond the range are cut off, as an image's are.
        """
        targets = self.targets(range(len(self.pixels)), ["round"] * len(self.pixels))
        return mean_squares(self.gen, z, label, targets, limit=self.limit)

    def rounding_polish(
        self,
        image: int,
        rounding: str,
        label: int,
        z: np.ndarray,
        settings: RoundingPolish,
        prior: Prior,
    ) -> tuple[np.ndarray, int, float]:
        """Move a latent [d] at the floor towards one whose every number lies in its interval.

        Returns:
          The latent, Jacobians used, and its mean squared residual as the search counts it; inf:
          no latent can be computed.
        """
        del prior
        target = self.target(image, rounding)
        z, _, used, loss = interval_polish(
            lambda z: linearise(self.gen, target, label, z)[1:], z, settings
        )
        return z, used, loss

    def accepts(self, image: int, rounding: str, label: int, z: np.ndarray) -> bool:
        """Return whether a latent [d] at the floor explains the image; always if unaltered."""
        del image, rounding, label, z
        return True

    def fisher_information(self, image: int, z: np.ndarray) -> np.ndarray:
        """Return the Fisher information [d, d] of a latent [d], where `traits.needs_test`."""
        raise NotImplementedError

    @property
    def certifiable(self) -> bool:
        """Whether a latent that reproduces an image can prove anything."""
        return self.maker.proves

    def is_near(self, image: int, z: np.ndarray, label: int, loss: float) -> bool:
        """Return whether a latent [d] of a search's `loss` is worth a certificate's test."""
        del image, z, label
        return self.certifiable and loss < self.traits.near

    def rounding_rules(self, rounding: str | None) -> tuple[str, ...]:
        """Return the rules to test a certificate under: that given, the card's, or both."""
        known = rounding or self.gen.rounding
        return (known,) if known else BYTE_RULES

    def certificate_data(
        self, image: int, z: np.ndarray, label: int, rounding: str
    ) -> RoundingData | CensoredData:
        """Return what a test needs of whether the candidate made an image at latent z."""
        target = self.target(image, rounding)
        z = np.asarray(z, np.float32).reshape(self.gen.latent_shape)
        return RoundingData(
            self.pixels[image], *linearise(self.gen, target, label, z), rounding=rounding
        )
