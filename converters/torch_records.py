"""What the names in a PyTorch file stand for: a plain value, or a `Call` that builds one.

`NAMES` is the whole allow-list; what it lacks is `Opaque`. A reader of another format copies it and
adds its own entries; nothing in a file can.
Sources: torch/_utils.py, torch/storage.py and torch/serialization.py of PyTorch 0.4 to 2.13;
numpy's `__reduce__`.
"""

import math
import re
import sys
from collections import OrderedDict
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from jattr.errors import CheckpointError

from .pickle_machine import Call, Opaque, Unfinished, is_plain_key
from .reading_limits import Budget, Tree, shown


@dataclass(frozen=True)
class TorchDtype:
    """A dtype that the file mentions, such as torch.float32: `TorchDtype("float32")`."""

    name: str


@dataclass(frozen=True)
class TorchDevice:
    """A device that the file mentions, such as torch.device("cuda", 0)."""

    type: str
    index: int | None = None


@dataclass(frozen=True)
class StorageType:
    """A storage class of PyTorch and the numpy dtype of its elements."""

    name: str
    dtype: np.dtype


@dataclass(frozen=True)
class Storage:
    """The elements that tensors are views of.

    `elements` is None while a file is only looked through.
    """

    elements: np.ndarray | None  # [number of elements], read-only
    budget: Budget

    def view(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
        """Return the read-only array of `shape` at `offset` with `strides`, all in elements."""
        _check_geometry(offset, shape, strides)
        if self.elements is None:
            return np.empty(0)
        if math.prod(shape) == 0:
            return np.empty(shape, self.elements.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if last >= self.elements.size:
            raise CheckpointError(
                f"has a tensor of shape {shown(shape)} that reaches element {last} of a storage of"
                f" {self.elements.size}: the file is damaged; fetch it again"
            )
        itemsize = self.elements.itemsize
        steps = [step * itemsize for step in strides]
        return np.ndarray(shape, self.elements.dtype, self.elements, offset * itemsize, steps)


def elements_of(
    raw: memoryview, dtype: np.dtype, budget: Budget, *, big_endian: bool = False
) -> np.ndarray:
    """Return the bytes of a storage as a read-only array in the machine's byte order.

    It has [len(raw) // itemsize] elements and is a view of `raw` where the bytes are aligned and in
    order; a copy is paid from the budget.
    """
    count = len(raw) // dtype.itemsize
    elements = (
        np.frombuffer(raw, np.uint8, count * dtype.itemsize) if count else np.empty(0, np.uint8)
    )
    address = elements.__array_interface__["data"][0]
    if big_endian != (sys.byteorder == "big") and dtype.itemsize > 1:
        budget.spend(len(raw))
        elements = elements.view(f"u{dtype.itemsize}").byteswap()
    elif address % dtype.itemsize:
        budget.spend(len(raw))
        elements = elements.copy()
    elements = elements.view(dtype)
    elements.flags.writeable = False
    return elements


def _check_geometry(offset: Tree, shape: Tree, strides: Tree) -> None:
    if (
        type(shape) is not tuple
        or type(strides) is not tuple
        or len(shape) != len(strides)
        or len(shape) > 32
    ):
        raise CheckpointError(
            f"has a tensor of shape {shown(shape)} and strides {shown(strides)}: the file is"
            " damaged"
        )
    for value in (offset, *shape, *strides):
        if type(value) is not int or not 0 <= value < 2**62:
            raise CheckpointError(
                f"has a tensor with {shown(value)} in its shape, strides or offset: it is damaged"
            )


def _storage(value: object) -> Storage:
    if not isinstance(value, Storage):
        raise CheckpointError(
            f"builds a tensor from {shown(value)} instead of a storage: the file is damaged"
        )
    return value


def rebuild_tensor(
    storage: object, offset: Tree, shape: Tree, strides: Tree, *_flags: object
) -> np.ndarray:
    """Stand in for torch._utils._rebuild_tensor and _rebuild_tensor_v2.

    Gradient flags and hooks are dropped.
    """
    return _storage(storage).view(offset, shape, strides)


def rebuild_tensor_v3(
    storage: object,
    offset: Tree,
    shape: Tree,
    strides: Tree,
    _grad: object,
    _hooks: object,
    dtype: Tree,
    *_flags: object,
) -> np.ndarray:
    """Stand in for torch._utils._rebuild_tensor_v3: an untyped storage and a dtype beside it."""
    storage = _storage(storage)
    if not isinstance(dtype, TorchDtype) or dtype.name not in DTYPES:
        raise CheckpointError(f"has a tensor of dtype {shown(dtype)}; read are {', '.join(DTYPES)}")
    if storage.elements is None:
        return storage.view(offset, shape, strides)
    raw: Tree = storage.elements.view(np.uint8)
    typed = elements_of(memoryview(raw), DTYPES[dtype.name], storage.budget)
    return Storage(typed, storage.budget).view(offset, shape, strides)


def rebuild_parameter(data: object, *_flags: object) -> np.ndarray:
    """Stand in for torch._utils._rebuild_parameter, also _with_state: a parameter is its tensor."""
    if not isinstance(data, np.ndarray):
        raise CheckpointError(
            f"has a parameter made of {shown(data)} instead of a tensor: the file is damaged"
        )
    return data


def rebuild_from_type(function: object, _kind: object, arguments: Tree, _state: object) -> Tree:
    """Stand in for torch._tensor._rebuild_from_type_v2: a tensor with attributes is its tensor."""
    builders = (rebuild_tensor, rebuild_tensor_v3, rebuild_parameter)  # none of them calls others
    if isinstance(function, Opaque):
        return function
    if not isinstance(function, Call) or function.build not in builders:
        raise CheckpointError(
            f"builds a tensor by {shown(function)}, which builds none: the file is damaged"
        )
    return function.build(*arguments)


def torch_size(items: Tree = ()) -> tuple[int, ...]:
    """Stand in for torch.Size."""
    if type(items) is not tuple or any(type(item) is not int for item in items):
        raise CheckpointError(f"has a torch.Size of {shown(items)}; it must be a tuple of integers")
    return items


def torch_device(kind: object, index: object = None) -> TorchDevice:
    """Stand in for torch.device."""
    if type(kind) is not str or len(kind) > 32 or not (index is None or type(index) is int):
        raise CheckpointError(
            f"has a torch.device of {shown(kind)}, {shown(index)}; the file is damaged"
        )
    return TorchDevice(kind, index)


def ordered_dict(pairs: Tree = ()) -> "OrderedDict[Tree, Tree]":
    """Stand in for collections.OrderedDict: empty, or from a list of pairs as Python 2 wrote it."""
    if type(pairs) not in (list, tuple) or any(
        type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs
    ):
        raise CheckpointError(
            f"has an OrderedDict made of {shown(pairs)} instead of a list of pairs"
        )
    return OrderedDict((key, value) for key, value in pairs if is_plain_key(key))


def default_dict(_factory: object = None) -> dict[Tree, Tree]:
    """Stand in for collections.defaultdict, empty: the pickle fills it."""
    return {}


def counter(counts: Tree = ()) -> dict[Tree, Tree]:
    """Stand in for collections.Counter, which is a dict of numbers."""
    if type(counts) not in (dict, OrderedDict) and counts != ():
        raise CheckpointError(f"has a Counter made of {shown(counts)} instead of a dict")
    return dict(counts)


def set_of(items: Tree = ()) -> set[Tree]:
    """Stand in for set and frozenset; what could be no key of a dict is left out."""
    if type(items) is not list:
        raise CheckpointError(f"has a set made of {shown(items)} instead of a list")
    return set(filter(is_plain_key, items))


def latin1_bytes(text: object, encoding: object) -> bytes:
    """Stand in for _codecs.encode, which is how protocol 2 writes bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise CheckpointError(
            f"encodes {shown(text)} as {shown(encoding)}; only bytes written as latin1 are read"
        )
    return text.encode("latin-1")


def numpy_dtype(text: object, *_flags: object) -> "NumpyDtype | Opaque":
    """Stand in for numpy.dtype; texts, objects and structures are not read."""
    if type(text) is not str or not re.fullmatch("[<>=|]?(b1|[iu][1248]|f[248])", text):
        return Opaque(f"numpy.dtype({shown(text)})")
    return NumpyDtype(np.dtype(text))


@dataclass
class NumpyDtype(Unfinished):
    """A numpy dtype before its byte order is set."""

    dtype: np.dtype

    def finish(self, state: object) -> np.dtype:
        """Return the numpy dtype in the byte order of `state`, which is (version, order, ...)."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise CheckpointError(
                f"has a numpy dtype with the state {shown(state)}: the file is damaged"
            )
        return self.dtype.newbyteorder(state[1])


class NumpyArray(Unfinished):
    """A numpy array before its content is set."""

    def __init__(self, kind: object, *_empty: object):
        if kind is not NDARRAY:
            raise CheckpointError(
                f"makes a numpy array of {shown(kind)}; only numpy.ndarray itself is read"
            )

    def finish(self, state: object) -> np.ndarray | Opaque:
        """Return the array of `state`, which is (version, shape, dtype, Fortran order, bytes)."""
        if type(state) is not tuple or len(state) != 5:
            raise CheckpointError(
                f"has a numpy array with the state {shown(state)}: the file is damaged"
            )
        _, shape, dtype, fortran, raw = state
        if isinstance(dtype, Opaque):
            return dtype
        _check_geometry(0, shape, shape)
        return _numpy_values(raw, shape, dtype, "F" if fortran else "C")


def numpy_scalar(dtype: Tree, raw: Tree) -> Tree:
    """Stand in for numpy's `scalar`: one number, such as a np.float32, from its bytes."""
    return _numpy_values(raw, (), dtype, "C")[()]


def numpy_from_buffer(raw: Tree, dtype: Tree, shape: Tree, order: Tree) -> np.ndarray:
    """Stand in for numpy's `_frombuffer`, which is how protocol 5 writes an array."""
    _check_geometry(0, shape, shape)
    return _numpy_values(raw, shape, dtype, "F" if order == "F" else "C")


def _numpy_values(raw: Tree, shape: tuple[int, ...], dtype: Tree, order: Tree) -> np.ndarray:
    sound = isinstance(dtype, np.dtype) and isinstance(raw, (bytes, memoryview))
    if not sound or len(raw) != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(
            f"has a numpy array of shape {shown(shape)} and dtype {shown(dtype)} that do not fit"
        )
    return np.ndarray(shape, dtype, raw, order=order)


DTYPES: dict[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "float64": "f8",
        "float32": "f4",
        "float16": "f2",
        "bfloat16": ml_dtypes.bfloat16,
        "int64": "i8",
        "int32": "i4",
        "int16": "i2",
        "int8": "i1",
        "uint8": "u1",
        "uint16": "u2",
        "uint32": "u4",
        "uint64": "u8",
        "bool": "?",
    }.items()
}
STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
UNTYPED = StorageType("UntypedStorage", np.dtype(np.uint8))
NDARRAY = object()  # what numpy.ndarray stands for: only a mark that `NumpyArray` looks for

