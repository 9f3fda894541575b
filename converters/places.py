"""Where in a weights file a network may lie: every prefix of its tensors' names.

Programs nest state dicts ("netG", "state_dict") and wrap networks (`module.`, `_orig_mod.`), which
both only put something before the names. So a file is one flat dict here, and a place in it is a
prefix. Which place holds a network is for the formats to say (`detect`), or for a card (`layered`).
"""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from jattr.errors import show

from .checkpoint_tree import tensors_by_name
from .normalisation import fold_normalisation
from .reading_limits import MAX_PLACE_PARTS, MAX_PLACES, MAX_PLACES_BYTES, Tree
from .rules import StateDict, UnfitError

# parts of names that wrappers add, anywhere, and that no network has itself
WRAPPERS = (
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",  # fully sharded data parallel
    "_checkpoint_wrapped_module",  # activation checkpointing
    "_forward_module",  # Lightning Fabric
)
# last parts of names of counters: no part of any function
COUNTERS = (
    "total_ops",  # thop
    "total_params",  # thop
    "n_averaged",  # torch.optim.swa_utils.AveragedModel
)
DATA_PARALLEL = "module"  # (Distributed)DataParallel, AveragedModel: a name that networks have, too
OPTIMISER = re.compile(r"optim|^(exp_avg|exp_avg_sq|momentum_buffer|square_avg)$", re.IGNORECASE)
ONLINE = ("online", "student")  # the network beside its own average
AVERAGED = ("ema", "avg", "swa", "smooth", "shadow", "average", "averaged", "polyak")


@dataclass(frozen=True)
class Place:
    """A part of a file that may be a network."""

    key: str  # what stands before its names in the file, "" for nothing
    tensors: StateDict  # by the names behind that; normalised weights folded
    context: Mapping[str, Tree]  # what lies beside and above it
    folded: tuple[str, ...] = ()  # what was folded, as "weight normalisation of 3 weights"
    fault: str = ""  # why something could not be folded

    @property
    def averaged(self) -> int:
        """How clearly its key says that its weights are a running average of training (EMA, SWA).

        2: the last part of the key does. 1: another part. 0: none, or one says the opposite, as
        the `online_model` inside lucidrains' EMA.
        """
        parts = [part for part in self.key.split(".") if part != DATA_PARALLEL]
        if any(word in ONLINE for part in parts for word in _words(part)):
            return 0
        says = [any(map(_says_averaged, _words(part))) for part in parts]
        return 2 if says and says[-1] else int(any(says))


