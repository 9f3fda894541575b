"""Images of known origin: of generators, some of them compressed, and of the renderer."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from jattr.generators.base import Generator
from jattr.runtime import jax_defaults
from jattr.zoo.faces import render_faces

NUM_FACES = 2  # drawn by the renderer
NUM_COMPRESSED = 2  # of the generators' images, once more as JPEG
NOBODY = "nobody: drawn by the renderer"


class DemoImage(NamedTuple):
    """An image and who made it."""

    made_by: str  # a generator's name, or NOBODY
    pixels: np.ndarray  # uint8 [H, W, 3]
    compressed: bool  # whether it is to be saved as JPEG


def draw_images(generators: Sequence[Generator], seed: int) -> list[DemoImage]:
    """Return one image of each generator and the others, in an order that tells nothing."""
    keys = jax.random.split(jax.random.key(seed), len(generators) + 2)
    with ThreadPoolExecutor(2) as pool:  # the renderer's program compiles beside the generators'
        faces = pool.submit(jax_defaults()(render_faces), keys[-1], NUM_FACES)
        # each in the program that a search takes
        images = [
            DemoImage(gen.name, gen.make_bytes(gen.sample_latent(key, 1))[0], False)
            for gen, key in zip(generators, keys, strict=False)
        ]
    images += [image._replace(compressed=True) for image in images[-NUM_COMPRESSED:]]
    images += [DemoImage(NOBODY, pixels, False) for pixels in faces.result()]
    order = np.asarray(jax.random.permutation(keys[-2], len(images)))
    return [images[index] for index in order]
