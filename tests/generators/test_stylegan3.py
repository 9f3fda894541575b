"""StyleGAN3 networks: the reference program's images, PyTorch's of both configurations, and
their derivatives.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jattr.converters.rules import convert_by_rows
from jattr.converters.stylegan3 import FORMATS
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from torch_stylegan3 import Settings, random_state, torch_images

from jattr.generators.stylegan3 import Architecture, Net, prepare

[FORMAT] = FORMATS
FOLDER = "sg3_t_64"
SMALL = Architecture(
    channels=(6, 5, 4, 3),
    sizes=(12, 12, 16, 16),
    rates=(8, 8, 16, 16),
    z_dim=4,
    w_dim=5,
    mapping_layers=2,
)
RADIAL = {"kernel_size": 1, "num_radial": 1}
CASES = {
    "T": Settings(),
    "T with classes": Settings(num_classes=3),
    "R": Settings(kernel_size=1, radial=True),
    "R, more layers, none critical": Settings(
        kernel_size=1, radial=True, num_layers=4, num_critical=0
    ),
    "rate times 4": Settings(num_layers=2, num_critical=1, resolution=64, margin=3),
    "clamped, other scale": Settings(clamp=0.3, output_scale=1.0),
    "not clamped": Settings(clamp=None),
    "other filters": Settings(filter_size=4, oversampling=3),
    "moved": Settings(transform=((1.1, -0.4, 0.2), (0.5, 1.3, -0.1), (0.0, 0.0, 1.0))),
    "filters not symmetric": Settings(skewed=True),
}


def shapes_of(arch):
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}


def random_tensors(arch, seed=0):
    """Normal numbers; in the mapping network as large as its learning rate leaves them.

    Magnitudes above 0.
    """
    rng = np.random.default_rng(seed)
    tensors = {path: rng.standard_normal(shape) for path, shape in shapes_of(arch).items()}
    sizes = {
        path: 100 if path.startswith("mapper/layers/") else 0.3 if "filter" in path else 1
        for path in tensors
    }
    tensors = {path: array * sizes[path] for path, array in tensors.items()}
    tensors |= {
        path: np.exp(array) for path, array in tensors.items() if path.endswith("magnitude_ema")
    }
    return {path: np.asarray(array, np.float32) for path, array in tensors.items()}


def state_of(arch, tensors):
    """The graph definition of the network and its state with these stored tensors."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    arrays = prepare(arch, tensors)
    flat = {
        path: leaf.replace(jnp.asarray(arrays["/".join(map(str, path))]))
        for path, leaf in nnx.to_flat_state(state)
    }
    return graphdef, nnx.from_flat_state(flat)


def converted(tensors, tree):
    """The architecture of a state dict, and the graph definition and state of its network."""
    found = FORMAT.describe(tensors, tree)
    stored = convert_by_rows(FORMAT, found, tensors, shapes_of(found.architecture))
    return found.architecture, *state_of(found.architecture, stored)


def images_of(net, w, psi=1.0):
    """Images of w [n, w_dim], truncated."""
    average = net.w_avg[...]
    ws = jnp.broadcast_to(
        (average + psi * (w - average))[:, None], (len(w), 1 + len(net.layers) + 1, w.shape[-1])
    )
    return net.synthesis(ws, ())


