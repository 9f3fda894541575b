"""`jattr generate`: makes images from a seed, or makes them again from saved latents."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jattr.cli.options import (
    Progress,
    add_common,
    add_device,
    add_output,
    add_settings,
    emit,
    given_settings,
    start_jax,
    whole_number,
)
from jattr.cli.output import new_folder
from jattr.generators.settings import NOISE, SPACES

if TYPE_CHECKING:
    import numpy as np

    from jattr.generators.base import Generator

# images at a time, whatever --n is: so an image does not depend on how many are made with it
BATCH = 8
BATCH_VALUES = 1 << 23  # fewer where images are larger: batch x H x W x C stays below this
MAX_IMAGES = 100_000  # as many as names of five digits


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "generate",
        help="make images with a generator",
        description="Make images with a generator: 00000.png, 00001.png, ... and latents.npz, from"
        " which"
        " --latents makes the same images again.",
    )
    parser.add_argument(
        "generator", metavar="GEN", help="generator folder, or the name of a bundled generator"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--n", type=whole_number(1, MAX_IMAGES), metavar="N", help="number of images")
    what.add_argument("--latents", metavar="F.npz", help="latents.npz of `generate` or `attribute`")
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        metavar="S",
        help="seed of the latents (default 0)",
    )
    parser.add_argument(
        "--label",
        type=whole_number(0, 2**31 - 1),
        metavar="K",
        help="class (default: drawn by seed)",
    )
    parser.add_argument("--space", choices=SPACES, help="of the latents that are drawn (default z)")
    add_settings(parser, (*NOISE, "random"))
    add_output(parser)
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Generate, write and report."""
    from jattr.cli.latents import IMAGE_FOLDER, check_latents_options, read_latents, write_latents
    from jattr.generators.store import load_generator

    check_latents_options(args)
    inputs = [args.generator, args.latents]
    with new_folder(args.out, kind=IMAGE_FOLDER, overwrite=args.overwrite, inputs=inputs) as work:
        start_jax(args.device)
        generator = load_generator(args.generator)
        if args.latents is None:
            given = given_settings(args)
            if given.get("noise") == "random":
                given["noise"] = "search"  # the maps are drawn with the latent, and kept with it
            generator = generator.view(args.space, **given)
            z, label = draw_latents(generator, args.n, args.seed or 0, args.label)
        else:
            generator, z, label = read_latents(args.latents, generator, limit=MAX_IMAGES)
        files = write_images(work, generator, z, label)
        write_latents(work / "latents.npz", generator, z, label)
    rule = generator.byte_rule
    names = {
        "name": generator.name,
        "digest": generator.digest,
        "weights_digest": generator.weights_digest,
    }
    settings = None if generator.settings is None else generator.settings.to_json()
    result = {
        "out": args.out,
        "generator": names,
        "pictures": files,
        "latents": "latents.npz",
        "rounding": rule,
    }
    result |= {"space": generator.space, "settings": settings}
    shown = "" if settings is None else f"; space {generator.space}, {generator.settings}"
    emit(
        args,
        result,
        f"{len(files)} images of {generator.name} written to {args.out} (bytes: {rule}{shown})",
    )
    return 0


def draw_latents(
    generator: Generator, n: int, seed: int, label: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return latents [n, *latent_shape] from the prior and their labels [n], -1 for
    unconditional generators.
    """
    import jax
    import numpy as np

    z_key, label_key = jax.random.split(jax.random.key(seed))
    z = np.asarray(generator.sample_latent(z_key, n))
    labels = generator.sample_labels(label_key, n)
    if label is not None:
        labels = np.asarray(generator.check_label(label, n))
    return z, np.full(n, -1, np.int32) if labels is None else labels


def write_images(folder: Path, generator: Generator, z: np.ndarray, label: np.ndarray) -> list[str]:
    """Write one PNG a latent, a batch at a time, and return the names."""
    from jattr.images import write_png

    progress = Progress(len(z), "images")
    files: list[str] = []
    for batch in _batches(generator, z, label):
        for pixels in batch:
            files.append(f"{len(files):05d}.png")
            write_png(folder / files[-1], pixels)
        progress.advance(len(batch))
    return files


def make_pixels(generator: Generator, z: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the images uint8 [n, H, W, C] of latents z [n, *latent_shape], label int32 [n], -1:
    none.
    """
    import numpy as np

    return np.concatenate(list(_batches(generator, z, label)))


def _batches(generator: Generator, z: np.ndarray, label: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the images a batch at a time."""
    import jax
    import numpy as np

    height, width, channels = generator.image_shape
    batch = max(1, min(BATCH, BATCH_VALUES // (height * width * channels)))
    for start in range(0, len(z), batch):
        # the last batch is filled up
        rows = np.minimum(np.arange(start, start + batch), len(z) - 1)
        with jax.default_matmul_precision("highest"):
            images = generator.generate(z[rows], label=generator.label_argument(label[rows]))
        yield generator.to_bytes(images)[: len(z) - start]
