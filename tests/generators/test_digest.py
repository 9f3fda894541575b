"""Digests: the published example, and what changes them."""

import doctest
from pathlib import Path

import numpy as np
import pytest
from card_examples import changed
from jattr.converters.layered import convert_layered
from tiny_generator import tiny_card_data, tiny_weights

from jattr.generators.card import parse_card
from jattr.generators.digest import tensors_digest
from jattr.generators.store import make_generator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "digests.md"


def digests(data, state=None):
    card = parse_card(data)
    generator = make_generator(card, convert_layered(card, state or tiny_weights()))
    return generator.weights_digest, generator.digest


def test_the_page_computes_what_it_says():
    failures, examples = doctest.testfile(str(PAGE), module_relative=False)
    assert examples >= 8
    assert not failures


def test_jattr_computes_what_the_page_says():
    data = {
        "card_version": 1,
        "kind": "layered",
        "name": "worked example",
        "image_shape": [1, 1, 2],
        "value_range": [0, 1],
        "latent": {"dim": 2, "distribution": "normal"},
        "layers": [
            {"op": "linear", "key": "fc"},
            {"op": "sigmoid"},
            {"op": "reshape", "shape": [1, 1, 2]},
        ],
    }
    weight, bias = np.float32([[1, -0.5], [2, 0.25]]), np.float32([0, -1])
    found = digests(data, {"fc.weight": weight, "fc.bias": bias})
    assert all(f"'{digest}'" in PAGE.read_text(encoding="utf-8") for digest in found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["name"], "another"),
        (["note"], "a note"),
        (["source"], {"repository": "x"}),
        (["rounding"], "truncate"),
        (["latent", "distribution"], "uniform"),
        (["value_range"], [-1.0, 1.0]),
        (["layers", 5, "slope"], 0.20),
    ],
)
def test_what_does_not_change_the_function_does_not_change_its_digest(path, value):
    data = tiny_card_data()
    assert digests(changed(path, value, data)) == digests(data)


def test_dropout_and_keys_do_not_change_the_digest():
    data, state = tiny_card_data(), tiny_weights()
    with_dropout = changed(["layers"], [{"op": "dropout", "p": 0.3}, *data["layers"]], data)
    renamed = changed(["layers", 0, "key"], "head", data)
    moved = {key.replace("fc.", "head."): array for key, array in state.items()}
    assert digests(with_dropout) == digests(renamed, moved) == digests(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["value_range"], [-1, 1.5]),
        (["layers", 5, "slope"], 0.25),
        (["layers", 2, "eps"], 1e-4),
        (["layers", 8, "op"], "sigmoid"),
        (["layers", 7, "padding_mode"], "replicate"),
    ],
)
def test_what_changes_the_function_changes_its_digest_only(path, value):
    data = tiny_card_data()
    old, new = digests(data), digests(changed(path, value, data))
    assert old[0] == new[0]
    assert old[1] != new[1]


@pytest.mark.parametrize("key", [key for key in tiny_weights() if "tracked" not in key])
def test_one_bit_of_one_weight_changes_both(key):
    state = tiny_weights()
    bits = state[key].reshape(-1)[-1:].view(np.uint32)
    bits ^= 1
    assert not set(digests(tiny_card_data(), state)) & set(digests(tiny_card_data()))


def test_byte_order_and_layout_in_memory_do_not_matter():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for other in (np.asfortranarray(array), array.astype(">f4"), array[:, ::-1][:, ::-1]):
        assert tensors_digest({"a": other}) == tensors_digest({"a": array})
    assert tensors_digest({"a": array.reshape(3, 2)}) != tensors_digest({"a": array})
