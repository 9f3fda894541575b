"""Which form of images the searches of a candidate see.

As they are, altered, or compared by a distance.
"""

import functools

from jax.typing import ArrayLike

from jattr.alterations.files import AlteredImages
from jattr.distances.base import Distance
from jattr.distances.registry import load_distance
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.observation.altered import make_altered_observation
from jattr.inversion.observation.base import Observation, check_pixels
from jattr.inversion.observation.by_distance import make_distance_observation


def make_observation(
    gen: Generator, images: ArrayLike | AlteredImages, config: InvertConfig
) -> Observation:
    """Return images as a candidate's searches see them.

    Args:
      gen: the candidate, in the space and under the settings that are searched.
      images: [n, H, W, C] uint8, or floats in [-1, 1]; or `AlteredImages`.
      config: its distance.

    Raises:
      ImageError: images that do not fit the candidate, or that the distance cannot compare.
      InputError: altered images and a distance.
    """
    if isinstance(images, AlteredImages):
        if config.distance is not None:
            raise InputError(
                f"distance {config.distance!r} and a modelled alteration; give one of them:"
                " altered images are"
                " compared by what the alteration leaves of them"
            )
        return make_altered_observation(gen, images)
    pixels = check_pixels(gen, images)
    if config.distance is None:
        return Observation(gen, pixels)
    return make_distance_observation(gen, pixels, given_distance(config.distance), config.optimiser)


@functools.lru_cache(maxsize=8)
def given_distance(text: str) -> Distance:
    """Return the distance that a text describes; read once.

    Raises:
      InputError: it describes none.
    """
    return load_distance(text)
