"""The command line as tests run it."""

import json

import pytest

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
