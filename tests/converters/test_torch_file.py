"""What `read_checkpoint` must read.

Formats, dtypes, views, records, and the real files of the reference folder.
"""

import json
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from fuzz_files import (
    group,
    integer,
    legacy_file,
    mapping,
    named,
    numbers,
    program,
    sound_checkpoints,
    storage,
    tensor,
    text,
    zip_file,
)
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from jattr.converters.torch_records import DTYPES, STORAGES, TorchDevice, TorchDtype

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = os.environ.get("JATTR_REFERENCE")
WRITERS = {"zip": zip_file, "legacy": legacy_file}
LINE = np.arange(24, dtype=np.float32)


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file with a name that says nothing, and read it."""

    def read_bytes(content):
        path = tmp_path / "weights"
        path.write_bytes(content)
        return read_checkpoint(path)

    return read_bytes


def call(module, attribute, *arguments):
    return named(module, attribute) + group(*arguments) + b"R"


def raw_bytes(value):
    return b"C" + bytes([len(value)]) + value


@pytest.mark.parametrize("name", sound_checkpoints())
def test_every_format_gives_the_tensors_that_were_written(name, read):
    saved = sound_checkpoints()[name]
    state = find_state_dict(read(saved.pack()))
    assert set(state) == set(saved.tensors)
    for key, array in saved.tensors.items():
        assert state[key].dtype == array.dtype
        np.testing.assert_array_equal(state[key], array)
        assert not state[key].flags.writeable


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("kind", STORAGES)
def test_every_storage_type(kind, form, read):
    bits = np.arange(48, dtype=np.uint8) % 2  # legal for booleans, and no NaN
    elements = bits.view(DTYPES[STORAGES[kind]])
    body = mapping({"a": tensor(storage(kind, "0", elements.size), 0, elements.shape, (1,))})
    found = read(WRITERS[form](program(body), {"0": elements}))["a"]
    assert found.dtype == elements.dtype
    assert found.tobytes() == bits.tobytes()


@pytest.mark.parametrize("form", WRITERS)
def test_tensors_are_aligned_wherever_their_bytes_lie(form, read):
    elements = np.arange(5.0)
    for length in range(8):
        body = mapping({"a" * length: tensor(storage("Double", "0", 5), 0, (5,), (1,))})
        found = read(WRITERS[form](program(body), {"0": elements}))["a" * length]
        assert found.flags.aligned
        np.testing.assert_array_equal(found, elements)


@pytest.mark.slow
def test_legacy_object_is_paid_for_once(read):
    count = 450_000  # over half of the budget
    assert len(read(legacy_file(program(b"](" + b"K\1" * count + b"e"), {}))) == count


def test_bfloat16_has_its_values(read):
    elements = np.array([1.0, -2.5, 3e38], ml_dtypes.bfloat16)
    found = read(
        zip_file(program(tensor(storage("BFloat16", "0", 3), 0, (3,), (1,))), {"0": elements})
    )
    np.testing.assert_array_equal(found.astype(np.float32), elements.astype(np.float32))
    assert found[1].astype(np.float32) == -2.5


@pytest.mark.parametrize("form", WRITERS)
def test_views_of_one_storage_share_its_memory(form, read):
    source = storage("Float", "0", 24, "cuda:1")
    body = mapping(
        {"turned": tensor(source, 0, (6, 4), (1, 6)), "part": tensor(source, 5, (3,), (6,))}
    )
    tree = read(WRITERS[form](program(body), {"0": LINE}))
    np.testing.assert_array_equal(tree["turned"], LINE.reshape(4, 6).T)
    np.testing.assert_array_equal(tree["part"], [5, 11, 17])
    assert np.shares_memory(tree["turned"], tree["part"])


@pytest.mark.parametrize(
    ("shape", "strides"), [((), ()), ((0, 3), (3, 1)), ((2, 0), (1, 1)), ((1, 24), (999, 1))]
)
def test_scalars_empty_tensors_and_odd_strides(shape, strides, read):
    found = read(
        zip_file(program(tensor(storage("Float", "0", 24), 0, shape, strides)), {"0": LINE})
    )
    assert found.shape == shape
    np.testing.assert_array_equal(found, LINE[: found.size].reshape(shape))


def test_part_of_a_storage_as_pytorch_before_0_4_wrote_it(read):
    view = group(text("x"), integer(6), integer(12))
    source = (
        group(
            text("storage"),
            named("torch", "FloatStorage"),
            text("0"),
            text("cpu"),
            integer(24),
            view,
        )
        + b"Q"
    )
    np.testing.assert_array_equal(
        read(legacy_file(program(tensor(source, 2, (3,), (1,))), {"0": LINE})), [8, 9, 10]
    )


def test_big_endian_archive_is_swapped(read):
    body = program(tensor(storage("Float", "0", 24), 0, (24,), (1,)))
    np.testing.assert_array_equal(
        read(zip_file(body, {"0": LINE.astype(">f4")}, order="big")), LINE
    )


def test_parameters_and_tensors_of_other_versions(read):
    source = storage("Float", "0", 24)
    hooks = mapping({})
    whole = tensor(source, 0, (24,), (1,))
    untyped = (
        group(
            text("storage"),
            named("torch.storage", "UntypedStorage"),
            text("0"),
            text("cpu"),
            integer(96),
        )
        + b"Q"
    )
    geometry = integer(0), numbers((48,)), numbers((1,))
    body = mapping(
        {
            "parameter": call("torch._utils", "_rebuild_parameter", whole, b"\x88", hooks),
            "old": call(
                "torch._utils", "_rebuild_tensor", source, integer(0), numbers((24,)), numbers((1,))
            ),
            "new": call(
                "torch._utils",
                "_rebuild_tensor_v3",
                untyped,
                *geometry,
                b"\x89",
                hooks,
                named("torch", "uint16"),
            ),
        }
    )
    tree = read(zip_file(program(body), {"0": LINE}))
    np.testing.assert_array_equal(tree["parameter"], LINE)
    np.testing.assert_array_equal(tree["old"], LINE)
    np.testing.assert_array_equal(tree["new"], LINE.view(np.uint16))


RECORDS = {
    "size": (call("torch", "Size", numbers((2, 3))), (2, 3)),
    "device": (call("torch", "device", text("cuda"), integer(0)), TorchDevice("cuda", 0)),
    "dtype": (named("torch", "float32"), TorchDtype("float32")),
    "pairs": (
        call("collections", "OrderedDict", b"](" + group(text("a"), integer(1)) + b"e"),
        OrderedDict(a=1),
    ),
    "metadata": (
        mapping({"a": integer(1)}) + b"}" + text("_metadata") + mapping({}) + b"sb",
        OrderedDict(a=1),
    ),
    "set": (call("__builtin__", "set", b"](" + text("a") + b"e"), {"a"}),
    "bytes": (call("_codecs", "encode", text("\xe9"), text("latin1")), b"\xe9"),
    "numbers": (
        b"](" + integer(-5) + integer(300) + integer(2**70) + b"G?\xf8" + b"\0" * 6 + b"N\x88e",
        [-5, 300, 2**70, 1.5, None, True],
    ),
    "python 2 text": (b"U\x03abc", "abc"),
    "nested": (
        b"}(" + text("a") + b"]" + group(b"N", b"}") + b"a" + text("b") + b")u",
        {"a": [(None, {})], "b": ()},
    ),
}


@pytest.mark.parametrize("form", ["bare", *WRITERS])
@pytest.mark.parametrize("name", RECORDS)
def test_values_that_are_no_tensors(name, form, read):
    body, expected = RECORDS[name]
    found = read(program(body) if form == "bare" else WRITERS[form](program(body), {}))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("place", ["numpy.core", "numpy._core"])
def test_numpy_scalars_and_arrays(place, read):
    def dtype(code, order="<"):
        state = group(integer(3), text(order), b"NNN", integer(-1), integer(-1), integer(0))
        return call("numpy", "dtype", text(code), b"\x89", b"\x88") + state + b"b"

    scalar = call(
        f"{place}.multiarray", "scalar", dtype("f8"), raw_bytes(np.float64(2.5).tobytes())
    )
    empty = call(
        f"{place}.multiarray",
        "_reconstruct",
        named("numpy", "ndarray"),
        numbers((0,)),
        raw_bytes(b"b"),
    )
    values = np.arange(6, dtype=">i2").reshape(2, 3)
    content = group(
        integer(1), numbers((2, 3)), dtype("i2", ">"), b"\x88", raw_bytes(values.tobytes("F"))
    )
    tree = read(
        program(
            mapping(
                {"scalar": scalar, "array": empty + b"q\x05" + content + b"b", "again": b"h\x05"}
            )
        )
    )
    assert tree["scalar"] == 2.5
    assert type(tree["scalar"]) is np.float64
    np.testing.assert_array_equal(tree["array"], values)
    assert tree["again"] is tree["array"]


def test_file_inside_a_pickle(read):
    inner = legacy_file(program(storage("Float", "0", 24)), {"0": LINE})
    packed = b"B" + len(inner).to_bytes(4, "little") + inner
    body = tensor(call("torch.storage", "_load_from_bytes", packed), 3, (2,), (1,))
    np.testing.assert_array_equal(read(program(body)), [3, 4])


def test_safetensors_with_bfloat16_and_empty_tensors(read):
    values = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    entries = {
        "a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [0, 3], "data_offsets": [4, 4]},
    }
    header = json.dumps(entries).encode()
    tree = read(len(header).to_bytes(8, "little") + header + values.tobytes())
    assert tree["a"].tobytes() == values.tobytes()
    assert tree["b"].shape == (0, 3)


def test_reading_imports_no_pytorch(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(sound_checkpoints()["zip"].pack())
    code = (
        "import sys; from jattr.converters.torch_file import *; read_checkpoint(sys.argv[1]);"
        " print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def _reference_cards():
    return sorted(Path(REFERENCE, "weights").glob("*.card.json")) if REFERENCE else []


@pytest.mark.reference
@pytest.mark.parametrize(
    "path", _reference_cards(), ids=lambda path: path.name.removesuffix(".card.json")
)
def test_real_checkpoints_hold_what_their_cards_name(path):
    card = json.loads(path.read_text())
    state = find_state_dict(read_checkpoint(path.parent / card["weights"]), card["state_dict_key"])
    keys = [layer["key"] for layer in card["layers"] if "key" in layer]
    assert keys
    for key in keys:
        assert np.isfinite(state[f"{key}.weight"].astype(np.float32)).all()


@pytest.mark.reference
def test_there_are_29_real_checkpoints():
    assert len(_reference_cards()) == 29


@pytest.mark.reference
def test_both_formats_of_one_network_agree_bit_by_bit():
    folder = Path(REFERENCE, "golden", "dcgan_64")
    new, old = (
        find_state_dict(read_checkpoint(folder / name))
        for name in ("state_dict.pth", "state_dict_legacy.pth")
    )
    assert list(new) == list(old)
    assert all(new[key].tobytes() == old[key].tobytes() for key in new)
