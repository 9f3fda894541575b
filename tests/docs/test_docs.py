"""The examples of the docs, run as they stand."""

import doctest
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest

from jattr import load_generator
from jattr.cli.main import main
from jattr.images import to_byte, write_png
from jattr.ledger.keys import Signer
from jattr.ledger.private import PrivateStore
from jattr.ledger.recording import Recorder
from jattr.ledger.store import LogStore

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ORIGIN = "example.com/faces"


def run_examples(text, name, least):
    # a fence is no output
    parsed = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, name, name, 0)
    assert len(parsed.examples) > least
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    )
    report: list[str] = []
    runner.run(parsed, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        pytest.param("tutorial.md", 10, marks=pytest.mark.slow),
        pytest.param("alterations.md", 4, marks=pytest.mark.slow),
        pytest.param("baselines.md", 7, marks=pytest.mark.slow),
        pytest.param("researchers.md", 20, marks=pytest.mark.slow),
        ("distances.md", 4),
        pytest.param("solvers.md", 20, marks=pytest.mark.slow),
        pytest.param("embedding.md", 25, marks=pytest.mark.slow),
        pytest.param("families.md", 4, marks=pytest.mark.slow),
    ],
)
def test_every_example_gives_what_it_says(name, least, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples((DOCS / name).read_text(encoding="utf-8"), name, least)


@pytest.mark.slow
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


def run_block(path, names):
    """Run a page's one block of Python that is no doctest."""
    (block,) = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, path.name, "exec"), names)  # noqa: S102 - the docs' own lines
    return names


@pytest.mark.slow
def test_the_five_lines_of_the_readme_name_the_maker(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gen = load_generator("progan_b")
    image = to_byte(
        np.asarray(gen.generate(gen.sample_latent(jax.random.key(1), 1)))[0],
        rule=gen.rounding or "round",
    )
    (tmp_path / "jattr-demo" / "pictures").mkdir(parents=True)
    write_png(tmp_path / "jattr-demo" / "pictures" / "01.png", image)
    run_block(ROOT / "README.md", {})
    assert "made by progan_b (certificate" in capsys.readouterr().out


def test_recording_as_the_page_on_the_log_shows_it(tmp_path):
    gen = load_generator("dcgan_a")
    with (
        LogStore.create(tmp_path / "log", ORIGIN, [Signer.generate(ORIGIN)]) as log,
        PrivateStore.create(tmp_path / "log") as private,
    ):
        given = {"recorder": Recorder(log, private), "gen": gen, "key": jax.random.key(0)}
        names = run_block(DOCS / "ledger.md", given)
        assert len(names["released"]) == 4
        assert log.size == 1 + 2 * 4
