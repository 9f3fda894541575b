"""A generator without its last layer, and the last layer: together they are the generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jattr.converters.layered import convert_layered
from tiny_generator import make_tiny, tiny_card_data, tiny_weights

from jattr.generators.card import parse_card
from jattr.generators.family import graph_of, net_state, plain_apply
from jattr.generators.final_layers import final_of
from jattr.generators.progan import Architecture
from jattr.generators.store import load_generator, make_generator

OUTPUTS = {"identity": lambda x: x, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}


def ends_dense(*, output="sigmoid"):
    """A network whose last layer is dense, in [0, 1]."""
    card = tiny_card_data(name="dense") | {
        "layers": [
            {"op": "linear", "key": "fc"},
            {"op": "relu"},
            {"op": "linear", "key": "last"},
            {"op": output},
            {"op": "reshape", "shape": [3, 8, 8]},
        ],
        "value_range": [0, 1],
    }
    rng = np.random.default_rng(0)
    state = {name: tiny_weights()[name] for name in ("fc.weight", "fc.bias")}
    state["last.weight"] = rng.normal(size=(192, 32), scale=0.3).astype(np.float32)
    state["last.bias"] = rng.normal(size=192, scale=0.3).astype(np.float32)
    card = parse_card(card)
    return make_generator(card, convert_layered(card, state))


def ends_otherwise():
    """A network whose image comes out of a layer norm."""
    card = tiny_card_data(name="norm")
    card["layers"][-1] = {"op": "layer_norm", "key": "ln", "eps": 1e-5}
    state = tiny_weights() | {
        "ln.weight": np.ones((3, 8, 8), np.float32),
        "ln.bias": np.zeros((3, 8, 8), np.float32),
    }
    card = parse_card(card)
    return make_generator(card, convert_layered(card, state))


CASES = {
    "tiny": make_tiny,
    "conditional": lambda: make_tiny(name="tiny_conditional", num_classes=3),
    "dense": ends_dense,
    "dcgan": lambda: load_generator("dcgan_a"),
    "progan": lambda: load_generator("progan_a"),
    "stylegan": lambda: load_generator("stylegan_a"),
    "stylegan in w": lambda: load_generator("stylegan_a").view("w"),
}
TINY = ("tiny", "conditional", "dense")


@pytest.mark.parametrize(
    "name",
    [name if name in TINY else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_both_parts_make_the_images(name, request):
    if name not in TINY:
        request.getfixturevalue("few_optimisations")
    gen = CASES[name]()
    final = gen.final(gen)
    z = gen.sample_latent(jax.random.key(0), 3)
    label = jnp.arange(3) if gen.num_classes else None
    activations = jax.jit(final.activations)(gen.state, z, label=label)
    low, high = final.value_range
    made = (OUTPUTS[final.output](final.linear(gen.state, activations)) - low) * (
        2 / (high - low)
    ) - 1
    expected = gen.generate(z, label=label)
    assert np.abs(made - expected).max() <= 1e-5  # the same sums, compiled apart
    assert activations.shape[1:] != made.shape[1:]


@pytest.mark.slow
def test_progan_with_tanh():
    arch = Architecture(channels=(6, 4), z_dim=5, image_channels=3, tanh=True)
    rng = np.random.default_rng(0)
    tensors = {
        path: rng.normal(size=shape).astype(np.float32)
        for path, shape in graph_of("progan", arch)[1].items()
    }
    state = net_state("progan", arch, tensors)
    final = final_of("progan", arch)(None)
    z = rng.normal(size=(2, 5)).astype(np.float32)
    made = jnp.tanh(final.linear(state, final.activations(state, z)))
    assert final.output == "tanh"
    assert np.abs(made - plain_apply("progan", arch)(state, z)).max() <= 1e-5


def test_networks_that_end_otherwise_have_none():
    assert ends_otherwise().final is None
    assert load_generator("stylegan2_a").final is None
