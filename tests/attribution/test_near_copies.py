"""Near-copies count once: among own images and negatives, never as negatives of their maker."""

import numpy as np
import pytest
from PIL import Image

import jattr
from jattr.attribution.near_copies import counted_once
from jattr.errors import ImageError, InputError
from jattr.inversion import InvertConfig

RNG = np.random.default_rng(0)


def smooth(seed, size=32):
    """An image with something at every frequency that the hash looks at."""
    small = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def edited(image):
    """Copies of an image that nobody would count as new ones."""
    picture = Image.fromarray(image)
    small = picture.resize((24, 24), Image.Resampling.LANCZOS)
    return np.stack(
        [
            np.asarray(small.resize(picture.size, Image.Resampling.LANCZOS)),
            np.clip(image.astype(int) + 9, 0, 255).astype(np.uint8),
            (image * 0.9).astype(np.uint8),
            image[:, ::-1],
            np.rot90(image),
            np.clip(image + RNG.normal(0, 2, image.shape), 0, 255).astype(np.uint8),
        ]
    )


def test_copies_of_negatives_count_once():
    different = np.stack([smooth(seed) for seed in range(40)])
    copies = edited(different[7])
    negatives = {"photographs": different, "again": np.concatenate([copies, smooth(99)[None]])}
    own, kept, left_out = counted_once({}, negatives, 32)
    assert own == {}
    assert (kept["photographs"] == different).all()
    assert (kept["again"] == smooth(99)).all()
    assert left_out == {"again": len(copies)}


def test_own_images_count_once_and_are_no_negatives():
    images = np.stack([smooth(seed) for seed in range(5)])
    own = {"a": np.concatenate([images, images[:2]]), "b": images}
    negatives = {"found": np.stack([edited(images[3])[0], smooth(50)])}
    kept_own, kept, left_out = counted_once(own, negatives, 32)
    # what two candidates both make is each one's own
    assert {name: len(of) for name, of in kept_own.items()} == {"a": 5, "b": 5}
    assert (kept["found"] == smooth(50)).all()
    assert left_out == {"own images of a": 2, "found": 1}
    with pytest.raises(ImageError, match="all 6 negatives 'found' are near-copies"):
        counted_once({"a": images}, {"found": edited(images[0])}, 32)


def test_images_without_features_are_near_to_nothing():
    flat = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (10, 11, 12)])
    assert counted_once({}, {"flat": flat}, 32)[2] == {}


def test_more_images_than_are_compared_at_once():
    images = np.stack([smooth(seed) for seed in range(12)] * 2)
    _, kept, left_out = counted_once({}, {"all": images}, 32, block_size=5)
    assert (kept["all"] == images[:12]).all()
    assert left_out == {"all": 12}


def test_images_with_fewer_pixels_than_the_hash_has_waves_are_near_to_nothing():
    images = np.stack([smooth(1, 16), smooth(1, 16)])
    assert counted_once({}, {"small": images}, 32)[2] == {}


@pytest.mark.slow
def test_calibrate_leaves_them_out_and_says_so():
    gen, found = jattr.load_generator("dcgan_a"), []
    images = np.stack([smooth(seed) for seed in range(2)])
    brighter = np.clip(images[:1].astype(int) + 3, 0, 255).astype(np.uint8)
    search = InvertConfig(restarts=1, steps=1, pool=32)
    given = {"own": 1, "others": 0, "search": search}
    given["negatives"] = {"noise": np.concatenate([images, brighter])}
    calibration = jattr.calibrate([gen], **given, on_copies=found.append)
    assert found == [{"noise": 1}]
    assert len(calibration.sample(gen.name, "clean").negatives["noise"]) == 2
    calibration = jattr.calibrate([gen], **given, near_bits=None)
    assert len(calibration.sample(gen.name, "clean").negatives["noise"]) == 3


@pytest.mark.parametrize("wrong", [-1, 128, 1.5, True])
def test_bits_that_cannot_be(tiny, wrong):
    with pytest.raises(InputError, match="near_bits is"):
        jattr.calibrate([tiny], own=1, others=0, near_bits=wrong)
