"""Metrics of sweeps whose answers are known by hand."""

import math

import numpy as np
import pytest
from made_stores import FLOOR, made_spec, make_store, run, usual

from jattr.inversion.config import InvertConfig
from jattr.sweep.report.effort import evaluations_to, restart_success, times_to_targets, to_targets
from jattr.sweep.report.estimates import mean, share, shares_above, wilson
from jattr.sweep.report.held_out import calibration
from jattr.sweep.report.measured import measure
from jattr.sweep.report.metrics import attributions, confusion, incomplete_shares, shares
from jattr.sweep.report.open_set import area, open_set, placements
from jattr.sweep.report.tables import read
from jattr.sweep.spec import Pictures, Setting
from jattr.sweep.store import open_for_reading


@pytest.fixture
def results_of(tmp_path):
    def make(spec, **options):
        with open_for_reading(
            make_store(tmp_path / str(len(list(tmp_path.iterdir()))), spec, **options)
        ) as store:
            return read(store)

    return make


def found(metrics, measure, **facts):
    """Return the one row of a measure."""
    rows = [
        m
        for m in metrics
        if m.measure == measure and all(getattr(m, n) == v for n, v in facts.items())
    ]
    assert len(rows) == 1, (measure, rows)
    return rows[0]


def residuals(table):
    """Return restarts from residuals by (maker, image, candidate); one restart each."""
    return lambda cell, picture: [run((10.0, table[cell.batch.maker, picture, cell.candidate]))]


# -- estimates


def test_a_share_has_wilsons_interval():
    estimate = share({i: [float(i < 8)] for i in range(10)})
    assert (estimate.n, estimate.value) == (10, 0.8)
    assert estimate.standard_error == pytest.approx(math.sqrt(0.8 * 0.2 / 10))
    # Wilson 1927, by hand
    assert (estimate.low, estimate.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0.0, 5)[0] == 0.0


def test_repeats_are_averaged_by_image():
    estimate = share({1: [1.0, 0.0], 2: [1.0, 1.0]})
    assert (estimate.n, estimate.value, estimate.standard_error) == (2, 0.75, pytest.approx(0.25))
    assert share({}).value is None
    assert mean({1: [1.0]}).value is None
    assert mean({1: [1.0], 2: [3.0]})[:3] == (2, 2.0, pytest.approx(1.0))


# -- attribution


def test_own_images_are_attributed_and_the_renderers_are_none_or_undecided(results_of):
    results = results_of(
        made_spec(settings=(Setting(name="first", config=InvertConfig(restarts=3)),))
    )
    rows, left = attributions(results)
    assert not left
    assert all(row.right and row.named == row.maker and row.certified for row in rows if row.own)
    metrics = shares(results, rows)
    assert found(metrics, "closed_set_accuracy").value == 1.0
    assert found(metrics, "closed_set_accuracy").n == 8
    assert found(metrics, "false_attribution")[5:7] == (4, 0.0)
    table = {(r.by, r.truth, r.said): (r.times, r.n) for r in confusion(results, rows)}
    assert table["nearest", "a", "a"] == (4, 4)
    assert table["nearest", "renderer", "a"] == (4, 4)  # ties go to the first candidate
    assert ("verdict", "renderer", "a") not in table


def test_none_needs_own_images_that_are_not_the_judged_one(results_of):
    # 3 own images that arrive at once need 10 restarts to be told from chance, but "none" asks for
    # 8 at most
    def runs_of(cell, picture):
        return usual(cell, picture) * (1 if cell.batch.maker == cell.candidate else 3)

    spec = made_spec(pictures=(Pictures(kind="own", count=4), Pictures(kind="renderer", count=2)))
    rows, _ = attributions(results_of(spec, runs_of=runs_of))
    assert {row.verdict for row in rows if not row.own} == {"none"}
    alone = made_spec(pictures=(Pictures(kind="renderer", count=2),))
    rows, _ = attributions(results_of(alone, runs_of=runs_of))
    assert {row.verdict for row in rows} == {"undecided"}  # nothing is known of own images


