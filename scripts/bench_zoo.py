"""The bundled generators in numbers: are they attributed, and do their images look like faces.

    python scripts/bench_zoo.py --part own --images 20          # PNG of each: right, certified
    # the renderer's faces: none may be attributed
    python scripts/bench_zoo.py --part nobody --images 100
    # the own images at quality 90, 75, 50
    python scripts/bench_zoo.py --part jpeg --images 5
    # a classifier against the renderer; distinctness
    python scripts/bench_zoo.py --part looks
    python scripts/bench_zoo.py --part sheet                      # draws docs/zoo.png

Prints rows and, last, one line of JSON.
"""

import argparse
import io
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
import jax.numpy as jnp
import numpy as np
import optax
from bench_accuracy import origin, own_images
from bench_families import show
from bench_json import add_json_option, write_json
from PIL import Image

from jattr.attribution.attribute import attribute
from jattr.generators import ops
from jattr.generators.base import Generator
from jattr.generators.store import bundled_generators, load_generator
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig
from jattr.inversion.evaluate import make_images
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import render_faces

QUALITIES = (90, 75, 50)
SAMPLES = 1_000  # whose distinctness is measured
DISTINCT = 8.0  # root mean square difference, bytes: clearly another image
TRAINING, TESTING = 4_000, 1_000  # images of each kind that the classifier sees, and is judged on
EPOCHS, BATCH = 8, 64
COLUMNS = 16  # of the sample sheet
BLOCK = 32  # images searched together


def found(pixels: np.ndarray, generators: Sequence[Generator], config: InvertConfig) -> list[Any]:
    """Return the verdicts on images, block by block."""
    verdicts: list[Any] = []
    for at in range(0, len(pixels), BLOCK):
        verdicts += attribute(pixels[at : at + BLOCK], generators, search=config).verdicts
        print(f"{len(verdicts)} of {len(pixels)}", file=sys.stderr, flush=True)
    return verdicts


def own(
    generators: Sequence[Generator], count: int, config: InvertConfig, quality: int | None
) -> dict[str, Any]:
    """Attribute own images, as PNG or as JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        keys = jax.random.split(jax.random.key(11), len(generators))
        made = [
            own_images(gen, count, key, Path(folder))[0]
            for gen, key in zip(generators, keys, strict=True)
        ]
    pixels, truth = np.concatenate(made), [gen.name for gen in generators for _ in range(count)]
    if quality is not None:
        pixels = np.stack([_compressed(image, quality) for image in pixels])
    start = time.perf_counter()
    verdicts = found(pixels, generators, config)
    right = [
        v.kind == "made-by" and t in v.candidates for v, t in zip(verdicts, truth, strict=True)
    ]
    certified = [r and v.certificate is not None for v, r in zip(verdicts, right, strict=True)]
    row = {
        "saved as": "png" if quality is None else f"jpeg {quality}",
        "pictures": len(pixels),
        "right": sum(right),
        "wrong": sum(v.kind == "made-by" and not r for v, r in zip(verdicts, right, strict=True)),
        "none": sum(v.kind == "none" for v in verdicts),
        "undecided": sum(v.kind == "undecided" for v in verdicts),
        "certified": sum(certified),
        "seconds": time.perf_counter() - start,
    }
    show(row)
    missed = Counter(t for t, c in zip(truth, certified, strict=True) if not c)
    print("not certified:", dict(missed), flush=True)
    return row


def nobody(generators: Sequence[Generator], count: int, config: InvertConfig) -> dict[str, Any]:
    """Attribute the renderer's faces."""
    start = time.perf_counter()
    verdicts = found(render_faces(jax.random.key(99), count), generators, config)
    row = {
        "pictures": count,
        "attributed": sum(v.kind == "made-by" for v in verdicts),
        "certified": sum(v.certificate is not None for v in verdicts),
        "none": sum(v.kind == "none" for v in verdicts),
        "undecided": sum(v.kind == "undecided" for v in verdicts),
        "seconds": time.perf_counter() - start,
    }
    show(row)
    return row