@pytest.mark.slow
def test_images_are_those_of_the_reference_program(reference):
    tree = read_checkpoint(reference / "golden" / FOLDER / "state_dict.pth")
    arch, graphdef, state = converted(find_state_dict(tree), tree)
    golden = np.load(reference / "golden" / FOLDER / "golden.npz")
    w = jax.jit(lambda state, z: nnx.merge(graphdef, state).mapping(z))(state, golden["z"])
    # float32 sums of 64 products, through 2 layers
    assert np.abs(w - golden["ws"][:, 0]).max() <= 1e-5
    apply = jax.jit(lambda state, w, psi: images_of(nnx.merge(graphdef, state), w, psi))
    assert golden["ws"].shape[1] == arch.num_ws
    for name, psi in (("images_psi1", 1.0), ("images_psi07", 0.7)):
        images, expected = apply(state, w, jnp.float32(psi)), golden[name].transpose(0, 2, 3, 1)
        assert images.dtype == jnp.float32
        assert images.shape[1:] == arch.image_shape
        assert np.abs(images - expected).max() <= 1e-4 * max(1.0, expected.std())  # measured: 2e-6


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_pytorch(case):
    pytest.importorskip("torch", reason="compares with PyTorch: pip install torch")
    settings = CASES[case]
    tensors, tree = random_state(settings)
    arch, graphdef, state = converted(tensors, tree)
    assert list(arch.problems()) == []
    z = np.random.default_rng(1).standard_normal((3, arch.z_dim)).astype(np.float32)
    label = np.array([2, 0, 1], np.int32) if settings.num_classes else None

    @jax.jit
    def apply(state, z, label):
        net = nnx.merge(graphdef, state)
        return images_of(net, net.mapping(z, label), 0.6)

    found, expected = apply(state, z, label), torch_images(settings, tensors, z, label, 0.6)
    assert found.shape == expected.shape == (3, *arch.image_shape)
    # float32 sums of up to 144 products against float64, through 4 layers
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, expected.std())
    assert expected.std() > 0.01


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize(("change", "num_classes"), [({}, 3), (RADIAL, 0)], ids=["T", "R"])
def test_gradient_is_that_of_central_differences(change, num_classes):
    arch = dataclasses.replace(SMALL, **change, num_classes=num_classes)
    tensors = {path: np.float64(array) for path, array in random_tensors(arch).items()}
    rng = np.random.default_rng(1)
    z, weights = rng.standard_normal((2, 4)), rng.standard_normal((2, 16, 16, 3))
    label = np.array([2, 0], np.int32) if num_classes else None
    with jax.enable_x64(True):
        graphdef, state = state_of(arch, tensors)

        @jax.jit
        def value(z):
            net = nnx.merge(graphdef, state)
            return jnp.sum(images_of(net, net.mapping(z, label)) * weights)

        steps = 1e-6 * np.eye(8).reshape(8, 2, 4)
        expected = np.array([(value(z + step) - value(z - step)) / 2e-6 for step in steps]).reshape(
            2, 4
        )
        found = np.asarray(jax.jit(jax.grad(value))(z))
    # Central differences at a step of 1e-6 are good to some 1e-9 of the value.
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.usefixtures("few_optimisations")
def test_the_first_style_rotates_and_shifts_the_features():
    graphdef, state = state_of(SMALL, random_tensors(SMALL))
    ws = jax.random.normal(jax.random.key(0), (1, SMALL.num_ws, 5))

    @jax.jit
    def slope(first):
        return jax.grad(lambda w: jnp.sum(jnp.square(nnx.merge(graphdef, state).features(w))))(
            first
        )

    assert np.abs(slope(ws[:, 0])).min() > 0


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_a_wave_of_frequency_zero_has_a_derivative():
    tensors = random_tensors(SMALL)
    tensors["features/freqs"][0] = 0.0
    graphdef, state = state_of(SMALL, tensors)
    slope = jax.jit(jax.grad(lambda w: jnp.sum(nnx.merge(graphdef, state).features(w))))(
        jnp.ones((1, 5))
    )
    assert np.isfinite(slope).all()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, RADIAL], ids=["T", "R"])
def test_the_function_can_be_mapped_and_differentiated_in_both_modes(change):
    arch = dataclasses.replace(SMALL, **change)
    graphdef, state = state_of(arch, random_tensors(arch))
    w = jax.random.normal(jax.random.key(0), (2, 5))

    def image(row):
        return images_of(nnx.merge(graphdef, state), row[None])[0]

    together, lanes = jax.jit(
        lambda w: (images_of(nnx.merge(graphdef, state), w), jax.vmap(image)(w))
    )(w)
    assert np.abs(together - lanes).max() <= 1e-5 * np.abs(together).max()  # sums in another order
    forward, backward = jax.jit(lambda row: (jax.jacfwd(image)(row), jax.jacrev(image)(row)))(w[0])
    assert np.abs(forward - backward).max() <= 1e-5 * np.abs(forward).max()


def test_no_noise():
    assert SMALL.noise_shapes == ()
    assert len(nnx.eval_shape(lambda: Net(SMALL)).noise) == 0
    assert (SMALL.num_ws, SMALL.w_dim, SMALL.latent_shape, SMALL.image_shape) == (
        4,
        5,
        (4,),
        (16, 16, 3),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": (12, 16, 16)}, "equally many"),
        ({"channels": (6, 0, 4, 3)}, "1 or more"),
        ({"sizes": (12, 12, 16, 20)}, "the last two equal"),
        ({"sizes": (12, 9999, 16, 16)}, "up to 4096"),
        ({"rates": (8, 12, 16, 16)}, "a multiple of that before"),
        ({"bandwidth": 4.0}, "below half the first rate"),
        ({"num_radial": 3}, "num_radial must be from 0 to 2"),
        ({"oversampling": 1}, "oversampling from 2"),
        ({"clamp": 0.0}, "clamp must be above 0"),
    ],
)
def test_architectures_that_cannot_be(change, words):
    assert list(SMALL.problems()) == []
    problems = list(dataclasses.replace(SMALL, **change).problems())
    assert any(words in problem for problem in problems)