def test_a_missed_image_does_not_tell_how_far_misses_end_when_it_is_judged_itself(results_of):
    def runs_of(cell, picture):
        missed = cell.batch.maker == "a" and picture == 0
        return [run((30.0, 6e-2))] * 8 if missed else usual(cell, picture)

    spec = made_spec(pictures=(Pictures(kind="own", count=4), Pictures(kind="renderer", count=1)))
    rows, _ = attributions(results_of(spec, runs_of=runs_of))
    assert next(row for row in rows if row.maker == "a" and row.picture == 0).verdict == "none"
    # its misses do count for others
    assert next(row for row in rows if not row.own).verdict == "undecided"


def test_a_wrong_nearest_candidate_is_counted(results_of):
    table = {
        (maker, i, c): 1e-2 if c == maker else 2e-2
        for maker in "ab"
        for i in range(4)
        for c in "ab"
    }
    table["a", 0, "b"], table["b", 3, "a"], table["b", 2, "a"] = 5e-4, 5e-4, 5e-4
    spec = made_spec(pictures=(Pictures(kind="own", count=4),))
    results = results_of(spec, runs_of=residuals(table))
    rows, _ = attributions(results)
    metrics = shares(results, rows)
    assert found(metrics, "closed_set_accuracy")[5:8] == (
        8,
        5 / 8,
        pytest.approx(math.sqrt(5 / 8 * 3 / 8 / 8)),
    )
    assert found(metrics, "named_wrong").value == 3 / 8
    said = {(r.truth, r.said): r.times for r in confusion(results, rows) if r.by == "nearest"}
    assert said == {("a", "a"): 3, ("a", "b"): 1, ("b", "a"): 2, ("b", "b"): 2}


def test_one_candidate_has_no_accuracy_and_missing_searches_are_counted(results_of):
    results = results_of(made_spec(candidates=("a",), pictures=(Pictures(kind="own", count=3),)))
    rows, _ = attributions(results)
    assert found(shares(results, rows), "closed_set_accuracy").value is None
    results = results_of(made_spec(), failed=(0,))
    rows, left = attributions(results)
    assert found(incomplete_shares(results, left), "not_attributed")[5:7] == (4, None)
    assert found(shares(results, rows), "closed_set_accuracy").n == 4


def test_what_no_generator_made_counts_in_every_attack(results_of):
    results = results_of(made_spec(attacks=("none", "noise:4")))
    rows, _ = attributions(results)
    metrics = shares(results, rows)
    for attack in ("none", "noise:4"):
        assert found(metrics, "false_attribution", attack=attack).n == 4
        assert found(metrics, "closed_set_accuracy", attack=attack).n == 8


# -- open set


def test_auroc_and_its_error_by_hand():
    # own 1, 2, 3; foreign 2, 4: pairs won 1+1, 1/2+1, 0+1 of 6
    own, foreign = placements([1.0, 2.0, 3.0], [2.0, 4.0])
    assert own.tolist() == [1.0, 0.75, 0.5]
    assert foreign.tolist() == [0.5, 1.0]
    estimate = area(own, foreign)
    assert estimate.value == 0.75
    # DeLong et al. 1988
    assert estimate.standard_error == pytest.approx(math.sqrt(0.0625 / 3 + 0.125 / 2))
    assert area(own[:1], foreign).value is None


def test_an_area_that_separates_wholly_has_no_standard_error():
    estimate = area(*placements([0.0, 1.0], [2.0, 3.0]))
    assert (estimate.value, estimate.standard_error, estimate.low) == (1.0, None, None)
    assert "separated" in estimate.note


