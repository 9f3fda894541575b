"""The tiny generator that most tests of the search invert, and images of it."""

import pytest
from toys import make_toy, own_images


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.fixture(scope="module")
def own(toy):
    return own_images(toy, 4)
