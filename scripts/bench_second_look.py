"""Images that were saved or edited in usual ways, and images of nobody, through `attribute`.

    python scripts/bench_second_look.py own --images 5
    python scripts/bench_second_look.py nobody --photographs 200 --faces 100 --reference DIR

`own` makes images of four bundled generators, saves or edits each in every way of `KINDS` as
programs do it (written here anew, not by jattr), and gives all bundled generators as candidates:
how many end "none", under a wrong name, named, certified. `nobody` gives photographs of the
reference folder and renderer's faces, with and without the second look, and states the
processor time of both.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_accuracy import reference_folder
from bench_json import add_json_option, write_json
from PIL import Image

from jattr.attribution.attribute import attribute
from jattr.attribution.result import Attribution
from jattr.decision.false_attribution import upper_bound
from jattr.generators.base import Generator
from jattr.generators.store import load_generator
from jattr.images import LoadedImage, load_image, read_image
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import render_faces

NAMES = (
    "dcgan_a", "dcgan_b", "progan_a", "progan_b", "stylegan_a", "stylegan_b", "stylegan2_a",
    "stylegan2_b", "stylegan2_a_early", "stylegan2_a_tuned",
)  # fmt: skip
BATCH = 8  # images that are stretched as one grid


def rounded(x: np.ndarray) -> np.ndarray:
    """Return bytes of values in [-1, 1], as cards say it."""
    return np.clip(np.floor((x + 1) * 127.5 + 0.5), 0, 255).astype(np.uint8)


def normalized(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return torchvision's `save_image(normalize=True)` of values between two ends."""
    return np.clip((x - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8)


def pasted(pixels: np.ndarray, mark: np.ndarray, top: int, left: int) -> np.ndarray:
    """Return an image with a mark pasted on."""
    pixels = pixels.copy()
    pixels[top : top + mark.shape[0], left : left + mark.shape[1]] = mark
    return pixels


def watermark(pixels: np.ndarray) -> np.ndarray:
    """Return an image with half-transparent strokes near a corner, as of a small signature."""
    strokes = np.zeros((4, 9), bool)
    strokes[:, ::2] = True
    strokes[0] = True
    region = pixels[-6:-2, -11:-2].astype(np.float32)
    mixed = np.where(strokes[..., None], 0.4 * region + 0.6 * 255, region)
    return pasted(pixels, mixed.astype(np.uint8), len(pixels) - 6, len(pixels) - 11)


def framed(pixels: np.ndarray) -> np.ndarray:
    """Return an image whose outermost pixels are black."""
    pixels = pixels.copy()
    pixels[[0, -1]] = 0
    pixels[:, [0, -1]] = 0
    return pixels


def padded(pixels: np.ndarray, down: int, right: int, mode: str) -> np.ndarray:
    """Return an image moved by whole pixels, with numpy's padding where nothing was."""
    height, width = pixels.shape[:2]
    widths = ((max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0))
    larger = np.pad(pixels, widths, mode=mode)  # type: ignore[call-overload]
    top, left = max(-down, 0), max(-right, 0)
    return np.asarray(larger[top : top + height, left : left + width])


LOGO = np.random.default_rng(0).integers(0, 256, (5, 5, 3)).astype(np.uint8)
# from the values [n, H, W, C] of a batch and an image's index to bytes [H, W, C]
Kind = Callable[[np.ndarray, int], np.ndarray]
KINDS: dict[str, Kind] = {
    "tv normalize": lambda x, i: normalized(x[i], x[i].min(), x[i].max()),
    "tv grid tile": lambda x, i: normalized(x[i], x.min(), x.max()),
    "bytescale": lambda x, i: (
        (x[i] - x[i].min()) * (255.0 / (x[i].max() - x[i].min())) + 0.5
    ).astype(np.uint8),
    "truncated": lambda x, i: np.clip((x[i] + 1) * 127.5, 0, 255).astype(np.uint8),
    "clip low": lambda x, i: np.clip(x[i] * 255 + 0.5, 0, 255).astype(np.uint8),
    "wrap low": lambda x, i: (x[i] * 255).astype(np.int32).astype(np.uint8),
    "wrap": lambda x, i: (x[i] * 127.5 + 128).astype(np.int32).astype(np.uint8),
    "bgr": lambda x, i: rounded(x[i])[..., ::-1],
    "invert": lambda x, i: 255 - rounded(x[i]),
    "flip h": lambda x, i: rounded(x[i])[:, ::-1],
    "flip v": lambda x, i: rounded(x[i])[::-1],
    "turn 90": lambda x, i: np.rot90(rounded(x[i]), -1),
    "turn 180": lambda x, i: np.rot90(rounded(x[i]), 2),
    "turn 270": lambda x, i: np.rot90(rounded(x[i]), 1),
    "roll down": lambda x, i: np.roll(rounded(x[i]), 1, 0),
    "roll up": lambda x, i: np.roll(rounded(x[i]), -1, 0),
    "roll right": lambda x, i: np.roll(rounded(x[i]), 1, 1),
    "roll left": lambda x, i: np.roll(rounded(x[i]), -1, 1),
    "pad shift": lambda x, i: padded(rounded(x[i]), 1, 0, "constant"),
    "edge shift": lambda x, i: padded(rounded(x[i]), 0, -1, "edge"),
    "reflect shift": lambda x, i: padded(rounded(x[i]), -1, 0, "reflect"),
    "white corner": lambda x, i: pasted(rounded(x[i]), np.full((3, 3, 3), 255, np.uint8), 0, 29),
    "logo": lambda x, i: pasted(rounded(x[i]), LOGO, 25, 2),
    "watermark": lambda x, i: watermark(rounded(x[i])),
    "border": lambda x, i: framed(rounded(x[i])),
}
COMPRESSED = {"bgr jpeg": 95, "flip jpeg": 90}  # quality


def altered(kind: str, values: np.ndarray, i: int, folder: Path) -> LoadedImage:
    """Return one image of a kind, from the values of its batch, as it is read from its file."""
    path = folder / f"{kind.replace(' ', '_')}_{i}"
    if kind in COMPRESSED:
        pixels = KINDS["bgr" if kind.startswith("bgr") else "flip h"](values, i)
        path = path.with_suffix(".jpg")
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, quality=COMPRESSED[kind])
    else:
        path = path.with_suffix(".png")
        Image.fromarray(np.ascontiguousarray(KINDS[kind](values, i))).save(path)
    return load_image(str(path))


