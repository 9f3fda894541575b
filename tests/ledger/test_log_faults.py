"""A log whose process is killed and whose disk fails: a sample of what the scripts do at length."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *args], capture_output=True, text=True, check=False
    )


def test_killed_at_random_moments() -> None:
    done = run("kill_log.py", "--kills", "10", "--fresh", "5", "--longest", "0.6")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 10
    assert found["acknowledged"] > 0
    assert (found["lost"], found["inconsistent"], found["incomplete"]) == (0, 0, 0)


def test_system_calls_that_fail() -> None:
    done = run("fault_log.py", "--every", "27")
    if done.returncode == 2:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cases"] >= 10
    assert len(found["by_call"]) >= 5
    assert {found[name] for name in ("lost", "inconsistent", "incomplete", "stuck", "unclear")} == {
        0
    }
