"""Feature networks' weights of the reference folder's recipe, from the names and shapes that are
stored there.
"""

import json
import math
import zlib

import numpy as np
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from safetensors.numpy import save_file


def recipe_tensor(name, shape):
    """Return the tensor of a name: golden/README.md has the recipe."""
    array = (
        np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
        .standard_normal(shape)
        .astype(np.float32)
    )
    if name.endswith("running_var"):
        return np.float32(0.5) + np.abs(array)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if len(shape) >= 2:
        return (array * np.float32(math.sqrt(2 / math.prod(shape[1:])))).astype(np.float32)
    return (
        1 + np.float32(0.1) * array if name.endswith("weight") else np.float32(0.1) * array
    ).astype(np.float32)


def recipe_tensors(folder, *, skip="classifier."):
    """Return the tensors of a golden folder's backbone, without the large ones that nobody
    reads.
    """
    shapes = json.loads((folder / "state_dict_shapes.json").read_text())
    return {
        name: recipe_tensor(name, tuple(shape))
        for name, shape in shapes.items()
        if not name.startswith(skip)
    }


def write_source(golden, folder):
    """Write what `jattr convert` takes for a golden folder, and return its path.

    A file, or a folder of two.
    """
    folder.mkdir()
    save_file(recipe_tensors(golden), folder / "backbone.safetensors")
    if not (golden / "lin.pth").is_file():
        return folder / "backbone.safetensors"
    (folder / "lin.pth").write_bytes((golden / "lin.pth").read_bytes())
    return folder


def heads(golden):
    """Return the heads of a golden folder of LPIPS, [C] each."""
    tensors = find_state_dict(read_checkpoint(golden / "lin.pth"))
    return [tensors[f"lin{i}.model.1.weight"].reshape(-1) for i in range(len(tensors))]