def looks(gen: Generator) -> dict[str, Any]:
    """Measure how a generator's images compare with the renderer's."""
    z = np.asarray(gen.sample_latent(jax.random.key(21), TRAINING + TESTING))
    fake, real = to_byte(make_images(gen, z)), render_faces(jax.random.key(22), TRAINING + TESTING)
    row = {
        "generator": gen.name,
        "separated": classifier_accuracy(real, fake),
        "distinct": distinct_share(fake[:SAMPLES]),
        "distinct of the renderer": distinct_share(real[:SAMPLES]),
    }
    show(row)
    return row


def sheet(generators: Sequence[Generator], path: Path) -> None:
    """Draw a row of samples of each generator, and one of the renderer."""
    z = [np.asarray(gen.sample_latent(jax.random.key(31), COLUMNS)) for gen in generators]
    rows = [to_byte(make_images(gen, some)) for gen, some in zip(generators, z, strict=True)]
    rows.append(render_faces(jax.random.key(31), COLUMNS))
    pixels = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    height, width = pixels.shape[:2]
    Image.fromarray(pixels).resize((2 * width, 2 * height), Image.Resampling.NEAREST).save(path)


def distinct_share(pixels: np.ndarray) -> float:
    """Return the share of images that differ clearly from every other."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    squares = np.sum(flat * flat, axis=1)
    apart = np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0) / flat.shape[1]
    np.fill_diagonal(apart, np.inf)
    return float((np.sqrt(apart.min(1)) > DISTINCT).mean())


def classifier_accuracy(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the share of held-out images that a small convolutional network tells apart, real
    from generated.
    """
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 32)]
    params = [
        jax.random.normal(k, s) * (2 / np.prod(s[:3])) ** 0.5
        for k, s in zip(keys, shapes, strict=False)
    ]
    params += [jnp.zeros((32, 1))]

    def score(params: list[jax.Array], pixels: jax.Array) -> jax.Array:
        x = pixels.astype(jnp.float32) / 127.5 - 1.0
        with ops.for_weights():
            for kernel in params[:3]:
                x = jax.nn.relu(ops.conv(x, kernel, stride=2, padding=1))
        return (x.mean((1, 2)) @ params[3])[:, 0]

    optimiser = optax.adam(2e-3)
    state = optimiser.init(params)

    @jax.jit
    def step(params: Any, state: Any, pixels: jax.Array, kind: jax.Array) -> Any:
        gradient = jax.grad(lambda p: jax.nn.softplus(-kind * score(p, pixels)).mean())(params)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state

    pixels = np.concatenate([real[:TRAINING], fake[:TRAINING]])
    kind = np.repeat(np.array([1.0, -1.0], np.float32), TRAINING)
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        for some in rng.permutation(len(pixels)).reshape(-1, BATCH):
            params, state = step(params, state, pixels[some], kind[some])
    judge = jax.jit(score)
    right = [
        np.asarray(judge(params, real[TRAINING:])) > 0,
        np.asarray(judge(params, fake[TRAINING:])) <= 0,
    ]
    return float(np.concatenate(right).mean())


def _compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", choices=("own", "nobody", "jpeg", "looks", "sheet"), required=True
    )
    parser.add_argument("--images", "--pictures", type=int, default=20)
    parser.add_argument("--only", nargs="+", help="candidates (default: all)")
    parser.add_argument("--restarts", type=int)
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    generators = [load_generator(name) for name in args.only or bundled_generators()]
    config = InvertConfig(restarts=args.restarts)
    rows: Any
    if args.part == "sheet":
        sheet(generators, Path(__file__).resolve().parents[1] / "docs" / "zoo.png")
        return
    if args.part == "looks":
        rows = [looks(gen) for gen in generators]
    elif args.part == "nobody":
        rows = nobody(generators, args.images, config)
    else:
        qualities = QUALITIES if args.part == "jpeg" else (None,)
        rows = [own(generators, args.images, config, quality) for quality in qualities]
    print(json.dumps({args.part: rows, **origin()}))
    write_json(args, rows if isinstance(rows, list) else [rows], generators=generators)


if __name__ == "__main__":
    main()
