"""`jattr convert`: a PyTorch checkpoint becomes a generator folder."""

import argparse
from typing import Any

from jattr.cli.options import add_common, emit


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "convert",
        help="turn a PyTorch checkpoint and its architecture card into a generator folder",
        description="Turn a PyTorch checkpoint and its architecture card into a generator folder. Nothing in the"
        " checkpoint is run.",
    )
    parser.add_argument("source", metavar="SRC", help="weights file, or a card.json whose weights lie beside it")
    parser.add_argument("destination", metavar="DST", help="generator folder to make")
    described = parser.add_mutually_exclusive_group()
    described.add_argument("--card", metavar="CARD.json", help="architecture card of the weights file")
    described.add_argument("--arch", metavar="NAME", help="known architecture, in place of a card")
    parser.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert and report."""
    from converters.convert import convert

    generator = convert(args.source, args.destination, card=args.card, arch=args.arch, overwrite=args.overwrite)
    result = {
        "out": args.destination,
        "name": generator.name,
        "image_shape": list(generator.image_shape),
        "latent_shape": list(generator.latent_shape),
        "prior": generator.prior,
        "num_classes": generator.num_classes,
        "weights_digest": generator.weights_digest,
        "digest": generator.digest,
    }
    sides = "x".join(str(side) for side in generator.image_shape)
    classes = f", {generator.num_classes} classes" if generator.num_classes else ""
    latent = "x".join(str(side) for side in generator.latent_shape)
    text = (
        f"{generator.name}: pictures {sides}, latent {latent} {generator.prior}{classes}, written to {args.destination}"
    )
    emit(args, result, f"{text}\ndigest {generator.digest}")
    return 0
