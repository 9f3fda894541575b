"""The content of a weights file as a tree of plain values: checks, and the tensors in it."""

import itertools
from collections.abc import Iterator

import numpy as np

from jattr.errors import CheckpointError

from .pickle_machine import Call, NewObject, Opaque, Unfinished, refusal
from .reading_limits import (
    MAX_CONTAINER_DEPTH,
    MAX_NAMES_BYTES,
    MAX_NODES,
    MAX_STATE_TENSORS,
    MAX_TENSOR_FACTOR,
    MAX_TENSOR_NAME,
    SPARE_MEMORY,
    Tree,
    shown,
)
from .torch_records import NDARRAY, Storage, StorageType

END = object()  # of a walk over a container


def check_tree(tree: Tree, file_size: int) -> None:
    """Check that a tree is small when written out, and holds something that is read.

    A pickle can mention one value many times, or inside itself.

    Raises:
      CheckpointError: the tree is endless, too deep or too large, or has no tensor but something
        that was not read.
    """
    nodes, _, size = _measure(tree, 1, {})
    if nodes > MAX_NODES:
        raise CheckpointError(
            f"holds {nodes} values when written out; at most {MAX_NODES} are read"
        )
    if size > MAX_TENSOR_FACTOR * file_size + SPARE_MEMORY:
        raise CheckpointError(
            f"has tensors of {size} bytes in all, but the file has {file_size}: tensors expanded or"
            " shared many times; save them with .contiguous().clone()"
        )
    if isinstance(tree, (Call, NewObject, Unfinished, Storage, StorageType)) or tree is NDARRAY:
        raise CheckpointError(
            f"holds {shown(tree)} outside of any tensor; save a state dict of tensors"
        )
    unread = next((leaf for _, leaf in _leaves(tree) if isinstance(leaf, Opaque)), None)
    if unread and not any(isinstance(leaf, (np.ndarray, np.generic)) for _, leaf in _leaves(tree)):
        raise refusal(unread.name)


def unread_values(tree: Tree, limit: int) -> dict[str, str]:
    """Return the first `limit` values of a tree that were not read: place (dotted) -> what it is.

    >>> unread_values({"args": Opaque("argparse.Namespace"), "epoch": 3}, limit=8)
    {'args': 'argparse.Namespace'}
    """
    opaque = (
        (".".join(map(str, keys)), leaf.name)
        for keys, leaf in _leaves(tree)
        if isinstance(leaf, Opaque)
    )
    return dict(itertools.islice(opaque, limit))


def _leaves(tree: Tree) -> Iterator[tuple[list[Tree], Tree]]:
    """Yield (keys that lead to it, value) of what is no container, entering each container once."""
    keys: list[Tree] = [None]
    walks: list[Iterator[tuple[Tree, Tree]]] = [iter([(None, tree)])]
    entered: set[int] = set()
    while walks:
        keys[-1], node = next(walks[-1], (None, END))
        if node is END:
            walks.pop()
            keys.pop()
        elif not isinstance(node, (dict, list, tuple)):
            yield keys[1:], node
        elif id(node) not in entered:
            entered.add(id(node))
            walks.append(iter(node.items()) if isinstance(node, dict) else enumerate(node))
            keys.append(None)


def _measure(
    node: Tree, depth: int, measured: dict[int, tuple[int, int, int]]
) -> tuple[int, int, int]:
    """Return the number of values, the depth and the bytes in arrays of a node at `depth`."""
    if not isinstance(node, (dict, list, tuple)):
        return 1, 0, node.nbytes if isinstance(node, (np.ndarray, np.generic)) else 0
    if id(node) in measured:
        return measured[id(node)]
    nodes, height, size = 1, 0, 0
    for child in node.values() if isinstance(node, dict) else node:
        if depth > MAX_CONTAINER_DEPTH or depth + height > MAX_CONTAINER_DEPTH:
            raise CheckpointError(
                f"nests values more than {MAX_CONTAINER_DEPTH} deep, or inside themselves"
            )
        child_nodes, child_height, child_size = _measure(child, depth + 1, measured)
        nodes, height, size = nodes + child_nodes, max(height, child_height + 1), size + child_size
    measured[id(node)] = nodes, height, size
    return nodes, height, size


