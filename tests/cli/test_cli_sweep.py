"""`jattr sweep` and `jattr bench` on tiny generators."""

import json

import pytest

from jattr.cli.main import main

SPEC = """
name = "tiny ones"
candidates = {candidates}
pictures = [{{kind = "own", count = 3}}]
[grid]
restarts = [2]
pool = [64]
"""


@pytest.fixture
def spec(tiny_folders, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(
        SPEC.format(candidates=json.dumps([str(tiny_folders[name]) for name in ("tiny", "tiny_b")]))
    )
    return str(path)


@pytest.fixture
def jattr(capsys):
    """Run a command line: (exit code, what --json printed, stderr)."""

    def run(*command):
        capsys.readouterr()
        code = main([*command, "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return run


@pytest.mark.slow
def test_a_sweep_from_the_spec_to_the_page(jattr, spec, tmp_path, capsys):
    out = str(tmp_path / "out")
    code, said, _ = jattr("sweep", "run", spec, "--out", out, "--dry-run")
    assert (code, said["cells"], said["searches"]) == (0, 4, 24)
    assert not (tmp_path / "out").exists()
    code, said, _ = jattr("sweep", "run", spec, "--out", out)
    assert (code, said["cells"], said["done"], said["left"], said["computed"]) == (0, 4, 4, 0, 4)
    assert (tmp_path / "out" / "report" / "report.html").is_file()
    assert jattr("sweep", "resume", out, "--no-report")[1]["computed"] == 0
    assert jattr("sweep", "status", out)[1]["done"] == 4
    code, said, _ = jattr(
        "sweep", "export", out, "--out", str(tmp_path / "tables"), "--format", "csv", "parquet"
    )
    assert code == 0
    assert {file.rpartition(".")[2] for file in said["files"]} == {"csv", "parquet", "json"}
    assert jattr("sweep", "compare", out, out)[0] == 0
    assert main(["sweep", "status", out]) == 0
    assert "tiny ones: 4 of 4 cells done" in capsys.readouterr().out


def test_what_cannot_be_is_said_in_one_line(jattr, spec, tmp_path):
    (tmp_path / "bad.toml").write_text('candidates = ["dcgan_a"]\npicture = []')
    (tmp_path / "empty").mkdir()
    for command, words in (
        (("run", str(tmp_path / "bad.toml"), "--out", "x"), 'did you mean "pictures"?'),
        (("run", str(tmp_path / "none.toml"), "--out", "x"), "cannot read spec"),
        (("run", spec, "--out", str(tmp_path / "bad.toml")), "cannot write"),
        (("resume", str(tmp_path / "empty")), "is no folder of a sweep"),
        (("status", str(tmp_path / "none")), "is no folder of a sweep"),
        (
            ("export", str(tmp_path / "empty"), "--out", str(tmp_path / "t")),
            "is no folder of a sweep",
        ),
        (("compare", str(tmp_path / "empty"), str(tmp_path / "empty")), "is no folder of a sweep"),
    ):
        code, said, errors = jattr("sweep", *command)
        assert (code, said) == (2, None)
        assert words in errors
        assert errors.count("\n") == 1


@pytest.mark.slow
def test_failed_cells_are_rows_and_the_exit_code_says_so(jattr, tiny_folders, tmp_path):
    spec = tmp_path / "spec.toml"
    pictures = '[{kind = "renderer", count = 1}, {kind = "own", count = 1}]'
    spec.write_text(f'candidates = ["{tiny_folders["tiny"]}"]\npictures = {pictures}')
    code, said, errors = jattr("sweep", "run", str(spec), "--out", str(tmp_path / "out"))
    assert (code, said["failed"], said["done"]) == (2, 1, 1)
    assert "1 of 2 cells could not be done" in errors
    assert "the renderer makes" in errors


@pytest.mark.slow
def test_a_ready_sweep_runs_on_any_candidates(jattr, tiny_folders, tmp_path):
    pair = [str(tiny_folders[name]) for name in ("tiny", "tiny_b")]
    out = str(tmp_path / "bench")
    code, said, _ = jattr("bench", "restarts", "--quick", "--candidates", *pair, "--out", out)
    assert (code, said["done"]) == (0, 6)
    assert list((tmp_path / "bench" / "report").glob("*.png"))


@pytest.mark.slow
def test_the_speed_of_this_machine(jattr, tiny_folders, tmp_path):
    options = [
        "--quick",
        "--candidates",
        str(tiny_folders["tiny"]),
        "--out",
        str(tmp_path / "speed"),
    ]
    code, said, _ = jattr("bench", "speed", *options)
    assert code == 0
    assert [row["lanes"] for row in said["steps"]] == [1, 8]
    assert all(row["milliseconds"] > 0 for row in said["steps"])
    assert said["searches"][0]["arrived"] == 4
    assert said["peak_memory"]["process_bytes"] > 1 << 26
    assert json.loads((tmp_path / "speed" / "speed.json").read_text()) == said


def test_features_belong_to_the_paper(jattr):
    code, _, errors = jattr("bench", "speed", "--features", "x")
    assert code == 2
    assert "--features belongs to the suite paper" in errors
