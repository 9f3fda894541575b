"""Every convolution form against the plain one: value, gradient and directional derivative."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.generators import ops

# float32 sums of up to 5 * 5 * 3 products of numbers around 1, in another order
TOLERANCE = 2e-5

# (stride, kernel): kernels smaller than the stride, as large, multiples of it, with remainders
SIZES = [
    *((1, size) for size in (1, 2, 3, 5)),
    *((2, size) for size in (1, 2, 3, 4, 5)),
    *((3, size) for size in (2, 3, 4, 5)),
]
# padding, replicated at every other size
CONV_CASES = [(stride, k, k % 3, k % 2 == 0) for stride, k in SIZES]
CONV_TRANSPOSE_CASES = sorted(
    {(stride, k, pad, stride - 1) for stride, k in SIZES for pad in (0, k // 2)}
)


def sample_of(cases):
    """Return the cases, of which the default suite has every fourth."""
    return [
        case if not number % 4 else pytest.param(*case, marks=pytest.mark.corpus)
        for number, case in enumerate(cases)
    ]


def values(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def derivatives(function, x, kernel, direction):
    """The value at x, the gradients of a fixed weighted sum of it, and the derivative along a
    direction.
    """
    y, pull = jax.vjp(function, x, kernel)
    gradient, by_kernel = pull(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))
    tangent = jax.jvp(lambda x: function(x, kernel), (x,), (direction,))[1]
    return {"value": y, "gradient": gradient, "by_kernel": by_kernel, "derivative": tangent}


def compare(operation, forms, x, kernel):
    """Compare all forms with "native", in one compiled program."""
    direction = values(9, *x.shape)

    @jax.jit
    def run(x, kernel):
        functions = {form: functools.partial(operation, form=form) for form in forms}
        return {
            form: derivatives(function, x, kernel, direction)
            for form, function in functions.items()
        }

    found = run(x, kernel)
    for form, what in [(form, what) for form, made in found.items() for what in made]:
        assert found[form][what].shape == found["native"][what].shape
        error = float(jnp.abs(found[form][what] - found["native"][what]).max())
        assert error <= TOLERANCE, (form, what, error)
    return found["native"]["value"]


def plain_conv(x, kernel, stride, padding, edge):
    """The definition, in float64."""
    x = np.pad(
        x,
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
        mode="edge" if edge else "constant",
    )
    kh, kw = kernel.shape[:2]
    rows, columns = ((n - k) // stride + 1 for n, k in zip(x.shape[1:3], (kh, kw), strict=True))
    y = np.zeros((len(x), rows, columns, kernel.shape[3]))
    for row, column in np.ndindex(rows, columns):
        window = x[:, row * stride : row * stride + kh, column * stride : column * stride + kw]
        y[:, row, column] = np.einsum("nhwi,hwio->no", window, kernel)
    return y


def plain_conv_transpose(x, kernel, stride, padding, output_padding):
    """The definition, in float64: every input pixel stamps the kernel."""
    kh, kw = kernel.shape[:2]
    rows, columns = (
        (n - 1) * stride + k + output_padding for n, k in zip(x.shape[1:3], (kh, kw), strict=True)
    )
    y = np.zeros((len(x), rows, columns, kernel.shape[3]))
    for row, column in np.ndindex(x.shape[1], x.shape[2]):
        stamp = np.einsum("ni,hwio->nhwo", x[:, row, column], kernel)
        y[:, row * stride : row * stride + kh, column * stride : column * stride + kw] += stamp
    return y[:, padding : rows - padding, padding : columns - padding]


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize(("stride", "k", "padding", "edge"), sample_of(CONV_CASES))
def test_every_form_of_a_convolution_is_the_same_function(stride, k, padding, edge):
    x, kernel = values(0, 2, 6, 5, 3), values(1, k, k, 3, 2)

    def operation(x, kernel, *, form):
        return ops.conv(x, kernel, stride=stride, padding=padding, edge=edge, form=form)

    y = compare(operation, ops.CONV_FORMS, x, kernel)
    expected = plain_conv(np.float64(x), np.float64(kernel), stride, padding, edge)
    assert y.shape == expected.shape
    assert np.abs(y - expected).max() <= TOLERANCE


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stride", "k", "padding", "output_padding"), sample_of(CONV_TRANSPOSE_CASES)
)
def test_every_form_of_a_transposed_convolution_is_the_same_function(
    stride, k, padding, output_padding
):
    x, kernel = values(0, 2, 3, 4, 3), values(1, k, k, 3, 2)

    def operation(x, kernel, *, form):
        return ops.conv_transpose(
            x, kernel, stride=stride, padding=padding, output_padding=output_padding, form=form
        )

    expected = plain_conv_transpose(
        np.float64(x), np.float64(kernel), stride, padding, output_padding
    )
    y = compare(operation, ops.CONV_TRANSPOSE_FORMS, x, kernel)
    assert y.shape == expected.shape
    assert np.abs(y - expected).max() <= TOLERANCE


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 5), (2, 4)])
def test_kernels_need_not_be_square(shape):
    x, kernel = values(0, 2, 6, 7, 3), values(1, *shape, 3, 2)
    compare(
        lambda x, kernel, form: ops.conv(x, kernel, padding=2, form=form), ops.CONV_FORMS, x, kernel
    )
    compare(
        lambda x, kernel, form: ops.conv_transpose(
            x, kernel, stride=2, padding=1, output_padding=1, form=form
        ),
        ops.CONV_TRANSPOSE_FORMS,
        x,
        kernel,
    )


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("context", [contextlib.nullcontext, ops.for_tangents])
@pytest.mark.parametrize("outputs", [1, 8, 64])
def test_the_chosen_form_is_the_same_function(outputs, context):
    x, kernel = values(0, 1, 3, 3, 16), values(1, 4, 4, 16, outputs)
    with context():
        chosen = ops.conv_transpose(x, kernel, stride=2, padding=1)
    assert (
        jnp.abs(chosen - ops.conv_transpose(x, kernel, stride=2, padding=1, form="native")).max()
        <= 10 * TOLERANCE
    )
    for size in (1, 3):
        kernel = values(1, size, size, 16, outputs)
        with context():
            chosen = ops.conv(x, kernel)
        assert jnp.abs(chosen - ops.conv(x, kernel, form="native")).max() <= 10 * TOLERANCE


def test_a_form_that_does_not_exist_is_not_replaced_by_another():
    with pytest.raises(KeyError):
        ops.conv(values(0, 1, 3, 3, 1), values(1, 3, 3, 1, 1), form="rows")


def test_upsampling_repeats_every_pixel():
    x = values(0, 2, 3, 4, 2)
    assert (ops.upsample_nearest(x, 3) == np.repeat(np.repeat(x, 3, axis=1), 3, axis=2)).all()
