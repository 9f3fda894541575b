"""Picking the tensors out of what a weights file holds."""

import numpy as np
import pytest
from jattr.converters.torch_file import find_state_dict, strip_module_prefix

from jattr.errors import CheckpointError

ONE, TWO = np.zeros(1), np.ones(2)
TREE = {
    "epoch": 3,
    "netG": {"fc": {"weight": ONE}, "fc.bias": TWO},
    "a": {"b": {"w": ONE}},
    "c.d": {"w": TWO},
}


def test_names_are_joined_by_dots_and_other_values_left_out():
    assert find_state_dict(TREE, "netG") == {"fc.weight": ONE, "fc.bias": TWO}
    assert list(find_state_dict(TREE)) == ["netG.fc.weight", "netG.fc.bias", "a.b.w", "c.d.w"]


@pytest.mark.parametrize(("key", "found"), [("a.b", ONE), ("c.d", TWO)])
def test_key_may_be_a_path_or_hold_a_dot_itself(key, found):
    assert find_state_dict(TREE, key)["w"] is found


def test_lists_and_numpy_scalars():
    state = find_state_dict({"params": [ONE, (TWO,)], "scale": np.float32(2)})
    assert list(state) == ["params.0", "params.1.0", "scale"]
    assert state["scale"].shape == ()


@pytest.mark.parametrize(
    ("tree", "key", "words"),
    [
        (TREE, "netD", "under 'netD'; there is a dict with the keys 'epoch', 'netG', 'a', 'c.d'"),
        (TREE, "a.x", "under 'x'; there is a dict with the keys 'b'"),
        (TREE, "epoch.x", "there is 3"),
        ({"epoch": 3}, None, "no tensors in the weights under None"),
        (3, None, "there is 3"),
        ({"a.b": ONE, "a": {"b": TWO}}, None, "two tensors called 'a.b'"),
        ({"x" * 2000: ONE}, None, "over 1024 characters"),
    ],
)
def test_what_is_not_there_is_said(tree, key, words):
    with pytest.raises(CheckpointError, match=words):
        find_state_dict(tree, key)


def test_module_prefix_goes_only_if_every_name_has_it():
    both = {"module.a": ONE, "module.module.b": TWO}
    assert list(strip_module_prefix(both)) == ["a", "module.b"]
    mixed = {"module.a": ONE, "b": TWO}
    assert strip_module_prefix(mixed) is mixed
    assert strip_module_prefix({}) == {}
