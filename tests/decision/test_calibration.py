"""The calibration as a value and as JSON: round trip, and every refusal."""

import copy
import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from jattr.decision.calibration import OTHER, Calibrated, Calibration, Sample
from jattr.decision.calibration_json import from_json, to_json
from jattr.decision.restart_power import Restarts
from jattr.errors import InputError

INF = float("inf")
A, B, SETTINGS = "a" * 64, "b" * 64, "5" * 64
VERSIONS = {"jattr": "0.1.0", "jax": "0.10.2"}
SAMPLE = Sample(
    own=(-5.29, -5.3, INF),
    negatives={"photograph": (-1.0, 0.1 + 0.2), "other generator: b": (INF,), "renderer": (-2.0,)},
    own_seed=7,
    negative_seeds={"other generator: b": 8},
    own_restarts=Restarts((1, 3, 3), (True, True, False)),
)
CALIBRATION = Calibration(
    candidates={
        "a": Calibrated(A, {"clean": SAMPLE, "jpeg 75": SAMPLE}),
        "b": Calibrated(B, {"clean": SAMPLE}),
    },
    settings_digest=SETTINGS,
    versions=VERSIONS,
)


def test_the_round_trip_is_exact():
    text = to_json(CALIBRATION)
    assert from_json(text) == CALIBRATION
    assert to_json(from_json(text)) == text
    record = json.loads(text)["candidates"]["a"]["conditions"]["clean"]
    assert record["own"] == [-5.29, -5.3, None]
    assert record["own_restarts"] == {"used": [1, 3, 3], "arrived": [True, True, False]}
    assert record["negatives"]["photograph"] == {
        "scores": [-1.0, 0.1 + 0.2],
        "count": 2,
        "seed": None,
    }
    assert "null" in json.loads(text)


def test_a_calibration_is_frozen_and_knows_its_conditions():
    assert CALIBRATION.conditions == ("clean",)
    with pytest.raises(FrozenInstanceError):
        CALIBRATION.settings_digest = A


def changed(*path, value=None, remove=False):
    """Return the JSON text with one place changed."""
    data = copy.deepcopy(json.loads(to_json(CALIBRATION)))
    place = data
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(data)


