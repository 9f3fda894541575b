"""Bits of evidence: how much shorter a latent describes an image than models of images in general.

A generator with many latents reproduces images that it did not make: enlarged photographs, or the
low frequencies of anything. That numbers agree which no latent chose is no proof then, because
bytes of smooth images predict each other. So two descriptions of the image are compared, each up to
an error of the same variance r:

* by the generator, -log2 of its marginal likelihood (Laplace's approximation at the latent u, in
  standard deviations of its prior; J the image's Jacobian there):

    |u|^2 / (2 ln 2) + 1/2 log2 det(1 + J' J / r);                                          (1)

* by models that know nothing of the generator: transform coders with the image's own spectrum S,

    sum over frequencies of 1/2 log2(1 + S / r)                                             (2)

  (`jattr.attribution.transform_coders`), and a coder of bytes without loss; the shortest counts.

Evidence is a share of the second less the first: no model of images is taken to need less than that
share. It says how many bits an explanation without this generator would have to save.
"""

import math
from typing import NamedTuple

import numpy as np

ROUNDING_VARIANCE = 1.0 / 12.0  # of an error that is uniform within half a step, in steps squared
# Of the shortest general description, what a better model of images may still need. Measured:
# decoders that are no generators reach the floor where they need 0.52 times as many bits or more,
# generators of 2 to 128 numbers at most 0.38 times as many: docs/certificate.md.
SHARE = 0.5
MIN_BITS = 64.0  # of evidence: 2^64 images to one


class DescriptionLength(NamedTuple):
    """Bits of one image, by a candidate's latent and by models of images in general."""

    latent: float
    general: float

    @property
    def evidence(self) -> float:
        """The bits that an explanation without the candidate would have to save."""
        return SHARE * self.general - self.latent

    @property
    def suffices(self) -> bool:
        """Whether they are proof, if the candidate reproduces the image."""
        return self.evidence >= MIN_BITS


def latent_bits(u: np.ndarray, jacobian: np.ndarray) -> float:
    """Return (1): the bits of an image by a latent.

    Args:
      u: [d], in standard deviations of the prior from its mean.
      jacobian: [n, d], of the image in u, divided by sqrt(r).
    """
    if not np.isfinite(jacobian).all() or not np.isfinite(u).all():
        return math.inf
    gram = jacobian.T @ jacobian
    values = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    moved = 0.5 * float(np.log2(1.0 + values).sum())
    return moved + float(u @ u) / (2.0 * math.log(2.0))
