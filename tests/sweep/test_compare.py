"""Paired comparisons with answers known by hand."""

import math

import pytest
from made_stores import FLOOR, made_spec, make_store, run, usual

from jattr.errors import InputError
from jattr.inversion.config import InvertConfig
from jattr.sweep.report.compare import compare
from jattr.sweep.report.paired import difference, ratio
from jattr.sweep.spec import Pictures, Setting
from jattr.sweep.store import open_for_reading

FACTS = ("x", "y", "none", "none")


def compared(tmp_path, spec_a, spec_b, options_a=None, options_b=None):
    make_store(tmp_path / "a", spec_a, **(options_a or {}))
    make_store(tmp_path / "b", spec_b, **(options_b or {}))
    with open_for_reading(tmp_path / "a") as a, open_for_reading(tmp_path / "b") as b:
        return compare(a, b)


def named(*names):
    return tuple(Setting(name=name, config=InvertConfig(restarts=3)) for name in names)


def one(rows, measure):
    (row,) = [row for row in rows if row.measure == measure]
    return row


def test_mcnemar_by_hand():
    pairs = (
        [(i, True, False) for i in range(2)]
        + [(10 + i, False, True) for i in range(9)]
        + [(99, True, True)]
    )
    row = difference(FACTS, "arrived", pairs)
    assert (row.n, row.only_a, row.only_b) == (12, 2, 9)
    assert row.p_value == pytest.approx(2 * sum(math.comb(11, k) for k in range(3)) / 2**11)
    assert row.difference == pytest.approx(7 / 12)
    assert difference(FACTS, "arrived", [(1, True, True)]).p_value == 1.0


def test_repeats_of_an_image_count_once():
    row = difference(FACTS, "arrived", [(1, False, True)] * 50 + [(2, True, True)] * 50)
    assert (row.n, row.searches, row.only_b, row.p_value) == (2, 100, 1, 1.0)


def test_a_ratio_is_a_geometric_mean_and_its_interval_is_always_the_same():
    pairs = [(i, 10.0, 10.0 * 2 ** (1 + i % 2)) for i in range(20)]
    row = ratio(FACTS, "evaluations", pairs)
    assert row.ratio == pytest.approx(2**1.5)
    assert row.standard_error == pytest.approx(math.log(2) / 2 * math.sqrt(20 / 19) / math.sqrt(20))
    assert 2 < row.low < row.ratio < row.high < 4
    assert ratio(FACTS, "evaluations", pairs) == row
    assert ratio(FACTS, "evaluations", pairs[:1]).low is None


def misses(cell, picture):
    """Return restarts of the same images by a way that misses the first two of each maker, at
    twice the cost.
    """
    if cell.batch.maker == cell.candidate and picture < 2:
        return [run((40.0, 2e-3 if cell.candidate == "a" else 9e-1))]
    if cell.batch.maker == cell.candidate:
        return [run((20.0, 5e-4), (40.0, FLOOR))]
    return usual(cell, picture)


def test_stores_of_one_setting_each_are_paired(tmp_path):
    spec_a, spec_b = made_spec(settings=named("x")), made_spec(settings=named("y"))
    found = compared(tmp_path, spec_a, spec_b, {}, {"runs_of": misses, "seconds": 3.0})
    assert found.settings == [("x", "y")]
    arrived = one(found.differences, "arrived")
    assert (arrived.n, arrived.share_a, arrived.share_b, arrived.only_a, arrived.only_b) == (
        8,
        1.0,
        0.5,
        4,
        0,
    )
    assert arrived.p_value == pytest.approx(0.125)
    assert one(found.differences, "nearest_is_maker").share_b == 6 / 8  # two of b's are nearer to a
    assert one(found.ratios, "evaluations_both_arrived")[5:7] == (4, pytest.approx(2.0))
    assert one(found.ratios, "evaluations_own")[5:7] == (8, pytest.approx(2.0))
    assert one(found.ratios, "evaluations")[5:7] == (24, pytest.approx(2 ** (8 / 24)))
    assert one(found.ratios, "timing_seconds")[5:7] == (6, pytest.approx(3.0))
    assert found.unpaired == []
    assert "timing_seconds" not in {row[4] for row in found.tables["ratios"].rows}
    assert "arrived: A 1.000, B 0.500" in found.text


