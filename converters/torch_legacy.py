"""Reads the files of PyTorch before 1.6: five pickles in a row, then the bytes of the storages.

The pickles are a magic number, a protocol number, facts about the machine, the saved object, and
the keys of the storages in the order of their bytes. The object comes before the sizes of its
storages are known: it is read twice, once to learn what types of storage it has, once to build it.
"""

import struct
from dataclasses import dataclass, field

import numpy as np

from jattr.errors import CheckpointError

from .pickle_machine import Opaque, PickleMachine, refusal
from .pickle_operations import run_pickle
from .reading_limits import Budget, Tree, shown
from .torch_records import Storage, StorageType, elements_of
from .torch_zip import check_persistent_id

MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
PROTOCOL = 1001
UNREAD_SIZES = {  # storages that are not read -> bytes of an element
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
    "torch.QInt8Storage": 1,
    "torch.QUInt8Storage": 1,
    "torch.QInt32Storage": 4,
}


@dataclass
class LegacyStorages:
    """Resolves the persistent ids of a legacy file.

    Before `content` is filled it only notes types and sizes.
    """

    budget: Budget
    # key -> type, number of elements
    types: dict[str, tuple[StorageType, int]] = field(default_factory=dict)
    content: dict[str, Storage] = field(default_factory=dict)

    def __call__(self, persistent_id: Tree) -> Storage | Opaque:
        """Return the storage of ("storage", type, key, location, number of elements, view).

        The location is ignored.
        """
        reference = check_persistent_id(persistent_id)
        if isinstance(reference, Opaque):
            if persistent_id[0] != "module":
                self._pass_over(reference, persistent_id[2], persistent_id[4])
            return reference
        kind, key, count = reference
        if self.types.setdefault(key, (kind, count)) != (kind, count):
            raise CheckpointError(
                f"declares storage {shown(key)} twice in different ways: the file is damaged"
            )
        view = persistent_id[5] if len(persistent_id) == 6 else None
        if view is not None:
            _check_view(view, count)
        if key not in self.content:
            return Storage(None, self.budget)
        whole = self.content[key]
        if view is None or whole.elements is None:
            return whole
        return Storage(whole.elements[view[1] : view[1] + view[2]], self.budget)

    def _pass_over(self, storage: Opaque, key: str, count: int) -> None:
        """Note the size of a storage that is not read: it lies between others."""
        if storage.name not in UNREAD_SIZES:
            raise refusal(storage.name)
        kind = StorageType(storage.name, np.dtype(f"V{UNREAD_SIZES[storage.name]}"))
        if self.types.setdefault(key, (kind, count)) != (kind, count):
            raise CheckpointError(
                f"declares storage {shown(key)} twice in different ways: the file is damaged"
            )


def _check_view(view: Tree, count: int) -> None:
    """Check a storage that is a part of another, as PyTorch before 0.4 wrote it.

    `view` is (key, offset, size) in elements.
    """
    if (
        type(view) is not tuple
        or len(view) != 3
        or any(type(value) is not int for value in view[1:])
    ):
        raise CheckpointError(
            f"has a storage that is a part of another in an unknown way, {shown(view)}"
        )
    if view[1] < 0 or view[2] < 0 or view[1] + view[2] > count:
        raise CheckpointError(
            f"has a storage that reaches past the one it is a part of, {shown(view[1:])} of {count}"
        )


def read_legacy(data: memoryview, names: dict[str, Tree], budget: Budget) -> Tree:
    """Return the tree that the pre-1.6 PyTorch file `data` holds.

    Raises:
      CheckpointError: the file is damaged, hostile, or comes from a big-endian machine.
    """
    start = _read_preamble(data, names, budget)
    storages = LegacyStorages(budget)
    left = budget.left
    after = _run(data, start, names, budget, storages)[0]
    budget.left = left  # what the first reading built is gone
    after, keys = _run(data, after, names, budget)
    _read_storages(data, after, keys, storages)
    _, tree = _run(data, start, names, budget, storages)
    return tree


def _run(
    data: memoryview, start: int, names: dict[str, Tree], budget: Budget, storages: Tree = None
) -> tuple[int, Tree]:
    machine = PickleMachine(data, names, budget, storages, start)
    value = run_pickle(machine)
    return machine.position, value


def _read_preamble(data: memoryview, names: dict[str, Tree], budget: Budget) -> int:
    after, magic = _run(data, 0, names, budget)
    after, protocol = _run(data, after, names, budget)
    after, facts = _run(data, after, names, budget)
    if magic != MAGIC or protocol != PROTOCOL:
        raise CheckpointError(
            f"states protocol {shown(protocol)} of PyTorch's old file format; {PROTOCOL} is read"
        )
    if type(facts) is not dict or facts.get("little_endian") is not True:
        raise CheckpointError(
            "was written on a big-endian machine; load it in PyTorch and save it again"
        )
    return after


def _read_storages(data: memoryview, at: int, keys: Tree, storages: LegacyStorages) -> None:
    """Fill `storages.content` from the bytes behind the pickles.

    Those are, for each key, a 64-bit count and the elements.
    """
    if type(keys) is not list or len(keys) != len(storages.types):
        raise CheckpointError(
            "lists other storages than its tensors use: the file is damaged; fetch it again"
        )
    for key in keys:
        if type(key) is not str or key not in storages.types or key in storages.content:
            raise CheckpointError(
                f"lists a storage {shown(key)} that no tensor uses, or lists it twice: it is"
                " damaged"
            )
        kind, count = storages.types[key]
        end = at + 8 + count * kind.dtype.itemsize
        if end > len(data):
            raise CheckpointError(
                f"ends inside storage {shown(key)}: the file is cut short; fetch it again"
            )
        (stored,) = struct.unpack("<q", data[at : at + 8])
        if stored != count:
            raise CheckpointError(
                f"has {stored} elements in storage {shown(key)}, {count} declared: it is damaged"
            )
        storages.content[key] = Storage(
            elements_of(data[at + 8 : end], kind.dtype, storages.budget), storages.budget
        )
        at = end
    if at != len(data):
        raise CheckpointError(
            f"has {len(data) - at} bytes after its last storage: the file is damaged"
        )
