"""Feature folders: what is written is what is loaded, and everything else is refused in one
line.
"""

import json

import numpy as np
import pytest
from feature_files import stored_tensors

from jattr.distances import features, load_features, lpips
from jattr.distances.feature_folder import make_card, save_features
from jattr.errors import InputError, OutputError

CARD = make_card(
    name="alex", architecture="lpips-alex", variant="0.1", source={"layout": "lpips-alex"}
)


@pytest.fixture
def folder(tmp_path):
    save_features(tmp_path / "alex", CARD, stored_tensors("lpips-alex"))
    return tmp_path / "alex"


def change(folder, **fields):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **fields}))


def test_what_is_written_is_what_is_loaded(folder, tmp_path):
    network = load_features(folder)
    again = save_features(
        tmp_path / "again", CARD | {"name": "other"}, stored_tensors("lpips-alex")
    )
    assert (network.digest, network.weights_digest) == (again.digest, again.weights_digest)
    assert network.card == json.loads((folder / "card.json").read_text())
    assert lpips(folder).digest == lpips(again).digest != features(folder).digest
    assert (
        save_features(tmp_path / "third", CARD, stored_tensors("lpips-alex", seed=1)).digest
        != network.digest
    )


def test_a_folder_that_exists_is_kept(folder):
    with pytest.raises(OutputError, match="exists already"):
        save_features(folder, CARD, stored_tensors("lpips-alex"))
    (folder / "params" / "mine").write_text("keep")
    with pytest.raises(OutputError, match="is not a feature folder as jattr wrote it"):
        save_features(folder, CARD, stored_tensors("lpips-alex", seed=1), overwrite=True)
    assert (folder / "params" / "mine").read_text() == "keep"
    (folder / "params" / "mine").unlink()
    save_features(folder, CARD, stored_tensors("lpips-alex", seed=1), overwrite=True)
    load_features(folder)


def test_litter_changes_nothing(folder):
    digest = load_features(folder).digest
    for place in (folder, folder / "params", folder / "params" / "features.0.kernel"):
        (place / ".DS_Store").write_bytes(b"x")
        (place / "._0.0.0.0").write_bytes(b"x")
    assert load_features(folder).digest == digest


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "layered"}, 'has the kind "layered", not "features"'),
        ({"card_version": 2}, "card_version is 2; it must be 1"),
        ({"architecture": "lpips-alexa"}, 'did you mean "lpips-alex"'),
        ({"architecture": ["lpips-alex"]}, "architecture is"),
        (
            {"architecture": "lpips-vgg"},
            "features/0/kernel has the shape .* it must be .3, 3, 3, 64.",
        ),
        ({"variant": "fid"}, 'variant is "fid"; legal: 0.1'),
        ({"name": "a\nb"}, "printable characters"),
        ({"extra": 1}, 'the field "extra" is unknown'),
        ({"source": 3}, "source is no object"),
        ({"weights_digest": "0" * 64}, "states the weights_digest"),
        ({"digest": None}, "states the digest null"),
    ],
)
def test_cards_that_are_refused(folder, fields, text):
    change(folder, **fields)
    with pytest.raises(InputError, match=text):
        load_features(folder)


def test_changed_weights_are_refused(folder):
    chunk = next((folder / "params" / "heads.0").glob("0"))
    chunk.write_bytes(np.ones(64, np.float32).tobytes())
    with pytest.raises(InputError, match="convert the features again"):
        load_features(folder)


def test_missing_tensors_are_refused(folder):
    for file in (folder / "params" / "heads.0").iterdir():
        file.unlink()
    (folder / "params" / "heads.0").rmdir()
    with pytest.raises(InputError, match="heads/0 is missing"):
        load_features(folder)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(
        InputError,
        match=r"has no card.json, so it is no feature folder; make one with `jattr convert`",
    ):
        load_features(tmp_path)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (
            np.full(64, -0.1, np.float32),
            "heads/0 holds -0.1; the weights of LPIPS' heads are 0 or above",
        ),
        (np.full(64, np.nan, np.float32), "heads/0 is float32, or holds infinities or NaN"),
        (np.ones(64), "heads/0 is float64"),
        (np.ones(63, np.float32), r"heads/0 has the shape \[63\]; it must be \[64\]"),
    ],
)
def test_tensors_that_are_refused(tmp_path, array, text):
    with pytest.raises(InputError, match=text):
        save_features(tmp_path / "out", CARD, stored_tensors("lpips-alex") | {"heads/0": array})
    assert not (tmp_path / "out").exists()
