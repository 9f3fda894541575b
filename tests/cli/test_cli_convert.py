"""`jattr convert` and what all subcommands share: exit codes, one line on stderr, light imports."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from tiny_generator import tiny_card_data, tiny_weights

import jattr
from jattr.cli import main as main_module
from jattr.cli.main import COMMANDS, main
from jattr.errors import OutputError, VerificationError
from jattr.generators import store

ROOT = Path(jattr.__file__).resolve().parents[1]


@pytest.fixture
def card(tmp_path):
    """A card with its weights beside it."""
    save_file(tiny_weights(), tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.json").write_text(
        json.dumps(tiny_card_data() | {"weights": "tiny.safetensors"})
    )
    return tmp_path / "tiny.json"


def run(*args):
    return main([str(arg) for arg in args])


def start(*args, stdout=subprocess.PIPE):
    """Run Python as a program of its own, from the source tree."""
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120
    )


def test_convert_writes_a_generator_and_says_so(card, tmp_path, capsys, tiny):
    assert run("convert", card, tmp_path / "out") == 0
    out, err = capsys.readouterr()
    assert out.startswith("tiny: layered, images 8x8x3, latent 6 normal, written to ")
    assert tiny.digest in out
    assert err == ""


def test_json_is_one_object(card, tmp_path, capsys, tiny):
    assert (
        run("convert", tmp_path / "tiny.safetensors", tmp_path / "out", "--card", card, "--json")
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert (result["name"], result["digest"], result["image_shape"]) == (
        "tiny",
        tiny.digest,
        [8, 8, 3],
    )


def test_what_was_chosen_is_said(tmp_path, capsys, card):
    """Of two networks in a file the averaged one is taken, or the one of --key."""
    file = tmp_path / "both.safetensors"
    save_file({f"{part}.{n}": a for part in ("g", "ema") for n, a in tiny_weights().items()}, file)
    assert run("convert", file, tmp_path / "a", "--card", card) == 0
    note = 'taken are the averaged weights under "ema"; there are also "g" (--key)'
    assert capsys.readouterr().out.splitlines()[2:] == [note]
    assert run("convert", file, tmp_path / "b", "--card", card, "--json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [note]
    assert run("convert", file, tmp_path / "c", "--card", card, "--key", "g", "--json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []
    assert run("convert", file, tmp_path / "d", "--card", card, "--key", "x") == 2
    assert "nothing in the weights under 'x'" in capsys.readouterr().err


def test_bad_input_is_exit_code_2_and_one_message(card, tmp_path, capsys):
    (tmp_path / "tiny.safetensors").write_bytes(b"\x80\x02cposix\nsystem\n.")
    assert run("convert", card, tmp_path / "out") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jattr: error: ")
    assert err.count("\n") == 1
    assert "posix.system" in err
    assert sorted(os.listdir(tmp_path)) == ["tiny.json", "tiny.safetensors"]


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("nothing",),
        ("convert",),
        ("convert", "a", "b", "--card", "c", "--arch", "d"),
        ("convert", "a", "b", "--unknown"),
        ("generate", "g", "--out", "o"),
        ("generate", "g", "--out", "o", "--n", "x"),
        ("generate", "g", "--out", "o", "--n", "1", "--latents", "f"),
        ("generate", "g", "--out", "o", "--n", "1", "--device", "abacus"),
    ],
)
def test_wrong_arguments_are_exit_code_2_and_one_line(args, capsys):
    assert run(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "--help" in err


def test_an_output_that_exists_needs_overwrite(card, tmp_path, capsys):
    assert run("convert", card, tmp_path / "out") == 0
    assert run("convert", card, tmp_path / "out") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("convert", card, tmp_path / "out", "--overwrite") == 0


def test_a_full_disk_is_exit_code_2_and_leaves_nothing(card, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OutputError(
            "cannot write the tensors: No space left on device; choose another place or make room"
        )

    monkeypatch.setattr(store, "write_params", full)
    assert run("convert", card, tmp_path / "out") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["tiny.json", "tiny.safetensors"]


@pytest.mark.slow
def test_a_disk_that_takes_no_more_bytes_is_exit_code_2_and_leaves_nothing(card, tmp_path):
    script = (
        "import resource, sys; from jattr.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.exit(main(sys.argv[1:]))"
    )
    done = start("-c", script, "convert", str(card), str(tmp_path / "out"))
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["tiny.json", "tiny.safetensors"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (VerificationError("digest differs"), 3, "check failed: digest differs"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("oops"), 1, "internal error: RuntimeError: oops"),
    ],
)
def test_errors_become_exit_codes(error, code, words, monkeypatch, capsys):
    def fail(_):
        raise error

    monkeypatch.setattr("jattr.cli.convert.run", fail)
    assert run("convert", "a", "b") == code
    assert words in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error_of_ours(card, tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = start("-m", "jattr", "convert", str(card), str(tmp_path / "out"), stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from jattr.cli.main import main\n"
        "codes = [main([word]) for word in ('--help', '--version', 'unknown')]\n"
        "heavy = {'jax', 'numpy', 'flax', 'orbax', 'PIL', 'scipy', 'optax', 'absl'} &"
        " set(sys.modules)\n"
        "assert codes == [0, 0, 2] and not heavy, (codes, heavy)"
    )
    done = start("-c", script)
    assert done.returncode == 0, done.stderr
    assert "usage: jattr" in done.stdout
    assert all(f"\n    {name}" in done.stdout for name in COMMANDS)
    assert f"jattr {jattr.__version__}" in done.stdout


def below(parser):
    """The subparsers of a parser, by name, and the lines of help that it has for them."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return (found[0].choices, found[0]._choices_actions) if found else ({}, [])


def test_every_subcommand_has_json_and_a_line_of_help():
    commands, lines = below(main_module.make_parser())
    assert len(commands) == len(COMMANDS)
    assert all(line.help for line in lines)
    for name, subparser in commands.items():
        subparser.load()
        actions, more = below(subparser)  # of `sweep`: run, resume, ...
        assert all(line.help for line in more)
        for place, parser in (actions or {name: subparser}).items():
            parser.load()
            assert "--json" in parser.format_help(), (name, place)
