"""`attribute --alteration` and `verify` of what it finds: compressed, resized and cropped files."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import encoded
from jattr.converters.layered import convert_layered
from jpeg_files import PLAIN, poke
from PIL import Image, ImageEnhance
from tiny_generator import make_tiny, tiny_card_data, tiny_weights

from jattr.attribution.alteration_search import alternatives_of, parse_alternatives
from jattr.attribution.caveats import COLOURS, TRANSPARENT
from jattr.cli.main import main
from jattr.generators.card import parse_card
from jattr.generators.store import save_generator
from jattr.images import load_image, to_byte
from jattr.images.jpeg import encode_jpeg, quality_format
from jattr.ledger.evidence.inversion import observed

SEARCH = ["--restarts", "8", "--lanes", "4"]
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An image of `tiny` in several states, by name."""
    folder = tmp_path_factory.mktemp("altered")
    z = np.random.default_rng(7).normal(size=(1, 6)).astype(np.float32)
    pixels = to_byte(make_tiny().generate(z))[0]
    image = Image.fromarray(pixels)
    (folder / "q95.jpg").write_bytes(encode_jpeg(pixels, quality_format(95, "4:4:4", 3)))
    tags = Image.Exif()
    tags[0x0112] = 6
    upright = {"exif": tags, "subsampling": 0, "quality": 95}
    for kind in ("jpg", "png"):
        image.transpose(Image.Transpose.ROTATE_90).save(folder / f"turned.{kind}", **upright)
        image.save(folder / f"tagged.{kind}", **upright)
    image.transpose(Image.Transpose.ROTATE_90).save(
        folder / "turned.webp", lossless=True, exif=tags
    )
    noise = Image.fromarray(np.random.default_rng(8).integers(0, 256, (8, 8, 3)).astype(np.uint8))
    noise.save(folder / "noise.png")
    noise.save(folder / "noise_tagged.png", exif=tags)
    noise.resize((16, 16)).save(folder / "noise_double.png")
    image.convert("L").save(folder / "grey.png")
    image.convert("L").convert("RGB").save(folder / "colourless.png")
    veiled = image.convert("RGBA")
    veiled.putalpha(128)
    veiled.save(folder / "veiled.png")
    padded = Image.new("RGB", (16, 16))
    padded.paste(image, (0, 0))
    padded.save(folder / "padded.png")
    noise.save(folder / "noise_profile.png", icc_profile=b"of a printer")
    (folder / "noise.jpg").write_bytes(
        encode_jpeg(np.asarray(noise), quality_format(95, "4:4:4", 3))
    )
    noise.save(folder / "noise_profile.jpg", quality=95, subsampling=0, icc_profile=b"of a printer")
    image.save(folder / "profile.png", icc_profile=b"of a printer")
    image.resize((16, 16), Image.Resampling.BILINEAR).save(folder / "double.png")
    image.crop((1, 1, 7, 8)).save(folder / "cropped.png")
    image.convert("L").save(folder / "grey.jpg", quality=95)
    image.save(folder / "plain.png")
    ImageEnhance.Brightness(image).enhance(0.8).save(folder / "dark.png")
    Image.open(folder / "q95.jpg").save(folder / "saved_again.png")
    clear = image.convert("RGBA")
    clear.putpixel((0, 0), (255, 255, 255, 100))
    clear.save(folder / "clear.png")
    return {path.name: str(path) for path in folder.iterdir()}


@pytest.fixture
def run(tiny_folders, tmp_path, capsys):
    """Run `attribute`: (exit code, rows, stderr without progress, folder)."""

    def attribute(images, *options):
        out = tmp_path / "out"
        paths = [str(tiny_folders[name]) for name in ("tiny", "tiny_b")]
        command = [
            "attribute",
            *images,
            "--candidates",
            *paths,
            "--out",
            str(out),
            "--overwrite",
            *SEARCH,
            *options,
        ]
        code = main(command)
        errors = [line for line in capsys.readouterr().err.splitlines() if "searches (" not in line]
        rows = json.loads((out / "result.json").read_text())["pictures"] if out.exists() else []
        return code, rows, "\n".join(errors), out

    return attribute