def run_own(args: argparse.Namespace, gens: Sequence[Generator]) -> list[dict[str, Any]]:
    """Return a row for each kind: how many images of each family ended how."""
    import tempfile

    rows = []
    by_name = {gen.name: gen for gen in gens}
    for kind in args.kinds or [*KINDS, *COMPRESSED]:
        counts: Counter[str] = Counter()
        alterations: Counter[str] = Counter()
        begun = time.perf_counter()
        for name in args.only:
            gen = by_name[name]
            z = gen.sample_latent(jax.random.key(args.seed), max(BATCH, args.images))
            values = np.asarray(gen.generate(z), np.float32)
            with tempfile.TemporaryDirectory() as folder:
                images = [altered(kind, values, i, Path(folder)) for i in range(args.images)]
                att = attribute(images, gens)
            ends = [end_of(att, i, name) for i in range(args.images)]
            counts.update(ends)
            alterations.update(str(c.text if c else "as it is") for c in att.alterations)
            if args.verbose:
                for i, end in enumerate(ends):
                    print(kind, name, i, end, att.verdicts[i].reason, file=sys.stderr, flush=True)
        total = len(args.only) * args.images
        row = {
            "kind": kind,
            "images": total,
            **{end: counts[end] for end in ("certified", "named", "undecided", "none", "wrong")},
            "alterations": dict(alterations.most_common(4)),
            "seconds": round(time.perf_counter() - begun, 1),
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def end_of(att: Attribution, i: int, maker: str) -> str:
    """Return how an image of a maker ended."""
    verdict = att.verdicts[i]
    if verdict.kind != "made-by":
        return verdict.kind
    if maker not in verdict.candidates:
        return "wrong"
    return "named" if verdict.certificate is None else "certified"


def run_nobody(args: argparse.Namespace, gens: Sequence[Generator]) -> list[dict[str, Any]]:
    """Return a row for each source: how its images ended, and the time with and without."""
    sources = {}
    if args.faces:
        sources["renderer's faces"] = render_faces(jax.random.key(args.seed), args.faces, size=32)
    if args.photographs:
        parser = argparse.ArgumentParser()
        folder = reference_folder(parser, args.reference) / "images" / "real_faces_64"
        paths = sorted(folder.glob("*.jpg"))[: args.photographs]
        small = [
            Image.fromarray(read_image(str(path))).resize((32, 32), Image.Resampling.LANCZOS)
            for path in paths
        ]
        sources["photographs"] = np.stack([np.asarray(image) for image in small])
    rows = []
    for source, pixels in sources.items():
        attribute(pixels[:1], gens, second_look=True)  # compiles
        ends: dict[bool, Counter[str]] = {}
        seconds: dict[bool, float] = {False: 0.0, True: 0.0}
        for looks in (False, True):
            ends[looks] = Counter()
            for at in range(0, len(pixels), args.block):
                begun = time.process_time()
                att = attribute(pixels[at : at + args.block], gens, second_look=looks)
                seconds[looks] += time.process_time() - begun
                ends[looks].update(verdict.kind for verdict in att.verdicts)
                if args.verbose:
                    for verdict in att.verdicts:
                        if verdict.kind != "none":
                            print(source, looks, verdict.reason, file=sys.stderr, flush=True)
        named = ends[True]["made-by"]
        row = {
            "source": source,
            "images": len(pixels),
            "named": named,
            "named_at_most": upper_bound(named, len(pixels)),
            "none": ends[True]["none"],
            "undecided": ends[True]["undecided"],
            "none_without": ends[False]["none"],
            "seconds": round(seconds[True], 1),
            "seconds_without": round(seconds[False], 1),
            "ratio": round(seconds[True] / seconds[False], 2),
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("own", "nobody"))
    parser.add_argument("--candidates", nargs="+", default=list(NAMES))
    parser.add_argument(
        "--only", nargs="+", default=["dcgan_a", "progan_a", "stylegan_a", "stylegan2_a"]
    )
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, *COMPRESSED])
    parser.add_argument("--images", type=int, default=5, help="of each generator and kind")
    parser.add_argument("--photographs", type=int, default=0)
    parser.add_argument("--faces", type=int, default=0)
    parser.add_argument("--block", type=int, default=25, help="images of nobody searched together")
    parser.add_argument("--reference")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    gens = [load_generator(name) for name in args.candidates]
    rows = run_own(args, gens) if args.what == "own" else run_nobody(args, gens)
    write_json(args, rows, generators=gens)


if __name__ == "__main__":
    main()
