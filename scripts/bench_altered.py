"""Altered images of known origin through `attribute`: right, certified, falsely certified.

    python scripts/bench_altered.py --pool bundled --images 5 \\
      --alteration jpeg:75:4:2:0 rescale:0.75:lanczos
    python scripts/bench_altered.py --pool faces --images 10 --alteration jpeg:50:4:4:4 --unmodelled
    python scripts/bench_altered.py --pool faces --nobody 200 --alteration jpeg:75:4:2:0
    python scripts/bench_altered.py --pool bundled --only dcgan_a progan_a --cost 3 \\
      --alteration jpeg:75 blur:1

`--nobody N` takes N images that no candidate made in place of own ones: the photographs of the
reference folder for the face pool, the renderer's faces for the bundled one. `--unmodelled` takes
the altered images as they are; where they have another size they are brought back by Lanczos first.
`--cost N` times the searches instead: unaltered and altered images taking turns N times after a
round that compiles; medians and their ratio. Prints rows and, for each alteration, a line of JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_accuracy import load_pool, origin, reference_folder, show
from bench_json import add_json_option, write_json

from jattr.alterations.chain import Chain
from jattr.alterations.files import alter
from jattr.alterations.registry import parse_chain
from jattr.attribution.attribute import attribute
from jattr.attribution.calibrate import own_images
from jattr.attribution.result import Attribution, Explanation
from jattr.decision.false_attribution import upper_bound
from jattr.generators.base import Generator
from jattr.images import fit, read_image
from jattr.inversion.config import InvertConfig
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import render_faces

BLOCK = 30  # images searched together


def attributed(
    pixels: np.ndarray,
    chain: Chain,
    generators: Sequence[Generator],
    config: InvertConfig,
    modelled: bool,
) -> list[Explanation]:
    """Return what was found of every image, altered first."""
    result: list[Explanation] = []
    for at in range(0, len(pixels), BLOCK):
        altered = alter(pixels[at : at + BLOCK], chain) if chain.steps else None
        images: Any = pixels[at : at + BLOCK] if altered is None else altered
        if altered is not None and not modelled:
            images = np.stack(
                [fit(image, generators[0].image_shape, resize=True) for image in altered.pixels]
            )
        att = attribute(images, generators, search=config)
        result += [Explanation(att, i) for i in range(len(att.verdicts))]
        print(f"{len(result)} of {len(pixels)}", file=sys.stderr, flush=True)
    return result


def summary(found: Sequence[Explanation], truth: Sequence[str | None]) -> dict[str, Any]:
    """Return what was right and wrong; truth None: nobody's."""
    verdicts = [att.verdicts[i] for att, i in found]
    right = [
        v.kind == "made-by" and t in v.candidates for v, t in zip(verdicts, truth, strict=True)
    ]
    certified = [r and v.certificate is not None for v, r in zip(verdicts, right, strict=True)]
    names = [[gen.name for gen in att.candidates] for att, _ in found]
    closest = [n[int(att.residual[i].argmin())] for n, (att, i) in zip(names, found, strict=True)]
    false = sum(_holding(att, i, t) for (att, i), t in zip(found, truth, strict=True))
    foreign = sum(len(n) - (t is not None) for n, t in zip(names, truth, strict=True))
    return {
        "pictures": len(found),
        "right": sum(right),
        "wrong": sum(v.kind == "made-by" and not r for v, r in zip(verdicts, right, strict=True)),
        "closest_right": sum(c == t for c, t in zip(closest, truth, strict=True)),
        "certified": sum(certified),
        "exact": sum(bool(v.certificate and v.certificate.bit_exact) for v in verdicts),
        "identical": float(
            np.mean([v.certificate.identical_bytes for v in verdicts if v.certificate] or [np.nan])
        ),
        "false_certificates": false,
        "of_foreign_searches": foreign,
        "false_at_most": upper_bound(false, foreign) if foreign else None,
        "none": sum(v.kind == "none" for v in verdicts),
        "undecided": sum(v.kind == "undecided" for v in verdicts),
        "not_certified": dict(
            Counter(str(t) for t, c in zip(truth, certified, strict=True) if not c)
        ),
    }


