"""`jattr calibrate`: scores of known images, from which `attribute --calibration` takes its
error rates.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jattr.cli.options import (
    Progress,
    add_common,
    add_device,
    add_settings,
    emit,
    start_jax,
    whole_number,
)
from jattr.cli.output import distance_paths
from jattr.errors import ImageError, InputError, OutputError
from jattr.folders.protected import check_apart, identity
from jattr.generators.settings import NOISE, SPACES
from jattr.report.words import shown

if TYPE_CHECKING:
    import numpy as np

    from jattr.decision.calibration import Calibration
    from jattr.decision.power import Power

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_NEGATIVES = 100_000
FILES = "picture"  # the kind of single files


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "calibrate",
        help="measure error rates of candidates on known images",
        description="Search images that the candidates made and others, as they are and altered,"
        " and keep the scores."
        " `jattr attribute --calibration FILE` judges by them. docs/guarantee.md says what holds"
        " then.",
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


def run(args: argparse.Namespace) -> int:
    """Calibrate and write the file.

    Raises:
      InputError: an option, a candidate or a negative cannot be used.
    """
    check_out(args)
    from jattr.alterations.registry import parse_chain
    from jattr.attribution.calibrate import calibrate
    from jattr.cli.attribute import load_candidates, make_config
    from jattr.decision.calibration_json import to_json

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
    found = calibrate(
        generators,
        negatives=negatives,
        chains=chains,
        own=args.own,
        others=args.others,
        config=config,
        seed=config.seed,
        progress=progress.advance,
    )
    check_out(args)  # it may have appeared, or changed, meanwhile
    _write(Path(args.out), to_json(found))
    emit(args, _summary(found), _text(found, args.out))
    return 0


def check_out(args: argparse.Namespace) -> None:
    """Check that the calibration may be written: nothing is there, or with `--overwrite` another
    calibration.

    Raises:
      OutputError: it may not.
    """
    from jattr.cli.attribute import MAX_CALIBRATION
    from jattr.decision.calibration_json import is_calibration

    check_apart(Path(os.path.abspath(args.out)), [*args.candidates, *distance_paths(args.distance)])
    if not os.path.lexists(args.out):
        return
    if not args.overwrite:
        raise OutputError(
            f"{args.out!r} exists; choose another place, or pass --overwrite to replace a"
            " calibration"
        )
    if identity(args.out) in [identity(path) for path in args.negatives]:
        raise OutputError(
            f"{args.out!r} is one of the negatives, and is not replaced; choose another place"
        )
    try:
        status = os.lstat(args.out)
        plain = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_CALIBRATION
        own = plain and is_calibration(Path(args.out).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        own = False
    if not own:
        raise OutputError(
            f"{args.out!r} is no calibration that jattr wrote, and is not replaced; choose another"
            " place, or move it"
            " away first"
        )


def read_negatives(
    paths: Sequence[str], shape: tuple[int, int, int], *, resize: bool
) -> dict[str, np.ndarray]:
    """Return images by kind: a folder's name for what lies in it, "image" for single files.

    Raises:
      InputError: a path is given twice, two folders have one name, or one has none.
      ImageError: a file cannot be used, two hold equal images, or a folder holds none.
    """
    import numpy as np

    from jattr.attribution.calibrate import SAME
    from jattr.images import load_image

    kinds: dict[str, list[np.ndarray]] = {}
    known: dict[bytes, str] = {}
    for kind, file in _files(_kinds(paths)):
        pixels = load_image(file).fit(shape, resize=resize).pixels
        digest = hashlib.sha256(pixels.tobytes()).digest()
        if digest in known:
            raise ImageError(
                f"{known[digest]!r} and {file!r} are equal images as searched, {SAME}; leave one"
                " away"
            )
        known[digest] = file
        kinds.setdefault(kind, []).append(pixels)
        if sum(map(len, kinds.values())) > MAX_NEGATIVES:
            raise ImageError(f"there are more than {MAX_NEGATIVES} negatives; give fewer")
    return {kind: np.stack(images) for kind, images in kinds.items()}


def _kinds(paths: Sequence[str]) -> dict[str, str]:
    """Return the kind of each path, "image" of a file; every folder is a kind of its own.

    Raises:
      InputError: two paths are one file or folder, two folders have one name, or one has none.
    """
    given: dict[str, str] = {}  # real path -> as given
    first: dict[str, str] = {}  # kind -> path
    kinds: dict[str, str] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in given:
            raise InputError(
                f"negatives {given[real]!r} and {path!r} are one and the same; give it once"
            )
        given[real] = path
        kind = shown(os.path.basename(real), 60) if os.path.isdir(path) else FILES
        if not kind.strip():
            raise InputError(
                f"folder {path!r} has no name that could be the kind of its images; give one that"
                " has"
            )
        other = first.setdefault(kind, path)
        if other != path and (os.path.isdir(path) or os.path.isdir(other)):
            raise InputError(
                f"negatives {other!r} and {path!r} would be one kind, {kind!r}: a folder's name,"
                f" or {FILES!r} of single"
                " files; rename a folder"
            )
        kinds[path] = kind
    return kinds


def _files(kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return kind and path of every image."""
    for path, kind in kinds.items():
        if not os.path.isdir(path):
            yield kind, path
            continue
        files = sorted(str(f) for f in Path(path).iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ImageError(f"folder {path!r} holds no {', '.join(SUFFIXES)}; give one that does")
        yield from ((kind, file) for file in files)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.part")
    try:
        with part.open("x", encoding="utf-8") as file:
            file.write(text)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OutputError(
            f"cannot write {str(path)!r}: {error.strerror or error}; choose another place"
        ) from error


def _summary(found: Calibration) -> dict[str, object]:
    """Return the counts, and what restarts of own images show, as JSON values."""
    from jattr.decision.power import power_of

    return {
        "settings_digest": found.settings_digest,
        "versions": dict(found.versions),
        "candidates": {
            name: {
                condition: {
                    "own": len(s.own),
                    "negatives": {kind: len(scores) for kind, scores in s.negatives.items()},
                    "restarts": None
                    if s.own_restarts is None
                    else _power_record(power_of(s.own_restarts, s.own_restarts.most)),
                }
                for condition, s in candidate.samples.items()
            }
            for name, candidate in found.candidates.items()
        },
    }


def _text(found: Calibration, out: str) -> str:
    """Return what the calibration can support, in words."""
    import numpy as np

    from jattr.decision.false_attribution import least_negatives
    from jattr.decision.power import found_in_words

    lines = []
    for name, candidate in found.candidates.items():
        for condition, sample in candidate.samples.items():
            own = np.array(sample.own)
            counts = [len(scores) for scores in sample.negatives.values()]
            lines.append(
                f"{shown(name, 40)}, {condition}: {len(own)} own images, median residual"
                f" {10 ** np.median(own):.1e},"
                f" largest {10 ** own.max():.1e}; {sum(counts)} negatives of {len(counts)} kinds"
            )
            if sample.own_restarts is not None:
                lines.append(f"  searches of the own images: {found_in_words(sample.own_restarts)}")
    least = min(len(s.own) for c in found.candidates.values() for s in c.samples.values())
    lines.append(f"a candidate can be denied at error rates from {1 / (least + 1):.2g} on;")
    counts = [
        len(n)
        for c in found.candidates.values()
        for s in c.samples.values()
        for n in s.negatives.values()
    ]
    few = min(counts, default=0)
    lines.append(
        f"one of {len(found.candidates)} can be named at {len(found.candidates) / (few + 1):.2g} on"
        f" (at 0.05: {least_negatives(0.05, len(found.candidates))} negatives of each kind)"
    )
    return "\n".join([*lines, f"written to {shown(out, 200)}"])


def _power_record(power: Power) -> dict[str, Any]:
    """Return what restarts show as JSON values; `pictures` is the format's word for own images."""
    return {
        "pictures" if name == "images" else name: value for name, value in asdict(power).items()
    }
