"""`calibrate`, and `attribute --calibration`."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_generator import make_tiny

from jattr.cli.main import main
from jattr.images import to_byte, write_png
from jattr.verification.result_folder import file_sha256

SEARCH = ["--restarts", "4", "--lanes", "4"]
PAIR = ("tiny", "tiny_b")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, tiny_folders):
    """A calibration of two generators, clean and resized, and images of a third one as
    negatives.
    """
    folder = tmp_path_factory.mktemp("calibration")
    (folder / "strangers").mkdir()
    z = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    for number, pixels in enumerate(to_byte(make_tiny(seed=5, name="stranger").generate(z))):
        write_png(folder / "strangers" / f"{number}.png", pixels)
    paths = [str(tiny_folders[name]) for name in PAIR]
    options = [
        "--negatives",
        str(folder / "strangers"),
        "--alteration",
        "rescale:2:bilinear",
        *SEARCH,
    ]
    code = main(
        [
            "calibrate",
            *paths,
            "--own",
            "40",
            "--others",
            "40",
            "--out",
            str(folder / "c.json"),
            *options,
        ]
    )
    assert code == 0
    return folder


def test_restart_power_is_printed_and_is_in_the_json(tiny_folders, tmp_path, capsys):
    command = [
        "calibrate",
        str(tiny_folders["tiny"]),
        "--own",
        "4",
        "--others",
        "0",
        "--out",
        str(tmp_path / "c.json"),
        *SEARCH,
    ]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "searches of the own images: " in out
    assert " of 4 arrived" in out
    assert main([*command, "--overwrite", "--json"]) == 0
    restarts = json.loads(capsys.readouterr().out)["candidates"]["tiny"]["clean"]["restarts"]
    assert (restarts["pictures"], 0 < restarts["miss_bound"] <= 1) == (4, True)


def attribute(tiny_folders, images, out, *options):
    paths = [str(tiny_folders[name]) for name in PAIR]
    return main(
        [
            "attribute",
            *map(str, images),
            "--candidates",
            *paths,
            "--out",
            str(out),
            *SEARCH,
            *options,
        ]
    )


@pytest.mark.slow
def test_the_file_holds_the_scores_of_every_condition(calibrated):
    data = json.loads((calibrated / "c.json").read_text())
    assert set(data["candidates"]) == set(PAIR)
    for name, other in (PAIR, PAIR[::-1]):
        conditions = data["candidates"][name]["conditions"]
        assert list(conditions) == ["clean", "rescale:2:bilinear"]
        for condition in conditions.values():
            assert set(condition["negatives"]) == {"strangers", f"other generator: {other}"}
            assert condition["own_count"] == 40
            runs = condition["own_restarts"]
            assert len(runs["used"]) == len(runs["arrived"]) == 40
            assert set(runs["used"]) <= {1, 2, 3}
            assert np.mean(runs["arrived"]) > 0.5
            assert (
                np.median(condition["own"])
                < np.median(condition["negatives"]["strangers"]["scores"]) - 1
            )


@pytest.mark.slow
def test_images_of_nobody_are_judged_with_error_rates(calibrated, tiny_folders, tmp_path):
    z = np.random.default_rng(11).normal(size=(3, 6)).astype(np.float32)
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for file, pixels in zip(
        files, to_byte(make_tiny(seed=6, name="stranger").generate(z)), strict=False
    ):
        write_png(file, pixels)
    write_png(files[3], to_byte(make_tiny().generate(z[:1]))[0])
    options = ["--calibration", str(calibrated / "c.json"), "--alpha", "0.05", "--no-second-look"]
    assert attribute(tiny_folders, files, tmp_path / "out", *options) == 0
    data = json.loads((tmp_path / "out" / "result.json").read_text())
    digest = file_sha256(calibrated / "c.json")
    assert data["settings"]["calibration"] == digest
    assert f"<code>{digest}</code>" in (tmp_path / "out" / "report.html").read_text()
    *strangers, own = data["pictures"]
    assert own["certificate"]["holds"]
    assert own["judgement"] is None
    for row in strangers:
        judgement = row["judgement"]
        assert row["verdict"] == judgement["kind"] != "made-by"
        assert row["reason"] == judgement["sentence"].rstrip(".")
        assert {finding["name"] for finding in judgement["findings"]} == set(PAIR)
        for finding in judgement["findings"]:
            assert finding["power"]["restarts"] == row["restarts"][finding["name"]]["run"]
            assert finding["power"]["pictures"] > 0  # the format's word for own images
            assert 0 < finding["power"]["miss_bound"] < 1
        if row["verdict"] == "none":
            assert "restarts miss at most" in row["reason"]
        assert judgement["none_probability"] + sum(
            f["probability"] for f in judgement["findings"]
        ) == pytest.approx(1)


@pytest.mark.slow
def test_an_alteration_that_was_not_calibrated_is_judged_by_thresholds_and_that_is_said(
    calibrated, tiny_folders, tmp_path
):
    write_png(tmp_path / "a.png", np.random.default_rng(4).integers(0, 256, (8, 8, 3), np.uint8))
    options = ["--calibration", str(calibrated / "c.json"), "--alteration", "brightness:0.8"]
    assert attribute(tiny_folders, [tmp_path / "a.png"], tmp_path / "out", *options) == 0
    (row,) = json.loads((tmp_path / "out" / "result.json").read_text())["pictures"]
    assert row["judgement"] is None
    assert row["reason"].endswith("; not calibrated for brightness:0.8, so by thresholds")


@pytest.mark.slow
def test_only_files_that_are_as_they_were_made_are_judged_as_clean(
    calibrated, tiny_folders, tmp_path
):
    """Others are judged by thresholds.

    An image without colours may be a candidate's kind, yet is not denied.
    """
    image = Image.fromarray(to_byte(make_tiny().generate(np.full((1, 6), 0.3, np.float32)))[0])
    veiled, tags = image.convert("RGBA"), Image.Exif()
    veiled.putalpha(128)
    tags[0x0112] = 6
    noise = Image.fromarray(np.random.default_rng(4).integers(0, 256, (8, 8, 3), np.uint8))
    saved = {
        "grey.png": (image.convert("L"), {}, "a grey file of a candidate's colour images"),
        "veiled.png": (veiled, {}, "a transparent image that was composited"),
        "large.png": (
            image.resize((20, 20)).rotate(45),
            {},
            "an image that was resized to be compared",
        ),
        "lossy.webp": (noise, {"quality": 50}, "a compression with loss that is not modelled"),
        "profile.png": (
            noise,
            {"icc_profile": b"of a printer"},
            "an image whose colour profile or gamma is ignored",
        ),
        "tagged.png": (noise, {"exif": tags}, "a file that asks to be shown turned"),
        "noise.png": (noise, {}, ""),
        "colourless.png": (noise.convert("L").convert("RGB"), {}, ""),
    }
    for name, (image, options, _) in saved.items():
        image.save(tmp_path / name, **options)
    files = [tmp_path / name for name in saved]
    assert (
        attribute(
            tiny_folders,
            files,
            tmp_path / "out",
            "--calibration",
            str(calibrated / "c.json"),
            "--resize",
        )
        == 0
    )
    rows = json.loads((tmp_path / "out" / "result.json").read_text())["pictures"]
    for row, (_, _, apart) in zip(rows, saved.values(), strict=True):
        assert row["verdict"] != "none" or row["file"].endswith("noise.png")
        assert (row["judgement"] is None) == bool(apart)
        assert row["reason"].endswith(f"; not calibrated for {apart}, so by thresholds") == bool(
            apart
        )
    *_, noise_row, colourless = rows
    assert noise_row["verdict"] == noise_row["judgement"]["kind"] == "none"
    assert colourless["verdict"] == colourless["judgement"]["kind"] == "undecided"
    assert colourless["reason"] == colourless["judgement"]["sentence"].rstrip(".")
    assert colourless["reason"].endswith("--alteration grey:3")


@pytest.mark.slow
def test_a_file_that_is_taken_in_two_ways_is_not_judged(calibrated, tiny_folders, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    noise = Image.fromarray(np.random.default_rng(4).integers(0, 256, (8, 8, 3), np.uint8))
    noise.save(tmp_path / "tagged.png", exif=tags)
    options = ["--calibration", str(calibrated / "c.json")]
    for number, (more, judged) in enumerate((([], False), (["--alteration", "none"], True))):
        out = tmp_path / str(number)
        assert attribute(tiny_folders, [tmp_path / "tagged.png"], out, *options, *more) == 0
        (row,) = json.loads((out / "result.json").read_text())["pictures"]
        assert (row["judgement"] is not None) == judged
        assert (
            row["reason"].endswith(
                "; not calibrated for a file that is taken in 2 ways, so by thresholds"
            )
            != judged
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alterations", "found"),
    [
        (["none", "rescale:2:bilinear"], "2 alterations"),
        (["auto", "none", "flip"], "3 alterations"),
        (["brightness:?"], "the unknown factor of 'brightness:?'"),
    ],
)
def test_nothing_is_chosen_after_looking(
    calibrated, tiny_folders, tmp_path, capsys, alterations, found
):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    options = ["--calibration", str(calibrated / "c.json"), "--alteration", *alterations]
    assert attribute(tiny_folders, [tmp_path / "a.png"], tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert f"--calibration and {found}" in error
    assert "name one alteration, every factor given, or leave --calibration away" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--restarts", "5"], "the settings are others"),
        (["--alpha", "0.001"], "999"),
        (["--alpha", "2"], "alpha"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused_before_any_work(
    calibrated, tiny_folders, tmp_path, capsys, options, message
):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    command = ["--calibration", str(calibrated / "c.json"), *options]
    assert attribute(tiny_folders, [tmp_path / "a.png"], tmp_path / "out", *command) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_model_of_that_name_is_refused(calibrated, tiny_folders, tmp_path, capsys):
    text = (calibrated / "c.json").read_text()
    digest = json.loads(text)["candidates"]["tiny"]["digest"]
    (tmp_path / "c.json").write_text(text.replace(digest, "0" * 64))
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    options = ["--calibration", str(tmp_path / "c.json")]
    assert attribute(tiny_folders, [tmp_path / "a.png"], tmp_path / "out", *options) == 2
    assert "tiny is another model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"schema": 9}', b"[1e999]", b"\xff", b" " * 1001]
)
def test_a_file_that_is_no_calibration_is_refused(
    tiny_folders, tmp_path, capsys, monkeypatch, content
):
    monkeypatch.setattr("jattr.attribution.calibration_files.MAX_CALIBRATION", 1000)
    (tmp_path / "c.json").write_bytes(content)
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert (
        attribute(
            tiny_folders,
            [tmp_path / "a.png"],
            tmp_path / "out",
            "--calibration",
            str(tmp_path / "c.json"),
        )
        == 2
    )
    error = capsys.readouterr().err
    assert "calibration" in error
    assert error.count("\n") == 1
    assert ("is longer than 1000 bytes" in error) == (len(content) > 1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--own", "5", "--others", "6"], "at most that"),
        (["--alteration", "sharpen:2"], "there is no alteration"),
        (["--negatives", "nowhere.png"], "nowhere.png"),
    ],
)
def test_a_calibration_that_cannot_be_made_is_refused(
    tiny_folders, tmp_path, capsys, options, message
):
    out = tmp_path / "c.json"
    assert main(["calibrate", str(tiny_folders["tiny"]), "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_file_is_not_replaced_unasked(calibrated, tiny_folders, capsys):
    assert main(["calibrate", str(tiny_folders["tiny"]), "--out", str(calibrated / "c.json")]) == 2
    assert "--overwrite" in capsys.readouterr().err
