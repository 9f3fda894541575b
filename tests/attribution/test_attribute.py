"""Attribution from end to end, on tiny generators."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from tiny_generator import make_tiny

from jattr.attribution import evidence as verdicts
from jattr.attribution import racing
from jattr.attribution.attribute import attribute, attribute_observed
from jattr.attribution.calibrate import calibrate
from jattr.attribution.caveats import COMPRESSED
from jattr.attribution.racing import CUT_SHORT, Racing, Wins, make_inverters, needs_search
from jattr.decision.certificate import MIN_EXCESS
from jattr.decision.description_length import MIN_BITS
from jattr.decision.verdict import NO_CAVEAT, DecisionConfig, Verdict
from jattr.errors import GeneratorError, ImageError, InputError
from jattr.generators.base import Generator, sample_uniform
from jattr.inversion.config import InvertConfig
from jattr.inversion.observation.base import Observation, Traits
from jattr.inversion.problem import FLOOR

CONFIG = InvertConfig(restarts=8, pool=512).search
EACH = 3


def images_of(gen, count=EACH, seed=11, label=None):
    made = gen.generate(gen.sample_latent(jax.random.key(seed), count), label=label)
    scaled = (np.clip(np.asarray(made, np.float64), -1, 1) + 1) * 127.5
    return np.floor(scaled + 0.5).astype(np.uint8)


def dense_apply(state, z, *, label=None):
    return jax.numpy.tanh(z @ state).reshape(-1, 12, 12, 1)


def make_dense(name="dense"):
    """12x12 grey, 5 uniform latents."""
    w = np.random.default_rng(5).normal(size=(5, 144), scale=0.4).astype(np.float32)
    return Generator.from_function(
        dense_apply,
        jax.numpy.asarray(w),
        name=name,
        version="1",
        latent=(5,),
        image_shape=(12, 12, 1),
        sample=sample_uniform((5,)),
        prior="uniform",
    )


@pytest.fixture(scope="module")
def family():
    """Three candidates of one architecture."""
    return [make_tiny(seed=seed, name=f"tiny{seed}") for seed in range(3)]


@pytest.fixture(scope="module")
def images(family):
    return np.concatenate([images_of(gen) for gen in family])


@pytest.fixture(scope="module")
def found(family, images):
    return attribute(images, family, search=CONFIG)


@pytest.mark.slow
def test_own_images_are_certified_and_attributed(found):
    for number, verdict in enumerate(found.verdicts):
        assert (verdict.kind, verdict.candidates) == ("made-by", (f"tiny{number // EACH}",))
        assert verdict.certificate is not None
        assert verdict.certificate.holds
        assert verdict.margin > 10
    assert sum(verdict.certificate.bit_exact for verdict in found.verdicts) >= 2 * EACH


@pytest.mark.slow
def test_result_belongs_together(found, family, images):
    assert found.residual.shape == (len(images), 3)
    for number in range(len(images)):
        own = number // EACH
        assert found.residual[number].argmin() == own
        assert found.residual[number, own] < 2 * FLOOR
        made = found.reproduction(number, own)
        assert made.shape == family[own].image_shape
        assert np.abs((made + 1) * 127.5 - images[number]).max() < 2  # of a byte
        assert found.evidence[number][own].arrived >= 1
    assert [a.shape for a in found.latents] == [(len(images), 6)] * 3
    assert (found.labels == -1).all()


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes(found, family, images):
    again = attribute(images, family, search=CONFIG)
    assert again.residual.tobytes() == found.residual.tobytes()
    assert [a.tobytes() for a in again.latents] == [a.tobytes() for a in found.latents]
    assert again.verdicts == found.verdicts


@pytest.mark.slow
def test_foreign_noise_is_never_made_by_a_candidate(family):
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    foreign = attribute(noise, family, search=CONFIG)
    assert {v.kind for v in foreign.verdicts} <= {"none", "undecided"}
    assert all(e.certificate is None for row in foreign.evidence for e in row)
    assert all(
        e.restarts == 8 and e.usual_miss is not None for row in foreign.evidence for e in row
    )


@pytest.mark.slow
def test_own_images_with_the_wrong_candidates_are_never_made_by(family, images):
    verdicts = attribute(images[:EACH], family[1:], search=CONFIG).verdicts
    assert {v.kind for v in verdicts} <= {"none", "undecided"}


@pytest.mark.slow
def test_candidates_of_two_shapes(family):
    """One array of images for each candidate, each in the candidate's own shape."""
    dense = make_dense()
    own = images_of(family[0], 2)
    as_grey = np.random.default_rng(1).integers(0, 256, (2, 12, 12, 1)).astype(np.uint8)
    found = attribute([own, as_grey], [family[0], dense], search=CONFIG)
    assert [v.candidates for v in found.verdicts] == [("tiny0",)] * 2
    assert [a.shape for a in found.latents] == [(2, 6), (2, 5)]
    assert found.reproduction(0, 1).shape == (12, 12, 1)
    with pytest.raises(ImageError, match="12, 12, 1"):
        attribute(own, [family[0], dense], search=CONFIG)
    with pytest.raises(ImageError, match="1 arrays of images for 2 candidates"):
        attribute([own], [family[0], dense], search=CONFIG)
    with pytest.raises(ImageError, match="different numbers"):
        attribute([own, as_grey[:1]], [family[0], dense], search=CONFIG)


