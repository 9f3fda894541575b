"""Folders of weights: of diffusers and transformers, in one file or in shards, under any variant.

`NAME.safetensors`, `NAME.VARIANT.safetensors`, or shards `NAME-00001-of-00002.safetensors` with
`NAME.safetensors.index.json`, which says what lies in which; `.bin` likewise. Sources of the names:
https://github.com/huggingface/diffusers, utils/hub_utils.py (`_add_variant`), and
https://github.com/huggingface/huggingface_hub, serialization/_base.py.
"""

import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jattr.errors import CardError, CheckpointError, ConversionError, show
from jattr.folders.litter import cached_file, is_litter
from jattr.generators.card_json import plain, read_json
from jattr.typing import Json

from . import nvlabs_pickle, progan
from .checkpoint_tree import find_state_dict, strip_module_prefix, tensors_by_name
from .reading_limits import (
    DEFAULT_MAX_BYTES,
    MAX_FOLDER_ENTRIES,
    MAX_SHARDS,
    Tree,
)
from .torch_file import read_checkpoint

CONFIG = "config.json"
PIPELINE = "model_index.json"  # of diffusers: a pipeline's root folder
AUTOENCODER = "vae"  # its part that makes images
DIFFUSERS = "diffusion_pytorch_model"
STEMS = (DIFFUSERS, "model", "pytorch_model")  # what the programs call weights, preferred first
# of weights files, the preferred first
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".pkl")
INDEX = re.compile(r"(?P<stem>.+)\.(?P<suffix>safetensors|bin)\.index(\.(?P<variant>[^.]+))?\.json")
SHARD = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{1,9})-of-(?P<count>\d{1,9})(\.(?P<variant>[^.]+))?"
    r"\.(?P<suffix>safetensors|bin)"
)
# what pickles may name besides PyTorch's own
PICKLE_NAMES = nvlabs_pickle.NVLABS_NAMES | progan.GAN_ZOO_NAMES


class Weights(NamedTuple):
    """A weights file, or a folder of them, as read."""

    path: Path  # of the file with the tensors, or of the folder
    tree: Tree  # what it holds; for a folder with config.json {"config": ..., "tensors": ...}
    files: tuple[Path, ...] = ()  # all that hold tensors
    notes: tuple[str, ...] = ()  # what is to be said about the choice of them


class Bundle(NamedTuple):
    """One set of weights in a folder: a file, or shards and their index."""

    name: str  # of the file, or of the index
    stem: str
    variant: str | None  # such as "fp16"
    suffix: str  # "safetensors", "bin"
    is_index: bool


def is_weights_index(path: Path) -> bool:
    """Return whether a path is that of an index of shards, or of a pipeline, by its name."""
    return path.name == PIPELINE or INDEX.fullmatch(path.name) is not None


def read_weights(source: Path) -> Weights:
    """Return the content of a weights file, or of a folder of weights.

    Folders are a pipeline's root or a `vae/` folder of diffusers, shards and their index, one
    weights file, or LPIPS' two.

    Raises:
      CheckpointError, ConversionError: it cannot be read, or the folder has no weights.
    """
    if source.is_dir():
        return _read_folder(source)
    if source.name == PIPELINE and source.is_file():
        return _read_folder(source.parent)
    if INDEX.fullmatch(source.name):
        return _read_shards(source)
    if _is_part(source.name):
        raise ConversionError(
            f"{source} is one shard of a checkpoint, by its name; give their folder, with the index"
            " that says what they hold"
        )
    return _read_file(source)


def _read_file(path: Path) -> Weights:
    """Return the content of one file, with the configuration beside it if it is diffusers'."""
    tree = nvlabs_pickle.flat_modules(read_checkpoint(path, names=PICKLE_NAMES))
    if path.name.startswith(f"{DIFFUSERS}.") and (path.parent / CONFIG).is_file():
        tree = _with_config(path.parent, find_state_dict(tree))
    return Weights(path, tree, (path,))


def _read_folder(folder: Path, *, root: bool = True) -> Weights:
    """Return the weights of a folder, whichever kind it is of; `root`: it may be a pipeline's."""
    names = _names(folder)
    if PIPELINE in names and root:
        return _read_pipeline(folder)
    if what := _other_kind(folder, names):
        raise ConversionError(f"{folder} is {what}")
    bundles = list(_bundles(names))
    known = [bundle for bundle in bundles if bundle.stem in STEMS]
    others = [bundle for bundle in bundles if bundle.stem not in STEMS]
    if known and (not others or any(b.stem == DIFFUSERS or b.is_index for b in known)):
        return _read_bundle(folder, *_chosen(folder, known))
    if len(bundles) == 2 and not any(bundle.is_index for bundle in bundles):
        return _read_two(folder, bundles)
    if len(bundles) == 1:
        note = f"taken is {show(bundles[0].name)}, the one weights file of the folder"
        return _read_bundle(folder, bundles[0], (note,))
    if shards := [name for name in names if SHARD.fullmatch(name)]:
        raise ConversionError(
            f"{folder} holds shards, such as {show(shards[0])}, without the index that says what"
            " they hold, *.index.json; fetch that too"
        )
    raise ConversionError(
        f"{folder} is a folder without {CONFIG} and {DIFFUSERS}.safetensors, as diffusers writes a"
        f" vae/ folder, and without two weights files, LPIPS' backbone and heads; it has"
        f" {', '.join(show(bundle.name) for bundle in bundles[:3]) or 'none'}; give such a folder,"
        " one of shards and their index, one of one weights file, or a weights file"
    )


