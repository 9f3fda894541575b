"""`jattr calibrate`: scores of known images, from which come the error rates of attributions."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jattr.alterations.registry import parse_chain
from jattr.attribution.calibrate import calibrate
from jattr.attribution.calibration_files import (
    is_calibration_file,
    read_negatives,
    write_calibration,
)
from jattr.cli.attribute import make_config
from jattr.cli.device import add_device, start_jax
from jattr.cli.options import Progress, add_common, add_settings, distance_paths, emit, whole_number
from jattr.decision.calibration import Calibration
from jattr.decision.false_attribution import least_negatives
from jattr.decision.power import found_in_words, power_of
from jattr.errors import OutputError
from jattr.folders import absolute_path
from jattr.folders.protected import check_apart, identity, path_text
from jattr.generators.candidates import load_candidates
from jattr.generators.settings import NOISE, SPACES
from jattr.printable import shown
from jattr.runtime import jax_defaults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Search images that the candidates made and others, as they are and altered, and keep the"
        " scores. `jattr attribute --calibration FILE` judges by them. docs/guarantee.md says what"
        " holds then."
    )
    parser.add_argument("candidates", nargs="+", metavar="GEN", help="generator folders or names")
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file if it is a calibration"
    )
    parser.add_argument(
        "--negatives",
        nargs="+",
        default=[],
        metavar="PATH",
        help="images of nobody here: files, folders (a kind each)",
    )
    parser.add_argument(
        "--resize", action="store_true", help="bring negatives to the candidates' size (Lanczos)"
    )
    parser.add_argument(
        "--alteration", nargs="+", default=[], metavar="CHAIN", help="calibrate for these, too"
    )
    parser.add_argument(
        "--own",
        type=whole_number(1, 100_000),
        default=100,
        metavar="N",
        help="images of each candidate (default 100)",
    )
    parser.add_argument(
        "--others",
        type=whole_number(0, 100_000),
        default=60,
        metavar="N",
        help="of them, searched under each other candidate (default 60)",
    )
    parser.add_argument(
        "--restarts", type=whole_number(1, 100_000), metavar="N", help="as attribute will be run"
    )
    parser.add_argument("--optimiser", metavar="NAME", help="as attribute will be run")
    parser.add_argument(
        "--steps", type=whole_number(1, 1_000_000), metavar="N", help="as attribute will be run"
    )
    parser.add_argument("--start", metavar="KIND", help="as attribute will be run")
    parser.add_argument("--distance", metavar="SPEC", help="as attribute will be run")
    parser.add_argument("--space", choices=SPACES, help="as attribute will be run")
    parser.add_argument(
        "--lanes", type=whole_number(1, 1_000_000), metavar="N", help="searches in one program"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, 2**32 - 1), metavar="S", help="of own images (default 0)"
    )
    add_settings(parser, (*NOISE, "search"))
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


@jax_defaults(devices=False)
def run(args: argparse.Namespace) -> int:
    """Calibrate and write the file.

    Raises:
      InputError: an option, a candidate or a negative cannot be used.
    """
    check_out(args)

    start_jax(args.device)
    args.psi = None if args.psi is None else [args.psi]
    config = make_config(args)
    chains = [parse_chain(text) for text in args.alteration]
    generators = load_candidates(args.candidates, resize=False)
    for chain in chains:
        chain.out_shape(generators[0].image_shape)
    negatives = read_negatives(args.negatives, generators[0].image_shape, resize=args.resize)
    each = args.own + args.others * (len(generators) - 1) + sum(map(len, negatives.values()))
    progress = Progress(
        each * len(generators) * (1 + len(chains)), "searches (images x candidates x conditions)"
    )
    copies: dict[str, int] = {}
    calibration = calibrate(
        generators,
        negatives=negatives,
        chains=chains,
        own=args.own,
        others=args.others,
        search=config,
        seed=config.seed,
        progress=progress.advance,
        on_copies=copies.update,
    )
    path = check_out(args)  # it may have appeared, or changed, meanwhile
    write_calibration(path, calibration, overwrite=args.overwrite)
    text = "\n".join([*_copies_text(copies), _text(calibration, args.out)])
    emit(args, _summary(calibration) | {"near_copies": copies}, text)
    return 0


def check_out(args: argparse.Namespace) -> Path:
    """Return where the calibration goes: nothing is there, or a calibration and `--overwrite`.

    Raises:
      OutputError: it may not go there.
    """
    path = absolute_path(args.out)
    check_apart(path, [*args.candidates, *distance_paths(args.distance)])
    if not os.path.lexists(path):
        if not (path.parent.is_dir() and os.access(path.parent, os.W_OK | os.X_OK)):
            raise OutputError(
                f"cannot write {args.out!r}: {path_text(path.parent)} is no folder that can be"
                " written; choose another place"
            )
        return path
    if not args.overwrite:
        raise OutputError(
            f"{args.out!r} exists; choose another place, or pass --overwrite to replace a"
            " calibration"
        )
    if identity(path) in [identity(negative) for negative in args.negatives]:
        raise OutputError(
            f"{args.out!r} is one of the negatives, and is not replaced; choose another place"
        )
    if not is_calibration_file(path):
        raise OutputError(
            f"{args.out!r} is no calibration that jattr wrote, and is not replaced; choose another"
            " place, or move it away first"
        )
    return path


def _copies_text(copies: Mapping[str, int]) -> list[str]:
    """Return a line for each kind of images of which some are near-copies."""
    return [
        f"{shown(kind, 60)}: {count} near-cop{'y' if count == 1 else 'ies'} of other images count"
        " once, with these"
        for kind, count in copies.items()
    ]


def _summary(calibration: Calibration) -> dict[str, object]:
    """Return the counts, and what restarts of own images show, as JSON values."""
    return {
        "settings_digest": calibration.settings_digest,
        "versions": dict(calibration.versions),
        "candidates": {
            name: {
                condition: {
                    "own": len(s.own),
                    "negatives": {kind: len(scores) for kind, scores in s.negatives.items()},
                    "restarts": None
                    if s.own_restarts is None
                    else power_of(s.own_restarts, s.own_restarts.most).to_dict(),
                }
                for condition, s in candidate.samples.items()
            }
            for name, candidate in calibration.candidates.items()
        },
    }


def _text(calibration: Calibration, out: str) -> str:
    """Return what the calibration can support, in words."""
    lines = []
    for name, candidate in calibration.candidates.items():
        for condition, sample in candidate.samples.items():
            own = np.array(sample.own)
            counts = [len(scores) for scores in sample.negatives.values()]
            lines.append(
                f"{shown(name, 40)}, {condition}: {len(own)} own images, median residual"
                f" {10 ** np.median(own):.1e}, largest {10 ** own.max():.1e}; {sum(counts)}"
                f" negatives of {len(counts)} kinds"
            )
            if sample.own_restarts is not None:
                lines.append(f"  searches of the own images: {found_in_words(sample.own_restarts)}")
    least = min(len(s.own) for c in calibration.candidates.values() for s in c.samples.values())
    lines.append(f"a candidate can be denied at error rates from {1 / (least + 1):.2g} on;")
    counts = [
        len(n)
        for c in calibration.candidates.values()
        for s in c.samples.values()
        for n in s.negatives.values()
    ]
    few, count = min(counts, default=0), len(calibration.candidates)
    lines.append(
        f"one of {count} can be named at {count / (few + 1):.2g} on (at 0.05:"
        f" {least_negatives(0.05, count)} negatives of each kind)"
    )
    return "\n".join([*lines, f"written to {shown(out, 200)}"])
