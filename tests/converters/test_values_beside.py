"""Checkpoints with other values beside their weights: the weights count, the rest is nothing."""

import collections
import enum
import io
import pathlib
import pickle
import types
import zipfile

import numpy as np
import pytest
from dcgan_files import generator_state
from fuzz_files import (
    integer,
    legacy_file,
    mapping,
    named,
    program,
    state_entries,
    storage,
    tensor,
    text,
    zip_file,
)
from jattr.converters.convert import convert
from jattr.converters.torch_file import find_state_dict, read_checkpoint

from jattr.errors import CheckpointError, ConversionError

STATE = {name: array for name, array in generator_state().items() if "tracked" not in name}
STORAGES = {str(index): array.reshape(-1) for index, array in enumerate(STATE.values())}
NETWORK = state_entries(STATE)


class Mode(enum.Enum):
    FAST = 1


class Options:
    """An object of a class that only the training program has."""

    def __init__(self):
        self.nz, self.inner = 100, [Mode.FAST, {"a": (1, 2)}]


class Settings(dict):
    """A dict of a class that only the training program has."""


VALUES = {  # what programs put beside weights
    "Namespace": types.SimpleNamespace(nz=100, opt={"lr": 1e-3}),
    "object": Options(),
    "dict of a class": Settings(a=1, b=[2]),
    "enum": Mode.FAST,
    "class": Options,
    "function": len,
    "path": pathlib.PurePosixPath("runs/1"),
    "Counter": collections.Counter("abca"),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "deque": collections.deque([1, 2]),
    "bytearray": bytearray(b"x" * 9000),
    "a very long number": 10**300,
    "complex": 1j,
    "range": range(3),
    "slice": slice(1, 2),
    "tuple keys": {(1, 2): 3, Mode.FAST: 4},
    "set of tuples": {(1, 2), (3, 4)},
    "texts in an array": np.array(["cat", "dog"]),
    "objects in an array": np.array([None, "a"], object),
    "structures in an array": np.zeros(2, [("a", "f4")]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "text of numpy": np.str_("x"),
    "random state": np.random.RandomState(0).get_state(),
    "generator": np.random.default_rng(0),
    "exception": ValueError("x"),
}


def pickled(value, protocol):
    """The instructions that push a value: a pickle without its first and last."""
    content = pickle.dumps(value, protocol)
    return content[2:-1] if protocol < 4 else content[11:-1]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("value", VALUES)
def test_a_value_beside_the_weights_changes_nothing(value, protocol, tmp_path):
    body = mapping({"netG": NETWORK, "beside": pickled(VALUES[value], protocol)})
    (tmp_path / "g.pt").write_bytes(zip_file(program(body), STORAGES))
    tree = read_checkpoint(tmp_path / "g.pt")
    state = find_state_dict(tree, "netG")
    assert state.keys() == STATE.keys()
    assert all((state[name] == array).all() for name, array in STATE.items())


def test_a_generator_is_converted_and_says_what_was_not_read(tmp_path):
    options = pickled(Options(), 2)
    body = mapping({"netG": NETWORK, "opt": options, "fn": named("os", "system")})
    (tmp_path / "g.pt").write_bytes(zip_file(program(body), STORAGES))
    (tmp_path / "plain.pt").write_bytes(zip_file(program(NETWORK), STORAGES))
    made, plain = (convert(tmp_path / f"{n}.pt", tmp_path / n) for n in ("g", "plain"))
    assert made.digest == plain.digest
    (note,) = made.card["source"]["notes"]
    assert note.startswith('not read, and never run: "opt" (')
    assert '"fn" (os.system)' in note
    assert "notes" not in plain.card["source"]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (named("networks", "Generator") + b")\x81", '"netG" (networks.Generator)'),
        (
            mapping({"main.0.weight": named("torch._utils", "_rebuild_sparse_tensor") + b")R"}),
            r'"netG.main.0.weight" (torch._utils._rebuild_sparse_tensor)',
        ),
    ],
)
def test_weights_that_are_not_read_are_named(network, words, tmp_path):
    body = mapping({"netG": network, "netD": NETWORK.replace(b"main", b"part")})
    (tmp_path / "g.pt").write_bytes(zip_file(program(body), STORAGES))
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "g.pt", tmp_path / "out")
    assert f"not read, and never run: {words}" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (("dnnlib.tflib.network", "Network"), r"TensorFlow pickle of NVlabs .*legacy\.py"),
        (("tfutil", "Network"), r"TensorFlow pickle of NVlabs .*legacy\.py"),
        (("__main__", "Generator"), r"holds a whole model \(__main__\.Generator\)"),
        (("torch.nn.modules.container", "Sequential"), "holds a whole model"),
    ],
)
def test_files_of_such_values_alone_say_what_they_are(name, words, tmp_path):
    network = named(*name) + b")\x81}" + text("version") + integer(4) + b"sb"
    path = tmp_path / "network.pkl"
    path.write_bytes(program(b"(" + network * 3 + b"t"))
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(path)


