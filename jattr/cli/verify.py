"""`jattr verify`: the certificates of a result, carried out again from its files."""

from __future__ import annotations

import argparse
import json

from jattr.cli.device import add_device, start_jax
from jattr.cli.options import add_common
from jattr.errors import InputError, VerificationError
from jattr.printable import shown
from jattr.verification.verify import verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Carry out every certificate of a result again: the candidates' weights and cards, the"
        " images and the latents must be what result.json states, the test must hold with the"
        " figures it states, and the verdicts must follow. What files cannot show is printed as"
        " not checked. Exit code 0: all hold; 3: something differs; 2: bad input, or a result that"
        " states no certificate."
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
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify and report.

    Raises:
      InputError: the files cannot be used, or there is no certificate to verify.
      VerificationError: something differs from what the result states.
    """
    start_jax(args.device)
    verification = verify(args.folder, args.candidates, images=args.pictures)
    certificates = verification.certificates
    if not certificates and verification.verified:
        raise InputError(
            f"{args.folder} states no certificate, so there is nothing to verify; its verdicts"
            " rest on residuals alone"
        )
    certified, total = verification.certified_images, verification.images
    differences = [shown(line, 500) for line in verification.differences]
    unchecked = [shown(line, 300) for line in verification.unchecked]
    result = {
        "verified": verification.verified,
        "certificates": certificates,
        "differences": differences,
        "unchecked": unchecked,
        "pictures": total,
        "pictures_without_certificate": total - certified,
    }
    lines = [
        f"{shown(each['file'], 60)}: made by {shown(each['candidate'], 60)}: {each['text']}"
        for each in certificates
    ]
    lines += [f"DIFFERS: {line}" for line in differences]
    lines += [f"not checked: {line}" for line in unchecked]
    outcome = "hold" if verification.verified else "checked"
    without = f"; {total - certified} images have none" if certified < total else ""
    lines.append(f"{len(certificates)} certificates of {certified} images {outcome}{without}")
    # ASCII: names need not be text
    print(json.dumps(result, allow_nan=False) if args.json else "\n".join(lines))
    if differences:
        raise VerificationError(
            f"{len(differences)} differences from what {args.folder} states; {differences[0]}"
        )
    return 0
