"""Stored tensors as an Orbax checkpoint that can be checked file by file before any array is read.

Orbax writes one folder a tensor, `layers.0.kernel/`, with `.zarray` (zarr version 2, JSON) and one
chunk. Without compression, the chunk has exactly the tensor's bytes: what is read can never be
larger than what lies on the disk.
Formats: https://orbax.readthedocs.io, https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
"""

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jattr.errors import CardError, GeneratorError, OutputError, show
from jattr.folders.litter import cached_file, is_litter
from jattr.generators.card_json import plain, read_json
from jattr.generators.stored import Params, as_tree

MAX_PARAMS_BYTES = 8 << 30  # of all tensors together
MAX_TENSORS = 10_000
MAX_AXES = 8
COMMITTED = "commit_success.txt"
ORBAX_FILES = ("_METADATA", "_CHECKPOINT_METADATA", COMMITTED)
MAX_ORBAX_FILE = 16 << 20  # bytes of each of them
FLOAT32 = "<f4"  # as zarr writes it
FIXED = {"compressor": None, "filters": None, "order": "C", "zarr_format": 2, "fill_value": None}
CONVERT_AGAIN = "convert the generator again"


def write_params(folder: Path, params: Params) -> None:
    """Write stored tensors, nested dicts of float32 arrays, as a new Orbax checkpoint.

    Raises:
      OutputError: the disk is full, or cannot be written for another reason.
    """
    try:
        _checkpointer().save(folder, args=_orbax().args.PyTreeSave(dict(params)))
        # Orbax wrote there where on this machine the folder was made
        if (folder / COMMITTED).is_file():
            (folder / COMMITTED).write_text("Checkpoint commit was successful\n", encoding="ascii")
    except Exception as error:  # tensorstore reports a full disk in several types
        raise OutputError(
            f"cannot write the tensors: {_reason(error)}; choose another place or make room"
        ) from error


