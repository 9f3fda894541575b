"""Each baseline tells what it is made to tell, and its parts are what its paper says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from autoencoders import make_autoencoder, make_linear_autoencoder
from tiny_generator import make_tiny
from toys import make_toy

from jattr.attribution.calibrate import own_images
from jattr.baselines import double_reconstruction, final_layer, fingerprint, frequency, thresholded
from jattr.baselines.deep_sad import fit_detector
from jattr.errors import InputError
from jattr.generators.base import FinalLayer
from jattr.generators.store import load_generator
from jattr.inversion.config import InvertConfig
from jattr.zoo.faces import render_faces


def share_right(attributor, generators, count, seed):
    """The share of other own images that each source's score is the largest of."""
    scores = [attributor.scores(own_images(gen, count, seed)) for gen in generators]
    return [float((some.argmax(1) == at).mean()) for at, some in enumerate(scores)]


@pytest.mark.slow
def test_fingerprints_tell_bundled_generators_apart():
    generators = [load_generator(name) for name in ("dcgan_a", "progan_a")]
    images = {gen.name: own_images(gen, 60, 1) for gen in generators}
    attributor = fingerprint.fit(generators, images, jax.random.key(0))
    assert min(share_right(attributor, generators, 40, 2)) >= 0.85
    nobody = attributor.scores(render_faces(jax.random.key(5), 40)).max(1)
    own = attributor.scores(own_images(generators[0], 40, 2)).max(1)
    assert np.median(own) > np.quantile(nobody, 0.95)


@pytest.mark.slow
def test_a_residual_is_small_noise_alone():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 32, 32, 3), scale=2 / 127.5).astype(np.float32)
    edges = np.kron(rng.choice([-0.5, 0.5], (1, 4, 4, 3)), np.ones((1, 8, 8, 1))).astype(np.float32)
    alone = fingerprint.residual_of(jnp.asarray(noise), 3, 5 / 127.5)
    with_edges = fingerprint.residual_of(jnp.asarray(noise + edges), 3, 5 / 127.5)
    assert np.corrcoef(alone.ravel(), noise.ravel())[0, 1] > 0.9
    assert np.abs(with_edges).max() < 0.1  # of edges of 1
    assert np.abs(fingerprint.residual_of(jnp.full((1, 8, 8, 1), 0.3), 3, 0.04)).max() < 1e-6


def test_the_spectrum_is_the_orthonormal_cosine_transform():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), np.uint8)
    expected = scipy.fft.dctn(pixels / 127.5 - 1, axes=(1, 2), norm="ortho")
    expected = np.log(np.abs(expected) + frequency.MAGNITUDE_FLOOR)
    # 1e-3 of small coefficients
    np.testing.assert_allclose(frequency.log_spectrum(pixels), expected, atol=1e-3)


@pytest.mark.slow
def test_frequencies_tell_generators_apart():
    generators = [make_tiny(seed=seed, name=f"tiny_{seed}") for seed in range(2)]
    images = {gen.name: own_images(gen, 80, 1) for gen in generators}
    config = frequency.FrequencyConfig(epochs=10, batch=16, rate=1e-2)
    attributor = frequency.fit(generators, images, jax.random.key(0), config=config)
    assert min(share_right(attributor, generators, 40, 2)) >= 0.9


def test_critical_values_of_grubbs():
    # from tables of the one-sided test at 5 %
    for count, value in ((5, 1.672), (10, 2.176), (20, 2.557), (50, 2.956)):
        assert abs(thresholded.grubbs_critical(count, 0.05) - value) < 2e-3


def test_complexity_is_an_entropy_of_pairs():
    rng = np.random.default_rng(0)
    halves = np.zeros((1, 8, 8, 1), np.uint8)
    # two values, and on each side of the edge one row of another mean: 3/8, 1/8, 1/8, 3/8
    halves[:, 4:] = 80
    expected = 2 * (3 / 8 * np.log2(8 / 3) + 1 / 8 * np.log2(8))
    assert abs(thresholded.complexity(halves)[0] - expected) < 1e-12
    noise = rng.integers(0, 256, (1, 8, 8, 3), np.uint8)
    assert thresholded.complexity(noise)[0] > 5.5
    assert thresholded.complexity(np.full((1, 8, 8, 3), 7, np.uint8))[0] == thresholded.SIMPLEST


def test_thresholded_inversion_keeps_own_images_and_rejects_others():
    generators = [make_toy(seed=seed, name=f"toy_{seed}") for seed in range(2)]
    search = InvertConfig(
        optimiser="adam:0.1:constant", steps=300, restarts=1, start="prior", polish_steps=0
    ).search
    config = thresholded.ThresholdedConfig(search=search, known=16)
    images = {gen.name: own_images(gen, 16, 1) for gen in generators}
    attributor = thresholded.fit(generators, images, jax.random.key(0), config=config)
    for at, gen in enumerate(generators):
        scores = attributor.scores(own_images(gen, 16, 2))
        assert (scores[:, at] >= 0).mean() >= 0.8
        assert (scores[:, 1 - at] < 0).all()
    nobody = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8)
    assert (attributor.scores(nobody) < 0).all()


