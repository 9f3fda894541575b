"""The pickles of NVlabs' StyleGAN2-ADA and StyleGAN3 (`network.pkl`), read as data.

They hold whole modules: each is `torch_utils.persistence._reconstruct_persistent_obj(meta)`, where
`meta` carries the program text of its class. That text is never run; only its SHA-256 is kept. What
is used is the module's state: tensors, sub-modules and plain attributes. Source of the layout:
torch_utils/persistence.py of both repositories.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from jattr.errors import CheckpointError

from .pickle_machine import Call, NewObject, Opaque
from .reading_limits import Tree, shown

PLAIN_TYPES = (bool, int, float, str, type(None))


def saved_module(meta: Tree) -> dict[str, Tree]:
    """Stand in for torch_utils.persistence._reconstruct_persistent_obj: a record, not an object."""
    if type(meta) is not dict or meta.get("type") != "class" or type(meta.get("state")) is not dict:
        raise CheckpointError(
            f"has a module of NVlabs that is {shown(meta)}; it must have a class and a state"
        )
    name, source = meta.get("class_name"), meta.get("module_src")
    if type(name) is not str or type(source) is not str:
        raise CheckpointError(
            "has a module of NVlabs without class_name and module_src: the file is damaged"
        )
    return {
        MARK: True,
        "class_name": name,
        "source_sha256": _sha256(source),
        "state": meta["state"],
    }


def easy_dict() -> dict[str, Tree]:
    """Stand in for dnnlib.util.EasyDict, which is a dict."""
    return {}


MARK = "\0module of NVlabs"  # no pickle of theirs has this key in a dict of its own
NVLABS_NAMES: dict[str, Tree] = {
    "torch_utils.persistence._reconstruct_persistent_obj": Call(saved_module),
    "dnnlib.util.EasyDict": NewObject(easy_dict),
}


def flat_modules(tree: Tree) -> Tree:
    """Return the tree with each outermost module as a dict.

    Its keys: "class_name", "tensors", "attributes", "sources". Tensors and attributes are by dotted
    name, as in a state dict; non-tensor values other than plain ones are dropped.
    """
    if isinstance(tree, dict) and tree.get(MARK) is True:
        parts = list(_parts(tree, ""))
        return {
            "class_name": tree["class_name"],
            "tensors": {name: value for _, name, value in parts if isinstance(value, np.ndarray)},
            "attributes": {name: value for kind, name, value in parts if kind == "attribute"},
            "sources": sorted({value for kind, _, value in parts if kind == "source"}),
        }
    if isinstance(tree, dict):
        return {key: flat_modules(value) for key, value in tree.items()}
    return tree


def _parts(module: dict[str, Tree], prefix: str) -> Iterator[tuple[str, str, Tree]]:
    """Yield the parts of a module and of those inside it.

    Each is ("tensor" | "attribute" | "source", dotted name, value).
    """
    yield "source", prefix, module["source_sha256"]
    state = module["state"]
    for group in ("_parameters", "_buffers"):
        for name, value in _dict_of(state, group).items():
            if isinstance(value, Opaque):
                raise CheckpointError(
                    f"has a tensor {shown(prefix + name)} of {shown(value.name)}, which is not read"
                )
            if value is not None:
                yield "tensor", f"{prefix}{name}", np.asarray(value)
    for name, value in state.items():
        if isinstance(name, str) and not name.startswith("_") and _is_plain(value):
            yield "attribute", f"{prefix}{name}", _python_value(value)
    for name, child in _dict_of(state, "_modules").items():
        if isinstance(child, dict) and child.get(MARK) is True:
            yield from _parts(child, f"{prefix}{name}.")
        elif child is not None:
            raise CheckpointError(
                f"has a part {shown(name)} that is no module of NVlabs, {shown(child)}"
            )


def _is_plain(value: Tree) -> bool:
    return isinstance(value, (*PLAIN_TYPES, np.number)) or (
        type(value) in (list, tuple) and all(map(_is_plain, value))
    )


def _python_value(value: object) -> Tree:
    if isinstance(value, (list, tuple)):
        return tuple(map(_python_value, value))
    return value.item() if isinstance(value, np.generic) else value


def _dict_of(state: dict[str, Tree], name: str) -> dict[str, Tree]:
    value = state.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CheckpointError(f"has a module whose {name} is {shown(value)}: the file is damaged")
    return value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
