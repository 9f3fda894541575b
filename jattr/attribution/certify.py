"""Certificates of latents: the arrays of an observation, put to the tests of `jattr.decision`."""

import numpy as np

from jattr.decision import certificate
from jattr.decision.certificate import ALPHA, Certificate
from jattr.generators.base import Generator
from jattr.inversion.observation.base import Observation


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
    tests = [observation.certify(image, z, label, rule, alpha, certificate) for rule in rules]
    return certificate.strongest(tests)


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
