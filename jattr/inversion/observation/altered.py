"""Images that were altered after they were made: the alteration becomes a part of the generator.

G followed by the alteration is a function of the latent like G itself, so the whole engine serves
it. What differs is what the true latent leaves over: roundings on the way, an interval of a byte or
of a quantisation step at the end. Both are learnt from images of the candidate itself, sent through
the alteration as programs carry it out.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages
from jattr.alterations.jpeg import BLOCK
from jattr.errors import ImageError
from jattr.generators.base import Generator
from jattr.inversion.evaluate import make_images, mean_squares
from jattr.inversion.linearization import linearise, make_linear
from jattr.inversion.observation.base import CertificateT, CertificateTests, Observation
from jattr.inversion.observation.censored_likelihood import (
    Intervals,
    Surprise,
    chance_of,
    likeliest,
    minus_log_chance,
    surprise,
)
from jattr.inversion.observation.noise_model import (
    UNIT,
    Roundings,
    learn_roundings,
    observed_generator,
    seen_generator,
)
from jattr.inversion.problem import Target, target_of
from jattr.solvers.base import Prior

MAX_NUMBERS = 1 << 21  # of an altered image: a named resize may be to any size
ARRIVED = 1.3  # times the expected mean squared residual: a search has arrived, if the test agrees
CLEAR, AHEAD = 2.0, 3.0  # times it: a leader; times better than the others, who are given up
NEAR, MARGIN = 3.0, 1.5  # times it, or times the worst own image's: a latent is worth the test
# mean square that compression takes away, up to which decompressed images lead as well: quality 90
MILD = 1e-3
CUT_OFF = 4.0  # times the deviation of the other pixels' bytes: most in a block that was cut off
LEAST_LEVELS = 8.0  # fewer: an image nearly black, or nearly flat, is what any candidate would make
MOST_DISPERSION = 20.0  # above, the smooth form is too far from what programs do for a test
JACOBIANS = 4  # times as many as unaltered images need: wide intervals hold the search less
ACCEPTED = 1e-6  # significance level of the test


@dataclass(frozen=True, eq=False)
class AlteredObservation(Observation):
    """Images altered by a known chain; a JPEG's coefficients, where that was the last step."""

    original: Generator  # without the alteration
    chain: Chain
    roundings: Roundings
    quantised: np.ndarray | None  # [n, N], of JPEG files
    trusted: bool = False  # whether the floor alone says that a search has arrived

    @property
    def maker(self) -> Generator:
        """The generator without the alteration."""
        return self.original

    @property
    def seen(self) -> Generator:
        """The generator of altered images, not of their coefficients."""
        return seen_generator(self.original, self.chain)

    @property
    def looks(self) -> Observation | None:
        """Decompressed images: the generator's own program, compiled for unaltered ones, brings
        searches near.
        """
        served = (
            self.chain.jpeg
            and not self.chain.before
            and self.roundings.left.mean() <= MILD * UNIT**2
        )
        return Observation(self.original, self.pixels) if served else None

    @property
    def rounding(self) -> str:
        """Known: part of the model."""
        return "round"

    @property
    def stretchable(self) -> bool:
        """Coefficients have no logits."""
        return False

    @property
    def uncertain(self) -> bool:
        """A test decides, where the alteration leaves something to test."""
        return self.certifiable and not self.chain.copies and not self.trusted

    @property
    def certifiable(self) -> bool:
        """Whether a certificate can be had: of coefficients `telling` counts those that are not
        0, of bytes any.
        """
        told = self.quantised is not None or self.roundings.levels >= LEAST_LEVELS
        return (
            self.chain.proves
            and self.original.proves
            and told
            and self.roundings.dispersion <= MOST_DISPERSION
        )

    @functools.cached_property
    def weight(self) -> np.ndarray:
        """What a number is multiplied by [N]: large where little is left over; its mean square
        is 1.
        """
        inverse = 1.0 / self.roundings.left
        return np.sqrt(inverse / inverse.mean())

    @property
    def noise(self) -> float:
        """The weighted mean square that the true latent leaves."""
        return float(1.0 / (1.0 / self.roundings.left).mean()) / UNIT**2

    @property
    def near(self) -> float:
        """Closer than of unaltered images: the noise is larger."""
        return max(NEAR, MARGIN * self.roundings.worst) * self.noise

    @property
    def clear(self) -> float:
        """A leader within the noise is one."""
        return max(super().clear, CLEAR * self.noise)

    @property
    def ahead(self) -> float:
        """Less than of unaltered images: what the noise leaves lies closer to what other
        candidates reach.
        """
        return AHEAD

    @property
    def limit(self) -> float:
        """The model itself cuts off."""
        return np.inf

    @property
    def floors(self) -> np.ndarray:
        """The same for all images."""
        return np.full(len(self.pixels), ARRIVED * self.noise)

    def of(self, gen: Generator) -> Self:
        """Return the same images for the candidate's styles: what lies behind them is tested,
        not they.
        """
        made = observed_generator(gen, self.chain, self.weight)
        return dataclasses.replace(self, gen=made, original=gen, trusted=True)

    def alike(self, pixels: np.ndarray) -> Self:
        """Return own images of the candidate, altered."""
        made = self.chain.discrete(pixels)
        jpeg = self.chain.jpeg
        if jpeg is None:
            return dataclasses.replace(self, pixels=made)
        return dataclasses.replace(self, pixels=jpeg.discrete(made), quantised=jpeg.quantised(made))

    def same(self, other: Observation) -> bool:
        """Return whether these are the same observations as another's."""
        if (
            not isinstance(other, AlteredObservation)
            or self.chain != other.chain
            or not super().same(other)
        ):
            return False
        if self.quantised is None or other.quantised is None:
            return self.quantised is other.quantised
        return np.array_equal(self.quantised, other.quantised)

    def target(self, image: int, rounding: str) -> Target:
        """Return the weighted observation."""
        del rounding
        if self.quantised is None:
            target = target_of(self.pixels[image])
            return target._replace(center=target.center - np.float32(self.roundings.bias[0] / UNIT))
        known = self.intervals(image)
        center: Any = (
            ((known.center * self.weight) / UNIT).astype(np.float32).reshape(self.gen.image_shape)
        )
        nothing: Any = np.zeros(center.shape, bool)
        return Target(center, nothing, nothing, 0.0 * center)

    def intervals(self, image: int) -> Intervals:
        """Return what is known of each number, in bytes."""
        jpeg = self.chain.jpeg
        if self.quantised is None or jpeg is None:
            pixels = self.pixels[image].ravel()
            center = pixels.astype(np.float64)
            half = np.full(center.shape, 0.5)
            below, above = pixels == 0, pixels == 255
        else:
            steps = jpeg.steps(self.pixels.shape[1:])
            center, half = self.quantised[image] * steps, steps / 2.0
            below = above = self.unknown[image]
        return Intervals(center - self.roundings.bias, half, self.roundings.noise, below, above)

    @functools.cached_property
    def unknown(self) -> np.ndarray:
        """Coefficients [n, N] that may not be those of the compression: any value fits."""
        assert self.chain.jpeg is not None
        return self.chain.jpeg.uncertain(self.pixels)

    def telling(self, image: int) -> int:
        """Return how many numbers tell something: bytes that are not clipped, coefficients that are
        not 0.

        Coefficients that are the same in nearly all own images, as those of an image nearly black,
        tell nothing.

        At most as many as get through the chain: an enlarged image has more bytes than it had
        before, and tells no more.
        """
        through = self.chain.passed(self.original.image_shape)
        if self.quantised is not None:
            telling = (self.quantised[image] != 0) & ~self.unknown[image] & self.roundings.varied
            return min(int(telling.sum()), through)
        return int(super().telling(image) * min(1.0, through / self.pixels[image].size))

    @property
    def numbers(self) -> int:
        """At most what gets through the chain."""
        return min(super().numbers, self.chain.passed(self.original.image_shape))

    def predict(self, z: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the prediction of each number [N], in bytes, and its Jacobian [N, d]."""
        given = jnp.int32(label) if self.gen.num_classes else None
        found = make_linear(self.gen.apply, self.gen.latent_shape)(
            self.gen.state, given, jnp.asarray(z, jnp.float32)
        )
        image, jacobian = (
            np.asarray(found.image, np.float64).ravel(),
            np.asarray(found.jacobian, np.float64),
        )
        if self.quantised is None:
            return (image + 1.0) * UNIT, jacobian * UNIT
        unit = UNIT / self.weight
        return image * unit, jacobian * unit[:, None]

    def into_intervals(
        self, image: int, rounding: str, label: int, z: np.ndarray, jacobians: int, prior: Prior
    ) -> tuple[np.ndarray, int, float]:
        """Return the likeliest latent near z; see `Accused.into_intervals`."""
        if self.chain.copies:
            return super().into_intervals(image, rounding, label, z, jacobians, prior)
        most = JACOBIANS * max(1, jacobians)
        z, used = likeliest(lambda z: self.predict(z, label), z, self.intervals(image), prior, most)
        return z, used, 0.0 if np.isfinite(z).all() else np.inf

    def information(self, image: int, z: np.ndarray) -> np.ndarray:
        """Return the Fisher information [d, d] that the observation holds on a latent [d]."""
        prediction, jacobian = self.predict(z, -1)
        found: np.ndarray = jacobian.T @ (
            jacobian * minus_log_chance(prediction, self.intervals(image))[2][:, None]
        )
        return found

    def surprise(self, image: int, label: int, z: np.ndarray) -> Surprise:
        """Return how unlikely the observation is under a latent."""
        labels = self.original.label_argument(label)
        made = make_images(self.gen, z[None], labels).astype(np.float64).ravel()
        prediction = (made + 1.0) * UNIT if self.quantised is None else made * UNIT / self.weight
        if not np.isfinite(prediction).all():
            return Surprise(np.inf, 0.0, 1.0, 0)
        return surprise(prediction, self.intervals(image))

    def p_value(self, found: Surprise) -> float:
        """Return the chance of so large a surprise, had the candidate made the image at that
        latent.
        """
        return chance_of(found, self.roundings.dispersion)

    def near_enough(self, image: int, z: np.ndarray, label: int) -> bool:
        """Return whether a latent [d] leaves no more of the whole image than searches of own ones
        do.

        Where coefficients count as unknown this is all that holds them: pixels of their blocks are
        compared, too.
        """
        labels = self.original.label_argument(label)
        left = mean_squares(self.gen, z[None], labels, self.targets([image], ["round"]))[0]
        if not left < self.near:
            return False
        jpeg = self.chain.jpeg
        if jpeg is None or not jpeg.decoded:
            return True
        made = make_images(self.original, z[None], labels)
        looks = self.chain.looks(self.original.to_bytes(made)).astype(np.float64)[0]
        pixels = self.pixels[image]
        away = _block_means(np.square(looks - pixels).mean(-1))
        cut = _block_means(((pixels == 0) | (pixels == 255)).any(-1).astype(np.float64)) > 0
        if cut.all() or not cut.any():
            return not cut.any()
        return bool(away[cut].max() ** 0.5 <= CUT_OFF * (away[~cut].mean() ** 0.5 + 1.0))

    def identical(self, image: int, z: np.ndarray, label: int) -> float:
        """Return the share of numbers observed that the alteration, carried out by programs,
        gives again.
        """
        labels = self.original.label_argument(label)
        made = make_images(self.original, z[None], labels)
        if not np.isfinite(made).all():
            return 0.0
        pixels = self.chain.discrete(self.original.to_bytes(made))
        if self.chain.jpeg is None or self.quantised is None:
            return float((pixels[0] == self.pixels[image]).mean())
        return float((self.chain.jpeg.quantised(pixels)[0] == self.quantised[image]).mean())

    def accepts(self, image: int, rounding: str, label: int, z: np.ndarray) -> bool:
        """Return whether the test does not deny the latent."""
        del rounding
        return (
            bool(np.isfinite(z).all()) and self.p_value(self.surprise(image, label, z)) >= ACCEPTED
        )

    def rounding_rules(self, rounding: str | None) -> tuple[str, ...]:
        """Return the model's: the maker's rule is a part of it."""
        del rounding
        return (self.rounding,)

    def certify(
        self,
        image: int,
        z: np.ndarray,
        label: int,
        rounding: str,
        alpha: float,
        tests: CertificateTests[CertificateT],
    ) -> CertificateT:
        """Return the test of whether the candidate made an altered image at latent z.

        `identical_bytes` and `bit_exact` speak of the numbers that come out when the reproduction's
        bytes are sent through the alteration as programs carry it out.
        """
        maker_rounding, alteration = self.original.byte_rule, self.chain.text
        z = np.asarray(z, np.float32).reshape(-1)
        if self.chain.copies:  # bytes were only moved: they are tested as an unaltered image's
            target, here = target_of(self.pixels[image]), z.reshape(self.gen.latent_shape)
            return tests.certify_rounding(
                self.pixels[image],
                *linearise(self.gen, target, label, here),
                rounding=rounding,
                alpha=alpha,
                maker_rounding=maker_rounding,
                alteration=alteration,
            )
        likelihood, known = self.surprise(image, label, z), self.intervals(image)
        prediction, jacobian = self.predict(z, label)
        return tests.certify_censored(
            prediction,
            known.center,
            known.half,
            jacobian / np.sqrt(12.0 * self.roundings.left)[:, None],
            statistic=likelihood.total,
            expected=likelihood.expected,
            p_value=self.p_value(likelihood),
            num_informative=self.telling(image),
            identical=self.identical(image, z, label),
            consistent=self.near_enough(image, z, label),
            rounding=maker_rounding,
            alteration=alteration,
            alpha=alpha,
        )


def _block_means(values: np.ndarray) -> np.ndarray:
    """Return the means over blocks of 8x8 [rows, columns] of values [H, W]."""
    height, width = (-(-side // BLOCK) * BLOCK for side in values.shape)
    padded = np.pad(values, ((0, height - values.shape[0]), (0, width - values.shape[1])))
    return np.asarray(padded.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3)))


def make_altered_observation(gen: Generator, images: AlteredImages) -> AlteredObservation:
    """Return altered images as a candidate's searches see them.

    Raises:
      ImageError: the alteration does not make images of this shape from the candidate's.
    """
    chain, pixels = images.chain, images.pixels
    shape = chain.out_shape(gen.image_shape)
    if pixels.shape[1:] != shape:
        raise ImageError(
            f"images are {pixels.shape[1:]}; {chain.text or 'no alteration'} makes {shape} of the"
            f" {gen.image_shape}"
            f" of generator {gen.name!r}; give the alteration that was made"
        )
    if math.prod(shape) > MAX_NUMBERS:
        raise ImageError(
            f"images of {shape} after {chain.text}: at most {MAX_NUMBERS} numbers are searched;"
            " reduce them"
        )
    roundings = learn_roundings(gen, chain)
    draft = AlteredObservation(gen, pixels, gen, chain, roundings, images.quantised)
    return dataclasses.replace(draft, gen=observed_generator(gen, chain, draft.weight))
