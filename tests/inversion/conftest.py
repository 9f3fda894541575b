"""The tiny generator that most tests of the search invert, and pictures of it."""

import pytest
from toys import make_toy, own_pictures


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.fixture(scope="module")
def own(toy):
    return own_pictures(toy, 4)
