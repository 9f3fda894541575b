"""Every public generator of the reference folder against the images that PyTorch made of it."""

import os
from pathlib import Path

import numpy as np
import pytest
from jattr.converters.convert import convert

from jattr.generators.store import load_generator

# of a value range of 2: float32 sums of up to 4096 products in another order, through 6 layers
TOLERANCE = 2e-5
CARDS = sorted(
    (Path(os.environ.get("JATTR_REFERENCE") or "/nonexistent") / "weights").glob("*.card.json")
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "card", CARDS or [None], ids=lambda card: card.name.removesuffix(".card.json") if card else "-"
)
def test_images_are_those_of_pytorch(reference, card, tmp_path):
    assert card is not None, f"{reference} has no weights/*.card.json"
    converted = convert(card, tmp_path / "generator")
    generator = load_generator(tmp_path / "generator")
    assert generator.digest == converted.digest
    golden = np.load(card.parent / "golden" / f"{generator.name}.npz")
    low, high = generator.card["value_range"]
    expected = (golden["images"].transpose(0, 2, 3, 1) - low) * 2 / (high - low) - 1
    label = golden["labels"].astype(np.int32) if generator.num_classes else None
    images = generator.generate(golden["z"].reshape(len(golden["z"]), -1), label=label)
    assert images.shape == expected.shape
    assert np.abs(images - expected).max() <= TOLERANCE


def test_the_reference_folder_is_complete(reference):
    assert len(CARDS) == 29
    assert reference.is_dir()


def test_checkpoints_with_equal_weights_are_one_model(reference, tmp_path):
    names = ("stonerain_dcgan", "stonerain_dcgan_e29", "stonerain_dcgan_e9")
    digests = [
        convert(reference / "weights" / f"{name}.card.json", tmp_path / name).digest
        for name in names
    ]
    assert digests[0] == digests[1] != digests[2]
