"""What all tests share: JAX's settings, marks, a compilation cache a worker, tiny generators.

Fixtures that are expensive are made once a run, whichever worker comes first: `shared_folder`.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_generator import make_tiny, tiny_card_data, tiny_weights

REFERENCE = "JATTR_REFERENCE"
DEFAULT = "not slow and not corpus"
# Modules of slow tests alone that import what the extra `test` does not install.
NEEDS_EXTRAS = {
    "test_from_torch.py",
    "test_optimistix.py",
    "test_ray.py",
    "test_torch_round_trip.py",
}

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ.setdefault("JATTR_CACHE", str(Path.home() / ".cache" / "jattr-tests"))
if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # workers do not write into one folder
    os.environ["JATTR_CACHE"] = str(Path(os.environ["JATTR_CACHE"]) / worker)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["JATTR_CACHE"]
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

collect_ignore = (
    []
    if find_spec("torch")
    else ["generators/torch_autoencoder.py", "generators/torch_stylegan3.py"]
)  # doctests would import it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")


def pytest_configure(config: pytest.Config) -> None:
    """Leave out slow tests, unless `-m` is given or every argument is a file or a test."""
    arguments = [argument.partition("::")[0] for argument in config.args]
    if not config.option.markexpr and not all(Path(name).is_file() for name in arguments):
        config.option.markexpr = DEFAULT


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of cores of `-n auto`: those that the process may use, virtual ones too."""
    return len(os.sched_getaffinity(0))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name in NEEDS_EXTRAS and "not slow" in config.option.markexpr:
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the reference folder, and skip it where there is none."""
    skip = pytest.mark.skip(
        reason=f"needs the folder of public generators: set {REFERENCE} to its path"
    )
    for item in items:
        if "reference" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.reference)
        if item.get_closest_marker("reference") and not os.environ.get(REFERENCE):
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    return forbid_skip(report, item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    report = yield
    return forbid_skip(report, collector.config)


def forbid_skip(report, config: pytest.Config):
    """Return the report, in which under `--no-skips` a skipped test has failed."""
    if config.option.no_skips and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, under --no-skips: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drop compiled programs before the process runs out of memory maps."""
    from jattr.runtime import spare_memory_maps  # not before JAX has its settings

    yield
    spare_memory_maps()


@pytest.fixture(scope="module")
def _programs_of_this_module():
    """Let no other module use a program that this one has compiled."""
    import jax

    yield
    jax.clear_caches()


@pytest.fixture
def few_optimisations(_programs_of_this_module):
    """Compile with few of XLA's optimisations, which take most of the time.

    For tests of formulas: values of many small networks against an independent program, gradients
    against differences. Tests against stored reference outputs, and all that search, compile as
    users do.
    """
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A function: the run's folder of a name, which whoever comes first fills."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent  # of all workers

    def folder_of(name, fill):
        folder, done = base / f"shared-{name}", base / f"shared-{name}.done"
        with (base / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny():
    """A tiny unconditional generator: 8x8 RGB, 6 latents, random weights."""
    return make_tiny()


@pytest.fixture(scope="session")
def tiny_conditional():
    """The same with 3 classes."""
    return make_tiny(name="tiny_conditional", num_classes=3)


@pytest.fixture(scope="session")
def tiny_folders(shared_folder):
    """Folders of three tiny generators of one architecture, and a conditional one, by name."""
    from jattr.converters.layered import convert_layered

    from jattr.generators.card import parse_card
    from jattr.generators.store import save_generator

    def fill(folder):
        for name, seed, num_classes in (
            ("tiny", 0, 0),
            ("tiny_b", 1, 0),
            ("tiny_c", 2, 0),
            ("tiny_conditional", 0, 3),
        ):
            card = parse_card(tiny_card_data(name=name, num_classes=num_classes))
            weights = tiny_weights(seed=seed, num_classes=num_classes)
            save_generator(folder / name, card, convert_layered(card, weights))

    return {path.name: path for path in sorted(shared_folder("generators", fill).iterdir())}


@pytest.fixture(scope="session")
def reference():
    """The folder of public generators and their images: its tests are marked `reference`."""
    return Path(os.environ[REFERENCE])
