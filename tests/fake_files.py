"""State dicts that a format would write for an architecture.

The format's own table, read backwards.
"""

import numpy as np

from jattr.generators.family import graph_of

BACK = {  # layout -> stored tensor to the file's
    "same": lambda a: a,
    "linear": lambda a: a.T,
    "conv": lambda a: a.transpose(3, 2, 0, 1),
    "conv_transpose": lambda a: a.transpose(2, 3, 0, 1),
    "modulated": lambda a: a.transpose(3, 2, 0, 1)[None],
    "flipped_conv": lambda a: a[::-1, ::-1].transpose(3, 2, 0, 1),
    "pixel_to_map": lambda a: a[:, ::-1, ::-1].transpose(3, 0, 1, 2),
    "plus_one": lambda a: a - np.float32(1),
    "constant": lambda a: a.transpose(2, 0, 1),
    "batched_constant": lambda a: a.transpose(2, 0, 1)[None],
    "map": lambda a: a[None, None],
    "flat": lambda a: a[None, :, None, None],
    "scalar": lambda a: a,
}


def random_tensors(kind, arch, seed=0):
    """Stored tensors of an architecture by path, small numbers that a float32 sum with 1 keeps."""
    rng = np.random.default_rng(seed)
    shapes = graph_of(kind, arch)[1]
    return {
        path: np.asarray(np.round(rng.normal(size=shape) * 64) / 64, np.float32)
        for path, shape in shapes.items()
    }


def state_dict_of(format, arch, tensors):
    """The state dict that holds these tensors in the layout of a format."""
    return {
        row.source: np.asarray(row.expected, np.float32)
        if row.target is None
        else BACK[row.layout](tensors[row.target])
        for row in format.rows(arch)
    }
