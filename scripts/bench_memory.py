"""Peak resident memory of attributing many pictures from the command line, in a process of its own.

    python scripts/bench_memory.py                          # JATTR_REFERENCE names the reference folder
    python scripts/bench_memory.py --pictures 20 --reference DIR

Converts the three face generators of the reference folder, has them make the pictures in turn, and runs `python -m
jattr attribute` on the PNG files. The peak is the kernel's own high-water mark (VmHWM), read by the process as it ends.
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
from bench_accuracy import FACES, find_entries, load, origin, own_pictures, reference_folder, show

# `python -m jattr` with one thing added: as it ends, without cleaning up, it says how much memory it took at most.
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


def measure(candidates: list[str], pictures: list[str], work: Path) -> dict[str, Any]:
    """Run the command line and return its peak, time and verdicts."""
    scripts = Path(__file__).resolve().parent
    report, out = work / "peak", work / "out"
    code = CHILD.format(paths=[str(scripts.parent), str(scripts)], report=str(report))
    command = ["attribute", *pictures, "--candidates", *candidates, "--out", str(out)]
    start = time.perf_counter()
    child = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - start
    if child.returncode or not report.exists():
        raise SystemExit(f"`python -m jattr attribute` ended with {child.returncode}; its message stands above")
    verdicts = [row["verdict"] for row in json.loads((out / "result.json").read_text(encoding="utf-8"))["pictures"]]
    kinds = [verdict["kind"] if isinstance(verdict, dict) else verdict for verdict in verdicts]
    return {
        "peak_mib": int(report.read_text()) / 2**20,
        "seconds": seconds,
        "verdicts": {str(kind): kinds.count(kind) for kind in sorted(set(kinds), key=str)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="folder with weights/ (default: $JATTR_REFERENCE)")
    parser.add_argument("--pictures", type=int, default=200, help="all together (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    entries = find_entries(reference_folder(parser, args.reference))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        gens = load(entries, FACES, work)
        for number, gen in enumerate(gens):
            count = len(range(number, args.pictures, len(gens)))
            if count:
                own_pictures(gen, count, jax.random.key(args.seed + number), work)
        pictures = sorted(str(path) for path in work.glob("*.png"))
        row = {
            "pictures": len(pictures),
            "candidates": len(gens),
            **measure([str(work / n) for n in FACES], pictures, work),
        }
    show(row)
    print(json.dumps({**row, "cache": os.environ.get("JATTR_CACHE", "default"), "seed": args.seed, **origin()}))


if __name__ == "__main__":
    main()
