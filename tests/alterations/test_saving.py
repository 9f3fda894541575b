"""How programs save values: to the byte, and the smooth form within rounding of that."""

import numpy as np
import pytest

from jattr.alterations.chain import smooth_observation, smooth_of_bytes
from jattr.alterations.registry import parse_chain

RNG = np.random.default_rng(0)
# beyond [-1, 1] too, as StyleGAN2's are; float32
VALUES = np.clip(0.6 * RNG.normal(size=(2, 16, 16, 3)), -1.3, 1.2).astype(np.float32)


def torchvision_normalize(x):
    """`save_image(x, normalize=True)`: norm_range, then mul(255).add_(0.5).clamp_(0, 255)."""
    low, high = x.min(), x.max()
    x = (x - low) / max(high - low, np.float32(1e-5))
    return np.clip(x * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)


def scipy_bytescale(x):
    """`scipy.misc.bytescale` of floats: (data - cmin) * 255 / (cmax - cmin), then + 0.5."""
    low, high = x.min(), x.max()
    return ((x - low) * (255.0 / (high - low)).astype(x.dtype) + np.float32(0.5)).astype(np.uint8)


def of_clip_low(x):
    """`save_image(x)` of values in [-1, 1]."""
    return np.clip(x * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)


def of_truncate(x):
    """`(255 * (x + 1) / 2).astype(uint8)`, cut off at the ends."""
    return np.clip((x + np.float32(1)) * np.float32(127.5), 0, 255).astype(np.uint8)


def of_round(x):
    return np.clip((x + np.float32(1)) * np.float32(127.5) + np.float32(0.5), 0, 255).astype(
        np.uint8
    )


def of_wrap(x):
    """`(127.5 * x + 127.5).astype(uint8)` as x86 does it: to a whole number, then modulo 256."""
    return ((x + np.float32(1)) * np.float32(127.5)).astype(np.int32).astype(np.uint8)


def of_wrap_low(x):
    """`(255 * x).astype(uint8)`."""
    return (x * np.float32(255)).astype(np.int32).astype(np.uint8)


PROGRAMS = {
    "stretch": torchvision_normalize,
    "clip-low": of_clip_low,
    "truncate": of_truncate,
    "round": of_round,
    "wrap": of_wrap,
    "wrap:127.5:255": of_wrap_low,
}


def saved(text, values):
    return parse_chain(text).discrete_of_values(values, None)


def smooth(text, values):
    """The smooth form of values, in bytes."""
    chain = parse_chain(text)
    state = {
        "generator": values,
        "shift": np.float32(0),
        "parameters": chain.parameters(values.shape[1:]),
        "weight": np.float32(1),
    }
    fn = smooth_observation(lambda state, z, label=None: state, chain, values.shape[1:])
    return (np.asarray(fn(state, np.zeros((len(values), 1)))) + 1.0) * 127.5


@pytest.mark.parametrize("text", PROGRAMS)
def test_bytes_are_those_of_programs(text):
    """Nearly all: float32 sums in another order move a value on the edge between two bytes."""
    for values in VALUES:
        theirs, ours = PROGRAMS[text](values), saved(text, values[None])[0]
        assert (theirs == ours).mean() > 0.99
        difference = (theirs.astype(int) - ours + 128) % 256 - 128
        assert np.abs(difference).max() <= 1


def test_scipys_bytescale_is_the_same_stretch():
    theirs, ours = scipy_bytescale(VALUES[0]), saved("stretch", VALUES[:1])[0]
    assert (theirs == ours).mean() > 0.99
    assert np.abs(theirs.astype(int) - ours).max() <= 1


@pytest.mark.parametrize("text", [*PROGRAMS, "stretch:20:200", "stretch:255:0", "stretch:-30:300"])
def test_smooth_form_lies_in_the_middle(text):
    """Rounding alone is left of bytes 1 to 254: at most half a byte, 1/12 in the mean square."""
    pixels, values = saved(text, VALUES), smooth(text, VALUES)
    inside = (pixels > 0) & (pixels < 255)
    deviations = (values - pixels)[inside]
    assert np.abs(deviations).max() < 0.5 + 1e-3
    assert abs(12 * np.square(deviations).mean() - 1) < 0.1
    # byte 0 is everything below, 255 everything above
    assert values[pixels == 0].max(initial=0) < 0.5 + 1e-3
    assert values[pixels == 255].min(initial=255) > 254.5 - 1e-3


