"""StyleGAN networks: the reference program's images, gradients, noise, labels, and what JAX asks
of them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jattr.converters.rules import convert_by_rows
from jattr.converters.stylegan import FORMATS
from jattr.converters.torch_file import find_state_dict, read_checkpoint

from jattr.generators.stylegan import Architecture, Net, prepare

SMALL = Architecture(channels=(6, 5), z_dim=4, mapping_widths=(7, 5))
FOLDER = "genforce_stylegan_64"


def shapes_of(arch):
    _, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
    return {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}


def random_tensors(arch, seed=0):
    """Normal numbers; in the mapping network as large as its learning rate leaves them."""
    rng = np.random.default_rng(seed)
    tensors = {
        path: rng.standard_normal(shape).astype(np.float32)
        for path, shape in shapes_of(arch).items()
    }
    return {
        path: array * (100 if path.startswith("mapper/layers/") else 1)
        for path, array in tensors.items()
    }


class Compiled:
    """The network with these stored tensors."""

    def __init__(self, arch, tensors):
        graphdef, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
        arrays = prepare(arch, tensors)
        flat = {
            path: leaf.replace(jnp.asarray(arrays["/".join(map(str, path))]))
            for path, leaf in nnx.to_flat_state(state)
        }
        self.num_ws = arch.num_ws
        self.state = nnx.from_flat_state(flat)
        self.noise = [self.state["noise"][i][...] for i in range(arch.num_ws)]
        self._mapping = jax.jit(lambda state, *args: nnx.merge(graphdef, state).mapping(*args))
        self._synthesis = jax.jit(lambda state, *args: nnx.merge(graphdef, state).synthesis(*args))

    def mapping(self, z, label=None):
        return self._mapping(self.state, z, label)

    def synthesis(self, ws, noise):
        return self._synthesis(self.state, ws, noise)

    def images(self, w, psi=1.0):
        """Images of w [n, w_dim], truncated, with the stored noise."""
        average = self.state["w_avg"][...]
        ws = jnp.broadcast_to(
            (average + psi * (w - average))[:, None], (len(w), self.num_ws, w.shape[-1])
        )
        return self.synthesis(ws, self.noise)


@pytest.mark.slow
def test_images_are_those_of_the_reference_program(reference):
    [format] = FORMATS
    tree = read_checkpoint(reference / "golden" / FOLDER / "state_dict.pth")
    tensors = find_state_dict(tree, format.keys[0])
    found = format.describe(tensors, tree)
    assert list(found.architecture.problems()) == []
    stored = convert_by_rows(format, found, tensors, shapes_of(found.architecture))
    golden = np.load(reference / "golden" / FOLDER / "golden.npz")
    net = Compiled(found.architecture, stored)
    w = net.mapping(golden["z"])
    # float32 sums of 64 products in another order, through 8 layers
    assert np.abs(w - golden["w"]).max() <= 1e-5
    with jax.enable_x64(True):
        exact = Compiled(
            found.architecture, {path: np.float64(array) for path, array in stored.items()}
        )
    for name, psi in (("images_psi1", 1.0), ("images_psi07", 0.7)):
        images = net.images(w, psi)
        assert images.dtype == jnp.float32
        assert images.shape[1:] == found.architecture.image_shape
        with jax.enable_x64(True):
            double = np.asarray(exact.images(exact.mapping(np.float64(golden["z"])), psi))
        expected = golden[name].transpose(0, 2, 3, 1)
        scale = max(1.0, expected.std())
        # The reference is compared with this network in float64: its own float32 is 1.3e-4 from
        # it, and this network's float32 comes on top, which depends on the processor's sums.
        assert np.abs(double - expected).max() <= 1e-4 * scale
        assert np.abs(images - double).max() <= 1e-4 * scale


@pytest.mark.slow
def test_float32_is_near_float64_where_a_channel_hardly_varies():
    tensors = random_tensors(SMALL)
    tensors["constant"] = np.full_like(tensors["constant"], 1.1)
    # as in real files: all that varies
    tensors["epilogues/0/noise_strength"] = np.full(6, 1e-3, np.float32)
    tensors["epilogues/0/bias"] = np.linspace(-3, 3, 6, dtype=np.float32)
    w = np.random.default_rng(1).standard_normal((2, 5)).astype(np.float32)
    single = np.asarray(Compiled(SMALL, tensors).images(w))
    with jax.enable_x64(True):
        net = Compiled(SMALL, {path: np.float64(array) for path, array in tensors.items()})
        double = np.asarray(net.images(np.float64(w)))
    # Measured: 2e-7; 8e-5 where constant and bias are added first, because their sums are rounded
    # at the size of 1.
    assert np.abs(single - double).max() <= 2e-6 * np.abs(double).max()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [0, 3])
def test_gradient_is_that_of_central_differences(num_classes):
    arch = dataclasses.replace(SMALL, num_classes=num_classes)
    tensors = {path: np.float64(array) for path, array in random_tensors(arch).items()}
    rng = np.random.default_rng(1)
    z, weights = rng.standard_normal((2, 4)), rng.standard_normal((2, 8, 8, 3))
    label = np.array([2, 0], np.int32) if num_classes else None
    with jax.enable_x64(True):
        net = Compiled(arch, tensors)
        value = jax.jit(lambda z: jnp.sum(net.images(net.mapping(z, label)) * weights))
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
    net = Compiled(SMALL, random_tensors(SMALL))
    w = jax.random.normal(jax.random.key(0), (3, 5))
    together = net.images(w)
    alone = jax.jit(jax.vmap(lambda row: net.images(row[None])[0]))(w)
    # float32 sums in another order
    assert np.abs(together - alone).max() <= 1e-5 * np.abs(together).max()

    def feature(row):
        return net.images(row[None])[0, ::3, ::3].ravel()

    forward, backward = jax.jit(jax.jacfwd(feature))(w[0]), jax.jit(jax.jacrev(feature))(w[0])
    assert np.abs(forward - backward).max() <= 1e-5 * np.abs(forward).max()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_noise_may_be_one_map_for_all_or_one_for_each():
    net = Compiled(SMALL, random_tensors(SMALL))
    ws = jax.random.normal(jax.random.key(0), (2, SMALL.num_ws, 5))
    maps = net.noise
    assert [part.shape for part in maps] == list(SMALL.noise_shapes)
    common = net.synthesis(ws, maps)
    assert (common == net.synthesis(ws, [jnp.stack([part, part]) for part in maps])).all()
    for index in range(len(maps)):  # every map counts, and only for its own image
        stacked = [jnp.stack([part, -part if i == index else part]) for i, part in enumerate(maps)]
        own = net.synthesis(ws, stacked)
        assert np.abs(own[0] - common[0]).max() <= 1e-5
        assert np.abs(own[1] - common[1]).max() > 0.01


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_every_style_counts_once():
    net = Compiled(SMALL, random_tensors(SMALL))
    maps = net.noise
    ws = jax.random.normal(jax.random.key(0), (1, SMALL.num_ws, 5))
    plain = net.synthesis(ws, maps)
    for index in range(SMALL.num_ws):
        assert np.abs(net.synthesis(ws.at[:, index].add(1.0), maps) - plain).max() > 0.01


def test_a_label_changes_w():
    arch = dataclasses.replace(SMALL, num_classes=3)
    w = Compiled(arch, random_tensors(arch)).mapping(jnp.ones((3, 4)), jnp.arange(3))
    assert np.abs(w[0] - w[1]).max() > 0.01


def test_stored_tensors():
    shapes = shapes_of(
        Architecture(
            channels=(6, 5), z_dim=4, mapping_widths=(7, 8), num_classes=3, image_channels=1
        )
    )
    widths = {0: 6, 1: 6, 2: 5, 3: 5}
    epilogues = {
        f"epilogues/{i}/{leaf}": shape
        for i, width in widths.items()
        for leaf, shape in {
            "noise_strength": (width,),
            "bias": (width,),
            "affine/kernel": (8, 2 * width),
            "affine/bias": (2 * width,),
        }.items()
    }
    assert shapes == epilogues | {
        "mapper/embed": (3, 4),
        "mapper/layers/0/kernel": (8, 7),
        "mapper/layers/0/bias": (7,),
        "mapper/layers/1/kernel": (7, 8),
        "mapper/layers/1/bias": (8,),
        "w_avg": (8,),
        "constant": (4, 4, 6),
        "kernels/0": (3, 3, 6, 6),
        "kernels/1": (3, 3, 6, 5),
        "kernels/2": (3, 3, 5, 5),
        "noise/0": (4, 4),
        "noise/1": (4, 4),
        "noise/2": (8, 8),
        "noise/3": (8, 8),
        "image_kernel": (1, 1, 5, 1),
        "image_bias": (1,),
    }


def test_prepared_tensors_keep_shape_and_type():
    prepared = prepare(SMALL, random_tensors(SMALL))
    assert {path: array.shape for path, array in prepared.items()} == shapes_of(SMALL)
    assert {array.dtype for array in prepared.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"channels": ()}, "channels has 0 numbers"),
        ({"channels": (1,) * 11}, "channels has 11 numbers"),
        ({"mapping_widths": ()}, "mapping_widths is empty"),
        ({"mapping_widths": (4, 0)}, "must be 1 or more"),
        ({"z_dim": 0}, "must be 1 or more"),
        ({"num_classes": -1}, "num_classes 0 or more"),
    ],
)
def test_problems_are_told(changes, text):
    [problem] = dataclasses.replace(SMALL, **changes).problems()
    assert text in problem


def test_sizes():
    assert list(SMALL.problems()) == []
    assert SMALL.image_shape == (8, 8, 3)
    assert SMALL.latent_shape == (4,)
    assert (SMALL.num_ws, SMALL.w_dim) == (4, 5)
    assert SMALL.noise_shapes == ((4, 4), (4, 4), (8, 8), (8, 8))
