"""How often `attribute` is right, on images of known origin, saved as PNG and read back.

    # JATTR_REFERENCE names the reference folder
    python scripts/bench_accuracy.py --pool faces --images 16
    python scripts/bench_accuracy.py --pool mnist --images 8 --reference DIR
    python scripts/bench_accuracy.py --pool photographs --count 200

The reference folder has `weights/NAME.card.json` with the files that they name, and `images/`.
Prints a table and, last, one line of JSON. Candidates of one digest count as one model.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from absl import logging
from bench_json import add_json_option, write_json
from jattr.converters.convert import convert

from jattr.attribution.attribute import attribute
from jattr.attribution.result import Attribution
from jattr.decision.certificate import MIN_EXCESS
from jattr.generators.base import Generator
from jattr.generators.store import bundled_generators, load_generator
from jattr.images import fit, read_image, write_png
from jattr.inversion.config import InvertConfig
from jattr.runtime import enable_compilation_cache

FACES = ("efleurine_faces11", "efleurine_faces_generator", "fletchersarip93_face")
FACE = "face (CelebA"


class Entry(NamedTuple):
    """A card of the reference folder."""

    path: Path
    card: dict[str, Any]


def reference_folder(parser: argparse.ArgumentParser, given: str | None) -> Path:
    """Return the reference folder, or end the program with what to do."""
    folder = given or os.environ.get("JATTR_REFERENCE")
    if not folder or not (Path(folder) / "weights").is_dir():
        parser.error(
            "there is no folder of reference weights; give --reference DIR or set JATTR_REFERENCE"
        )
    return Path(folder)


def find_entries(reference: Path) -> dict[str, Entry]:
    """Return the cards of the reference folder by name."""
    paths = sorted((reference / "weights").glob("*.card.json"))
    cards = [Entry(path, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return {entry.card["name"]: entry for entry in cards}


def pool_of(card: dict[str, Any]) -> str:
    """Return the pool that a card belongs to, by its label, domain and shape."""
    if card["conditioning"] is not None:
        return "conditional"
    domain = card.get("domain") or ""
    starts = {"Fashion": "fashion", "MNIST": "mnist", FACE: "faces"}
    return next((pool for start, pool in starts.items() if domain.startswith(start)), "other")


def find_groups(
    entries: dict[str, Entry], pool: str, only: Sequence[str] | None
) -> list[list[str]]:
    """Return the names of the pool's candidates, in groups of one image shape."""
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, (_, card) in entries.items():
        if (only and name in only) or (not only and pool_of(card) == pool):
            groups[tuple(card["image_shape"])].append(name)
    return list(groups.values())


def load(entries: dict[str, Entry], names: Sequence[str], folder: Path) -> list[Generator]:
    """Convert the named cards into `folder` and return their generators."""
    logging.set_verbosity(logging.ERROR)  # orbax warns of what does not concern us
    return [convert(entries[name].path, folder / name) for name in names]


def load_pool(reference: Path | None, only: Sequence[str] | None, folder: Path) -> list[Generator]:
    """Return the face generators of the reference folder, converted into `folder`.

    Without one the bundled ones.
    """
    if reference is None:
        return [load_generator(name) for name in only or bundled_generators()]
    return load(find_entries(reference), list(only or FACES), folder)