NAMES: dict[str, Tree] = {
    "torch._utils._rebuild_tensor": Call(rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": Call(rebuild_tensor),
    "torch._utils._rebuild_tensor_v3": Call(rebuild_tensor_v3),
    "torch._utils._rebuild_parameter": Call(rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": Call(rebuild_parameter),
    "torch._tensor._rebuild_from_type": Call(rebuild_from_type),
    "torch._tensor._rebuild_from_type_v2": Call(rebuild_from_type),
    "torch.Size": Call(torch_size),
    "torch.device": Call(torch_device),
    "torch.storage.UntypedStorage": UNTYPED,
    "torch.UntypedStorage": UNTYPED,
    "collections.OrderedDict": Call(ordered_dict),
    "collections.defaultdict": Call(default_dict),
    "collections.Counter": Call(counter),
    "builtins.set": Call(set_of),
    "__builtin__.set": Call(set_of),
    "builtins.frozenset": Call(set_of),
    "__builtin__.frozenset": Call(set_of),
    "_codecs.encode": Call(latin1_bytes),
    "numpy.ndarray": NDARRAY,
    "numpy.dtype": Call(numpy_dtype),
}
for _place in ("numpy.core", "numpy._core"):  # before numpy 2 and since
    NAMES[f"{_place}.multiarray.scalar"] = Call(numpy_scalar)
    NAMES[f"{_place}.multiarray._reconstruct"] = Call(NumpyArray)
    NAMES[f"{_place}.numeric._frombuffer"] = Call(numpy_from_buffer)
NAMES |= {f"torch.{name}": TorchDtype(name) for name in [*DTYPES, "complex64", "complex128"]}
for _place in ("torch", "torch.cuda"):
    NAMES |= {
        f"{_place}.{name}Storage": StorageType(name, DTYPES[dtype])
        for name, dtype in STORAGES.items()
    }