def test_repeats_in_stores_are_of_one_image(tmp_path):
    spec = made_spec(settings=named("x"), seeds=(0, 1))
    found = compared(tmp_path, spec, spec, {}, {"runs_of": misses})
    arrived = one(found.differences, "arrived")
    assert (arrived.n, arrived.searches, arrived.only_a) == (8, 16, 4)
    assert arrived.p_value == pytest.approx(0.125)
    assert one(found.differences, "nearest_is_maker")[5:7] == (8, 16)
    assert one(found.ratios, "evaluations_own").n == 8


def test_what_cannot_be_paired_is_listed(tmp_path):
    spec_a = made_spec(settings=named("x", "only a"), seeds=(0, 1))
    spec_b = made_spec(settings=named("x"), pictures=(Pictures(kind="own", count=4),))
    found = compared(tmp_path, spec_a, spec_b)
    assert found.settings == [("x", "x")]
    assert {row.store for row in found.unpaired} == {"a"}
    reasons = {(row.setting, row.source, row.seed): row.reason for row in found.unpaired}
    assert reasons["only a", "own", 0] == "no setting to pair it with"
    assert (
        reasons["x", "renderer", 0]
        == reasons["x", "own", 1]
        == "the other store has no such search"
    )
    assert ("x", "own", 0) not in reasons
    total = 2 * 2 * 12 * 2  # settings, candidates, images, seeds of A
    assert sum(row.searches for row in found.unpaired) == total - 16
    assert "not paired: 4 searches of A" in found.text


def test_a_failed_cell_leaves_its_partner_unpaired(tmp_path):
    spec = made_spec(settings=named("x"), pictures=(Pictures(kind="own", count=4),))
    found = compared(tmp_path, spec, spec, {}, {"failed": (0,)})
    assert [(row.store, row.maker, row.candidate, row.searches) for row in found.unpaired] == [
        ("a", "a", "a", 4)
    ]
    assert one(found.differences, "arrived").n == 4


def test_other_images_are_no_partners(tmp_path):
    spec_a = made_spec(pictures=(Pictures(kind="own", count=4, seed=1),))
    # a batch of 5 holds other images
    for change in ({"seed": 2, "count": 4}, {"seed": 1, "count": 5}):
        spec_b = made_spec(pictures=(Pictures(kind="own", **change),))
        with pytest.raises(InputError, match="no search in common"):
            compared(tmp_path / str(change["seed"]), spec_a, spec_b)


def test_settings_that_do_not_match_are_an_error_that_helps(tmp_path):
    with pytest.raises(
        InputError, match=r"no setting has the same name.*name the ones to compare alike"
    ):
        compared(tmp_path, made_spec(settings=named("x", "y")), made_spec(settings=named("z", "v")))


def test_another_model_of_one_name_is_an_error(tmp_path, monkeypatch):
    spec = made_spec()
    make_store(tmp_path / "a", spec)
    monkeypatch.setattr(
        "made_stores.RUN", {"code": "1" * 64, "jattr": "0.1.0", "jax": "0.10.3", "platform": "cpu"}
    )
    make_store(tmp_path / "b", spec)
    make_store(tmp_path / "c", spec, digests={"a": "f" * 64})
    with open_for_reading(tmp_path / "a") as a, open_for_reading(tmp_path / "b") as b:
        notes = compare(a, b).notes
    assert [note.split(":")[0] for note in notes] == [
        "the stores differ in code",
        "the stores differ in jax",
    ]
    with open_for_reading(tmp_path / "a") as a, open_for_reading(tmp_path / "c") as c:  # noqa: SIM117
        with pytest.raises(InputError, match="'a' is not the same model"):
            compare(a, c)
