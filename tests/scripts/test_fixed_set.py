"""The fixed set's comparison, and the kept results of version 0.1.0."""

import copy
import json
from pathlib import Path

import fixed_set
import pytest

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "docs" / "benchmarks" / "fixed_set_0.1.0.json"


@pytest.fixture
def files(tmp_path):
    """Write two documents and return their paths."""

    def write(before, after):
        paths = [tmp_path / "before.json", tmp_path / "after.json"]
        for path, document in zip(paths, (before, after), strict=True):
            path.write_text(fixed_set.written(document), encoding="utf-8")
        return [str(path) for path in paths]

    return write


@pytest.fixture(scope="module")
def baseline():
    return json.loads(BASELINE.read_text(encoding="utf-8"))


def test_equal_files_have_no_difference(files, baseline):
    assert fixed_set.main(["compare", *files(baseline, baseline)]) == 0


def test_the_last_bit_of_a_residual_is_a_difference(files, baseline, capsys):
    after = copy.deepcopy(baseline)
    residual = after["cases"]["demo"]["pictures"][0]["residual"]
    name = next(iter(residual))
    residual[name] *= 1 + 2**-52
    assert fixed_set.main(["compare", *files(baseline, after)]) == 1
    assert f"different: demo.pictures[0].residual.{name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda row: row.update(reason="other words"), 0),
        (lambda row: row.update(new_field=1), 0),
        (lambda row: row.update(verdict="none"), 1),
        (lambda row: row.pop("margin"), 1),
        (lambda row: row["candidates"].append("another"), 1),
        (lambda row: row["certificate"].update(rank=1), 1),
    ],
)
def test_what_counts(files, baseline, change, code):
    after = copy.deepcopy(baseline)
    change(after["cases"]["demo"]["pictures"][0])
    assert fixed_set.main(["compare", *files(baseline, after)]) == code


def test_a_missing_case_is_a_difference(files, baseline):
    after = copy.deepcopy(baseline)
    del after["cases"]["evidence"]
    assert fixed_set.main(["compare", *files(baseline, after)]) == 1


def test_timing_and_versions_are_left_out(files, baseline):
    after = baseline | {"processor_seconds": 1, "rows": [], "versions": {"jattr": "9"}}
    assert fixed_set.main(["compare", *files(baseline, after)]) == 0


def test_the_kept_results_are_of_every_case_and_hide_nothing(baseline):
    assert list(baseline["cases"]) == list(fixed_set.CASES)
    assert not [name for name, case in baseline["cases"].items() if "failed" in case]
    assert baseline["versions"]["jattr"] == "0.1.0"
    assert BASELINE.stat().st_size < 200_000