@pytest.mark.slow
def test_uniform_latents_are_reported_with_their_support():
    dense = make_dense()
    found = attribute(images_of(dense, 2), [dense], search=CONFIG)
    assert [v.kind for v in found.verdicts] == ["made-by"] * 2
    assert found.support.shape == (2, 1)
    np.testing.assert_allclose(found.support[:, 0], np.abs(found.latents[0]).max(1))
    assert (found.support <= 1.05).all()  # rounding moves a latent by about 1e-2


@pytest.mark.slow
def test_class_is_reported(tiny_conditional):
    label = np.array([2, 0, 1], np.int32)
    found = attribute(
        images_of(tiny_conditional, 3, label=label), [tiny_conditional], search=CONFIG
    )
    assert [v.kind for v in found.verdicts] == ["made-by"] * 3
    np.testing.assert_array_equal(found.labels[:, 0], label)


def test_search_goes_on_beside_a_candidate_that_reproduces_anything(monkeypatch):
    monkeypatch.setattr(racing, "bits_of", lambda *args: MIN_BITS - 1)
    mine, other = Stand(9e-5), Stand(5e-6, arrived=True)
    assert needs_search(mine, Wins([mine, other], Racing()), 0, fair=False)


@pytest.mark.slow
def test_one_model_under_two_names_is_one_model(family, images):
    copy = make_tiny(seed=0, name="copy")
    assert copy.weights_digest == family[0].weights_digest
    verdict = attribute(images[:1], [family[0], copy, family[1]], search=CONFIG).verdicts[0]
    assert verdict.kind == "made-by"
    assert set(verdict.candidates) == {"tiny0", "copy"}


def test_one_model_under_two_names_is_searched_once(family, images):
    twin = make_tiny(seed=0, name="twin")
    inverters = make_inverters(
        [Observation(gen, images) for gen in (*family, twin)], CONFIG, jax.random.key(0)
    )
    assert inverters[3] is inverters[0]
    assert len(set(inverters)) == 3


class Stand:
    """An inverter as `needs_search` sees it."""

    def __init__(self, loss, arrived=False, excess=MIN_EXCESS):
        self.best_loss = lambda i: loss
        self.results = SimpleNamespace(arrived=lambda i: arrived)
        self.size = 0
        self.observation = SimpleNamespace(
            traits=Traits(near=1e-4), num_informative=lambda i: excess, noise=FLOOR
        )


