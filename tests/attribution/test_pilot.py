"""What a candidate's own images teach: the usual miss, and how many restarts are enough."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from toys import make_toy, own_images

from jattr.attribution import racing
from jattr.attribution.attribute import attribute, attribute_observed
from jattr.attribution.pilot import PilotStudies, PilotStudy, run_pilot_study
from jattr.attribution.pilot_files import PilotStudyFiles
from jattr.decision.verdict import DecisionConfig
from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import OneStageSearch
from jattr.inversion.observation.base import Observation
from jattr.inversion.problem import FLOOR
from jattr.inversion.warm_start import Ridge

CONFIG = InvertConfig(pool=256).search
KEY = jax.random.key(3)


def inverter_of(gen, config=CONFIG):
    return OneStageSearch(Observation(gen, own_images(gen, 1)[1]), config, KEY)


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["round", "truncate"])
def test_a_generator_that_is_always_found_misses_by_rounding_alone(rounding):
    gen = dataclasses.replace(make_toy(name="own"), rounding=rounding)
    found = run_pilot_study(inverter_of(gen), CONFIG, KEY, 16)
    assert found.miss < 2 * FLOOR
    assert found.arrived == (True,) * 16
    assert len(found.used) == 16
    assert min(found.used) >= 1


def pilot_study(*used, arrived=16):
    return PilotStudy(1e-3, used, (True,) * arrived + (False,) * (len(used) - arrived))


@pytest.mark.parametrize(
    ("found", "needed"),
    [
        (pilot_study(*[1] * 16), 4),  # at least 0.829 each: 0.171^4 = 8.6e-4
        (pilot_study(*[1] * 15, 2), 5),
        (pilot_study(*[8] * 16, arrived=0), None),
    ],
)
def test_restarts_needed_follow_the_bound_on_arrivals(found, needed):
    assert found.restarts_needed(1e-3) == needed


def test_images_that_differ_need_more_restarts_than_their_mean_says():
    """Fifteen easy ones and one that took 17 restarts, against the same total spread evenly."""
    assert pilot_study(*[1] * 15, 17).restarts_needed(1e-3) > pilot_study(
        *[2] * 16
    ).restarts_needed(1e-3)


def test_the_bound_without_a_model_is_that_of_so_many_images():
    assert pilot_study(*[1] * 16).miss_bound(1) == pytest.approx(1 - 0.05 ** (1 / 16))
    assert pilot_study(*[1] * 15, 2).miss_bound(1) > pilot_study(*[1] * 15, 2).miss_bound(2)
    assert pilot_study(*[1] * 15, 8, arrived=15).miss_bound(9) is None
    assert pilot_study(1).miss_bound(0) is None


@pytest.mark.slow
def test_a_rehearsal_is_made_once_for_what_it_depends_on():
    gen, store = make_toy(name="own"), {}
    first = PilotStudies(CONFIG, KEY, store, 16).of(inverter_of(gen))
    assert list(store.values()) == [first]
    for other, key, more in (
        (CONFIG, KEY, 0),
        (CONFIG, jax.random.key(4), 1),
        (dataclasses.replace(CONFIG, warm_start=Ridge(spread=0.2)), KEY, 1),
    ):
        before = len(store)
        PilotStudies(other, key, store, 16).of(inverter_of(gen, other))
        assert len(store) - before == more


@pytest.mark.slow
def test_searches_and_rehearsals_do_not_depend_on_the_place_among_the_candidates():
    gens = [make_toy(seed=seed, name=f"toy{seed}") for seed in (0, 1)]
    noise = np.random.default_rng(0).integers(0, 256, (1, *gens[0].image_shape)).astype(np.uint8)
    stores = [{}, {}]
    found = [
        attribute_observed(noise, order, search=CONFIG, pilot_studies=store)
        for order, store in zip((gens, gens[::-1]), stores, strict=True)
    ]
    assert len(stores[0]) == 2
    assert stores[0] == stores[1]
    np.testing.assert_array_equal(found[0].latents[0], found[1].latents[1])


@pytest.mark.slow
def test_foreign_images_are_searched_as_often_as_the_rehearsal_asks():
    gens = [make_toy(seed=seed, name=f"toy{seed}") for seed in (0, 1)]
    noise = np.random.default_rng(0).integers(0, 256, (2, *gens[0].image_shape)).astype(np.uint8)
    store = {}
    found = attribute_observed(noise, gens, search=CONFIG, pilot_studies=store)
    assert len(store) == 2
    for row in found.evidence:
        for evidence in row:
            assert racing.FAIR <= evidence.restarts_needed < CONFIG.restarts_for(10, 1e6)
            assert evidence.restarts == evidence.restarts_needed
    assert {verdict.kind for verdict in found.verdicts} == {"none"}
    chosen = attribute_observed(
        noise[:1], gens, search=dataclasses.replace(CONFIG, restarts=9), pilot_studies=store
    )
    # the user's number is kept to
    assert [evidence.restarts for evidence in chosen.evidence[0]] == [9, 9]


@pytest.mark.slow
def test_none_needs_the_restarts_that_the_rehearsal_asks_for():
    gens = [make_toy(seed=seed, name=f"toy{seed}") for seed in (0, 1)]
    noise = np.random.default_rng(0).integers(0, 256, (1, *gens[0].image_shape)).astype(np.uint8)
    found = attribute(noise, gens, search=CONFIG, policy=DecisionConfig(miss_chance=1e-12))
    needed = [evidence.restarts_needed for evidence in found.evidence[0]]
    assert min(needed) > 8
    assert [evidence.restarts for evidence in found.evidence[0]] == needed


BAD = (
    {"used": []},
    {"used": [1]},
    {"used": [0] * 16},
    {"used": [1.5] * 16},
    {"arrived": [1] * 16},
    {"more": 0},
)


def test_files_keep_rehearsals_and_forget_what_is_broken(tmp_path):
    kept = pilot_study(*[1] * 15, 3)
    folder = tmp_path / "new" / "folder"
    PilotStudyFiles(folder)["name"] = kept
    assert PilotStudyFiles(folder)["name"] == kept
    assert [path.name for path in folder.iterdir()] == ["name.json"]
    wrong = [kept._asdict() | {"miss": "NaN"}, *(kept._asdict() | bad for bad in BAD)]
    for text in ("", "[]", "{}", *map(json.dumps, wrong)):
        (folder / "name.json").write_text(text)
        assert "name" not in PilotStudyFiles(folder)
    (folder / "name.json").write_text(json.dumps(kept._asdict() | {"miss": float("nan")}))
    assert "name" not in PilotStudyFiles(folder)


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "below", None):
        files = PilotStudyFiles(folder)
        files["name"] = pilot_study(*[1] * 16)
        assert len(files["name"].used) == 16
        assert list(files) == ["name"]
        assert len(files) == 1
        del files["name"]
        assert "name" not in files
