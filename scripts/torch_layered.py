"""The generators and recipes of `compare_with_torch.py` as a user of PyTorch would write them.

Eager and batched.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from torch import nn

from jattr.generators.card import Card, Layer, read_card

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Net(nn.Module):
    """An architecture card as a `Sequential`, frozen, in eval mode.

    Z [n, d] to images [n, C, H, W] in [-1, 1].
    """

    def __init__(self, path: Path):
        """Build the network of a card file and load the weights beside it."""
        super().__init__()
        card = read_card(path)
        assert card.conditioning is None, "an unconditional generator"
        tree = find_state_dict(
            read_checkpoint(path.parent / str(card.weights)), card.state_dict_key
        )
        state = {key: torch.from_numpy(np.array(value)) for key, value in tree.items()}
        self.card, self.dim = card, card.latent.dim
        self.body = nn.Sequential(*_layers(card, state))
        self.eval().requires_grad_(False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return the images of latents."""
        x, (low, high) = self.body(z), self.card.value_range
        return x if (low, high) == (-1.0, 1.0) else (x - low) * (2.0 / (high - low)) - 1.0

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return n latents of the prior."""
        if self.card.latent.distribution == "uniform":
            return torch.rand(n, self.dim, generator=generator) * 2 - 1
        return torch.randn(n, self.dim, generator=generator)


def _layers(card: Card, state: dict[str, torch.Tensor]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    flat = True
    for layer in card.layers:
        own = {
            key[len(layer.key) + 1 :]: value
            for key, value in state.items()
            if layer.key and _belongs(key, layer)
        }
        if not flat and layer.op in ("linear", "reshape"):
            layers.append(nn.Flatten())
        flat = layer.op == "linear" or (flat and layer.op != "reshape")
        module = _module(layer, own, flat)
        if own:
            missing = module.load_state_dict(own, strict=False).missing_keys
            assert set(missing) <= {"num_batches_tracked"}, (layer, missing)
        layers.append(module)
    return layers


def _belongs(key: str, layer: Layer) -> bool:
    return key.rpartition(".")[0] == layer.key


def _module(layer: Layer, own: dict[str, torch.Tensor], flat: bool) -> nn.Module:
    """Return the module of a layer; `own` are its tensors."""
    weight, bias = own.get("weight"), "bias" in own
    match layer.op:
        case "linear":
            return nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
        case "conv":
            outputs, inputs, *size = weight.shape
            return nn.Conv2d(
                inputs,
                outputs,
                tuple(size),
                layer.stride,
                layer.padding,
                bias=bias,
                padding_mode=layer.padding_mode,
            )
        case "conv_transpose":
            inputs, outputs, *size = weight.shape
            return nn.ConvTranspose2d(
                inputs,
                outputs,
                tuple(size),
                layer.stride,
                layer.padding,
                layer.output_padding,
                bias=bias,
            )
        case "batch_norm":
            kind = nn.BatchNorm1d if flat else nn.BatchNorm2d
            return kind(len(own["running_mean"]), eps=layer.eps, affine=weight is not None)
        case "prelu":
            return nn.PReLU(weight.numel())
        case "leaky_relu":
            return nn.LeakyReLU(layer.slope)
        case "upsample_nearest":
            return nn.Upsample(scale_factor=layer.scale)
        case "reshape":
            return nn.Unflatten(1, layer.shape)
        case "relu" | "tanh" | "sigmoid" | "dropout":
            return {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "dropout": nn.Dropout}[
                layer.op
            ]()
    raise SystemExit(
        f"compare_with_torch.py has no {layer.op!r}; choose another generator with --only"
    )


def losses(net: Net, z: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of each lane [n]."""
    return (net(z) - target).square().mean((1, 2, 3))


def adam_steps(net: Net, z: torch.Tensor, target: torch.Tensor, steps: int) -> None:
    """Run Adam with a cosine schedule on lanes of latents."""
    z = z.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([z], lr=0.1, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500)
    for _ in range(steps):
        optimiser.zero_grad()
        losses(net, z, target).sum().backward()
        optimiser.step()
        schedule.step()


class Setting(NamedTuple):
    """How torch runs fastest."""

    memory_format: str  # a key of FORMATS
    threads: int

    def place(self, target: torch.Tensor) -> torch.Tensor:
        """Return images in the memory format."""
        return target.contiguous(memory_format=FORMATS[self.memory_format])


def choose_setting(
    net: Net, lanes: int, target: torch.Tensor, threads: Sequence[int], steps: int = 8
) -> Setting:
    """Put torch and the network into the fastest of all settings for this many lanes, and return
    it.

    One thread wins where layers are small, and always where other programs hold the cores.
    """
    z = torch.zeros(lanes, net.dim)
    wanted = target[torch.arange(lanes) % len(target)]
    seconds = {}
    for setting in (Setting(name, count) for name in FORMATS for count in threads):
        _apply(net, setting)
        placed = setting.place(wanted)
        adam_steps(net, z, placed, 2)
        start = time.perf_counter()
        adam_steps(net, z, placed, steps)
        seconds[setting] = time.perf_counter() - start
    setting = min(seconds, key=lambda setting: seconds[setting])
    _apply(net, setting)
    return setting


