"""Hostile pickles, over a hundred, bare and inside PyTorch's two formats.

Each is refused and none of them runs; beside weights they are nothing.
"""

import os
import pickle
import struct
import sys

import numpy as np
import pytest
from fuzz_files import (
    group,
    integer,
    legacy_file,
    mapping,
    named,
    program,
    storage,
    tensor,
    text,
    zip_file,
)
from jattr.converters.torch_file import find_state_dict, read_checkpoint

from jattr.errors import CheckpointError

COMMAND = "touch canary"
PYTHON = "open('canary', 'w')"
EMPTY = mapping({})  # an OrderedDict without entries


def call(module, attribute, *arguments):
    return named(module, attribute) + group(*arguments) + b"R"


def raw_bytes(value):
    return b"B" + struct.pack("<I", len(value)) + value


def line(code, value):
    return code + value.encode() + b"\n"


CALLS = {  # what a file might try to call, and with what
    "os.system": COMMAND,
    "posix.system": COMMAND,
    "nt.system": COMMAND,
    "os.popen": COMMAND,
    "os.remove": "x",
    "subprocess.Popen": COMMAND,
    "subprocess.call": COMMAND,
    "subprocess.check_output": COMMAND,
    "pty.spawn": COMMAND,
    "commands.getoutput": COMMAND,
    "builtins.eval": PYTHON,
    "builtins.exec": PYTHON,
    "builtins.compile": PYTHON,
    "builtins.open": "canary",
    "builtins.__import__": "os",
    "builtins.getattr": "os",
    "builtins.globals": "x",
    "builtins.map": "x",
    "builtins.type": "x",
    "builtins.object": "x",
    "builtins.bytearray": "x",
    "io.open": "canary",
    "__builtin__.eval": PYTHON,
    "__builtin__.execfile": "canary",
    "importlib.import_module": "this",
    "runpy.run_path": "x",
    "runpy._run_code": PYTHON,
    "functools.partial": "x",
    "operator.attrgetter": "system",
    "operator.methodcaller": "system",
    "copyreg._reconstructor": "x",
    "copyreg.__newobj__": "x",
    "types.CodeType": "x",
    "types.FunctionType": "x",
    "marshal.loads": "x",
    "pickle.loads": "x",
    "_pickle.loads": "x",
    "shutil.rmtree": "x",
    "torch.load": "x",
    "torch.hub.load": "x",
    "torch.jit.load": "x",
    "torch.serialization.load": "x",
    "torch.storage.UntypedStorage.from_file": "x",
    "numpy.load": "x",
    "numpy.lib.npyio.load": "x",
    "numpy.testing._private.utils.runstring": PYTHON,
    "numpy.core.multiarray.fromfile": "x",
    "ctypes.CDLL": "libc.so.6",
    "code.interact": "x",
    "timeit.timeit": PYTHON,
    "cProfile.run": PYTHON,
    "pdb.run": PYTHON,
    "bdb.Bdb": "x",
    "webbrowser.open": "http://127.0.0.1/",
    "socket.create_connection": "x",
    "asyncio.create_subprocess_shell": COMMAND,
    "__main__.Generator": "x",
    "torch.nn.modules.container.Sequential": "x",
    "sys.exit": "x",
    "os.execv": "x",
    "torch_utils.persistence._reconstruct_persistent_obj": PYTHON,
    "collections.UserDict": "x",
    "weakref.ref": "x",
}
SYSTEM = named("os", "system")
RUN = group(text(COMMAND)) + b"R"
TENSOR = named("torch._utils", "_rebuild_tensor_v2")
SOUND = tensor(storage("Float", "0", 1), 0, (1,), (1,))
TRICKS = {  # bodies of pickles: what they leave on the stack is the value
    "name from the memo": text("os") + b"q\x00" + text("system") + b"q\x0100h\x00h\x01\x93" + RUN,
    "name in pieces": text("os") + text("system") + b"\x93" + RUN,
    "name that is no text": b"K\x01K\x02\x93)R",
    "dotted attribute": call("os", "path.os.system", text(COMMAND)),
    "dotted attribute of a listed name": named("torch._utils", "_rebuild_tensor_v2.__globals__"),
    "dotted attribute of a listed module": named("collections", "abc.OrderedDict") + b")R",
    "listed name through another module": call(
        "torch", "_utils._rebuild_parameter", SOUND, b"\x88", EMPTY
    ),
    "attribute of a listed class": named("collections", "OrderedDict.__reduce__"),
    "memo swapped": EMPTY + b"q\x00" + SYSTEM + b"q\x0000h\x00" + RUN,
    "INST": b"(" + text(COMMAND) + b"ios\nsystem\n",
    "OBJ": b"(" + SYSTEM + text(COMMAND) + b"o",
    "OBJ of a listed class": b"(" + named("collections", "OrderedDict") + b"o",
    "NEWOBJ": SYSTEM + group(text(COMMAND)) + b"\x81",
    "NEWOBJ of a listed class": named("collections", "OrderedDict") + b")\x81",
    "NEWOBJ_EX": named("collections", "OrderedDict") + b")}\x92",
    "EXT1": b"\x82\x01)R",
    "EXT2": b"\x83\x01\x00)R",
    "EXT4": b"\x84\x01\x00\x00\x00)R",
    "BUILD with __setstate__": EMPTY
    + b"}("
    + text("__setstate__")
    + SYSTEM
    + b"ub"
    + text(COMMAND)
    + b"b",
    "BUILD with a pair": EMPTY + group(b"N", b"}" + text("__class__") + text("x") + b"s") + b"b",
    "BUILD on a dict": b"}}" + text("__dict__") + b"}sb",
    "BUILD on a name": named("collections", "OrderedDict") + b"}" + text("__call__") + b"Nsb",
    "BUILD on a text": text("x") + b"}b",
    "BUILD on a tensor": SOUND + b"}b",
    "call a text": text("os.system") + group(text(COMMAND)) + b"R",
    "call a storage type": named("torch", "FloatStorage") + b")R",
    "call with a list": named("collections", "OrderedDict") + b"]R",
    "call with too few arguments": TENSOR + b")R",
    "persistent id of a module": group(text("module"), SYSTEM, text("x.py"), text(PYTHON)) + b"Q",
    "persistent id of a whole model": group(text("module"), b"N", text("x.py"), text(PYTHON))
    + b"Q",
    "persistent id that is text": text("../../etc/passwd") + b"Q",
    "persistent id of protocol 0": line(b"P", "os.system"),
    "persistent id with a path": storage("Float", "../../../etc/passwd", 1),
    "persistent id without type": group(
        text("storage"), text("os"), text("0"), text("cpu"), b"K\x01"
    )
    + b"Q",
    "tensor without storage": tensor(text("x"), 0, (1,), (1,)),
    "nested file": call(
        "torch.storage", "_load_from_bytes", raw_bytes(program(call("os", "system", text(COMMAND))))
    ),
    "nested zip": call(
        "torch.storage",
        "_load_from_bytes",
        raw_bytes(zip_file(program(call("os", "system", text(COMMAND))), {})),
    ),
    "nested text": call("torch.storage", "_load_from_bytes", text("x")),
    "numpy objects": call("numpy", "dtype", text("O8"), b"\x89", b"\x88"),
    "numpy fields": call("numpy", "dtype", text("f4,(1000000000,)f4"), b"\x89", b"\x88"),
    "numpy array of another class": call(
        "numpy._core.multiarray", "_reconstruct", SYSTEM, b"(K\x00t", text("b")
    ),
    "numpy scalar of objects": call(
        "numpy.core.multiarray", "scalar", text("O"), raw_bytes(program(SYSTEM))
    ),
    "a name as the value": SYSTEM,
    "a listed name as the value": TENSOR,
    "text of protocol 0": line(b"V", "x"),
    "doubled": text("x") + b"20",
    "no value": b"",
    "value below the mark": b"N(a",
    "memo never set": b"h\x07",
    "out-of-band buffer": b"\x97\x98",
    "protocol 9": b"\x80\x09N",
}
NOTHING = {  # what no dict or set can have, and is left out of it
    "tuple as dict key": b"})\x85Ns",
    "hash that takes for ever": b"})" + b"q\x00h\x00\x86" * 60 + b"Ns",
    "hash that exhausts the stack": b"})" + b"\x85" * 60_000 + b"Ns",
    "set of itself": b"\x8fq\x00(h\x00\x90",
    "a call as dict key": b"}" + call("os", "system", text(COMMAND)) + b"Ns",
    "a call in a set": b"\x8f(" + call("os", "system", text(COMMAND)) + b"\x90",
}
# bodies that leave one value on the stack, and change nothing outside of it: fit beside weights
BESIDE = (
    {f"call {name}": call(*name.rsplit(".", 1), text(word)) for name, word in CALLS.items()}
    | {name: body for name, body in NOTHING.items() if "exhausts" not in name}
    | {
        "BUILD": SYSTEM + b")\x81}" + text("__class__") + SYSTEM + b"sb",
        "BUILD of a call": call("os", "system", text(COMMAND)) + group(b"N", b"}") + b"b",
        "NEWOBJ": SYSTEM + group(text(COMMAND)) + b"\x81",
        "NEWOBJ_EX": SYSTEM + group(text(COMMAND)) + b"}\x92",
        "items for a call": SYSTEM + b")R(" + text("a") + text("b") + b"u",
        "a list for a call": SYSTEM + b")R(" + text("a") + b"e",
        "one item for a call": SYSTEM + b")R" + text("a") + b"a",
        "a set for a call": SYSTEM + b")R(" + text("a") + b"\x90",
        "called again and again": SYSTEM + b")R)R)R)R",
        "called with itself": SYSTEM + b"q\x05h\x05\x85R",
        "dotted attribute": named("os", "path.os.system") + group(text(COMMAND)) + b"R",
        "through a listed module": call("torch", "_utils._rebuild_parameter", b"N"),
        "an array of objects": call("numpy", "dtype", text("O8"), b"\x89", b"\x88"),
        "an array of structures": call("numpy", "dtype", text("f4,(1000000000,)f4")),
        "an array of another class": call(
            "numpy._core.multiarray", "_reconstruct", SYSTEM, b"(K\x00t", text("b")
        ),
        "a default of a call": call("collections", "defaultdict", SYSTEM),
        "a tensor of a call": call("torch._utils", "_rebuild_parameter", SYSTEM, b"\x88", EMPTY),
        "a type of a call": call(
            "torch._tensor", "_rebuild_from_type_v2", SYSTEM, SYSTEM, b")", b"}"
        ),
    }
)
PAYLOADS = {
    f"call {name}": call(*name.rsplit(".", 1), text(word)) for name, word in CALLS.items()
} | TRICKS


