"""Images that a generator makes of latents, drawn by seed or stored: the same for the same latent.

`Generator.generate` makes them, so a log that records its uses sees them.
"""

from collections.abc import Iterator

import jax
import numpy as np

from jattr.generators.base import Generator

# images at a time, however many are asked for: so none depends on their number
SAMPLING_BATCH = 8
BATCH_VALUES = 1 << 23  # fewer where images are larger: batch x H x W x C is at most this


def draw_latents(
    generator: Generator, n: int, seed: int, label: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return latents [n, *latent_shape] from the prior, and their labels int32 [n], -1: none.

    The labels are `label`; where it is None, they are drawn if the generator has classes.
    """
    z_key, label_key = jax.random.split(jax.random.key(seed))
    z = np.asarray(generator.sample_latent(z_key, n))
    if label is None:
        labels = generator.sample_labels(label_key, n)
    else:
        labels = np.asarray(generator.check_label(label, n))
    return z, np.full(n, -1, np.int32) if labels is None else labels


def make_pixels(generator: Generator, z: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the images uint8 [n, H, W, C] of latents [n, *latent_shape], labels [n] (-1: none)."""
    return np.concatenate(list(image_batches(generator, z, label)))


def image_batches(generator: Generator, z: np.ndarray, label: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the images of latents a batch at a time, as `make_pixels` returns them."""
    height, width, channels = generator.image_shape
    batch = max(1, min(SAMPLING_BATCH, BATCH_VALUES // (height * width * channels)))
    for start in range(0, len(z), batch):
        # the last batch is filled up, so that one program makes them all
        rows = np.minimum(np.arange(start, start + batch), len(z) - 1)
        with jax.default_matmul_precision("highest"):
            images = generator.generate(z[rows], label=generator.label_argument(label[rows]))
        yield generator.to_bytes(images)[: len(z) - start]
