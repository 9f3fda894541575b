"""`jattr log generate`: images that are in the log before they are in the world."""

from __future__ import annotations

import argparse
import secrets
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
from jattr.generators.base import Generator
from jattr.generators.sampling import draw_latents, make_pixels
from jattr.generators.settings import NOISE, SPACES
from jattr.generators.store import load_generator
from jattr.images import encode_png
from jattr.ledger.image_receipts import make_receipt
from jattr.ledger.private import PrivateStore
from jattr.ledger.recording import Recorder, Released
from jattr.ledger.store import LogStore
from jattr.ledger.tlog_proof import SUFFIX
from jattr.printable import shown
from jattr.runtime import jax_defaults
from jattr.verification.latents import LATENTS, LOGGED_FOLDER, write_latents

MAX_IMAGES = 100_000
IMAGES_PER_COMMIT = 64  # images that are logged together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = "Make images, each logged before it is made and released."
    add_common(parser)
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument(
        "generator", metavar="GEN", help="generator folder, or the name of a bundled generator"
    )
    parser.add_argument("--n", type=whole_number(1, MAX_IMAGES), required=True, metavar="N")
    parser.add_argument(
        "--seed", type=whole_number(0, 2**32 - 1), default=None, metavar="S", help="default: random"
    )
    parser.add_argument(
        "--label",
        type=whole_number(0, 2**31 - 1),
        metavar="K",
        help="class (default: drawn by seed)",
    )
    parser.add_argument("--space", choices=SPACES, help="of the latents that are drawn (default z)")
    parser.add_argument(
        "--recipient", metavar="TEXT", help="who gets them; committed to, not shown"
    )
    parser.add_argument("--beacon", metavar="TEXT", help="public randomness of this time; public")
    parser.add_argument(
        "--forget-pictures", action="store_true", help="keep no copies beside the salts"
    )
    add_settings(parser, NOISE)
    add_output(parser)
    add_device(parser)
    parser.set_defaults(run=run)


@jax_defaults(devices=False)
def run(args: argparse.Namespace) -> int:
    """Log the intents, make the images, log the results, and only then let the folder appear."""
    seed = secrets.randbits(32) if args.seed is None else args.seed
    new = new_folder(
        args.out,
        kind=LOGGED_FOLDER,
        overwrite=args.overwrite,
        inputs=[args.generator],
        protected=[args.folder],
    )
    with new as work, LogStore.open(args.folder) as log:
        start_jax(args.device)
        gen = load_generator(args.generator).view(args.space, **given_settings(args))
        z, label = draw_latents(gen, args.n, seed, args.label)
        with PrivateStore.open(args.folder) as private:
            recorder = Recorder(log, private, keep_images=not args.forget_pictures)
            released = _release_all(args, recorder, gen, z, label, seed, work)
        checkpoint = log.sign_checkpoint()
        for number, one in enumerate(released):
            (work / f"{number:05d}.png{SUFFIX}").write_bytes(make_receipt(log, one, checkpoint))
        write_latents(work / LATENTS, gen, z, label)
        size = log.size
    entries = [one.entry for one in released]
    text = f"{len(released)} images of {gen.name} written to {shown(args.out, 200)}, with receipts;"
    text += (
        f" entries {entries[0]} to {entries[-1]} of the log, which has {size}. Publish it: jattr"
        " log publish"
    )
    emit(args, {"out": args.out, "entries": entries, "size": size, "seed": seed}, text)
    return 0


def _release_all(
    args: argparse.Namespace,
    recorder: Recorder,
    gen: Generator,
    z: np.ndarray,
    label: np.ndarray,
    seed: int,
    work: Path,
) -> list[Released]:
    """Make and log the images, some at a time; none is written before it is logged."""
    released: list[Released] = []
    progress = Progress(len(z), "images")
    for first in range(0, len(z), IMAGES_PER_COMMIT):
        part, labels = (
            z[first : first + IMAGES_PER_COMMIT],
            label[first : first + IMAGES_PER_COMMIT],
        )
        intents = recorder.intend(
            gen, part, seed=seed, first=first, labels=labels, beacon=args.beacon
        )
        pixels = make_pixels(gen, part, labels)
        files = [encode_png(one) for one in pixels]
        released += recorder.release(intents, pixels, files=files, recipient=args.recipient)
        for number, data in enumerate(files, first):
            (work / f"{number:05d}.png").write_bytes(data)
        progress.advance(len(part))
    return released
