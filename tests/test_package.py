"""The public face: what `import jattr` gives, and what it costs."""

import subprocess
import sys
from pathlib import Path

import pytest

import jattr


def test_importing_jattr_imports_neither_jax_nor_numpy():
    script = (
        "import sys, jattr; print(sorted({'jax', 'numpy', 'flax', 'PIL'} & set(sys.modules)),"
        " dir(jattr))"
    )
    root = Path(jattr.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == f"[] {sorted(jattr.__all__)}"


@pytest.mark.parametrize("name", jattr.__all__)
def test_every_public_name_is_there(name):
    assert getattr(jattr, name) is getattr(jattr, name)
    assert name in dir(jattr)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="load_generator"):
        _ = jattr.load_generators


def test_the_version_is_that_of_the_project():
    text = (Path(jattr.__file__).resolve().parents[1] / "pyproject.toml").read_text(
        encoding="utf-8"
    )
    assert f'version = "{jattr.__version__}"' in text
