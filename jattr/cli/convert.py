"""`jattr convert`: a PyTorch checkpoint becomes a generator folder."""

import argparse
from collections.abc import Mapping
from typing import Any

from jattr.cli.options import add_common, add_settings, emit, given_settings
from jattr.converters.convert import convert
from jattr.distances.networks import FeatureNetwork
from jattr.generators.settings import NOISE
from jattr.printable import shown
from jattr.runtime import jax_defaults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Turn a PyTorch checkpoint into a generator folder. Known families are told from the file;"
        " others need an architecture card. Inception v3, a folder of LPIPS' backbone and heads,"
        " or StyleGAN2's discriminator (--arch stylegan2-discriminator) becomes a feature folder"
        " for distances. Nothing in the checkpoint is run."
    )
    parser.add_argument(
        "source",
        metavar="SRC",
        help="weights file, folder (vae/ or its pipeline, shards and their index, or LPIPS' two"
        " files), or a card.json whose weights lie beside it",
    )
    parser.add_argument("destination", metavar="DST", help="folder to make")
    described = parser.add_mutually_exclusive_group()
    described.add_argument(
        "--card", metavar="CARD.json", help="architecture card of the weights file"
    )
    described.add_argument(
        "--arch",
        metavar="NAME",
        help="layout of the file, where several fit; or"
        " stylegan2-discriminator: not the generator but its discriminator, as a feature folder",
    )
    parser.add_argument(
        "--key",
        metavar="NAME",
        help="where in the file the network lies, such as g or state_dict.generator (default:"
        " wherever it is found, averaged weights before others)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace DST if jattr wrote it and all that is in it",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="of the generator (default: the card's, or DST's)"
    )
    parser.add_argument(
        "--image-size",
        type=image_size,
        metavar="HxW",
        help="of images, for autoencoders (default: the file's)",
    )
    add_settings(parser, NOISE)
    add_common(parser)
    parser.set_defaults(run=run)


def image_size(text: str) -> tuple[int, int]:
    """Return (height, width) of a text such as 512x512.

    Raises:
      argparse.ArgumentTypeError: it is another text.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(
        part.isascii() and part.isdigit() and 0 < int(part) <= 4096 for part in parts
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; write height and width up to 4096, such as 512x512"
        )
    return int(parts[0]), int(parts[1])


@jax_defaults()
def run(args: argparse.Namespace) -> int:
    """Convert and report."""
    generator = convert(
        args.source,
        args.destination,
        card=args.card,
        arch=args.arch,
        name=args.name,
        settings=given_settings(args),
        image_size=args.image_size,
        overwrite=args.overwrite,
        key=args.key,
    )
    if isinstance(generator, FeatureNetwork):
        return _report_features(args, generator)
    result = {
        "out": args.destination,
        "name": generator.name,
        "image_shape": list(generator.image_shape),
        "latent_shape": list(generator.latent_shape),
        "prior": generator.prior,
        "num_classes": generator.num_classes,
        "kind": None if generator.card is None else generator.card["kind"],
        "spaces": list(generator.spaces),
        "settings": None if generator.settings is None else generator.settings.to_json(),
        "weights_digest": generator.weights_digest,
        "digest": generator.digest,
        "notes": _notes(generator.card),
    }
    sides = "x".join(str(side) for side in generator.image_shape)
    classes = f", {generator.num_classes} classes" if generator.num_classes else ""
    latent = "x".join(str(side) for side in generator.latent_shape)
    settings = "" if generator.settings is None else f", {generator.settings}"
    text = (
        f"{generator.name}: {result['kind']}, images {sides}, latent {latent}"
        f" {generator.prior}{classes}{settings}, written to {shown(args.destination, 200)}"
    )
    emit(args, result, "\n".join([text, f"digest {generator.digest}", *_notes(generator.card)]))
    return 0


def _notes(card: Mapping[str, Any] | None) -> list[str]:
    """Return what a card's source says about how it was made."""
    source = None if card is None else card.get("source")
    notes = source.get("notes") if isinstance(source, Mapping) else None
    return [shown(str(note), 1000) for note in notes] if isinstance(notes, list) else []


def _report_features(args: argparse.Namespace, network: FeatureNetwork) -> int:
    fields = {
        name: getattr(network, name)
        for name in ("name", "architecture", "variant", "weights_digest", "digest")
    }
    text = (
        f"{network.name}: features, {network.architecture}, variant {network.variant}, written to"
        f" {shown(args.destination, 200)}"
    )
    emit(
        args,
        {"out": args.destination, "kind": "features", **fields, "notes": _notes(network.card)},
        "\n".join([text, f"digest {network.digest}", *_notes(network.card)]),
    )
    return 0
