"""NVlabs' pickles as data: the same tensors as their state dicts, and nothing in them runs."""

import os
import pickle
import sys
from collections import OrderedDict

import numpy as np
import pytest
from jattr.converters.nvlabs_pickle import NVLABS_NAMES, flat_modules
from jattr.converters.torch_file import find_state_dict, read_checkpoint

from jattr.errors import CheckpointError


def read(path):
    return flat_modules(read_checkpoint(path, names=NVLABS_NAMES))


@pytest.mark.parametrize("name", ["sg2ada_skip_64", "sg2ada_resnet_32_cond", "sg3_t_64"])
def test_tensors_are_bit_equal_to_the_state_dict(reference, name):
    folder = reference / "golden" / name
    network = read(folder / "network.pkl")["G_ema"]
    expected = find_state_dict(read_checkpoint(folder / "state_dict.pth"))
    assert network["tensors"].keys() == expected.keys()
    for key, array in expected.items():
        assert network["tensors"][key].dtype == array.dtype
        assert network["tensors"][key].tobytes() == array.tobytes()
    assert network["class_name"] == "Generator"
    assert network["attributes"]["z_dim"] == 64
    assert all(len(digest) == 64 for digest in network["sources"])


def test_modules_become_tensors_and_attributes(as_nvlabs):
    inner = as_nvlabs.module(
        {
            "_parameters": {"weight": np.ones((2, 3), np.float32), "bias": None},
            "gain": np.float64(0.5),
        },
        name="Layer",
    )
    outer = as_nvlabs.module(
        {
            "_buffers": OrderedDict(w_avg=np.zeros(4, np.float32)),
            "_modules": OrderedDict(fc0=inner, none=None),
            "z_dim": 7,
            "padding": [1, 2],
            "_init_kwargs": as_nvlabs.EasyDict(z_dim=7),
            "training": False,
        }
    )
    tree = read(
        as_nvlabs.write(
            {"G_ema": outer, "training_set_kwargs": as_nvlabs.EasyDict(path="x"), "D": None}
        )
    )
    network = tree["G_ema"]
    assert list(network["tensors"]) == ["w_avg", "fc0.weight"]
    assert network["attributes"] == {
        "z_dim": 7,
        "padding": (1, 2),
        "training": False,
        "fc0.gain": 0.5,
    }
    assert tree["training_set_kwargs"] == {"path": "x"}


def test_program_text_never_runs(as_nvlabs, monkeypatch):
    monkeypatch.chdir(as_nvlabs.dir)
    calls = []
    sys.addaudithook(lambda event, _: calls.append(event) if event in EVENTS and watching else None)
    watching = True
    tree = read(
        as_nvlabs.write(
            {"G_ema": as_nvlabs.module({"_buffers": {"w_avg": np.zeros(3, np.float32)}})}
        )
    )
    watching = False
    assert calls == []
    assert not os.path.exists("canary")
    assert tree["G_ema"]["tensors"]["w_avg"].shape == (3,)
    assert as_nvlabs.hostile not in repr(tree)


EVENTS = ("os.system", "socket.connect", "socket.__new__", "exec", "compile", "subprocess.Popen")


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"type": "function"}, "must have a class and a state"),
        ({"state": [1]}, "must have a class and a state"),
        ({"module_src": 3}, "without class_name and module_src"),
        ({"state": {"_parameters": [1]}}, "whose _parameters is"),
        ({"state": {"_modules": {"a": {"b": 1}}}}, "'a' that is no module of NVlabs"),
    ],
)
def test_damaged_modules(as_nvlabs, meta, words):
    with pytest.raises(CheckpointError, match=words):
        read(as_nvlabs.write({"G_ema": as_nvlabs.module({}, changes=meta)}))


def test_other_names_are_refused_by_name(as_nvlabs):
    class Other:
        def __reduce__(self):
            return os.system, ("touch canary",)

    with pytest.raises(CheckpointError, match=r"posix.system|nt.system"):
        read(as_nvlabs.write({"G_ema": as_nvlabs.module({"_parameters": {"a": Other()}})}))


def test_only_empty_objects_of_listed_classes_are_made(as_nvlabs):
    state = {"_init_kwargs": as_nvlabs.EasyDict(a=1)}
    data = pickle.dumps({"G": as_nvlabs.module(state)}).replace(
        b"\x8c\x08EasyDict", b"\x8c\x08EasyDicz"
    )
    path = as_nvlabs.dir / "other.pkl"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="EasyDicz"):
        read(path)
