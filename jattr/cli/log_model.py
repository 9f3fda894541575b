"""`jattr log model`: weights that are in a log, and the proof of when they were."""

from __future__ import annotations

import argparse
from pathlib import Path

from jattr.cli.device import add_device, start_jax
from jattr.cli.log_actions import POLICY
from jattr.cli.log_readers import read_policy
from jattr.cli.options import add_common, add_settings, emit, given_settings
from jattr.errors import InputError
from jattr.generators.settings import NOISE, SPACES
from jattr.generators.store import load_generator
from jattr.ledger.dated_weights import make_weights_proof, model_entry
from jattr.ledger.recording import model_leaf
from jattr.ledger.store import LogStore
from jattr.printable import named, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "State a model in the log, by its digests, before any use. Once the log is published with"
        " witnesses, --proof writes what shows anybody by when these weights existed: the file of"
        " `--weights-dated`."
    )
    add_common(parser)
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument(
        "generator", metavar="GEN", help="generator folder, or the name of a bundled generator"
    )
    parser.add_argument(
        "--proof", metavar="FILE", help="write the proof under the first witnessed checkpoint of it"
    )
    parser.add_argument("--space", choices=SPACES, help="of its latents (default z)")
    add_settings(parser, NOISE)
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Append the MODEL leaf if the log does not have it; write its proof.

    Raises:
      InputError: the log or the generator cannot be used, or the leaf is not published yet.
    """
    start_jax(args.device)
    gen = load_generator(args.generator).view(args.space, **given_settings(args))
    with LogStore.open(args.folder) as log:
        entry = model_entry(log, gen.digest, gen.weights_digest)
        if args.proof is not None:
            _write_proof(log, entry, args)
        elif entry is None:
            entry = log.append([model_leaf(gen).data])[0]
        text = f"{named(gen.name, gen.digest)} is entry {entry} of the log {log.origin}"
    if args.proof is None:
        text += "; publish it with witnesses, then write its proof: --proof FILE"
    else:
        text += f"; its proof is written to {shown(args.proof, 200)}"
    facts = {"entry": entry, "digest": gen.digest, "weights_digest": gen.weights_digest}
    emit(args, facts | {"proof": args.proof}, text)
    return 0


def _write_proof(log: LogStore, entry: int | None, args: argparse.Namespace) -> None:
    """Write the proof under the first published checkpoint that holds the entry and has a date.

    Raises:
      InputError: there is none, or the file cannot be written.
    """
    policy = read_policy(Path(args.folder) / POLICY).without_quorum()
    notes = [] if entry is None else [signed.published for signed in log.checkpoints(entry + 1)]
    dated = [note for note in notes if note is not None and policy.open(note).time is not None]
    if entry is None or not dated:
        what = "holds no such model" if entry is None else "has no witnessed checkpoint of it"
        raise InputError(
            f"the log in {args.folder} {what}; `jattr log model` without --proof, then `jattr log"
            " publish` with witnesses come first: a log's own word dates nothing"
        )
    try:
        with Path(args.proof).open("xb") as file:
            file.write(make_weights_proof(log, entry, dated[0]))
    except OSError as error:
        raise InputError(
            f"cannot write {args.proof!r}: {error.strerror or error}; choose another place"
        ) from error
