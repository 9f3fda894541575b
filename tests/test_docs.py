"""The documentation's examples, run as they stand."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from jattr.cli.main import main

DOCS = Path(__file__).resolve().parents[1] / "docs"


def run_examples(text, name, least):
    parsed = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, name, name, 0)  # a fence is no output
    assert len(parsed.examples) > least
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL)
    report: list[str] = []
    runner.run(parsed, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


@pytest.mark.parametrize(("name", "least"), [("tutorial.md", 10), ("baselines.md", 7)])
def test_every_example_gives_what_it_says(name, least, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples((DOCS / name).read_text(encoding="utf-8"), name, least)


def test_the_sweep_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "sweeps.md").read_text(encoding="utf-8")
    (spec,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my-sweep.toml").write_text(spec, encoding="utf-8")
    (commands,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in commands.splitlines():
        assert main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    assert (tmp_path / "my-sweep" / "report" / "report.html").is_file()
    run_examples(text, "sweeps.md", 10)
