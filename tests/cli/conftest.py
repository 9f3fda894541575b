"""The command line as tests run it."""

import json
import shutil

import numpy as np
import pytest
from result_edits import change_json
from tiny_generator import make_tiny

from jattr.cli.main import main


@pytest.fixture
def jattr(capsys):
    """Run the command: (exit code, stdout, stderr)."""

    def run(*args):
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def ok(jattr):
    """Run the command, which must succeed; its JSON."""

    def run(*args):
        code, out, err = jattr(*args, "--json")
        assert code == 0, err
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.fixture
def refused(jattr):
    """Run the command, which must say one line on stderr and nothing else."""

    def run(code, *args):
        found, out, err = jattr(*args)
        assert (found, out) == (code, ""), err
        assert err.count("\n") == 1
        assert err.startswith("jattr: " + ("check failed: " if code == 3 else "error: "))
        return err

    return run


@pytest.fixture(scope="session")
def original(shared_folder, tiny_folders):
    """A result with a certificate: images of `tiny` and of nobody, against `tiny` and `tiny_b`."""
    from jattr.images import to_byte, write_png  # not before JAX has its settings

    def fill(folder):
        rng = np.random.default_rng(7)
        z = rng.normal(size=(1, 6)).astype(np.float32)
        write_png(folder / "tiny.png", to_byte(make_tiny().generate(z))[0])
        write_png(folder / "noise.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
        paths = [str(tiny_folders[name]) for name in ("tiny", "tiny_b")]
        images = [str(folder / "tiny.png"), str(folder / "noise.png")]
        options = ["--restarts", "1", "--lanes", "2", "--out", str(folder / "result")]
        assert main(["attribute", *images, "--candidates", *paths, *options]) == 0

    return shared_folder("verify", fill)


@pytest.fixture
def result(original, tmp_path):
    """A copy of it, whose paths point at copies of the images."""
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    change_json(
        folder,
        lambda data: [
            row.update(file=row["file"].replace(str(original), str(folder)))
            for row in data["pictures"]
        ],
    )
    return folder


@pytest.fixture
def verify(tiny_folders, capsys):
    """Run the subcommand: (exit code, stdout, stderr)."""

    def run(folder, *options, candidates=("tiny", "tiny_b")):
        paths = [str(tiny_folders.get(name, name)) for name in candidates]
        capsys.readouterr()
        code = main(["verify", str(folder), "--candidates", *paths, *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
