"""StyleGAN3 in PyTorch, float64, for the tests.

From the settings as the paper states them, no derived numbers.

Slow and obvious on purpose: kernels for every image, zeros inserted for upsampling, two-dimensional
filters. Karras et al., arXiv 2106.12423, appendix F; the state dict has NVlabs' names.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.signal
import scipy.special


@dataclass(frozen=True)
class Settings:
    resolution: int = 32
    num_layers: int = 3
    num_critical: int = 1
    margin: int = 2
    kernel_size: int = 3
    radial: bool = False
    num_classes: int = 0
    filter_size: int = 6
    oversampling: int = 2
    clamp: float | None = 256.0
    output_scale: float = 0.25
    transform: tuple = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    skewed: bool = False  # filters of random taps
    channels: tuple = (7, 6, 5, 4, 3)  # behind the layers, as far as there are
    z_dim: int = 4
    w_dim: int = 5

    def schedule(self):
        """Cutoffs, sampling rates, transition half-widths and sizes of the layers, that of the
        image last.
        """
        exponents = np.minimum(
            np.arange(self.num_layers + 1) / (self.num_layers - self.num_critical), 1
        )
        cutoffs = 2.0 * (self.resolution / 2 / 2.0) ** exponents
        stopbands = 2**2.1 * (self.resolution / 2 * 2**0.3 / 2**2.1) ** exponents
        rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stopbands, self.resolution)))).astype(int)
        sizes = rates + 2 * self.margin
        sizes[-2:] = self.resolution
        return cutoffs, rates, np.maximum(stopbands, rates / 2) - cutoffs, sizes

    def layers(self):
        """(index, previous, name) of each layer; the last makes the image."""
        sizes, channels = self.schedule()[3], (*self.channels[: self.num_layers], 3)
        return [
            (i, max(i - 1, 0), f"synthesis.L{i}_{sizes[i]}_{channels[i]}")
            for i in range(self.num_layers + 1)
        ]


def random_state(settings, seed=0):
    """A state dict of NVlabs' `Generator`, and the tree that a pickle of it gives."""
    rng = np.random.default_rng(seed)
    cutoffs, rates, widths, _ = settings.schedule()
    channels = (*settings.channels[: settings.num_layers], 3)
    state = {"mapping.w_avg": rng.normal(size=settings.w_dim)}

    def dense(name, outputs, inputs, scale=1.0):
        state[f"{name}.weight"], state[f"{name}.bias"] = (
            scale * rng.normal(size=(outputs, inputs)),
            rng.normal(size=outputs),
        )

    if settings.num_classes:
        dense("mapping.embed", settings.w_dim, settings.num_classes)
    dense(
        "mapping.fc0",
        settings.w_dim,
        settings.z_dim + settings.w_dim * bool(settings.num_classes),
        100.0,
    )
    dense("mapping.fc1", settings.w_dim, settings.w_dim, 100.0)
    dense("synthesis.input.affine", 4, settings.w_dim)
    state["synthesis.input.weight"] = rng.normal(size=(channels[0], channels[0]))
    state["synthesis.input.transform"] = np.array(settings.transform)
    state["synthesis.input.freqs"] = rng.normal(size=(channels[0], 2))
    state["synthesis.input.phases"] = rng.uniform(-0.5, 0.5, size=channels[0])
    for i, before, name in settings.layers():
        kernel = 1 if i == settings.num_layers else settings.kernel_size
        dense(f"{name}.affine", channels[before], settings.w_dim)
        state[f"{name}.weight"] = rng.normal(size=(channels[i], channels[before], kernel, kernel))
        state[f"{name}.bias"] = rng.normal(size=channels[i])
        state[f"{name}.magnitude_ema"] = np.exp(rng.normal())
        if i == settings.num_layers:
            continue
        rate = settings.oversampling * max(rates[before], rates[i])
        taps = [settings.filter_size * rate // rates[k] for k in (before, i)]
        radial = settings.radial and i < settings.num_layers - settings.num_critical
        state[f"{name}.up_filter"] = low_pass(taps[0], cutoffs[before], 2 * widths[before], rate)
        state[f"{name}.down_filter"] = low_pass(taps[1], cutoffs[i], 2 * widths[i], rate, radial)
        if settings.skewed:
            state[f"{name}.up_filter"] = 0.3 * rng.normal(size=taps[0])
            state[f"{name}.down_filter"] = 0.3 * rng.normal(size=taps[1])
    first = settings.layers()[0][2]
    attributes = {
        f"{first}.down_factor": settings.oversampling,
        f"{first}.conv_clamp": settings.clamp,
        "synthesis.input.bandwidth": float(cutoffs[0]),
        "synthesis.output_scale": settings.output_scale,
        "mapping.fc0.bias_gain": 0.01,
    }
    return {name: np.asarray(array, np.float32) for name, array in state.items()}, {
        "attributes": attributes
    }


def low_pass(taps, cutoff, width, rate, radial=False):
    """Taps of the paper's filters (appendix C.1).

    Sinc, or jinc of the radius, under a Kaiser window.
    """
    if not radial:
        return scipy.signal.firwin(taps, cutoff, width=width, fs=rate)
    at = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(at[:, None], at[None, :])
    window = np.kaiser(
        taps, scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, width / (rate / 2)))
    )
    filter = scipy.special.j1(2 * math.pi * cutoff * radius) / radius * np.outer(window, window)
    return filter / filter.sum()


