"""`attribute` of files and arrays that may have been altered, in Python."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_generator import make_tiny

from jattr.alterations import alter, parse_chain
from jattr.attribution.attribute import attribute
from jattr.attribution.result_json import to_dict
from jattr.cli.main import main
from jattr.errors import ImageError, InputError
from jattr.images import load_image, to_byte
from jattr.images.jpeg import encode_jpeg, quality_format
from jattr.inversion.config import InvertConfig

SEARCH = InvertConfig(restarts=8, lanes=4).search


@pytest.fixture(scope="module")
def pair():
    return [make_tiny(), make_tiny(seed=1, name="tiny_b")]


@pytest.fixture(scope="module")
def pixels(pair):
    z = np.random.default_rng(7).normal(size=(1, 6)).astype(np.float32)
    return to_byte(pair[0].generate(z))


@pytest.fixture(scope="module")
def files(pixels, tmp_path_factory):
    """A JPEG, a file that asks to be shown turned, an enlarged one; paths by name."""
    folder = tmp_path_factory.mktemp("altered")
    (folder / "q95.jpg").write_bytes(encode_jpeg(pixels[0], quality_format(95, "4:4:4", 3)))
    image, tags = Image.fromarray(pixels[0]), Image.Exif()
    tags[0x0112] = 6
    image.save(folder / "tagged.png", exif=tags)
    image.resize((16, 16), Image.Resampling.BILINEAR).save(folder / "double.png")
    return {path.name: str(path) for path in folder.iterdir()}


@pytest.mark.slow
def test_files_are_taken_as_the_command_line_takes_them(pair, files, tiny_folders, tmp_path):
    names = ["q95.jpg", "tagged.png"]
    images = [load_image(files[name]) for name in names]
    result = attribute(images, pair, search=SEARCH)
    assert [chain.text for chain in result.alterations] == ["jpeg:95:4:4:4", "turn:90"]
    assert all(verdict.certificate.holds for verdict in result.verdicts)
    candidates = [str(tiny_folders[name]) for name in ("tiny", "tiny_b")]
    command = ["attribute", *(files[name] for name in names), "--candidates", *candidates]
    options = ["--restarts", "8", "--lanes", "4", "--out", str(tmp_path / "out")]
    assert main([*command, *options]) == 0
    rows = json.loads((tmp_path / "out" / "result.json").read_text())["pictures"]
    for row, own in zip(rows, json.loads(json.dumps(to_dict(result)))["pictures"], strict=True):
        assert {name: row[name] for name in own} == own
    assert attribute(images[0], pair, search=SEARCH, alterations="none").alterations == (None,)


@pytest.mark.slow
def test_the_alteration_that_explains_the_image_best_is_kept(pair, pixels, files):
    chains = [parse_chain("rescale:2:box"), "rescale:2:bilinear", "rescale:2:lanczos"]
    loaded = load_image(files["double.png"])
    for images in (loaded, loaded.pixels[None]):
        result = attribute(images, pair, search=SEARCH, alterations=chains)
        assert [chain.text for chain in result.alterations] == ["rescale:2:bilinear"]
        assert result.verdicts[0].certificate.holds
        assert result.altered_reproduction(0, 0).shape == (16, 16, 3)
        assert result.reproduction(0, 0).shape == (8, 8, 3)


@pytest.mark.slow
def test_images_of_one_call_keep_an_alteration_each(pair, pixels):
    images = np.concatenate([pixels, alter(pixels, parse_chain("flip")).pixels])
    seen = []
    result = attribute(
        images,
        pair,
        search=SEARCH,
        alterations=["none", "flip"],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [chain and chain.text for chain in result.alterations] == [None, "flip:horizontal"]
    assert [verdict.candidates for verdict in result.verdicts] == [("tiny",)] * 2
    assert result.noise.shape == result.residual.shape == (2, 2)
    assert seen[-1] == (8, 8)


def test_contradictions_are_refused(pair, pixels, files):
    jpeg, calibration = load_image(files["q95.jpg"]), SimpleNamespace()
    altered = alter(pixels, parse_chain("flip"))
    for images, settings, message in (
        (altered, {"alterations": "flip"}, "altered by 'flip:horizontal' and"),
        (altered, {"alterations": "none"}, "altered by 'flip:horizontal' and"),
        ([pixels, pixels], {"alterations": "flip"}, "one array of images"),
        (jpeg, {"alterations": []}, "0 alterations"),
        (jpeg, {"alterations": "blurr:2"}, "no alteration 'blurr'"),
        (pixels, {"alterations": "flip", "distance": "ssim"}, "give one of them"),
        (pixels, {"alterations": ["flip", "none"], "calibration": calibration}, "2 alterations"),
        (
            pixels,
            {"search": InvertConfig(distance="l1").search, "distance": "ssim"},
            "give one of them",
        ),
    ):
        with pytest.raises(InputError, match=message):
            attribute(images, pair, **settings)
    with pytest.raises(ImageError, match="16x16"):
        attribute(load_image(files["double.png"]), pair, search=SEARCH)
