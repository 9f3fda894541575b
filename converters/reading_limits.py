"""What reading a weights file may cost: a budget, fixed limits, and safe words for messages."""

import sys
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from jattr.errors import CheckpointError

# a plain value of a file: nested dicts, lists and tuples, with arrays, texts and numbers as leaves
Tree: TypeAlias = Any

MIB = 1 << 20
DEFAULT_MAX_BYTES = 8 << 30  # the largest file read without being asked to
# pickle instructions; the largest public GAN checkpoints have well under a million
MAX_OPERATIONS = 5_000_000
MAX_NESTING = 4  # pickles inside pickles; NVlabs files have one inside one
MAX_CONTAINER_DEPTH = 100  # containers inside containers
MAX_NODES = 1_000_000  # values in the tree, each counted as often as it is met
# bytes of all tensors written out, in file sizes: copies of one network may share storages
MAX_TENSOR_FACTOR = 4
MAX_NAME_BYTES = 512
MAX_TEXT_BYTES = 4 * MIB
MAX_PICKLE_BYTES = 256 * MIB  # data.pkl of a zip archive
MAX_INT_BYTES = 64
LONG_BYTES = 4096  # bytes in a pickle from this length on stay a view of the file
MAX_TENSOR_NAME = 1024  # characters
MAX_STATE_TENSORS = 50_000  # tensors of a state dict, or of all state dicts of a file
MAX_NAMES_BYTES = 32 * MIB  # of their names together
MAX_PLACES = 300  # prefixes of names that may be a network's
MAX_PLACES_BYTES = 4 * MIB  # of the names below all of them: what trying them may take
MAX_PLACE_PARTS = 6  # of such a prefix, as "state_dict.generator.module" has 3
MAX_SHARDS = 1000  # of one checkpoint
MAX_FOLDER_ENTRIES = 10_000  # of a folder in which weights are looked for
SPARE_MEMORY = 32 * MIB


@dataclass
class Budget:
    """What reading one file may still allocate besides the file's own bytes.

    Those are in memory once. At first twice the file's size and 32 MiB: so a reading stays under
    three times the file's size and 64 MiB, whatever the file says.
    """

    file_size: int  # bytes
    left: int  # bytes

    @classmethod
    def for_file(cls, size: int) -> "Budget":
        """Return the budget for a file of `size` bytes."""
        return cls(size, 2 * size + SPARE_MEMORY)

    def spend(self, count: int) -> None:
        """Take `count` bytes out of the budget; a `CheckpointError` where it has fewer."""
        self.left -= count
        if self.left < 0:
            raise CheckpointError(
                "asks for more than twice its own size in memory; no honest weights file does"
            )

    def spend_for(self, value: object) -> None:
        """Pay for `value`, which a table entry has just made."""
        if isinstance(value, (str, bytes)):
            self.spend(sys.getsizeof(value))
        elif isinstance(value, (dict, set, frozenset)):
            self.spend(2 * sys.getsizeof(value) + 100 * len(value))


def shown(value: object) -> str:
    """Return `value` for a message as one short line, however deep, endless or odd it is."""
    if isinstance(value, (str, bytes)):
        return repr(value[:80]) + ("..." if len(value) > 80 else "")
    if isinstance(value, (bool, int, float, type(None), np.dtype)):
        return repr(value)
    if (
        type(value) is tuple
        and len(value) <= 8
        and all(type(item) in (int, bool, float) for item in value)
    ):
        return repr(value)
    return f"a value of type {type(value).__name__}"