def elements(body):
    """The storages that a legacy file must hold: exactly those that its pickle uses."""
    return {"0": np.zeros(1, np.float32)} if b"storage" in body else {}


FORMS = {
    "bare": program,
    "zip": lambda body: zip_file(program(body), elements(body)),
    "legacy": lambda body: legacy_file(program(body), elements(body)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_harmless_pickle_in_the_same_form_is_read(form, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(FORMS[form](mapping({"a": integer(3)})))
    assert read_checkpoint(path) == {"a": 3}


@pytest.mark.parametrize("payload", NOTHING)
def test_what_no_dict_can_have_is_left_out(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(program(NOTHING[payload]))
    assert read_checkpoint(tmp_path / "weights") in ({}, set())
    assert os.listdir(tmp_path) == ["weights"]


@pytest.mark.parametrize("payload", BESIDE)
def test_beside_weights_they_are_nothing(payload, tmp_path, monkeypatch):
    """The weights are read, and of the rest only the names."""
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    body = mapping({"x": BESIDE[payload], "netG": mapping({"a": SOUND}), "y": BESIDE[payload]})
    for form in (zip_file, legacy_file):
        content = form(program(body), {"0": np.ones(1, np.float32)})
        (tmp_path / "weights").write_bytes(content)
        tree = read_checkpoint(tmp_path / "weights")
        assert tree["netG"]["a"].tolist() == [1]
        assert list(find_state_dict(tree)) == ["netG.a"]
    assert os.listdir(tmp_path) == ["weights"]
    assert set(sys.modules) == modules


def test_there_are_at_least_a_hundred():
    assert len(PAYLOADS) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_pickle_is_refused_and_does_nothing(payload, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(FORMS[form](PAYLOADS[payload]))
    modules = set(sys.modules)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["weights.pth"]
    assert set(sys.modules) == modules


@pytest.mark.parametrize("name", [name for name in CALLS if "storage" not in name])
def test_refusal_names_what_the_file_asked_for(name, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(program(PAYLOADS[f"call {name}"]))
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        read_checkpoint(path)


@pytest.mark.parametrize("payload", ["call os.system", "name from the memo", "INST", "OBJ"])
def test_the_payloads_are_live(payload, tmp_path, monkeypatch):
    """Python's own reader runs them: the refusals above are not for some fault of the payload."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(program(PAYLOADS[payload]))  # noqa: S301 - the point of this test, on a payload of our own
    assert os.listdir(tmp_path) == ["canary"]
