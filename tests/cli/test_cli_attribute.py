import errno
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_generator import make_tiny

from jattr.cli.main import main
from jattr.images import load_image, to_byte, write_png
from jattr.printable import shown
from jattr.report.table import result_table
from jattr.verification.result_folder import file_sha256, read_result

SEARCH = ["--restarts", "8", "--lanes", "4"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images of `tiny`, one of `tiny_b`, and files that are no usable image, by name."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, seed in (("tiny", 0), ("tiny_b", 1)):
        z = np.random.default_rng(7).normal(size=(2, 6)).astype(np.float32)
        for number, pixels in enumerate(to_byte(make_tiny(seed=seed, name=name).generate(z))):
            write_png(folder / f"{name}{number}.png", pixels)
    (folder / "text.png").write_text("this is no image")
    (folder / "truncated.png").write_bytes((folder / "tiny0.png").read_bytes()[:-40])
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])
    write_png(folder / "large.png", np.zeros((12, 10, 3), np.uint8))
    return {path.name: str(path) for path in folder.iterdir()}


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    """The folder of a 4x4 RGB generator with 4 latents."""
    from jattr.generators.card import parse_card
    from jattr.generators.store import save_generator

    card = parse_card(
        {
            "card_version": 1,
            "kind": "layered",
            "name": "small",
            "image_shape": [3, 4, 4],
            "value_range": [-1, 1],
            "latent": {"dim": 4, "distribution": "uniform"},
            "conditioning": None,
            "state_dict_key": None,
            "ignore": [],
            "layers": [
                {"op": "linear", "key": "fc"},
                {"op": "tanh"},
                {"op": "reshape", "shape": [3, 4, 4]},
            ],
        }
    )
    rng = np.random.default_rng(3)
    leaves = {
        "kernel": rng.normal(size=(4, 48)).astype(np.float32),
        "bias": np.zeros(48, np.float32),
    }
    folder = tmp_path_factory.mktemp("small") / "small"
    save_generator(folder, card, {"layers": {"0": leaves}})
    return folder


@pytest.fixture
def attribute(tiny_folders, tmp_path, capsys):
    """Run the subcommand in a fresh folder: (exit code, stdout, stderr, folder of the result)."""

    def run(images, *options, candidates=("tiny", "tiny_b"), out=None):
        out = out or tmp_path / "out"
        paths = [str(tiny_folders.get(name, name)) for name in candidates]
        code = main(
            ["attribute", *images, "--candidates", *paths, "--out", str(out), *SEARCH, *options]
        )
        captured = capsys.readouterr()
        # no progress
        errors = [
            line for line in captured.err.splitlines(keepends=True) if "searches (" not in line
        ]
        return code, captured.out, "".join(errors), out

    return run


def test_own_images_are_certified_and_everything_is_written(attribute, images, tiny):
    code, text, errors, out = attribute([images["tiny0.png"], images["tiny_b1.png"]])
    assert (code, errors) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "contact_sheet.png",
        "latents.npz",
        "report.html",
        "result.json",
    ]
    first, second = json.loads((out / "result.json").read_text())["pictures"]
    assert (first["verdict"], first["candidate"], second["candidate"]) == (
        "made-by",
        "tiny",
        "tiny_b",
    )
    assert first["certificate"]["holds"]
    assert first["certificate"] == first["certificates"]["tiny"]
    assert first["residual"]["tiny"] < 1e-5 < first["residual"]["tiny_b"]
    assert first["restarts"]["tiny"]["arrived"] >= 1
    assert first["label"] is None
    assert first["sha256"] == file_sha256(images["tiny0.png"])
    assert text.count("(certificate") == 2
    saved = read_result(out)
    remade = to_byte(tiny.generate(saved.z[0][:1]))[0]
    assert np.mean(remade == load_image(images["tiny0.png"]).pixels) > 0.98
    assert load_image(out / "contact_sheet.png").pixels.shape[1] > 400


def test_json_is_the_result_file(attribute, images):
    code, text, _, out = attribute([images["tiny1.png"]], "--json")
    assert code == 0
    data = json.loads(text)
    assert data == json.loads((out / "result.json").read_text())
    assert data["settings"]["inversion"]["restarts"] == 8
    assert data["settings"]["calibration"] is None
    assert {"import", "load_candidates", "search", "compile", "write"} <= set(
        data["timing_seconds"]
    )
    assert set(data["versions"]) == {"jattr", "jax", "jaxlib", "numpy", "python"}


