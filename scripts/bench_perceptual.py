"""How near the perceptual hashes of edited copies come, and those of different images.

    python scripts/bench_perceptual.py
    python scripts/bench_perceptual.py --images 3000 --altered 200 --seed 2 --reference FOLDER
    python scripts/bench_perceptual.py --only photographs

Images: `--images` of each bundled generator, as many procedural faces, and the photographs of the
reference folder ($JATTR_REFERENCE) if there is one. Copies: of the first `--altered` of each, for
every alteration. Different images: all pairs, those of one source apart, and images of one latent
by two generators that were trained from each other. Pairs share images and are no independent
trials: the bounds of pairs are as if they were; a bound by images is beside them, which counts an
image as one trial: whether any other of its source is near it. Prints a line of JSON for each.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_accuracy import origin
from bench_json import add_json_option, write_json

from jattr.alterations.files import alter
from jattr.alterations.registry import parse_chain
from jattr.attribution.calibrate import own_images
from jattr.decision.false_attribution import upper_bound
from jattr.generators.store import bundled_generators, load_generator
from jattr.images import read_image
from jattr.ledger.perceptual import FEATURELESS, HASH_BITS, NEAR_BITS, perceptual_hash
from jattr.zoo.faces import render_faces

ALTERATIONS = (
    "jpeg:90",
    "jpeg:75",
    "jpeg:50",
    "jpeg:30",
    "rescale:0.9",
    "rescale:0.75",
    "rescale:0.5",
    "rescale:1.5",
    "rescale:2",
    "rescale:0.75,jpeg:75",
    "blur:0.5",
    "blur:1",
    "blur:1,jpeg:75",
    "noise:0.02",
    "noise:0.05",
    "brightness:0.8",
    "brightness:1.25",
    "contrast:0.8",
    "gamma:1.2",
    "grey:3",
    "centre:0.95",
    "centre:0.9",
    "shift:1:0",
    "shift:1:1",
    "flip",
)
SIBLINGS = (("stylegan2_a", "stylegan2_a_tuned"), ("stylegan2_a", "stylegan2_a_early"))
THRESHOLDS = (0, 8, 16, 24, 28, 32, 36, 40, 48, 56, 64)
BLOCK = 500


def hashes(images: Any) -> np.ndarray:
    """Return the bits [n, 256] of images, bool."""
    result = np.frombuffer(b"".join(perceptual_hash(image) for image in images), np.uint8)
    return np.unpackbits(result.reshape(len(images), -1), axis=1).astype(bool)


def sources(
    count: int, seed: int, reference: Path | None, only: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Return images by their source."""
    names = [*bundled_generators(), "faces", "photographs"] if only is None else only
    made = {
        name: own_images(load_generator(name), count, seed)
        for name in names
        if name in bundled_generators()
    }
    if "faces" in names:
        made["faces"] = np.asarray(render_faces(jax.random.key(seed), count))
    if reference and "photographs" in names:
        paths = sorted((reference / "images" / "real_faces_64").glob("*.jpg"))
        made["photographs"] = np.stack([read_image(path) for path in paths])
    return made


