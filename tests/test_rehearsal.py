"""What a candidate's own pictures teach: the usual miss, and how many restarts are enough."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from toys import make_toy, own_pictures

from jattr import contest
from jattr.attribution import attribute
from jattr.cli.rehearsal_files import RehearsalFiles
from jattr.decision.verdict import DecisionConfig
from jattr.inversion.accused import Accused
from jattr.inversion.config import InvertConfig
from jattr.inversion.inverter import Inverter
from jattr.inversion.problem import FLOOR
from jattr.rehearsal import PICTURES, Rehearsal, Rehearsals, rehearse

CONFIG = InvertConfig(pool=256)
KEY = jax.random.key(3)


def inverter_of(gen, config=CONFIG):
    return Inverter(Accused(gen, own_pictures(gen, 1)[1]), config, KEY)


@pytest.mark.parametrize("rounding", ["round", "truncate"])
def test_a_generator_that_is_always_found_misses_by_rounding_alone(rounding):
    gen = dataclasses.replace(make_toy(name="own"), rounding=rounding)
    found = rehearse(inverter_of(gen), CONFIG, KEY)
    assert found.miss < 2 * FLOOR
    assert found.pictures == found.arrived == PICTURES
    assert PICTURES <= found.restarts <= found.most * PICTURES


@pytest.mark.parametrize(
    ("arrived", "restarts", "most", "needed"),
    [
        (16, 16, 1, 4),  # at least 0.829 each: 0.171^4 = 8.6e-4
        (16, 17, 2, 5),
        (16, 16, 7, 7),  # one took more
        (1, 100, 1, 13468),  # at least 1 - 0.95^(1/100) each
        (0, 128, 1, None),
    ],
)
def test_restarts_needed_follow_the_bound_on_arrivals(arrived, restarts, most, needed):
    assert Rehearsal(1e-3, 16, arrived, restarts, most).restarts_needed(1e-3) == needed


def test_a_rehearsal_is_made_once_for_what_it_depends_on():
    gen, store = make_toy(name="own"), {}
    first = Rehearsals(CONFIG, KEY, store).of(inverter_of(gen))
    assert list(store.values()) == [first]
    for other, key, more in (
        (CONFIG, KEY, 0),
        (CONFIG, jax.random.key(4), 1),
        (dataclasses.replace(CONFIG, spread=0.2), KEY, 1),
    ):
        before = len(store)
        Rehearsals(other, key, store).of(inverter_of(gen, other))
        assert len(store) - before == more


def test_searches_and_rehearsals_do_not_depend_on_the_place_among_the_candidates():
    gens = [make_toy(seed=seed, name=f"toy{seed}") for seed in (0, 1)]
    noise = np.random.default_rng(0).integers(0, 256, (1, *gens[0].image_shape)).astype(np.uint8)
    stores = [{}, {}]
    found = [
        attribute(noise, order, config=CONFIG, rehearsals=store)
        for order, store in zip((gens, gens[::-1]), stores, strict=True)
    ]
    assert len(stores[0]) == 2
    assert stores[0] == stores[1]
    np.testing.assert_array_equal(found[0].latents[0], found[1].latents[1])


def test_foreign_pictures_are_searched_as_often_as_the_rehearsal_asks():
    gens = [make_toy(seed=seed, name=f"toy{seed}") for seed in (0, 1)]
    noise = np.random.default_rng(0).integers(0, 256, (2, *gens[0].image_shape)).astype(np.uint8)
    store = {}
    found = attribute(noise, gens, config=CONFIG, rehearsals=store)
    assert len(store) == 2
    for row in found.evidence:
        for evidence in row:
            assert contest.FAIR <= evidence.restarts_needed < CONFIG.restarts_for(10, 1e6)
            assert evidence.restarts == evidence.restarts_needed
    assert {verdict.kind for verdict in found.verdicts} == {"none"}
    chosen = attribute(noise[:1], gens, config=dataclasses.replace(CONFIG, restarts=9), rehearsals=store)
    assert [evidence.restarts for evidence in chosen.evidence[0]] == [9, 9]  # the user's number is kept to


def test_none_needs_the_restarts_that_the_rehearsal_asks_for():
    gens = [make_toy(seed=seed, name=f"toy{seed}") for seed in (0, 1)]
    noise = np.random.default_rng(0).integers(0, 256, (1, *gens[0].image_shape)).astype(np.uint8)
    found = attribute(noise, gens, config=CONFIG, decision=DecisionConfig(miss_chance=1e-12))
    needed = [evidence.restarts_needed for evidence in found.evidence[0]]
    assert min(needed) > 8
    assert [evidence.restarts for evidence in found.evidence[0]] == needed


def test_files_keep_rehearsals_and_forget_what_is_broken(tmp_path):
    kept = Rehearsal(1e-3, 16, 15, 20, 3)
    folder = tmp_path / "new" / "folder"
    RehearsalFiles(folder)["name"] = kept
    assert RehearsalFiles(folder)["name"] == kept
    assert [path.name for path in folder.iterdir()] == ["name.json"]
    wrong = [kept._asdict() | {"miss": "NaN"}, kept._asdict() | {"most": 0}, kept._asdict() | {"more": 0}]
    for text in ("", "[]", "{}", *map(json.dumps, wrong)):
        (folder / "name.json").write_text(text)
        assert "name" not in RehearsalFiles(folder)
    (folder / "name.json").write_text(json.dumps(kept._asdict() | {"miss": float("nan")}))
    assert "name" not in RehearsalFiles(folder)


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "below", None):
        files = RehearsalFiles(folder)
        files["name"] = Rehearsal(1e-3, 16, 16, 16, 1)
        assert files["name"].pictures == 16
        assert list(files) == ["name"]
        assert len(files) == 1
        del files["name"]
        assert "name" not in files