def test_oscr_by_hand(results_of):
    # the second is wrong
    table = {("a", 0, "a"): 1e-3, ("a", 0, "b"): 1.0, ("a", 1, "a"): 1.0, ("a", 1, "b"): 1e-2}
    table |= {("b", 0, "b"): 1e-1, ("b", 0, "a"): 1.0, ("b", 1, "b"): 2e-3, ("b", 1, "a"): 1.0}
    table |= {("", 0, "a"): 2e-2, ("", 0, "b"): 1.0, ("", 1, "a"): 1.0, ("", 1, "b"): 2e-1}
    spec = made_spec(pictures=(Pictures(kind="own", count=2), Pictures(kind="renderer", count=2)))
    results = results_of(spec, runs_of=residuals(table))
    rows, _ = attributions(results)
    metrics, curve = open_set(results, rows)
    points = [
        (round(10**p.threshold, 6), p.false_positive_rate, p.correct_classification_rate)
        for p in curve
    ]
    assert points == [
        (0.0, 0, 0),
        (1e-3, 0, 0.25),
        (2e-3, 0, 0.5),
        (1e-2, 0, 0.5),
        (2e-2, 0.5, 0.5),
        (1e-1, 0.5, 0.75),
        (2e-1, 1, 0.75),
    ]
    assert all((p.own, p.foreign) == (4, 2) for p in curve)
    half = curve[4]  # of both sides
    assert half.correct_classification_standard_error == pytest.approx(math.sqrt(0.25 / 4))
    assert half.false_positive_standard_error == pytest.approx(math.sqrt(0.25 / 2))
    assert (half.correct_classification_low, half.correct_classification_high) == wilson(0.5, 4)
    assert (half.false_positive_low, half.false_positive_high) == wilson(0.5, 2)
    assert (curve[0].false_positive_standard_error, curve[0].false_positive_low) == (0.0, 0.0)
    x, y = [p[1] for p in points], [p[2] for p in points]
    trapezium = sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in range(len(x) - 1))
    assert found(metrics, "oscr_area").value == pytest.approx(trapezium) == pytest.approx(0.625)
    assert found(metrics, "auroc").value == pytest.approx(7 / 8)
    assert found(metrics, "auroc").n == 6


def test_areas_of_several_seeds_are_means_over_the_same_images(results_of):
    def runs_of(cell, picture):
        rng = np.random.default_rng([cell.number, picture])
        low, high = (1e-3, 3e-3) if cell.batch.maker == cell.candidate else (2e-3, 9e-3)
        return [run((1.0, float(rng.uniform(low, high))))]

    results = results_of(made_spec(seeds=(3, 5)), runs_of=runs_of)
    metrics, curve = open_set(results, attributions(results)[0])
    each = [found(metrics, "auroc", seed=seed).value for seed in ("3", "5")]
    assert found(metrics, "auroc", seed="all").value == pytest.approx(np.mean(each))
    assert {p.seed for p in curve} == {"3", "5"}


# -- effort


def hard(cell, picture):
    """Return restarts: the image's number is how many miss before one arrives, three at most."""
    misses = [run((10.0, 5e-2), (30.0, 2e-2))] * min(picture, 3)
    return misses + ([run((10.0, 1e-2), (20.0, 5e-4), (40.0, FLOOR))] if picture < 3 else [])


def test_restart_success_by_hand(results_of):
    results = results_of(made_spec(pictures=(Pictures(kind="own", count=4),)), runs_of=hard)
    points, metrics = restart_success(results)
    assert [(p.restarts, p.n, p.share) for p in points] == [(1, 8, 0.25), (2, 8, 0.5), (3, 8, 0.75)]
    assert points[0].low == pytest.approx(wilson(0.25, 8)[0])
    chance = found(metrics, "restart_success")
    assert chance.value == pytest.approx(6 / 18)  # arrivals over restarts: 1, 2, 3, 3 of each maker
    assert found(metrics, "restarts_to_99").value == pytest.approx(
        math.log(0.01) / math.log(1 - 1 / 3)
    )
    assert found(metrics, "restarts_to_99_at_most").value >= math.ceil(
        found(metrics, "restarts_to_99").value
    )


def test_a_curve_ends_where_an_image_was_given_up(results_of):
    def runs_of(cell, picture):
        return [run((10.0, 2e-2))] * (2, 3, 4)[picture] + (
            [run((5.0, FLOOR))] if picture == 2 else []
        )

    points, _ = restart_success(
        results_of(made_spec(pictures=(Pictures(kind="own", count=3),)), runs_of=runs_of)
    )
    assert [p.restarts for p in points] == [1, 2]


