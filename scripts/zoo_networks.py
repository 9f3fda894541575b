"""The networks that `train_zoo.py` trains.

The bundled generators in their trainable form, and one discriminator.

A family's trainable numbers are the tensors that its card stores, so that equalised learning rates
(Karras et al., arXiv 1710.10196, section 4.1) come by themselves. DCGAN has batch statistics while
it learns, frozen ones afterwards.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jattr.converters.layered import convert_layered
from random_families import random_tensors

from jattr.generators import ops
from jattr.generators.card import parse_card
from jattr.generators.card_fields import CardBase
from jattr.generators.family import FAMILIES, graph_of, net_state
from jattr.generators.family_card import architecture_to_json
from jattr.generators.registry import parse_any_card
from jattr.generators.stored import as_tree

Z_DIM = 64
STYLES: dict[str, Any] = {"z_dim": Z_DIM, "mapping_widths": (Z_DIM,) * 4}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "progan": {"channels": (48, 48, 32, 16), "z_dim": Z_DIM},
    "stylegan": {"channels": (48, 48, 32, 16), **STYLES},
    "stylegan2": {"channels": (48, 48, 32, 16), **STYLES, "equalised": True},
}
DCGAN_CHANNELS = (96, 64, 32, 3)  # behind each of its transposed convolutions
DISCRIMINATOR = (32, 64, 96)  # feature maps at 16, 8, 4 pixels
BATCH_NORM_EPSILON = 1e-5
CALIBRATION = 4096  # samples that frozen statistics and the mean style are measured on
SLOPE = 0.2

Params = dict[str, jax.Array]


class Trainable(NamedTuple):
    """A generator while it learns."""

    init: Callable[[int], Params]  # seed -> tensors by path
    # (tensors, z [n, 64], key) -> images [n, 32, 32, 3]
    apply: Callable[[Params, jax.Array, jax.Array], jax.Array]
    # -> card, stored tensors
    export: Callable[[Params, str, dict[str, Any]], tuple[CardBase, dict[str, Any]]]


def trainable(kind: str) -> Trainable:
    """Return the trainable form of "dcgan" or of a family."""
    return _dcgan() if kind == "dcgan" else _family(kind)


def _family(kind: str) -> Trainable:
    arch = FAMILIES[kind].architecture(**ARCHITECTURES[kind])
    graphdef, _ = graph_of(kind, arch)
    styled = FAMILIES[kind].styled

    def init(seed: int) -> Params:
        tensors = random_tensors(kind, arch, seed)
        quiet = {
            path: np.zeros_like(a)
            for path, a in tensors.items()
            if path.endswith(("strength", "w_avg"))
        }
        return {path: jnp.asarray(array) for path, array in (tensors | quiet).items()}

    def apply(params: Params, z: jax.Array, key: jax.Array) -> jax.Array:
        net = nnx.merge(graphdef, net_state(kind, arch, params))
        if not styled:
            return net(z)
        keys = jax.random.split(key, len(arch.noise_shapes))
        noise = [
            jax.random.normal(k, (len(z), *shape))
            for k, shape in zip(keys, arch.noise_shapes, strict=True)
        ]
        w = net.mapping(z)
        return net.synthesis(
            jnp.broadcast_to(w[:, None], (len(z), arch.num_ws, w.shape[-1])), noise
        )

    def export(
        params: Params, name: str, source: dict[str, Any]
    ) -> tuple[CardBase, dict[str, Any]]:
        tensors = {path: np.asarray(array, np.float32) for path, array in params.items()}
        if styled:
            z = jax.random.normal(jax.random.key(0), (CALIBRATION, Z_DIM))
            w = nnx.merge(graphdef, net_state(kind, arch, params)).mapping(z)
            tensors["w_avg"] = np.asarray(w.mean(0))
        data = {
            "card_version": 1,
            "kind": kind,
            "name": name,
            "architecture": architecture_to_json(arch),
            "source": source,
            "domain": "procedural faces",
            "rounding": "round",
        }
        return parse_any_card(data), as_tree(tensors)

    return Trainable(init, apply, export)


def _dcgan() -> Trainable:
    """Radford, Metz, Chintala, arXiv 1511.06434.

    Transposed convolutions, batch normalisation, ReLU, tanh.
    """
    widths = list(zip((Z_DIM, *DCGAN_CHANNELS), DCGAN_CHANNELS, strict=False))
    last = len(widths) - 1

    def init(seed: int) -> Params:
        rng = np.random.default_rng(seed)
        params = {}
        for i, (inputs, outputs) in enumerate(widths):
            params[f"main.{3 * i}.weight"] = rng.normal(size=(inputs, outputs, 4, 4), scale=0.02)
            if i < last:
                params[f"main.{3 * i + 1}.weight"] = rng.normal(size=outputs, loc=1.0, scale=0.02)
                params[f"main.{3 * i + 1}.bias"] = np.zeros(outputs)
        return {name: jnp.asarray(array, jnp.float32) for name, array in params.items()}

    def layers(params: Params, z: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the images and the statistics of this batch."""
        x, result = z[:, None, None, :], {}
        for i in range(last + 1):
            kernel = params[f"main.{3 * i}.weight"].transpose(2, 3, 0, 1)
            x = (
                ops.conv_transpose(x, kernel, stride=2, padding=1)
                if i
                else ops.conv_transpose(x, kernel)
            )
            if i < last:
                name = f"main.{3 * i + 1}"
                mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
                result |= {f"{name}.running_mean": mean, f"{name}.running_var": var}
                x = (x - mean) * jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
                x = jax.nn.relu(x * params[f"{name}.weight"] + params[f"{name}.bias"])
        return jnp.tanh(x), result

    def export(
        params: Params, name: str, source: dict[str, Any]
    ) -> tuple[CardBase, dict[str, Any]]:
        z = jax.random.normal(jax.random.key(0), (CALIBRATION, Z_DIM))
        state = params | layers(params, z)[1]
        rows: list[dict[str, Any]] = []
        for i in range(last + 1):
            steps = {"stride": 2, "padding": 1} if i else {"stride": 1, "padding": 0}
            rows.append(
                {"op": "conv_transpose", "key": f"main.{3 * i}", "output_padding": 0} | steps
            )
            if i < last:
                rows += [
                    {"op": "batch_norm", "key": f"main.{3 * i + 1}", "eps": BATCH_NORM_EPSILON},
                    {"op": "relu"},
                ]
        data = {
            "card_version": 1,
            "kind": "layered",
            "name": name,
            "image_shape": [3, 32, 32],
            "value_range": [-1, 1],
            "latent": {"dim": Z_DIM, "distribution": "normal"},
            "conditioning": None,
            "state_dict_key": None,
            "ignore": [],
            "layers": [{"op": "reshape", "shape": [Z_DIM, 1, 1]}, *rows, {"op": "tanh"}],
            "source": source,
            "domain": "procedural faces",
            "rounding": "round",
        }
        card = parse_card(data)
        return card, convert_layered(
            card, {key: np.asarray(array, np.float32) for key, array in state.items()}
        )

    return Trainable(init, lambda params, z, key: layers(params, z)[0], export)