def _read_pipeline(folder: Path) -> Weights:
    if not (folder / AUTOENCODER).is_dir():
        raise ConversionError(
            f"{folder} is the root folder of a pipeline ({PIPELINE}) and has no {AUTOENCODER}/, the"
            " part that makes images; fetch that folder, and give it"
        )
    weights = _read_folder(folder / AUTOENCODER, root=False)
    note = f"this is the root folder of a pipeline ({PIPELINE}); taken is its {AUTOENCODER}/"
    return weights._replace(notes=(note, *weights.notes))


def _bundles(names: list[str]) -> Iterator[Bundle]:
    """Yield the sets of weights among the names of a folder's files."""
    for name in names:
        if match := INDEX.fullmatch(name):
            stem, variant = _split_variant(match["stem"])
            yield Bundle(name, stem, match["variant"] or variant, match["suffix"], True)
        elif name.lower().endswith(SUFFIXES) and not _is_part(name):
            whole, _, suffix = name.rpartition(".")
            yield Bundle(name, *_split_variant(whole), suffix.lower(), False)


def _is_part(name: str) -> bool:
    """Return whether a file is one shard of several, by its name."""
    shard = SHARD.fullmatch(name)
    return shard is not None and int(shard["count"]) > 1


def _split_variant(stem: str) -> tuple[str, str | None]:
    """Return stem and variant of a name such as "model.fp16"."""
    first, _, variant = stem.partition(".")
    return (first, variant or None) if first in STEMS else (stem, None)


def _chosen(folder: Path, bundles: list[Bundle]) -> tuple[Bundle, tuple[str, ...]]:
    """Return the set of weights that is taken, and what is to be said about that.

    One without a variant comes first, safetensors before others, one file before shards.
    """
    variants = {bundle.variant for bundle in bundles}
    if None not in variants and len(variants) > 1:
        names = ", ".join(show(bundle.name) for bundle in bundles[:6])
        raise ConversionError(
            f"{folder} holds weights in {len(variants)} variants and none without; give the file"
            f" of one: {names}"
        )
    chosen = min(
        bundles,
        key=lambda bundle: (
            bundle.variant is not None,
            STEMS.index(bundle.stem),
            f".{bundle.suffix}" not in SUFFIXES[:1],
            bundle.is_index,
        ),
    )
    if chosen.variant is None:
        return chosen, ()
    return chosen, (f"taken is the variant {show(chosen.variant)}, the one there",)


def _read_bundle(folder: Path, bundle: Bundle, notes: tuple[str, ...]) -> Weights:
    if bundle.stem == DIFFUSERS and not (folder / CONFIG).is_file():
        raise ConversionError(
            f"{folder} is a folder without {CONFIG}, which says what the tensors of {bundle.name}"
            " cannot; fetch it too, or give the weights file itself"
        )
    path = folder / bundle.name
    weights = _read_shards(path) if bundle.is_index else _read_file(path)
    return weights._replace(notes=notes)


def _read_two(folder: Path, bundles: list[Bundle]) -> Weights:
    """Return the tensors of LPIPS' two files together."""
    files = tuple(folder / bundle.name for bundle in bundles)
    first, second = (strip_module_prefix(find_state_dict(read_checkpoint(path))) for path in files)
    if both := sorted(first.keys() & second.keys()):
        raise ConversionError(
            f"{files[0]} and {files[1]} both hold {show(both[0])}; a folder of two weights files is"
            " one backbone of LPIPS and its heads"
        )
    return Weights(folder, first | second, files)


def _read_shards(index: Path) -> Weights:
    """Return the tensors of all shards that an index names.

    Every tensor must lie in the shard that the index says, and in no other.
    """
    folder, weight_map = index.parent, _weight_map(index)
    shards = list(dict.fromkeys(weight_map.values()))
    _check_shards(index, shards)
    tensors: dict[str, np.ndarray] = {}
    for name in shards:
        held = tensors_by_name(read_checkpoint(folder / name))
        for tensor, array in held.items():
            if weight_map.get(tensor) != name:
                raise ConversionError(
                    f"{folder / name} holds {show(tensor)}, which by {index.name}"
                    f" {'is in no shard' if tensor not in weight_map else 'lies in another shard'}:"
                    " files of two checkpoints are mixed; fetch all of one"
                )
            tensors[tensor] = array
    if missing := [tensor for tensor in weight_map if tensor not in tensors]:
        raise ConversionError(
            f"{folder / weight_map[missing[0]]} lacks {show(missing[0])}, which by {index.name} it"
            " holds: files of two checkpoints are mixed; fetch all of one"
        )
    tree: Tree = tensors
    if index.name.startswith(f"{DIFFUSERS}.") and (folder / CONFIG).is_file():
        tree = _with_config(folder, tensors)
    return Weights(folder, tree, tuple(folder / name for name in shards))


