"""A writer of NVlabs' pickles."""

import pickle
import sys
import types
from collections import OrderedDict

import pytest

HOSTILE = (
    "import os, socket\nos.system('touch canary')\nopen('canary',"
    " 'w')\nsocket.create_connection(('127.0.0.1', 9))"
)


@pytest.fixture
def as_nvlabs(monkeypatch, tmp_path):
    """A function that pickles nested dicts the way NVlabs' programs do.

    {"class_name", "state"} becomes a module.
    """
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("only its name is pickled")

    class EasyDict(dict):
        pass

    _reconstruct_persistent_obj.__module__, _reconstruct_persistent_obj.__qualname__ = (
        "torch_utils.persistence", "_reconstruct_persistent_obj",
    )  # fmt: skip
    EasyDict.__module__, EasyDict.__qualname__ = "dnnlib.util", "EasyDict"
    persistence._reconstruct_persistent_obj, util.EasyDict = _reconstruct_persistent_obj, EasyDict
    for name, module in {
        "torch_utils": types.ModuleType("torch_utils"), "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"), "dnnlib.util": util,
    }.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)

    class Module:
        def __init__(self, meta):
            self.meta = meta

        def __reduce__(self):
            return _reconstruct_persistent_obj, (self.meta,)

    def module(state, *, source=HOSTILE, name="Generator", changes=None):
        state = {"_parameters": {}, "_buffers": OrderedDict(), "_modules": OrderedDict()} | state
        meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": name,
            "state": state,
        }
        return Module(meta | (changes or {}))

    def write(tree):
        path = tmp_path / "network.pkl"
        path.write_bytes(pickle.dumps(tree))
        return path

    return types.SimpleNamespace(
        module=module, write=write, EasyDict=EasyDict, dir=tmp_path, hostile=HOSTILE
    )
