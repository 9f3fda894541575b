"""A process that is killed has released no image that the log does not hold.

scripts/kill_recording.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_ten_kills() -> None:
    command = [
        sys.executable,
        str(SCRIPTS / "kill_recording.py"),
        "--kills",
        "10",
        "--fresh",
        "5",
        "--seed",
        "7",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 10
    assert found["released"] > 0
    assert (found["unlogged"], found["shut"], found["misreported"]) == (0, 0, 0)