def test_the_same_run_gives_the_same_bytes(attribute, images, tmp_path):
    outs = [attribute([images["tiny0.png"]], out=tmp_path / name)[3] for name in "ab"]
    first, second = (json.loads((out / "result.json").read_text()) for out in outs)
    assert first.pop("timing_seconds")
    assert second.pop("timing_seconds")
    assert first == second
    assert (outs[0] / "latents.npz").read_bytes() == (outs[1] / "latents.npz").read_bytes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text.png", "not a PNG"),
        ("truncated.png", "truncated"),
        ("animated.png", "animated"),
        ("large.png", "12x10 pixels (height x width), not 8x8"),
        ("missing.png", "No such file"),
    ],
)
def test_a_bad_image_becomes_a_failed_row_and_the_others_complete(attribute, images, name, words):
    code, text, errors, out = attribute([images.get(name, "missing.png"), images["tiny0.png"]])
    assert code == 2
    assert errors.count("\n") == 1
    assert words in errors
    assert "1 of 2 images" in errors
    bad, good = json.loads((out / "result.json").read_text())["pictures"]
    assert bad["verdict"] == "failed"
    assert words in bad["reason"]
    assert bad["candidate"] is None
    assert bad["residual"] == {"tiny": None, "tiny_b": None}
    assert good["candidate"] == "tiny"
    assert good["certificate"]["holds"]
    assert words in text
    with np.load(out / "latents.npz") as arrays:
        assert arrays["found"].tolist() == [[False, False], [True, True]]
        assert arrays["z"].shape == (2, 2, 6)
        assert not arrays["z"][0].any()


def test_resize_takes_images_of_other_sizes(attribute, images):
    code, _, _, out = attribute([images["large.png"]], "--resize")
    (row,) = json.loads((out / "result.json").read_text())["pictures"]
    assert code == 0
    assert row["verdict"] != "failed"
    assert row["notes"] == ["resized from 12x10 to 8x8 by Lanczos"]


@pytest.mark.parametrize(
    ("candidates", "options", "words"),
    [
        (("nowhere",), (), "there is no generator 'nowhere'"),
        (("tiny", "tiny"), (), "two candidates are called 'tiny'"),
        (("tiny",), ("--optimiser", "magic"), "optimiser is 'magic'"),
        (("tiny",), ("--start", "magic"), "start is 'magic'"),
        (("tiny",), ("--space", "w"), "has no space 'w'; it has z"),
        (("tiny",), ("--restarts", "0"), "legal is a whole number from 1"),
        ((), (), "expected at least one argument"),
        (("tiny",), ("--space", "y"), "invalid choice"),
        (("tiny",), ("--psi", "0.7"), "has no psi, cutoff or noise settings"),
        (("tiny",), ("--psi", "x"), "invalid float value"),
    ],
)
def test_what_concerns_the_whole_run_fails_before_any_work(
    attribute, images, candidates, options, words
):
    code, text, errors, out = attribute([images["tiny0.png"]], *options, candidates=candidates)
    assert (code, text) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1
    assert list(out.parent.iterdir()) == []


@pytest.mark.slow
def test_candidates_of_different_sizes_need_resize(attribute, images, tmp_path, small_folder):
    candidates = ("tiny", str(small_folder))
    code, _, errors, _ = attribute([images["tiny0.png"]], candidates=candidates)
    assert code == 2
    assert "8x8 (tiny), 4x4 (small)" in errors
    assert "--resize" in errors
    code, _, errors, out = attribute([images["tiny0.png"]], "--resize", candidates=candidates)
    assert (code, errors) == (0, "")
    assert json.loads((out / "result.json").read_text())["pictures"][0]["candidate"] == "tiny"
    saved = read_result(out)
    assert [z.shape for z in saved.z] == [(1, 6), (1, 4)]


