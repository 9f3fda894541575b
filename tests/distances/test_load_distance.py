"""Distances from texts."""

import numpy as np
import pytest
from feature_files import stored_tensors

from jattr.distances import (
    DISTANCES,
    features,
    load_distance,
    lpips,
    multiscale,
    pixel_huber,
    weighted,
)
from jattr.distances.feature_folder import make_card, save_features
from jattr.distances.registry import OF_FOLDERS
from jattr.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A feature folder whose path has every sign of the grammar."""
    path = tmp_path_factory.mktemp("features") / "a+b*2:c"
    card = make_card(name="alex", architecture="lpips-alex", variant="0.1", source={})
    save_features(path, card, stored_tensors("lpips-alex"))
    return path


@pytest.fixture(scope="module")
def plain_folder(folder):
    path = folder.parent / "alex"
    path.symlink_to(folder)
    return path


@pytest.mark.parametrize("name", [name for name in DISTANCES if name not in OF_FOLDERS])
def test_names(name):
    distance = load_distance(name)
    assert distance.digest == DISTANCES[name]().digest
    assert load_distance(distance.name).digest == distance.digest


def test_settings():
    assert load_distance("huber:0.25").digest == pixel_huber(delta=0.25).digest
    assert load_distance("multiscale:2").digest == multiscale(levels=2).digest


def test_sums(plain_folder):
    l2, ssim = load_distance("l2"), load_distance("ssim")
    assert load_distance("l2*1+ssim*0.5").digest == weighted((l2, 1), (ssim, 0.5)).digest
    assert load_distance(" l2 + ssim * 5e-1 ").digest == weighted((l2, 1), (ssim, 0.5)).digest
    assert load_distance("l2*3").digest == weighted((l2, 3)).digest
    spec = f"l2+{plain_folder}:relu2*0.5"
    assert (
        load_distance(spec).digest
        == weighted((l2, 1), (features(plain_folder, layer="relu2"), 0.5)).digest
    )


def test_folders(folder, plain_folder):
    for path in (folder, plain_folder, f"lpips:{plain_folder}"):
        assert load_distance(str(path)).digest == lpips(folder).digest
    for spec in (
        f"{plain_folder}:relu5",
        f"features:{plain_folder}",
        f"features:{plain_folder}:relu5",
    ):
        assert load_distance(spec).digest == features(folder, layer="relu5").digest


def test_a_loaded_distance_works(plain_folder):
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    assert load_distance(f"l2+{plain_folder}:relu1*0.5")(a, b) > 0


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("", "the distance is empty"),
        ("l3", "no distance and no feature folder 'l3'; write NAME.* Names: l2, l1"),
        ("l2:3", "l2 takes no setting, but has '3'"),
        ("huber:x", "huber's delta is 'x'; it must be a number"),
        ("huber:", "huber's delta is ''"),
        ("huber:-1", "huber has delta -1"),
        ("multiscale:2.5", "multiscale's levels is '2.5'; it must be a whole number"),
        ("l2*x", "the weight 'x', which is no number"),
        ("l2*-1+ssim", "weight -1; a weight is a finite number above 0"),
        ("l2*nan", "weight nan"),
        ("l2+", "no feature folder ''"),
        ("lpips", "lpips needs a feature folder"),
        ("features:", "features needs a feature folder"),
        ("lpips:/nowhere", "no feature folder '/nowhere'"),
        ("/nowhere:relu1", "no feature folder '/nowhere'"),
        (5000 * "x", "no feature folder 'xxx"),
    ],
)
def test_texts_that_are_refused(spec, text):
    with pytest.raises(InputError, match=text):
        load_distance(spec)


def test_a_layer_that_is_not_there(plain_folder):
    with pytest.raises(InputError, match="lpips-alex has no layer 'Mixed_6e'; legal: relu1"):
        load_distance(f"{plain_folder}:Mixed_6e")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(InputError, match="no feature folder"):
        load_distance(str(tmp_path))
