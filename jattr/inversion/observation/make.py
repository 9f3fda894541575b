"""Which form of images the searches of a candidate see.

As they are, altered, or compared by a distance.
"""

from jax.typing import ArrayLike

from jattr.alterations.files import AlteredImages
from jattr.distances.registry import as_distance
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.inversion.observation.altered import make_altered_observation
from jattr.inversion.observation.base import Observation, check_pixels
from jattr.inversion.observation.by_distance import make_distance_observation
from jattr.inversion.settings import MultiStart


def make_observation(
    gen: Generator, images: ArrayLike | AlteredImages, search: MultiStart
) -> Observation:
    """Return images as a candidate's searches see them.

    Args:
      gen: the candidate, in the space and under the settings that are searched.
      images: [n, H, W, C] uint8, or floats in [-1, 1]; or `AlteredImages`.
      search: its distance, and what is learnt of observations.

    Raises:
      ImageError: images that do not fit the candidate, or that the distance cannot compare.
      InputError: altered images and a distance.
    """
    observing = search.observing
    if isinstance(images, AlteredImages):
        if search.distance is not None:
            raise InputError(
                f"distance {as_distance(search.distance).name!r} and a modelled alteration; give"
                " one of them: altered images are compared by what the alteration leaves of them"
            )
        return make_altered_observation(gen, images, observing.altered, observing.thresholds)
    pixels = check_pixels(gen, images)
    if search.distance is None:
        return Observation(gen, pixels, thresholds=observing.thresholds)
    return make_distance_observation(
        gen,
        pixels,
        as_distance(search.distance),
        search.named_solver,
        observing.by_distance,
        observing.thresholds,
    )
