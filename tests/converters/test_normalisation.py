"""Weight and spectral normalisation: the factors in a file become the weight they stand for."""

import numpy as np
import pytest
from dcgan_files import generator_state
from jattr.converters.detect import Weights, detect
from jattr.converters.normalisation import SpectralNorm, fold_normalisation
from jattr.converters.rules import UnfitError

from jattr.errors import ConversionError

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(5, 8, 4, 4)).astype(np.float32)
STATE = {"a.weight": WEIGHT, "a.bias": np.ones(5, np.float32)}


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def replaced(factors, name="a"):
    """A layer with its weight as factors, and another without."""
    parts = {f"{name}.{part}" if name else part: array for part, array in factors.items()}
    return parts | {"b.weight": WEIGHT}


def power_iterated(weight, axis, steps=500):
    """Vectors u and v of a weight whose axis has the outputs, as training leaves them."""
    matrix = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    u = RNG.normal(size=len(matrix))
    for _ in range(steps):
        v = u @ matrix
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return u.astype(np.float32), v.astype(np.float32)


@pytest.mark.parametrize("spelling", [("weight_g", "weight_v"), ("original0", "original1")])
@pytest.mark.parametrize("shape", [(5, 1, 1, 1), (1, 8, 1, 1), (1, 1, 1, 1), ()])
def test_weight_normalisation(spelling, shape):
    g, v = normal(*shape), normal(5, 8, 4, 4)
    if spelling[0] == "original0":
        spelling = [f"parametrizations.weight.{part}" for part in spelling]
    folded = fold_normalisation(replaced(dict(zip(spelling, (g, v), strict=True))))
    axes = tuple(axis for axis in range(4) if not shape or shape[axis] == 1)
    expected = g * v / np.sqrt(np.sum(np.float64(v) ** 2, axis=axes, keepdims=True)).astype("f4")
    np.testing.assert_allclose(folded.tensors["a.weight"], expected, rtol=1e-6)
    assert folded.tensors["a.weight"].dtype == np.float32
    assert list(folded.tensors) == ["a.weight", "b.weight"]
    assert folded.folded == ("weight normalisation of 1 weight",)


SPECTRAL = {
    "hooks": ("weight_orig", "weight_u", "weight_v"),
    "parametrizations": tuple(
        f"parametrizations.weight.{part}" for part in ("original", "0._u", "0._v")
    ),
}


@pytest.mark.parametrize("spelling", SPECTRAL)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(5, 8, 4, 4), (6, 6, 4, 4), (7, 3), (6, 6)])
def test_spectral_normalisation(spelling, axis, shape):
    """By the lengths of u and v where they tell the axis, by the power iteration where not."""
    weight = normal(*shape)
    u, v = power_iterated(weight, axis)
    factors = dict(zip(SPECTRAL[spelling], (weight, u, v), strict=True))
    folded = fold_normalisation(replaced(factors))
    matrix = np.moveaxis(weight, axis, 0).reshape(shape[axis], -1)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    sigma = float(u @ (matrix @ v))
    assert 0.9 * largest < sigma <= 1.001 * largest
    np.testing.assert_allclose(folded.tensors["a.weight"], weight / sigma, rtol=1e-5)
    assert folded.folded == ("spectral normalisation of 1 weight",)


def test_sigma_is_that_of_the_file_and_not_the_true_one():
    """Eval mode divides by u^T W v of the stored vectors, converged or not."""
    u, v = normal(5), normal(128)
    folded = fold_normalisation(replaced({"weight_orig": WEIGHT, "weight_u": u, "weight_v": v}))
    np.testing.assert_allclose(
        folded.tensors["a.weight"], WEIGHT / (u @ (WEIGHT.reshape(5, -1) @ v)), rtol=1e-4
    )


def test_pruning_and_the_first_spelling_of_spectral_normalisation():
    mask = (RNG.random(WEIGHT.shape) < 0.5).astype(np.float32)
    folded = fold_normalisation(replaced({"weight_orig": WEIGHT, "weight_mask": mask}))
    np.testing.assert_array_equal(folded.tensors["a.weight"], WEIGHT * mask)
    parts = {"weight_orig": WEIGHT, "weight": WEIGHT / 3, "weight_u": normal(5)}
    folded = fold_normalisation(replaced(parts))
    np.testing.assert_array_equal(folded.tensors["a.weight"], WEIGHT / 3)


def test_what_is_not_normalised_stays_the_same():
    assert fold_normalisation(STATE).tensors is STATE
    factors = {"weight_g": normal(5, 1), "weight_v": normal(5, 3)}
    assert list(fold_normalisation(factors).tensors) == ["weight"]


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"weight_g": normal(4, 1, 1, 1), "weight_v": WEIGHT}, "do not fit its directions"),
        ({"weight_g": normal(5, 1), "weight_v": WEIGHT}, "do not fit its directions"),
        ({"weight_g": normal(5)}, "is stored as weight_g"),
        (
            {"weight_orig": WEIGHT, "weight_u": normal(4), "weight_v": normal(128)},
            "these shapes do not fit",
        ),
        (
            {"weight_orig": normal(64, 64), "weight_u": normal(64), "weight_v": normal(64)},
            "which axis has the outputs cannot be told",
        ),
        ({"weight_orig": WEIGHT, "weight_mask": normal(5)}, "a mask of another shape"),
        ({"parametrizations.weight.original": WEIGHT}, "is stored as original"),
        ({"parametrizations.weight.0.base": WEIGHT}, "remove the parametrization"),
        ({"module.weight_bar": WEIGHT}, "goes on changing in eval mode"),
        ({"weight_g": np.ones(5, np.int64), "weight_v": WEIGHT}, "is int64"),
    ],
)
def test_factors_that_do_not_fit(factors, words):
    with pytest.raises(UnfitError, match=words):
        fold_normalisation(replaced(factors))


def test_the_cosine_that_tells_the_axis_is_a_setting():
    factors = {"weight_orig": normal(64, 64), "weight_u": normal(64), "weight_v": normal(64)}
    with pytest.raises(UnfitError):
        fold_normalisation(replaced(factors), spectral=SpectralNorm(agreement=0.99))


def spectral_state(normalise):
    """A DCGAN generator whose convolutions have factors; `normalise(weight)` gives them."""
    state = {}
    for name, array in generator_state().items():
        factors = normalise(array) if array.ndim == 4 else {"": array}
        stem = name.removesuffix("weight") if array.ndim == 4 else name
        state |= {f"{stem}{part}": value for part, value in factors.items()}
    return state


def test_a_generator_with_spectral_normalisation():
    def normalise(weight):
        u, v = power_iterated(weight, 1)
        return {"weight_orig": weight, "weight_u": u, "weight_v": v}

    match = detect(Weights("g.pt", {"netG": spectral_state(normalise)}))
    assert match.notes == ("folded: spectral normalisation of 3 weights",)
    assert match.tensors.keys() == generator_state().keys()
    for name, array in generator_state().items():
        if array.ndim == 4:
            sigma = np.linalg.svd(np.moveaxis(array, 1, 0).reshape(array.shape[1], -1))[1][0]
            np.testing.assert_allclose(match.tensors[name] * sigma, array, rtol=0.05, atol=0.02)


def test_a_generator_whose_factors_do_not_fit_says_so():
    state = spectral_state(lambda weight: {"weight_g": normal(9, 1), "weight_v": weight})
    with pytest.raises(ConversionError, match="do not fit its directions"):
        detect(Weights("g.pt", state))
