"""Every baseline: one interface, the same for the same key, and what it refuses."""

import jax
import numpy as np
import pytest
from autoencoders import make_autoencoder
from tiny_generator import make_tiny

from jattr.attribution.calibrate import own_images
from jattr.baselines.base import Attributor, checked_images
from jattr.baselines.classifier import ClassifierConfig
from jattr.baselines.double_reconstruction import DoubleReconstructionConfig
from jattr.baselines.final_layer import FinalLayerConfig
from jattr.baselines.fingerprint import FingerprintConfig
from jattr.baselines.frequency import FrequencyConfig
from jattr.baselines.registry import BASELINES
from jattr.baselines.thresholded import ThresholdedConfig
from jattr.errors import ImageError, InputError
from jattr.inversion.config import InvertConfig

SHORT = {  # settings with which a test ends soon; a baseline without any runs with its own
    "classifier": ClassifierConfig(widths=(4,), epochs=1, batch=8),
    "frequency": FrequencyConfig(epochs=1, batch=8),
    "final-layer": FinalLayerConfig(epochs=1, batch=8, steps=5),
    "thresholded": ThresholdedConfig(
        known=4,
        search=InvertConfig(
            optimiser="adam:0.1:constant", steps=20, restarts=1, start="prior", polish_steps=0
        ),
    ),
}
NOT_LEGAL = {
    "classifier": (ClassifierConfig, {"epochs": 0}),
    "fingerprint": (FingerprintConfig, {"window": 4}),
    "frequency": (FrequencyConfig, {"widths": (1, 2, 3)}),
    "thresholded": (ThresholdedConfig, {"known": 2}),
    "final-layer": (FinalLayerConfig, {"held": 1.0}),
    "double-reconstruction": (DoubleReconstructionConfig, {"level": 0.0}),
}


@pytest.fixture(scope="module")
def tiny_pair():
    return [make_tiny(seed=seed, name=f"tiny_{seed}") for seed in range(2)]


@pytest.fixture(scope="module")
def autoencoder_pair():
    return [make_autoencoder(seed) for seed in range(2)]


@pytest.fixture(params=list(BASELINES))
def case(request, tiny_pair, autoencoder_pair):
    """Name, generators that it takes, their images."""
    generators = autoencoder_pair if "encoder" in BASELINES[request.param].needs else tiny_pair
    return request.param, generators, {gen.name: own_images(gen, 12, 1) for gen in generators}


def fit(name, generators, images, seed=0):
    return BASELINES[name].fit(generators, images, jax.random.key(seed), config=SHORT.get(name))


@pytest.mark.slow
def test_scores_are_the_same_for_the_same_key(case):
    name, generators, images = case
    seen = np.concatenate([own_images(gen, 3, 2) for gen in generators])
    first, again = (fit(name, generators, images) for _ in range(2))
    assert isinstance(first, Attributor)
    assert (first.name, first.sources) == (name, tuple(gen.name for gen in generators))
    scores = first.scores(seen)
    assert (scores.shape, scores.dtype) == ((6, 2), np.float64)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores, again.scores(seen))
    assert first.scores(seen[:0]).shape == (0, 2)
    with pytest.raises(ImageError, match="fitted to uint8"):
        first.scores(seen[:, :4])
    with pytest.raises(ImageError, match="fitted to uint8"):
        first.scores(seen / 255.0)


@pytest.mark.slow
def test_images_that_are_not_the_sources_are_refused(case):
    name, generators, images = case
    first, second = images
    for wrong, error, words in (
        ({first: images[first]}, InputError, "own images of each"),
        (images | {"stranger": images[first]}, InputError, "own images of each"),
        (images | {second: images[second][:, :4]}, ImageError, "give uint8"),
        (images | {second: images[second] / 255.0}, ImageError, "give uint8"),
        (images | {second: images[second][:1]}, InputError, "at least"),
    ):
        with pytest.raises(error, match=words):
            fit(name, generators, wrong)
    with pytest.raises(InputError, match="sources"):
        fit(name, [], {})


def test_settings_that_are_not_legal_are_refused(case):
    config, wrong = NOT_LEGAL[case[0]]
    assert config is BASELINES[case[0]].config
    with pytest.raises(InputError):
        config(**wrong)


def test_every_baseline_says_where_it_comes_from():
    for baseline in BASELINES.values():
        assert "arXiv" in baseline.source
        assert baseline.needs
        assert baseline.simplified


def test_generators_of_equal_names_are_refused(tiny_pair):
    with pytest.raises(InputError, match="no other has"):
        checked_images([tiny_pair[0]] * 2, {tiny_pair[0].name: np.zeros((2, 8, 8, 3), np.uint8)})
