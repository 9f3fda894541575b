"""Resampling: against its definition, and what JAX's transformations make of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.generators.filters import Axis, resample

AXES = {
    "up 2": Axis(9, up=2, before=3),
    "up 4, cut in front": Axis(13, up=4, before=-3),
    "up by more than the taps": Axis(30, up=7, before=2),
    "down 2": Axis(4, down=2),
    "down 3, more zeros than samples": Axis(5, down=3, before=9),
    "both, 3 / 2": Axis(7, up=3, down=2, before=1),
}
SHAPES = {"separable": (5,), "not separable": (5, 5)}
TOLERANCE = 1e-5  # of the largest number: float32 sums of up to 25 products


def by_definition(x, taps, axis):
    """Along axis 1 of x: y[o] = sum_k taps[k] z[down o + K - 1 - k], with zeros put between and
    around samples.
    """
    far = axis.down * axis.size + len(taps)
    z = np.zeros((len(x), 2 * far + axis.up * x.shape[1], *x.shape[2:]))
    first = far + axis.before
    z[:, first : first + axis.up * x.shape[1] : axis.up] = x
    at = far + axis.down * np.arange(axis.size) + len(taps) - 1
    return sum(tap * z[:, at - k] for k, tap in enumerate(taps))


def plane_by_definition(x, taps, axis):
    """Along axes 1 and 2; a filter of two axes is a sum of one row for each tap of axis 1."""
    if taps.ndim == 1:
        taps = np.outer(taps, taps)
    rows = np.eye(len(taps))
    return sum(
        by_definition(by_definition(x, row, axis).swapaxes(1, 2), part, axis).swapaxes(1, 2)
        for row, part in zip(rows, taps, strict=True)
    )


def example(axis, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 6, 3)).astype(np.float32)
    return x, rng.normal(size=shape).astype(np.float32), lambda x, taps: resample(x, taps, axis)


def assert_near(found, expected):
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_values_are_those_of_the_definition(axis, shape):
    x, taps, fn = example(axis, shape)
    expected = plane_by_definition(x, taps, axis)
    assert_near(jax.jit(fn)(x, taps), expected)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_the_transpose_is_that_of_the_linear_map(axis, shape):
    x, taps, fn = example(axis, shape)
    y = np.random.default_rng(1).normal(size=(2, axis.size, axis.size, 3)).astype(np.float32)
    to_x, to_taps = jax.jit(lambda x, taps: jax.vjp(fn, x, taps)[1](y))(x, taps)
    basis = np.eye(36).reshape(36, 6, 6, 1)
    columns = plane_by_definition(basis, taps, axis)  # what each pixel alone gives
    assert_near(to_x, np.einsum("phwo,nhwc->npc", columns, y).reshape(x.shape))
    steps = np.eye(taps.size).reshape(-1, *shape) / 2
    pairs = [
        (plane_by_definition(x, taps + step, axis), plane_by_definition(x, taps - step, axis))
        for step in steps
    ]
    # exact: at most quadratic in taps
    expected = np.reshape([np.sum(y * (high - low)) for high, low in pairs], shape)
    assert_near(to_taps, expected)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_tangents_and_lanes(shape):
    x, taps, fn = example(AXES["up 2"], shape)
    y = fn(x, taps)
    value, tangent = jax.jvp(lambda x: fn(x, taps), (x,), (3 * x,))
    assert_near(value, y)
    assert_near(tangent, 3 * y)
    assert_near(
        jax.vmap(fn, in_axes=(1, None))(np.stack([x, 2 * x], axis=1), taps), np.stack([y, 2 * y])
    )
    degree = len(shape) == 1
    both = jax.vmap(fn, in_axes=(None, 0))(x, np.stack([taps, 2 * taps]))
    assert_near(both, np.stack([y, (4 if degree else 2) * y]))


def test_a_filter_that_is_not_finite_is_seen():
    x, _, fn = example(AXES["down 2"], (5,))
    assert jnp.isnan(jax.jit(fn)(x, np.full(5, np.nan, np.float32))).all()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_it_can_be_compiled_for(platform):
    x, taps, fn = example(AXES["up 2"], (5, 5))
    text = jax.jit(fn).trace(x, taps).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.case" in text) == (platform == "cpu")