def pair_counts(
    a: np.ndarray, b: np.ndarray | None = None, *, same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many pairs have each distance [257], and the distance [n] of each of `a` to the
    nearest other.

    Of all pairs of a and b; without b, of all pairs of two different ones of a. `same`: b holds
    copies of a, in its order, and an image's own copy is left out.
    """
    others = 2 * (a if b is None else b).astype(np.float32) - 1
    counts, nearest = np.zeros(HASH_BITS + 1, np.int64), np.full(len(a), HASH_BITS)
    for at in range(0, len(a), BLOCK):
        some = 2 * a[at : at + BLOCK].astype(np.float32) - 1
        distances = ((HASH_BITS - some @ others.T) / 2).astype(np.int64)
        if same or b is None:
            distances[np.arange(len(some)), at + np.arange(len(some))] = HASH_BITS
        counts += np.bincount(distances.ravel(), minlength=HASH_BITS + 1)
        nearest[at : at + BLOCK] = distances.min(1)
    if same or b is None:
        counts[HASH_BITS] -= len(a)
    if b is None:
        counts //= 2
    return counts, nearest


def copies(
    images: Mapping[str, np.ndarray], bits: Mapping[str, np.ndarray], text: str, count: int
) -> np.ndarray:
    """Return the distance of each image's altered copy."""
    chain = parse_chain(text)
    result = []
    for name, some in images.items():
        altered = hashes(alter(some[:count], chain).pixels)
        result.append((altered != bits[name][: len(altered)]).sum(1))
    return np.concatenate(result)


def turned_pairs(images: Mapping[str, np.ndarray], bits: Mapping[str, np.ndarray]) -> Any:
    """Return `pair_counts` of images of one source, one of the two turned or mirrored in the
    seven ways.
    """
    counts, nearest = np.zeros(HASH_BITS + 1, np.int64), []
    for name, some in images.items():
        result = []
        for seen, quarter in [(some, k) for k in (1, 2, 3)] + [
            (some[:, :, ::-1], k) for k in range(4)
        ]:
            turned = hashes(np.ascontiguousarray(np.rot90(seen, quarter, axes=(1, 2))))
            pairs, least = pair_counts(turned, bits[name], same=True)
            counts += pairs
            result.append(least)
        nearest.append(np.min(result, axis=0))
    return counts, np.concatenate(nearest)


def said_of_copies(text: str, distances: np.ndarray) -> dict[str, Any]:
    missed = int((distances > NEAR_BITS).sum())
    return {
        "alteration": text,
        "copies": len(distances),
        "median": float(np.median(distances)),
        "largest": int(distances.max()),
        "near": len(distances) - missed,
        "near_rate": 1 - missed / len(distances),
        "missed_at_most": upper_bound(missed, len(distances)),
        "curve": {t: float((distances <= t).mean()) for t in THRESHOLDS},
    }


def said_of_pairs(name: str, counts: np.ndarray, nearest: np.ndarray) -> dict[str, Any]:
    pairs, false = int(counts.sum()), int(counts[: NEAR_BITS + 1].sum())
    hit = int((nearest <= NEAR_BITS).sum())
    return {
        "pairs_of": name,
        "pairs": pairs,
        "least": int(np.flatnonzero(counts)[0]),
        "median": int(np.searchsorted(np.cumsum(counts), pairs / 2)),
        "near": false,
        "near_rate_at_most": upper_bound(false, pairs),
        "pictures": len(nearest),
        "pictures_hit": hit,
        "pictures_hit_at_most": upper_bound(hit, len(nearest)),
        "curve": {t: int(counts[: t + 1].sum()) for t in THRESHOLDS},
    }


def of_one_latent(names: tuple[str, str], count: int, seed: int) -> np.ndarray:
    """Return distances of images that two generators make of the same latents."""
    pair = [load_generator(name) for name in names]
    z = np.asarray(pair[0].sample_latent(jax.random.key(seed), count))
    one, two = (hashes(gen.make_bytes(z)) for gen in pair)
    return (one != two).sum(1)


class Shown:
    """Prints rows as they come, and keeps them."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Print a row."""
        self.rows.append(row)
        print(json.dumps({**row, "near_is": NEAR_BITS, **origin()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images",
        "--pictures",
        type=int,
        default=300,
        help="of each source, for the pairs (default 300)",
    )
    parser.add_argument(
        "--altered", type=int, default=200, help="of each source, for the copies (default 200)"
    )
    parser.add_argument(
        "--reference", help="folder with images/ (default: $JATTR_REFERENCE; none: no photographs)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="SOURCE", help="bundled generators, faces, photographs"
    )
    parser.add_argument("--seed", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    given = args.reference or os.environ.get("JATTR_REFERENCE")
    images = sources(args.images, args.seed, Path(given) if given else None, args.only)
    if not images:
        parser.error("no images of these sources; photographs need --reference or JATTR_REFERENCE")
    start = time.perf_counter()
    bits = {name: hashes(some) for name, some in images.items()}
    print(
        f"{sum(map(len, bits.values()))} hashes in {time.perf_counter() - start:.1f} s",
        file=sys.stderr,
    )
    show = Shown()
    featureless = sum(not row.any() for some in bits.values() for row in some)
    show(
        {
            "featureless": featureless,
            "pictures": sum(map(len, bits.values())),
            "hash_of_them": FEATURELESS.hex(),
        }
    )
    for text in ALTERATIONS:
        show(said_of_copies(text, copies(images, bits, text, args.altered)))
    for names in SIBLINGS:
        show(
            said_of_copies(
                "one latent, " + " and ".join(names), of_one_latent(names, args.altered, args.seed)
            )
        )
    same = {name: pair_counts(some) for name, some in bits.items()}
    for name, (counts, nearest) in same.items():
        show(said_of_pairs(name, counts, nearest))
    show(
        said_of_pairs(
            "one source",
            sum(c for c, _ in same.values()),
            np.concatenate([n for _, n in same.values()]),
        )
    )
    show(said_of_pairs("one source, one of two turned or mirrored", *turned_pairs(images, bits)))
    show(said_of_pairs("any sources", *pair_counts(np.concatenate(list(bits.values())))))
    write_json(args, show.rows, count=sum(map(len, bits.values())))


if __name__ == "__main__":
    main()
