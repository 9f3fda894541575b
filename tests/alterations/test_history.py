"""Images that were a JPEG once: which compression it was, and what its coefficients were."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jattr.alterations import AlteredImages, Jpeg, alter, find_jpeg, from_decoded, parse_chain
from jattr.errors import ImageError

KINDS = ["4:4:4", "4:2:2", "4:2:0"]


def images(count, side=64, channels=3, seed=0):
    """Soft random images of muted colours with an edge and some grain; few pixels at 0 and 255."""
    rng = np.random.default_rng(seed)
    light, colour = (
        gaussian_filter(rng.normal(size=(count, side, side, n)), (0, 2, 2, 0))
        for n in (1, channels)
    )
    made = (
        128
        + 45 * light / light.std()
        + 12 * colour / colour.std()
        + 40 * (np.arange(side) > 20)[:, None]
        - 20
    )
    return np.clip(made + 4 * rng.normal(size=light.shape), 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quality", [30, 75, 90, 95])
def test_quality_and_sampling_are_found(quality, kind):
    jpeg = Jpeg.of_quality(quality, kind)
    for image in jpeg.discrete(images(3)):
        found = find_jpeg(image)
        assert found.decoded
        # neighbours can have the same tables
        assert np.abs(int(found.text.split(":")[1]) - quality) <= 1
        assert found.format.sampling == jpeg.format.sampling


def test_grey_images_are_looked_at_too():
    found = find_jpeg(Jpeg.of_quality(80, "grey").discrete(images(1, channels=1))[0])
    assert found.text == "jpeg:80:grey:decoded"


@pytest.mark.slow
def test_images_that_never_were_one_show_none():
    assert [find_jpeg(image) for image in images(30, seed=5)] == [None] * 30
    assert find_jpeg(np.zeros((32, 32, 3), np.uint8)) is None
    assert find_jpeg(np.zeros((32, 32, 4), np.uint8)) is None
    noise = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    assert [find_jpeg(image) for image in noise] == [None] * 10


@pytest.mark.parametrize(
    ("text", "share"), [("75:4:4:4", 0.999), ("75:4:2:0", 0.99), ("50:4:2:0", 0.999)]
)
def test_coefficients_come_back_and_most_of_those_that_do_not_are_known(text, share):
    """Coefficients of a second compression are those of the first.

    Wrong ones are nearly all marked as doubtful.
    """
    made = images(8)
    jpeg = parse_chain(f"jpeg:{text}:decoded").jpeg
    first = dataclasses.replace(jpeg, decoded=False).quantised(made)
    decoded = jpeg.discrete(made)
    again, uncertain = jpeg.requantised(decoded), jpeg.uncertain(decoded)
    np.testing.assert_array_equal(jpeg.quantised(made), again)
    assert (again == first)[~uncertain].mean() >= share
    assert not dataclasses.replace(jpeg, decoded=False).uncertain(decoded).any()


def test_blocks_with_cut_off_pixels_are_doubtful_as_a_whole():
    made = np.full((1, 32, 32, 3), 100, np.uint8)
    made[0, 20, 9] = 255
    uncertain = parse_chain("jpeg:90:4:2:0:decoded").jpeg.uncertain(made)[0]
    luma = uncertain[: 16 * 64].reshape(4, 4, 64).all(-1)
    assert np.argwhere(luma).tolist() == [[2, 1]]
    chroma = uncertain[16 * 64 :].reshape(2, 2, 2, 64).all(-1)
    assert np.argwhere(chroma).tolist() == [[0, 1, 0], [1, 1, 0]]


def test_sizes_that_are_no_multiples_of_a_block():
    jpeg = parse_chain("jpeg:75:4:2:0:decoded").jpeg
    made = images(2, side=37)
    decoded = jpeg.discrete(made)
    assert jpeg.uncertain(decoded).shape == jpeg.requantised(decoded).shape
    assert find_jpeg(decoded[0]).text == jpeg.text


def test_the_text_is_read_back_and_decoded_is_another_alteration():
    chain = parse_chain("blur:1,jpeg:75:4:2:0:decoded")
    assert parse_chain(chain.text) == chain
    assert chain != parse_chain("blur:1,jpeg:75:4:2:0")
    assert parse_chain("jpeg:75:decoded").text == "jpeg:75:4:2:0:decoded"


def test_altered_images_of_arrays_and_of_what_was_saved_are_the_same():
    made, chain = images(2), parse_chain("jpeg:75:4:2:0:decoded")
    one = alter(made, chain)
    two = from_decoded(chain.jpeg.discrete(made), parse_chain("jpeg:75:4:2:0"))
    assert isinstance(one, AlteredImages)
    assert one.chain == two.chain == chain
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.quantised, two.quantised)


@pytest.mark.parametrize(
    ("text", "words"), [("blur:1", "does not end"), ("", "no alteration"), ("jpeg:75:grey", "1 c")]
)
def test_chains_without_a_fitting_compression_are_refused(text, words):
    with pytest.raises(ImageError, match=words):
        from_decoded(images(1), parse_chain(text))