def read_params(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the tensors whose shapes `read_shapes` returned, as nested dicts of float32 arrays.

    Raises:
      GeneratorError: Orbax cannot read them.
    """
    orbax = _orbax()
    restore_args = as_tree(
        {path: orbax.RestoreArgs(restore_type=np.ndarray, dtype=np.float32) for path in shapes}
    )
    item = as_tree({path: np.empty((), np.float32) for path in shapes})
    try:
        tree = _checkpointer().restore(
            folder, args=orbax.args.PyTreeRestore(item=item, restore_args=restore_args)
        )
    except Exception as error:  # a damaged checkpoint raises whatever it meets first
        raise GeneratorError(
            f"the tensors cannot be read by Orbax ({_reason(error)}); {CONVERT_AGAIN}"
        ) from error
    return tree


def read_shapes(folder: Path, *, as_written: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the stored tensors by path, after checking every file of the folder.

    Args:
      folder: the checkpoint.
      as_written: nothing but what `write_params` writes may lie in it. Else what operating systems
        leave in folders is passed over, and files may be links of Hugging Face's cache
        (`jattr.folders.litter`).

    Raises:
      GeneratorError: a file that Orbax does not write here, another link or a pipe, a tensor that
        is not float32 or has not the bytes its shape says, too many or too large.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    total = 0
    for entry in _entries(folder, as_written):
        if entry.name in ORBAX_FILES:
            _check_file(entry, MAX_ORBAX_FILE, as_written)
            continue
        if not entry.is_dir(follow_symlinks=False):
            raise GeneratorError(
                f"{folder} holds {show(entry.name)}, which is no stored tensor; {CONVERT_AGAIN}"
            )
        shape = _tensor_shape(Path(entry.path), as_written)
        total += 4 * math.prod(shape)
        if total > MAX_PARAMS_BYTES:
            raise GeneratorError(
                f"{folder} holds more than {MAX_PARAMS_BYTES} bytes of tensors; no more are read"
            )
        shapes[entry.name.replace(".", "/")] = shape
    return dict(sorted(shapes.items()))


def _tensor_shape(folder: Path, as_written: bool) -> tuple[int, ...]:
    """Return the shape of the tensor in a folder of `.zarray` and one chunk of exactly its size."""
    entries = {entry.name: entry for entry in _entries(folder, as_written)}
    if ".zarray" not in entries or len(entries) != 2:
        raise GeneratorError(
            f"{folder} holds {len(entries)} files; a stored tensor has .zarray and one chunk;"
            f" {CONVERT_AGAIN}"
        )
    header, (chunk,) = entries.pop(".zarray"), entries.values()
    shape = _header_shape(folder, _read_header(header, as_written))
    name = ".".join("0" * len(shape)) or "0"
    if chunk.name != name:
        raise GeneratorError(
            f"{folder} holds {show(chunk.name)} where the chunk {name} should be; {CONVERT_AGAIN}"
        )
    size = 4 * math.prod(shape)
    if _check_file(chunk, size, as_written) != size:
        raise GeneratorError(
            f"{chunk.path} has not the {size} bytes of float32 {list(shape)}; {CONVERT_AGAIN}"
        )
    return shape


def _read_header(entry: os.DirEntry[str], as_written: bool) -> Any:
    _check_file(entry, 1 << 16, as_written)
    try:
        return plain(read_json(entry.path))
    except CardError as error:
        raise GeneratorError(f"{entry.path}: {error}") from error


def _header_shape(folder: Path, header: Any) -> tuple[int, ...]:
    """Return the shape in a `.zarray`, which must describe one uncompressed float32 chunk."""
    header = header if isinstance(header, dict) else {}
    wrong = [name for name, value in FIXED.items() if name not in header or header[name] != value]
    if wrong:
        raise GeneratorError(
            f"{folder}/.zarray has {wrong[0]} {show(header.get(wrong[0]))}; legal is"
            f" {show(FIXED[wrong[0]])}; {CONVERT_AGAIN}"
        )
    if header.get("dtype") != FLOAT32:
        raise GeneratorError(
            f"{folder} is of dtype {show(header.get('dtype'))}; stored tensors are float32;"
            f" {CONVERT_AGAIN}"
        )
    shape = header.get("shape")
    sides = (
        isinstance(shape, list)
        and len(shape) <= MAX_AXES
        and all(type(n) is int and 0 < n < 1 << 40 for n in shape)
    )
    if not sides or header.get("chunks") != shape or header.get("dimension_separator", ".") != ".":
        raise GeneratorError(
            f"{folder}/.zarray has shape {show(shape)} and chunks {show(header.get('chunks'))};"
            f" legal are up to {MAX_AXES} positive numbers, and chunks equal to the shape;"
            f" {CONVERT_AGAIN}"
        )
    return tuple(header["shape"])


def _check_file(entry: os.DirEntry[str], max_bytes: int, as_written: bool) -> int:
    """Return the size of a plain file of at most `max_bytes`, or of one that a cache links to."""
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode) and not as_written:
        status = cached_file(entry.path) or status
    if not stat.S_ISREG(status.st_mode):
        raise GeneratorError(
            f"{entry.path} is a link, a pipe or a folder; a plain file is expected, or a link into"
            f" the blobs of Hugging Face's cache; {CONVERT_AGAIN}"
        )
    if status.st_size > max_bytes:
        raise GeneratorError(
            f"{entry.path} has {status.st_size} bytes; at most {max_bytes} are expected;"
            f" {CONVERT_AGAIN}"
        )
    return status.st_size


def _entries(folder: Path, as_written: bool) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name, without litter unless all is to be as written."""
    entries = []
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise GeneratorError(f"{folder} is not a folder; {CONVERT_AGAIN}")
        with os.scandir(folder) as scan:
            for entry in scan:
                entries.append(entry)
                if len(entries) > MAX_TENSORS:
                    raise GeneratorError(
                        f"{folder} holds more than {MAX_TENSORS} entries; no more are read"
                    )
    except OSError as error:
        raise GeneratorError(
            f"{folder} cannot be read ({error.strerror or error}); {CONVERT_AGAIN}"
        ) from error
    kept = [entry for entry in entries if as_written or not is_litter(entry.name)]
    return sorted(kept, key=lambda entry: entry.name)


def _reason(error: Exception) -> str:
    return (
        str(error).strip().splitlines()[0][:300].rstrip(":")
        if str(error).strip()
        else type(error).__name__
    )


def _orbax() -> Any:
    import orbax.checkpoint as orbax  # takes 0.3 s

    return orbax


def _checkpointer() -> Any:
    orbax = _orbax()
    return orbax.Checkpointer(
        orbax.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False, use_compression=False)
    )
