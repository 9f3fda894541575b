"""ProGAN networks: the reference programs' images, gradients, and what JAX asks of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jattr.converters.progan import FORMATS
from jattr.converters.rules import convert_by_rows
from jattr.converters.torch_file import find_state_dict, read_checkpoint

from jattr.generators import ops
from jattr.generators.progan import Architecture, Net, prepare, upsampled_conv

SMALL = Architecture(channels=(6, 5), z_dim=4)
# folder -> format
GOLDEN = {"genforce_pggan_32": "progan-genforce", "ganzoo_pgan_32": "progan-ganzoo"}


def shapes_of(arch):
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}


def random_tensors(arch, seed=0):
    rng = np.random.default_rng(seed)
    return {
        path: rng.standard_normal(shape).astype(np.float32)
        for path, shape in shapes_of(arch).items()
    }


def apply_of(arch, tensors):
    """The function of the network with these stored tensors, compiled, and its state."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    arrays = prepare(arch, tensors)
    flat = {
        path: leaf.replace(jnp.asarray(arrays["/".join(map(str, path))]))
        for path, leaf in nnx.to_flat_state(state)
    }
    return jax.jit(lambda state, z: nnx.merge(graphdef, state)(z)), nnx.from_flat_state(flat)


@pytest.mark.slow
@pytest.mark.parametrize("folder", GOLDEN)
def test_images_are_those_of_the_reference_program(reference, folder):
    [format] = [format for format in FORMATS if format.name == GOLDEN[folder]]
    tree = read_checkpoint(reference / "golden" / folder / "state_dict.pth")
    tensors = find_state_dict(tree, format.keys[0])
    found = format.describe(tensors, tree)
    assert list(found.architecture.problems()) == []
    stored = convert_by_rows(format, found, tensors, shapes_of(found.architecture))
    apply, state = apply_of(found.architecture, stored)
    golden = np.load(reference / "golden" / folder / "golden.npz")
    expected = golden["images"].transpose(0, 2, 3, 1)
    images = apply(state, golden["z"])
    assert images.dtype == jnp.float32
    assert images.shape[1:] == found.architecture.image_shape
    assert np.abs(images - expected).max() <= 1e-4 * max(1.0, expected.std())  # measured: 2.3e-5


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"tanh": True, "scaled_bias": True, "first_bias_maps": True}]
)
def test_gradient_is_that_of_central_differences(changes):
    arch = dataclasses.replace(SMALL, **changes)
    tensors = {path: np.float64(array) for path, array in random_tensors(arch).items()}
    rng = np.random.default_rng(1)
    z, weights = rng.standard_normal((2, 4)), rng.standard_normal((2, 8, 8, 3))
    with jax.enable_x64(True):
        apply, state = apply_of(arch, tensors)
        value = jax.jit(lambda z: jnp.sum(apply(state, z) * weights))
        steps = 1e-6 * np.eye(8).reshape(8, 2, 4)
        expected = np.array([(value(z + step) - value(z - step)) / 2e-6 for step in steps]).reshape(
            2, 4
        )
        found = np.asarray(jax.jit(jax.grad(value))(z))
    # Central differences at a step of 1e-6 are good to some 1e-9 of the value.
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_the_function_can_be_mapped_and_differentiated_in_both_modes():
    apply, state = apply_of(SMALL, random_tensors(SMALL))
    z = jax.random.normal(jax.random.key(0), (3, 4))
    together = apply(state, z)
    alone = jax.jit(jax.vmap(lambda row: apply(state, row[None])[0]))(z)
    assert np.abs(together - alone).max() <= 1e-5  # float32 sums in another order, values below 5

    def feature(row):
        return apply(state, row[None])[0, ::3, ::3].ravel()

    forward, backward = jax.jit(jax.jacfwd(feature))(z[0]), jax.jit(jax.jacrev(feature))(z[0])
    assert np.abs(forward - backward).max() <= 1e-5 * np.abs(forward).max()


def test_the_length_of_z_changes_nothing():
    apply, state = apply_of(SMALL, random_tensors(SMALL))
    z = jax.random.normal(jax.random.key(0), (2, 4))
    assert np.abs(apply(state, z) - apply(state, 3 * z)).max() <= 1e-5


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 4, 5), (3, 5, 7)])
def test_an_upscale_is_every_pixel_repeated_then_a_convolution(shape):
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, shape[-1], 4))
    expected = jax.jit(lambda x: ops.conv(ops.upsample_nearest(x, 2), kernel, padding=1))(x)
    assert (
        np.abs(jax.jit(upsampled_conv)(x, kernel) - expected).max() <= 1e-5
    )  # float32 sums of 63 products in another order


def test_stored_tensors():
    shapes = shapes_of(Architecture(channels=(6, 5), z_dim=4, image_channels=1))
    assert shapes == {
        "first/kernel": (4, 4, 4, 6),
        "first/bias": (6,),
        "layers/0/kernel": (3, 3, 6, 6),
        "layers/0/bias": (6,),
        "layers/1/kernel": (3, 3, 6, 5),
        "layers/1/bias": (5,),
        "layers/2/kernel": (3, 3, 5, 5),
        "layers/2/bias": (5,),
        "to_image/kernel": (1, 1, 5, 1),
        "to_image/bias": (1,),
    }
    assert shapes_of(dataclasses.replace(SMALL, first_bias_maps=True))["first/bias"] == (4, 4, 6)


def test_gains_are_multiplied_in_once_and_shapes_kept():
    ones = {path: np.ones(shape, np.float32) for path, shape in shapes_of(SMALL).items()}
    for scaled in (False, True):
        arch = dataclasses.replace(SMALL, scaled_bias=scaled, first_gain=0.5, image_gain=3.0)
        prepared = prepare(arch, ones)
        assert {path: array.shape for path, array in prepared.items()} == shapes_of(arch)
        assert {array.dtype for array in prepared.values()} == {np.dtype(np.float32)}
        gains = {"first": 0.5 / 2, "layers/0": (2 / 54) ** 0.5, "to_image": 3 / 5**0.5}
        for layer, gain in gains.items():
            assert prepared[f"{layer}/kernel"] == pytest.approx(gain)
            assert prepared[f"{layer}/bias"] == pytest.approx(gain if scaled else 1.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"channels": ()}, "channels has 0 numbers"),
        ({"channels": (1,) * 11}, "channels has 11 numbers"),
        ({"channels": (4, 0)}, "must be 1 or more"),
        ({"z_dim": -1}, "must be 1 or more"),
        ({"image_channels": 0}, "must be 1 or more"),
        ({"first_gain": 0.0}, "first_gain is 0.0"),
        ({"image_gain": float("nan")}, "image_gain nan"),
    ],
)
def test_problems_are_told(changes, text):
    [problem] = dataclasses.replace(SMALL, **changes).problems()
    assert text in problem


def test_sizes():
    assert list(SMALL.problems()) == []
    assert SMALL.image_shape == (8, 8, 3)
    assert SMALL.latent_shape == (4,)
    assert SMALL.num_classes == 0
