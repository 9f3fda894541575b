"""`jattr log`: the public record of a model's uses; docs/ledger.md says what it proves.

Nothing but `jattr log generate` and `model` needs JAX, so the modules of these actions are imported
when chosen.
"""

from __future__ import annotations

from jattr.cli.log_actions import (
    PUBLIC,
    append_files,
    erase_entries,
    init_log,
    publish_log,
    renew_receipts,
    rotate_key,
    status_of,
)
from jattr.cli.log_readers import check_image, run_witness, verify_log
from jattr.cli.options import add_action, whole_number
from jattr.cli.parser import Command, Parser, Subparsers, add_command

GENERATE = Command(
    "jattr.cli.log_generate", "make images, each logged before it is made and released"
)
MODEL = Command("jattr.cli.log_model", "state a model's weights, and prove by when they existed")


def add_arguments(parser: Parser) -> None:
    """Add the arguments and the actions."""
    parser.description = (
        "Keep a log of a model's uses that nobody can alter unnoticed, not even its owner; publish"
        " it, have it witnessed, verify it. Formats: https://c2sp.org (tlog-tiles, signed-note,"
        " tlog-witness, tlog-proof)."
    )
    below = parser.add_subparsers(metavar="ACTION", required=True)
    init = add_action(below, "init", init_log, "begin a log in a new folder")
    init.add_argument("folder", metavar="DIR")
    init.add_argument(
        "--origin",
        required=True,
        metavar="NAME",
        help="the log's name, such as example.com/model-log",
    )
    init.add_argument(
        "--ml-dsa", action="store_true", help="sign with an ML-DSA-44 key besides (post-quantum)"
    )
    add_command(below, "generate", GENERATE)
    add_command(below, "model", MODEL)
    append = add_action(
        below, "append", append_files, "add files as entries, one each: leaves made elsewhere"
    )
    append.add_argument("folder", metavar="DIR")
    append.add_argument("files", nargs="+", metavar="FILE", help="at most 65,535 bytes each")
    publish = add_action(
        below,
        "publish",
        publish_log,
        "sign a checkpoint, have it witnessed, write the public files",
    )
    publish.add_argument("folder", metavar="DIR")
    publish.add_argument(
        "--to", metavar="FOLDER", help=f"what a web server serves (default: DIR/{PUBLIC})"
    )
    publish.add_argument(
        "--rebuild", action="store_true", help="write all files anew, up to the last publication"
    )
    receipts = add_action(
        below, "receipts", renew_receipts, "renew receipts under the last published checkpoint"
    )
    receipts.add_argument("folder", metavar="DIR")
    receipts.add_argument("pictures", metavar="OUT", help="folder that `jattr log generate` wrote")
    status = add_action(
        below, "status", status_of, "say what is in a log, and which intents have no result"
    )
    status.add_argument("folder", metavar="DIR")
    erase = add_action(
        below,
        "erase",
        erase_entries,
        "delete what the commitments of entries hide; the log stays whole",
    )
    erase.add_argument("folder", metavar="DIR")
    erase.add_argument(
        "entries", nargs="+", type=whole_number(0, 2**53 - 1), metavar="ENTRY", help="of results"
    )
    erase.add_argument("--reason", required=True, metavar="TEXT", help="public")
    rotate = add_action(
        below, "rotate", rotate_key, "sign with a new key from now on; the old one vouches for it"
    )
    rotate.add_argument("folder", metavar="DIR")
    _add_readers(below)


def _add_readers(below: Subparsers) -> None:
    verify = add_action(
        below, "verify", verify_log, "recompute the root over every entry of a published log"
    )
    verify.add_argument("place", metavar="PLACE", help="folder or URL that the log is published in")
    verify.add_argument("--policy", required=True, metavar="FILE", help="whom to trust")
    verify.add_argument(
        "--since", metavar="CHECKPOINT", help="file of an earlier checkpoint: the window after it"
    )
    check = add_action(
        below, "check", check_image, "check that a receipt shows an image to be in a log"
    )
    check.add_argument("picture", metavar="IMAGE")
    check.add_argument("receipt", metavar="RECEIPT", help="its .tlog-proof")
    check.add_argument("--policy", required=True, metavar="FILE", help="whom to trust")
    witness = add_action(
        below, "witness", run_witness, "be a witness: cosign checkpoints that extend what was seen"
    )
    witness.add_argument("folder", metavar="DIR", help="of the witness's memory")
    witness.add_argument(
        "--name", metavar="NAME", help="begin one of this name, such as example.org/witness"
    )
    witness.add_argument(
        "--log", nargs="+", metavar="VKEY", help="public keys of the logs; without it: say the key"
    )
    witness.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    witness.add_argument(
        "--port", type=whole_number(0, 65535), default=0, help="default: a free one"
    )
