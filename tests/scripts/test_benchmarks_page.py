"""docs/benchmarks.md is what its script makes of docs/benchmarks/, and scripts state where
numbers come from.
"""

import argparse
import json
import sys
from pathlib import Path

import make_benchmarks_page
import pytest
from bench_json import add_json_option, command_of, write_json

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docs" / "benchmarks").rglob("*.json"))


def test_the_page_is_up_to_date():
    assert make_benchmarks_page.PAGE.read_text(encoding="utf-8") == make_benchmarks_page.page(), (
        "run: python scripts/make_benchmarks_page.py"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_of_numbers_says_where_they_are_from(path):
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["command"]
    if found.get("schema") == "jattr-benchmark/1":
        assert found["versions"]["jattr"]
        assert found["rows"] or found["notes"]


def test_a_written_file_states_command_settings_versions_and_rows(tmp_path, monkeypatch):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--work", type=Path)
    add_json_option(parser)
    given = ["--seed", "3", "--work", str(tmp_path), "--json", str(tmp_path / "new" / "x.json")]
    monkeypatch.setattr(sys, "argv", ["scripts/bench_x.py", *given])
    write_json(parser.parse_args(given), [{"a": 1, "b": {"c": 2.5}}], count=7)
    found = json.loads((tmp_path / "new" / "x.json").read_text(encoding="utf-8"))
    assert found["command"] == "python scripts/bench_x.py --seed 3 --work DIR"
    assert found["config"] == {"seed": 3}
    assert (found["seed"], found["count"], found["rows"]) == (3, 7, [{"a": 1, "b": {"c": 2.5}}])
    assert str(tmp_path) not in json.dumps(found)
    path = ROOT / "docs" / "benchmarks" / "0.0.0" / "x.json"
    assert "| 1 | 2.5 |" in make_benchmarks_page.section(path, found)


def test_nothing_is_written_where_no_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    add_json_option(parser)
    write_json(parser.parse_args([]), [])
    assert list(tmp_path.iterdir()) == []


def test_equals_signs_and_places_are_understood():
    assert command_of(["/x/bench_y.py", "--reference=/tmp/ref", "--json=a", "--only", "b"]) == (
        "python scripts/bench_y.py --reference REF --only b"
    )
