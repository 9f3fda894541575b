"""Figures of sweeps: which there are, the same bytes every time, and what they show."""

import io
import struct

import numpy as np
import pytest
from made_stores import FLOOR, made_spec, make_store, run
from PIL import Image

from jattr.inversion.config import InvertConfig
from jattr.sweep.report.effort_figures import data_profile, restart_success
from jattr.sweep.report.figures import FIGURES, confusion, draw, oscr, robustness, tippett
from jattr.sweep.report.measured import measure
from jattr.sweep.report.panels import MAX_SETTINGS_DRAWN, look
from jattr.sweep.report.solvers import solver_rows, timing_solvers
from jattr.sweep.report.tables import read
from jattr.sweep.spec import Pictures, Setting
from jattr.sweep.store import open_for_reading


def noisy(cell, picture):
    """Return restarts that tell settings, images and candidates apart."""
    rng = np.random.default_rng([cell.number, picture])
    own = cell.batch.maker == cell.candidate
    runs = []
    for _ in range(3):
        end = FLOOR if own and rng.random() < 0.6 else 10 ** rng.normal(-2.0 if own else -1.7, 0.2)
        runs.append(run((20.0, 5e-2), (40.0, float(np.sqrt(5e-2 * end))), (60.0, float(end))))
        if end == FLOOR:
            break
    return runs


def measured_of(folder, spec, runs_of=noisy):
    with open_for_reading(make_store(folder, spec, runs_of=runs_of)) as store:
        return measure(read(store))


def made(measured):
    """Return the names of the figures that there are data for."""
    return {name for name, make in FIGURES.items() if make(measured) is not None}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    spec = made_spec(
        pictures=(Pictures(kind="own", count=40), Pictures(kind="renderer", count=40)),
        settings=tuple(
            Setting(name=name, config=InvertConfig(optimiser=optimiser, restarts=3))
            for name, optimiser in (("first", "auto"), ("$second$ <b>", "lbfgs"))
        ),
        alterations=("none", "blur:1"),
    )
    return measured_of(tmp_path_factory.mktemp("store"), spec)


@pytest.fixture(scope="module")
def drawn(whole):
    return draw(whole)


@pytest.mark.slow
def test_every_figure_is_drawn_where_there_are_data(drawn):
    assert [figure.name for figure in drawn] == list(FIGURES)
    for figure in drawn:
        image = Image.open(io.BytesIO(figure.files["png"]))
        assert image.size[0] > 600
        assert np.asarray(image.convert("L")).std() > 5
        assert figure.files["svg"].startswith(b"<?xml")


@pytest.mark.slow
def test_figures_are_the_same_bytes_every_time(whole, drawn):
    again = {figure.name: figure.files["svg"] for figure in draw(whole, ("svg",))}
    assert again == {figure.name: figure.files["svg"] for figure in drawn}


def test_files_hold_no_dates_and_no_versions(drawn):
    for figure in drawn:
        assert b"dc:date" not in figure.files["svg"]
        assert b"Matplotlib v" not in figure.files["svg"]
        png, place, kinds = figure.files["png"], 8, []
        while place < len(png):
            (length,) = struct.unpack(">I", png[place : place + 4])
            kinds.append(png[place + 4 : place + 8])
            place += length + 12
        assert b"tEXt" not in kinds


def test_curves_show_the_metrics(whole):
    axes = restart_success(whole).axes[0]
    points = [p.share for p in whole.restart_points if whole.plain(p) and p.setting == "first"]
    assert axes.lines[0].get_ydata().tolist() == points
    assert axes.get_legend_handles_labels()[1][0] == "first (n = 80)"
    panels = data_profile(whole).axes
    assert [ax.get_title("left") for ax in panels][2] == "floor of 8-bit rounding"
    assert panels[0].get_xscale() == "log"
    x = oscr(whole).axes[0].lines[0].get_xdata()
    assert x[0] == 0.0
    assert x[-1] == 1.0


def test_solvers_stand_beside_each_other(whole):
    success, seconds = timing_solvers(whole).axes
    rows = [row for row in solver_rows(whole) if row.target == "floor"]
    assert [row.solver for row in rows] == ["first", "$second$ <b>"]
    labels = success.get_legend_handles_labels()[1]
    assert labels[0].startswith(f"first: {rows[0].reached:.0%} (")
    assert labels[1].startswith("$second$ <b>: ")
    assert success.lines[0].get_ydata()[-1] == rows[0].reached
    assert seconds.get_xscale() == "log"


def test_tippett_curves_show_the_ratios(whole):
    makers, others = tippett(whole).axes
    points = [p for p in whole.tippett if p.alteration == "none" and p.setting == "first"]
    assert makers.lines[0].get_ydata().tolist() == [1.0, *(p.own for p in points), 0.0]
    assert others.lines[0].get_ydata().tolist() == [1.0, *(p.others for p in points), 0.0]
    assert makers.get_legend_handles_labels()[1][0] == "first (40 and 80 ratios)"


def test_a_matrix_shows_shares_and_counts(whole):
    axes = confusion(whole).axes
    assert len(axes) == 2 * 2
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    assert names == ["a (n = 40)", "b (n = 40)", "renderer (n = 40)"]
    shares = np.asarray(axes[0].collections[0].get_array()).reshape(3, -1)
    assert np.allclose(shares.sum(1), 1.0)
    assert shares[0, 0] > 0.5


def test_sweeps_without_data_have_no_figures(tmp_path):
    spec = made_spec(pictures=(Pictures(kind="own", count=2),), against="maker")
    assert made(measured_of(tmp_path / "s", spec)) == {
        "restart_success",
        "data_profile",
        "evaluations_to_target",
        "timing_to_target",
    }
    assert (
        robustness(
            measured_of(tmp_path / "t", made_spec(pictures=(Pictures(kind="own", count=2),)))
        )
        is None
    )


def test_nothing_that_arrives_and_nothing_that_ran_can_be_drawn(tmp_path):
    spec = made_spec(pictures=(Pictures(kind="own", count=2), Pictures(kind="renderer", count=2)))
    far = measured_of(tmp_path / "far", spec, lambda cell, picture: [run((9.0, 0.5))])
    assert "oscr" in made(far)
    lost = measured_of(
        tmp_path / "lost", spec, lambda cell, picture: [run((9.0, 0.5), status="failed")]
    )
    assert "confusion" in made(lost)


def test_no_two_settings_look_alike():
    looks = {
        (way["color"], str(way["ls"]), way["marker"], way["mfc"])
        for way in map(look, range(MAX_SETTINGS_DRAWN))
    }
    assert len(looks) == MAX_SETTINGS_DRAWN


def test_settings_that_are_left_out_are_said(tmp_path):
    settings = tuple(
        Setting(name=f"s{i}", config=InvertConfig(restarts=i + 1))
        for i in range(MAX_SETTINGS_DRAWN + 2)
    )
    spec = made_spec(pictures=(Pictures(kind="own", count=1),), settings=settings, against="maker")
    drawing = restart_success(measured_of(tmp_path / "s", spec))
    assert (
        f"the first {MAX_SETTINGS_DRAWN} of {MAX_SETTINGS_DRAWN + 2} settings"
        in drawing.texts[0].get_text()
    )
