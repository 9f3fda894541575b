"""Reads weights files of PyTorch, and `.safetensors`, without PyTorch; nothing in them is run.

`read_checkpoint` tells the format from the content. `find_state_dict` picks the tensors out of what
it returns. A pickle is read by an interpreter of our own with a table of allowed names
(`pickle_machine`, `torch_records`).
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from jattr.errors import CheckpointError

from .checkpoint_tree import check_tree, find_state_dict, strip_module_prefix
from .pickle_machine import Call, PickleMachine
from .pickle_operations import run_pickle
from .reading_limits import DEFAULT_MAX_BYTES, MAX_NESTING, Budget, Tree, shown
from .torch_legacy import MAGIC_BYTES, read_legacy
from .torch_records import NAMES
from .torch_zip import read_zip

__all__ = ["find_state_dict", "read_checkpoint", "strip_module_prefix"]

KNOWN_FORMATS = {  # content at the start of files that people take for weights files -> what to say
    b"\x89HDF": "is an HDF5 file (Keras), which is not read; save the PyTorch state dict",
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
    b"version https://git-lfs": "is a Git LFS pointer, not the weights; fetch them with `git lfs"
    " pull`",
    b"<": "is a web page or XML, not weights: the download went wrong",
    b"PK\x05\x06": "is an empty zip archive",
    b"\x93NUMPY": "is a NumPy array (.npy) without a network's names; save the PyTorch state dict",
    b"GGUF": "is a GGUF file, which is not read; give the PyTorch or safetensors file",
    b"BZh": "is compressed with bzip2; unpack it first",
    b"\xfd7zXZ\x00": "is compressed with xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive; unpack it and give the weights file in it",
    b"Rar!": "is a RAR archive; unpack it and give the weights file in it",
}
SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
HEADER_PRICE = 20  # bytes of memory for each byte of a safetensors header


def read_checkpoint(
    path: str | os.PathLike[str],
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    names: Mapping[str, Tree] | None = None,
) -> Tree:
    """Return what a weights file holds, with numpy arrays as tensors.

    Nested dicts, lists, tuples, texts and numbers. Reads PyTorch's zip format, its format before
    1.6, plain pickles of the same content, and safetensors. The arrays are read-only views of the
    file's content in memory, possibly strided; copy to change them. Gradient flags, hooks, devices
    and the `_metadata` of state dicts are dropped. dtypes and devices that the file mentions come
    as `TorchDtype` and `TorchDevice`.

    Args:
      path: the file; its name does not matter.
      max_bytes: the largest file that is read.
      names: more entries for the table of allowed names, `torch_records.NAMES`, or None.

    Raises:
      CheckpointError: the file is missing, empty, too large, damaged, of another format, or wants
        to run code.
    """
    try:
        data = memoryview(_read_bytes(path, max_bytes))
        tree = _parse(data, {**NAMES, **(names or {})}, Budget.for_file(len(data)), nesting=0)
        check_tree(tree, len(data))
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)!s} {error}") from error
    return tree


def _read_bytes(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: a pipe would wait for ever
            raise CheckpointError("is not a file; give the weights file itself")
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise CheckpointError(
                    f"has {size} bytes; at most {max_bytes} are read (raise max_bytes to read it)"
                )
            data = file.read(size)
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"cannot be read ({reason}); give the path of a weights file"
        ) from error
    if not data:
        raise CheckpointError("is empty; fetch it again")
    return data


def _parse(data: memoryview, names: dict[str, Tree], budget: Budget, *, nesting: int) -> Tree:
    """Return the content of the file or nested file `data`, whichever format it is of."""
    start = bytes(data[:300])
    names = {
        **names,
        "torch.storage._load_from_bytes": Call(_nested_reader(names, budget, nesting + 1)),
    }
    if start.startswith(b"PK\x03\x04"):
        return read_zip(data, names, budget)
    if MAGIC_BYTES in start[:32]:
        return read_legacy(data, names, budget)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < len(data):
        return _read_safetensors(data, budget)
    if start[:1] == b"\x80":
        return _read_pickle(data, names, budget)
    raise _unknown_format(start)


def _nested_reader(names: dict[str, Tree], budget: Budget, nesting: int) -> Tree:
    def load_from_bytes(data: Tree) -> Tree:
        """Stand in for torch.storage._load_from_bytes: a whole PyTorch file inside a pickle."""
        if type(data) not in (bytes, memoryview):
            raise CheckpointError(
                f"has {shown(data)} where a file inside the file should be: it is damaged"
            )
        if nesting > MAX_NESTING:
            raise CheckpointError(
                f"has files inside files more than {MAX_NESTING} deep; no weights file needs that"
            )
        budget.spend(len(data))  # so that one text of bytes cannot be read again and again
        return _parse(memoryview(data), names, budget, nesting=nesting)

    return load_from_bytes


def _read_pickle(data: memoryview, names: dict[str, Tree], budget: Budget) -> Tree:
    machine = PickleMachine(data, names, budget)
    tree = run_pickle(machine)
    if machine.position != len(data):
        raise CheckpointError(
            f"has {len(data) - machine.position} bytes after its pickle: the file is damaged"
        )
    return tree


def _read_safetensors(data: memoryview, budget: Budget) -> dict[str, np.ndarray]:
    budget.spend(HEADER_PRICE * int.from_bytes(data[:8], "little"))
    try:
        entries = safetensors.deserialize(data.obj)  # the bytes that `data` is a view of
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"is not a sound safetensors file ({error}); fetch it again"
        ) from error
    tree = {}
    for name, entry in entries:
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise CheckpointError(
                f"has a tensor {shown(name)} of dtype {entry['dtype']}, which is not read"
            )
        dtype = np.dtype(SAFETENSORS_DTYPES[entry["dtype"]])
        try:
            tree[name] = np.ndarray(
                tuple(entry["shape"]), dtype, memoryview(entry["data"]).toreadonly()
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise CheckpointError(
                f"has a tensor {shown(name)} of impossible shape ({error})"
            ) from error
    return tree


def _unknown_format(start: bytes) -> CheckpointError:
    for content, message in KNOWN_FORMATS.items():
        if start.lstrip().startswith(content):
            return CheckpointError(message)
    if start[257:262] == b"ustar" or start[:13] == b"sys_info\0\0\0\0\0":
        return CheckpointError(
            "is a tar file, as PyTorch wrote before 0.1.10; load it in PyTorch and save it again"
        )
    return CheckpointError(
        f"is no weights file that is read: it starts with {shown(start[:8])}; read are PyTorch's"
        " zip and pre-1.6 formats, NVlabs' pickles (protocol 2 or later) and safetensors"
    )
