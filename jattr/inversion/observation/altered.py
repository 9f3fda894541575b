"""Images that were altered after they were made: the alteration becomes a part of the generator.

G followed by the alteration is a function of the latent like G itself, so the whole engine serves
it. What differs is what the true latent leaves over: roundings on the way, an interval of a byte or
of a quantisation step at the end. Both are learnt from images of the candidate itself, sent through
the alteration as programs carry it out.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from typing import Self

import jax.numpy as jnp
import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages
from jattr.alterations.jpeg import BLOCK
from jattr.errors import ImageError
from jattr.generators.base import Generator
from jattr.inversion.evaluate import make_images, mean_squares
from jattr.inversion.linearization import linearise, make_linear
from jattr.inversion.observation.base import (
    CensoredData,
    Observation,
    RoundingData,
    Thresholds,
    Traits,
)
from jattr.inversion.observation.censored_likelihood import (
    Intervals,
    LikelihoodStatistic,
    PosteriorMode,
    likelihood_statistic,
    maximum_a_posteriori,
    minus_log_probability,
    p_value_of,
)
from jattr.inversion.observation.noise_model import (
    BYTES_PER_UNIT,
    NoiseLearning,
    NoiseModel,
    altered_generator,
    learn_noise_model,
    observed_generator,
)
from jattr.inversion.problem import Target, target_of
from jattr.inversion.rounding_polish import RoundingPolish
from jattr.solvers.base import Prior, check_fields


@dataclass(frozen=True, kw_only=True)
class Altered:
    """How altered images are searched and tested.

    Losses are in units of the expected mean squared residual.
    """

    max_numbers: int = 1 << 21  # of an altered image: a named resize may be to any size
    floor: float = 1.3  # a search has arrived, if the test agrees
    leader: float = 2.0
    lead_ratio: float = 3.0  # times better than those who are given up
    near: float = 3.0  # a latent is worth the test; or
    worst_own: float = 1.5  # times the worst own image's
    # mean square that compression takes away, up to which decompressed images lead as well:
    # quality 90
    mild: float = 1e-3
    cut_off: float = 4.0  # times the deviation of the other pixels: most in a block cut off
    # fewer: an image nearly black, or nearly flat, is what any candidate would make
    min_levels: float = 8.0
    max_dispersion: float = 20.0  # above, the smooth form is too far from programs' for a test
    significance: float = 1e-6  # level of the test
    posterior_mode: PosteriorMode = field(default_factory=PosteriorMode)
    noise: NoiseLearning = field(default_factory=NoiseLearning)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


@dataclass(frozen=True, eq=False)
class AlteredObservation(Observation):
    """Images altered by a known chain; a JPEG's coefficients, where that was the last step."""

    original: Generator  # without the alteration
    chain: Chain
    noise_model: NoiseModel
    quantised: np.ndarray | None  # int [n, N], coefficients of JPEG files
    trusts_floor: bool = False  # whether the floor alone says that a search has arrived
    settings: Altered = field(default_factory=Altered, kw_only=True)

    @property
    def maker(self) -> Generator:
        """The generator without the alteration."""
        return self.original

    @property
    def warm_start_generator(self) -> Generator:
        """The generator of altered images, not of their coefficients."""
        return altered_generator(self.original, self.chain)

    @property
    def gradient_view(self) -> Observation | None:
        """Decompressed images, where a mild compression is all that was done.

        The generator's own program, compiled for unaltered ones, brings searches near.
        """
        residual = self.noise_model.residual_variance.mean()
        limit = self.settings.mild * BYTES_PER_UNIT**2
        is_mild = self.chain.jpeg and not self.chain.before and residual <= limit
        if not is_mild:
            return None
        return Observation(self.original, self.pixels, thresholds=self.thresholds)

    @property
    def rounding(self) -> str:
        """The model's: the maker's rule is a part of it."""
        return "round"

    @functools.cached_property
    def traits(self) -> Traits:
        """A leader is within the noise, and a test decides where there is something to test.

        Thresholds are closer than those of unaltered images, because the noise is larger and lies
        closer to what other candidates reach. Coefficients have no logits.
        """
        settings = self.settings
        near = max(settings.near, settings.worst_own * self.noise_model.worst)
        return Traits(
            near=near * self.noise,
            leader=max(self.thresholds.leader, settings.leader * self.noise),
            lead_ratio=settings.lead_ratio,
            has_logits=False,
            needs_test=self.certifiable and not self.chain.rounds_once and not self.trusts_floor,
        )

    @property
    def certifiable(self) -> bool:
        """Whether a latent that reproduces an image can prove anything.

        Of coefficients `num_informative` counts those that are not 0, of bytes any: these must
        have levels enough.
        """
        enough = self.quantised is not None or self.noise_model.levels >= self.settings.min_levels
        return (
            self.chain.proves
            and self.original.proves
            and enough
            and self.noise_model.dispersion <= self.settings.max_dispersion
        )

    @functools.cached_property
    def weight(self) -> np.ndarray:
        """What a number is multiplied by [N], 1 / standard deviation; its mean square is 1."""
        inverse = 1.0 / self.noise_model.residual_variance
        return np.sqrt(inverse / inverse.mean())

    @property
    def noise(self) -> float:
        """The weighted mean square that the true latent leaves."""
        return float(1.0 / (1.0 / self.noise_model.residual_variance).mean()) / BYTES_PER_UNIT**2

    @property
    def limit(self) -> float:
        """The model itself cuts off."""
        return np.inf

    @property
    def floors(self) -> np.ndarray:
        """The same for all images."""
        return np.full(len(self.pixels), self.settings.floor * self.noise)

    def for_generator(self, gen: Generator) -> Self:
        """Return the same images for the candidate's styles: latents behind them are tested."""
        observed = observed_generator(gen, self.chain, self.weight)
        return dataclasses.replace(self, gen=observed, original=gen, trusts_floor=True)

    def with_images(self, pixels: np.ndarray) -> Self:
        """Return own images [n, H, W, C] of the candidate, altered."""
        altered = self.chain.discrete(pixels)
        jpeg = self.chain.jpeg
        if jpeg is None:
            return dataclasses.replace(self, pixels=altered)
        decoded, quantised = jpeg.discrete(altered), jpeg.quantised(altered)
        return dataclasses.replace(self, pixels=decoded, quantised=quantised)

    def equals(self, other: Observation) -> bool:
        """Return whether these are the same images, observed in the same way."""
        if (
            not isinstance(other, AlteredObservation)
            or self.chain != other.chain
            or not super().equals(other)
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
            bias = np.float32(self.noise_model.bias[0] / BYTES_PER_UNIT)
            return target._replace(center=target.center - bias)
        weighted = self.intervals(image).center * self.weight
        center = (weighted / BYTES_PER_UNIT).astype(np.float32).reshape(self.gen.image_shape)
        two_sided = np.zeros(center.shape, bool)
        return Target._make((center, two_sided, two_sided, 0.0 * center))

    def intervals(self, image: int) -> Intervals:
        """Return the interval in which each number [N] of an image lies, in bytes."""
        jpeg = self.chain.jpeg
        if self.quantised is None or jpeg is None:
            pixels = self.pixels[image].ravel()
            center = pixels.astype(np.float64)
            half = np.full(center.shape, 0.5)
            below, above = pixels == 0, pixels == 255
        else:
            steps = jpeg.steps(self.pixels.shape[1:])
            center, half = self.quantised[image] * steps, steps / 2.0
            below = above = self.uncertain[image]
        model = self.noise_model
        return Intervals(center - model.bias, half, model.sigma, below, above)

    @functools.cached_property
    def uncertain(self) -> np.ndarray:
        """Coefficients bool [n, N] that may not be those of the compression: any value fits."""
        assert self.chain.jpeg is not None
        return self.chain.jpeg.uncertain(self.pixels)

    def num_informative(self, image: int) -> int:
        """Return how many numbers are informative: unclipped bytes, coefficients other than 0.

        Coefficients that are the same in nearly all own images, as those of an image nearly black,
        are not. At most as many as get through the chain: an enlarged image has more bytes than it
        had before, and says no more.
        """
        passed = self.chain.num_independent(self.original.image_shape)
        if self.quantised is not None:
            certain = (self.quantised[image] != 0) & ~self.uncertain[image]
            return min(int((certain & self.noise_model.informative).sum()), passed)
        share = min(1.0, passed / self.pixels[image].size)
        return int(super().num_informative(image) * share)

    @property
    def num_observed(self) -> int:
        """At most what gets through the chain."""
        return min(super().num_observed, self.chain.num_independent(self.original.image_shape))

    def predict(self, z: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the prediction of each number [N], in bytes, and its Jacobian [N, d]."""
        given = jnp.int32(label) if self.gen.num_classes else None
        linear = make_linear(self.gen.apply, self.gen.latent_shape)(
            self.gen.state, given, jnp.asarray(z, jnp.float32)
        )
        image = np.asarray(linear.image, np.float64).ravel()
        jacobian = np.asarray(linear.jacobian, np.float64)
        if self.quantised is None:
            return (image + 1.0) * BYTES_PER_UNIT, jacobian * BYTES_PER_UNIT
        unit = BYTES_PER_UNIT / self.weight
        return image * unit, jacobian * unit[:, None]

    def rounding_polish(
        self,
        image: int,
        rounding: str,
        label: int,
        z: np.ndarray,
        settings: RoundingPolish,
        prior: Prior,
    ) -> tuple[np.ndarray, int, float]:
        """Return the most probable latent near z; see `Observation.rounding_polish`."""
        if self.chain.rounds_once:
            return super().rounding_polish(image, rounding, label, z, settings, prior)
        mode = self.settings.posterior_mode
        z, used = maximum_a_posteriori(
            lambda z: self.predict(z, label),
            z,
            self.intervals(image),
            prior,
            mode.jacobians * max(1, settings.jacobians),
            mode,
            self.settings.noise.entropy,
        )
        return z, used, 0.0 if np.isfinite(z).all() else np.inf

    def fisher_information(self, image: int, z: np.ndarray) -> np.ndarray:
        """Return the observed Fisher information [d, d], J' diag(l'') J with l = -log P."""
        prediction, jacobian = self.predict(z, -1)
        curvature = minus_log_probability(prediction, self.intervals(image))[2]
        information: np.ndarray = jacobian.T @ (jacobian * curvature[:, None])
        return information

    def likelihood_statistic(self, image: int, label: int, z: np.ndarray) -> LikelihoodStatistic:
        """Return how improbable the observation is under a latent."""
        labels = self.original.label_argument(label)
        values = make_images(self.gen, z[None], labels).astype(np.float64).ravel()
        if self.quantised is None:
            prediction = (values + 1.0) * BYTES_PER_UNIT
        else:
            prediction = values * BYTES_PER_UNIT / self.weight
        if not np.isfinite(prediction).all():
            return LikelihoodStatistic(np.inf, 0.0, 1.0, 0)
        return likelihood_statistic(prediction, self.intervals(image), self.settings.noise.entropy)

    def p_value(self, statistic: LikelihoodStatistic) -> float:
        """Return the chance of so large a statistic, had the candidate made the image there."""
        return p_value_of(statistic, self.noise_model.dispersion)

    def is_consistent(self, image: int, z: np.ndarray, label: int) -> bool:
        """Return whether a latent [d] leaves no more of the whole image than own images do.

        Where coefficients are uncertain this is all that holds them: pixels of their blocks are
        compared, too.
        """
        labels = self.original.label_argument(label)
        loss = mean_squares(self.gen, z[None], labels, self.targets([image], ["round"]))[0]
        if not loss < self.traits.near:
            return False
        jpeg = self.chain.jpeg
        if jpeg is None or not jpeg.decoded:
            return True
        # Blocks with clipped pixels have uncertain coefficients. They may deviate as the others do.
        values = make_images(self.original, z[None], labels)
        altered = self.chain.discrete_of_values(values, self.original.to_bytes)
        reproduction = jpeg.discrete(altered).astype(np.float64)[0]
        pixels = self.pixels[image]
        deviation = _block_means(np.square(reproduction - pixels).mean(-1))
        clipped = _block_means(((pixels == 0) | (pixels == 255)).any(-1).astype(np.float64)) > 0
        if clipped.all() or not clipped.any():
            return not clipped.any()
        usual = deviation[~clipped].mean() ** 0.5 + 1.0
        return bool(deviation[clipped].max() ** 0.5 <= self.settings.cut_off * usual)

    def identical_share(self, image: int, z: np.ndarray, label: int) -> float:
        """Return the share of numbers that programs which carry out the alteration give again."""
        labels = self.original.label_argument(label)
        images = make_images(self.original, z[None], labels)
        if not np.isfinite(images).all():
            return 0.0
        pixels = self.chain.discrete_of_values(images, self.original.to_bytes)
        if self.chain.jpeg is None or self.quantised is None:
            return float((pixels[0] == self.pixels[image]).mean())
        return float((self.chain.jpeg.quantised(pixels)[0] == self.quantised[image]).mean())

    def accepts(self, image: int, rounding: str, label: int, z: np.ndarray) -> bool:
        """Return whether the test does not deny the latent."""
        del rounding
        if not np.isfinite(z).all():
            return False
        statistic = self.likelihood_statistic(image, label, z)
        return self.p_value(statistic) >= self.settings.significance

    def rounding_rules(self, rounding: str | None) -> tuple[str, ...]:
        """Return the model's: the maker's rule is a part of it."""
        del rounding
        return (self.rounding,)

    def certificate_data(
        self, image: int, z: np.ndarray, label: int, rounding: str
    ) -> RoundingData | CensoredData:
        """Return what a test needs of whether the candidate made an altered image at latent z.

        `identical` speaks of the numbers that come out when the reproduction's bytes are sent
        through the alteration as programs carry it out.
        """
        maker_rounding, alteration = self.original.byte_rule, self.chain.text
        z = np.asarray(z, np.float32).reshape(-1)
        if self.chain.rounds_once:  # tested as the bytes of an unaltered image
            target, here = target_of(self.pixels[image]), z.reshape(self.gen.latent_shape)
            return RoundingData(
                self.pixels[image],
                *linearise(self.gen, target, label, here),
                rounding=rounding,
                maker_rounding=maker_rounding,
                alteration=alteration,
            )
        statistic, intervals = self.likelihood_statistic(image, label, z), self.intervals(image)
        prediction, jacobian = self.predict(z, label)
        return CensoredData(
            prediction,
            intervals.center,
            intervals.half,
            jacobian / np.sqrt(12.0 * self.noise_model.residual_variance)[:, None],
            statistic=statistic.total,
            expected=statistic.expected,
            p_value=self.p_value(statistic),
            num_informative=self.num_informative(image),
            identical=self.identical_share(image, z, label),
            consistent=self.is_consistent(image, z, label),
            rounding=maker_rounding,
            alteration=alteration,
        )


def _block_means(values: np.ndarray) -> np.ndarray:
    """Return the means over blocks of 8x8 [rows, columns] of values [H, W]."""
    height, width = (-(-side // BLOCK) * BLOCK for side in values.shape)
    padded = np.pad(values, ((0, height - values.shape[0]), (0, width - values.shape[1])))
    return np.asarray(padded.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3)))


def make_altered_observation(
    gen: Generator,
    images: AlteredImages,
    settings: Altered = Altered(),
    thresholds: Thresholds = Thresholds(),
) -> AlteredObservation:
    """Return altered images as a candidate's searches see them.

    Raises:
      ImageError: the alteration does not make images of this shape from the candidate's.
    """
    chain, pixels = images.chain, images.chain.observed(images.pixels)
    shape = chain.out_shape(gen.image_shape)
    if pixels.shape[1:] != shape:
        raise ImageError(
            f"images are {pixels.shape[1:]}; {chain.text or 'no alteration'} makes {shape} of the"
            f" {gen.image_shape}"
            f" of generator {gen.name!r}; give the alteration that was made"
        )
    if math.prod(shape) > settings.max_numbers:
        raise ImageError(
            f"images of {shape} after {chain.text}: at most {settings.max_numbers} numbers are"
            " searched; reduce them"
        )
    noise_model = learn_noise_model(gen, chain, settings.noise)
    draft = AlteredObservation(
        gen,
        pixels,
        gen,
        chain,
        noise_model,
        images.quantised,
        settings=settings,
        thresholds=thresholds,
    )
    return dataclasses.replace(draft, gen=observed_generator(gen, chain, draft.weight))
