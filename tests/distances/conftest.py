"""What the tests of distances share.

Images, and the feature folders of the reference folder's recipe.
"""

import functools

import numpy as np
import pytest
from jattr.converters.convert import convert
from recipe import write_source

from jattr.distances.feature_folder import load_features

GOLDEN = ("inception_v3", "lpips_alex", "lpips_vgg", "lpips_squeeze")


@pytest.fixture(scope="session")
def images():
    """Random images [4, 36, 33, 3], of all values in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (4, 36, 33, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def golden_network(reference, shared_folder):
    """Returns the network of a golden folder, converted and loaded as a user would."""

    @functools.cache
    def get(name):
        def fill(folder):
            source = write_source(reference / "golden" / name, folder / "source")
            (folder / "digest").write_text(convert(source, folder / "features").digest)

        folder = shared_folder(name, fill)
        network = load_features(folder / "features")
        assert network.digest == (folder / "digest").read_text()
        return network

    return get
