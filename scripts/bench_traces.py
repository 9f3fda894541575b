"""Traces of losses before a file was saved: how often they are seen, and where there are none.

    python scripts/bench_traces.py --images 200 --altered 20 --json FILE
    python scripts/bench_traces.py --images 50 --altered 10 --only dcgan_a --kinds jpeg webp

First untouched images, `--images` of each bundled generator, and as many of the renderer's faces,
waves and noise: how often `traces_of` sees a loss, or `OwnLevels` too few colours, that never was
(own images of each generator, and all others against each generator). With a reference folder its
photographs, too: as stored (they are JPEGs), and halved by three filters; with `--photographs`
parts of 32x32 pixels of the images of a folder.

Then `--altered` own images of each generator with each of many losses, saved without loss: how
often the loss is seen, and how often it is not though it moves the image further than "none" needs
(`DecisionConfig.none_above`): of such a file "none" could be said falsely.
"""

import argparse
import functools
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_json import add_json_option, write_json
from PIL import Image, features

import jattr
from jattr.alterations import Jpeg
from jattr.alterations.history import traces_of
from jattr.attribution.caveats import OwnLevels
from jattr.decision.false_attribution import upper_bound
from jattr.decision.verdict import DecisionConfig
from jattr.generators.base import Generator
from jattr.generators.store import bundled_generators
from jattr.images import read_image, to_float
from jattr.images.jpeg_file import SAMPLINGS
from jattr.zoo.faces import render_faces

Loss = Callable[[np.ndarray], np.ndarray]  # of an image uint8 [H, W, 3]
FILTERS = {"box": Image.Resampling.BOX, "bicubic": Image.Resampling.BICUBIC,
           "lanczos": Image.Resampling.LANCZOS}  # fmt: skip


def saved(pixels: np.ndarray, kind: str, **options: Any) -> np.ndarray:
    """Return an image as a file of Pillow's holds it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def quantised(pixels: np.ndarray, **options: Any) -> np.ndarray:
    """Return an image with the colours of a palette."""
    return np.asarray(Image.fromarray(pixels).quantize(**options).convert("RGB"))


def web(pixels: np.ndarray) -> np.ndarray:
    """Return an image with the web's palette, dithered: `convert("P")`."""
    return np.asarray(Image.fromarray(pixels).convert("P").convert("RGB"))


def bilevel(pixels: np.ndarray) -> np.ndarray:
    """Return an image of two levels a channel."""
    return np.where(pixels < 128, 0, 255).astype(np.uint8)


