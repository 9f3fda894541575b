"""docs/ledger_tutorial.md, command by command: each prints what the text says that it prints.

Commands of jattr run in this process, so that what was compiled is compiled once; what needs a
shell runs in one.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jattr.cli.main import main

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "ledger_tutorial.md").read_text(
    encoding="utf-8"
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
JATTR = "from jattr.cli.main import console; console()"


def commands(text: str) -> list[tuple[str, str]]:
    """Commands and what they print."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append((line[2:].strip(), ""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + line)
    return found


class Shell:
    """Runs the lines of the tutorial."""

    def __init__(self, folder: Path) -> None:
        (folder / "bin").mkdir()
        program = folder / "bin" / "jattr"
        program.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(JATTR)} "$@"\n', "utf-8"
        )
        program.chmod(0o755)
        self.environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        self.behind: subprocess.Popen[str] | None = None

    def run(self, command: str) -> str:
        if command == "kill %1":
            return self.stop()
        if command.endswith("&"):
            return self.begin(command[:-1].strip())
        if assigned := re.match(r"(\w+)=", command):
            done = self.bash(f'{command}; printf %s "${assigned[1]}"')
            self.environment[assigned[1]] = done
            return ""
        if command.startswith("jattr "):
            return run_here(command)
        return self.bash(command)

    def bash(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + done.stderr

    def begin(self, command: str) -> str:
        """Start what runs in the background; return its first line."""
        self.behind = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.behind.stdout is not None
        return self.behind.stdout.readline()

    def stop(self) -> str:
        if self.behind is not None:
            self.behind.send_signal(signal.SIGTERM)
            self.behind.communicate(timeout=60)
            self.behind = None
        return ""


def run_here(command: str) -> str:
    """What a command of jattr prints, on stdout and then on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(shlex.split(command)[1:])
    assert code == (3 if "check failed" in err.getvalue() else 0), err.getvalue()
    return out.getvalue() + err.getvalue()


def test_every_command_prints_what_the_text_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shell, count = Shell(tmp_path), 0
    try:
        for command, expected in commands(TEXT.replace("8700", port)):
            printed = shell.run(command)
            message = f"$ {command}\n{printed}--- the text says:\n{expected}"
            assert doctest.OutputChecker().check_output(expected, printed, FLAGS), message
            count += 1
    finally:
        shell.stop()
    assert count > 20
    assert (tmp_path / "denial" / "evidence.html").is_file()