@pytest.mark.parametrize(
    ("name", "options", "alteration"),
    [
        ("q95.jpg", [], "jpeg:95:4:4:4"),
        ("q95.jpg", ["--alteration", "jpeg"], "jpeg:95:4:4:4"),
        pytest.param(
            "double.png",
            ["--alteration", "rescale:2:bilinear"],
            "rescale:2:bilinear",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "cropped.png", ["--alteration", "crop:7x6+1+1"], "crop:7x6+1+1", marks=pytest.mark.slow
        ),
        ("plain.png", [], None),
        ("saved_again.png", ["--alteration", "jpeg:95:4:4:4"], "jpeg:95:4:4:4:decoded"),
        pytest.param("turned.jpg", [], "jpeg:95:4:4:4:exif6", marks=SLOW),
        pytest.param(
            "turned.jpg", ["--alteration", "jpeg"], "jpeg:95:4:4:4:exif6", marks=pytest.mark.slow
        ),
        pytest.param("tagged.jpg", [], "turn:90,jpeg:95:4:4:4:exif6", marks=SLOW),
        pytest.param("turned.png", [], None, marks=SLOW),
        pytest.param("turned.webp", [], None, marks=SLOW),
        pytest.param("tagged.png", [], "turn:90", marks=SLOW),
        ("profile.png", [], None),
        pytest.param("grey.png", ["--alteration", "grey:3"], "grey:3", marks=SLOW),
        pytest.param("grey.png", ["--alteration", "grey"], "grey:1", marks=SLOW),
        pytest.param(
            "colourless.png", ["--alteration", "grey:3"], "grey:3", marks=pytest.mark.slow
        ),
    ],
)
def test_an_altered_image_is_certified_and_verified(
    run, files, tiny_folders, capsys, name, options, alteration
):
    code, (row,), errors, out = run([files[name]], *options)
    assert (code, errors) == (0, "")
    assert row["candidates"] == ["tiny"]
    assert row["alteration"] == alteration
    assert row["certificate"]["holds"]
    assert row["certificate"]["alteration"] == (alteration or "")
    assert (
        main(
            [
                "verify",
                str(out),
                "--candidates",
                *(str(tiny_folders[n]) for n in ("tiny", "tiny_b")),
            ]
        )
        == 0
    )
    assert "1 certificates of 1 images hold" in capsys.readouterr().out


@pytest.mark.slow
def test_the_alternative_that_explains_the_image_wins(run, files):
    _, (row,), _, _ = run(
        [files["double.png"]],
        "--alteration",
        "rescale:2:lanczos",
        "rescale:2:bilinear",
        "rescale:2:box",
    )
    assert row["alteration"] == "rescale:2:bilinear"
    assert row["certificate"]["holds"]


@pytest.mark.slow
def test_an_unknown_factor_is_found_with_the_latent(run, files, tiny_folders):
    _, (row,), _, out = run([files["dark.png"]], "--alteration", "brightness:?")
    assert float(row["alteration"].removeprefix("brightness:")) == pytest.approx(0.8, abs=0.01)
    assert row["candidate"] == "tiny"
    assert row["certificate"]["holds"]
    assert (
        main(
            [
                "verify",
                str(out),
                "--candidates",
                *(str(tiny_folders[n]) for n in ("tiny", "tiny_b")),
            ]
        )
        == 0
    )


@pytest.mark.slow
def test_another_alteration_than_the_one_made_proves_nothing(run, files):
    _, (row,), _, _ = run([files["double.png"]], "--alteration", "rescale:2:box")
    assert row["certificate"] is None


@pytest.mark.slow
def test_a_changed_alteration_is_found_out(run, files, tiny_folders, capsys):
    _, _, _, out = run([files["double.png"]], "--alteration", "rescale:2:bilinear")
    text = (out / "result.json").read_text()
    candidates = ["--candidates", *(str(tiny_folders[n]) for n in ("tiny", "tiny_b"))]
    for other in ("rescale:2:lanczos", "rescale:3:bilinear", "no such thing"):
        (out / "result.json").write_text(text.replace("rescale:2:bilinear", other))
        assert main(["verify", str(out), *candidates]) == 3
        assert "double.png" in capsys.readouterr().err


@pytest.mark.slow
def test_a_jpeg_that_cannot_be_modelled_is_taken_as_it_is_and_that_is_said(run, files):
    code, (grey,), _, _ = run([files["grey.jpg"]])
    assert code == 0
    assert grey["alteration"] is None
    assert any(note.startswith("not modelled as JPEG") for note in grey["notes"])


