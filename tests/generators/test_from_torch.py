"""`from_torch`: PyTorch modules as generators, beside the modules themselves."""

import copy
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattr
from jattr.errors import GeneratorError
from jattr.generators.from_torch import from_torch

torch = pytest.importorskip("torch")
pytest.importorskip("torchax")
from torch import nn  # noqa: E402  # torch may be missing
from torch.nn import functional as F  # noqa: E402

pytestmark = pytest.mark.slow
TOLERANCE = 1e-5  # values of about 1: float32 sums of some hundred products in another order


def dcgan(slope=0.0):
    return nn.Sequential(
        nn.ConvTranspose2d(6, 12, 4, 1, 0, bias=False),
        nn.BatchNorm2d(12),
        nn.LeakyReLU(slope),
        nn.ConvTranspose2d(12, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 3, 3, 2, 1, output_padding=1),
        nn.Tanh(),
    )


def upsampler():
    return nn.Sequential(
        nn.Linear(5, 32),
        nn.Unflatten(1, (8, 2, 2)),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.InstanceNorm2d(8, affine=True),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
        nn.GroupNorm(2, 6),
        nn.PReLU(6),
        nn.Conv2d(6, 1, 3, padding=2, dilation=2),
        nn.Sigmoid(),
    )


class Conditional(nn.Module):
    """Labels through an embedding and as one-hot vectors, for which PyTorch checks values."""

    def __init__(self):
        super().__init__()
        self.embed, self.fc, self.norm = nn.Embedding(3, 4), nn.Linear(11, 32), nn.BatchNorm1d(32)
        self.conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, z, label):
        x = torch.cat([z, self.embed(label), F.one_hot(label, 3).float()], 1)
        x = F.relu(self.norm(self.fc(x))).view(x.size(0), 8, 2, 2)
        return torch.tanh(self.conv(F.interpolate(x, scale_factor=3)))


class Style(nn.Module):
    """As StyleGAN2 in PyTorch: a kernel for every image as one grouped convolution, then a
    filter by channels.
    """

    def __init__(self):
        super().__init__()
        self.mapping, self.affine = (
            nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU(0.2)),
            nn.Linear(6, 4),
        )
        self.const, self.weight = (
            nn.Parameter(torch.randn(1, 4, 4, 4)),
            nn.Parameter(torch.randn(5, 4, 3, 3)),
        )
        self.to_rgb = nn.Conv2d(5, 3, 1)
        self.register_buffer("taps", torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4, persistent=False)
        self.register_buffer("noise", torch.randn(1, 1, 8, 8))

    def forward(self, z):
        n = len(z)
        w = self.mapping(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8))
        kernel = self.weight * (1 + self.affine(w)).view(n, 1, 4, 1, 1)
        kernel = kernel * torch.rsqrt(kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        x = self.const.repeat(n, 1, 1, 1).view(1, n * 4, 4, 4)
        x = F.conv_transpose2d(
            x, kernel.transpose(1, 2).reshape(n * 4, 5, 3, 3), stride=2, groups=n
        )
        blur = torch.outer(self.taps, self.taps).expand(5, 1, 4, 4)
        x = F.conv2d(F.pad(x.view(n, 5, 9, 9), (1, 1, 1, 1)), blur, groups=5)
        return self.to_rgb(F.leaky_relu(x + 0.1 * self.noise, 0.2))


def grouped():
    return nn.Sequential(
        nn.Linear(4, 32),
        nn.Unflatten(1, (8, 2, 2)),
        nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2),
        nn.ReLU(),
        nn.Conv2d(6, 3, 3, padding=1, groups=3),
        nn.Conv2d(3, 3, 3, 2, 1, groups=3),
    )


CASES = {
    "dcgan": (dcgan, {"latent_shape": (6, 1, 1)}),
    "upsampler": (upsampler, {"latent_shape": (5,), "value_range": (0, 1), "prior": "uniform"}),
    "conditional": (Conditional, {"latent_shape": (4,), "num_classes": 3}),
    "style": (Style, {"latent_shape": (6,)}),
    "grouped": (grouped, {"latent_shape": (4,)}),
}


def make(build, seed=0):
    """A module in training mode with batch statistics that matter."""
    torch.manual_seed(seed)
    module = build()
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.05, 0.5)
    return module.train()


