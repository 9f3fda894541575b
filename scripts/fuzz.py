"""Damages checkpoints and images in seeded ways and reads them.

Each must be read or refused, nothing else.

    # all: 10,000 checkpoints and 3,000 images
    python scripts/fuzz.py
    python scripts/fuzz.py --targets checkpoints --count 1000 --seed 7
    python scripts/fuzz.py --targets images --only 123       # one case again

A case fails if reading it raises anything but an `InputError`, takes over 10 s, imports a module,
needs over three times the file's size + 64 MiB above the idle process, or gives content that the
checksums should have refused. A crash ends the program; `--only` with the number on the last line
of `--trace` repeats it.
"""

# ruff: noqa: E402 - the source tree must be on the path before its modules are imported

import argparse
import contextlib
import faulthandler
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import numpy as np
from bench_json import write_json
from fuzz_files import Saved, sound_checkpoints, sound_images
from fuzz_memory import idle, peak
from fuzz_mutations import damage_checkpoint, damage_image
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from PIL import Image

from jattr.errors import CheckpointError, ImageError, InputError
from jattr.images import read_image

COUNTS = {"checkpoints": 10_000, "images": 3_000}
MAX_SECONDS = 10.0
FACTOR, SPARE = 3, 64 << 20  # bytes above the idle process: FACTOR * file size + SPARE


class Hang(BaseException):
    """A case that took too long; no `except Exception` can swallow it."""


@dataclass(frozen=True)
class Case:
    """One damaged file, and what a reader may make of it."""

    content: bytes
    story: str  # the sound file and what was done to it
    # what a successful reading must give, where that is known
    expected: dict[str, np.ndarray] | None


@dataclass
class Tally:
    """What became of the cases of one target."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    peak_bytes: int = 0  # above the idle process
    slowest_seconds: float = 0.0


def checkpoint_case(rng: random.Random) -> Case:
    """Return a damaged checkpoint."""
    name, saved = rng.choice(list(CHECKPOINTS.items()))
    content, story, guarded = damage_checkpoint(saved, rng)
    return Case(content, f"{name} {story}", dict(saved.tensors) if guarded else None)


def image_case(rng: random.Random) -> Case:
    """Return a damaged image."""
    name, sound = rng.choice(list(IMAGES.items()))
    content, story = damage_image(sound, rng)
    return Case(content, f"{name} {story}", None)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a checkpoint and touch every byte of its tensors."""
    state = find_state_dict(read_checkpoint(path))
    return {name: np.array(array) for name, array in state.items()}


def read_pixels(path: Path) -> dict[str, np.ndarray]:
    """Read an image and check what the reader promises."""
    pixels = read_image(path)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise AssertionError(f"read as {pixels.dtype} {pixels.shape}")
    return {"": pixels.copy()}


CHECKPOINTS: dict[str, Saved] = sound_checkpoints()
IMAGES = sound_images()
TARGETS: dict[
    str, tuple[Callable[[random.Random], Case], Callable[[Path], dict[str, np.ndarray]]]
] = {
    "checkpoints": (checkpoint_case, read_tensors),
    "images": (image_case, read_pixels),
}


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `Hang` inside the block after `seconds`.

    Kill the process, with a traceback, if that cannot get through.
    """

    def stop(_signal: int, _frame: Any) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)


def judge(case: Case, read: Callable[[Path], dict[str, np.ndarray]], path: Path) -> tuple[str, str]:
    """Return what became of a case, "read", "refused" or "failed", and why."""
    try:
        with time_limit(MAX_SECONDS):
            result = read(path)
    except (CheckpointError, ImageError) as error:
        return ("failed", f"several lines: {error}") if "\n" in str(error) else ("refused", "")
    except InputError as error:
        return "failed", f"refused with the wrong type, {type(error).__name__}"
    except Hang:
        return "failed", f"took over {MAX_SECONDS} s"
    except BaseException as error:  # also the panics of libraries, which are no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return "failed", f"{type(error).__name__}: {error}"
    if case.expected is not None and not same(result, case.expected):
        return "failed", "read as something else, past the checksums"
    return "read", ""


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """Return whether two state dicts agree in names, dtypes and bytes."""
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype and np.array_equal(left[name], right[name])
        for name in left
    )


def warm_up(read: Callable[[Path], dict[str, np.ndarray]], path: Path) -> None:
    """Read every sound file, and some that are none.

    What a reader imports or allocates once is no part of a case.
    """
    Image.init()
    for content in [
        *(saved.pack() for saved in CHECKPOINTS.values()),
        *IMAGES.values(),
        b"x",
        b"x" * 500,
    ]:
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            read(path)


def run_target(target: str, indices: range, seed: int, path: Path, trace: bool) -> Tally:
    """Read the cases `indices` of a target; case i depends on the seed and i alone."""
    make, read = TARGETS[target]
    warm_up(read, path)
    tally, modules, at_rest = Tally(), set(sys.modules), idle()
    for index in indices:
        case = make(random.Random(f"{target}:{seed}:{index}"))
        path.write_bytes(case.content)
        if trace:
            print(f"{target} {index}", file=sys.stderr, flush=True)
        start = time.perf_counter()
        outcome, reason = judge(case, read, path)
        tally.slowest_seconds = max(tally.slowest_seconds, time.perf_counter() - start)
        new_modules, risen = sorted(set(sys.modules) - modules), peak() - at_rest
        if new_modules:
            modules.update(new_modules)
            outcome, reason = "failed", f"imported {new_modules}"
        if risen > max(tally.peak_bytes, FACTOR * len(case.content) + SPARE):
            outcome, reason = (
                "failed",
                f"{risen} bytes above idle for a file of {len(case.content)}",
            )
        tally.peak_bytes = max(tally.peak_bytes, risen)
        tally.cases += 1
        tally.outcomes[outcome] += 1
        if outcome == "failed":
            tally.failures.append({"case": index, "story": case.story, "reason": reason})
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument(
        "--count", type=int, help=f"cases for each target; {COUNTS} where it is not given"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this one case of each target")
    parser.add_argument(
        "--trace", action="store_true", help="print the number of each case before it is read"
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="print the result as JSON, or write it"
    )
    options = parser.parse_args()
    faulthandler.enable()
    failed, rows = False, list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for target in options.targets:
            count = COUNTS[target] if options.count is None else options.count
            indices = (
                range(count) if options.only is None else range(options.only, options.only + 1)
            )
            start = time.perf_counter()
            tally = run_target(target, indices, options.seed, Path(folder, "case"), options.trace)
            failed = failed or bool(tally.failures)
            rows.append(
                {"target": target, "seconds": round(time.perf_counter() - start, 1), **vars(tally)}
            )
            report(rows[-1], tally, as_json=options.json == "-")
    if options.json not in (None, "-"):
        options.json = Path(options.json)
        write_json(options, rows, count=sum(row["cases"] for row in rows))
    return int(failed)


def report(row: Mapping[str, Any], tally: Tally, *, as_json: bool) -> None:
    """Print one target's result, as one line of JSON or as text."""
    if as_json:
        print(json.dumps(row))
        return
    print(
        f"{row['target']}: {tally.cases} cases, {dict(tally.outcomes)}, {row['seconds']:.0f} s,",
        end=" ",
    )
    print(
        f"slowest {tally.slowest_seconds:.2f} s, peak {tally.peak_bytes / 2**20:.1f} MiB above idle"
    )
    for failure in tally.failures[:20]:
        print(f"  case {failure['case']} ({failure['story']}): {failure['reason']}")


if __name__ == "__main__":
    sys.exit(main())
