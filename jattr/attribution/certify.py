"""Certificates of latents: the arrays of an observation, put to the tests of `jattr.decision`."""

from collections.abc import Callable

import numpy as np

from jattr.decision.certificate import (
    ALPHA,
    Certificate,
    certify_censored,
    certify_rounding,
    strongest,
)
from jattr.generators.base import Generator
from jattr.inversion.observation.base import CensoredData, Observation, RoundingData

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
    return strongest([TESTS[type(one)](**one._asdict(), alpha=alpha) for one in data])


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
