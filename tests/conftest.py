"""What all tests share: JAX's settings, a tiny generator made on the spot, and the reference
folder.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_generator import make_tiny, tiny_card_data, tiny_weights

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ.setdefault("JATTR_CACHE", str(Path.home() / ".cache" / "jattr-tests"))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.environ["JATTR_CACHE"])
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

REFERENCE = "JATTR_REFERENCE"
collect_ignore = (
    []
    if find_spec("torch")
    else ["generators/torch_autoencoder.py", "generators/torch_stylegan3.py"]
)  # doctests would import it


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drop compiled programs before the process runs out of memory maps."""
    from jattr.runtime import spare_memory_maps  # not before JAX has its settings

    yield
    spare_memory_maps()


@pytest.fixture(scope="session")
def tiny():
    """A tiny unconditional generator: 8x8 RGB, 6 latents, random weights."""
    return make_tiny()


@pytest.fixture(scope="session")
def tiny_conditional():
    """The same with 3 classes."""
    return make_tiny(name="tiny_conditional", num_classes=3)


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory):
    """Generator folders of three tiny generators of one architecture, and a conditional one, by
    name.
    """
    from jattr.converters.layered import convert_layered

    from jattr.generators.card import parse_card
    from jattr.generators.store import save_generator

    folder = tmp_path_factory.mktemp("generators")
    for name, seed, num_classes in (
        ("tiny", 0, 0),
        ("tiny_b", 1, 0),
        ("tiny_c", 2, 0),
        ("tiny_conditional", 0, 3),
    ):
        card = parse_card(tiny_card_data(name=name, num_classes=num_classes))
        save_generator(
            folder / name,
            card,
            convert_layered(card, tiny_weights(seed=seed, num_classes=num_classes)),
        )
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture(scope="session")
def reference():
    """The folder of public generators and their images.

    Tests that need it are skipped without it.
    """
    if not os.environ.get(REFERENCE):
        pytest.skip(f"needs the folder of public generators: set {REFERENCE} to its path")
    return Path(os.environ[REFERENCE])
