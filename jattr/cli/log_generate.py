"""`jattr log generate` and `receipts`: images that are in the log before they are in the world."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from jattr.cli.options import Progress, emit, given_settings, start_jax
from jattr.cli.output import new_folder
from jattr.errors import InputError
from jattr.report.words import shown

if TYPE_CHECKING:
    import numpy as np

    from jattr.generators.base import Generator
    from jattr.ledger.recording import Recorder, Released

CHUNK = 64  # images that are logged together
MAX_RECEIPT = 2_000_000


def generate(args: argparse.Namespace) -> int:
    """Log the intents, make the images, log the results, and only then let the folder appear."""
    from jattr.cli.generate import draw_latents
    from jattr.cli.latents import LOGGED_FOLDER, write_latents
    from jattr.generators.store import load_generator
    from jattr.ledger.image_receipts import make_receipt
    from jattr.ledger.private import PrivateStore
    from jattr.ledger.recording import Recorder
    from jattr.ledger.store import LogStore

    seed = secrets.randbits(32) if args.seed is None else args.seed
    new = new_folder(
        args.out,
        kind=LOGGED_FOLDER,
        overwrite=args.overwrite,
        inputs=[args.generator],
        kept=[args.folder],
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
            (work / f"{number:05d}.png.tlog-proof").write_bytes(make_receipt(log, one, checkpoint))
        write_latents(work / "latents.npz", gen, z, label)
        size = log.size
    entries = [one.entry for one in released]
    text = f"{len(released)} images of {gen.name} written to {shown(args.out, 200)}, with receipts;"
    text += (
        f" entries {entries[0]} to {entries[-1]} of the log, which has {size}. Publish it:"
        " jattr log publish"
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
    """Make and log the images, some at a time; no file of them is written before it is logged,
    hidden or not.
    """
    from jattr.cli.generate import make_pixels
    from jattr.images import encode_png

    released: list[Released] = []
    progress = Progress(len(z), "images")
    for first in range(0, len(z), CHUNK):
        part, labels = z[first : first + CHUNK], label[first : first + CHUNK]
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


def renew(args: argparse.Namespace) -> int:
    """Write the receipts of a folder anew, under the checkpoint that was published last."""
    from jattr.cli.log_actions import write
    from jattr.ledger.image_receipts import renewed
    from jattr.ledger.store import LogStore
    from jattr.ledger.tlog_proof import SUFFIX

    try:
        paths = sorted(path for path in Path(args.pictures).iterdir() if path.name.endswith(SUFFIX))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {args.pictures!r}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not paths:
        raise InputError(
            f"{args.pictures!r} has no receipts (*.tlog-proof); give a folder of `jattr log"
            " generate`"
        )
    old = [_read(path) for path in paths]
    with LogStore.open(args.folder, writable=False) as log:
        published = [signed.published for signed in log.checkpoints() if signed.published]
        if not published:
            raise InputError(
                f"the log in {args.folder} has not been published; `jattr log publish` comes first"
            )
        # all of them before any is written
        new = [renewed(log, receipt, published[-1]) for receipt in old]
    for path, receipt in zip(paths, new, strict=True):
        write(path, receipt)
    emit(
        args,
        {"receipts": len(paths)},
        f"{len(paths)} receipts renewed under the checkpoint published last",
    )
    return 0


def _read(path: Path) -> bytes:
    from jattr.cli.log_readers import read_file

    return read_file(path, MAX_RECEIPT)
