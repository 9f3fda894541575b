"""`jattr verify`: a result, computed again from its files."""

from __future__ import annotations

import argparse
import json

from jattr.attribution.pilot_files import PilotStudyFiles
from jattr.cli.device import add_device, start_jax
from jattr.cli.options import Progress, add_common
from jattr.cli.streams import say
from jattr.cli.weights_dated import add_weights_dated, read_weights_dated
from jattr.errors import UnverifiedError, VerificationError
from jattr.folders.cache import pilot_study_folder
from jattr.printable import named, shown
from jattr.runtime import jax_defaults
from jattr.verification.report import RECOMPUTED, UNVERIFIED, Outcome, Verification
from jattr.verification.verify import verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Compute a result again: the candidates' weights and cards, the images and the latents"
        " must be what result.json states, every certificate must hold with the figures it states,"
        " and verdicts, sentences and notes must be those that follow, by this version's"
        " thresholds. Of every image it is said: certificate holds; verdict recomputed; or NOT"
        " verified, and what is needed. Exit code 0: everything was verified; 3: something"
        " contradicts the result; 4: nothing does, but something stays unverified; 2: bad input."
    )
    parser.add_argument("folder", metavar="DIR", help="folder that `jattr attribute` wrote")
    parser.add_argument(
        "--candidates", nargs="+", required=True, metavar="GEN", help="generator folders or names"
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        metavar="IMAGE",
        help="found by SHA-256 (default: the paths in result.json)",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="that judged: its SHA-256 is in result.json; judgements are computed again",
    )
    parser.add_argument(
        "--search",
        action="store_true",
        help="repeat the seeded searches of images without a certificate, in the time they took",
    )
    add_weights_dated(parser)
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


@jax_defaults(devices=False)
def run(args: argparse.Namespace) -> int:
    """Verify and report.

    Raises:
      InputError: the files cannot be used.
      VerificationError: something contradicts what the result states.
      UnverifiedError: nothing does, but something could not be verified.
    """
    dated = read_weights_dated(args)
    start_jax(args.device)
    progress = Progress(0, "searches of a block of images")

    def report(done: int, total: int) -> None:
        progress.total = total
        progress.reach(done)

    verification = verify(
        args.folder,
        args.candidates,
        images=args.pictures,
        calibration=args.calibration,
        search=args.search,
        weights_dated=dated,
        pilot_studies=PilotStudyFiles(pilot_study_folder()) if args.search else None,
        progress=report,
    )
    differences = [shown(line, 500) for line in verification.differences]
    # ASCII: names need not be text
    say(
        json.dumps(_json(verification, differences), allow_nan=False)
        if args.json
        else _text(verification, differences)
    )
    if differences:
        raise VerificationError(
            f"{len(differences)} differences from what {args.folder} states; {differences[0]}"
        )
    if not verification.verified:
        count = sum(each.kind == UNVERIFIED for each in verification.outcomes)
        what = f"{count} of {verification.images} images" if count else "part of what is stated"
        raise UnverifiedError(f"{what} of {args.folder}; {shown(verification.unverified[0], 300)}")
    return 0


def _json(verification: Verification, differences: list[str]) -> dict[str, object]:
    total, certified = verification.images, verification.certified_images
    return {
        "verified": verification.verified,
        "certificates": verification.certificates,
        "differences": differences,
        "unchecked": [shown(line, 300) for line in verification.unchecked],
        "pictures": total,
        "pictures_without_certificate": total - certified,
        "unverified": [shown(line, 300) for line in verification.unverified],
        "outcomes": [each.to_dict() for each in verification.outcomes],
    }


def _text(verification: Verification, differences: list[str]) -> str:
    certificates = verification.certificates
    total, certified = verification.images, verification.certified_images
    lines = [
        f"{shown(each['file'], 60)}: made by {named(each['candidate'], each['digest'])}:"
        f" {each['text']}; {shown(each['age'], 300)}"
        for each in certificates
    ]
    lines += [_outcome_text(each) for each in verification.outcomes]
    lines += [f"DIFFERS: {line}" for line in differences]
    lines += [f"not checked: {shown(line, 300)}" for line in verification.unchecked]
    outcome = "checked" if differences else "hold"
    without = f"; {total - certified} images have none" if certified < total else ""
    lines.append(f"{len(certificates)} certificates of {certified} images {outcome}{without}")
    return "\n".join(lines)


def _outcome_text(outcome: Outcome) -> str:
    verdict = shown(outcome.verdict, 300)
    if outcome.kind == UNVERIFIED:
        verdict = f"result.json states {verdict}"
    if outcome.kind == RECOMPUTED and outcome.reason:
        verdict = f"{verdict}: {shown(outcome.reason, 600)}"
    return f"{shown(outcome.file, 60)}: {outcome.text}: {verdict}"
