"""`jattr demo`: images whose makers are known here, attributed by the ordinary command."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from jattr.bounded_json import read_json_text
from jattr.cli import attribute
from jattr.cli.device import add_device, start_jax
from jattr.cli.options import add_common, new_folder, whole_number
from jattr.cli.parser import Parser
from jattr.cli.streams import say
from jattr.errors import GeneratorError, InputError, OutputError
from jattr.folders.kinds import FolderKind, check_names, file_names, problem_of
from jattr.generators.store import bundled_generators, load_generator
from jattr.images import write_png
from jattr.printable import shown
from jattr.report.words import verdict_text
from jattr.runtime import jax_defaults
from jattr.verification.result_folder import check_result_folder, read_result
from jattr.zoo.demo import draw_images

CANDIDATES = ("dcgan_a", "dcgan_b", "progan_a", "progan_b")
IMAGES_FOLDER, TRUTH, RESULT_FOLDER = "pictures", "truth.json", "result"
QUALITY = 90


@dataclass(frozen=True)
class Secret:
    """Who made an image of the demo."""

    file: str
    made_by: str  # a candidate's name, or `jattr.zoo.demo.NOBODY`
    compressed: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Make images with the bundled generators from secret latents, two faces that nobody"
        " generated, and two JPEG copies; attribute the files as `jattr attribute` does; tell who"
        f" made them. The images, {TRUTH} and the report go to DIR."
    )
    parser.add_argument(
        "--out", default="jattr-demo", metavar="DIR", help="folder to make (default jattr-demo)"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace DIR if it is empty; a demo's own DIR is replaced anyway",
    )
    parser.add_argument(
        "--all", action="store_true", help="all bundled generators as candidates, not only four"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        default=0,
        metavar="S",
        help="of the secret latents",
    )
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


@jax_defaults(devices=False)
def run(args: argparse.Namespace) -> int:
    """Make the images, attribute them, tell the truth."""
    start_jax(args.device)
    names = candidate_names(everything=args.all)
    out = Path(args.out)
    overwrite = args.overwrite or problem_of(out, DEMO_FOLDER) is None
    with new_folder(out, kind=DEMO_FOLDER, overwrite=overwrite) as work:
        secrets = make_images(work, names, args.seed)
    files = [str(out / IMAGES_FOLDER / secret.file) for secret in secrets]
    options = [
        "--candidates",
        *names,
        "--out",
        str(out / RESULT_FOLDER),
        *(["--json"] if args.json else []),
    ]
    options += [] if args.device is None else ["--device", args.device]
    parser = Parser()
    attribute.add_arguments(parser)
    command = parser.parse_args([*files, *options], argparse.Namespace(import_seconds=0.0))
    if not args.json:
        say(
            f"$ jattr attribute {shown(str(out / IMAGES_FOLDER), 60)}/* --candidates"
            f" {' '.join(names)} --out {out / RESULT_FOLDER}"
        )
    code = attribute.run(command)
    if not args.json:
        say(
            f"\n{truth_table(out, secrets)}\n\nOpen {out / RESULT_FOLDER / 'report.html'} in a"
            " browser."
        )
    return code


def check_demo_folder(folder: Path) -> None:
    """Check that a folder holds a demo's images, who made them, and its result if there is one.

    Raises:
      InputError: it does not, or holds anything else.
    """
    check_names(file_names(folder, folders=(IMAGES_FOLDER, RESULT_FOLDER)), (TRUTH,))
    secrets = read_json_text((folder / TRUTH).read_text(encoding="utf-8"))
    if not isinstance(secrets, list) or not secrets:
        raise InputError(f"{TRUTH!r} is not that of a demo")
    check_names(file_names(folder / IMAGES_FOLDER), [Secret(**secret).file for secret in secrets])
    if (folder / RESULT_FOLDER).exists():
        check_result_folder(folder / RESULT_FOLDER)


DEMO_FOLDER = FolderKind("a folder of `jattr demo`", check_demo_folder)


def candidate_names(*, everything: bool) -> tuple[str, ...]:
    """Return the candidates' names.

    Raises:
      GeneratorError: the package has no bundled generators.
    """
    bundled = tuple(bundled_generators())
    missing = [name for name in CANDIDATES if name not in bundled]
    if missing:
        raise GeneratorError(
            f"the bundled generator {missing[0]!r} is not there: the installation is incomplete;"
            " install jattr again"
        )
    return bundled if everything else CANDIDATES


def make_images(work: Path, names: tuple[str, ...], seed: int) -> list[Secret]:
    """Write the images, in an order that tells nothing, and `truth.json`; return who made which."""
    images = draw_images([load_generator(name) for name in names], seed)
    (work / IMAGES_FOLDER).mkdir()
    secrets = []
    for number, (made_by, pixels, compressed) in enumerate(images, 1):
        file = f"{number:02d}.{'jpg' if compressed else 'png'}"
        _write(work / IMAGES_FOLDER / file, pixels, compressed)
        secrets.append(Secret(file, made_by, compressed))
    (work / TRUTH).write_text(
        json.dumps([asdict(secret) for secret in secrets], indent=1) + "\n", encoding="utf-8"
    )
    return secrets


def truth_table(out: Path, secrets: list[Secret]) -> str:
    """Return who made each image, beside what was found."""
    rows = read_result(out / RESULT_FOLDER).data["pictures"]
    lines = ["who made them:"]
    for secret, row in zip(secrets, rows, strict=True):
        kind = ", saved as JPEG" if secret.compressed else ""
        lines.append(f"  {secret.file}  {secret.made_by + kind:36}  found: {verdict_text(row)}")
    return "\n".join(lines)


def _write(path: Path, pixels: np.ndarray, compressed: bool) -> None:
    if not compressed:
        write_png(path, pixels)
        return
    try:
        Image.fromarray(pixels).save(path, "JPEG", quality=QUALITY)
    except OSError as error:
        raise OutputError(
            f"cannot write {path.name}: {error.strerror or error}; make room"
        ) from error