def own_images(
    gen: Generator, count: int, key: jax.Array, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return images of a generator as a PNG file gives them back [n, H, W, C], and their classes
    [n] or -1.
    """
    z = gen.sample_latent(key, count)
    label = np.arange(count) % gen.num_classes if gen.num_classes else None
    made = gen.to_bytes(gen.generate(z, label=label))
    back = []
    for number, pixels in enumerate(made):
        path = folder / f"{gen.name}_{number:04d}.png"
        write_png(path, pixels)
        back.append(read_image(path, channels=pixels.shape[-1]))
        np.testing.assert_array_equal(back[-1], pixels)
    return np.stack(back), np.full(count, -1) if label is None else label


def summary(
    att: Attribution, pixels: np.ndarray, truth: list[str], labels: np.ndarray
) -> dict[str, Any]:
    """Return what a run got right and wrong."""
    names = [gen.name for gen in att.candidates]
    digest = {gen.name: gen.digest for gen in att.candidates}
    right = [
        v.kind == "made-by" and digest[t] in {digest[name] for name in v.candidates}
        for v, t in zip(att.verdicts, truth, strict=True)
    ]
    wrong = [v.kind == "made-by" and not r for v, r in zip(att.verdicts, right, strict=True)]
    own = [att.evidence[i][names.index(t)] for i, t in enumerate(truth)]
    unclipped = ((pixels > 0) & (pixels < 255)).sum((1, 2, 3))
    unknowns = [int(np.prod(att.candidates[names.index(t)].latent_shape)) for t in truth]
    excess = np.array(  # where no certificate was tried: as if the Jacobian had full rank
        [
            n - d if e.certificate is None else e.certificate.excess
            for e, n, d in zip(own, unclipped, unknowns, strict=True)
        ]
    )
    certified = np.array([v.certificate is not None for v in att.verdicts]) & np.array(right)
    enough = excess >= MIN_EXCESS
    conditional = labels >= 0
    result = np.array([att.labels[i, names.index(t)] for i, t in enumerate(truth)])
    margins = [
        v.margin for v, r in zip(att.verdicts, right, strict=True) if r and v.margin is not None
    ]
    kinds = [v.kind for v in att.verdicts]
    return {
        "candidates": names,
        "models": len(set(digest.values())),
        "pictures": len(truth),
        "correct": sum(right),
        "certificates": int(certified.sum()),
        "bit_exact": sum(bool(v.certificate and v.certificate.bit_exact) for v in att.verdicts),
        "share_enough_excess": float(enough.mean()),
        "certified_of_those": float(certified[enough].mean()) if enough.any() else None,
        "wrong": sum(wrong),
        "none": kinds.count("none"),
        "undecided": kinds.count("undecided"),
        "failed": kinds.count("failed"),
        "class_recovered": float((result == labels)[conditional].mean())
        if conditional.any()
        else None,
        "median_runner_up_ratio": float(np.median(margins)) if margins else None,
        "restarts_own": float(np.mean([e.restarts for e in own])),
        "by_model": {name: _by_model(name, truth, right, certified, own) for name in names},
    }


def _by_model(
    name: str, truth: list[str], right: list[bool], certified: np.ndarray, own: list[Any]
) -> dict[str, Any]:
    mine = [i for i, t in enumerate(truth) if t == name]
    return {
        "pictures": len(mine),
        "correct": sum(right[i] for i in mine),
        "certificates": int(certified[mine].sum()),
        "restarts": float(np.mean([own[i].restarts for i in mine])) if mine else None,
    }


def run_own(
    args: argparse.Namespace, entries: dict[str, Entry], names: list[str], work: Path
) -> dict[str, Any]:
    """Attribute own images of one group of candidates."""
    gens = load(entries, names, work)
    keys = jax.random.split(jax.random.key(args.seed), len(gens))
    made = [own_images(gen, args.images, key, work) for gen, key in zip(gens, keys, strict=True)]
    pixels = np.concatenate([images for images, _ in made])
    truth = [gen.name for gen in gens for _ in range(args.images)]
    start = time.perf_counter()
    att = attribute(pixels, gens, search=config_of(args))
    seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 2),
        **summary(att, pixels, truth, np.concatenate([labels for _, labels in made])),
    }


def run_photographs(
    args: argparse.Namespace, entries: dict[str, Entry], reference: Path, work: Path
) -> dict[str, Any]:
    """Attribute photographs to the face generators: none of them made one."""
    gens = load(entries, args.only or FACES, work)
    paths = sorted((reference / "images" / "real_faces_64").glob("*.jpg"))[: args.count]
    pixels = np.stack([fit(read_image(path), gens[0].image_shape, resize=True) for path in paths])
    start = time.perf_counter()
    att = attribute(pixels, gens, search=config_of(args))
    kinds = [v.kind for v in att.verdicts]
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "candidates": [gen.name for gen in gens],
        "pictures": len(paths),
        "certificates": sum(v.certificate is not None for v in att.verdicts),
        **{kind: kinds.count(kind) for kind in ("made-by", "none", "undecided", "failed")},
        "smallest_residual": float(att.residual.min()),
        "restarts": float(np.mean([[e.restarts for e in row] for row in att.evidence])),
    }


def config_of(args: argparse.Namespace) -> InvertConfig:
    """Return the settings; options left away have their defaults."""
    options = {
        "restarts": args.restarts,
        "steps": args.steps,
        "seed": args.seed,
        "optimiser": args.optimiser,
    }
    return InvertConfig(**{name: value for name, value in options.items() if value is not None})


def origin() -> dict[str, Any]:
    """Return where a number was measured.

    Device, load (above the cores: other work disturbed it), versions.
    """
    return {
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
    }


def show(row: dict[str, Any], *, indent: str = "") -> None:
    """Print a row as a table."""
    for name, value in row.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            show(value, indent=indent + "  ")
        else:
            print(
                f"{indent}{name:24} {value:.4g}"
                if isinstance(value, float)
                else f"{indent}{name:24} {value}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pool",
        required=True,
        choices=("faces", "mnist", "conditional", "fashion", "other", "photographs"),
    )
    parser.add_argument(
        "--reference", help="folder with weights/ and images/ (default: $JATTR_REFERENCE)"
    )
    parser.add_argument(
        "--images", "--pictures", type=int, default=8, help="of each candidate (default 8)"
    )
    parser.add_argument("--count", type=int, default=200, help="photographs (default 200)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these candidates instead of the pool's"
    )
    parser.add_argument("--restarts", type=int)
    parser.add_argument("--optimiser")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    add_json_option(parser)
    args = parser.parse_args()
    reference = reference_folder(parser, args.reference)
    entries = find_entries(reference)
    if unknown := set(args.only or ()) - set(entries):
        parser.error(
            f"no card is called {', '.join(sorted(unknown))}; there are {', '.join(entries)}"
        )
    enable_compilation_cache()
    settings = {
        "pool": args.pool,
        "seed": args.seed,
        "restarts": config_of(args).restarts,
        "steps": args.steps,
    }
    with tempfile.TemporaryDirectory() as folder:
        if args.pool == "photographs":
            rows = [run_photographs(args, entries, reference, Path(folder))]
        else:
            rows = [
                run_own(args, entries, names, Path(folder))
                for names in find_groups(entries, args.pool, args.only)
            ]
    for row in rows:
        show(row)
        print()
    print(json.dumps({**settings, "groups": rows, **origin()}))
    write_json(args, rows, count=sum(row["pictures"] for row in rows))


if __name__ == "__main__":
    main()
