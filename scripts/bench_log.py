"""Speed of the log: durable appends against the disk's own flushes, proofs, and a whole window of
entries verified.

    # DIR on the disk that is measured; it is removed afterwards
    python scripts/bench_log.py --out DIR
    python scripts/bench_log.py --out DIR --entries 100000

Flushes and appends take turns, because other work on the disk changes both. Prints one line of
JSON; exit code 1 if a goal is missed: single appends at min(1000, half of the flushes) a second,
20,000 a second in batches, 5,000 inclusion proofs verified a second, a window of 10^6 entries in 60
s and 500 MB.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_json import add_json_option, write_json

from jattr.ledger.keys import Signer
from jattr.ledger.merkle import leaf_hash, verify_inclusion
from jattr.ledger.policy import Party, Policy
from jattr.ledger.publish import publish
from jattr.ledger.reader import PublishedLog, verify_window
from jattr.ledger.store import LogStore

ORIGIN = "example.com/bench"
BATCH = 1000


def entry(number: int, length: int) -> bytes:
    return f"{number:09d}".encode().ljust(length, b".")


def rate(count: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def flush_rate(path: Path, count: int) -> float:
    """Return how often a second 4 KB can be added to a file and flushed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def flush() -> None:
        for _ in range(count):
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)

    result = rate(count, flush)
    os.close(descriptor)
    return result


def singles(store: LogStore, folder: Path, rounds: int, length: int) -> dict[str, float]:
    """Return medians over rounds that take turns."""
    flushes, appends, ratios = [], [], []
    for _ in range(rounds):
        flushes.append(flush_rate(folder / "flushed", 200))
        appends.append(
            rate(200, lambda: [store.append([entry(number, length)]) for number in range(200)])
        )
        ratios.append(appends[-1] / flushes[-1])
    middle = rounds // 2
    return {
        "flushes_per_second": sorted(flushes)[middle],
        "single_appends_per_second": sorted(appends)[middle],
        "appends_per_flush": sorted(ratios)[middle],
    }


def batches(total: int, size: int, length: int) -> Iterator[list[bytes]]:
    for first in range(size, total, BATCH):
        yield [entry(number, length) for number in range(first, min(first + BATCH, total))]


def proofs(store: LogStore, note: bytes, length: int, count: int) -> dict[str, float]:
    """Return rates of making receipts, of verifying inclusion, and of verifying receipts with
    their signature.
    """
    policy = Policy(logs=tuple(Party(signer.verifier) for signer in store.signers))
    indices = [number * (store.size // count) for number in range(count)]
    receipts = []
    made = rate(count, lambda: receipts.extend(store.receipt(index, note) for index in indices))
    entries = [store.entry(index) for index in indices]
    cases = [
        (leaf_hash(e), r.index, store.size, r.hashes, store.root)
        for e, r in zip(entries, receipts, strict=True)
    ]
    return {
        "receipts_made_per_second": made,
        "inclusions_verified_per_second": rate(
            count, lambda: [verify_inclusion(*case) for case in cases]
        ),
        "receipts_verified_per_second": rate(
            count, lambda: [r.verify(e, policy) for e, r in zip(entries, receipts, strict=True)]
        ),
    }


def window(public: Path, policy: Policy) -> dict[str, float]:
    """Verify a published log from its beginning in a process of its own.

    Return seconds and peak memory.
    """
    read, write = os.pipe()
    if not (child := os.fork()):
        start = time.perf_counter()
        log = PublishedLog(public)
        count = verify_window(
            log, None, policy.open(log.checkpoint()).checkpoint, lambda number, entry: None
        )
        result = (
            count,
            time.perf_counter() - start,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        )
        os.write(write, json.dumps(result).encode())
        os._exit(0)
    os.close(write)
    count, seconds, megabytes = json.loads(os.read(read, 1000))
    os.close(read)
    os.waitpid(child, 0)
    return {"window_entries": count, "window_seconds": seconds, "window_megabytes": megabytes}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder to make and to remove"
    )
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument(
        "--length",
        type=int,
        default=600,
        help="bytes of an entry (default 600, as of a RESULT leaf)",
    )
    parser.add_argument("--rounds", type=int, default=9)
    add_json_option(parser)
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    result: dict[str, float] = {"entries": args.entries, "length": args.length}
    try:
        with LogStore.create(args.out / "log", ORIGIN, [Signer.generate(ORIGIN)]) as store:
            result |= singles(store, args.out, args.rounds, args.length)
            several = list(
                batches(min(args.entries, 100_000) + store.size, store.size, args.length)
            )
            count = sum(map(len, several))
            result["batched_appends_per_second"] = rate(
                count, lambda: [store.append(batch) for batch in several]
            )
            for batch in batches(args.entries, store.size, args.length):
                store.append(batch)
            note = store.sign_checkpoint()
            result |= proofs(store, note, args.length, 5000)
            start = time.perf_counter()
            publish(store, args.out / "public", note)
            result["publish_seconds"] = time.perf_counter() - start
            policy = Policy(logs=(Party(store.signers[0].verifier),))
        start = time.perf_counter()
        LogStore.open(args.out / "log").close()
        result["open_seconds"] = time.perf_counter() - start
        result |= window(args.out / "public", policy)
    finally:
        shutil.rmtree(args.out)
    goals = {
        "single": result["single_appends_per_second"]
        >= min(1000, result["flushes_per_second"] / 2),
        "batched": result["batched_appends_per_second"] >= 20_000,
        "inclusion": result["inclusions_verified_per_second"] >= 5_000,
        "window": result["window_seconds"] <= 60 and result["window_megabytes"] <= 500,
    }
    rounded = {name: round(value, 2) for name, value in result.items()}
    print(json.dumps(rounded | {"goals": goals}))
    write_json(args, [rounded], count=args.entries)
    sys.exit(0 if all(goals.values()) else 1)


if __name__ == "__main__":
    main()
