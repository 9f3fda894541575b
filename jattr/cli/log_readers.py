"""What anybody does with a log: verify it, check an image's receipt, be a witness."""

from __future__ import annotations

import argparse
from pathlib import Path

from jattr.cli.options import emit
from jattr.cli.streams import flush
from jattr.errors import InputError
from jattr.images.reading import decode, read_bytes
from jattr.ledger.image_receipts import check_receipt
from jattr.ledger.keys import COSIGNATURE, Signer, parse_vkey
from jattr.ledger.note import MAX_NOTE_BYTES
from jattr.ledger.policy import MAX_POLICY_BYTES, Policy, parse_policy
from jattr.ledger.reader import PublishedLog, verify_window
from jattr.ledger.witness import Witness
from jattr.ledger.witness_http import serve
from jattr.ledger.witness_store import WitnessStore
from jattr.printable import shown


def verify_log(args: argparse.Namespace) -> int:
    """Recompute the root of a published log."""
    policy, log = read_policy(Path(args.policy)), PublishedLog(args.place)
    opened = policy.open(log.checkpoint())
    start = (
        None
        if args.since is None
        else policy.open(read_file(args.since, MAX_NOTE_BYTES)).checkpoint
    )
    count = verify_window(log, start, opened.checkpoint)
    witnesses = sorted(key.name for key in opened.witnesses)
    result = {"origin": opened.checkpoint.origin, "size": opened.checkpoint.size, "entries": count}
    by = f"cosigned by {', '.join(witnesses)}" if witnesses else "cosigned by nobody"
    by = by if opened.witnessed else f"no witness asked for, {by}"
    text = (
        f"{opened.checkpoint.origin}: {count} entries lead to the root of its checkpoint of"
        f" {result['size']}; {by}"
    )
    emit(args, result | {"witnesses": witnesses, "verified": True}, text)
    return 0


def check_image(args: argparse.Namespace) -> int:
    """Check an image against its receipt."""
    image = read_bytes(args.picture)
    pixels = decode(image).pixels
    receipt = check_receipt(
        read_file(args.receipt, 2_000_001), image, pixels, read_policy(Path(args.policy))
    )
    same = "this very file" if receipt.matches == "file" else "these pixels, in another file,"
    to = "" if receipt.recipient is None else f", for {shown(receipt.recipient, 100)}"
    origin, size = receipt.checkpoint.checkpoint.origin, receipt.checkpoint.checkpoint.size
    result = {
        "entry": receipt.entry,
        "origin": origin,
        "matches": receipt.matches,
        "recipient": receipt.recipient,
    }
    witnesses = sorted(key.name for key in receipt.checkpoint.witnesses)
    emit(
        args,
        result | {"witnesses": witnesses},
        f"{same} is entry {receipt.entry} of the log {origin} ({size}){to}",
    )
    return 0


def run_witness(args: argparse.Namespace) -> int:
    """Be a witness, or begin one."""
    if args.name is not None:
        WitnessStore.create(args.folder, [Signer.generate(args.name, COSIGNATURE)]).__exit__()
    with WitnessStore.open(args.folder) as store:
        keys = [signer.verifier.vkey for signer in store.signers]
        if args.log is None:
            emit(args, {"keys": keys}, "\n".join(keys))
            return 0
        witness = Witness(store, [parse_vkey(text) for text in args.log])

        def ready(url: str) -> None:
            emit(args, {"url": url, "keys": keys}, f"{url} cosigns with {', '.join(keys)}")
            flush()  # whoever started it may read a pipe

        serve(witness, args.host, args.port, ready=ready)
    return 0


def read_policy(path: Path) -> Policy:
    """Return the policy of a file.

    Raises:
      InputError: it cannot be read, or is malformed.
    """
    return parse_policy(read_file(path, MAX_POLICY_BYTES))


def read_file(path: str | Path, limit: int) -> bytes:
    """Return a file's bytes, at most `limit`.

    Raises:
      InputError: it cannot be read, or is longer.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if len(data) > limit:
        raise InputError(f"{str(path)!r} has more than {limit} bytes; it is something else")
    return data
