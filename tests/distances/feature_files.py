"""Feature networks of random weights, and the files that the public programs would write of
them.
"""

import math

import numpy as np
from fake_files import state_dict_of
from jattr.converters.features import FORMATS, Architecture

from jattr.converters import discriminators
from jattr.distances.feature_folder import make_card
from jattr.distances.networks import NETWORKS, graph_of, make_network

BY_NAME = {format.name: format for format in FORMATS}


def stored_tensors(architecture, variant=None, seed=0):
    """Stored tensors by path, of sizes that keep activations near 1."""
    rng = np.random.default_rng(seed)
    equalised = architecture == discriminators.NAME  # kernels are scaled when they are used

    def tensor(path, shape):
        array = rng.standard_normal(shape).astype(np.float32)
        if equalised:
            return array if path.endswith("kernel") else np.float32(0.1) * array
        if path.endswith("kernel"):
            return array * np.float32(math.sqrt(2 / math.prod(shape[:-1])))
        if path.endswith("var") or path.startswith("heads"):
            return np.float32(0.5) + np.abs(array)
        return np.float32(path.endswith("scale")) + np.float32(0.1) * array

    variant = variant or NETWORKS[architecture].variants[0]
    return {path: tensor(path, shape) for path, shape in graph_of(architecture, variant)[1].items()}


def random_network(architecture, variant=None, seed=0, name="random"):
    """A feature network of random weights."""
    variant = variant or NETWORKS[architecture].variants[0]
    card = make_card(name=name, architecture=architecture, variant=variant, source={})
    return make_network(card, stored_tensors(architecture, variant, seed))


def file_tensors(architecture, variant=None, seed=0, program="nvlabs"):
    """The tensors of the file, or of both files, that hold a random network, by their names
    there.
    """
    variant = variant or NETWORKS[architecture].variants[0]
    arch = Architecture(architecture, variant)
    if architecture == discriminators.NAME:
        arch = discriminators.Architecture(architecture, variant, program)
    return state_dict_of(
        BY_NAME[architecture].table, arch, stored_tensors(architecture, variant, seed)
    )
