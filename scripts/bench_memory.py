"""Peak memory and images a minute of attributing many images from the command line, in a process of
its own.

    # JATTR_REFERENCE names the reference folder
    python scripts/bench_memory.py
    python scripts/bench_memory.py --images 20 --reference DIR
    python scripts/bench_memory.py --pool bundled --images 125 250 500 1000 --candidates 5 10 \\
      --figure growth.png

Takes the face generators of the reference folder, or the bundled ones, has them make images, and
runs `python -m jattr attribute` on the PNG files. The peak is the kernel's own high-water mark
(VmHWM), read by the process as it ends.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
from bench_accuracy import FACES, find_entries, load, origin, own_images, reference_folder, show
from bench_json import add_json_option, write_json

from jattr.generators.store import bundled_generators, load_generator

# `python -m jattr` with one thing added: as it ends, without cleaning up, it says how much memory
# it took at most.
CHILD = """
import os, runpy, sys
sys.path[:0] = {paths!r}
from fuzz_memory import peak
end = os._exit
def report_and_end(code):
    with open({report!r}, "w") as file:
        file.write(str(peak()))
    end(code)
os._exit = report_and_end
runpy.run_module("jattr", run_name="__main__", alter_sys=True)
"""


def measure(candidates: list[str], images: list[str], work: Path) -> dict[str, Any]:
    """Run the command line and return its peak, time and verdicts."""
    scripts = Path(__file__).resolve().parent
    report, out = work / "peak", work / "out"
    code = CHILD.format(paths=[str(scripts.parent), str(scripts)], report=str(report))
    command = ["attribute", *images, "--candidates", *candidates, "--out", str(out)]
    start = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-c", code, *command], stdout=subprocess.DEVNULL, check=False
    )
    seconds = time.perf_counter() - start
    if child.returncode or not report.exists():
        raise SystemExit(
            f"`python -m jattr attribute` ended with {child.returncode}; its message stands above"
        )
    verdicts = [
        row["verdict"]
        for row in json.loads((out / "result.json").read_text(encoding="utf-8"))["pictures"]
    ]
    kinds = [verdict["kind"] if isinstance(verdict, dict) else verdict for verdict in verdicts]
    return {
        "peak_mib": int(report.read_text()) / 2**20,
        "seconds": seconds,
        "verdicts": {str(kind): kinds.count(kind) for kind in sorted(set(kinds), key=str)},
    }


def made_by(gens: list[Any], count: int, seed: int, folder: Path) -> list[str]:
    """Write so many images, the generators taking turns, and return their files."""
    folder.mkdir()
    for number, gen in enumerate(gens):
        mine = len(range(number, count, len(gens)))
        if mine:
            own_images(gen, mine, jax.random.key(seed + number), folder)
    return sorted(str(path) for path in folder.glob("*.png"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", choices=("faces", "bundled"), default="faces")
    parser.add_argument("--reference", help="folder with weights/ (default: $JATTR_REFERENCE)")
    parser.add_argument(
        "--images",
        "--pictures",
        type=int,
        nargs="+",
        default=[200],
        help="all together (default 200)",
    )
    parser.add_argument(
        "--candidates", type=int, nargs="+", help="the first so many of the pool (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", help="PNG to draw: minutes and peak memory against images")
    add_json_option(parser)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.pool == "faces":
            gens = load(find_entries(reference_folder(parser, args.reference)), FACES, work)
            indices = [str(work / name) for name in FACES]
        else:
            indices = list(bundled_generators())
            gens = [load_generator(name) for name in indices]
        for count in args.images:
            for used in args.candidates or [len(gens)]:
                index = work / f"{count}-{used}"
                images = made_by(gens[:used], count, args.seed, index)
                row = {"pool": args.pool, "pictures": len(images), "candidates": used}
                row |= measure(indices[:used], images, index)
                row["pictures_a_minute"] = 60 * len(images) / row["seconds"]
                rows.append(row)
                show(row)
                cache = os.environ.get("JATTR_CACHE", "default")
                print(
                    json.dumps({**row, "cache": cache, "seed": args.seed, **origin()}), flush=True
                )
    write_json(args, rows, generators=gens)
    if args.figure:
        draw(rows, args.figure)


def draw(rows: list[dict[str, Any]], file: str) -> None:
    """Draw minutes and peak memory against the number of images, a line for each number of
    candidates.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    for used in sorted({row["candidates"] for row in rows}):
        mine = [row for row in rows if row["candidates"] == used]
        counts = [row["pictures"] for row in mine]
        label = f"{used} candidates"
        time_axes.plot(counts, [row["seconds"] / 60 for row in mine], "o-", label=label)
        memory_axes.plot(counts, [row["peak_mib"] / 1024 for row in mine], "o-", label=label)
    time_axes.set(xlabel="images", ylabel="minutes", xlim=0, ylim=0)
    memory_axes.set(xlabel="images", ylabel="peak memory, GiB", xlim=0, ylim=0)
    time_axes.legend()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
