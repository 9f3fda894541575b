"""Tables of stores: rows that stand alone, the same whatever the order in which cells were done."""

import numpy as np
import pytest
from made_stores import made_spec, make_store, run

from jattr.sweep.report.metrics import attributions
from jattr.sweep.report.tables import SourceImage, read, split_timing, summary
from jattr.sweep.spec import Pictures
from jattr.sweep.store import Table, open_for_reading


def results_of(folder, spec, **options):
    with open_for_reading(make_store(folder, spec, **options)) as store:
        return read(store)


def test_a_row_stands_alone(tmp_path):
    results = results_of(
        tmp_path / "s", made_spec(pictures=(Pictures(kind="own", count=5, seed=7),), block=3)
    )
    rows = [dict(zip(results.pictures.columns, row, strict=True)) for row in results.pictures.rows]
    assert len(rows) == 2 * 2 * 5
    assert {(row["maker"], row["picture"]) for row in rows} == {
        (maker, i) for maker in "ab" for i in range(5)
    }
    assert rows[0] | {"residual": None} == {
        "cell": 0,
        "source": "own",
        "pictures_seed": 7,
        "maker": "a",
        "attack": "none",
        "alteration": "none",
        "candidate": "a",
        "setting": "first",
        "modelled": 1,
        "seed": 0,
        "picture": 0,
        "residual": None,
        "restart": 0,
        "certified": 1,
        "bit_exact": 1,
        "identical": 1.0,
        "excess": 100.0,
        "p_value": 0.5,
    }
    assert [row["cell"] for row in rows] == sorted(row["cell"] for row in rows)


def test_traces_go_to_their_restarts(tmp_path):
    def runs_of(cell, picture):
        return [run((1.0, 1e-2), (2.0, 1e-3 * (picture + 1))), run((3.0 + picture, 5e-6))][
            : 1 + picture % 2
        ]

    results = results_of(tmp_path / "s", made_spec(), runs_of=runs_of)
    for s in results.searched:
        assert len(s.runs) == 1 + s.picture.number % 2
        assert s.runs[0].trace.tolist() == [[1.0, 1e-2], [2.0, 1e-3 * (s.picture.number + 1)]]
        assert [r.trace[-1, 0] for r in s.runs] == [r.evaluations for r in s.runs]
        assert s.used == 1 + s.picture.number % 2
        assert s.arrived == bool(s.picture.number % 2)


def test_sources_of_one_kind_are_told_apart(tmp_path):
    pictures = (
        Pictures(kind="own", count=3, seed=1),
        Pictures(kind="renderer", count=2),
        Pictures(kind="others", count=3, generators=("c",), seed=4),
        Pictures(kind="own", count=3, seed=2),
    )
    spec = made_spec(pictures=pictures, attacks=("none", "noise:4"), seeds=(0, 1), block=2)
    results = results_of(tmp_path / "s", spec)
    # makers, blocks, attacks of each source
    assert len({s.picture.batch for s in results.searched}) == 8 + 1 + 4 + 8
    own = [s.picture for s in results.searched if s.picture.own]
    assert len(set(own)) == 2 * 2 * 3 * 2  # sources, makers, images, attacks
    seeds = set(
        zip(results.cells.column("source"), results.cells.column("pictures_seed"), strict=True)
    )
    assert seeds == {("own", 1), ("renderer", 1), ("others", 4), ("own", 2)}


def test_a_failed_cell_is_a_row_and_its_images_are_not_attributed(tmp_path):
    results = results_of(tmp_path / "s", made_spec(), failed=(1,))
    assert results.cells.rows[1][-3:-1] == ("failed", "OutOfMemory: too large")
    done, left = attributions(results)
    assert {row.maker for row in done} == {"b", ""}
    assert {row.missing for row in left} == {("b",)}
    assert len(left) == 4


def test_tables_do_not_depend_on_the_order_of_the_cells(tmp_path):
    spec = made_spec(seeds=(0, 1))
    first = results_of(tmp_path / "a", spec)
    second = results_of(tmp_path / "b", spec, order=list(reversed(range(12))), seconds=3.0)
    assert split_timing(first.cells)[0] == split_timing(second.cells)[0]
    assert first.pictures == second.pictures
    assert first.restarts == second.restarts
    assert split_timing(first.cells, ("number",))[1] != split_timing(second.cells, ("number",))[1]
    assert not any(name.startswith("timing") for name in split_timing(first.cells)[0].columns)


def test_timing_columns_go_with_their_keys():
    table = Table(("number", "timing_seconds", "seed"), [(0, 1.5, 7)])
    assert split_timing(table, ("number",)) == (
        Table(("number", "seed"), [(0, 7)]),
        Table(("number", "timing_seconds"), [(0, 1.5)]),
    )


def test_truths():
    assert SourceImage(0, "own", "a", 1, "none").truth == "a"
    assert SourceImage(0, "others", "c", 1, "none").truth == "others: c"
    assert SourceImage(0, "renderer", "", 1, "none").truth == "renderer"
    assert not SourceImage(0, "own", "", 1, "none").own  # a folder that is called so


@pytest.mark.parametrize(
    ("failed", "words"), [((), "0 of them failed"), ((2,), "cell 2: OutOfMemory: too large")]
)
def test_a_summary_says_what_there_is(tmp_path, failed, words):
    with open_for_reading(make_store(tmp_path / "s", made_spec(), failed=failed)) as store:
        assert words in summary(store)


def test_an_image_without_restarts_has_no_traces(tmp_path):
    results = results_of(
        tmp_path / "s",
        made_spec(),
        runs_of=lambda cell, picture: [run((1.0, 0.5), status="failed")],
    )
    assert all(
        s.residual is None and isinstance(s.runs[0].trace, np.ndarray) for s in results.searched
    )
