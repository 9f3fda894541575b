"""Whole attributions: the default search beside the paper's recipe, on the same images, taking
turns.

    python scripts/bench_recipes.py
    python scripts/bench_recipes.py --candidates dcgan_a progan_a stylegan2_a --images 16 \\
      --repeats 3

The recipe is that of Zhang et al., arXiv 2008.09194, section 5: 3 restarts of 500 steps of Adam (b1
= 0, b2 = 0.99, rate 0.1) from the prior, argmin over the candidates; pixels in the place of
Inception features, which would only add to its time. Both run through `attribute`, compiled before;
evaluations count a forward pass as 1 and a gradient as 2, over all candidates. Prints a row for
each and, last, one line of JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from bench_accuracy import origin, show
from bench_json import add_json_option, write_json

from jattr.attribution.attribute import attribute
from jattr.attribution.calibrate import own_images
from jattr.generators.base import Generator
from jattr.generators.store import load_generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.warm_start import forget_pools
from jattr.runtime import enable_compilation_cache
from jattr.sweep.suites import FAMILIES, PAPER, paper_spec


def measure(
    pixels: np.ndarray, makers: list[str], generators: list[Generator], config: InvertConfig
) -> dict[str, Any]:
    """Attribute the images once and return what it took and what came out."""
    forget_pools()
    start = time.perf_counter()
    result = attribute(pixels, generators, search=config)
    seconds = time.perf_counter() - start
    names = [gen.name for gen in generators]
    closest = [names[at] for at in result.residual.argmin(1)]
    searches = [search for row in result.searches for candidate in row for search in candidate]
    return {
        "pictures": len(makers),
        "closest_right": sum(a == b for a, b in zip(closest, makers, strict=True)),
        "named_right": sum(
            v.candidates == (maker,) for v, maker in zip(result.verdicts, makers, strict=True)
        ),
        "certified": sum(v.certificate is not None for v in result.verdicts),
        "evaluations": float(sum(search.trace[-1][0] for search in searches if search.trace)),
        "restarts": len(searches),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", nargs="+", default=list(FAMILIES))
    parser.add_argument("--images", "--pictures", type=int, default=16, help="of each (default 16)")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    generators = [load_generator(name) for name in args.candidates]
    pixels = np.concatenate([own_images(gen, args.images, args.seed) for gen in generators])
    makers = [gen.name for gen in generators for _ in range(args.images)]
    settings = {
        setting.name: setting.config for setting in paper_spec(args.candidates, count=1).settings
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
    for turn in range(args.repeats + 1):  # the first compiles
        for name, config in settings.items():
            row = measure(pixels, makers, generators, config)
            if turn:
                rows[name].append(row)
    result = {
        name: runs[0] | {"seconds": float(np.median([run["seconds"] for run in runs]))}
        for name, runs in rows.items()
    }
    for name, row in result.items():
        show({"search": name, **row})
    ours, theirs = result["default"], result[PAPER]
    ratios = {what: theirs[what] / ours[what] for what in ("evaluations", "seconds")}
    show({"search": "paper's over default's", **ratios})
    print(
        json.dumps(
            {
                "candidates": args.candidates,
                "rows": result,
                "ratios": ratios,
                "seed": args.seed,
                **origin(),
            }
        )
    )
    table = [{"search": name, **row} for name, row in result.items()]
    table.append({"search": "paper's over default's", **ratios})
    write_json(args, table, generators=generators, count=len(pixels))


if __name__ == "__main__":
    main()
