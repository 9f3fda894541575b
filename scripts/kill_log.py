"""A process that appends, signs and publishes, killed again and again (SIGKILL, at random moments).

    python scripts/kill_log.py --kills 200

Counts what must be 0: entries that were acknowledged and are not there (lost), checkpoints that
were handed out, kept or published and that the log does not extend (inconsistent), published
checkpoints whose window does not verify from the published files alone (incomplete). Prints one
line of JSON; exit code 1 if anything is not 0.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_json import add_json_option, write_json

from jattr.errors import JattrError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.keys import Signer
from jattr.ledger.merkle import leaf_hash
from jattr.ledger.note import parse_note
from jattr.ledger.policy import Party, Policy
from jattr.ledger.publish import publish, rebuild
from jattr.ledger.reader import PublishedLog, verify_window
from jattr.ledger.store import LogStore

SIGNER = Signer("example.com/killed", 1, bytes(range(32)))
POLICY = Policy(logs=(Party(SIGNER.verifier),))
THREADS = 3


def work(folder: Path, acks: int, seed: int) -> None:
    """Append from several threads, sign and publish until killed.

    Say so only after it was acknowledged.
    """
    rng = random.Random(seed)
    log = folder / "log"
    with (
        LogStore.open(log) if log.exists() else LogStore.create(log, SIGNER.name, [SIGNER]) as store
    ):

        def append() -> None:
            while True:
                entries = [
                    rng.randbytes(rng.choice((10, 500, 5000)))
                    for _ in range(rng.choice((1, 1, 1, 40)))
                ]
                for index, entry in zip(store.append(entries), entries, strict=True):
                    os.write(acks, f"entry {index} {leaf_hash(entry).hex()}\n".encode())

        for _ in range(THREADS):
            threading.Thread(target=append, daemon=True).start()
        while True:
            note = store.sign_checkpoint()
            os.write(acks, f"signed {note.hex()}\n".encode())
            publish(store, log / "public", note)
            os.write(acks, f"published {note.hex()}\n".encode())
            time.sleep(rng.uniform(0, 0.02))


def child(folder: Path, seed: int) -> int:
    number = os.fork()  # no thread runs yet
    if number:
        return number
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        work(folder, acks, seed)
    finally:
        os._exit(1)  # it never ends by itself


def stated(note: str) -> Checkpoint:
    return parse_checkpoint(parse_note(bytes.fromhex(note)).text)


def audit(folder: Path, wrong: dict[str, int]) -> int:
    """Count what is wrong after a kill; return the number of entries that were acknowledged."""
    lines = (folder / "acks").read_text().split("\n")[:-1] if (folder / "acks").exists() else []
    words = [line.split(" ") for line in lines]
    log = folder / "log"
    if not log.exists():
        wrong["lost"] += len(words)
        return 0
    with LogStore.open(log) as store:
        kept = [hash.hex() for hash in _hashes(store)]
        acked = [(int(index[0]), index[1]) for what, *index in words if what == "entry"]
        wrong["lost"] += sum(index >= len(kept) or kept[index] != hash for index, hash in acked)
        handed = [stated(note[0]) for what, *note in words if what != "entry"]
        handed += [parse_checkpoint(parse_note(signed.note).text) for signed in store.checkpoints()]
        wrong["inconsistent"] += sum(
            c.size > store.size or store.root_at(c.size) != c.root for c in handed
        )
        published = [stated(note[0]) for what, *note in words if what == "published"]
        if (log / "public" / "checkpoint").exists() or published:
            wrong["incomplete"] += not _is_complete(PublishedLog(log / "public"), store, published)
            rebuild(store, folder / "rebuilt")
            wrong["incomplete"] += not _is_complete(
                PublishedLog(folder / "rebuilt"), store, published
            )
    return len(acked)


def _hashes(store: LogStore) -> list[bytes]:
    return [leaf_hash(entry) for entry in store.entries(0, store.size)]


def _is_complete(log: PublishedLog, store: LogStore, published: list[Checkpoint]) -> bool:
    """Whether what is published verifies, is the store's, and is no older than what was said to
    be published.
    """
    try:
        now = POLICY.open(log.checkpoint()).checkpoint
        verify_window(log, None, now)
        return now.root == store.root_at(now.size) and all(c.size <= now.size for c in published)
    except JattrError as error:
        print(error, file=sys.stderr)
        return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument(
        "--fresh", type=int, default=20, help="kills after which another log is begun (default 20)"
    )
    parser.add_argument(
        "--longest",
        type=float,
        default=1.0,
        help="seconds that a process lives at most (default 1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    add_json_option(parser)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    wrong, acknowledged, killed, late = {"lost": 0, "inconsistent": 0, "incomplete": 0}, 0, 0, 0
    with tempfile.TemporaryDirectory() as parent:
        for kill in range(args.kills):
            folder = Path(parent) / str(kill // args.fresh)
            folder.mkdir(exist_ok=True)
            number = child(folder, rng.getrandbits(32))
            time.sleep(rng.uniform(0, args.longest))
            os.kill(number, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == -signal.SIGKILL
            count = audit(folder, wrong)
            late += count > 0
            if kill % args.fresh == args.fresh - 1 or kill == args.kills - 1:
                acknowledged += count
    result = {"kills": killed, "while_at_work": late, "acknowledged": acknowledged, **wrong}
    print(json.dumps(result))
    write_json(args, [result], count=killed)
    sys.exit(0 if killed == args.kills and acknowledged and not any(wrong.values()) else 1)


if __name__ == "__main__":
    main()