CLEAN = ("candidates", "a", "conditions", "clean")
RUNS = (*CLEAN, "own_restarts")
PHOTOS = (*CLEAN, "negatives", "photograph")
REFUSED = {
    "no JSON": ("{", "no JSON"),
    "nothing": ("", "no JSON"),
    "a list": ("[]", "got list; it is an object"),
    "deep": ("[" * 100_000, "no JSON"),
    "digits": ("1" * 10_000, "no JSON"),
    "a key twice": ('{"schema": 2, "schema": 2}', "'schema' twice"),
    "another schema": (
        changed("schema", value=1),
        r"schema 1, this jattr reads 2; calibrate again",
    ),
    "no schema": (changed("schema", remove=True), "'schema' is missing"),
    "schema true": (changed("schema", value=True), "schema True, this jattr reads 2"),
    "schema 1.0": (changed("schema", value=2.0), "schema: got float"),
    "unknown key": (changed("more", value=1), "'more' is unknown"),
    "missing key": (changed(*CLEAN, "own", remove=True), "a, clean: 'own' is missing"),
    "NaN": (to_json(CALIBRATION).replace("-5.29", "NaN", 1), "holds NaN"),
    "Infinity": (to_json(CALIBRATION).replace(" null\n", " Infinity\n", 1), "holds Infinity"),
    "overflow": (to_json(CALIBRATION).replace("-5.29", "1e999", 1), "a score is inf"),
    "huge": (to_json(CALIBRATION).replace("-5.29", "1" + "0" * 400, 1), "too large"),
    "text": (changed(*CLEAN, "own", value=[-5.0, "-5", None]), "a score is '-5'"),
    "bool": (changed(*CLEAN, "own", value=[-5.0, True, None]), "a score is True"),
    "nested": (changed(*CLEAN, "own", value=[[-5.0], -5.0, None]), "a score is"),
    "own no list": (changed(*CLEAN, "own", value={}), "a, clean: own: scores: got dict"),
    "negative count": (changed(*CLEAN, "own_count", value=-3), "3 scores, the count says -3"),
    "cut short": (
        changed(*PHOTOS, "scores", value=[-1.0]),
        "photograph: there are 1 scores, the count says 2",
    ),
    "count bool": (changed(*PHOTOS, "count", value=True), "count: got bool"),
    "no restarts": (
        changed(*CLEAN, "own_restarts", remove=True),
        "a, clean: 'own_restarts' is missing",
    ),
    "restarts a list": (changed(*CLEAN, "own_restarts", value=[1, 3, 3]), "own_restarts: got list"),
    "no arrivals": (changed(*RUNS, "arrived", remove=True), "own_restarts: 'arrived' is missing"),
    "restarts too few": (
        changed(*CLEAN, "own_restarts", value={"used": [1], "arrived": [True]}),
        "restarts of 1 own images and scores of 3",
    ),
    "a restart after the third": (
        changed(*RUNS, "used", value=[1, 3, 4]),
        "has 4 restarts; scores are taken after 3",
    ),
    "arrived nowhere": (
        changed(*RUNS, "arrived", value=[True, True, True]),
        "own image 2 arrived, yet its score",
    ),
    "no negatives of a kind": (
        changed(*CLEAN, "negatives", "renderer", value={"scores": [], "count": 0, "seed": None}),
        r"negatives, renderer: got an array of shape \(0,\)",
    ),
    "a kind of one candidate": (
        changed(*CLEAN, "negatives", "renderer", remove=True),
        (
            "clean: b has negatives of the kind 'renderer', a has none; calibrate all candidates on"
            " the same kinds"
        ),
    ),
    "another kind of the second": (
        changed(
            "candidates",
            "b",
            "conditions",
            "clean",
            "negatives",
            "x",
            value={"scores": [1], "count": 1, "seed": None},
        ),
        "clean: b has negatives of the kind 'x', a has none",
    ),
    "outcomes too few": (
        changed(*RUNS, "arrived", value=[True]),
        "3 numbers of restarts and 1 outcomes",
    ),
    "a restart of 1.5": (changed(*RUNS, "used", value=[1, 1.5, 3]), "used holds '1.5'"),
    "a restart true": (changed(*RUNS, "used", value=[1, True, 3]), "used holds 'True'"),
    "no restart": (changed(*RUNS, "used", value=[1, 0, 3]), "at least one restart"),
    "restarts too many": (
        changed(*RUNS, "used", value=[1, 10**400, 3]),
        r"it is a whole number up to 10\^9",
    ),
    "arrived 1": (
        changed(*RUNS, "arrived", value=[True, 1, False]),
        "arrived holds '1'; it is true or false",
    ),
    "negative seed": (changed(*CLEAN, "own_seed", value=-1), "a seed is -1"),
    "seed float": (changed(*PHOTOS, "seed", value=1.5), "a seed is 1.5"),
    "seed null": (changed(*CLEAN, "own_seed", value=None), "a seed is None"),
    "candidates a list": (changed("candidates", value=[]), "candidates: got list"),
    "no candidates": (changed("candidates", value={}), "0 candidates"),
    "a candidate called none": (
        changed("candidates", value={"none": {"digest": A, "conditions": {}}}),
        "called 'none'",
    ),
    "one model twice": (changed("candidates", "b", "digest", value=A), "have one digest"),
    "digest": (changed("candidates", "a", "digest", value="A" * 64), "64 lower-case"),
    "digest a list": (changed("candidates", "a", "digest", value=[]), "64 lower-case"),
    "settings": (changed("settings_digest", value=None), "the settings is None"),
    "version": (changed("versions", "jax", value=10), "version of jax is 10"),
    "versions": (changed("versions", value=[]), "versions: got list"),
    "empty name": (
        changed("candidates", "", value={"digest": "c" * 64, "conditions": {}}),
        "a candidate is ''",
    ),
    "two lines": (
        changed(*CLEAN, "negatives", "a\nb", value={"scores": [], "count": 0, "seed": None}),
        "a kind of",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_json_is_read_strictly(name):
    text, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"own": (float("nan"),)}, "own scores: 1 of 1 scores are NaN"),
        ({"own": (-INF,)}, "NaN or -inf"),
        (
            {"negatives": {"photograph": ("x",)}, "negative_seeds": {}},
            "negatives, photograph: got something other",
        ),
        ({"negatives": {" ": ()}, "negative_seeds": {}}, "a kind of negatives is ' '"),
        ({"negative_seeds": {"paintings": 1}}, "seeds of 'paintings'"),
        (
            {"negatives": {"photograph": ()}, "negative_seeds": {}},
            "negatives, photograph: got an array of shape",
        ),
        ({"own_seed": True}, "a seed is True"),
        (
            {"own_restarts": Restarts((1, 4, 3), (True, True, False))},
            "4 restarts; scores are taken after 3: give at",
        ),
        (
            {"own_restarts": Restarts((1, 3, 3), (True, True, True))},
            "own image 2 arrived, yet its score says",
        ),
        ({"own_restarts": Restarts((1,), (True,))}, "restarts of 1 own images and scores of 3"),
    ],
)
def test_samples_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        replace(SAMPLE, **changes)


