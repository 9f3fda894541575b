"""Solvers beside each other in a few lines: `jattr.compare_solvers`."""

import csv

import jax
import numpy as np
import optax
import pytest

import jattr
from jattr.errors import InputError
from jattr.inversion.settings import MultiStart
from jattr.sweep.report.comparison import comparison_of
from jattr.sweep.report.solvers import SolverRow
from jattr.sweep.report.tables import read
from jattr.sweep.store import open_for_reading

SOLVERS = {
    "Levenberg-Marquardt": jattr.solvers.LevenbergMarquardt(),
    "a <b>$chain$": optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.05)
    ),
}


@pytest.fixture(scope="module")
def compared(tiny):
    return jattr.compare_solvers(tiny, SOLVERS, num_images=3, restarts=2)


@pytest.mark.slow
def test_every_solver_has_a_row_and_the_better_one_is_seen(compared):
    first, second = compared.of("floor")
    assert (first.solver, second.solver) == tuple(SOLVERS)
    assert first.images == second.images == 3
    assert first.reached == 1.0
    assert first.evaluations_median < (second.expected_evaluations or np.inf)
    assert 0 < first.low < 1.0 == first.high
    assert first.seconds_median > 0
    assert len(compared.rows) == 6
    assert "Levenberg-Marquardt     100%" in str(compared)


def test_names_are_escaped_and_the_figure_is_in_the_notebook(compared):
    html = compared._repr_html_()
    assert "a &lt;b&gt;$chain$" in html
    assert "data:image/png;base64," in html
    success, seconds = compared.figure().axes
    assert len(success.get_legend_handles_labels()[1]) == 2
    assert seconds.get_xlabel().startswith("seconds")
    assert compared.figure("1e-3").axes[0].get_title("left") == "until 1e-3"


def test_rows_go_to_a_file(compared, tmp_path):
    compared.to_csv(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == SolverRow._fields
    assert [row["solver"] for row in rows[:3]] == ["Levenberg-Marquardt"] * 3


@pytest.mark.slow
def test_it_goes_on_where_results_are_kept(tiny, tmp_path):
    """And any sweep's store can be looked at in this way."""
    solvers = {"lm": "levenberg-marquardt", "whole": MultiStart(solver="lbfgs", restarts=1)}
    images = tiny.sample_images(jax.random.key(3), 2)[2]
    values = {"images": images, "restarts": 1, "out": tmp_path / "out"}
    first = jattr.compare_solvers(tiny, solvers, **values)
    again = jattr.compare_solvers(tiny, solvers, **values)
    assert first.rows == again.rows  # seconds, too: nothing was computed
    with open_for_reading(tmp_path / "out") as store:
        assert comparison_of(read(store), "1e-3").of("floor") == first.of("floor")
    with pytest.raises(InputError, match="no name and version"):
        jattr.compare_solvers(tiny, {"a": optax.adam(0.1)}, out=tmp_path / "other")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"solvers": {}}, "a dict of at least one"),
        ({"solvers": ["lbfgs"]}, "a dict of at least one"),
        ({"solvers": {"a": "lbgfs"}}, "solver 'a': solver is 'lbgfs'"),
        ({"solvers": {"a": optax.lbfgs()}}, "wants more than gradients"),
        ({"target": "flour"}, 'did you mean "floor"?'),
        ({"images": np.zeros((2, 8, 8, 3))}, "they are uint8"),
        ({"images": {"other": np.zeros((2, 8, 8, 3), np.uint8)}}, "give some of each"),
        ({"generators": [3]}, "it is a Generator, a folder"),
        ({"restarts": 0}, "restarts is 0"),
        ({"num_images": 0}, "count is 0"),
    ],
)
def test_what_cannot_be_compared(tiny, values, words):
    values = {"generators": tiny, "solvers": {"a": "lbfgs"}} | values
    with pytest.raises(InputError) as error:
        jattr.compare_solvers(**values)
    assert words in str(error.value)


@pytest.mark.slow
def test_files_beside_the_results_stay_as_they_are(tiny, tmp_path):
    own = tmp_path / "out-images" / "0" / "000000.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"the user's own")
    images = tiny.sample_images(jax.random.key(3), 2)[2]
    jattr.compare_solvers(
        tiny, {"lm": "levenberg-marquardt"}, images=images, restarts=1, out=tmp_path / "out"
    )
    assert own.read_bytes() == b"the user's own"
    names = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError, match="they are uint8"):
        jattr.compare_solvers(tiny, {"lm": "lbfgs"}, images=images / 2.0, out=tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == names