@pytest.mark.slow
def test_a_profile_that_was_ignored_leaves_it_undecided_where_it_would_be_none(run, files):
    names = ("noise.png", "noise_tagged.png", "noise.jpg", "noise_profile.png", "noise_profile.jpg")
    # noise looks as if it had wrapped around, which a second look says
    code, rows, _, _ = run([files[name] for name in names], "--no-second-look")
    assert code == 0
    assert [row["verdict"] for row in rows] == ["none", "none", "none", "undecided", "undecided"]
    for row in rows[3:]:
        assert row["reason"].endswith(COLOURS.text)
        assert any("profile or gamma ignored" in note for note in row["notes"])
    assert rows[4]["alteration"] == "jpeg:95:4:4:4"


@pytest.mark.slow
def test_an_image_that_was_changed_on_reading_is_undecided_where_it_would_be_none(run, files):
    names = (
        "grey.png",
        "colourless.png",
        "veiled.png",
        "padded.png",
        "noise_double.png",
        "noise.png",
    )
    code, rows, _, _ = run([files[name] for name in names], "--resize")
    assert code == 0
    assert [row["verdict"] for row in rows] == ["undecided"] * 5 + ["none"]
    hints = (
        ["--alteration grey:3"] * 2 + [TRANSPARENT.text] + ["--alteration resize:16x16:lanczos"] * 2
    )
    for row, hint in zip(rows, hints, strict=False):
        assert row["reason"].startswith("every candidate ends far above its usual misses")
        assert row["reason"].endswith(hint)


@pytest.mark.slow
def test_a_jpeg_against_candidates_of_several_kinds_is_taken_as_it_is(
    files, tiny_folders, tmp_path
):
    """In either order: what the first candidate makes may not be what the others make."""
    grey = tmp_path / "grey"
    card = parse_card(tiny_card_data(name="grey") | {"image_shape": [1, 8, 8]})
    weights = tiny_weights()
    weights |= {key: weights[key][:1] for key in ("net.5.weight", "net.5.bias")}
    save_generator(grey, card, convert_layered(card, weights))
    pair = [str(grey), str(tiny_folders["tiny"])]
    for candidates in (pair, pair[::-1]):
        command = [
            "attribute",
            files["q95.jpg"],
            "--candidates",
            *candidates,
            "--out",
            str(tmp_path / "out"),
        ]
        assert main([*command, "--overwrite", *SEARCH]) == 0
        (row,) = json.loads((tmp_path / "out" / "result.json").read_text())["pictures"]
        assert row["alteration"] is None
        assert any(
            note.startswith("not modelled as JPEG: the candidates make") for note in row["notes"]
        )


def test_alternatives_of_files_that_ask_to_be_shown_turned(files):
    """One more, where the size of what is stored allows it.

    With candidates of several sizes it is said to lack.
    """
    auto, blur = parse_alternatives(["auto"]), parse_alternatives(["blur:1"])
    tiny, wide = (SimpleNamespace(image_shape=shape) for shape in ((8, 8, 3), (8, 9, 3)))
    turned, plain = load_image(files["tagged.jpg"]), load_image(files["q95.jpg"])
    (first, second), incomplete = alternatives_of(auto, turned, [tiny], resize=False)
    assert (first, second.text, second.jpeg, second.guessed, incomplete) == (
        auto[0],
        "turn:90,jpeg",
        True,
        False,
        False,
    )
    assert alternatives_of(auto, plain, [tiny], resize=False) == (auto, False)
    assert alternatives_of(blur, turned, [tiny], resize=False) == (blur, False)
    assert alternatives_of(auto, turned, [tiny, wide], resize=False) == (auto, True)
    assert alternatives_of(auto, turned, [tiny], resize=True) == (auto, True)
    high = replace(turned, pixels=np.zeros((9, 8, 3), np.uint8))  # as shown; stored it is 8 x 9
    assert [each.text for each in alternatives_of(auto, high, [wide], resize=False)[0]] == [
        "turn:90,jpeg"
    ]
    broad = replace(turned, pixels=np.zeros((8, 9, 3), np.uint8))
    assert alternatives_of(auto, broad, [wide], resize=False) == (auto, False)


