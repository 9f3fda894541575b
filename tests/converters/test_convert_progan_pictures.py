"""Images of ProGAN's converted weights: both programs' files against PyTorch modules of our own."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from progan_files import (
    CHANNELS,
    FUSED,
    GENFORCE,
    OLD_ZOO,
    Z_DIM,
    ZOO,
    convert,
    genforce_tensors,
    zoo_tensors,
)

from jattr.generators.progan import Net, prepare


def images(arch, stored, z):
    """The network's images in float64.

    With few channels pixel norm can magnify rounding a thousandfold.
    """
    with jax.enable_x64(True):
        graphdef, state = nnx.split(nnx.eval_shape(lambda: Net(arch)))
        arrays = prepare(arch, {path: array.astype(np.float64) for path, array in stored.items()})
        flat = {
            path: leaf.replace(jnp.asarray(arrays["/".join(map(str, path))]))
            for path, leaf in nnx.to_flat_state(state)
        }
        apply = jax.jit(lambda state, z: nnx.merge(graphdef, state)(z))
        return np.asarray(apply(nnx.from_flat_state(flat), z.astype(np.float64)))


def pixel_norm(x):
    return x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()


def genforce_images(tensors, z, *, fused):
    """The published network in PyTorch, float64.

    Normalise, double the size, convolve, leaky ReLU.
    """
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in tensors.items()}
    x = torch.from_numpy(np.float64(z))[:, :, None, None]
    count = sum(name.startswith("layer") and name.endswith("weight") for name in tensors)
    for index in range(count):
        doubles = index > 0 and index % 2 == 0
        weight, bias = tensors[f"layer{index}.weight"], tensors[f"layer{index}.bias"]
        fan_in = weight[0, 0].numel() * x.shape[1]
        weight = weight * math.sqrt(2 / fan_in)
        x = pixel_norm(x)
        if doubles and fused:  # four shifted copies of the 3x3 taps make 4x4
            taps = sum(F.pad(weight, (a, 1 - a, b, 1 - b)) for a in (0, 1) for b in (0, 1))
            x = F.conv_transpose2d(x, taps, bias, stride=2, padding=1)
        else:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if doubles else x
            x = F.conv2d(x, weight, bias, padding=1 if index else 3)
        x = F.leaky_relu(x, 0.2)
    weight = tensors[f"output{count // 2 - 1}.weight"]
    x = F.conv2d(
        pixel_norm(x), weight / math.sqrt(weight.shape[1]), tensors[f"output{count // 2 - 1}.bias"]
    )
    return x.permute(0, 2, 3, 1).numpy()


def zoo_images(tensors, z, *, inner, tanh):
    """The published network in PyTorch, float64: the gain of a layer multiplies its bias too."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in tensors.items()}

    def layer(name, x, **options):
        weight, bias = tensors[f"{name}{inner}.weight"], tensors[f"{name}{inner}.bias"]
        y = F.linear(x, weight, bias) if weight.ndim == 2 else F.conv2d(x, weight, bias, **options)
        return y * math.sqrt(2 / weight[0].numel())

    x = pixel_norm(torch.from_numpy(np.float64(z)))
    x = F.leaky_relu(layer("formatLayer", x), 0.2).reshape(len(z), -1, 4, 4)
    x = pixel_norm(F.leaky_relu(layer("groupScale0.0", pixel_norm(x), padding=1), 0.2))
    levels = sum(name.startswith("toRGBLayers") for name in tensors) // 2
    for level in range(levels - 1):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        for i in range(2):
            x = pixel_norm(F.leaky_relu(layer(f"scaleLayers.{level}.{i}", x, padding=1), 0.2))
    x = layer(f"toRGBLayers.{levels - 1}", x)
    return (x.tanh() if tanh else x).permute(0, 2, 3, 1).numpy()


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize(("name", "fused"), [(GENFORCE, False), (FUSED, True)])
def test_images_of_genforce(name, fused):
    tensors = genforce_tensors(fused=fused, image_channels=1)
    arch, stored = convert(name, tensors)
    assert (arch.channels, arch.z_dim, arch.image_shape) == (CHANNELS, Z_DIM, (32, 32, 1))
    z = np.random.default_rng(1).standard_normal((3, Z_DIM)).astype(np.float32)
    expected = genforce_images(tensors, z, fused=fused)
    assert np.abs(images(arch, stored, z) - expected).max() <= 1e-5  # gains are float32


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inner", "loss"), [(ZOO, ".module", "WGANGP"), (OLD_ZOO, "", "DCGAN")]
)
def test_images_of_gan_zoo(name, inner, loss):
    tensors = zoo_tensors(inner=inner)
    arch, stored = convert(name, tensors, {"config": {"alpha": 0, "lossCriterion": loss}})
    assert (arch.channels, arch.z_dim, arch.image_shape) == (CHANNELS, Z_DIM, (32, 32, 3))
    assert arch.tanh == (loss == "DCGAN")
    z = np.random.default_rng(1).standard_normal((3, Z_DIM)).astype(np.float32)
    expected = zoo_images(tensors, z, inner=inner, tanh=arch.tanh)
    assert np.abs(images(arch, stored, z) - expected).max() <= 1e-5  # gains are float32
