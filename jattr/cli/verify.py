"""`jattr verify`: carries out the certificates of a result again, from its latents, the weights
and the images.
"""

from __future__ import annotations

import argparse
import json

from jattr.cli.device import add_device, start_jax
from jattr.cli.options import add_common
from jattr.errors import InputError, VerificationError
from jattr.printable import shown
from jattr.verification.result_folder import read_result
from jattr.verification.verify import verify_result


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
    saved = read_result(args.folder)
    start_jax(args.device)
    report = verify_result(saved, args.candidates, args.pictures)
    if not report.checked and not report.differences:
        raise InputError(
            f"{args.folder} states no certificate, so there is nothing to verify; its verdicts"
            " rest on residuals alone"
        )
    count, total = len(report.checked), len(saved.data["pictures"])
    differences = [shown(line, 500) for line in report.differences]
    unchecked = [shown(line, 300) for line in dict.fromkeys(report.unchecked)]
    result = {
        "verified": not differences,
        "certificates": report.checked,
        "differences": differences,
        "unchecked": unchecked,
        "pictures": total,
        "pictures_without_certificate": total - report.images,
    }
    lines = [
        f"{shown(c['file'], 60)}: made by {shown(c['candidate'], 60)}: {c['text']}"
        for c in report.checked
    ]
    without = f"; {total - report.images} images have none" if report.images < total else ""
    lines += [f"DIFFERS: {line}" for line in differences]
    lines += [f"not checked: {line}" for line in unchecked]
    lines.append(
        f"{count} certificates of {report.images} images"
        f" {'checked' if differences else 'hold'}{without}"
    )
    # ASCII: names need not be text
    print(json.dumps(result, allow_nan=False) if args.json else "\n".join(lines))
    if differences:
        raise VerificationError(
            f"{len(differences)} differences from what {args.folder} states; {differences[0]}"
        )
    return 0
