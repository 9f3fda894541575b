"""Networks behind other names: wrappers, prefixes, and averaged weights beside others."""

import json

import numpy as np
import pytest
from dcgan_files import discriminator_state, generator_state
from fake_files import random_tensors, state_dict_of
from jattr.converters.convert import convert
from jattr.converters.detect import Weights, detect
from jattr.converters.layered import state_of_card
from jattr.converters.places import Place, places_in
from jattr.converters.stylegan2 import FORMATS as STYLEGAN2
from safetensors.numpy import save_file

from jattr.errors import CheckpointError, ConversionError
from jattr.generators.card import parse_card
from jattr.generators.stylegan2 import Architecture

G, D = generator_state(), discriminator_state()
OTHER = generator_state(nz=7)
COUNT = np.array(3)


def behind(prefix, state):
    return {f"{prefix}{name}": array for name, array in state.items()}


def in_front_of_weights(part, state):
    """The names with a part before their last two, as a wrapper of each layer adds."""
    return {
        ".".join([*name.split(".")[:-2], part, *name.split(".")[-2:]]): array
        for name, array in state.items()
    }


WRAPPED = {  # what a file may hold of one DCGAN
    "torch.compile": behind("_orig_mod.", G),
    "compiled, then parallel": behind("module._orig_mod.", G),
    "parallel, then compiled": behind("_orig_mod.module.", G),
    "four wrappers": behind("module._orig_mod.module._orig_mod.", G),
    "a mixture": behind("_orig_mod.", dict(list(G.items())[:3])) | dict(list(G.items())[3:]),
    "each layer compiled": in_front_of_weights("_orig_mod", G),
    "inner data parallel": {n.replace("main.", "main.module."): a for n, a in G.items()},
    "sharded data parallel": behind("_fsdp_wrapped_module.", G),
    "AveragedModel": {"n_averaged": COUNT} | behind("module.", G),
    "AveragedModel of a compiled one": {"n_averaged": COUNT} | behind("module._orig_mod.", G),
    "compiled AveragedModel": behind("_orig_mod.", {"n_averaged": COUNT} | behind("module.", G)),
    "thop": G | {"total_ops": COUNT, "main.0.total_ops": COUNT, "main.0.total_params": COUNT},
    "netG_state_dict": {"netG_state_dict": G, "netD_state_dict": D, "epoch": 3},
    "model_state_dict": {"model_state_dict": behind("generator.", G) | behind("critic.", D)},
    "lightning": {"state_dict": behind("generator.", G) | behind("discriminator.", D)},
    "lightning, compiled": {"state_dict": behind("net.generator._orig_mod.", G)},
    "lightning fabric": {"model": behind("_forward_module.generator.", G)},
    "deep": {"a": {"b": {"c": {"d": {"module": G}}}}},
    "optimiser beside": {
        "gen": G,
        "opt": {"state": {0: {"exp_avg": G["main.0.weight"]}, 1: {"exp_avg": COUNT}}},
        "optimizer_G": {"exp_avg": OTHER},
    },
    "lucidrains' EMA": {"initted": COUNT, "step": COUNT}
    | behind("online_model.", OTHER)
    | behind("ema_model.", G),
    "lucidrains' EMA alone": {"ema": {"initted": COUNT, "step": COUNT} | behind("ema_model.", G)},
    "lucidrains' EMA of a parallel one": behind("online_model.module.", OTHER)
    | behind("ema_model.module.", G),
    "lucidrains' EMA in a trainer": {"netG": OTHER}
    | {"ema": {"initted": COUNT} | behind("online_model.", OTHER) | behind("ema_model.", G)},
    "averages of two kinds": {"ema": {"g": OTHER, "g_ema": G}, "g": OTHER},
    "ema beside": {"netG": OTHER, "netG_ema": G, "netD": D},
    "ema above": {"models": {"G": OTHER}, "ema": {"models": {"G": G}}},
    "gema": {"gen": OTHER, "gema": G},
    "avgG": {"net": OTHER, "avgNet": G},
    "swa": {"model": OTHER, "swa_model": {"n_averaged": COUNT} | behind("module.", G)},
    "smooth": {"gen": OTHER, "gen_smooth": G},
    "shadow": {"gen": OTHER, "ema_helper": {"shadow": G, "decay": 0.9}},
}
CARD = {
    "card_version": 1, "kind": "layered", "name": "dcgan", "image_shape": [3, 16, 16],
    "value_range": [-1, 1], "latent": {"dim": 5, "distribution": "normal"},
    "layers": [
        {"op": "reshape", "shape": [5, 1, 1]},
        {"op": "conv_transpose", "key": "main.0", "stride": 1, "padding": 0, "output_padding": 0},
        {"op": "batch_norm", "key": "main.1", "eps": 1e-05}, {"op": "relu"},
        {"op": "conv_transpose", "key": "main.3", "stride": 2, "padding": 1, "output_padding": 0},
        {"op": "batch_norm", "key": "main.4", "eps": 1e-05}, {"op": "relu"},
        {"op": "conv_transpose", "key": "main.6", "stride": 2, "padding": 1, "output_padding": 0},
        {"op": "tanh"},
    ],
}  # fmt: skip


