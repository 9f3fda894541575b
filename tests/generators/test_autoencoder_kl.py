"""The autoencoder of latent diffusion.

Against reference outputs, a PyTorch module of our own, and its derivatives.
"""

import dataclasses
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jattr.converters.autoencoder_kl import FORMATS
from jattr.converters.rules import convert_by_rows

from jattr.errors import GeneratorError
from jattr.generators import ops
from jattr.generators.autoencoder_kl import Architecture, Net, prepare, with_image_size
from jattr.generators.autoencoder_kl_parts import GroupNorm, Upsample

# times the deviation of the images: float32 sums of up to 576 products, 20 layers deep
TOLERANCE = 1e-4
SMALL = Architecture(
    block_out_channels=(4, 8),
    layers_per_block=1,
    latent_channels=2,
    latent_height=2,
    latent_width=3,
    norm_num_groups=2,
)
OTHERS = {  # what the reference outputs do not cover
    "small": {},
    "no quantisation layers, as SD3 and FLUX": {
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "shift_factor": 0.0609,
    },
    "no attention": {"mid_block_add_attention": False, "layers_per_block": 2},
    "grey, one size": {"block_out_channels": (6,), "image_channels": 1, "norm_num_groups": 3},
    "four sizes": {"block_out_channels": (2, 4, 4, 8), "norm_num_groups": 1, "latent_height": 1},
    "decoder alone": {"has_encoder": False, "use_quant_conv": False},
}


def shapes_of(arch):
    """The shapes of the network's parameters by path."""
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(state)}