def test_nothing_arrived_has_no_number_of_restarts(results_of):
    spec = made_spec(pictures=(Pictures(kind="own", count=2),))
    _, metrics = restart_success(
        results_of(spec, runs_of=lambda cell, picture: [run((9.0, 2e-2))] * 2)
    )
    assert found(metrics, "restart_success").value == 0.0
    assert found(metrics, "restarts_to_99")[6] is None
    assert found(metrics, "restarts_to_99_at_most")[6] is None


def test_evaluations_to_a_target_go_through_restarts_in_order(results_of):
    results = results_of(made_spec(pictures=(Pictures(kind="own", count=4),)), runs_of=hard)
    own = {s.picture.number: s for s in results.searched if s.picture.maker == s.candidate == "a"}
    assert [evaluations_to(own[i], 1e-3) for i in range(4)] == [20.0, 50.0, 80.0, math.inf]
    assert [evaluations_to(own[i], 1.2 * FLOOR) for i in range(4)] == [40.0, 70.0, 100.0, math.inf]


def test_targets_and_profiles_by_hand(results_of):
    results = results_of(made_spec(pictures=(Pictures(kind="own", count=4),)), runs_of=hard)
    rows, profile = to_targets(results)
    row = next(r for r in rows if r.target == "1e-3")
    assert (row.n, row.searches, row.reached) == (8, 8, 0.75)
    assert (row.evaluations_q25, row.evaluations_median, row.evaluations_q75) == (20.0, 50.0, 80.0)
    assert row.expected_evaluations == pytest.approx((20 + 50 + 80 + 90) / 3)
    curve = [(p.evaluations, p.share) for p in profile if p.target == "1e-3"]
    assert curve == [(0.0, 0.0), (20.0, 0.25), (50.0, 0.5), (80.0, 0.75)]
    end = next(r for r in rows if r.target == "end")
    assert (end.reached, end.evaluations_median) == (1.0, 70.0)
    never = made_spec(pictures=(Pictures(kind="own", count=2),))
    rows, _ = to_targets(results_of(never, runs_of=lambda cell, picture: [run((9.0, 2e-2))]))
    assert rows[0][5:] == (
        2 * 2,
        4,
        0.0,
        0.0,
        0.0,
        pytest.approx(wilson(0.0, 4)[1]),
        None,
        None,
        None,
        None,
        None,
    )


def test_a_quartile_among_searches_that_never_reached_it_is_none(results_of):
    def runs_of(cell, picture):
        return [run((10.0 + picture, 5e-4 if picture < 2 else 5e-2))]

    rows, _ = to_targets(
        results_of(made_spec(pictures=(Pictures(kind="own", count=4),)), runs_of=runs_of)
    )
    row = next(r for r in rows if r.target == "1e-3")
    assert (row.evaluations_q25, row.evaluations_median, row.evaluations_q75) == (10.0, 11.0, None)


def test_seconds_are_shared_out_by_evaluations(results_of):
    def runs_of(cell, picture):
        return [run((10.0, 5e-4), (30.0, FLOOR))]

    spec = made_spec(pictures=(Pictures(kind="own", count=2),), against="maker")
    rows = {r.target: r for r in times_to_targets(results_of(spec, runs_of=runs_of, seconds=6.0))}
    assert rows["1e-3"].timing_q25 == pytest.approx(1.0)  # 10 of 60 evaluations of 6 seconds
    assert rows["end"].timing_q25 == pytest.approx(3.0)
    assert (rows["1e-3"].timing_expected, rows["1e-3"].n) == (pytest.approx(1.01, abs=0.02), 4)
    assert rows["1e-3"].timing_standard_error < 0.02


def test_settings_by_another_distance_have_no_targets(results_of):
    settings = (Setting(name="ssim", config=InvertConfig(distance="ssim")),)
    rows, profile = to_targets(results_of(made_spec(settings=settings)))
    assert rows == profile == []