def _weight_map(index: Path) -> dict[str, str]:
    """Return what an index says: tensor -> name of the shard that holds it.

    Raises:
      ConversionError: it says nothing of the kind, or names something else than a file beside it.
    """
    data = _read_json(index)
    entries = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise ConversionError(
            f"{index} has no weight_map, which says in which shard each tensor lies; fetch it again"
        )
    for tensor, name in entries.items():
        plain_name = isinstance(name, str) and name.isprintable() and not set(name) & set("/\\:")
        if not plain_name or not name.endswith((".safetensors", ".bin")):
            raise ConversionError(
                f"{index} says that {show(tensor)} lies in {show(name)}; it must be a shard beside"
                " the index, such as model-00001-of-00002.safetensors"
            )
    return entries


def _check_shards(index: Path, shards: list[str]) -> None:
    """Check, before any is read, that exactly the shards of an index lie beside it."""
    if len(shards) > MAX_SHARDS:
        raise ConversionError(f"{index} names {len(shards)} shards; at most {MAX_SHARDS} are read")
    total = 0
    for name in shards:
        path = index.parent / name
        try:
            status = path.lstat()
        except OSError as error:
            raise ConversionError(
                f"{index} names the shard {show(name)}, which is not there"
                f" ({error.strerror or error}); fetch it too"
            ) from error
        if stat.S_ISLNK(status.st_mode):
            status = cached_file(path) or status
        if not stat.S_ISREG(status.st_mode):
            raise ConversionError(
                f"{path} is a link, a pipe or a folder; a shard is a plain file, or a link into the"
                " blobs of Hugging Face's cache"
            )
        total += status.st_size
    if total > DEFAULT_MAX_BYTES:
        raise CheckpointError(
            f"{index} names shards of {total} bytes together; at most {DEFAULT_MAX_BYTES} are read"
        )
    beside = [name for name in _names(index.parent) if name not in shards]
    if others := [name for name in beside if _belongs(name, index.name)]:
        raise ConversionError(
            f"{index.parent} holds {show(others[0])}, a shard that {index.name} does not name:"
            " files of two checkpoints are mixed; move it away, or fetch all of one"
        )


def _belongs(name: str, index: str) -> bool:
    """Return whether a file is a shard of the checkpoint that an index is of, by their names."""
    (bundle,) = _bundles([index])
    shard = SHARD.fullmatch(name)
    if shard is None or shard["suffix"] != bundle.suffix:
        return False
    stem, variant = _split_variant(shard["stem"])
    return (stem, shard["variant"] or variant) == (bundle.stem, bundle.variant)


def _with_config(folder: Path, tensors: dict[str, np.ndarray]) -> Tree:
    return {"config": _read_json(folder / CONFIG), "tensors": tensors}


def _read_json(path: Path) -> Json:
    try:
        return plain(read_json(path))
    except CardError as error:
        text = str(error).replace("the card", "the file").partition("; a card has a few")[0]
        raise ConversionError(f"{path}: {text}") from error


def _names(folder: Path) -> list[str]:
    """Return the names in a folder without litter, sorted.

    Raises:
      ConversionError: it cannot be read, or holds too much.
    """
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(names) >= MAX_FOLDER_ENTRIES:
                    raise ConversionError(
                        f"{folder} holds more than {MAX_FOLDER_ENTRIES} files; give the folder of"
                        " the weights alone"
                    )
                if not is_litter(entry.name):
                    names.append(entry.name)
    except OSError as error:
        raise ConversionError(f"{folder} cannot be read ({error.strerror or error})") from error
    return sorted(names)


def _other_kind(folder: Path, names: list[str]) -> str:
    """Return what a folder is that people take for one of weights, and what to do; "" for none."""
    if {"card.json", "params"} <= set(names):
        return "a folder that `jattr convert` wrote: use it as it is"
    if "snapshots" in names and "blobs" in names:
        return (
            "a repository in Hugging Face's cache; give the folder of one revision in it,"
            " snapshots/REVISION"
        )
    if "saved_model.pb" in names:
        return "a SavedModel of TensorFlow, which is not read; give weights of PyTorch"
    for inner in (folder, *(folder / name for name in names[:1] if len(names) == 1)):
        if (inner / "data.pkl").is_file():
            return _unpacked(Path(os.path.abspath(inner)))
    return ""


def _unpacked(folder: Path) -> str:
    """Return what to do with an unpacked PyTorch file."""
    if (folder / "constants.pkl").is_file() or (folder / "code").is_dir():
        return (
            "an unpacked TorchScript archive (a program with its weights); pack it again, open it"
            " with torch.jit.load in PyTorch and save torch.save(model.state_dict(), PATH)"
        )
    name, parent = shlex.quote(folder.name), shlex.quote(str(folder.parent))
    return (
        "an unpacked PyTorch file (data.pkl, data/); pack it again, without compression, and give"
        f" that file: cd {parent} && zip -0 -r {shlex.quote(folder.name + '.pt')} {name}"
    )
