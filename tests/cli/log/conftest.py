"""A log in its folder, and images logged there."""

import pytest
from log_folders import ORIGIN


@pytest.fixture
def folder(tmp_path, ok):
    ok("log", "init", tmp_path / "log", "--origin", ORIGIN)
    return tmp_path / "log"


@pytest.fixture
def made(folder, tmp_path, ok, tiny_folders):
    """Two images of `tiny`, logged."""
    ok(
        "log",
        "generate",
        folder,
        tiny_folders["tiny"],
        "--n",
        2,
        "--seed",
        1,
        "--recipient",
        "Ada",
        "--out",
        tmp_path / "out",
    )
    return tmp_path / "out"