def find_state_dict(tree: Tree, key: str | None = None) -> dict[str, np.ndarray]:
    """Return the tensors of a tree by dotted name, in the file's order.

    As in {"conv1.weight": array, ...}. Nested dicts, lists and tuples are joined by dots
    ("netG.conv1.weight", "params.0"); what is no tensor (epoch numbers, settings) is left out.
    Names are as in the file: see `strip_module_prefix` for those of DataParallel.

    Args:
      tree: what `read_checkpoint` returned.
      key: where the state dict is nested, such as "state_dict" or "a.b"; None for the whole tree.

    Raises:
      CheckpointError: there is nothing under `key`, no tensor there, or two tensors of one name.

    >>> find_state_dict({"epoch": 3, "netG": {"fc": {"bias": np.zeros(2)}}}, "netG")
    {'fc.bias': array([0., 0.])}
    """
    state = tensors_by_name(_descend(tree, key))
    if not state:
        raise CheckpointError(
            f"no tensors in the weights under {shown(key)}; there is {_contents(tree)}"
        )
    return state


def tensors_by_name(tree: Tree) -> dict[str, np.ndarray]:
    """Return the tensors of a tree by dotted name, in the file's order; {} if it has none.

    Raises:
      CheckpointError: two tensors have one name, or there are too many, or too long names.
    """
    state: dict[str, np.ndarray] = {}
    size = 0
    for name, array in _tensors(tree, ""):
        if name in state:
            raise CheckpointError(f"the weights hold two tensors called {shown(name)}")
        size += len(name)
        if size > MAX_NAMES_BYTES:
            raise CheckpointError(
                f"the weights have names of over {MAX_NAMES_BYTES} characters together"
            )
        state[name] = array
        if len(state) > MAX_STATE_TENSORS:
            raise CheckpointError(
                f"the weights hold more than {MAX_STATE_TENSORS} tensors; no more are read"
            )
    return state


def strip_module_prefix(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state dict without the `module.` that DataParallel puts before every name.

    Only if every name has it; else the same names. Some models have a part called `module`
    themselves: match the names as they are in the file first, and these only if that fails.

    >>> strip_module_prefix({"module.a": np.zeros(1), "module.b": np.ones(1)})
    {'a': array([0.]), 'b': array([1.])}
    """
    prefix = "module."
    if not all(name.startswith(prefix) for name in state):
        return state
    return {name.removeprefix(prefix): array for name, array in state.items()}


def _descend(tree: Tree, key: str | None) -> Tree:
    """Return what is under a dotted key.

    A dict may also hold the whole key, or its beginning, as one name.
    """
    if not key:
        return tree
    if isinstance(tree, dict):
        parts = key.split(".")
        for count in range(len(parts), 0, -1):
            head = ".".join(parts[:count])
            if head in tree:
                return _descend(tree[head], ".".join(parts[count:]))
    raise CheckpointError(f"nothing in the weights under {shown(key)}; there is {_contents(tree)}")


def _contents(tree: Tree) -> str:
    if not isinstance(tree, dict):
        return shown(tree)
    keys = [shown(key) for key in list(tree)[:8]]
    return f"a dict with the keys {', '.join(keys)}{', ...' if len(tree) > 8 else ''}"


def _tensors(node: Tree, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(node, (np.ndarray, np.generic)):
        yield name, np.asarray(node)
    elif isinstance(node, (dict, list, tuple)):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            path = f"{name}.{key}" if name else str(key)
            if len(path) > MAX_TENSOR_NAME:
                raise CheckpointError(
                    f"the weights have a name of over {MAX_TENSOR_NAME} characters, {shown(path)}"
                )
            yield from _tensors(child, path)
