"""A process that records uses and releases images, killed again and again (SIGKILL, at random
moments).

    python scripts/kill_recording.py --kills 200

The generator is a fake one, so nothing is compiled; log, salts, files and the folder that is
renamed are real. Counts what must be 0: images, released or in the hidden folder of a process that
died, without a durable RESULT leaf that opens to their file and their pixels (unlogged),
commitments of durable leaves without their salts (shut), intents without a result that `jattr log
status` does not report, or others that it does (misreported). Prints one line of JSON: the kills by
what the process was at, and how many images were released and orphans left; exit code 1 if anything
is not 0.
"""

import argparse
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from bench_json import add_json_option, write_json

from jattr.folders import new_folder
from jattr.images import encode_png
from jattr.images.reading import decode
from jattr.ledger.commitments import file_value, pixels_value
from jattr.ledger.keys import Signer
from jattr.ledger.leaves import IntentLeaf, ResultLeaf, commitments_of, parse_leaf
from jattr.ledger.private import PrivateStore
from jattr.ledger.recording import Recorder
from jattr.ledger.store import LogStore

ROOT = Path(__file__).resolve().parents[1]
SIGNER = Signer("example.com/killed", 1, bytes(range(32)))
PHASES = ("start", "intent", "generation", "result", "release")


@dataclass(frozen=True)
class FakeGenerator:
    """What a recorder needs of a generator."""

    name: str = "fake"
    digest: str = "0" * 64
    weights_digest: str = "1" * 64
    space: str = "z"
    rounding: str | None = None
    settings: None = None
    num_classes: int = 0
    latent_shape: tuple[int, ...] = (8,)

    @property
    def byte_rule(self) -> str:
        """As a generator's."""
        return self.rounding or "round"


def begin(folder: Path) -> None:
    """Make a log."""
    with LogStore.create(folder / "log", SIGNER.name, [SIGNER]):
        PrivateStore.create(folder / "log").__exit__()


def work(folder: Path, phase: mmap.mmap, seed: int) -> None:
    """Record uses and release their images until killed, as `jattr log generate` does."""
    rng = np.random.default_rng(seed)
    with LogStore.open(folder / "log") as log, PrivateStore.open(folder / "log") as private:
        recorder, gen = Recorder(log, private), FakeGenerator()
        while True:
            count = int(rng.integers(1, 5))
            with new_folder(folder / f"out-{rng.integers(2**60)}") as out:
                phase[0] = 1
                intents = recorder.intend(
                    gen, rng.normal(size=(count, 8)).astype(np.float32), seed=seed
                )
                phase[0] = 2
                time.sleep(rng.uniform(0, 0.01))
                pixels = rng.integers(0, 256, (count, 16, 16, 3), np.uint8)
                files = [encode_png(one) for one in pixels]
                phase[0] = 3
                recorder.release(intents, pixels, files=files, recipient="somebody")
                phase[0] = 4
                for number, data in enumerate(files):
                    (out / f"{number}.png").write_bytes(data)
            phase[0] = 0


def child(folder: Path, phase: mmap.mmap, seed: int) -> int:
    number = os.fork()  # no thread runs yet
    if number:
        return number
    try:
        work(folder, phase, seed)
    finally:
        os._exit(1)  # it never ends by itself


def audit(folder: Path, wrong: Counter[str]) -> tuple[int, int]:
    """Count what is wrong after a kill.

    Return how many images were released, and how many orphans there are.
    """
    with LogStore.open(folder / "log") as log, PrivateStore.open(folder / "log") as private:
        leaves = [parse_leaf(entry) for entry in log.entries(0, log.size)]
        opened: dict[str, set[bytes]] = {"file": set(), "pixels": set()}
        for leaf in leaves:
            for field, commitment in commitments_of(leaf):
                opening = private.opening(bytes.fromhex(commitment))
                wrong["shut"] += opening is None
                if opening is not None and field in opened:
                    opened[field].add(opening.value)
    released = [path.read_bytes() for path in folder.glob("out-*/*.png")]
    # of a folder that was not renamed any more
    hidden = [path.read_bytes() for path in folder.glob(".out-*/*.png")]
    for data in [*released, *filter(is_whole, hidden)]:
        known = (
            file_value(data) in opened["file"]
            and pixels_value(decode(data).pixels) in opened["pixels"]
        )
        wrong["unlogged"] += not known
    done = {leaf.intent for leaf in leaves if isinstance(leaf, ResultLeaf)}
    orphans = [n for n, leaf in enumerate(leaves) if isinstance(leaf, IntentLeaf) and n not in done]
    wrong["misreported"] += reported(folder / "log") != orphans
    return len(released), len(orphans)


def is_whole(data: bytes) -> bool:
    """Return whether a PNG was written to its end; one that was not has no digest to look for."""
    return data.endswith(b"IEND\xaeB`\x82")


def reported(folder: Path) -> list[int]:
    """Return the orphans that the command line reports."""
    command = [sys.executable, "-m", "jattr", "log", "status", str(folder), "--json"]
    status = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    orphans: list[int] = json.loads(status.stdout)["orphans"]
    return orphans


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
        default=0.5,
        help="seconds that a process lives at most (default 0.5)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    add_json_option(parser)
    args = parser.parse_args()
    rng, wrong, at = random.Random(args.seed), Counter[str](), Counter[str]()
    killed = released = orphans = 0
    with tempfile.TemporaryDirectory() as parent, mmap.mmap(-1, 1) as phase:
        for kill in range(args.kills):
            folder = Path(parent) / str(kill // args.fresh)
            if not folder.exists():
                folder.mkdir()
                begin(folder)
            phase[0] = 0
            number = child(folder, phase, rng.getrandbits(32))
            time.sleep(rng.uniform(0, args.longest))
            os.kill(number, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == -signal.SIGKILL
            at[PHASES[phase[0]]] += 1
            found = audit(folder, wrong)
            if kill % args.fresh == args.fresh - 1 or kill == args.kills - 1:
                released, orphans = released + found[0], orphans + found[1]
    counts = {name: wrong[name] for name in ("unlogged", "shut", "misreported")}
    result = {"kills": killed, "at": dict(at), "released": released, "orphans": orphans, **counts}
    print(json.dumps(result))
    write_json(args, [result], count=killed)
    sys.exit(0 if killed == args.kills and released and not any(counts.values()) else 1)


if __name__ == "__main__":
    main()