@pytest.mark.slow
def test_a_conditional_candidate_reports_the_class(attribute, tiny_conditional, tmp_path):
    z = np.random.default_rng(1).normal(size=(1, 6)).astype(np.float32)
    write_png(tmp_path / "c.png", to_byte(tiny_conditional.generate(z, label=[2]))[0])
    code, _, _, out = attribute([str(tmp_path / "c.png")], candidates=("tiny_conditional",))
    (row,) = json.loads((out / "result.json").read_text())["pictures"]
    assert code == 0
    assert (row["candidate"], row["label"]) == ("tiny_conditional", 2)


def test_an_output_folder_that_exists_is_kept(attribute, images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    code, _, errors, _ = attribute([images["tiny0.png"]])
    assert code == 2
    assert "exists already" in errors
    assert (out / "mine.txt").read_text() == "mine"
    assert attribute([images["tiny0.png"]], "--overwrite")[0] == 2
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").unlink()
    assert attribute([images["tiny0.png"]], "--overwrite")[0] == 0
    assert (out / "result.json").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("function", ["write_result", "write_latents"])
def test_a_full_disk_leaves_nothing_behind(attribute, images, monkeypatch, number, function):
    def fail(*args, **kwargs):
        raise OSError(number, "no room here")

    monkeypatch.setattr(f"jattr.cli.attribute.{function}", fail)
    code, _, errors, out = attribute([images["tiny0.png"]], candidates=("tiny",))
    assert code == 2
    assert "no room here" in errors
    assert errors.count("\n") == 1
    assert list(out.parent.iterdir()) == []


def test_blocks_give_one_result(attribute, images, monkeypatch):
    monkeypatch.setattr("jattr.cli.attribute.ATTRIBUTE_BLOCK", 2)
    names = ["tiny0.png", "text.png", "tiny_b0.png", "tiny_b1.png", "tiny1.png"]
    code, _, _, out = attribute([images[name] for name in names])
    rows = json.loads((out / "result.json").read_text())["pictures"]
    assert code == 2
    assert [row["file"] for row in rows] == [images[name] for name in names]
    assert [row["candidate"] for row in rows] == ["tiny", None, "tiny_b", "tiny_b", "tiny"]


def row_of(file, residuals, **changes):
    restarts = {name: {"run": 4, "arrived": 1, "failed": 0} for name in residuals}
    row = {
        "file": file,
        "verdict": "none",
        "candidate": None,
        "candidates": [],
        "certificate": None,
    }
    return (
        row
        | {
            "residual": residuals,
            "restarts": restarts,
            "margin": None,
            "reason": "because",
            "notes": [],
        }
        | changes
    )


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_the_table_is_readable_with_any_number_of_candidates(count):
    names = [f"a_generator_with_a_long_name_{number}" for number in range(count)]
    rows = [
        row_of("pictures/" + "long" * 100 + ".png", dict.fromkeys(names, 1e-3)),
        row_of("b.png", dict.fromkeys(names)),
    ]
    lines = result_table(rows, names).splitlines()
    assert max(map(len, lines)) <= 200
    assert sum("because" in line for line in lines) == 2


def test_the_table_says_what_was_changed_where_nobody_is_named():
    rows = [
        row_of("a.jpg", {"x": 1e-2}, notes=["not modelled as JPEG: JPEG is arithmetic-coded"]),
        row_of(
            "b.png",
            {"x": 1e-6},
            verdict="made-by",
            candidate="x",
            candidates=["x"],
            notes=["a profile was ignored"],
        ),
    ]
    lines = result_table(rows, ["x"]).splitlines()
    assert lines[-2:] == ["    not modelled as JPEG: JPEG is arithmetic-coded", lines[-1]]
    assert "b.png" in lines[-1]


def test_the_table_escapes_control_characters():
    hostile = "a\x1b[31m\nb\u202ec\udcff.png"
    text = result_table([row_of(hostile, {"x\x07": 1.0}, reason=hostile)], ["x\x07"])
    assert all(c.isprintable() for c in text.replace("\n", ""))
    assert "\\x1b" in shown(hostile, 40)
    assert "\\u202e" in text
    assert "\\x07" in text


def test_the_report_shows_hostile_file_names_as_text(attribute, images, tmp_path):
    name = tmp_path / "<script>alert(1)<b>'\n\".png"
    name.write_bytes(Path(images["tiny0.png"]).read_bytes())
    code, _, _, out = attribute([str(name), str(tmp_path / "missing.png")])
    assert code == 2
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "missing.png" in page
    assert "1 failed" in page