def same(tensors, state=G):
    return all(np.array_equal(tensors[name], array) for name, array in state.items())


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_network_is_found(name):
    match = detect(Weights("g.pt", WRAPPED[name]))
    assert match.format.name == "dcgan"
    assert same(match.tensors)
    assert len(match.tensors) == len(G)


@pytest.mark.parametrize("name", WRAPPED)
def test_a_card_finds_it_too(name):
    tree = WRAPPED[name]
    if name == "inner data parallel":
        tree = dict(tree)
    state = state_of_card(parse_card(CARD), tree, None)
    assert same(state.tensors)


def test_the_choice_of_averaged_weights_is_said(tmp_path):
    save_file(behind("g.", OTHER) | behind("g_ema.", G), tmp_path / "g.safetensors")
    made = convert(tmp_path / "g.safetensors", tmp_path / "ema")
    (note,) = made.card["source"]["notes"]
    assert note == ('taken are the averaged weights under "g_ema"; there are also "g" (--key)')
    assert made.card["source"]["key"] == "g_ema"
    assert made.latent_shape == (5,)
    other = convert(tmp_path / "g.safetensors", tmp_path / "other", key="g")
    assert other.latent_shape == (7,)
    assert "notes" not in other.card["source"]
    with pytest.raises(ConversionError, match='nothing was looked for outside of --key "x"'):
        convert(tmp_path / "g.safetensors", tmp_path / "none", key="x")


@pytest.mark.parametrize(
    "tree",
    [
        {"netG_A": G, "netG_B": OTHER},
        {"last": G, "best": OTHER},
        {"ema_1": G, "ema_2": OTHER, "net": OTHER},
    ],
)
def test_two_networks_that_nothing_tells_apart(tree):
    with pytest.raises(ConversionError, match=r"under each of .* say which with --key NAME"):
        detect(Weights("g.pt", tree))
    assert same(detect(Weights("g.pt", tree), key=next(iter(tree))).tensors)


def test_two_networks_under_a_card(tmp_path):
    twins = {"netG_A": G, "netG_B": {name: 2 * array for name, array in G.items()}}
    with pytest.raises(ConversionError, match=r"under each of .* state_dict_key, or with --key"):
        state_of_card(parse_card(CARD), twins, None)
    assert same(state_of_card(parse_card(CARD), twins, "netG_A").tensors)
    save_file(behind("a.", G) | behind("b.", G), tmp_path / "g.safetensors")
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    made = convert(
        tmp_path / "g.safetensors", tmp_path / "out", card=tmp_path / "card.json", key="b"
    )
    assert made.latent_shape == (5,)


def test_names_as_a_card_writes_them_come_first():
    card = parse_card(json.loads(json.dumps(CARD).replace("main.", "module.main.")))
    tree = behind("module.", G)
    assert state_of_card(card, tree, None).tensors.keys() == tree.keys()


def test_an_error_says_which_names_there_are():
    with pytest.raises(ConversionError) as caught:
        detect(Weights("g.pt", {"net": {f"conv{i}.weight": COUNT for i in range(20)}}))
    assert 'its tensors are "net.conv0.weight", ' in str(caught.value)
    assert ", ... (20 in all)" in str(caught.value)


def test_a_stylegan2_inside_a_lightning_module():
    arch = Architecture(channels=(6, 5), z_dim=4, mapping_widths=(8,))
    state = state_dict_of(STYLEGAN2[0], arch, random_tensors("stylegan2", arch))
    tree = {"state_dict": behind("G_ema._orig_mod.", state) | behind("G.", state)}
    match = detect(Weights("g.ckpt", tree))
    assert (match.key, match.description.architecture) == ("state_dict.G_ema", arch)


@pytest.mark.parametrize(
    ("key", "averaged"),
    [
        ("g_ema", 2), ("G_ema", 2), ("state_dict.ema_model.module", 2), ("avgG", 2), ("EMA", 2),
        ("generator_smooth", 2), ("swa_model", 2), ("netGema", 2), ("gema", 2), ("ema.net", 1),
        ("ema.online_model", 0), ("semantic", 0), ("schema.net", 0), ("cinema", 0), ("g", 0),
        ("", 0),
    ],
)  # fmt: skip
def test_words_for_averages(key, averaged):
    assert Place(key, {}, {}).averaged == averaged


def test_what_a_file_may_cost():
    """Names without end are refused, and places are tried up to a limit."""
    with pytest.raises(CheckpointError, match="more than 50000 tensors"):
        list(places_in({f"a{i}": COUNT for i in range(50_001)}))
    with pytest.raises(CheckpointError, match="names of over"):
        list(places_in({("x" * 1000) + str(i): COUNT for i in range(40_000)}))
    tree = {f"a{i}": {f"b{j}": {"c": COUNT} for j in range(100)} for i in range(100)}
    assert len(list(places_in(tree))) == 300
