"""The documentation's examples, run as they stand."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize(("name", "least"), [("tutorial.md", 11), ("baselines.md", 8)])
def test_every_example_gives_what_it_says(name, least, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / name).read_text(encoding="utf-8").replace("```", "")  # a fence is no output
    parsed = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert len(parsed.examples) >= least
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(parsed, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
