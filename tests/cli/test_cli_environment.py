"""The command in the world: environment, standard streams, signals, full disks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jattr.cli.streams import note, say
from jattr.errors import OutputError
from jattr.images import read_image
from jattr.verification.result_folder import check_result_folder

pytestmark = pytest.mark.slow  # each starts a process
# what a machine without such devices is told; of the first JAX itself says nothing
NO_DEVICE = ("cuda", "gpu", "tpu", "nonsense", "cpu,nonsense")
JAX = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_DISABLE_JIT": "1",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_CHECK_TRACER_LEAKS": "1",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_ENABLE_CHECKS": "1",
}


def jattr(*args, env=None, **options):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "jattr", *map(str, args)],
        env=os.environ | (env or {}),
        check=False,
        text=True,
        **{"capture_output": True} | options,
    )


def errors(said):
    """What was said on standard error, without how far the work was."""
    return [line for line in said.splitlines() if " searches (" not in line]


def attribute(original, tiny_folders, out):
    return (
        "attribute", original / "tiny.png", original / "noise.png", "--candidates",
        tiny_folders["tiny"], tiny_folders["tiny_b"], "--restarts", 1, "--lanes", 2, "--out", out,
    )  # fmt: skip


def test_settings_of_jax_change_no_result(original, tiny_folders, tmp_path):
    done = jattr(*attribute(original, tiny_folders, tmp_path / "out"), env=JAX)
    assert (done.returncode, errors(done.stderr)) == (0, [])
    found, expected = (
        json.loads((folder / "result.json").read_text())
        for folder in (tmp_path / "out", original / "result")
    )
    assert found["pictures"] == expected["pictures"]
    assert found["latents"] == expected["latents"]
    done = jattr(
        "verify", tmp_path / "out", "--candidates", tiny_folders["tiny"], tiny_folders["tiny_b"],
        env=JAX,
    )  # fmt: skip
    # the image of nobody needs a search; nothing differs
    assert (done.returncode, "DIFFERS" in done.stdout) == (4, False), done.stderr


def test_a_seed_makes_the_same_images(ok, tiny_folders, tmp_path):
    ok("generate", tiny_folders["tiny"], "--n", 2, "--seed", 1, "--out", tmp_path / "plain")
    done = jattr(
        "generate", tiny_folders["tiny"], "--n", 2, "--seed", 1, "--out", tmp_path / "other",
        env=JAX,
    )  # fmt: skip
    assert (done.returncode, errors(done.stderr)) == (0, [])
    for name in ("00000.png", "00001.png"):
        np.testing.assert_array_equal(
            read_image(tmp_path / "plain" / name), read_image(tmp_path / "other" / name)
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_ENABLE_X64", "maybe"), ("JAX_DEFAULT_PRNG_IMPL", "dice"), ("JAX_PLATFORMS", "gpu")],
)
def test_a_setting_that_cannot_be_is_named(tiny_folders, tmp_path, name, value):
    done = jattr(
        "generate", tiny_folders["tiny"], "--n", 1, "--out", tmp_path / "o", env={name: value}
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert name in done.stderr
    assert "tiny" not in done.stderr


@pytest.mark.parametrize("platforms", NO_DEVICE)
def test_platforms_that_are_not_there_are_named(tiny_folders, tmp_path, platforms):
    done = jattr(
        "generate", tiny_folders["tiny"], "--n", 1, "--out", tmp_path / "o",
        env={"JAX_PLATFORMS": platforms},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"JAX_PLATFORMS (jax_platforms) is '{platforms}'" in done.stderr
    assert "devices here: cpu" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not os.listdir(tmp_path)


def test_the_option_goes_before_the_environment(tiny_folders, tmp_path):
    for number, env in enumerate(
        ({"JAX_PLATFORMS": "cuda"}, {"JAX_PLATFORM_NAME": "gpu"}, {"JAX_DEFAULT_DEVICE": "gpu"})
    ):
        args = ("generate", tiny_folders["tiny"], "--n", 1, "--out", tmp_path / str(number))
        assert jattr(*args, "--device", "cpu", env=env | {"XLA_FLAGS": ""}).returncode == 0
        refused = jattr(*args[:-1], tmp_path / "refused", env={"JAX_PLATFORMS": ""} | env)
        assert refused.returncode == 2
        assert next(iter(env)) in refused.stderr


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "module://nowhere", "qtagg", "dice"]
)
def test_the_backend_of_matplotlib_is_ignored_and_kept(backend):
    code = (
        "import os, jattr.report.plotting, matplotlib; print(os.environ['MPLBACKEND']);"
        "from jattr.report.figures import figure; print(len(figure({'a': 1.0}, {}, None)) > 1000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": backend},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{backend}\nTrue\n"


def test_figures_are_the_same_in_every_style():
    changes = (
        "",
        "import matplotlib; matplotlib.rcParams.update({'axes.facecolor': 'red',"
        " 'text.usetex': True, 'axes.grid': True, 'lines.linewidth': 9});",
    )
    code = "from jattr.report.figures import figure; print(figure({'a': 1.0}, {}, None).hex())"
    plain, styled = (
        subprocess.run(
            [sys.executable, "-c", change + code], capture_output=True, text=True, check=True
        ).stdout
        for change in changes
    )
    assert plain == styled


def test_closed_streams_are_no_error(original, tiny_folders, tmp_path):
    args = [str(arg) for arg in attribute(original, tiny_folders, tmp_path / "out")]
    for number, closed in enumerate((">&-", "2>&-", ">&- 2>&- <&-")):
        args[-1] = str(tmp_path / f"out{number}")
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "jattr", *args],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, errors(done.stderr)) == (0, [])
        check_result_folder(tmp_path / f"out{number}")
        assert (done.stdout == "") == (">&-" in closed.replace("2>&-", ""))
    # an error that nobody reads
    args[-1] = args[-1] + "/../out0"
    with_closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "jattr", *args]
    done = subprocess.run(with_closed, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_streams(original, tiny_folders, tmp_path):
    with open("/dev/full", "w") as full:
        done = jattr(
            *attribute(original, tiny_folders, tmp_path / "out"),
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
        assert done.returncode == 2
        assert len(errors(done.stderr)) == 1
        assert "standard output: No space left on device" in done.stderr
        check_result_folder(tmp_path / "out")
        for args in (["--help"], ["--version"], ["attribute", "--help"]):
            assert jattr(*args, capture_output=False, stdout=full, stderr=full).returncode == 2
        done = jattr(
            *attribute(original, tiny_folders, tmp_path / "other"),
            capture_output=False,
            stdout=subprocess.PIPE,
            stderr=full,
        )
        assert done.returncode == 0
        check_result_folder(tmp_path / "other")


def start_and_stop(args, folder, *signals, shell=""):
    """Run the command until its hidden folder is there, send signals, and return the exit code."""
    process = subprocess.Popen(
        ["sh", "-c", f'{shell} exec "$@"', "sh", sys.executable, "-m", "jattr", *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not [path for path in folder.rglob(".*.tmp") if path.is_dir()]:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.02)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], 130),
    ],
)
def test_a_signal_leaves_nothing_behind(original, tiny_folders, tmp_path, signals, code):
    out = tmp_path / "new" / "out"
    found, said = start_and_stop(attribute(original, tiny_folders, out), tmp_path, *signals)
    assert found == code, said
    assert len(errors(said)) <= 1
    assert not [path for path in tmp_path.rglob("*") if path.name != "new"]


def test_what_was_ignored_stays_ignored(original, tiny_folders, tmp_path):
    args = attribute(original, tiny_folders, tmp_path / "out")
    code, said = start_and_stop(args, tmp_path, signal.SIGHUP, shell="trap '' HUP;")
    assert (code, errors(said)) == (0, [])
    check_result_folder(tmp_path / "out")


def test_a_signal_while_an_old_folder_is_replaced_waits(tmp_path):
    """Every moment of a replacement, tried one after the other, leaves one of both, whole."""
    code = """
