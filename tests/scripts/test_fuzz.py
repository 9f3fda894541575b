"""A seeded tenth of `scripts/fuzz.py`, and checks that the fuzzer notices what it is there for."""

import importlib.util
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jattr.errors import CheckpointError, InputError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    sys.modules["fuzz"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("target", "count"), [("checkpoints", 1000), ("images", 300)])
def test_damaged_files_are_read_or_refused(target, count):
    """In a process of its own, so that memory is that of the readers and a crash is a failure."""
    command = [
        sys.executable,
        "-W",
        "error",
        SCRIPT,
        "--targets",
        target,
        "--count",
        str(count),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["cases"] == count
    assert result["failures"] == []
    assert min(result["outcomes"].get(outcome, 0) for outcome in ("read", "refused")) > count // 50


def crash(path):
    raise IndexError("not on purpose")


def unclear(path):
    raise CheckpointError("two\nlines")


def wrong_type(path):
    raise InputError("of no kind")


def hang(path):
    time.sleep(60)


def wrong_content(path):
    return {"a": np.ones(1)}


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (crash, "IndexError"),
        (unclear, "several lines"),
        (wrong_type, "InputError"),
        (hang, "took over"),
        (wrong_content, "past the checksums"),
    ],
)
def test_a_bad_reader_is_noticed(read, reason, fuzz, monkeypatch):
    monkeypatch.setattr(fuzz, "MAX_SECONDS", 0.2)
    case = fuzz.Case(b"", "", {"a": np.zeros(1)})
    outcome, why = fuzz.judge(case, read, Path("case"))
    assert outcome == "failed"
    assert reason in why


def test_imports_and_memory_are_noticed(fuzz, monkeypatch, tmp_path):
    def importing(path):
        sys.modules["fuzz_canary"] = fuzz
        return {}

    monkeypatch.setattr(fuzz, "warm_up", lambda read, path: None)
    monkeypatch.setitem(fuzz.TARGETS, "bad", (lambda rng: fuzz.Case(b"x", "", None), importing))
    tally = fuzz.run_target("bad", range(1), 0, tmp_path / "case", False)
    del sys.modules["fuzz_canary"]
    assert "imported" in tally.failures[0]["reason"]
    monkeypatch.setattr(fuzz, "idle", lambda: 0)
    monkeypatch.setattr(fuzz, "peak", lambda: 65 << 20)
    monkeypatch.setitem(
        fuzz.TARGETS, "bad", (lambda rng: fuzz.Case(b"x", "", None), lambda path: {})
    )
    tally = fuzz.run_target("bad", range(1), 0, tmp_path / "case", False)
    assert "above idle" in tally.failures[0]["reason"]


def test_cases_depend_on_the_seed_and_their_number_alone(fuzz):

    cases = [fuzz.checkpoint_case(random.Random("checkpoints:0:5")) for _ in range(2)]
    assert cases[0].content == cases[1].content
