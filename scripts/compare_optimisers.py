"""Six optimisers on 16 images of one generator: the table, the figure of the docs, and the time.

python scripts/compare_optimisers.py --figure docs/compared_solvers.png --json compared.json
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import optax
from bench_json import add_json_option, write_json

import jattr
from jattr.sweep.report.panels import rendered

SOLVERS = {
    "Levenberg-Marquardt": jattr.solvers.LevenbergMarquardt(),
    "Gauss-Newton-CG": jattr.solvers.GaussNewtonCG(),
    "BFGS": jattr.solvers.BFGS(),
    "L-BFGS": jattr.solvers.LBFGS(),
    "Adam, cosine": "adam-cosine",
    "clipped Adam": optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.05)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="dcgan_a", help="folder or bundled name")
    parser.add_argument("--count", type=int, default=16, help="images (default 16)")
    parser.add_argument("--figure", type=Path, help="PNG to write")
    add_json_option(parser)
    args = parser.parse_args()
    start, cpu = time.perf_counter(), time.process_time()
    comparison = jattr.compare_solvers(args.generator, SOLVERS, num_images=args.count)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(comparison)
    print(f"{seconds:.0f} s, {cpu:.0f} s of processors")
    if args.figure:
        args.figure.write_bytes(rendered(comparison.figure(), "png"))
    rows = [row._asdict() for row in comparison.rows]
    totals = {"seconds": round(seconds, 1), "processor_seconds": round(cpu, 1)}
    write_json(args, [*rows, totals], count=args.count)


if __name__ == "__main__":
    main()