import signal, sys
from pathlib import Path
from jattr.cli import signals
from jattr.folders import new_folder
from jattr.folders.kinds import FolderKind

out, moment = Path(sys.argv[1]), int(sys.argv[2])
signals.handle_signals()
count = 0

def trace(frame, event, arg):
    global count
    if "folders" in frame.f_code.co_filename:
        count += 1
        if count == moment:
            signal.raise_signal(signal.SIGTERM)
    return trace

kind = FolderKind("a folder", lambda folder: None)
try:
    with new_folder(out, kind=kind, overwrite=True) as work:
        (work / "new").write_text("new")
        sys.settrace(trace)
finally:
    sys.settrace(None)
    print(count)
"""
    last = 10_000
    moments = [last, *range(1, 260, 37)]
    for moment in moments:
        out = tmp_path / str(moment) / "out"
        out.mkdir(parents=True)
        (out / "old").write_text("old")
        done = subprocess.run(
            [sys.executable, "-c", code, str(out), str(moment)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert os.listdir(out.parent) == ["out"], (moment, done.stderr)
        assert os.listdir(out) in (["old"], ["new"])


def test_a_full_disk_leaves_nothing_behind(original, tiny_folders, tmp_path):
    for args in (
        attribute(original, tiny_folders, tmp_path / "out"),
        ("generate", tiny_folders["tiny"], "--n", 64, "--out", tmp_path / "out"),
        ("calibrate", tiny_folders["tiny"], tiny_folders["tiny_b"], "--own", 80, "--others", 8,
         "--restarts", 1, "--out", tmp_path / "out"),
    ):  # fmt: skip
        command = [sys.executable, "-m", "jattr", *map(str, args)]
        done = subprocess.run(  # files of at most 1,024 bytes
            ["sh", "-c", 'ulimit -f 2; exec "$@"', "sh", *command],
            env=os.environ | {"JATTR_CACHE": "off"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "cannot write" in done.stderr
        assert not os.listdir(tmp_path)


def test_streams_of_a_process_without_any(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    note("nobody reads this")  # and not on standard output
    say("text")
    assert capsys.readouterr().out == "text\n"
    monkeypatch.setattr(sys, "stdout", None)
    say("text")  # nor is this an error


def test_output_that_cannot_be_written_is_an_output_error(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OutputError, match="No space left"):
            say("text" * 10_000)
