"""Faults of the disk and sudden death at every write-side system call of one append, one signature
and one publish.

    python scripts/fault_log.py                 # every call; needs strace
    python scripts/fault_log.py --every 9       # every ninth case; the tests take fewer still

A first run under strace lists the calls that touch the log's folder, from opening to closing it.
Then every one of them fails in a run of its own: with EIO, with ENOSPC, with SIGKILL in place of
it, with SIGKILL after it. After each, on a disk that works again, must be 0: acknowledged entries
that are not there (lost), checkpoints that were handed out, kept or published and that the log does
not extend (inconsistent), published checkpoints whose window does not verify (incomplete), logs
that cannot go on or be published anew (stuck), ends that are neither success nor one clear error
(unclear). Prints one line of JSON; exit code 1 if anything is not 0, 2 where strace is missing or
may not trace.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_json import add_json_option, write_json

from jattr.errors import JattrError
from jattr.ledger.checkpoint import parse_checkpoint
from jattr.ledger.keys import Signer
from jattr.ledger.note import parse_note
from jattr.ledger.policy import Party, Policy
from jattr.ledger.publish import publish, rebuild
from jattr.ledger.reader import PublishedLog, verify_window
from jattr.ledger.store import LogStore

SIGNER = Signer("example.com/faults", 1, bytes(range(32)))
POLICY = Policy(logs=(Party(SIGNER.verifier),))
CALLS = (
    "openat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "truncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "utimensat",
)
FAULTS = {
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "killed before": "error=EIO:signal=KILL",
    "killed after": "signal=KILL",
}
# the entries added fill a tile and begin another
START, ADDED = 255, [b"one", b"two" * 1000, b"three"]
WRONG = ("lost", "inconsistent", "incomplete", "stuck", "unclear")


class Call(NamedTuple):
    """A system call of the process: the `number`th of its name, from 1."""

    name: str
    number: int
    line: str


def child(log: Path) -> None:
    """Append, sign and publish, and say what was acknowledged."""
    try:
        with LogStore.open(log) as store:
            store.append(ADDED)
            os.write(1, b"appended\n")
            note = store.sign_checkpoint()
            os.write(1, f"signed {note.hex()}\n".encode())
            publish(store, log / "public", note)
            os.write(1, f"published {note.hex()}\n".encode())
    except JattrError as error:
        os.write(2, f"error: {error}\n".encode())
        os._exit(2)
    os._exit(0)


def traced(log: Path, trace: Path, *inject: str) -> subprocess.CompletedProcess[str]:
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "0",
        "-o",
        str(trace),
        "-e",
        f"trace={','.join(CALLS)}",
        *inject,
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    command += [sys.executable, __file__, "--child", str(log)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def calls(trace: Path, log: Path) -> Iterator[Call]:
    """Yield the calls that write below the log's folder, with their number among all of their
    name.
    """
    seen: Counter[str] = Counter()
    for line in trace.read_text().splitlines():
        match = re.match(r"\d+ +(\w+)\((.*)", line)
        if match is None:
            continue
        name, rest = match.groups()
        seen[name] += 1
        if str(log) in rest and (name != "openat" or re.search("O_WRONLY|O_RDWR|O_CREAT", rest)):
            yield Call(name, seen[name], rest)


def audit(log: Path, ended: subprocess.CompletedProcess[str], wrong: Counter[str]) -> str:
    """Count what is wrong after a fault; return how the process ended."""
    words = [line.split(" ") for line in ended.stdout.splitlines()]
    acked = {line[0] for line in words}
    how = {0: "went on", 2: "one error", -signal.SIGKILL: "killed"}.get(ended.returncode, "unclear")
    clear = how != "one error" or re.fullmatch(r"error: [^\n]+\n", ended.stderr)
    wrong["unclear"] += how == "unclear" or not clear or "Traceback" in ended.stderr
    with LogStore.open(log) as store:
        entries = list(store.entries(0, store.size))
        expected = template() + (ADDED if store.size > START else [])
        wrong["lost"] += entries != expected or ("appended" in acked and store.size == START)
        notes = [bytes.fromhex(line[1]) for line in words if len(line) > 1] + [
            s.note for s in store.checkpoints()
        ]
        notes += [
            path.read_bytes() for path in (log / "last-checkpoint", log / "public/checkpoint")
        ]
        for note in notes:
            stated = parse_checkpoint(parse_note(note).text)
            wrong["inconsistent"] += (
                stated.size > store.size or store.root_at(stated.size) != stated.root
            )
        now = verified(log / "public")
        wrong["incomplete"] += now < (len(expected) if "published" in acked else START)
        rebuild(store, log / "again")
        store.append([b"and on"])
        publish(store, log / "public", store.sign_checkpoint())
        wrong["incomplete"] += (
            verified(log / "public") != store.size or verified(log / "again") < now
        )
    return how


def template() -> list[bytes]:
    return [b"entry %d" % number for number in range(START)]


def verified(public: Path) -> int:
    """Return the size of what is published, all of it verified; -1 if it does not verify."""
    try:
        log = PublishedLog(public)
        now = POLICY.open(log.checkpoint()).checkpoint
        return verify_window(log, None, now)
    except JattrError as error:
        print(error, file=sys.stderr)
        return -1


def make_template(log: Path) -> None:
    with LogStore.create(log, SIGNER.name, [SIGNER]) as store:
        store.append(template())
        publish(store, log / "public", store.sign_checkpoint())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take every Nth case (default 1)"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="print a line for each case to stderr"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    add_json_option(parser)
    args = parser.parse_args()
    if args.child:
        child(args.child)
    if not shutil.which("strace"):
        print(
            "error: no strace found; install the package strace (Debian, Ubuntu)", file=sys.stderr
        )
        sys.exit(2)
    wrong, ends, kinds = Counter(dict.fromkeys(WRONG, 0)), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as parent:
        log, copy, trace = Path(parent) / "log", Path(parent) / "copy", Path(parent) / "trace"
        make_template(copy)
        shutil.copytree(copy, log)
        whole = traced(log, trace)
        if whole.returncode:
            print(f"error: strace may not trace here: {whole.stderr}", file=sys.stderr)
            sys.exit(2)
        found = list(calls(trace, log))
        cases = [(call, fault) for call in found for fault in FAULTS][:: args.every]
        for call, fault in cases:
            shutil.rmtree(log)
            shutil.copytree(copy, log)
            ended = traced(
                log, trace, "-e", f"inject={call.name}:{FAULTS[fault]}:when={call.number}"
            )
            reached = "(INJECTED)" in trace.read_text() or "SIGKILL" in trace.read_text()
            if not reached:
                sys.exit(f"the fault was not reached: {call}")
            try:
                how = audit(log, ended, wrong)
            except JattrError as error:
                how, wrong["stuck"] = "stuck", wrong["stuck"] + 1
                print(f"{call} {fault}: {error}", file=sys.stderr)
            ends[how] += 1
            kinds[call.name] += 1
            if args.verbose:
                print(
                    f"{call.name} {call.number} {fault}: {how}: {ended.stderr.strip()}",
                    file=sys.stderr,
                )
    result = {"calls": len(found), "cases": len(cases), "by_call": kinds, "ends": ends, **wrong}
    print(json.dumps(result))
    write_json(args, [result], count=len(cases))
    sys.exit(1 if any(wrong.values()) else 0)


if __name__ == "__main__":
    main()
