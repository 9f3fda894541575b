"""The compilation cache of the command line, the choice of the device, and progress."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jattr
from jattr import runtime
from jattr.cli import options
from jattr.cli.options import Progress, whole_number

ROOT = Path(jattr.__file__).resolve().parents[1]
REPORT = (
    "import jax; from jattr.cli.device import start_jax; start_jax(None); jax.jit(lambda x: x +"
    " 1)(1.0)\n"
    "print(jax.config.jax_compilation_cache_dir)"
)


def start(value, tmp_path):
    """Where a new process keeps compiled programs, after it compiled one."""
    environment = {
        key: os.environ[key] for key in os.environ if not key.startswith(("JAX_", "JATTR_"))
    }
    environment |= {
        "XDG_CACHE_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
        "JAX_PLATFORMS": "cpu",
    }
    environment |= {"JATTR_CACHE": value} if value else {}
    command = [sys.executable, "-W", "error", "-c", REPORT]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.slow
def test_programs_are_kept_in_the_users_cache(tmp_path):
    place = Path(start("", tmp_path))
    assert place.is_relative_to(tmp_path)
    assert len(list(place.iterdir())) > 0
    assert place.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_the_variable_names_another_folder_or_none(tmp_path):
    assert start(str(tmp_path / "mine"), tmp_path) == str(tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir())
    assert start("off", tmp_path) == "None"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    assert start(str(tmp_path / "file" / "cache"), tmp_path) == "None"


def test_a_cache_that_cannot_be_made_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("JATTR_CACHE", "/proc/none")
    assert runtime.enable_compilation_cache() is None


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "11", "1e3"])
def test_numbers_out_of_range_are_no_numbers(text):
    with pytest.raises(options.argparse.ArgumentTypeError, match="from 0 to 10"):
        whole_number(0, 10)(text)
    assert whole_number(0, 10)("10") == 10


def test_progress_is_silent_for_two_seconds_and_then_said_now_and_then(monkeypatch):
    now, err = [0.0], io.StringIO()
    monkeypatch.setattr(options.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", err)
    progress = Progress(100, "images")
    for now[0] in (0.5, 1.9, 2.1, 2.5, 4.2):
        progress.advance(10)
    assert err.getvalue() == "jattr: 30 of 100 images\njattr: 50 of 100 images\n"