def test_kinds_of_each_others_images_and_conditions_of_one_candidate_may_differ():
    with_b = replace(
        SAMPLE, negatives={"photograph": (-1.0,), OTHER + "b": (-2.0,)}, own_restarts=None
    )
    with_a = Sample((-5.0,), {"photograph": (-1.5,), OTHER + "a": (-2.5,)}, 0)
    alone = Sample((-5.0,), {}, 0)
    candidates = {
        "a": Calibrated(A, {"clean": with_b, "jpeg 75": alone}),
        "b": Calibrated(B, {"clean": with_a}),
    }
    calibration = Calibration(candidates, SETTINGS, VERSIONS)
    assert from_json(to_json(calibration)) == calibration


def test_a_run_like_the_calibration_may_use_it():
    CALIBRATION.check_usable({"a": A, "b": B}, SETTINGS, VERSIONS)
    CALIBRATION.check_usable({"b": B}, SETTINGS, dict(reversed(VERSIONS.items())))


def test_another_run_is_told_every_difference_at_once():
    with pytest.raises(InputError) as caught:
        CALIBRATION.check_usable(
            {"a": "c" * 64, "x": B, "y": "d" * 64},
            "6" * 64,
            {"jattr": "0.1.0", "jax": "0.11", "backend": "gpu"},
        )
    assert str(caught.value) == (
        "the calibration is not of this run: a is another model: cccccccccccc, calibrated"
        " aaaaaaaaaaaa; x is calibrated"
        " under the name b; y is not calibrated; the settings are others: 666666666666, calibrated"
        " 555555555555;"
        " backend is gpu, calibrated with none; jax is 0.11, calibrated with 0.10.2; calibrate"
        " again or run as then"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"digests": {"a": B}},
        {"settings_digest": A},
        {"versions": {"jattr": "0.1.0"}},
        {"versions": VERSIONS | {"jax": "0.10.3"}},
    ],
)
def test_any_one_difference_is_refused(changes):
    usual = {"digests": {"a": A}, "settings_digest": SETTINGS, "versions": VERSIONS}
    with pytest.raises(InputError, match="not of this run"):
        CALIBRATION.check_usable(**usual | changes)


def test_unknown_candidates_and_conditions_name_those_there_are():
    with pytest.raises(InputError, match="'c' is not calibrated; calibrated are a, b"):
        CALIBRATION.sample("c", "clean")
    with pytest.raises(InputError, match="b is not calibrated for 'jpeg 75'; there are clean"):
        CALIBRATION.sample("b", "jpeg 75")


def test_scores_may_come_as_arrays():
    sample = Sample(own=tuple(np.array([-5.0, np.inf])), negatives={}, own_seed=0)
    calibration = Calibration({"a": Calibrated(A, {"clean": sample})}, SETTINGS, {})
    assert from_json(to_json(calibration)) == calibration
