"""`jattr generate`: makes images from a seed, or makes them again from saved latents."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from jattr.cli.device import add_device, start_jax
from jattr.cli.options import (
    Progress,
    add_common,
    add_output,
    add_settings,
    emit,
    given_settings,
    new_folder,
    whole_number,
)
from jattr.cli.streams import note
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.generators.sampling import draw_latents, image_batches
from jattr.generators.settings import NOISE, SPACES
from jattr.generators.store import load_generator
from jattr.images import write_png
from jattr.printable import shown
from jattr.runtime import jax_defaults
from jattr.verification.latents import IMAGE_FOLDER, LATENTS, read_latents, write_latents

MAX_IMAGES = 100_000  # as many as names of five digits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Make images with a generator: 00000.png, 00001.png, ... and latents.npz, from which"
        " --latents makes the same images again."
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


@jax_defaults(devices=False)
def run(args: argparse.Namespace) -> int:
    """Generate, write and report."""
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
            generator, z, label, missing = read_latents(args.latents, generator, limit=MAX_IMAGES)
            if missing:
                left_out = ", ".join(map(str, missing[:10]))
                note(f"no latent was found for images {left_out} (from 0); they are left out")
        files = write_images(work, generator, z, label)
        write_latents(work / LATENTS, generator, z, label)
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
        "latents": LATENTS,
        "rounding": rule,
    }
    result |= {"space": generator.space, "settings": settings}
    view = "" if settings is None else f"; space {generator.space}, {generator.settings}"
    emit(
        args,
        result,
        f"{len(files)} images of {generator.name} written to {shown(args.out, 200)}"
        f" (bytes: {rule}{view})",
    )
    return 0


def check_latents_options(args: argparse.Namespace) -> None:
    """Check that what the file says is not given beside `--latents`.

    Raises:
      InputError: one of them is.
    """
    for option in ("seed", "label", "space", "psi", "cutoff", "noise"):
        if args.latents is not None and getattr(args, option) is not None:
            raise InputError(
                f"--{option} and --latents exclude each other: the file says it; leave --{option}"
                " away"
            )


def write_images(folder: Path, generator: Generator, z: np.ndarray, label: np.ndarray) -> list[str]:
    """Write one PNG a latent, a batch at a time, and return the names."""
    progress = Progress(len(z), "images")
    files: list[str] = []
    for batch in image_batches(generator, z, label):
        for pixels in batch:
            files.append(f"{len(files):05d}.png")
            write_png(folder / files[-1], pixels)
        progress.advance(len(batch))
    return files
