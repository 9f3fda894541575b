"""StyleGAN2: against reference outputs, against PyTorch, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_files import random_tensors, state_dict_of
from jattr.converters.convert import convert
from jattr.converters.stylegan2 import FORMATS

from jattr.generators.family import graph_of, net_state
from jattr.generators.settings import Settings
from jattr.generators.store import load_generator
from jattr.generators.style_parts import upsample
from jattr.generators.styled import styled_apply, styled_state
from jattr.generators.stylegan2 import Architecture

# times the images' deviation, at least 1: float32 sums of up to 576 products, 20 layers deep
TOLERANCE = 1e-4
GOLDEN = {
    "sg2ada_skip_64": "network.pkl",
    "sg2ada_resnet_32_cond": "network.pkl",
    "rosinality_64": "state_dict.pth",
}
SMALL = {"channels": (6, 5, 4), "z_dim": 7, "mapping_widths": (9, 8)}
CASES = {
    "skip": {},
    "resnet": {"form": "resnet"},
    "orig": {"form": "orig"},
    "classes": {"num_classes": 3},
    "clamped": {"clamp": 0.5},
    "six taps, not symmetric": {"taps": (1.0, 2.0, 3.0, 4.0, 2.0, 1.0)},
    "two taps": {"taps": (1.0, 1.0)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_images_are_those_of_the_reference(reference, name, tmp_path, request):
    if name == "rosinality_64":  # the same form as "sg2ada_skip_64", which is compiled as usual
        request.getfixturevalue("few_optimisations")
    folder = reference / "golden" / name
    convert(folder / GOLDEN[name], tmp_path / "generator")
    generator = load_generator(tmp_path / "generator")
    golden = np.load(folder / "golden.npz")
    label = np.argmax(golden["c"], axis=1) if generator.num_classes else None
    w = golden["ws"][:, 0] if "ws" in golden else golden["w"]
    expected = {key: golden[key].transpose(0, 2, 3, 1) for key in ("images_psi1", "images_psi07")}
    limit = TOLERANCE * max(1.0, float(expected["images_psi1"].std()))
    whole = np.repeat(w[:, None], generator.latent_shape_of("w+")[0], axis=1)
    for found, key in (
        (generator.generate(golden["z"], label=label), "images_psi1"),
        (generator.generate(golden["z"], label=label, psi=0.7), "images_psi07"),
        (generator.generate(w, space="w"), "images_psi1"),
        (generator.generate(whole, space="w+"), "images_psi1"),
    ):
        assert np.abs(found - expected[key]).max() <= limit


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_pytorch(case, grouped):
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install torch")
    from torch_stylegan2 import TorchStyleGAN2

    arch = Architecture(**SMALL | CASES[case])
    tensors = random_tensors("stylegan2", arch, seed=1)
    net = TorchStyleGAN2(
        state_dict_of(FORMATS[0], arch, tensors), grouped=grouped, clamp=arch.clamp
    )
    state = styled_state(net_state("stylegan2", arch, tensors), arch, Settings(psi=0.6))
    z = np.random.default_rng(2).normal(size=(3, arch.z_dim)).astype(np.float32)
    label = np.arange(3, dtype=np.int32) if arch.num_classes else None
    found = jax.jit(styled_apply("stylegan2", arch, "z", False))(state, z, label=label)
    with torch.no_grad():
        expected = net(torch.tensor(z), None if label is None else torch.tensor(label).long(), 0.6)
    expected = expected.numpy().transpose(0, 2, 3, 1)
    assert found.shape == expected.shape == (3, *arch.image_shape)
    assert np.abs(found - expected).max() <= TOLERANCE * max(1.0, float(expected.std()))


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_gradients_are_those_of_differences(space):
    arch = Architecture(**SMALL, form="resnet")
    tensors = random_tensors("stylegan2", arch, seed=3)
    state = styled_state(net_state("stylegan2", arch, tensors), arch, Settings(psi=0.7))
    apply = styled_apply("stylegan2", arch, space, False)
    shape = {"z": (arch.z_dim,), "w": (arch.w_dim,), "w+": (arch.num_ws, arch.w_dim)}[space]
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        state = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state)
        weights = rng.normal(size=arch.image_shape)

        @jax.jit
        def loss(z):
            return jnp.sum(apply(state, z[None])[0] * weights)

        z, direction = rng.normal(size=shape), rng.normal(size=shape)
        slope = jnp.vdot(jax.jit(jax.grad(loss))(jnp.asarray(z)), direction)
        step = 1e-5
        difference = (
            loss(jnp.asarray(z + step * direction)) - loss(jnp.asarray(z - step * direction))
        ) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=1e-6)


def test_upsampling_keeps_a_constant_image():
    made = upsample(jnp.ones((1, 6, 6, 2)), (0.25, 0.75, 0.75, 0.25))
    assert made.shape == (1, 12, 12, 2)
    np.testing.assert_allclose(made[:, 2:-2, 2:-2], 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": (4,)}, "2 to 10"),
        ({"mapping_widths": ()}, "mapping_widths is empty"),
        ({"form": "round"}, "form is 'round'"),
        ({"taps": (1.0, 2.0, 1.0)}, "even number of taps"),
        ({"z_dim": 0}, "1 or more"),
    ],
)
def test_architectures_that_cannot_be(change, words):
    problems = list(Architecture(**SMALL | change).problems())
    assert any(words in problem for problem in problems)


def test_one_program_for_all_settings():
    arch = Architecture(**SMALL)
    assert styled_apply("stylegan2", arch, "w", False) is styled_apply(
        "stylegan2", Architecture(**SMALL), "w", False
    )
    assert graph_of("stylegan2", arch)[1]["noise/0"] == (4, 4)
