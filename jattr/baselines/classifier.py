"""A classifier of sources: which of K generators made an image, or none of them, learnt from their
images.

The approach of Yu, Davis, Fritz, Attributing Fake Images to GANs, ICCV 2019, arXiv 1811.08180, with
a small residual network (He et al., Identity Mappings in Deep Residual Networks, arXiv 1603.05027;
one group of Wu and He, Group Normalization, arXiv 1803.08494). It sees the image and, amplified,
what a blur takes away: there a generator's traces are (Marra et al., arXiv 1812.11842), and
training is far shorter. Halving goes through space-to-depth, so that every convolution has stride 1
and its gradient is canonical.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from flax import nnx
from jax.typing import ArrayLike

from jattr.baselines.base import Attributor, checked_images, in_batches, to_unit
from jattr.baselines.training import LossFn, fit_state
from jattr.errors import ImageError, InputError
from jattr.generators import ops
from jattr.generators.base import Generator
from jattr.typing import PyTree

CLASSIFIER_NORM_EPSILON = 1e-5  # of every normalisation
AMPLIFIED = 8.0  # what a blur takes away: it is this much smaller than the image
LogitsFn = Callable[[PyTree, jax.Array], jax.Array]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Settings of the network and its training."""

    widths: tuple[int, ...] = (32, 64)  # channels; at half the image's side, a quarter, ...
    epochs: int = 8
    batch: int = 64
    rate: float = 3e-3  # of Adam at the start; it falls by a cosine to 0
    warmup: int = 50  # steps in which it rises from 0
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if not self.widths or min(*self.widths, self.epochs, self.batch) < 1:
            raise InputError(
                f"widths {self.widths}, epochs {self.epochs}, batch {self.batch}: each is 1 or more"
            )
        if not self.rate > 0 or self.weight_decay < 0 or self.warmup < 0:
            raise InputError("rate is above 0, weight_decay and warmup are 0 or more")


class Conv(nnx.Module):
    """A convolution of stride 1 that keeps the sides."""

    def __init__(self, inputs: int, outputs: int, size: int, *, rngs: nnx.Rngs) -> None:
        spread = (2.0 / (size * size * inputs)) ** 0.5
        self.kernel = nnx.Param(
            spread * jax.random.normal(rngs.params(), (size, size, inputs, outputs))
        )
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return [n, H, W, outputs]."""
        return ops.conv(x, self.kernel[...], padding=self.kernel.shape[0] // 2) + self.bias[...]


class Norm(nnx.Module):
    """Mean 0 and variance 1 over all numbers of an image, then a scale and an offset of each
    channel.
    """

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return [n, H, W, channels]."""
        mean, variance = (fn(x, axis=(1, 2, 3), keepdims=True) for fn in (jnp.mean, jnp.var))
        return (x - mean) * jax.lax.rsqrt(variance + CLASSIFIER_NORM_EPSILON) * self.scale[
            ...
        ] + self.bias[...]


class Block(nnx.Module):
    """A residual block that normalises first."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.first_norm, self.second_norm = Norm(inputs), Norm(outputs)
        self.first = Conv(inputs, outputs, 3, rngs=rngs)
        self.second = Conv(outputs, outputs, 3, rngs=rngs)
        self.skip = Conv(inputs, outputs, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return [n, H, W, outputs]."""
        inside = self.first(jax.nn.relu(self.first_norm(x)))
        return self.skip(x) + self.second(jax.nn.relu(self.second_norm(inside)))


class Net(nnx.Module):
    """Images to logits."""

    def __init__(
        self, widths: tuple[int, ...], channels: int, classes: int, *, rngs: nnx.Rngs
    ) -> None:
        self.stem = Conv(8 * channels, widths[0], 3, rngs=rngs)
        inputs = (widths[0], *(4 * width for width in widths[:-1]))
        self.blocks = nnx.List(
            [Block(a, b, rngs=rngs) for a, b in zip(inputs, widths, strict=True)]
        )
        self.norm = Norm(widths[-1])
        self.weight = nnx.Param(jnp.zeros((widths[-1], classes)))
        self.bias = nnx.Param(jnp.zeros(classes))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits [n, classes] of images [n, H, W, C] in [-1, 1] units."""
        x = self.stem(space_to_depth(jnp.concatenate([x, AMPLIFIED * (x - _blurred(x))], -1)))
        for at, block in enumerate(self.blocks):
            x = block(space_to_depth(x) if at else x)
        return jax.nn.relu(self.norm(x)).mean((1, 2)) @ self.weight[...] + self.bias[...]


def _blurred(x: jax.Array) -> jax.Array:
    """Return x [n, H, W, C] with the taps 1, 2, 1 over 4 in both directions, borders repeated."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    x = (x[:, :-2] + 2.0 * x[:, 1:-1] + x[:, 2:]) / 4.0
    return (x[:, :, :-2] + 2.0 * x[:, :, 1:-1] + x[:, :, 2:]) / 4.0