def torch_images(settings, state, z, label, psi):
    """Images [n, H, W, C] of latents z [n, z_dim] and labels [n], in float64."""
    import torch

    state = {name: torch.from_numpy(np.asarray(array, np.float64)) for name, array in state.items()}
    w = styles(state, torch.from_numpy(np.float64(z)), label)
    w = state["mapping.w_avg"].lerp(w, psi)
    _, rates, _, sizes = settings.schedule()
    x = features(state, w, int(sizes[0]), int(rates[0]))
    for i, before, name in settings.layers():
        last = i == settings.num_layers
        x = convolved(state, name, x, w, last)
        if last:
            x = x if settings.clamp is None else x.clamp(-settings.clamp, settings.clamp)
            continue
        rate = settings.oversampling * max(rates[before], rates[i])
        x = between_filters(
            state,
            name,
            x,
            int(rate // rates[before]),
            int(rate // rates[i]),
            int(sizes[i]),
            settings.clamp,
        )
    return (settings.output_scale * x).numpy().transpose(0, 2, 3, 1)


def dense(state, name, x, rate=1.0):
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return x @ (weight * (rate / math.sqrt(weight.shape[1]))).T + rate * bias


def styles(state, z, label):
    import torch

    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    if label is not None:
        classes = state["mapping.embed.weight"].shape[1]
        y = dense(
            state,
            "mapping.embed",
            torch.eye(classes, dtype=z.dtype)[torch.from_numpy(label).long()],
        )
        x = torch.cat([x, y / (y.square().mean(1, keepdim=True) + 1e-8).sqrt()], 1)
    for i in range(2):
        x = math.sqrt(2) * torch.nn.functional.leaky_relu(
            dense(state, f"mapping.fc{i}", x, 0.01), 0.2
        )
    return x


def features(state, w, size, rate, bandwidth=2.0):
    """One image after the other: sines at the points of the grid, each looked up at R T U p."""
    import torch

    made = []
    for r_c, r_s, t_x, t_y in dense(state, "synthesis.input.affine", w):
        norm = torch.hypot(r_c, r_s)
        c, s, x, y = (float(v / norm) for v in (r_c, r_s, t_x, t_y))
        rotation = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=w.dtype)
        shift = torch.tensor([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=w.dtype)
        matrix = rotation @ shift @ state["synthesis.input.transform"]
        freqs, phases = state["synthesis.input.freqs"], state["synthesis.input.phases"]
        phases = phases + freqs @ matrix[:2, 2]
        freqs = freqs @ matrix[:2, :2]
        amplitudes = (1 - (freqs.norm(dim=1) - bandwidth) / (rate / 2 - bandwidth)).clamp(0, 1)
        theta = 0.5 * size / rate * torch.eye(2, 3, dtype=w.dtype)[None]
        grid = torch.nn.functional.affine_grid(theta, [1, 1, size, size], align_corners=False)[0]
        waves = torch.sin(2 * math.pi * (grid @ freqs.T + phases)) * amplitudes
        weight = state["synthesis.input.weight"]
        made.append((waves @ weight.T / math.sqrt(len(weight))).permute(2, 0, 1))
    return torch.stack(made)


def convolved(state, name, x, w, last):
    """The modulated convolution: one kernel for every image."""
    import torch

    weight, style = state[f"{name}.weight"], dense(state, f"{name}.affine", w)
    if last:
        style = style / math.sqrt(weight.shape[1])
    else:
        weight = weight / weight.square().mean((1, 2, 3), keepdim=True).sqrt()
        style = style / style.square().mean().sqrt()
    images = []
    for image, factors in zip(x, style, strict=True):
        kernel = weight * factors[None, :, None, None]
        if not last:
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        kernel = kernel / state[f"{name}.magnitude_ema"].sqrt()
        images.append(torch.nn.functional.conv2d(image[None], kernel, padding=kernel.shape[-1] - 1))
    return torch.cat(images) + state[f"{name}.bias"][:, None, None]


def between_filters(state, name, x, up, down, size, clamp):
    """Upsample, leaky ReLU, downsample.

    The two filters are as wide as they are, the samples centred in pixels.
    """
    import torch

    filters = [state[f"{name}.{which}_filter"] for which in ("up", "down")]
    up_filter, down_filter = (torch.outer(f, f) if f.ndim == 1 else f for f in filters)
    n, channels, inputs, _ = x.shape
    z = x.new_zeros(n, channels, inputs * up, inputs * up)
    z[:, :, ::up, ::up] = x
    zeros = (size - 1) * down + 1 - inputs * up + len(up_filter) + len(down_filter) - 2
    front = (zeros + up) // 2
    z = torch.nn.functional.pad(z, (front, zeros - front) * 2)
    z = filtered(z, up_filter * up**2)
    z = math.sqrt(2) * torch.nn.functional.leaky_relu(z, 0.2)
    z = z if clamp is None else z.clamp(-clamp, clamp)
    return filtered(z, down_filter)[:, :, ::down, ::down]


def filtered(x, taps):
    """Convolution of each channel, where the filter lies inside."""
    import torch

    flat = x.reshape(-1, 1, *x.shape[2:])
    y = torch.nn.functional.conv2d(flat, taps.flip(0, 1)[None, None])
    return y.reshape(*x.shape[:2], *y.shape[2:])
