"""`calibrate --negatives`: which files and folders are refused, and how they become kinds."""

import numpy as np
import pytest

from jattr.attribution.calibration_files import read_negatives
from jattr.errors import InputError
from jattr.images import write_png

SHAPE = (8, 8, 3)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Folders with one image each, the working directory among them, and single files beside
    them.
    """
    rng = np.random.default_rng(0)
    for name in ("siblings/png", "photos/png", "drawings", "picture"):
        (tmp_path / name).mkdir(parents=True)
        write_png(tmp_path / name / "a.png", rng.integers(0, 256, SHAPE, np.uint8))
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, rng.integers(0, 256, SHAPE, np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_and_single_files_become_kinds(images, monkeypatch):
    monkeypatch.chdir("siblings/png")
    found = read_negatives(
        [".", "../../drawings/", "../../a.png", "../../b.png"], SHAPE, resize=False
    )
    assert {kind: pixels.shape for kind, pixels in found.items()} == {
        "png": (1, *SHAPE),
        "drawings": (1, *SHAPE),
        "picture": (2, *SHAPE),
    }


ONE_KIND = (
    "would be one kind, 'png': a folder's name, or 'picture' of single files; rename a folder"
)
REFUSED = {
    "two folders of one name": (
        ["siblings/png", "photos/png"],
        f"'siblings/png' and 'photos/png' {ONE_KIND}",
    ),
    "a folder called as single files are": (
        ["a.png", "picture"],
        "'a.png' and 'picture' would be one kind, 'picture'",
    ),
    "single files after it": (
        ["picture", "a.png"],
        "'picture' and 'a.png' would be one kind, 'picture'",
    ),
    "a folder twice": (
        ["drawings", "drawings/"],
        "'drawings' and 'drawings/' are one and the same; give it once",
    ),
    "a file twice": (
        ["a.png", "./a.png"],
        "'a.png' and './a.png' are one and the same; give it once",
    ),
    "a file of a folder": (
        ["drawings", "drawings/a.png"],
        "'drawings/a.png' and 'drawings/a.png' are equal images",
    ),
    "no name": (
        ["/"],
        "folder '/' has no name that could be the kind of its images; give one that has",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_counted_twice_or_as_another_kind_is_refused(
    images, tiny_folders, refused, name
):
    paths, message = REFUSED[name]
    assert message in refused(
        2, "calibrate", tiny_folders["tiny"], "--out", "c.json", "--negatives", *paths
    )
    assert not (images / "c.json").exists()


def test_links_are_what_they_lead_to(images):
    (images / "link").symlink_to("drawings")
    with pytest.raises(InputError, match="'drawings' and 'link' are one and the same"):
        read_negatives(["drawings", "link"], SHAPE, resize=False)


@pytest.mark.parametrize("copy", ["drawings/b.png", "photos/png/b.png"])
def test_equal_images_are_refused_however_their_files_differ(images, copy):
    from PIL import Image

    Image.open("drawings/a.png").save(copy, compress_level=0)
    with pytest.raises(InputError) as caught:
        read_negatives(["drawings", "photos/png"], SHAPE, resize=False)
    assert str(caught.value) == (
        f"'drawings/a.png' and '{copy}' are equal images as searched, which would count as two"
        " where they are one;"
        " leave one away"
    )
