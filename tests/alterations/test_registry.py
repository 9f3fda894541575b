"""Every entry of the registry: how it is written, its shapes and gradients, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.alterations.chain import (
    MAX_STEPS,
    Chain,
    smooth_observation,
    smooth_of_bytes,
    smooth_pixels,
)
from jattr.alterations.registry import MAX_CHAIN_TEXT, REGISTRY, parse_chain
from jattr.errors import InputError

SHAPE = (17, 22, 3)
EXAMPLES = {  # an entry without examples fails `test_every_entry_has_examples`
    "resize": ["resize:9x30", "resize:20x20:box", "resize:17x22:hamming"],
    "rescale": ["rescale:0.75", "rescale:1.5:bicubic"],
    "crop": ["crop:9x10+3+4", "crop:17x22+0+0"],
    "centre": ["centre:0.9", "centre:1"],
    "flip": ["flip", "flip:horizontal", "flip:vertical"],
    "turn": ["turn:90", "turn:180", "turn:270"],
    "shift": ["shift:2:-1", "shift:0:0", "shift:1:-1:wrap", "shift:-2:0:0", "shift:0:1:255"],
    "border": ["border:1", "border:2:255"],
    "cover": ["cover:3x3+0+19", "cover:17x1+0+0"],
    "channels": ["channels:210", "channels:120"],
    "bgr": ["bgr"],
    "invert": ["invert"],
    "stretch": ["stretch", "stretch:20:200", "stretch:-30.5:300", "stretch:255:0"],
    "clip-low": ["clip-low"],
    "truncate": ["truncate"],
    "round": ["round"],
    "wrap": ["wrap", "wrap:127.5:255"],
    "blur": ["blur:1", "blur:0.3"],
    "brightness": ["brightness:0.8", "brightness:1.2"],
    "contrast": ["contrast:0.8", "contrast:1.2"],
    "gamma": ["gamma:0.45", "gamma:2.2"],
    "grey": ["grey", "grey:3"],
    "noise": ["noise:0.02"],
    "jpeg": [
        "jpeg:75",
        "jpeg:90:4:4:4",
        "jpeg:100:4:2:2",
        "jpeg:75:4:1:1",
        "jpeg:75:4:4:0",
        "jpeg:75:rgb",
        "jpeg:90:4:2:0:exif2",
        "jpeg:90:4:2:2:exif6",
        "jpeg:75:4:2:0:exif8:decoded",
    ],
}
CASES = [text for texts in EXAMPLES.values() for text in texts]
BAD = {  # parameters that no entry may take
    "resize": [
        "resize",
        "resize:9",
        "resize:0x9",
        "resize:9x5000",
        "resize:9x9:nearest",
        "resize:-9x9",
    ],
    "rescale": [
        "rescale",
        "rescale:x",
        "rescale:0",
        "rescale:nan",
        "rescale:1:nearest",
        "rescale:1:box:box",
    ],
    "crop": ["crop", "crop:9x9", "crop:0x9+0+0", "crop:9x9+-1+0", "crop:9x4096+0+1"],
    "centre": ["centre", "centre:0", "centre:1.1", "centre:nan", "centre:0.5:0.5"],
    "flip": ["flip:x", "flip:", "flip:vertical:vertical"],
    "turn": ["turn", "turn:0", "turn:45", "turn:-90", "turn:360", "turn:x", "turn:90:90"],
    "shift": [
        "shift",
        "shift:1",
        "shift:1.5:0",
        "shift:5000:0",
        "shift:1:1:256",
        "shift:1:1:edge",
        "shift:1:1:-1",
        "shift:1:1:1:1",
        "shift:5000:0:wrap",
    ],
    "border": ["border", "border:0", "border:1:256", "border:1:0:0", "border:x"],
    "cover": ["cover", "cover:0x1+0+0", "cover:9x9", "cover:9x9+0+0:0", "cover:9x4096+0+1"],
    "channels": ["channels", "channels:0", "channels:211", "channels:x", "channels:210:0"],
    "bgr": ["bgr:210", "bgr:"],
    "invert": ["invert:1"],
    "stretch": [
        "stretch:1",
        "stretch:?",
        "stretch:?:200",
        "stretch:9:9",
        "stretch:nan:1",
        "stretch:0:inf",
        "stretch:0:1:2",
    ],
    "clip-low": ["clip-low:1"],
    "truncate": ["truncate:1"],
    "round": ["round:1"],
    "wrap": ["wrap:1", "wrap:1:1", "wrap:nan:1", "wrap:?:?"],
    "blur": ["blur", "blur:0", "blur:inf", "blur:nan", "blur:-1"],
    "brightness": [
        "brightness",
        "brightness:0",
        "brightness:-1",
        "brightness:nan",
        "brightness:1000",
    ],
    "contrast": ["contrast", "contrast:0", "contrast:inf"],
    "gamma": ["gamma", "gamma:0", "gamma:1:1"],
    "grey": ["grey:2", "grey:x", "grey:1:1"],
    "noise": ["noise", "noise:0", "noise:1.1", "noise:nan", "noise:0.1:-1"],
    "jpeg": [
        "jpeg",
        "jpeg:0",
        "jpeg:101",
        "jpeg:75.5",
        "jpeg:75:4:4:1",
        "jpeg:own-0123456789abcdef:4:2:0",
        "jpeg:75:exif1",
        "jpeg:75:exif9",
        "jpeg:75:exif",
        "jpeg:75:exif6:4:2:0",
        "jpeg:75:decoded:exif6",
    ],
}
UNFIT = [
    ("grey", (8, 8, 1)),
    ("crop:9x9+0+0", (8, 20, 3)),
    ("crop:2x2+0+7", (8, 8, 3)),
    ("jpeg:75", (8, 8, 1)),
    ("rescale:100", (64, 64, 3)),
    ("centre:0.5,crop:5x5+0+0", (8, 8, 3)),
    ("grey,jpeg:75", (8, 8, 3)),
    ("bgr", (8, 8, 1)),
    ("channels:2103", (8, 8, 3)),
    ("cover:9x1+0+0", (8, 8, 3)),
    ("cover:8x8+0+0", (8, 8, 3)),
    ("border:3000", (2000, 8, 3)),
]


def given(state, z, *, label=None):
    """A generator whose image is its latent."""
    return z


def test_every_entry_has_examples():
    assert set(EXAMPLES) == set(BAD) == set(REGISTRY)


@pytest.mark.parametrize("text", CASES)
def test_text_is_read_again(text):
    chain = parse_chain(text)
    assert parse_chain(chain.text) == chain
    assert parse_chain(chain.text).digest == chain.digest
    assert parse_chain(f" {text} ,").steps == chain.steps
    assert hash(chain) == hash(parse_chain(chain.text))
    assert chain.steps[0].name == text.partition(":")[0]


def test_different_chains_have_different_digests():
    chains = {parse_chain(text) for text in CASES}
    assert len({chain.digest for chain in chains}) == len(chains)
    assert parse_chain("flip,blur:1").digest != parse_chain("blur:1,flip").digest


@pytest.mark.slow
@pytest.mark.parametrize("text", CASES)
def test_shapes_agree(text):
    chain = parse_chain(text)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    before = pixels.copy()
    shape = chain.out_shape(SHAPE)
    looks = chain.final_pixels(pixels)
    assert looks.shape == (2, *shape)
    assert looks.dtype == np.uint8
    np.testing.assert_array_equal(pixels, before)
    smooth = smooth_of_bytes(chain, pixels)
    assert smooth.dtype == np.float32
    assert smooth.shape == (
        (2, *shape) if chain.jpeg is None else (2, 1, len(chain.jpeg.groups(shape)), 1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("text", CASES)
def test_gradients_are_finite_also_at_the_ends(text):
    """At random images, of values beyond the range too, and where every value is -1 or 1.

    Under jit, traced once.
    """
    chain = parse_chain(text)
    state = {
        "generator": (),
        "shift": jnp.float32(0),
        "parameters": chain.parameters(SHAPE),
        "weight": jnp.float32(1),
    }
    fn = smooth_observation(given, chain, SHAPE)
    traced = []

    def total(x):
        traced.append(1)
        return jnp.sum(fn(state, x) ** 2)

    both = jax.jit(jax.value_and_grad(total))
    random = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    for x in (random, -jnp.ones_like(random), jnp.ones_like(random)):
        value, gradient = both(x)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    assert np.abs(both(0.5 * random)[1]).max() > 0  # 0.5: inside the range
    assert len(traced) == 1


def test_functions_are_shared_so_that_programs_are():
    """Alterations of one kind differ in their parameters only.

    One compiled program for all factors and tables.
    """
    for a, b in (
        ("blur:1", "rescale:1"),
        ("gamma:2", "gamma:0.5"),
        ("jpeg:50", "jpeg:90"),
        ("flip", "shift:1:1"),
        ("shift:1:0:wrap", "border:2:255"),
        ("stretch:20:200", "clip-low"),
        ("stretch:20:200", "truncate"),
        ("wrap", "wrap:127.5:255"),
        ("bgr", "channels:120"),
        ("cover:1x1+0+0", "cover:2x2+5+5"),
    ):
        assert smooth_observation(given, parse_chain(a), SHAPE) == smooth_observation(
            given, parse_chain(b), SHAPE
        )
    other = smooth_observation(given, parse_chain("jpeg:50:4:4:4"), SHAPE)
    assert other != smooth_observation(given, parse_chain("jpeg:50"), SHAPE)
    compressed, plain = (
        smooth_pixels(given, parse_chain(text), SHAPE) for text in ("blur:1,jpeg:90", "blur:1")
    )
    assert compressed == plain


@pytest.mark.parametrize("text", [text for texts in BAD.values() for text in texts])
def test_bad_parameters_are_refused(text):
    """One line, which shows the form or the legal values."""
    with pytest.raises(InputError) as error:
        parse_chain(text)
    message = str(error.value)
    assert "\n" not in message
    assert REGISTRY[text.partition(":")[0]][1] in message or any(
        word in message for word in ("give ", "it is ", "sides are")
    )


@pytest.mark.parametrize("text", ["sharpen:1", "BLUR:1", "blur 1", "jpg:75", "flip;blur:1"])
def test_unknown_names_are_refused_with_the_known_ones(text):
    with pytest.raises(InputError, match="there is no alteration") as error:
        parse_chain(text)
    assert all(name in str(error.value) for name in REGISTRY)


def test_too_long_is_refused():
    with pytest.raises(InputError, match=f"at most {MAX_STEPS} are legal"):
        parse_chain(",".join(["flip"] * (MAX_STEPS + 1)))
    assert len(parse_chain(",".join(["flip"] * MAX_STEPS)).steps) == MAX_STEPS
    with pytest.raises(InputError, match=f"at most {MAX_CHAIN_TEXT} are legal"):
        parse_chain("flip," * MAX_CHAIN_TEXT)


@pytest.mark.parametrize(("text", "shape"), UNFIT)
def test_images_of_another_kind_are_refused(text, shape):
    with pytest.raises(InputError) as error:
        parse_chain(text).out_shape(shape)
    assert "\n" not in str(error.value)


def test_nothing_is_an_empty_chain():
    for text in ("", " , "):
        chain = parse_chain(text)
        assert chain == Chain(())
        assert chain.text == ""
        assert chain.proves
        assert chain.copies
        assert chain.out_shape(SHAPE) == SHAPE


def test_compression_belongs_to_the_end():
    chain = parse_chain("flip,jpeg:90")
    assert chain.jpeg is chain.steps[-1]
    assert chain.before == chain.steps[:1]
    assert chain.proves
    assert not chain.copies


@pytest.mark.parametrize("text", ["flip,stretch", "invert,wrap", "stretch,clip-low"])
def test_how_values_are_saved_comes_first(text):
    with pytest.raises(InputError, match="write it first"):
        parse_chain(text)


@pytest.mark.parametrize("text", ["cover:1x1+0+0,flip", "cover:1x1+0+0,jpeg:90"])
def test_covers_come_last(text):
    with pytest.raises(InputError, match="write cover last"):
        parse_chain(text)
    assert len(parse_chain("flip,cover:1x1+0+0,cover:2x2+5+5").steps) == 3