def test_final_layer_inversion_recovers_activations():
    """Of a layer with more outputs than inputs, from unrounded images.

    The lasso has one solution near the truth.
    """
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(12, 48), scale=0.2).astype(np.float32)
    final = FinalLayer(
        lambda state, z, *, label=None: jax.nn.relu(z),
        lambda state, a: (a @ state).reshape(-1, 4, 4, 3),
        "tanh",
    )
    truth = np.maximum(rng.normal(size=(6, 12)), 0).astype(np.float32)
    pixels = np.round(127.5 * (np.tanh(truth @ kernel).reshape(-1, 4, 4, 3) + 1)).astype(np.uint8)
    mean = jnp.full(12, 0.4)
    size = final_layer._make_largest_singular(final)(kernel, mean)
    np.testing.assert_allclose(size, np.linalg.svd(kernel)[1][0], rtol=1e-2)
    found = final_layer._make_recover(final, 1e-5, 300)(kernel, mean, size, pixels)
    assert np.abs(found - truth).max() < 0.1  # bytes near the border leave that much
    pulled = final_layer._make_recover(final, 1e3, 300)(kernel, mean, size, pixels)
    np.testing.assert_allclose(pulled, np.broadcast_to(mean, truth.shape), atol=1e-6)


@pytest.mark.slow
def test_recovered_activations_make_the_image():
    gen = load_generator("dcgan_a")
    final = gen.final(gen)
    pixels = own_images(gen, 4, 1)
    features = final_layer.make_activations(
        gen, jax.random.key(0), final_layer.FinalLayerConfig(steps=100)
    )(pixels)
    assert features.shape == (4, 16, 16, 32)
    made = jnp.tanh(final.linear(gen.state, features))
    assert np.abs(made - (pixels / 127.5 - 1)).max() < 0.05


def test_generators_without_a_linear_last_layer_are_refused():
    generators = [load_generator(name) for name in ("dcgan_a", "stylegan2_a")]
    with pytest.raises(InputError, match="'stylegan2_a' do not end in one linear layer"):
        final_layer.fit(generators, {}, jax.random.key(0))


@pytest.mark.slow
def test_the_detector_learns_what_is_normal():
    rng = np.random.default_rng(0)

    def examples(count, period):
        wave = np.sin(np.arange(8) * 2 * np.pi / period)[None, :, None, None]
        return (wave + 0.3 * rng.normal(size=(count, 8, 8, 2))).astype(np.float32)

    schedule = final_layer.FinalLayerConfig(epochs=10, batch=16)
    distances = fit_detector(examples(100, 4), examples(60, 2), jax.random.key(0), schedule)
    assert np.quantile(distances(examples(40, 4)), 0.95) < np.quantile(
        distances(examples(40, 2)), 0.05
    )
    alone = fit_detector(examples(100, 4), examples(0, 2), jax.random.key(0), schedule)  # Deep SVDD
    assert np.median(alone(examples(40, 4))) < np.median(alone(5 * examples(40, 2)))


@pytest.mark.slow
def test_final_layers_tell_generators_apart():
    generators = [make_tiny(seed=seed, name=f"tiny_{seed}") for seed in range(2)]
    images = {gen.name: own_images(gen, 100, 1) for gen in generators}
    config = final_layer.FinalLayerConfig(epochs=15, batch=16)
    attributor = final_layer.fit(generators, images, jax.random.key(0), config=config)
    assert min(share_right(attributor, generators, 40, 2)) >= 0.85


def test_homogeneity_is_that_of_the_cooccurrence_matrix():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 9, 7, 1), np.uint8)
    level = pixels[0, :, :, 0] // 8
    matrix = np.zeros((32, 32))
    for left, right in zip(level[:, :-1].ravel(), level[:, 1:].ravel(), strict=True):
        matrix[left, right] += 1
        matrix[right, left] += 1
    i, j = np.indices((32, 32))
    expected = (matrix / matrix.sum() / (1.0 + (i - j) ** 2)).sum()
    assert abs(double_reconstruction.homogeneity(pixels)[0] - expected) < 1e-12


def test_the_threshold_is_a_point_of_the_density():
    values = np.random.default_rng(0).normal(size=4000)
    assert abs(double_reconstruction.density_point(values, 0.95) - 1.645) < 0.12
    assert double_reconstruction.density_point(np.ones(5), 0.95) == 1.0


@pytest.mark.slow
def test_double_reconstruction_tells_autoencoders_apart():
    generators = [make_linear_autoencoder(seed) for seed in range(2)]
    images = {gen.name: own_images(gen, 60, 1) for gen in generators}
    attributor = double_reconstruction.fit(generators, images, jax.random.key(0))
    assert share_right(attributor, generators, 40, 2) == [1.0, 1.0]
    scores = attributor.scores(own_images(generators[0], 40, 2))
    assert (scores[:, 0] >= 0).mean() >= 0.85
    assert (scores[:, 1] < 0).all()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_the_signal_of_an_autoencoder_with_its_encoder():
    gen = make_autoencoder(0)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    x = jnp.asarray(pixels / np.float32(127.5) - 1)
    reproduce = jax.jit(lambda x: gen.apply(gen.state, gen.encoder(gen.state, x)))
    first = reproduce(x)
    second = reproduce(first)
    ratio = np.square(first - x).mean((1, 2, 3)) / np.square(second - first).mean((1, 2, 3))
    expected = np.log(ratio * double_reconstruction.homogeneity(pixels))
    np.testing.assert_allclose(
        double_reconstruction.log_signals(gen, pixels, 8), expected, atol=1e-3
    )


def test_generators_without_an_encoder_are_refused():
    gen = make_tiny()
    with pytest.raises(InputError, match="no encoder"):
        double_reconstruction.fit([gen], {gen.name: own_images(gen, 5, 1)}, jax.random.key(0))