def init_discriminator(seed: int) -> Params:
    """Return the discriminator's tensors, normal with deviation 1.

    Gains are applied when it runs.
    """
    rng = np.random.default_rng(seed + 1_000)
    params: dict[str, np.ndarray] = {}
    inputs = 3
    for i, outputs in enumerate(DISCRIMINATOR):
        params[f"down{i}"] = rng.normal(size=(4, 4, inputs, outputs))
        params[f"same{i}"] = rng.normal(
            size=(3, 3, outputs + (i == len(DISCRIMINATOR) - 1), outputs)
        )
        params |= {f"down{i}_bias": np.zeros(outputs), f"same{i}_bias": np.zeros(outputs)}
        inputs = outputs
    params["dense"] = rng.normal(size=(16 * inputs, inputs))
    params["dense_bias"] = np.zeros(inputs)
    params["score"] = rng.normal(size=(inputs, 1))
    return {name: jnp.asarray(array, jnp.float32) for name, array in params.items()}


def discriminate(params: Params, x: jax.Array) -> jax.Array:
    """Return the score [n] of images [n, 32, 32, 3]: high for real ones."""
    for i in range(len(DISCRIMINATOR)):
        x = ops.conv(x, _scaled(params[f"down{i}"]), stride=2, padding=1) + params[f"down{i}_bias"]
        x = _leaky(x)
        if i == len(DISCRIMINATOR) - 1:
            x = jnp.concatenate(
                [x, jnp.broadcast_to(_batch_deviation(x), (*x.shape[:3], 1))], axis=-1
            )
        x = _leaky(ops.conv(x, _scaled(params[f"same{i}"]), padding=1) + params[f"same{i}_bias"])
    x = _leaky(x.reshape(len(x), -1) @ _scaled(params["dense"]) + params["dense_bias"])
    return (x @ (params["score"] / math.sqrt(x.shape[1])))[:, 0]


def _scaled(kernel: jax.Array) -> jax.Array:
    return kernel * math.sqrt(2.0 / math.prod(kernel.shape[:-1]))


def _leaky(x: jax.Array) -> jax.Array:
    return jnp.where(x >= 0, x, SLOPE * x)


def _batch_deviation(x: jax.Array) -> jax.Array:
    """Return how much the batch varies (arXiv 1710.10196, section 3).

    A generator of one image is seen at once.
    """
    return jnp.sqrt(x.var(0) + 1e-8).mean()
