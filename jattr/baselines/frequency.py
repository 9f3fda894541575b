"""A classifier of sources that sees an image's frequencies: logarithms of its cosine transform.

Frank, Eisenhofer, Schoenherr, Fischer, Kolossa, Holz, Leveraging Frequency Analysis for Deep Fake
Image Recognition, arXiv 2003.08685: the two-dimensional DCT of an image, logarithms of its
magnitudes, each coefficient to mean 0 and variance 1 over the training images, then a small
convolutional network. Ours: every channel is transformed on its own, fewer epochs, and halving goes
through space-to-depth in place of average pooling.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.fft
import scipy.special
from flax import nnx

from jattr.baselines.base import Attributor, checked_images, in_batches, to_unit
from jattr.baselines.classifier import Conv, space_to_depth
from jattr.baselines.training import LossFn, fit_state
from jattr.errors import InputError
from jattr.generators import ops
from jattr.generators.base import Generator
from jattr.typing import PyTree

# added to magnitudes before their logarithm: far below a byte's rounding, above float32's
MAGNITUDE_FLOOR = 1e-4
LEAST_DEVIATION = 1e-3  # of a coefficient: one that never changes says nothing


@dataclass(frozen=True, kw_only=True)
class FrequencyConfig:
    """Settings of the network and its training."""

    # channels: two layers at full size, one at 1/2, one at 1/4
    widths: tuple[int, int, int, int] = (3, 8, 16, 32)
    epochs: int = 12
    batch: int = 64
    rate: float = 3e-3  # of Adam at its highest
    warmup: int = 20  # steps in which it rises from 0
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if len(self.widths) != 4 or min(*self.widths, self.epochs, self.batch) < 1:
            raise InputError(
                f"widths {self.widths}, epochs {self.epochs}, batch {self.batch}: 4 widths, each 1"
                " or more"
            )
        if not self.rate > 0 or self.weight_decay < 0 or self.warmup < 0:
            raise InputError("rate is above 0, weight_decay and warmup are 0 or more")


class Net(nnx.Module):
    """Normalised log magnitudes [n, H, W, C] to logits [n, classes]."""

    def __init__(
        self, widths: Sequence[int], shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs
    ) -> None:
        first, second, third, last = widths
        self.first = Conv(shape[2], first, 3, rngs=rngs)
        self.second = Conv(first, second, 3, rngs=rngs)
        self.third = Conv(4 * second, third, 3, rngs=rngs)
        self.last = Conv(4 * third, last, 3, rngs=rngs)
        flat = (shape[0] // 4) * (shape[1] // 4) * last
        self.weight = nnx.Param(jnp.zeros((flat, classes)))
        self.bias = nnx.Param(jnp.zeros(classes))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits."""
        x = jax.nn.relu(self.second(jax.nn.relu(self.first(x))))
        x = jax.nn.relu(self.third(space_to_depth(x)))
        x = jax.nn.relu(self.last(space_to_depth(x)))
        return x.reshape(len(x), -1) @ self.weight[...] + self.bias[...]


def fit(
    generators: Sequence[Generator],
    images: Mapping[str, np.ndarray],
    key: jax.Array,
    *,
    config: FrequencyConfig | None = None,
) -> Attributor:
    """Return the frequency classifier as an attributor: scores are logarithms of its probabilities.

    Args:
      generators: the sources.
      images: own images of each by its name, uint8 [n, H, W, C], sides of 4 or more.
      key: of the weights and of the order of images.
      config: settings.

    Raises:
      InputError: fewer than two sources, or images that are not theirs.
      ImageError: images of another shape or type.
    """
    config = config or FrequencyConfig()
    own = checked_images(generators, images, sources=2)
    shape = generators[0].image_shape
    if min(shape[:2]) < 4:
        raise InputError(
            f"images are {shape}; baseline 'frequency' needs sides of 4 pixels or more"
        )
    spectra = in_batches(log_spectrum, np.concatenate(own))
    labels = np.repeat(np.arange(len(own), dtype=np.int32), [len(part) for part in own])
    mean, deviation = spectra.mean(0), np.maximum(spectra.std(0), LEAST_DEVIATION)
    keys = jax.random.split(key, 1 + config.epochs)
    _, state = nnx.split(Net(config.widths, shape, len(own), rngs=nnx.Rngs(keys[0])))
    logits_fn, loss_fn = _make(config.widths, shape, len(own))
    trained = fit_state(loss_fn, state, ((spectra - mean) / deviation, labels), keys[1:], config)

    def score_fn(pixels: np.ndarray) -> np.ndarray:
        logits = in_batches(
            lambda some: logits_fn(trained.state, (log_spectrum(some) - mean) / deviation), pixels
        )
        return scipy.special.log_softmax(logits.astype(np.float64), axis=-1)

    return Attributor("frequency", tuple(gen.name for gen in generators), shape, score_fn)


@jax.jit
def log_spectrum(pixels: jax.Array) -> jax.Array:
    """Return the logarithms of the orthonormal DCT-II's magnitudes of images uint8 [n, H, W, C],
    same shape.
    """
    rows, columns = (
        scipy.fft.dct(np.eye(size), norm="ortho", axis=0).astype(np.float32)
        for size in pixels.shape[1:3]
    )
    spectrum = jnp.einsum("yh,nhwc,xw->nyxc", rows, to_unit(pixels), columns, precision="highest")
    return jnp.log(jnp.abs(spectrum) + MAGNITUDE_FLOOR)


@functools.lru_cache(maxsize=16)
def _make(
    widths: tuple[int, ...], shape: tuple[int, int, int], classes: int
) -> tuple[Callable[[PyTree, jax.Array], jax.Array], LossFn]:
    graph, _ = nnx.split(nnx.eval_shape(lambda: Net(widths, shape, classes, rngs=nnx.Rngs(0))))

    def logits_of(state: PyTree, x: jax.Array) -> jax.Array:
        with ops.for_weights():
            return nnx.merge(graph, state)(x)

    def loss_of(state: PyTree, x: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits_of(state, x), labels).mean()

    return jax.jit(logits_of), loss_of
