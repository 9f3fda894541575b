"""Small checkpoints and images, written here byte by byte.

The sound files that `fuzz.py` damages and tests read.

The checkpoint writer is independent of the reader: it assembles pickles from instructions and needs
no PyTorch.
"""

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
from PIL import Image

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
STORAGE_NAMES = {
    "<f4": "Float",
    "<f8": "Double",
    "<f2": "Half",
    "<i8": "Long",
    "|u1": "Byte",
    "|b1": "Bool",
}


@dataclass(frozen=True)
class Saved:
    """A sound checkpoint in its parts, and the tensors that a reader must find in it."""

    form: str  # "zip", "legacy", "pickle" or "safetensors"
    program: bytes  # the pickle of the saved object; b"" for safetensors
    storages: Mapping[str, np.ndarray]  # key -> elements
    tensors: Mapping[str, np.ndarray]

    def pack(self, program: bytes | None = None) -> bytes:
        """Return the whole file, with another `program` in place of its own if one is given."""
        program = self.program if program is None else program
        if self.form == "safetensors":
            return safetensors.numpy.save(dict(self.tensors))
        writer = {
            "zip": zip_file,
            "legacy": legacy_file,
            "pickle": lambda program, _storages: program,
        }[self.form]
        return writer(program, self.storages)


def text(value: str) -> bytes:
    """Return the instruction that pushes a text."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    """Return the instruction that pushes an integer."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def group(*items: bytes) -> bytes:
    """Return the instructions that push a tuple of what `items` push."""
    return b"(" + b"".join(items) + b"t"


def numbers(values: tuple[int, ...]) -> bytes:
    """Return the instructions that push a tuple of integers."""
    return group(*map(integer, values))


def named(module: str, attribute: str) -> bytes:
    """Return the instruction that pushes what a name stands for."""
    return f"c{module}\n{attribute}\n".encode()


def mapping(entries: Mapping[str, bytes]) -> bytes:
    """Return the instructions that push an OrderedDict."""
    body = b"".join(text(key) + value for key, value in entries.items())
    return named("collections", "OrderedDict") + b")R(" + body + b"u"


def storage(kind: str, key: str, count: int, location: str = "cpu") -> bytes:
    """Return the instructions that push a storage, such as storage("Float", "0", 12)."""
    return (
        group(
            text("storage"),
            named("torch", f"{kind}Storage"),
            text(key),
            text(location),
            integer(count),
        )
        + b"Q"
    )


def tensor(source: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """Return the instructions that push a tensor over the storage that `source` pushes."""
    hooks = named("collections", "OrderedDict") + b")R"
    arguments = group(source, integer(offset), numbers(shape), numbers(strides), b"\x89", hooks)
    return named("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def program(body: bytes) -> bytes:
    """Return a whole pickle of protocol 2 whose value is what `body` pushes."""
    return b"\x80\x02" + body + b"."


def state_program(arrays: Mapping[str, np.ndarray], location: str = "cpu") -> bytes:
    """Return the pickle of a state dict: array number i lies in the storage with the key str(i)."""
    return program(state_entries(arrays, location))


def state_entries(arrays: Mapping[str, np.ndarray], location: str = "cpu") -> bytes:
    """Return the instructions that push a state dict; see `state_program`."""
    entries = {}
    for index, (name, array) in enumerate(arrays.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        source = storage(STORAGE_NAMES[array.dtype.str], str(index), array.size, location)
        entries[name] = tensor(source, 0, array.shape, strides)
    return mapping(entries)


def zip_file(
    program: bytes, storages: Mapping[str, np.ndarray], *, order: str = "little", **others: bytes
) -> bytes:
    """Return a file of PyTorch 1.6 or later; `others` are more members of its folder, by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", order)
        archive.writestr("archive/version", "3\n")
        for key, elements in storages.items():
            archive.writestr(f"archive/data/{key}", elements.tobytes())
        for name, content in others.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def legacy_file(program: bytes, storages: Mapping[str, np.ndarray]) -> bytes:
    """Return a file of PyTorch before 1.6."""
    facts = (
        b"\x80\x02}(" + text("protocol_version") + integer(1001) + text("little_endian") + b"\x88u."
    )
    keys = b"\x80\x02](" + b"".join(map(text, storages)) + b"e."
    content = b"".join(
        struct.pack("<q", elements.size) + elements.tobytes() for elements in storages.values()
    )
    return LEGACY_MAGIC + b"\x80\x02M\xe9\x03." + facts + program + keys + content


def sound_checkpoints() -> dict[str, Saved]:
    """Return small sound checkpoints by name, of every format."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "layers.0.weight": rng.standard_normal((6, 4)).astype(np.float32),
        "layers.0.bias": rng.standard_normal(6),
        "layers.1.weight": rng.standard_normal((2, 3, 2)).astype(np.float16),
        "layers.1.num_batches_tracked": np.array(7),
        "layers.1.mask": np.array([True, False, True]),
    }
    storages = {str(index): array.reshape(-1) for index, array in enumerate(arrays.values())}
    line = np.arange(24, dtype=np.float32)
    views = {"whole": (0, (4, 6), (6, 1)), "turned": (0, (6, 4), (1, 6)), "part": (5, (3,), (6,))}
    shared = {
        name: tensor(storage("Float", "0", 24, "cuda:0"), *view) for name, view in views.items()
    }
    result = {"whole": line.reshape(4, 6), "turned": line.reshape(4, 6).T, "part": line[5:23:6]}
    whole = program(mapping(shared))
    return {
        "zip": Saved("zip", state_program(arrays), storages, arrays),
        "legacy": Saved("legacy", state_program(arrays, "cuda:0"), storages, arrays),
        "zip_views": Saved("zip", whole, {"0": line}, result),
        "legacy_views": Saved("legacy", whole, {"0": line}, result),
        "safetensors": Saved("safetensors", b"", {}, arrays),
    }


def sound_images() -> dict[str, bytes]:
    """Return small sound images by name, as files: several formats and modes."""
    rng = np.random.default_rng(1)
    colour = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    kinds: dict[str, tuple[str, str, dict[str, bool]]] = {  # name -> format, mode, how it is saved
        "jpeg": ("JPEG", "RGB", {}),
        "jpeg_progressive": ("JPEG", "RGB", {"progressive": True}),
        "webp": ("WEBP", "RGB", {}),
        "webp_lossless": ("WEBP", "RGBA", {"lossless": True}),
        "gif": ("GIF", "RGB", {}),  # a format that is not read
    }
    kinds |= {f"png_{mode}": ("PNG", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")}
    files = {}
    for name, (kind, mode, options) in kinds.items():
        buffer = io.BytesIO()
        colour.convert(mode).save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    return files
