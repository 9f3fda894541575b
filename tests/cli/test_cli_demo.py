"""`jattr demo`, as a newcomer runs it."""

import json

import pytest

from jattr.cli import demo
from jattr.cli.main import main
from jattr.folders.kinds import problem_of
from jattr.zoo.demo import NOBODY


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of a demo, its exit code."""
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, main(["demo", "--out", str(out)])


@pytest.mark.slow
def test_every_image_is_found_to_be_what_it_is(shown):
    out, code = shown
    assert code == 0
    truth = json.loads((out / "truth.json").read_text())
    rows = json.loads((out / "result" / "result.json").read_text())["pictures"]
    assert len(truth) == len(rows) == 8
    assert sum(secret["made_by"] == NOBODY for secret in truth) == 2
    assert sum(secret["compressed"] for secret in truth) == 2
    for secret, row in zip(truth, rows, strict=True):
        assert row["file"].endswith(secret["file"])
        if secret["made_by"] == NOBODY:
            assert row["verdict"] in ("none", "undecided")
            assert row["certificate"] is None
        else:
            assert row["candidates"] == [secret["made_by"]]
            assert row["certificate"]["holds"]
            assert bool(row["alteration"]) == secret["compressed"]


@pytest.mark.slow
def test_the_report_shows_all_of_it(shown):
    page = (shown[0] / "result" / "report.html").read_text(encoding="utf-8")
    assert page.count('id="picture-') == 8
    assert len(page.encode()) < 3_000_000
    for name in demo.CANDIDATES:
        assert name in page


@pytest.mark.slow
def test_a_demo_is_told_from_all_else(shown):
    out, _ = shown
    assert problem_of(out, demo.DEMO_FOLDER) is None
    (out / "result" / "mine").write_text("keep")
    assert "it holds 'mine'" in problem_of(out, demo.DEMO_FOLDER)
    (out / "result" / "mine").unlink()


def test_another_folder_is_not_replaced(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert main(["demo", "--out", str(tmp_path / "mine")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_package_without_generators_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jattr.cli.demo.bundled_generators", dict)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert "the installation is incomplete; install jattr again" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_images_depend_on_the_seed_alone(tmp_path):
    made = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        demo.make_images(tmp_path / name, demo.CANDIDATES[:2], seed)
        made[name] = {
            path.name: path.read_bytes() for path in (tmp_path / name / "pictures").iterdir()
        }
    assert made["a"] == made["b"]
    assert made["a"] != made["c"]
