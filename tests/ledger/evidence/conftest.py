"""Logs of a tiny generator's uses: one that tests share, and one of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded_logs import Owner, owner
from tiny_world import World, log_uses


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with owner(tmp_path_factory.mktemp("world")) as mine:
        uses = log_uses(mine)
        yield World(mine, uses, mine.publish())


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Owner]:
    with owner(tmp_path) as found:
        yield found