def random_tensors(arch, seed=0):
    rng = np.random.default_rng(seed)
    shapes = shapes_of(arch)
    return {
        path: (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
        + np.float32(path.endswith("scale"))
        for path, shape in shapes.items()
    }


def network(arch, tensors, dtype=jnp.float32):
    """`decode(state, z)`, `encode(state, images)`, both pure, and the state that holds the
    tensors.
    """
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    arrays = prepare(arch, tensors)
    assert {path: array.shape for path, array in arrays.items()} == shapes_of(arch)
    flat = {
        path: leaf.replace(jnp.asarray(arrays["/".join(map(str, path))], dtype))
        for path, leaf in nnx.to_flat_state(state)
    }
    return (
        lambda state, z: nnx.merge(graphdef, state)(z),
        lambda state, images: nnx.merge(graphdef, state).encode(images),
        nnx.from_flat_state(flat),
    )


def channels_last(array):
    return np.asarray(array, np.float32).transpose(0, 2, 3, 1)


def recipe(name, shape):
    """The weights of the reference outputs, which are computed instead of stored."""
    array = (
        np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    )
    if len(shape) >= 2:
        return array * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return 0.1 * array + np.float32(name.endswith("weight"))


@pytest.fixture(scope="module")
def golden(reference):
    """Reference outputs [n, H, W, C], and the architecture and state of their network."""
    folder = reference / "golden" / "autoencoder_kl"
    config = json.loads((folder / "config.json").read_text())
    shapes = json.loads((folder / "state_dict_shapes.json").read_text())
    weights = {name: recipe(name, shape) for name, shape in shapes.items()}
    found = FORMATS[0].describe(weights, {"config": config})
    stored = convert_by_rows(FORMATS[0], found, weights, shapes_of(found.architecture))
    with np.load(folder / "golden.npz") as arrays:
        return found.architecture, stored, {name: channels_last(arrays[name]) for name in arrays}


@pytest.mark.slow
def test_images_are_those_of_the_reference(golden):
    arch, stored, expected = golden
    decode, _, state = network(arch, stored)
    assert arch.latent_shape == (8, 8, 4)
    assert with_image_size(arch, 64, 64).latent_shape == expected["z"].shape[1:] == (16, 16, 4)
    assert with_image_size(arch, 64, 64).image_shape == expected["images"].shape[1:]
    images = jax.jit(decode)(state, expected["z"])
    assert np.abs(images - expected["images"]).max() <= TOLERANCE * max(1, expected["images"].std())


@pytest.mark.slow
def test_latents_are_those_of_the_reference(golden):
    arch, stored, expected = golden
    _, encode, state = network(arch, stored)
    for found, name in zip(
        jax.jit(encode)(state, expected["x"]), ("enc_mean", "enc_logvar"), strict=True
    ):
        assert np.abs(found - expected[name]).max() <= TOLERANCE * max(1, expected[name].std()), (
            name
        )


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS)
def test_other_architectures_are_those_of_pytorch(case):
    pytest.importorskip("torch", reason="needs PyTorch, whose images are compared")
    import torch_autoencoder

    arch = dataclasses.replace(SMALL, **OTHERS[case])
    weights, torch_decode, torch_encode = torch_autoencoder.make(arch)
    found = FORMATS[0].describe(weights, {"config": torch_autoencoder.config_of(arch)})
    assert found.architecture == arch
    decode, encode, state = network(
        arch, convert_by_rows(FORMATS[0], found, weights, shapes_of(arch))
    )
    z = np.random.default_rng(1).normal(size=(2, *arch.latent_shape)).astype(np.float32)
    images, expected = (
        jax.jit(decode)(state, z),
        channels_last(torch_decode(z.transpose(0, 3, 1, 2))),
    )
    assert images.shape == expected.shape == (2, *arch.image_shape)
    assert np.abs(images - expected).max() <= TOLERANCE * max(1, expected.std())
    if not arch.has_encoder:
        with pytest.raises(AssertionError, match="without an encoder"):
            encode(state, images)
        return
    mean, logvar = jax.jit(encode)(state, expected)
    moments = channels_last(torch_encode(expected.transpose(0, 3, 1, 2)))
    assert np.abs(np.concatenate([mean, logvar], -1) - moments).max() <= TOLERANCE * max(
        1, moments.std()
    )


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_the_variance_is_clamped_as_by_diffusers():
    tensors = random_tensors(SMALL)
    tensors["quant_conv/bias"] = np.array([1000, -1000, 1000, -1000], np.float32)
    _, encode, state = network(SMALL, tensors)
    mean, logvar = jax.jit(encode)(state, jnp.zeros((2, *SMALL.image_shape)))
    assert np.abs(mean).min() > 900
    assert (logvar == jnp.array([20.0, -30.0])).all()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_the_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        decode, _, state = network(SMALL, random_tensors(SMALL), jnp.float64)
        z = np.random.default_rng(2).normal(size=(1, *SMALL.latent_shape))
        direction = np.random.default_rng(3).normal(size=(1, *SMALL.image_shape))
        loss = jax.jit(lambda z: jnp.sum(direction * decode(state, z)))
        gradient, step = np.asarray(jax.jit(jax.grad(loss))(z)).ravel(), 1e-5
        for i, found in enumerate(gradient):
            shift = np.zeros(z.size)
            shift[i] = step
            shift = shift.reshape(z.shape)
            expected = (loss(z + shift) - loss(z - shift)) / (2 * step)
            # of steps of 1e-5 in float64
            assert abs(found - expected) <= 1e-7 * np.abs(gradient).max()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_decoding_can_be_mapped_and_differentiated_in_both_modes():
    decode, _, state = network(SMALL, random_tensors(SMALL))
    z = np.random.default_rng(4).normal(size=(3, *SMALL.latent_shape)).astype(np.float32)
    images = jax.jit(decode)(state, z)
    mapped = jax.jit(jax.vmap(lambda row: decode(state, row[None])[0]))(z)
    assert np.abs(mapped - images).max() <= 1e-5  # float32 sums in another order, values around 1

    def image(row):
        return decode(state, row.reshape(1, *SMALL.latent_shape)).ravel()

    with ops.for_tangents():
        forward = jax.jit(jax.jacfwd(image))(z[0].ravel())
    backward = jax.jit(jax.jacrev(image))(z[0].ravel())
    assert forward.shape == (4 * 6 * 3, 12)
    assert np.abs(forward - backward).max() <= 1e-5
    assert np.linalg.matrix_rank(forward) == 12


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_group_normalisation_keeps_its_digits_where_the_mean_is_large(offset):
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(2, 9, 7, 12)) + offset).astype(np.float32)
    norm = GroupNorm(12, 3)
    norm.scale[...], norm.bias[...] = jnp.arange(12.0), jnp.arange(12.0)[::-1]
    groups = np.float64(x).reshape(2, 63, 3, 4)
    expected = (groups - groups.mean((1, 3), keepdims=True)) / np.sqrt(
        groups.var((1, 3), keepdims=True) + 1e-6
    )
    expected = expected.reshape(x.shape) * np.arange(12.0) + np.arange(12.0)[::-1]
    # float32 has steps of 6e-5 at 1000, and the mean is known to a few of them; values up to 3 are
    # scaled by up to 11
    assert np.abs(jax.jit(norm)(x) - expected).max() <= (1e-5 if not offset else 5e-3)