def posterised(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return an image of so many bits a sample."""
    return pixels >> (8 - bits) << (8 - bits)


def twice(pixels: np.ndarray, one: Jpeg, two: Jpeg) -> np.ndarray:
    """Return an image after two compressions."""
    return two.discrete(one.discrete(pixels[None]))[0]


def losses() -> Iterator[tuple[str, str, Loss]]:
    """Yield group, name and function of every loss."""
    for kind in (*SAMPLINGS, "rgb"):
        for quality in (30, 50, 75, 85, 90, 95, 98):
            jpeg = Jpeg.of_quality(quality, kind)
            yield "jpeg", f"jpeg:{quality}:{kind}", lambda p, jpeg=jpeg: jpeg.discrete(p[None])[0]
    for name in ("web_low", "web_high", "low", "medium", "high", "maximum"):
        yield "tables", f"photoshop {name}", functools.partial(saved, kind="JPEG", quality=name)
    for first, second in ((50, 75), (50, 90), (75, 90), (75, 95)):
        one, two = Jpeg.of_quality(first), Jpeg.of_quality(second)
        yield "twice", f"jpeg:{first},jpeg:{second}", functools.partial(twice, one=one, two=two)
    for kind in ("WEBP", "AVIF"):
        if not features.check(kind.lower()):
            continue
        for quality in (30, 50, 75, 90):
            loss = functools.partial(saved, kind=kind, quality=quality)
            yield kind.lower(), f"{kind} {quality}", loss
    if features.check("avif"):
        for quality in (50, 75):
            for sampling in ("4:4:4", "4:2:2"):
                loss = functools.partial(saved, kind="AVIF", quality=quality, subsampling=sampling)
                yield "avif", f"AVIF {quality} {sampling}", loss
    for colours in (16, 64, 128, 256):
        for dither in (0, 3):
            loss = functools.partial(quantised, colors=colours, dither=dither)
            yield "palette", f"palette {colours}{' dithered' * (dither > 0)}", loss
    yield "palette", "web palette, dithered", web
    yield "palette", "GIF", functools.partial(saved, kind="GIF")
    yield "levels", "2 levels", bilevel
    for bits in (1, 2, 3, 4, 5, 6):
        yield "levels", f"{bits} bits", functools.partial(posterised, bits=bits)


def others(
    count: int, reference: Path | None, folder: Path | None
) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Yield images that no generator made: name, images, whether they never had losses."""
    yield "rendered faces", render_faces(jax.random.key(9), count), True
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    yield "noise", noise, True
    y, x = np.mgrid[:32, :32]
    down, across = rng.uniform(3, 20, (2, count, 1, 1, 3))
    waves = np.sin(x[..., None] / across + down) * np.cos(y[..., None] / down + across)
    yield "waves", (127.5 + 110 * waves).astype(np.uint8), True
    if folder is not None:
        for file in sorted(folder.iterdir()):
            whole = read_image(file, channels=3)
            tops, lefts = (rng.integers(0, side - 32, count) for side in whole.shape[:2])
            places = zip(tops, lefts, strict=True)
            parts = [whole[top : top + 32, left : left + 32] for top, left in places]
            yield f"parts of {file.name}", np.stack(parts), True
    if reference is None:
        return
    files = sorted((reference / "images" / "real_faces_64").glob("*.jpg"))[:count]
    photographs = np.stack([read_image(file, channels=3) for file in files])
    yield "photographs, as stored", photographs, False
    for name, kernel in FILTERS.items():
        halves = [np.asarray(Image.fromarray(p).resize((32, 32), kernel)) for p in photographs]
        yield f"photographs, halved by {name}", np.stack(halves), True


def untouched(
    name: str, images: np.ndarray, levels: dict[str, OwnLevels], *, never: bool
) -> dict[str, Any]:
    """Return what is seen in images that are as they were made."""
    start = time.perf_counter()
    traces = [traces_of(image) for image in images]
    seconds = (time.perf_counter() - start) / len(images)
    few = {
        gen: sum(bool(own.fewer(image, None)) for image in images) for gen, own in levels.items()
    }
    seen = sum(bool(trace.text) for trace in traces)
    return {
        "images": name,
        "without losses": never,
        "count": len(images),
        "coefficients": sum(trace.jpeg is not None for trace in traces),
        "blocks": sum(trace.blocks for trace in traces),
        "chroma": sum(bool(trace.chroma) for trace in traces),
        "any": seen,
        "any, at most": round(upper_bound(seen, len(images)), 4),
        "few colours": max(few.values()),
        "against": max(few, key=lambda gen: few[gen]),
        "ms": round(1000 * seconds, 1),
    }


def altered(
    group: str, name: str, loss: Loss, images: dict[str, np.ndarray], levels: dict[str, OwnLevels]
) -> dict[str, Any]:
    """Return how often a loss is seen."""
    far_above = DecisionConfig().none_above
    count = seen = far = far_unseen = 0
    by: dict[str, int] = {"coefficients": 0, "blocks": 0, "chroma": 0, "few colours": 0}
    for gen, own in images.items():
        for image in own:
            lossy = loss(image)
            traces = traces_of(lossy)
            found = {
                "coefficients": traces.jpeg is not None,
                "blocks": traces.blocks,
                "chroma": bool(traces.chroma),
                "few colours": bool(levels[gen].fewer(lossy, None)),
            }
            is_far = float(np.square(to_float(lossy) - to_float(image)).mean()) > far_above
            count += 1
            seen += any(found.values())
            far += is_far
            far_unseen += is_far and not any(found.values())
            for way, value in found.items():
                by[way] += value
    return {
        "group": group, "loss": name, "count": count, "seen": seen, **by,
        "far": far, "far and not seen": far_unseen,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, help="untouched ones (default 200)")
    parser.add_argument("--altered", type=int, default=20, help="with each loss (default 20)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="bundled generators")
    parser.add_argument("--kinds", nargs="*", metavar="GROUP", help="of losses")
    parser.add_argument("--reference", help="folder with images/ (default: $JATTR_REFERENCE)")
    parser.add_argument(
        "--photographs", type=Path, metavar="FOLDER", help="of images that never had losses"
    )
    parser.add_argument("--seed", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    given = args.reference or os.environ.get("JATTR_REFERENCE")
    names = args.only or list(bundled_generators())
    generators: dict[str, Generator] = {name: jattr.load_generator(name) for name in names}
    levels = {name: OwnLevels([gen]) for name, gen in generators.items()}
    count = max(args.images, args.altered)
    images = {
        name: gen.sample_images(jax.random.key(args.seed), count).images
        for name, gen in generators.items()
    }
    rows = []
    for name, own in images.items():
        rows.append(untouched(name, own[: args.images], {name: levels[name]}, never=True))
        print(rows[-1], flush=True)
    for name, other, never in others(args.images, Path(given) if given else None, args.photographs):
        rows.append(untouched(name, other, levels, never=never))
        print(rows[-1], flush=True)
    few = {name: own[: args.altered] for name, own in images.items()}
    for group, name, loss in losses():
        if args.kinds is None or group in args.kinds:
            rows.append(altered(group, name, loss, few, levels))
            print(rows[-1], flush=True)
    write_json(args, rows, generators=generators.values())


if __name__ == "__main__":
    main()