@pytest.mark.parametrize(
    ("mine", "other", "wanted"),
    [
        (Stand(5e-2), Stand(3e-2), True),  # nobody is near
        (Stand(np.inf), Stand(3e-2), True),  # never searched yet
        (Stand(5e-2), Stand(9e-4), False),  # the other is far ahead near the floor
        (Stand(9e-3), Stand(9e-4), True),  # not far enough ahead
        (Stand(9e-4), Stand(5e-2), True),  # this one is ahead, and goes on to the floor
        (Stand(9e-5), Stand(5e-6, arrived=True), False),
        (Stand(5e-6, arrived=True), Stand(9e-5), False),
        # too few bytes: that can be chance
        (Stand(9e-5), Stand(5e-6, arrived=True, excess=MIN_EXCESS - 1), True),
    ],
)
def test_search_goes_on_where_it_can_change_the_verdict(mine, other, wanted, monkeypatch):
    monkeypatch.setattr(racing, "bits_of", lambda *args: MIN_BITS)
    assert needs_search(mine, Wins([mine, other], Racing()), 0, fair=True) is wanted


def test_one_model_under_two_rounding_rules_is_searched_under_each(family, images):
    twin = make_tiny(seed=0, name="twin")
    twin = dataclasses.replace(
        twin, rounding="truncate" if family[0].rounding != "truncate" else "round"
    )
    inverters = make_inverters(
        [Observation(gen, images) for gen in (family[0], twin)], CONFIG, jax.random.key(0)
    )
    assert inverters[0] is not inverters[1]


def test_every_candidate_gets_a_fair_trial():
    assert needs_search(Stand(5e-2), Wins([Stand(9e-4)], Racing()), 0, fair=False)


def test_progress_ends_at_the_total(family, images):
    seen = []
    attribute(
        images[:2], family, search=CONFIG, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(2, 6), (4, 6), (6, 6)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_an_image_whose_certificate_is_refused_is_judged_only_by_fair_trials(
    family, images, monkeypatch, count
):
    """A candidate that arrives ends the others' searches.

    Their scores are not like those of a calibration then.
    """
    gens = family[:count]
    calibration = calibrate(gens, own=4, others=4, search=CONFIG)
    noise = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    monkeypatch.setattr(
        verdicts, "certificates_of", lambda inverter: [None] * inverter.results.count
    )
    both = np.concatenate([images[:1], noise])
    found = attribute(
        both, gens, search=CONFIG, policy=DecisionConfig(alpha=0.4), calibration=calibration
    )
    assert found.evidence[0][0].arrived == 1
    assert [judgement is not None for judgement in found.judgements] == [count == 1, True]
    assert found.verdicts[0].reason.endswith(
        f"; not calibrated for {CUT_SHORT}, so by thresholds"
    ) == (count > 1)


def test_two_candidates_of_one_name_are_refused(family, images):
    with pytest.raises(GeneratorError, match="two candidates are called 'tiny0'"):
        attribute(images, [family[0], make_tiny(seed=1, name="tiny0")])


def test_no_candidates_are_refused(images):
    with pytest.raises(GeneratorError, match="0 candidates"):
        attribute(images, [])


def test_an_image_that_its_file_casts_doubt_on_is_never_said_to_be_of_none(tiny):
    pixels = np.random.default_rng(8).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    both = np.concatenate([pixels, pixels])
    att = attribute_observed(both, [tiny], search=CONFIG, caveats=[NO_CAVEAT, COMPRESSED])
    assert [verdict.kind for verdict in att.verdicts] == ["none", "undecided"]
    assert att.verdicts[1].reason.endswith("give the file as it was first saved")
    with pytest.raises(ImageError, match="1 caveats of 2 images"):
        attribute_observed(both, [tiny], search=CONFIG, caveats=[NO_CAVEAT])


def test_a_policy_of_ones_own_decides(family, images):
    def nearest(evidence, caveat):
        best = min(evidence, key=lambda one: one.residual)
        return Verdict("undecided", (best.name,), None, None, "nearest alone")

    found = attribute(images[:1], family[:2], search=CONFIG, policy=nearest)
    assert found.verdicts[0].reason == "nearest alone"
    with pytest.raises(InputError, match="returns 3"):
        attribute(images[:1], family[:2], search=CONFIG, policy=lambda evidence, caveat: 3)
    with pytest.raises(InputError, match="DecisionConfig"):
        attribute(images[:1], family[:2], search=CONFIG, policy=3)