NONE_HINT = "as they are (--alteration none)"
# name -> (how a file is damaged, words of its error, whether a decoder makes pixels of it)
UNREADABLE = {
    "cut": (lambda data: data[:-10] + b"\xff\xd9", "damaged or truncated JPEG", True),
    "no end": (lambda data: data[:-2], "truncated", False),
    "zero table": (lambda data: poke(data, 0xDB, 20, 0), "a quantisation table has a zero", True),
    "arithmetic": (lambda data: poke(data, 0xC0, 1, 0xC9), "JPEG is arithmetic-coded", True),
    "lossless": (lambda data: poke(data, 0xC0, 1, 0xC3), "damaged or truncated image", False),
    "12 bits": (lambda data: poke(data, 0xC0, 4, 12), "12 bits per sample", False),
    "cmyk": (
        lambda data: encoded(Image.new("CMYK", (8, 8)), "JPEG"),
        "4 components (CMYK or YCCK)",
        False,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_jpeg_whose_pixels_may_mislead_is_one_failed_row(run, files, tmp_path, name):
    damage, words, decoded = UNREADABLE[name]
    path = tmp_path / "damaged.jpg"
    path.write_bytes(damage(Path(files["q95.jpg"]).read_bytes()))
    code, (row,), errors, _ = run([str(path)])
    assert (code, row["verdict"]) == (2, "failed")
    assert words in row["reason"]
    assert errors.count("\n") == 0
    assert (NONE_HINT in row["reason"]) == decoded
    code, (row,), _, _ = run([str(path)], "--alteration", "none")
    assert (code, row["verdict"] != "failed") == ((0, True) if decoded else (2, False))


def test_an_unreadable_jpeg_of_another_size_is_refused_too(run, tmp_path):
    path = tmp_path / "damaged.jpg"
    path.write_bytes(poke(PLAIN, 0xDB, 20, 0))
    code, (row,), _, _ = run([str(path)], "--resize")
    assert (code, row["verdict"]) == (2, "failed")
    assert NONE_HINT in row["reason"]
    path.write_bytes(PLAIN)
    assert run([str(path)], "--resize")[0] == 0


def test_where_none_was_asked_for_besides_an_unreadable_jpeg_is_taken_as_it_is(
    run, files, tmp_path
):
    path = tmp_path / "damaged.jpg"
    path.write_bytes(poke(Path(files["q95.jpg"]).read_bytes(), 0xDB, 20, 0))
    code, (row,), _, _ = run([str(path)], "--alteration", "auto", "none")
    assert (code, row["alteration"]) == (0, None)
    assert any(note.startswith("not modelled as JPEG: damaged") for note in row["notes"])


def test_evidence_takes_the_pixels_of_an_unreadable_jpeg(files):
    data = poke(Path(files["q95.jpg"]).read_bytes(), 0xDB, 20, 0)
    assert observed(data, make_tiny(), "auto").shape == (1, 8, 8, 3)


@pytest.mark.slow
def test_what_was_changed_to_read_an_altered_image_is_noted(run, files):
    code, (row,), _, _ = run([files["clear.png"]], "--alteration", "flip")
    assert code == 0
    assert row["notes"] == ["transparent pixels composited over white"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["blurr:2"], "there is no alteration 'blurr'"),
        (["resize:2"], "resize:HEIGHTxWIDTH"),
        (["jpeg:0"], "from 1 to 100"),
        (["crop:70x6+1+1"], "does not lie within"),
        (["jpeg:75:grey"], "the JPEG has 1 component, the images 3 channels; if the file was made"),
        (
            ["grey", "grey,jpeg:75"],
            "the JPEG has 3 components, the images 1 channel; write jpeg:QUALITY:grey",
        ),
        ([" , "], "auto, none, or a chain"),
    ],
)
def test_alterations_that_cannot_be_are_refused_before_any_work(run, files, texts, message):
    code, rows, errors, _ = run([files["plain.png"]], "--alteration", *texts)
    assert (code, rows) == (2, [])
    assert message in errors
    assert errors.count("\n") == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("plain.png", "jpeg", "no trace of having been one"),
        ("plain.png", "rescale:2", "after 'rescale:2' a candidate's is 16x16"),
    ],
)
def test_an_image_that_does_not_fit_its_alteration_is_a_failed_row(run, files, name, text, message):
    code, (row,), errors, _ = run([files[name]], "--alteration", text)
    assert code == 2
    assert row["verdict"] == "failed"
    assert message in row["reason"]
    assert "failed rows" in errors
