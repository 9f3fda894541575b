"""Images that were a JPEG once: which compression it was, and what its coefficients were."""

import dataclasses
import io

import numpy as np
import pytest
from image_files import encoded
from PIL import Image, features
from scipy.ndimage import gaussian_filter

from jattr.alterations import AlteredImages, Jpeg, alter, find_jpeg, from_decoded, parse_chain
from jattr.alterations.history import NO_TRACES, Traces, find_blocks, find_chroma, traces_of
from jattr.alterations.jpeg import to_ycc
from jattr.errors import ImageError
from jattr.images.jpeg import JpegFormat

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


ROUGH_KINDS = ["4:4:0", "4:1:1", "4:1:0"]


@pytest.mark.parametrize("kind", ROUGH_KINDS)
def test_unusual_samplings_are_found(kind):
    for image in Jpeg.of_quality(75, kind).discrete(images(2)):
        assert find_jpeg(image).text == f"jpeg:75:{kind}:decoded"


def colourful(count, side=32, seed=0):
    """Images with colours of every scale, a few pixels at 0 and 255."""
    rng = np.random.default_rng(seed)
    parts = [gaussian_filter(rng.normal(size=(count, side, side, 3)), (0, s, s, 0)) for s in (1, 4)]
    made = 128 + 30 * sum(part / part.std() for part in parts)
    return np.clip(made, 0, 255).astype(np.uint8)


def filled(image, kernel, rows, columns):
    """An image whose chroma has one sample in rows x columns, filled in."""
    luma, *chroma = np.moveaxis(image @ to_ycc(), -1, 0)
    planes = [luma]
    for plane in chroma:
        height, width = plane.shape
        few = plane.reshape(height // rows, rows, width // columns, columns).mean((1, 3))
        for axis, times in ((0, rows), (1, columns)):
            interpolates = kernel == "interpolated" and times == 2
            few = interpolated(few, axis) if interpolates else np.repeat(few, times, axis)
        planes.append(few)
    return np.clip(np.stack(planes, -1) @ np.linalg.inv(to_ycc()) + 0.5, 0, 255).astype(np.uint8)


def interpolated(samples, axis):
    """Twice as many samples: weights 3/4 and 1/4 of the two next ones, edges repeated."""
    moved = np.moveaxis(samples, axis, 0)
    padded = np.concatenate([moved[:1], moved, moved[-1:]])
    pairs = [(3 * padded[1:-1] + padded[:-2]) / 4, (3 * padded[1:-1] + padded[2:]) / 4]
    both = np.stack(pairs, 1).reshape(2 * len(moved), *moved.shape[1:])
    return np.moveaxis(both, 0, axis)


@pytest.mark.parametrize(
    ("kernel", "rows", "columns"),
    [
        ("interpolated", 2, 2),
        ("interpolated", 1, 2),
        ("interpolated", 2, 1),
        ("repeated", 2, 2),
        ("repeated", 1, 4),
        ("repeated", 1, 2),
    ],
)
def test_averaged_chroma_is_seen_whoever_filled_it_in(kernel, rows, columns):
    for image in colourful(5):
        assert find_chroma(filled(image, kernel, rows, columns))
        assert not find_chroma(image)
        # luma is not looked at, and a shift by one pixel is no such image's
        assert not find_chroma(np.repeat(image[..., :1], 3, -1))


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
@pytest.mark.parametrize("quality", [50, 80])
def test_other_formats_leave_averaged_chroma(kind, quality):
    if not features.check(kind.lower()):
        pytest.skip(f"this Pillow writes no {kind}")
    for image in colourful(4):
        decoded = np.asarray(Image.open(io.BytesIO(encoded(image, kind, quality=quality))))
        assert traces_of(decoded[..., :3]).chroma


def test_blocks_are_seen_whatever_the_tables():
    tables = tuple(
        np.random.default_rng(at).integers(10, 60, (8, 8), dtype=np.uint16) for at in range(3)
    )
    jpeg = Jpeg(JpegFormat(tables, ((1, 1),) * 3))
    made = images(6, side=32)
    assert all(find_blocks(image) for image in jpeg.discrete(made))
    assert not any(find_blocks(image) for image in made)
    # blocks that do not begin at the corner are not the image's
    assert not find_blocks(jpeg.discrete(images(1, side=64))[0][3:35, 5:37])


def test_images_as_they_were_made_show_nothing():
    rng = np.random.default_rng(3)
    edge = np.full((32, 32, 3), 100, np.uint8)
    edge[:, 16:] = (200, 30, 60)
    assert traces_of(np.zeros((32, 32, 4), np.uint8)) == NO_TRACES
    assert traces_of(edge) == NO_TRACES
    assert traces_of(rng.integers(0, 256, (5, 5, 1), np.uint8)) == NO_TRACES
    for image in (*colourful(10, seed=1), *images(5, side=32, seed=2)):
        assert traces_of(image) == NO_TRACES


def test_what_a_compression_does_not_explain():
    """Its own blocks and chroma it does; a coarser one before it, or averaged chroma, not."""
    fine, coarse = Jpeg.of_quality(92, "4:4:4"), Jpeg.of_quality(50, "4:2:0")
    made = colourful(1, side=64)
    once = coarse.discrete(made)
    traces = traces_of(once[0])
    assert traces.unexplained(None)
    assert traces.unexplained(traces.jpeg) == traces.unexplained(coarse) == ""
    assert "earlier" in traces_of(fine.discrete(once)[0]).unexplained(fine)
    assert traces_of(fine.discrete(made)[0]).unexplained(fine) == ""
    assert Traces(chroma="chroma that was repeated").unexplained(fine)
    assert not Traces(chroma="chroma that was repeated").unexplained(coarse)