def test_an_opaque_value_costs_what_the_file_pays_for(tmp_path):
    """One name of 500 letters, named a hundred thousand times, is kept once."""
    first = text("m" * 250) + b"q\x00" + text("n" * 250) + b"q\x01\x93"
    body = mapping({"a": first + b"0h\x00h\x01\x93" * 100_000, "b": NETWORK})
    (tmp_path / "g.pt").write_bytes(zip_file(program(body), STORAGES))
    assert "b" in read_checkpoint(tmp_path / "g.pt")
    long = text("m" * 5000) + text("n") + b"\x93"
    (tmp_path / "long.pt").write_bytes(program(long))
    with pytest.raises(CheckpointError, match="a name of 5001 characters"):
        read_checkpoint(tmp_path / "long.pt")


def deflated(content):
    """A zip archive with its members compressed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name) * 2)
    return buffer.getvalue()


def archive(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


SOUND = zip_file(program(NETWORK), STORAGES)
ARCHIVES = {
    "around a file": (archive({"g.pth": SOUND}), "archive around 'g.pth': unpack it and"),
    "around two": (
        archive({"a/g.pth": SOUND, "a/d.pth": SOUND, "__MACOSX/a/._g.pth": b"x"}),
        "archive around 'a/g.pth': unpack it and give the weights file",
    ),
    "npz": (archive({"arr_0.npy": b"x"}), r"a NumPy archive \(\.npz\)"),
    "without its folder": (
        archive({"data.pkl": b"x", "data/0": b"y"}), r"packed without its folder.* zip -0 -r"
    ),
    "one folder too deep": (
        archive({"a/b/data.pkl": b"x", "a/b/data/0": b"y"}), r"an unpacked PyTorch file.* zip -0"
    ),
    "torch.export": (
        archive({"m/archive_format": b"pt2", "m/models/model.json": b"{}"}), r"torch\.export"
    ),
    "torch.export before 2.8": (
        archive({"serialized_exported_program.json": b"{}", "version": b"1"}), r"torch\.export"
    ),
    "generator folder": (archive({"g/card.json": b"{}", "g/params/a/0": b"x"}), "jattr convert"),
    "Keras": (archive({"model.weights.h5": b"x", "config.json": b"{}"}), "a Keras archive"),
    "something else": (archive({"word/document.xml": b"x"}), "holds no weights"),
    "litter alone": (archive({".DS_Store": b"x"}), "without any file"),
    "deflated": (deflated(SOUND), r"compressed.*without compression, zip -0 -r"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_other_archives_are_told_what_they_are(name, tmp_path):
    content, words = ARCHIVES[name]
    (tmp_path / "g.zip").write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        convert(tmp_path / "g.zip", tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [zip_file, legacy_file])
@pytest.mark.parametrize(("kind", "size"), [("ComplexFloat", 8), ("QInt8", 1), ("QInt32", 4)])
def test_tensors_of_types_that_are_not_read_lie_beside_others(form, kind, size, tmp_path):
    beside = tensor(storage(kind, "x", 3), 0, (3,), (1,))
    elements = {"x": np.zeros(3, f"V{size}"), **STORAGES}
    body = mapping({"beside": beside, "netG": NETWORK})
    (tmp_path / "g.pt").write_bytes(form(program(body), elements))
    tree = read_checkpoint(tmp_path / "g.pt")
    assert tree["beside"].name == f"torch.{kind}Storage"
    state = find_state_dict(tree)
    assert state.keys() == {f"netG.{name}" for name in STATE}
    assert all((state[f"netG.{name}"] == array).all() for name, array in STATE.items())


def test_an_archive_packed_again_as_the_message_says_is_read(tmp_path):
    """`zip -0 -r` writes folders and leaves members as they are; a Finder's litter is no harm."""
    with zipfile.ZipFile(io.BytesIO(SOUND)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members |= {"archive/": b"", "archive/data/": b"", "archive/.DS_Store": b"x"}
    members |= {"__MACOSX/archive/._data.pkl": b"x"}
    (tmp_path / "g.pt").write_bytes(archive(members))
    assert find_state_dict(read_checkpoint(tmp_path / "g.pt")).keys() == STATE.keys()


@pytest.mark.parametrize("inside", [True, False])
def test_an_unpacked_archive_says_how_to_pack_it(inside, tmp_path):
    with zipfile.ZipFile(io.BytesIO(SOUND)) as old:
        old.extractall(tmp_path / "g file")
    (tmp_path / "g file" / ".DS_Store").write_bytes(b"x")
    source = tmp_path / "g file" / "archive" if inside else tmp_path / "g file"
    with pytest.raises(ConversionError, match=r"an unpacked PyTorch file .* zip -0 -r archive.pt"):
        convert(source, tmp_path / "out")