def space_to_depth(x: jax.Array) -> jax.Array:
    """Return 2x2 blocks of x [n, H, W, C] as channels: [n, H/2, W/2, 4 C].

    An odd last row or column is left out.
    """
    n, height, width, channels = x.shape
    height, width = height // 2, width // 2
    x = x[:, : 2 * height, : 2 * width].reshape(n, height, 2, width, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height, width, 4 * channels)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network."""

    # (state, images [n, H, W, C] in [-1, 1]) -> logits [n, classes]
    logits_fn: LogitsFn = field(repr=False)
    state: PyTree = field(repr=False)
    image_shape: tuple[int, int, int]
    classes: int
    losses: np.ndarray = field(repr=False)  # [epochs], mean cross-entropy of training, nats


@functools.lru_cache(maxsize=16)
def make_logits(widths: tuple[int, ...], channels: int, classes: int) -> LogitsFn:
    """Return the pure function of one architecture.

    One object for each, so that programs are compiled once.
    """
    graph, _ = nnx.split(nnx.eval_shape(lambda: Net(widths, channels, classes, rngs=nnx.Rngs(0))))

    def logits(state: PyTree, x: jax.Array) -> jax.Array:
        with ops.for_weights():
            return nnx.merge(graph, state)(x)

    return logits


def train(
    images: np.ndarray, labels: ArrayLike, key: jax.Array, *, config: ClassifierConfig | None = None
) -> Classifier:
    """Return a classifier of images, the same for the same key.

    Args:
      images: uint8 [n, H, W, C].
      labels: [n], from 0; "none" is a class like the others.
      key: of the weights and of the order of images.
      config: settings.

    Raises:
      ImageError: images of another type.
      InputError: labels that do not fit the images.
    """
    config = config or ClassifierConfig()
    images = _checked(images)
    labels = np.asarray(labels, np.int32)
    if labels.shape != (len(images),) or labels.min() < 0 or labels.max() < 1:
        raise InputError(
            f"there are labels {labels.shape} for {len(images)} images; give one each, 2 or more"
            " kinds"
        )
    classes, channels = int(labels.max()) + 1, images.shape[-1]
    keys = jax.random.split(key, 1 + config.epochs)
    _, state = nnx.split(Net(config.widths, channels, classes, rngs=nnx.Rngs(keys[0])))
    logits_fn = make_logits(config.widths, channels, classes)
    trained = fit_state(_make_loss(logits_fn), state, (images, labels), keys[1:], config)
    return Classifier(logits_fn, trained.state, images.shape[1:], classes, trained.losses)


def predict(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Return the class [n] int of images uint8 [n, H, W, C].

    Raises:
      ImageError: images of another shape or type.
    """
    return predict_logits(classifier, images).argmax(-1)


def predict_logits(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Return the logits [n, classes] of images uint8 [n, H, W, C].

    Raises:
      ImageError: images of another shape or type.
    """
    images = _checked(images)
    if images.shape[1:] != classifier.image_shape:
        raise ImageError(
            f"images are {images.shape}; the classifier was trained on {classifier.image_shape}"
        )
    fn = _make_predict(classifier.logits_fn)
    return in_batches(lambda some: fn(classifier.state, some), images)


def fit(
    generators: Sequence[Generator],
    images: Mapping[str, np.ndarray],
    key: jax.Array,
    *,
    config: ClassifierConfig | None = None,
) -> Attributor:
    """Return the classifier as an attributor: scores are logarithms of its probabilities.

    Args:
      generators: the sources.
      images: own images of each by its name, uint8 [n, H, W, C].
      key: of the weights and of the order of images.
      config: settings.

    Raises:
      InputError: fewer than two sources, or images that are not theirs.
      ImageError: images of another shape or type.
    """
    own = checked_images(generators, images, sources=2)
    labels = np.repeat(np.arange(len(own)), [len(part) for part in own])
    classifier = train(np.concatenate(own), labels, key, config=config)

    def score_fn(pixels: np.ndarray) -> np.ndarray:
        return scipy.special.log_softmax(
            predict_logits(classifier, pixels).astype(np.float64), axis=-1
        )

    names = tuple(gen.name for gen in generators)
    return Attributor("classifier", names, generators[0].image_shape, score_fn)


def source_loss(
    classifier: Classifier, state: PyTree, x: jax.Array, labels: jax.Array
) -> jax.Array:
    """Return the cross-entropy [n], nats, of images [n, H, W, C] in [-1, 1].

    What an attacker raises or lowers.
    """
    return optax.softmax_cross_entropy_with_integer_labels(classifier.logits_fn(state, x), labels)


def _checked(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ImageError(f"images are {images.dtype} {images.shape}; give uint8 [n, H, W, C]")
    return images


@functools.lru_cache(maxsize=16)
def _make_loss(logits_fn: LogitsFn) -> LossFn:
    def loss_of(state: PyTree, pixels: jax.Array, labels: jax.Array) -> jax.Array:
        logits = logits_fn(state, to_unit(pixels))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return loss_of


@functools.lru_cache(maxsize=16)
def _make_predict(logits_fn: LogitsFn) -> Callable[..., jax.Array]:
    return jax.jit(lambda state, pixels: logits_fn(state, to_unit(pixels)))