def test_own_ends_are_0_and_255():
    assert saved("stretch", VALUES).min((1, 2, 3)).tolist() == [0, 0]
    assert saved("stretch", VALUES).max((1, 2, 3)).tolist() == [255, 255]
    flat = np.full((1, 4, 4, 3), 0.25, np.float32)
    assert not saved("stretch", flat).any()


def test_bytes_are_taken_as_values():
    """What a program does that reads a file, stretches it and saves it again."""
    pixels = RNG.integers(30, 220, (1, 8, 8, 3)).astype(np.uint8)
    stretched = parse_chain("stretch").discrete(pixels)
    low, high = pixels.min(), pixels.max()
    exact = (pixels.astype(np.float64) - low) * 255.0 / (high - low)
    assert np.abs(stretched - exact).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(parse_chain("truncate").discrete(pixels), pixels)


def test_factors_become_ends():
    """Of a contrast of 1.5 and a middle grey at 0.8 of its value."""
    chain = parse_chain("stretch:?:?").with_factors([1.5, 0.8])
    low, high = chain.steps[0].low, chain.steps[0].high
    assert 255.0 / (high - low) == pytest.approx(1.5, abs=1e-4)
    assert 1.5 * (127.5 - low) == pytest.approx(0.8 * 127.5, abs=1e-2)
    assert chain.free == ()
    assert parse_chain(chain.text) == chain


@pytest.mark.parametrize(
    "text", ["bgr", "channels:120", "invert", "flip", "turn:90", "shift:1:-1:wrap"]
)
def test_one_to_one_steps_lose_nothing(text):
    """Every image gives another one, and the smooth form of bytes is the bytes."""
    pixels = RNG.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    chain = parse_chain(text)
    altered = chain.discrete(pixels)
    assert np.array_equal(np.sort(altered, axis=None), np.sort(pixels, axis=None)) or text in (
        "invert",
    )
    np.testing.assert_allclose((smooth_of_bytes(chain, pixels) + 1) * 127.5, altered, atol=1e-3)
    assert chain.rounds_once


def test_bgr_and_invert():
    pixels = RNG.integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(parse_chain("bgr").discrete(pixels), pixels[..., ::-1])
    np.testing.assert_array_equal(
        parse_chain("channels:120").discrete(pixels)[..., 0], pixels[..., 1]
    )
    np.testing.assert_array_equal(parse_chain("invert").discrete(pixels), 255 - pixels)


def test_moves_fill_in():
    pixels = RNG.integers(0, 256, (2, 5, 6, 3)).astype(np.uint8)
    rolled = parse_chain("shift:1:-2:wrap").discrete(pixels)
    np.testing.assert_array_equal(rolled, np.roll(pixels, (1, -2), (1, 2)))
    filled = parse_chain("shift:1:-2:200").discrete(pixels)
    np.testing.assert_array_equal(filled[:, 1:, :-2], pixels[:, :-1, 2:])
    assert (filled[:, 0] == 200).all()
    assert (filled[:, :, -2:] == 200).all()
    for text in ("shift:1:-2:wrap", "shift:1:-2:200", "border:2:9", "cover:2x3+1+1"):
        chain = parse_chain(text)
        expected = chain.discrete(pixels)
        np.testing.assert_allclose(
            (smooth_of_bytes(chain, pixels) + 1) * 127.5, expected, atol=1e-3
        )


def test_covered_pixels_are_black_in_what_is_compared():
    pixels = RNG.integers(1, 256, (2, 8, 8, 3)).astype(np.uint8)
    chain = parse_chain("flip,cover:2x3+1+4")
    observed = chain.observed(pixels)
    assert not observed[:, 1:3, 4:7].any()
    assert (observed[:, 3:] == pixels[:, 3:]).all()
    assert parse_chain("flip").observed(pixels) is pixels