@functools.lru_cache
def pair(case):
    build, options = CASES[case]
    module = make(build)
    return copy.deepcopy(module).eval().requires_grad_(False), from_torch(module, **options)


def latents(gen, count=5):
    """Latents and labels for both, and the labels' place among the arguments of `apply`."""
    z = gen.sample_latent(jax.random.key(1), count)
    label = np.arange(count, dtype=np.int32) % gen.num_classes if gen.num_classes else None
    return z, label, () if label is None else (torch.from_numpy(np.int64(label)),)


def in_units(images, case):
    low, high = CASES[case][1].get("value_range", (-1, 1))
    return (images.permute(0, 2, 3, 1) - low) * 2 / (high - low) - 1


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_the_module(case):
    module, gen = pair(case)
    z, label, labels = latents(gen)
    expected = in_units(module(torch.from_numpy(np.array(z)), *labels), case).numpy()
    images = gen.generate(z, label=label)
    assert expected.std() > 0.05  # some of them are of something
    assert images.dtype == np.float32
    assert np.abs(images - expected).max() <= TOLERANCE


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.parametrize("case", CASES)
def test_derivatives_in_both_modes_are_those_of_autograd(case):
    module, gen = pair(case)
    z, label, labels = latents(gen)
    theirs = torch.from_numpy(np.array(z)).requires_grad_(True)
    in_units(module(theirs, *labels), case).square().sum().backward()

    @jax.jit
    def derivatives(state, z):
        def loss(z):
            return jnp.square(gen.apply(state, z, label=label)).sum()

        return jax.grad(loss)(z), jax.jvp(loss, (z,), (jnp.cos(z),))[1]

    expected, (gradient, slope) = theirs.grad.numpy(), derivatives(gen.state, z)
    assert np.abs(gradient - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert slope == pytest.approx(np.vdot(expected, np.cos(z)), rel=1e-4)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.parametrize("case", ["conditional", "style"])
def test_the_function_can_be_mapped(case):
    _, gen = pair(case)
    z, label, _ = latents(gen)

    def one(row, label):
        return gen.apply(gen.state, row[None], label=None if label is None else label[None])[0]

    mapped = jax.jit(jax.vmap(one, in_axes=(0, None if label is None else 0)))(z, label)
    assert np.abs(mapped - gen.generate(z, label=label)).max() <= TOLERANCE


@pytest.mark.parametrize("case", ["dcgan", "conditional"])
def test_the_module_is_left_as_it_is(case):
    build, options = CASES[case]
    module = make(build)
    before = copy.deepcopy(module)
    gen = from_torch(module, **options)
    assert gen.digest == pair(case)[1].digest
    assert all(part.training for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert module.state_dict().keys() == before.state_dict().keys()
    assert all(
        (value == before.state_dict()[key]).all() for key, value in module.state_dict().items()
    )


def test_modules_of_one_graph_share_one_function_and_others_do_not():
    _, gen = pair("dcgan")
    other = from_torch(make(dcgan, seed=1), latent_shape=(6, 1, 1), name="other")
    assert gen.name == "Sequential"
    assert other.apply is gen.apply
    assert other.digest != gen.digest
    sloped = from_torch(make(functools.partial(dcgan, 0.1)), latent_shape=(6, 1, 1))
    assert sloped.apply is not gen.apply
    assert sloped.weights_digest == gen.weights_digest
    assert sloped.digest != gen.digest


@pytest.mark.parametrize("key", ["1.running_var", "6.bias"])
def test_every_tensor_counts_in_the_digest(key):
    module = make(dcgan)
    module.state_dict()[key].mul_(1.01)
    gen = from_torch(module, latent_shape=(6, 1, 1))
    assert gen.weights_digest != pair("dcgan")[1].weights_digest


def test_an_inversion_reaches_the_rounding_floor():
    gen = from_torch(make(lambda: Made(nn.Tanh())), latent_shape=(4,))
    pixels = np.uint8(
        np.round((np.asarray(gen.generate(gen.sample_latent(jax.random.key(7), 2))) + 1) * 127.5)
    )
    found = jattr.invert(gen, pixels, search=jattr.InvertConfig(pool=64, interval_steps=0))
    assert (found.loss.min(axis=1) < 1.2 * (2 / 255) ** 2 / 12).all()


class Made(nn.Module):
    """A linear module with something behind it."""

    def __init__(self, behind, channels=3):
        super().__init__()
        self.fc, self.behind, self.channels = nn.Linear(4, channels * 16), behind, channels
        self.register_buffer("count", torch.zeros(()))

    def forward(self, z):
        return self.behind(self.fc(z).view(-1, self.channels, 4, 4))


class Counting(Made):
    def forward(self, z):
        self.count += 1
        return super().forward(z)


def broken(value):
    module = Made(nn.Tanh())
    module.fc.weight.data[0, 0] = value
    return module


REFUSED = {
    "no module": (lambda: nn.Tanh, {}, "it takes a torch.nn.Module"),
    "two values": (lambda: Made(lambda x: (x, x)), {}, r"makes tuple .* put a module around it"),
    "no image": (
        lambda: Made(nn.Flatten()),
        {},
        r"makes torch.float32 \[2, 48\] of z \[2, 4\], no"
        r" images",
    ),
    "two channels": (lambda: Made(nn.Tanh(), channels=2), {}, r"\[2, 2, 4, 4\]"),
    "doubles": (lambda: Made(lambda x: x.double()), {}, "makes torch.float64"),
    "image shape": (
        lambda: Made(nn.Tanh()),
        {"image_shape": (4, 4, 1)},
        r"it states float32 \(2, 4,"
        r" 4, 1\)",
    ),
    "latent shape": (
        lambda: Made(nn.Tanh()),
        {"latent_shape": (5,)},
        "latent_shape and num_classes right",
    ),
    "labels": (lambda: Made(nn.Tanh()), {"num_classes": 3}, "latent_shape and num_classes right"),
    "prior": (lambda: Made(nn.Tanh()), {"prior": "other"}, "'other' without a sampler"),
    "range": (lambda: Made(nn.Tanh()), {"value_range": (1, 0)}, "low < high"),
    "rounding": (lambda: Made(nn.Tanh()), {"rounding": "floor"}, "'floor' is unknown"),
    "not finite": (lambda: broken(float("nan")), {}, r"not finite \(fc.weight\)"),
    "batch": (
        lambda: Made(nn.BatchNorm2d(3, track_running_stats=False)),
        {},
        "alone than beside others",
    ),
    "noise": (lambda: Made(lambda x: x + torch.randn_like(x)), {}, "draw random numbers"),
    "little noise": (
        lambda: Made(lambda x: x + 1e-5 * torch.randn_like(x)),
        {},
        r"aten\.randn_like",
    ),
    "changes": (lambda: Counting(nn.Tanh()), {}, "changes its buffer count"),
    "branch": (
        lambda: Made(lambda x: x if x.sum() > 0 else -x),
        {},
        "cannot be traced by torch.export",
    ),
    "missing": (
        lambda: Made(lambda x: F.adaptive_max_pool2d(x, 2)),
        {},
        r"aten\.adaptive_max_pool2d\.default",
    ),
    "fails": (
        lambda: Made(lambda x: F.interpolate(x, size=3, mode="bilinear", antialias=True)),
        {},
        r"fails at .*aten\._upsample_bilinear2d_aa",
    ),
    "wrong": (
        lambda: Made(nn.ConvTranspose2d(4, 4, 3, (1, 2), groups=2), channels=4),
        {},
        "makes other images",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_modules_that_cannot_be_generators_are_refused(case):
    build, options, words = REFUSED[case]
    torch.manual_seed(0)
    with pytest.raises(GeneratorError, match=words):
        from_torch(build(), **({"latent_shape": (4,)} | options))


@pytest.mark.parametrize("missing", ["torch", "torchax"])
def test_without_torch_or_torchax_the_message_names_the_extra(missing, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        GeneratorError, match=rf"importing {missing}.* pip install 'jattr\[torch\]'"
    ):
        from_torch(Made(nn.Tanh()), latent_shape=(4,))


def test_old_spectral_norm_with_its_derived_weight_is_copied():
    module = nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 48)), nn.Unflatten(1, (3, 4, 4)))
    # leaves a weight that is no leaf, which deepcopy refuses
    module(torch.randn(2, 4)).sum().backward()
    gen = from_torch(module, latent_shape=(4,))
    z = gen.sample_latent(jax.random.key(0), 3)
    expected = module.eval()(torch.from_numpy(np.array(z))).detach().numpy().transpose(0, 2, 3, 1)
    assert np.abs(gen.generate(z) - expected).max() <= TOLERANCE
