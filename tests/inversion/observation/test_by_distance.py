"""Searches by a distance: the same engine with another residual."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy, own_images

from jattr.alterations import alter, parse_chain
from jattr.alterations.chain import Chain
from jattr.attribution.attribute import attribute
from jattr.attribution.calibrate import fair_searches, settings_digest
from jattr.distances.base import Distance
from jattr.distances.registry import as_distance
from jattr.errors import ImageError, InputError
from jattr.inversion.config import InvertConfig
from jattr.inversion.evaluate import mean_squares
from jattr.inversion.invert import invert
from jattr.inversion.observation.by_distance import DistanceObservation
from jattr.inversion.observation.make import make_observation
from jattr.inversion.problem import make_problem

GENS = [make_toy(seed=seed, size=8, name=f"toy{seed}") for seed in range(2)]
PIXELS = own_images(GENS[0], 3)[1]
CONFIG = InvertConfig(pool=256, restarts=4)
SMOOTH = ["l2", "multiscale:2", "l2*1+multiscale:2*0.5"]
ROUGH = ["l1", "huber:0.1", "l2*1+l1*0.1"]


def config_of(text, **settings):
    return dataclasses.replace(CONFIG, distance=text, **settings).search


@pytest.mark.slow
@pytest.mark.parametrize("text", SMOOTH + ROUGH)
def test_residuals_are_the_distance(text):
    """Of one latent for each image, by the batched program.

    In the search by the problem's residual.
    """
    observation = make_observation(GENS[0], PIXELS, config_of(text))
    z = np.asarray(GENS[0].sample_latent(jax.random.key(0), len(PIXELS)))
    distance = as_distance(text)
    images = PIXELS.astype(np.float32) / np.float32(127.5) - 1
    expected = [
        float(distance(made, image))
        for made, image in zip(GENS[0].generate(z), images, strict=True)
    ]
    np.testing.assert_allclose(observation.residuals(z, None), expected, rtol=1e-5)
    gen = observation.gen
    problem = make_problem(
        gen.apply, gen.state, observation.target(1, "round"), gen.latent_shape, None
    )
    residual = problem.residual(jnp.asarray(z[1]))
    assert problem.size == residual.size
    assert float(jnp.mean(residual**2)) == pytest.approx(expected[1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["l2", *(pytest.param(text, marks=pytest.mark.slow) for text in SMOOTH if text != "l2")]
)
def test_smooth_distances_lead_to_the_latent_and_its_certificate(text):
    found = attribute(PIXELS, GENS, search=config_of(text))
    assert [verdict.candidates for verdict in found.verdicts] == [("toy0",)] * len(PIXELS)
    assert all(verdict.certificate.holds for verdict in found.verdicts)
    assert (found.residual[:, 0] < 1e-2 * found.residual[:, 1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("text", ROUGH)
def test_others_are_searched_by_gradients_and_finished_in_pixels(text):
    """They end near the latent.

    A few Gauss-Newton steps on the pixels give the certificate, unless that is off.
    """
    found = attribute(PIXELS, GENS, search=config_of(text, restarts=8))
    assert [verdict.candidates for verdict in found.verdicts] == [("toy0",)] * len(PIXELS)
    assert all(verdict.certificate.holds for verdict in found.verdicts)
    alone = attribute(PIXELS, GENS, search=config_of(text, restarts=8, polish_steps=0))
    assert (alone.residual[:, 0] < 0.3 * alone.residual[:, 1]).all()
    assert (alone.residual[:, 0] >= 0.99 * found.residual[:, 0]).all()


@pytest.mark.slow
def test_without_a_certificate_a_distance_decides_nothing_by_itself():
    """Thresholds are of pixels; the reason says what to do."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *GENS[0].image_shape)).astype(np.uint8)
    verdict = attribute(noise, GENS, search=config_of("l2")).verdicts[0]
    assert verdict.kind == "undecided"
    assert "calibrate" in verdict.reason


@pytest.mark.slow
def test_invert_takes_the_distance():
    found = invert(GENS[0], PIXELS, search=config_of("multiscale:2"))
    assert found.loss.min(1).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adam-paper", "lbfgs"])
def test_a_named_method_searches_by_the_distance_alone(optimiser):
    """The paper's recipe: no other steps follow those of a distance that is not smooth."""
    found = invert(
        GENS[0], PIXELS[:1], search=config_of("l1", optimiser=optimiser, restarts=2, steps=300)
    )
    values = make_observation(GENS[0], PIXELS[:1], config_of("l1")).residuals(
        found.z[:, found.loss[0].argmin()], None
    )
    assert found.loss[0].min() == pytest.approx(values[0], rel=1e-3)


def test_the_floor_is_what_own_images_leave():
    observation = make_observation(GENS[0], PIXELS, config_of("l1"))
    z = np.asarray(GENS[0].sample_latent(jax.random.key(4), 8))
    own = make_observation(GENS[0], own_images(GENS[0], 8)[1], config_of("l1"))
    z, pixels = own_images(GENS[0], 8)
    own = make_observation(GENS[0], pixels, config_of("l1")).residuals(np.asarray(z), None)
    assert observation.floors[0] == pytest.approx(own.max(), rel=0.5)
    assert observation.noise <= observation.floors[0]


def test_scores_and_settings_know_the_distance():
    assert settings_digest(config_of("l2")) != settings_digest(CONFIG.search)
    assert settings_digest(config_of("l2")) == settings_digest(config_of("l2"))
    (one, _), (other, _) = (
        fair_searches(GENS[0], PIXELS, Chain(()), config, jax.random.key(0))
        for config in (CONFIG.search, config_of("l1"))
    )
    assert np.abs(one - other).min() > 0.1
    json.dumps(dataclasses.asdict(config_of("l2")))


@pytest.mark.parametrize(
    ("config", "images", "error", "words"),
    [
        (config_of("nothing"), PIXELS, InputError, "nothing"),
        (config_of("l2"), alter(PIXELS, parse_chain("blur:1")), InputError, "give one of them"),
        (config_of("l1", optimiser="levenberg-marquardt"), PIXELS, InputError, "use adam-paper"),
        (config_of("l1", optimiser="gauss-newton-cg"), PIXELS, InputError, "not smooth"),
        (config_of("ssim"), PIXELS, ImageError, "cannot compare images"),
    ],
    ids=["unknown", "altered", "dense", "matrix-free", "too small"],
)
def test_what_cannot_be_searched_is_refused(config, images, error, words):
    with pytest.raises(error, match=words):
        attribute(images, GENS, search=config)


def test_config_takes_texts_only():
    with pytest.raises(InputError, match="load_distance"):
        InvertConfig(distance=as_distance("l2"))


def test_styles_are_not_gone_through_and_accused_ones_know_their_maker():
    observation = make_observation(GENS[0], PIXELS, config_of("l2"))
    assert isinstance(observation, DistanceObservation)
    assert isinstance(observation.distance, Distance)
    assert not observation.traits.uses_styles
    assert observation.maker is observation.warm_start_generator is GENS[0]
    again = observation.with_images(PIXELS[:1])
    z = np.zeros((1, 8), np.float32)
    np.testing.assert_allclose(
        mean_squares(again.gen, z, None, again.targets([0], ["round"])),
        again.residuals(z, None),
        rtol=1e-6,
    )
