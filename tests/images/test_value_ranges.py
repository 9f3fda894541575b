"""Images as arrays: what floats mean is said, or seen by a negative number, and never guessed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr import attribute, calibrate, compare_solvers, invert, problem_of, solve
from jattr.errors import ImageError, InputError
from jattr.images import as_bytes, to_float
from jattr.inversion.config import InvertConfig

BYTES = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
QUICK = InvertConfig(restarts=1, steps=3, pool=64).search


@pytest.fixture(scope="module")
def own(tiny):
    """Two own images, bytes."""
    return tiny.sample_images(jax.random.key(3), 2).images


@pytest.fixture(scope="module")
def doors(tiny):
    """What takes float images, by name; each is refused before anything is searched."""
    return {
        "attribute": lambda images, **options: attribute(images, [tiny], search=QUICK, **options),
        "alterations": lambda images, **options: attribute(
            images, [tiny], alterations="brightness:0.9", search=QUICK, **options
        ),
        "list": lambda images, **options: attribute([images], [tiny], search=QUICK, **options),
        "invert": lambda images, **options: invert(tiny, images, search=QUICK, **options),
        "problem_of": lambda images, **options: problem_of(
            tiny, images[0] if len(images.shape) == 4 else images, **options
        ),
    }


DOORS = ("attribute", "alterations", "list", "invert", "problem_of")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_each_range_are_the_bytes_that_they_came_from(dtype):
    unit = (BYTES / 255).astype(dtype)
    np.testing.assert_array_equal(as_bytes(unit, (0, 1)), BYTES)
    np.testing.assert_array_equal(as_bytes(to_float(BYTES).astype(dtype)), BYTES)
    np.testing.assert_array_equal(as_bytes(to_float(BYTES).astype(dtype), (-1.0, 1.0)), BYTES)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_floats_without_a_negative_number_are_refused_with_the_ways_out(doors, own, door, array):
    with pytest.raises(ImageError) as said:
        doors[door](array((own / 255).astype(np.float32)))
    words = str(said.value)
    for way in ("[0, 1]", "[-1, 1]", "value_range=(0, 1)", "value_range=(-1, 1)", "uint8", "2 *"):
        assert way in words
    assert "\n" not in words


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: np.float32(x), "images.astype(np.uint8)"),
        (lambda x: np.int64(x), "images.astype(np.uint8)"),
        (lambda x: np.uint16(x), "images.astype(np.uint8)"),
        (lambda x: x > 127, "bool"),
        (lambda x: to_float(x) * np.nan, "NaN"),
        (lambda x: np.where(x == x[0].max(), np.inf, to_float(x)), "infinite"),
        (lambda x: to_float(x) * 1.5, "np.clip(images, -1, 1)"),
        (lambda x: to_float(x).astype(complex), "complex128"),
        (lambda x: jnp.asarray(to_float(x), jnp.bfloat16), "bfloat16"),
    ],
)
def test_other_values_are_one_line(doors, own, door, change, words):
    with pytest.raises(ImageError) as said:
        doors[door](change(own))
    assert words in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("door", ["attribute", "invert"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: np.moveaxis(x, -1, 1), "np.moveaxis(images, -3, -1)"),
        (lambda x: np.moveaxis(x, -1, 1)[0], "np.moveaxis(images, -3, -1)[None]"),
        (lambda x: x[0], "image[None]"),
        (lambda x: x[..., 0], "shape (2, 8, 8)"),
        (lambda x: x[..., :1], "greyscale was given, RGB is wanted"),
        (lambda x: x[:0], "shape (0, 8, 8, 3)"),
    ],
)
def test_other_shapes_are_one_line(doors, own, door, change, words):
    with pytest.raises(ImageError) as said:
        doors[door](change(own))
    assert words in str(said.value)


def test_one_problem_has_one_image(tiny, own):
    with pytest.raises(ImageError, match=r"np.moveaxis\(images, -3, -1\);"):
        problem_of(tiny, np.moveaxis(own[0], -1, 0))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (lambda x: x, (0, 1)),  # bytes have one meaning
        (lambda x: to_float(x), (0, 255)),
        (lambda x: to_float(x), "0..1"),
        (lambda x: to_float(x), (0, 1)),  # it has negative numbers
    ],
)
def test_a_range_that_cannot_be_is_refused(doors, own, door, images, value_range):
    with pytest.raises(ImageError, match="value_range"):
        doors[door](images(own), value_range=value_range)


def test_no_array_at_all():
    for images in ([np.zeros((2, 2)), np.zeros((3, 3))], ["a.png"], None, object()):
        with pytest.raises(ImageError):
            as_bytes(images)


def test_what_is_said_is_searched(tiny, own):
    plain = invert(tiny, own, search=QUICK)
    said = invert(tiny, (own / 255).astype(np.float32), search=QUICK, value_range=(0, 1))
    np.testing.assert_array_equal(plain.z, said.z)
    pale = np.abs(to_float(own))
    floats = invert(tiny, pale, search=QUICK, value_range=(-1, 1))
    np.testing.assert_array_equal(floats.z, invert(tiny, as_bytes(pale, (-1, 1)), search=QUICK).z)


@pytest.mark.slow
def test_traced_images_are_taken_as_said(tiny, own):
    def loss(image):
        problem = problem_of(tiny, image, value_range=(0, 1))
        return solve(problem, "levenberg-marquardt", jnp.zeros(6), steps=2).loss

    unit = jnp.asarray(own[0] / 255, jnp.float32)
    assert float(jax.jit(loss)(unit)) == pytest.approx(float(loss(unit)), rel=1e-3)


def test_what_takes_bytes_alone_says_how_floats_become_bytes(tiny, own):
    unit = own / np.float32(255)
    for call in (
        lambda: calibrate([tiny], negatives={"photographs": unit}),
        lambda: compare_solvers(tiny, {"lbfgs": "lbfgs"}, images=unit),
    ):
        with pytest.raises(InputError, match=r"np.round\(255 \* images\)"):
            call()
    with pytest.raises(InputError, match="list"):
        calibrate([tiny], negatives={"photographs": list(own)})