def _apply(net: Net, setting: Setting) -> None:
    torch.set_num_threads(setting.threads)
    net.to(memory_format=FORMATS[setting.memory_format])


@dataclass
class Race:
    """When each image first came below each threshold, and when to give up."""

    thresholds: tuple[float, ...]
    needed: int  # images that have to arrive
    limits: tuple[float, ...]  # seconds, for each threshold
    images: int

    def __post_init__(self) -> None:
        """Start the clock."""
        self.arrivals = np.full((len(self.thresholds), self.images), np.inf)
        self.begin = time.perf_counter()

    def note(self, images: np.ndarray, loss: np.ndarray) -> bool:
        """Note the losses of some images now; True when nothing is left to wait for."""
        now = time.perf_counter() - self.begin
        for row, threshold in zip(self.arrivals, self.thresholds, strict=True):
            arrived = images[loss <= threshold]
            row[arrived] = np.minimum(row[arrived], now)
        ended = [
            (row < np.inf).sum() >= self.needed or now > limit
            for row, limit in zip(self.arrivals, self.limits, strict=True)
        ]
        return all(ended)

    def open(self) -> np.ndarray:
        """Return the images that have not reached the last threshold."""
        return np.flatnonzero(~np.isfinite(self.arrivals[-1]))

    def result(self) -> list[dict[str, Any]]:
        """Return for each threshold the time until enough images had arrived.

        None: never, within the limit.
        """
        out = []
        for row, threshold, limit in zip(self.arrivals, self.thresholds, self.limits, strict=True):
            when = float(np.sort(row)[self.needed - 1])
            row_of = {
                "threshold": threshold,
                "seconds": when if when <= limit else None,
                "watched_seconds": limit,
            }
            out.append(row_of | {"arrived": int((row <= limit).sum())})
        return out


def run_adam(
    net: Net,
    target: torch.Tensor,
    race: Race,
    setting: Setting,
    seed: int,
    *,
    restarts: int,
    b1: float,
    cosine: bool,
) -> None:
    """Run rounds of 500 Adam steps, `restarts` lanes for each image that is still open, until
    the race ends.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        images = np.repeat(race.open(), restarts)
        lanes = torch.from_numpy(images)
        z = net.sample(len(lanes), generator).requires_grad_(True)
        optimiser = torch.optim.Adam([z], lr=0.1, betas=(b1, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500) if cosine else None
        wanted = setting.place(target[lanes])
        for _ in range(500):
            optimiser.zero_grad()
            loss = losses(net, z, wanted)
            loss.sum().backward()
            optimiser.step()
            if schedule is not None:
                schedule.step()
            if race.note(images, loss.detach().numpy()):
                return


def run_lbfgs(net: Net, target: torch.Tensor, race: Race, setting: Setting, seed: int) -> None:
    """Run `torch.optim.LBFGS` with strong Wolfe line search, one image and one start at a time,
    until the race ends.

    In turn over the open images; a start is left when 25 iterations lower its loss by less than a
    tenth, or after
    200. The tolerances are off, for the default ones stop above the floor.
    """
    generator = torch.Generator().manual_seed(seed)
    target = setting.place(target)
    for _ in itertools.count():
        for image in race.open():
            if _one_lbfgs(net, target[image : image + 1], image, race, net.sample(1, generator)):
                return


def _one_lbfgs(net: Net, target: torch.Tensor, image: int, race: Race, z: torch.Tensor) -> bool:
    """Search from one start; True when the race has ended."""
    z = z.requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [z],
        lr=1,
        max_iter=5,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    seen = [np.inf]

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = losses(net, z, target).sum()
        loss.backward()
        seen.append(min(seen[-1], loss.item()))
        race.note(np.array([image]), np.array([seen[-1]]))
        return loss

    before = np.inf
    for iteration in range(40):
        optimiser.step(closure)
        if race.note(np.array([image]), np.array([seen[-1]])):
            return True
        if seen[-1] <= race.thresholds[-1] or not np.isfinite(z.detach().numpy()).all():
            return False
        if iteration % 5 == 4:
            if seen[-1] > 0.9 * before:
                return False
            before = seen[-1]
    return False


class Recipe(NamedTuple):
    """How a user would search, and for how many lanes at once."""

    lanes: Callable[[int], int]  # by the number of images
    run: Callable[..., None]  # (net, target, race, setting, seed)


RECIPES = {
    "paper": Recipe(lambda n: n, partial(run_adam, restarts=1, b1=0.0, cosine=False)),
    "adam-cosine": Recipe(lambda n: 4 * n, partial(run_adam, restarts=4, b1=0.9, cosine=True)),
    "lbfgs": Recipe(lambda n: 1, run_lbfgs),
}
