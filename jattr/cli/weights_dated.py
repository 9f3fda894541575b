"""`--weights-dated`: proofs of a log that candidates' weights existed by a date."""

from __future__ import annotations

import argparse
from pathlib import Path

from jattr.decision.weights_age import DatedWeights
from jattr.errors import InputError


def add_weights_dated(parser: argparse.ArgumentParser) -> None:
    """Add `--weights-dated` and the policy that it is judged by."""
    parser.add_argument(
        "--weights-dated",
        nargs="+",
        default=[],
        metavar="FILE",
        help="proofs by `jattr log model` that candidates' weights existed by a date, which"
        " certificates then state",
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="of --weights-dated: whom you trust, the keys of the log and of its witnesses",
    )


def read_weights_dated(args: argparse.Namespace) -> list[DatedWeights]:
    """Return what the proofs of `--weights-dated` show.

    Raises:
      InputError: one cannot be read or is malformed, or there is no policy to judge it by.
      VerificationError: the policy does not accept one.
    """
    if not args.weights_dated:
        if args.policy is not None:
            raise InputError("--policy has no effect without --weights-dated; leave it away")
        return []
    if args.policy is None:
        raise InputError(
            "--weights-dated needs --policy FILE: the keys of the log and of the witnesses that you"
            " trust"
        )
    # Here: few runs need the ledger.
    from jattr.cli.log_readers import read_file, read_policy
    from jattr.ledger.dated_weights import date_weights
    from jattr.ledger.tlog_proof import MAX_PROOF_BYTES

    policy = read_policy(Path(args.policy))
    return [date_weights(read_file(path, MAX_PROOF_BYTES), policy) for path in args.weights_dated]