def test_upsampling_is_nearest_neighbour_then_a_convolution():
    rng = np.random.default_rng(6)
    x = jnp.asarray(rng.normal(size=(2, 4, 5, 3)), jnp.float32)
    layer = Upsample(3, 4)
    layer.kernel[...] = jnp.asarray(rng.normal(size=(3, 3, 3, 4)), jnp.float32)
    layer.bias[...] = jnp.arange(4.0)
    expected = ops.conv(ops.upsample_nearest(x, 2), layer.kernel[...], padding=1) + layer.bias[...]
    assert np.abs(layer(x) - expected).max() <= 1e-5  # sums of 27 products of numbers around 1


def test_the_prior_is_that_of_the_scaled_latents():
    arch = dataclasses.replace(SMALL, scaling_factor=0.25, shift_factor=0.5)
    assert (arch.latent_scale, arch.latent_shift, arch.num_classes) == (4.0, 0.5, 0)
    assert (arch.latent_shape, arch.image_shape) == ((2, 3, 2), (4, 6, 3))


def test_another_image_size_is_the_same_network():
    arch = with_image_size(SMALL, 10, 4)
    assert (arch.latent_shape, arch.image_shape) == ((5, 2, 2), (10, 4, 3))
    assert shapes_of(arch) == shapes_of(SMALL)
    assert with_image_size(arch, 4, 6) == SMALL


@pytest.mark.parametrize(("height", "width"), [(5, 4), (4, 0), (4, 4098), (-2, 4)])
def test_sizes_that_do_not_fit_are_refused(height, width):
    with pytest.raises(GeneratorError, match="multiples of 2 from 2 to 4096"):
        with_image_size(SMALL, height, width)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"block_out_channels": ()}, "block_out_channels has 0 numbers"),
        ({"block_out_channels": (4,) * 11}, "block_out_channels has 11 numbers"),
        ({"block_out_channels": (4, 7)}, "each must be a multiple of norm_num_groups, 2"),
        ({"norm_num_groups": 0}, "norm_num_groups is 0"),
        ({"layers_per_block": 0}, "layers_per_block is 0"),
        ({"latent_channels": 0}, "latent_channels is 0"),
        ({"image_channels": -1}, "image_channels is -1"),
        ({"latent_width": 2049}, "latent_width is 2049; it must be from 1 to 2048"),
        ({"scaling_factor": 0.0}, "scaling_factor is 0.0"),
        ({"scaling_factor": float("inf")}, "scaling_factor is inf"),
        ({"shift_factor": float("nan")}, "shift_factor is nan"),
    ],
)
def test_what_is_out_of_range_is_named(changes, words):
    assert not list(SMALL.problems())
    problems = list(dataclasses.replace(SMALL, **changes).problems())
    assert len(problems) == 1
    assert words in problems[0]