# -- calibration


def drawn(cell, picture):
    rng = np.random.default_rng([cell.number, picture])
    own = cell.batch.maker == cell.candidate
    return [run((10.0, float(10 ** rng.normal(-4.0 if own else -2.0, 0.3))))]


def test_calibration_is_measured_where_there_are_enough_images(results_of):
    spec = made_spec(pictures=(Pictures(kind="own", count=60), Pictures(kind="renderer", count=40)))
    metrics, bins, curve = calibration(results_of(spec, runs_of=drawn))
    cost = found(metrics, "cllr")
    assert cost.n == 80  # the images of odd numbers
    assert 0.0 < cost.value < 0.2
    assert cost.standard_error > 0
    assert found(metrics, "cllr_min").value <= cost.value
    assert 0 <= found(metrics, "denied_at_0.05").value <= 0.2
    assert found(metrics, "denied_at_0.05").n == 60
    top = found(metrics, "top_error")
    assert top.n == 80
    assert 0 <= top.low <= top.high <= 1
    # of two candidates; the likeliest is not diluted
    assert top.value > found(metrics, "posterior_error").value > 0
    assert sum(b.n for b in bins) == 80 * 2
    assert all(b.low <= b.made <= b.high for b in bins)
    assert {(p.own_n, p.others_n) for p in curve} == {(60, 80 * 2 - 60)}
    assert (curve[0].own, curve[0].others) == (1.0, 1.0)
    for p in curve:
        assert p.own_standard_error == pytest.approx(math.sqrt(p.own * (1 - p.own) / 59))
    assert curve[0].others_standard_error == 0.0
    assert 0 < max(p.others_standard_error for p in curve) < 0.5 / math.sqrt(80) * 1.2
    assert [p.log10_lr for p in curve] == sorted({p.log10_lr for p in curve})
    # from a ratio of 1 on: makers, and nearly nobody else
    (even,) = [p for p in curve if p.log10_lr > 0][:1]
    assert even.own > 0.8
    assert even.others < 0.2


def test_errors_of_shares_know_that_an_image_s_values_go_together():
    rng = np.random.default_rng(0)
    pictures, thresholds = (
        rng.normal(size=(200, 1)) + 0.1 * rng.normal(size=(200, 5)),
        np.array([-0.5, 0.0, 1.0]),
    )
    share, error = shares_above(pictures, thresholds)
    assert share == pytest.approx([(pictures >= t).mean() for t in thresholds])
    # equally many values each
    by_hand = [(pictures >= t).mean(1).std(ddof=1) / math.sqrt(200) for t in thresholds]
    assert error == pytest.approx(by_hand)
    assert np.all(error > 1.5 * np.sqrt(share * (1 - share) / pictures.size))
    drawn = [
        shares_above([rng.normal(size=1 + i % 3) + rng.normal() for i in range(60)], np.zeros(1))
        for _ in range(500)
    ]
    assert np.std([one[0][0] for one in drawn]) == pytest.approx(
        np.mean([one[1][0] for one in drawn]), rel=0.1
    )


def test_too_few_images_have_no_calibration(results_of):
    spec = made_spec(pictures=(Pictures(kind="own", count=37), Pictures(kind="renderer", count=40)))
    metrics, bins, curve = calibration(results_of(spec, runs_of=drawn))
    assert bins == curve == []
    assert all(m.value is None and "too few: a half has 18" in m.note for m in metrics)


def test_every_metric_has_an_n_and_an_order(results_of):
    spec = made_spec(seeds=(0, 1), attacks=("none", "noise:4"), alterations=("none", "blur:1"))
    measured = measure(results_of(spec))
    assert all(m.n >= 0 and (m.value is not None or m.note) for m in measured.metrics)
    groups = list(dict.fromkeys(m[:4] for m in shares_only(measured)))
    assert groups == [
        ("first", a, k, s)
        for a in spec.alterations
        for k in spec.attacks
        for s in ("0", "1", "all")
    ]


def shares_only(measured):
    return [m for m in measured.metrics if m.measure == "certified"]