def _words(part: str) -> list[str]:
    """Return the words of a name such as "netG_ema" or "avgG", in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)]


def _says_averaged(word: str) -> bool:
    return word in AVERAGED or (len(word) <= 5 and word.endswith("ema"))


def places_in(tree: Tree, key: str | None = None) -> Iterator[Place]:
    """Yield the places of a file's content, those of the fewest parts first.

    Args:
      tree: what `read_checkpoint` returned, modules of NVlabs flat (`flat_modules`); or
        {"config": ..., "tensors": ...}.
      key: only this place and those below it, such as "state_dict"; None: all.

    Raises:
      CheckpointError: more tensors than any such file has.
    """
    if key is not None:
        key = _without_wrappers(key)
    modules: list[Place] = []
    if _is_folder(tree):
        named = tensors_by_name(tree["tensors"])
    else:
        named = tensors_by_name(_without_modules(tree, "", modules))
    yield from (place for place in modules if key in (None, place.key))
    yield from _prefixes(_unwrapped(named), tree, key)


def without_data_parallel(place: Place) -> Place | None:
    """Return a place without `module` anywhere in its names; None if that changes nothing."""
    names = {
        name: ".".join(part for part in name.split(".") if part != DATA_PARALLEL)
        for name in place.tensors
    }
    if all(name == short for name, short in names.items()) or len(set(names.values())) < len(names):
        return None
    tensors = {names[name]: array for name, array in place.tensors.items()}
    return Place(place.key, tensors, place.context, place.folded, place.fault)


Fit = TypeVar("Fit")


def without_outer(fits: Sequence[tuple[Place, Fit]]) -> list[tuple[Place, Fit]]:
    """Return the fits without those around another one, which hold it and more besides."""
    return [
        fit
        for fit in fits
        if not any(
            other.key != fit[0].key and other.key.startswith(f"{fit[0].key}." if fit[0].key else "")
            for other, _ in fits
        )
    ]


def preferred(
    fits: Sequence[tuple[Place, Fit]], keys: Sequence[str] = ()
) -> tuple[Place, Fit] | None:
    """Return which of several places is the generator: the averaged one, or one of known keys.

    Args:
      fits: places that hold a network of the same kind, each with anything.
      keys: where such a network usually lies, the preferred first.

    Returns:
      None where nothing tells.
    """
    clearest = max(place.averaged for place, _ in fits)
    best = [fit for fit in fits if fit[0].averaged == clearest]
    if len(best) == 1:
        return best[0]
    usual = [fit for fit in best if fit[0].key in keys]
    return min(usual, key=lambda fit: keys.index(fit[0].key), default=None)


def choice_note(chosen: Place, fits: Sequence[tuple[Place, object]]) -> tuple[str, ...]:
    """Return what is to be said where several places hold such a network."""
    others = [show(place.key) for place, _ in fits if place.key != chosen.key]
    if not others:
        return ()
    what = "the averaged weights" if chosen.averaged else "the weights"
    return (
        f"taken are {what} under {show(chosen.key)}; there are also {', '.join(others[:4])}"
        " (--key)",
    )


def _is_folder(tree: Tree) -> bool:
    """Return whether a tree is that of a folder with config.json."""
    return (
        isinstance(tree, dict) and tree.keys() == {"config", "tensors"}
        and isinstance(tree["tensors"], dict)
    )  # fmt: skip


def _without_modules(tree: Tree, key: str, modules: list[Place]) -> Tree:
    """Return the tree without its modules of NVlabs, which are added to `modules`."""
    if not isinstance(tree, dict):
        return tree
    if tree.keys() >= {"class_name", "tensors", "attributes", "sources"}:
        modules.append(Place(key, tree["tensors"], tree))
        return None
    rest = {
        name: _without_modules(value, f"{key}.{name}" if key else str(name), modules)
        for name, value in tree.items()
    }
    # a part without modules is not copied: it may be mentioned a hundred thousand times
    return tree if all(rest[name] is value for name, value in tree.items()) else rest


def _unwrapped(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors without wrappers in their names, and without counters."""
    result: dict[str, np.ndarray] = {}
    for name, array in named.items():
        short = _without_wrappers(name)
        if short and short.rpartition(".")[2] not in COUNTERS:
            result.setdefault(short, array)
    return result


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _prefixes(named: Mapping[str, np.ndarray], tree: Tree, key: str | None) -> Iterator[Place]:
    """Yield a place for each prefix of the names, those of the fewest parts first."""
    names = list(named)
    below: list[dict[str, list[int]]] = [{} for _ in range(MAX_PLACE_PARTS + 1)]
    for index, name in enumerate(names):
        below[0].setdefault("", []).append(index)
        parts = name.split(".")[:-1]
        for depth, part in enumerate(parts[:MAX_PLACE_PARTS], 1):
            # numbered parts are layers or entries of a list; moments have the weights' names
            if part.isdecimal() or OPTIMISER.search(part):
                break
            below[depth].setdefault(".".join(parts[:depth]), []).append(index)
    chosen = [
        (prefix, indices)
        for level in below
        for prefix, indices in level.items()
        if key is None or prefix == key or prefix.startswith(f"{key}.")
    ]
    size = 0
    for prefix, indices in chosen[:MAX_PLACES]:
        if size > MAX_PLACES_BYTES:
            return
        start = len(prefix) + 1 if prefix else 0
        size += sum(len(names[index]) - start for index in indices)
        tensors: StateDict = {names[index][start:]: named[names[index]] for index in indices}
        context = _context(tree, prefix)
        try:
            folded = fold_normalisation(tensors)
        except UnfitError as error:
            yield Place(prefix, tensors, context, fault=str(error))
        else:
            yield Place(prefix, folded.tensors, context, folded.folded)


def _context(tree: Tree, key: str) -> Mapping[str, Tree]:
    """Return what lies beside and above a place; what is nearer hides what is farther."""
    chain = [tree] if isinstance(tree, dict) else []
    for part in key.split(".") if key else ():
        inner = chain[-1].get(part) if chain else None
        if not isinstance(inner, dict):
            break
        chain.append(inner)
    return ChainMap(*reversed(chain)) if chain else {}
