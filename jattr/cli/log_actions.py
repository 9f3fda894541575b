"""What the owner of a log does on the command line: begin, append, publish, look, erase, rotate."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from jattr.cli.log_readers import read_file, read_policy
from jattr.cli.options import emit
from jattr.errors import InputError, LedgerError, OutputError
from jattr.ledger.cosign import cosign
from jattr.ledger.durable import replace_file
from jattr.ledger.evidence.window import Leaves
from jattr.ledger.image_receipts import renewed
from jattr.ledger.keys import ML_DSA_44, Signer
from jattr.ledger.leaves import parse_leaf
from jattr.ledger.policy import MAX_POLICY_BYTES, with_key
from jattr.ledger.private import FILE, PrivateStore, erase
from jattr.ledger.publish import publish, rebuild
from jattr.ledger.store import LogStore, announce_key
from jattr.ledger.tiles import check_entry
from jattr.ledger.tlog_proof import MAX_PROOF_BYTES, SUFFIX
from jattr.printable import shown

POLICY, PUBLIC = "policy", "public"
POLICY_HEAD = """# Whom to trust (https://c2sp.org/tlog-policy): this log, its witnesses, \
and how many of those must sign.
# Add witnesses that others run, then a quorum of them in place of `none`:
#   witness NAME VKEY URL
#   group all-of-them all NAME NAME
#   quorum all-of-them
"""


def init_log(args: argparse.Namespace) -> int:
    """Begin a log."""
    signers = [Signer.generate(args.origin)] + (
        [Signer.generate(args.origin, ML_DSA_44)] if args.ml_dsa else []
    )
    with LogStore.create(args.folder, args.origin, signers) as log:
        keys = [key.vkey for key in log.identity.keys]
        text = POLICY_HEAD + f"log {keys[0]}\nquorum none\n"
        try:
            PrivateStore.create(log.folder).__exit__()
            write(log.folder / POLICY, text.encode())
        except BaseException:
            shutil.rmtree(log.folder, ignore_errors=True)  # nothing stands in it yet
            raise
    lines = [
        f"the log {args.origin} is begun in {shown(args.folder, 200)}",
        f"its key: {keys[0]}",
        "keep `keys` and `private.sqlite` secret and copied; add witnesses to `policy`",
    ]
    emit(args, {"folder": args.folder, "origin": args.origin, "keys": keys}, "\n".join(lines))
    return 0


def append_files(args: argparse.Namespace) -> int:
    """Add files as entries."""
    entries = [read_file(path, 65_536) for path in args.files]
    for entry in entries:
        check_entry(entry)
    with LogStore.open(args.folder) as log:
        numbers = log.append(entries)
    others = sum(not _is_leaf(entry) for entry in entries)
    text = f"entries {numbers[0]} to {numbers[-1]} of {shown(args.folder, 200)}"
    if others:
        text += (
            f"; {others} of them are no leaves of jattr: a window with such entries supports no"
            " denial"
        )
    emit(args, {"entries": list(numbers), "others": others}, text)
    return 0


def _is_leaf(entry: bytes) -> bool:
    try:
        parse_leaf(entry)
    except LedgerError:
        return False
    return True


def publish_log(args: argparse.Namespace) -> int:
    """Sign, have witnessed, write."""
    with LogStore.open(args.folder) as log:
        place = args.to or log.folder / PUBLIC
        if args.rebuild:
            written = rebuild(log, place)
            emit(
                args,
                {"tiles": written},
                f"{written} tiles and bundles written anew to {shown(str(place), 200)}",
            )
            return 0
        published = [signed.published for signed in log.checkpoints() if signed.published]
        policy = read_policy(log.folder / POLICY)
        cosigned = cosign(
            log, policy, log.sign_checkpoint(), previous=published[-1] if published else None
        )
        written = publish(log, place, cosigned.checkpoint)
        size = cosigned.opened.checkpoint.size
    witnesses = sorted(key.name for key in cosigned.opened.witnesses)
    result = {"size": size, "tiles": written, "place": str(place), "witnesses": witnesses}
    by = (
        f"cosigned by {', '.join(witnesses)}"
        if witnesses
        else "with no witness: nobody vouches for one view of it"
    )
    by += (
        ""
        if cosigned.opened.witnessed or not witnesses
        else ", whom the policy does not ask for (`quorum none`)"
    )
    lines = [
        f"checkpoint of {size} entries, {by}",
        f"{written} tiles and bundles written to {shown(str(place), 200)}",
    ]
    lines += [f"witness {name} did not cosign: {why}" for name, why in cosigned.failures.items()]
    emit(args, result | {"failures": dict(cosigned.failures)}, "\n".join(lines))
    return 0


def renew_receipts(args: argparse.Namespace) -> int:
    """Write the receipts of a folder anew, under the checkpoint that was published last."""
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
    old = [read_file(path, MAX_PROOF_BYTES) for path in paths]
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


def status_of(args: argparse.Namespace) -> int:
    """Say what is in a log."""
    with LogStore.open(args.folder, writable=False) as log:
        leaves = Leaves(log.entry)
        for number, entry in enumerate(log.entries(0, log.size)):
            leaves.read(number, entry)
        published = [signed for signed in log.checkpoints() if signed.published]
        orphans, private = leaves.orphans(), (log.folder / FILE).is_file()
        facts = {
            "origin": log.origin,
            "entries": log.size,
            "published": published[-1].size if published else 0,
            "models": len(leaves.models),
            "uses": len(leaves.results),
            "orphans": orphans,
            "erased": sorted(leaves.erased),
            "other": leaves.unreadable,
            "private": private,
        }
    text = (
        f"{facts['origin']}: {facts['entries']} entries, {facts['published']} of them published;"
        f" {facts['models']} models, {facts['uses']} uses, {len(orphans)} intents without a result"
    )
    if orphans:
        text += (
            f" (entries {', '.join(map(str, orphans[:10]))}{', ...' if len(orphans) > 10 else ''}):"
            " a process ended between the intent and the result; no image of theirs was released by"
            " jattr"
        )
    if not private:
        text += f". {FILE} is missing: nothing of this log can be opened; put it back from a copy"
    emit(args, facts, text)
    return 0


def erase_entries(args: argparse.Namespace) -> int:
    """Delete what entries hide."""
    with LogStore.open(args.folder) as log, PrivateStore.open(args.folder) as private:
        entry, count = erase(log, private, args.entries, args.reason)
    text = (
        f"{count} openings deleted; entry {entry} says so. Copies of private.sqlite elsewhere are"
        " yours to delete"
    )
    emit(args, {"entry": entry, "openings": count}, text)
    return 0


def rotate_key(args: argparse.Namespace) -> int:
    """Sign with a new key from now on."""
    with LogStore.open(args.folder) as log:
        policy = read_file(log.folder / POLICY, MAX_POLICY_BYTES)
        entry, new = announce_key(log)
        # it takes the old key as well
        write(log.folder / POLICY, with_key(policy, new.verifier.vkey))
        log.rotate([new, *log.signers[1:]])
    text = (
        f"entry {entry}: {shown(args.folder, 200)} signs with {new.verifier.vkey} from now on;"
        " give it to verifiers"
    )
    emit(args, {"entry": entry, "key": new.verifier.vkey}, text)
    return 0


def write(path: Path, data: bytes) -> None:
    """Put a file in place, whole or not at all.

    Raises:
      OutputError: it cannot be written.
    """
    try:
        replace_file(path, data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