def _holding(att: Attribution, i: int, truth: str | None) -> int:
    """Return how many candidates hold a certificate of an image that they did not make."""
    return sum(
        bool(e.certificate and e.certificate.holds) for e in att.evidence[i] if e.name != truth
    )


def nobodys(
    pool: str, count: int, shape: tuple[int, int, int], reference: Path | None
) -> np.ndarray:
    """Return images that no candidate made."""
    if pool == "bundled" or reference is None:
        return np.asarray(render_faces(jax.random.key(99), count))
    paths = sorted((reference / "images" / "real_faces_64").glob("*.jpg"))[:count]
    return np.stack([fit(read_image(path), shape, resize=True) for path in paths])


def cost(
    pixels: np.ndarray,
    chains: Sequence[str],
    generators: Sequence[Generator],
    config: InvertConfig,
    rounds: int,
) -> dict[str, Any]:
    """Return median seconds of each alteration, modelled, and their ratio to those of unaltered
    images.
    """
    names, taken = ["", *chains], {text: [] for text in ["", *chains]}
    for number in range(rounds + 1):
        for text in names:
            start = time.perf_counter()
            attributed(pixels, parse_chain(text), generators, config, modelled=True)
            if number:
                taken[text].append(time.perf_counter() - start)
    medians = {text or "none": float(np.median(seconds)) for text, seconds in taken.items()}
    return {
        "seconds": medians,
        "ratio": {text: seconds / medians["none"] for text, seconds in medians.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", required=True, choices=("bundled", "faces"))
    parser.add_argument(
        "--reference", help="folder with weights/ and images/ (default: $JATTR_REFERENCE)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these candidates instead of the pool's"
    )
    parser.add_argument(
        "--images", "--pictures", type=int, default=5, help="of each candidate (default 5)"
    )
    parser.add_argument(
        "--nobody", type=int, metavar="N", help="N images of nobody in place of own ones"
    )
    parser.add_argument("--alteration", nargs="+", default=[""], metavar="CHAIN")
    parser.add_argument("--unmodelled", action="store_true", help="do not model the alteration")
    parser.add_argument("--cost", type=int, metavar="N", help="time searches instead, N rounds")
    parser.add_argument("--restarts", type=int)
    parser.add_argument("--seed", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    config = InvertConfig(seed=args.seed, restarts=args.restarts)
    reference = reference_folder(parser, args.reference) if args.pool == "faces" else None
    with tempfile.TemporaryDirectory() as work:
        generators = load_pool(reference, args.only, Path(work))
        if args.nobody:
            pixels, truth = (
                nobodys(args.pool, args.nobody, generators[0].image_shape, reference),
                [None] * args.nobody,
            )
        else:
            pixels = np.concatenate([own_images(gen, args.images, args.seed) for gen in generators])
            truth = [gen.name for gen in generators for _ in range(args.images)]
        if args.cost:
            result = cost(pixels, args.alteration, generators, config, args.cost)
            print(json.dumps({"pictures": len(pixels), **result, "seed": args.seed, **origin()}))
            write_json(args, [result], generators=generators, count=len(pixels))
            return
        rows = []
        for text in args.alteration:
            start = time.perf_counter()
            result = attributed(pixels, parse_chain(text), generators, config, not args.unmodelled)
            row = {"pool": args.pool, "candidates": len(generators), "alteration": text or "none"}
            row |= {
                "modelled": not args.unmodelled,
                "nobody": bool(args.nobody),
                **summary(result, truth),
            }
            row["seconds"] = round(time.perf_counter() - start, 1)
            show(row)
            print(json.dumps({**row, "seed": args.seed, **origin()}), flush=True)
            rows.append(row)
        write_json(args, rows, generators=generators, count=len(pixels))


if __name__ == "__main__":
    main()
