"""Exports: every file, the same bytes for every run, whole or not at all."""

import csv
import io
import json
import re
import sys

import pytest
from made_stores import made_spec, make_store, usual

from jattr.errors import InputError, OutputError
from jattr.inversion.config import InvertConfig
from jattr.sweep.report.export import FORMATS, TABLES, csv_bytes, export, write_parquet
from jattr.sweep.report.tables import read
from jattr.sweep.spec import Pictures, Setting
from jattr.sweep.store import Table, open_for_reading

EVIL = "<script>alert(1)</script>&\"'"


def spec_of(**changes):
    settings = tuple(
        Setting(name=name, config=InvertConfig(restarts=3)) for name in ("plain", EVIL)
    )
    pictures = (Pictures(kind="own", count=4), Pictures(kind="renderer", count=4))
    return made_spec(**({"settings": settings, "pictures": pictures, "seeds": (0, 1)} | changes))


def exported(folder, out, formats=("csv",), **options):
    with open_for_reading(make_store(folder, spec_of(), **options)) as store:
        names = export(store, out, formats=formats)
    return {name: (out / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    return exported(folder / "store", folder / "out", FORMATS, failed=(3,))


def test_every_file_is_known_to_be_an_exports(everything):
    assert {name.partition(".")[0] for name in everything if name.endswith(".parquet")} == set(
        TABLES
    )


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_files_are_the_same_bytes_whatever_the_order_and_the_seconds(tmp_path):
    first = exported(tmp_path / "a", tmp_path / "out_a", ("csv", "svg", "html"))
    order = [*range(10, 24), *range(10)]
    second = exported(
        tmp_path / "b", tmp_path / "out_b", ("csv", "svg", "html"), order=order, seconds=7.0
    )
    assert first.keys() == second.keys()
    differing = {name for name in first if first[name] != second[name]}
    assert differing == {
        "timing.csv",
        "timing_solvers.csv",
        "timing_to_target.csv",
        "timing_to_target.svg",
        "report.html",
    }


def test_other_results_are_other_bytes(tmp_path):
    def worse(cell, picture):
        return usual(cell, picture + (cell.number == 5))

    first = exported(tmp_path / "a", tmp_path / "out_a")
    second = exported(tmp_path / "b", tmp_path / "out_b", runs_of=worse)
    assert first["pictures.csv"] != second["pictures.csv"]


def test_csv_rows_stand_alone_and_floats_read_back(everything, tmp_path):
    rows = rows_of(everything["pictures.csv"])
    with open_for_reading(make_store(tmp_path / "s", spec_of(), failed=(3,))) as store:
        residuals = read(store).pictures.column("residual")
    assert [float(row["residual"]) for row in rows] == residuals
    assert {"candidate", "setting", "maker", "alteration", "attack", "seed", "picture"} <= rows[
        0
    ].keys()
    metrics = rows_of(everything["metrics.csv"])
    assert all(row["n"].isdigit() for row in metrics)
    assert all(row["value"] or row["note"] for row in metrics)


def test_failed_cells_are_rows(everything):
    cells = rows_of(everything["cells.csv"])
    assert [row["status"] for row in cells].count("failed") == 1
    assert cells[3]["error"] == "OutOfMemory: too large"
    assert "timing_seconds" not in cells[0]
    assert len(rows_of(everything["timing.csv"])) == len(cells)
    assert b"OutOfMemory: too large" in everything["report.html"]


def test_every_format_is_there(everything):
    suffixes = {name.rsplit(".", 1)[1] for name in everything}
    assert suffixes == {*FORMATS, "json"}
    assert {
        "restart_success.png",
        "restart_success.svg",
        "oscr.svg",
        "metrics.parquet",
    } <= everything.keys()
    origin = json.loads(everything["origin.json"])
    assert origin["spec"]["candidates"] == ["a", "b"]
    assert origin["run"]["jax"]


def test_the_page_needs_nothing_else_and_escapes_names(everything):
    page = everything["report.html"].decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) > 5
    assert all(source.startswith("data:") for source in sources)
    assert page.startswith("<!DOCTYPE html>")
    for words in ("Restart", "Wilson", "AUROC", "expected", "n 8"):
        assert words in page


def test_parquet_reads_back(everything, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("cells", "pictures", "metrics", "timing"):
        (tmp_path / f"{name}.parquet").write_bytes(everything[f"{name}.parquet"])
        rows = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        plain = rows_of(everything[f"{name}.csv"])
        assert len(rows) == len(plain)
        assert list(rows[0]) == list(plain[0])
        assert [{n: csv_text(value) for n, value in row.items()} for row in rows] == plain
    write_parquet(Table(("nothing",), [(None,)]), tmp_path / "n.parquet")
    assert str(parquet.read_table(tmp_path / "n.parquet").schema.field("nothing").type) == "double"


def csv_text(value):
    return (
        csv_bytes(Table(("x",), [(value,)]))
        .decode()
        .split("\n", 1)[1][:-1]
        .strip('"')
        .replace('""', '"')
    )


def test_parquet_without_its_library_is_an_error_that_helps(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    folder = make_store(tmp_path / "s", spec_of())
    with open_for_reading(folder) as store, pytest.raises(InputError, match=r"jattr\[parquet\]"):
        export(store, tmp_path / "out", formats=("parquet",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("formats", "words"), [(("cvs",), "csv"), ((), "format")])
def test_unknown_formats_are_refused(tmp_path, formats, words):
    with (
        open_for_reading(make_store(tmp_path / "s", spec_of())) as store,
        pytest.raises(InputError, match=words),
    ):
        export(store, tmp_path / "out", formats=formats)


def test_a_folder_that_is_there_is_kept(tmp_path):
    with open_for_reading(make_store(tmp_path / "s", spec_of())) as store:
        export(store, tmp_path / "out", formats=("csv", "svg"))
        (tmp_path / "out" / "mine").write_text("x")
        for overwrite, words in ((False, "exists already"), (True, "it holds 'mine'")):
            with pytest.raises(OutputError, match=words):
                export(store, tmp_path / "out", formats=("csv",), overwrite=overwrite)
            assert (tmp_path / "out" / "mine").exists()
        (tmp_path / "out" / "mine").unlink()
        with pytest.raises(OutputError, match="which this command"):
            export(store, tmp_path / "s", overwrite=True)
        export(store, tmp_path / "out", formats=("csv",), overwrite=True)
    assert not list((tmp_path / "out").glob("*.svg"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s"]


def test_a_store_that_is_not_finished_is_exported(tmp_path):
    names = exported(tmp_path / "s", tmp_path / "out", ("csv", "html"), left=range(5, 24))
    assert len(rows_of(names["cells.csv"])) == 5
    empty = exported(tmp_path / "e", tmp_path / "empty", ("csv", "html", "svg"), left=range(24))
    assert rows_of(empty["metrics.csv"]) == []
