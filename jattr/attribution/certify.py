"""Certificates of latents: the arrays of an observation, put to the tests of `jattr.decision`."""

import functools
from collections.abc import Callable

import numpy as np

from jattr.attribution.transform_coders import general_bits, image_spectra, rate
from jattr.decision.certificate import (
    ALPHA,
    BYTE_STEP,
    Certificate,
    certify_censored,
    certify_rounding,
    strongest,
)
from jattr.decision.description_length import (
    ROUNDING_VARIANCE,
    DescriptionLength,
    latent_bits,
)
from jattr.generators.base import Generator
from jattr.inversion.evaluate import make_images
from jattr.inversion.observation.base import CensoredData, Observation, RoundingData
from jattr.inversion.problem import prior_of

# The test of each kind of data.
TESTS: dict[type, Callable[..., Certificate]] = {
    RoundingData: certify_rounding,
    CensoredData: certify_censored,
}


def certify(
    observation: Observation,
    image: int,
    z: np.ndarray,
    label: int = -1,
    *,
    rounding: str | None = None,
    alpha: float = ALPHA,
) -> Certificate:
    """Return the test of whether the candidate made an image at a latent, in full float32.

    Args:
      observation: the images and the candidate.
      image: which of them.
      z: [*latent_shape] or [d], the recovered latent.
      label: its class; -1 if unconditional.
      rounding: the rule to test; None: the card's, or both, the better one winning.
      alpha: significance level.
    """
    rules = observation.rounding_rules(rounding)
    data = [observation.certificate_data(image, z, label, rule) for rule in rules]
    bits = _description(observation, image, z, label, data[0], observation.noise)
    return strongest([TESTS[type(one)](**one._asdict(), bits=bits, alpha=alpha) for one in data])


def certify_image(
    gen: Generator,
    z: np.ndarray,
    pixels: np.ndarray,
    *,
    label: int = -1,
    rounding: str | None = None,
    alpha: float = ALPHA,
) -> Certificate:
    """Return the test of whether `gen` made an unaltered image uint8 [H, W, C] at latent z."""
    observation = Observation(gen, np.asarray(pixels)[None])
    return certify(observation, 0, z, label, rounding=rounding, alpha=alpha)


def describe_image(
    observation: Observation, image: int, z: np.ndarray, label: int, residual: float
) -> DescriptionLength:
    """Return the bits of an image up to the residual that a latent leaves.

    Args:
      observation: the images and the candidate.
      image: which of them.
      z: [*latent_shape] or [d].
      label: its class; -1 if unconditional.
      residual: mean squared, [-1, 1] units.
    """
    rule = observation.rounding_rules(None)[0]
    data = observation.certificate_data(image, z, label, rule)
    return _description(observation, image, z, label, data, max(residual, observation.noise))


def _description(
    observation: Observation,
    image: int,
    z: np.ndarray,
    label: int,
    data: RoundingData | CensoredData,
    residual: float,
) -> DescriptionLength:
    """Return the bits of an image up to a mean squared residual.

    What describes the candidate's reproduction describes the image: where it reaches beyond the
    range of bytes, or was altered since, the general description may be that of the reproduction.
    Else a decoder of smooth images would owe its evidence to what clipping and covers add to them.
    """
    pixels = observation.pixels[image]
    variance = max(residual / BYTE_STEP**2, ROUNDING_VARIANCE)
    prior = prior_of(observation.maker)
    scale = np.broadcast_to(np.asarray(prior.scale, np.float64), observation.maker.latent_shape)
    u = (np.asarray(z, np.float64).ravel() - np.asarray(prior.mean).ravel()) / scale.ravel()
    jacobian = data.jacobian.astype(np.float64) * scale.ravel()
    if isinstance(data, RoundingData):
        told = ((pixels > 0) & (pixels < 255)).ravel()
        jacobian = jacobian[told] / (BYTE_STEP * np.sqrt(variance))
    else:  # whose unit is a rounding step that leaves over as much as the alteration does
        jacobian = jacobian * np.sqrt(12.0 * observation.noise / max(residual, observation.noise))
    general = _general_bits(pixels.tobytes(), pixels.shape, variance)
    maker = observation.maker
    altered = maker is not observation.gen
    if altered or isinstance(data, CensoredData):
        values = make_images(maker, np.asarray(z)[None], maker.label_argument(label))[0]
    else:
        values = data.reproduction
    beyond = np.abs(values).max() > 1.0 + BYTE_STEP
    if (beyond or altered) and np.isfinite(values).all():
        made = (values.astype(np.float64) + 1.0) / BYTE_STEP
        general = min(general, rate(image_spectra(made), variance))
    return DescriptionLength(latent_bits(u, jacobian), general)


@functools.lru_cache(maxsize=256)
def _general_bits(data: bytes, shape: tuple[int, int, int], variance: float) -> float:
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    return general_bits(pixels, variance)
