"""`jattr attribute`: which of the candidates made each image."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jattr.cli.options import (
    add_common,
    add_device,
    add_output,
    add_settings,
    given_settings,
    start_jax,
    whole_number,
)
from jattr.cli.output import distance_paths, new_folder
from jattr.cli.table import result_table
from jattr.errors import InputError
from jattr.generators.settings import NOISE, SPACES, Settings
from jattr.report.words import shown

if TYPE_CHECKING:
    from jattr.cli.attribute_run import AttributeRun
    from jattr.decision.calibration import Calibration
    from jattr.generators.base import Generator
    from jattr.inversion.config import InvertConfig

OUTPUTS = ("result.json", "latents.npz", "contact_sheet.png", "report.html")
MAX_CALIBRATION = 256 << 20  # bytes


class Judge(NamedTuple):
    """What judges a run's images."""

    calibration: Calibration | None
    sha256: str | None  # of the calibration's file
    alpha: float  # level of both errors


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "attribute",
        help="tell which generator made an image",
        description="Tell which of the candidates made each image, or none of them. Writes"
        " result.json, latents.npz,"
        " contact_sheet.png and report.html. An image that cannot be used becomes a failed row;"
        " the exit code"
        " is 2 then.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG or WebP")
    parser.add_argument(
        "--candidates", nargs="+", required=True, metavar="GEN", help="generator folders or names"
    )
    add_output(parser)
    search = parser.add_argument_group("search")
    search.add_argument(
        "--restarts",
        type=whole_number(1, 100_000),
        metavar="N",
        help="restarts of an image that is not found (default: most 8, or 32 where they cost"
        " little, by pilot study)",
    )
    search.add_argument(
        "--optimiser",
        metavar="NAME",
        help="auto (default), levenberg-marquardt[-logit], gauss-newton-cg, lbfgs, bfgs,"
        " adam-cosine,"
        " adam-paper, or an optax one as adam:0.05:cosine",
    )
    search.add_argument(
        "--steps", type=whole_number(1, 1_000_000), metavar="N", help="most steps of a restart"
    )
    search.add_argument(
        "--start", metavar="KIND", help="of the latents: linear (default), pool or prior"
    )
    search.add_argument(
        "--distance",
        metavar="SPEC",
        help="searched by, as ssim, l2*1+ssim*0.5, or a feature folder (default: pixels)",
    )
    search.add_argument("--space", choices=SPACES, help="of the latents (default z)")
    search.add_argument(
        "--lanes", type=whole_number(1, 1_000_000), metavar="N", help="searches in one program"
    )
    search.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        metavar="S",
        help="of all random choices (default 0)",
    )
    add_settings(parser, (*NOISE, "search"), grid=True)
    parser.add_argument(
        "--resize", action="store_true", help="bring images to the candidates' sizes (Lanczos)"
    )
    parser.add_argument(
        "--alteration",
        nargs="+",
        default=["auto"],
        metavar="CHAIN",
        help="what was done to the images, as centre:0.9,resize:48x48:lanczos,jpeg (jpeg: as the"
        " file states);"
        " several are tried in turn (not with --calibration); none: nothing;"
        " auto (default): the compression of JPEG files, else nothing",
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="of these candidates and settings: `jattr calibrate`"
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.05,
        metavar="A",
        help="error rate of calibrated verdicts (default 0.05)",
    )
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Attribute, write and report.

    Raises:
      InputError: the run is impossible; or, after everything was written, an image could not be
        used.
    """
    from jattr.verification.result_folder import RESULT_FOLDER

    inputs = [*args.images, *args.candidates, args.calibration, *distance_paths(args.distance)]
    with new_folder(args.out, kind=RESULT_FOLDER, overwrite=args.overwrite, inputs=inputs) as work:
        task = prepare(args)
        task.attribute()
        data = task.write(work, args.out)
    report(args, data)
    if task.unusable:
        raise InputError(
            f"{len(task.unusable)} of {len(args.images)} images could not be used and are failed"
            " rows in"
            f" {args.out}; the first: {task.unusable[0]}"
        )
    return 0


def prepare(args: argparse.Namespace) -> AttributeRun:
    """Return the run, everything checked that concerns all of it; the images are not looked at.

    Raises:
      InputError: an option, the device or a candidate cannot be used.
    """
    from jattr.cli.timing import Clock

    clock = Clock()
    with clock.part("import"):
        import jattr.attribution.attribute  # noqa: F401  imported here so that its time is counted
        from jattr.attribution.alteration_search import (
            check_candidates,
            check_one,
            parse_alternatives,
        )
        from jattr.cli.attribute_run import AttributeRun
    alternatives = parse_alternatives(
        args.alteration if args.distance is None else _unaltered(args.alteration)
    )
    if args.calibration is not None:
        check_one(alternatives)
    with clock.part("start_device"):
        start_jax(args.device)
        clock.watch_compilation()
        config = make_config(args)
    with clock.part("load_candidates"):
        loaded = load_candidates(args.candidates, resize=args.resize)
        views = [candidate_views(gen, config, args.psi) for gen in loaded]
        generators = [gen for group in views for gen in group]
        check_candidates(alternatives, generators, resize=args.resize)
        judge = load_judge(args.calibration, args.alpha, generators, config)
    paths = [path for path, group in zip(args.candidates, views, strict=True) for _ in group]
    return AttributeRun(
        args.images, paths, generators, config, args.resize, alternatives, judge, clock
    )


def report(args: argparse.Namespace, data: dict[str, Any]) -> None:
    """Print the result as a table, or as JSON."""
    if args.json:
        print(json.dumps(data, allow_nan=False))  # ASCII: names of files need not be text
        return
    names = [candidate["name"] for candidate in data["candidates"]]
    print(result_table(data["pictures"], names, data["settings"]["inversion"]["distance"]))
    for candidate in data["candidates"]:
        if candidate["settings"] is not None:
            name, settings = shown(candidate["name"], 60), Settings(**candidate["settings"])
            print(f"{name}: searched in space {candidate['space']}, {settings}")
    print(f"written to {shown(args.out, 200)}: {', '.join(OUTPUTS)}")


def load_judge(
    path: str | None, alpha: float, generators: Sequence[Generator], config: InvertConfig
) -> Judge:
    """Return the calibration of a run, its digest and its level, checked against the run.

    Raises:
      InputError: the file cannot be read, is of other models, settings or versions, or too small
        for alpha.
    """
    from jattr.attribution.calibrate import calibration_config, check_calibration
    from jattr.decision.calibration_json import from_json
    from jattr.decision.judgement import check_ready
    from jattr.decision.scores import as_fraction

    as_fraction(alpha)
    if path is None:
        return Judge(None, None, alpha)
    content = _read_calibration(path)
    calibration = from_json(content.decode())
    check_calibration(calibration, generators, calibration_config(config))
    for condition in calibration.conditions:
        check_ready(calibration, [gen.name for gen in generators], condition, alpha)
    return Judge(calibration, hashlib.sha256(content).hexdigest(), alpha)


def _read_calibration(path: str) -> bytes:
    """Return a calibration's file, which is text.

    Raises:
      InputError: it cannot be read, is no UTF-8 or too long.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_CALIBRATION + 1)
        if len(content) <= MAX_CALIBRATION:
            content.decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot read calibration {path!r}: {reason}; make it with `jattr calibrate`"
        ) from error
    if len(content) > MAX_CALIBRATION:
        raise InputError(
            f"calibration {path!r} is longer than {MAX_CALIBRATION} bytes; give one from jattr"
            " calibrate"
        )
    return content


def _unaltered(alterations: Sequence[str]) -> Sequence[str]:
    """Return what images are taken as where a distance compares them: as they are.

    Raises:
      InputError: an alteration was named.
    """
    from jattr.attribution.alteration_search import AUTO, NONE

    named = [text for text in alterations if text not in (AUTO, NONE)]
    if named:
        raise InputError(f"--distance and --alteration {named[0]}; give one of them")
    return [NONE]


def make_config(args: argparse.Namespace) -> InvertConfig:
    """Return the settings of the inversion; options left away have their defaults.

    Raises:
      InputError: one is not legal.
    """
    from jattr.inversion.config import InvertConfig

    options = ("restarts", "optimiser", "steps", "start", "distance", "space", "lanes", "seed")
    if args.distance is not None:
        from jattr.inversion.observation.make import given_distance

        given_distance(args.distance)  # wrong ones fail before any work
    given = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    settings = given_settings(args)
    psi = settings.pop("psi", ())
    return InvertConfig(**given, **settings, psi=psi[0] if len(psi) == 1 else None)


def candidate_views(
    gen: Generator, config: InvertConfig, psi: Sequence[float] | None
) -> Sequence[Generator]:
    """Return a candidate in the space and under the settings that are searched, once for each of
    several psi.
    """
    view = config.view(gen)
    return view.psi_grid(psi) if psi is not None and len(psi) > 1 else (view,)


def load_candidates(paths: Sequence[str], *, resize: bool) -> list[Generator]:
    """Return the candidates, checked against each other.

    Raises:
      InputError: one cannot be read, two have one name, or their sizes differ without `--resize`.
    """
    from jattr.generators.store import find_generator, load_generator

    for path in paths:
        find_generator(path)  # says what is missing before any is loaded
    generators: list[Generator] = []
    for path in paths:
        gen = load_generator(path)
        if gen.name in [other.name for other in generators]:
            raise InputError(
                f"two candidates are called {gen.name!r}, the second one is {path!r}; leave one"
                " away, or give it"
                ' another "name" in its card.json'
            )
        generators.append(gen)
    sizes = {gen.name: f"{gen.image_shape[0]}x{gen.image_shape[1]}" for gen in generators}
    if not resize and len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} ({name})" for name, size in sizes.items())
        raise InputError(
            f"the candidates make images of different sizes: {listed}; pass --resize to allow that"
        )
    return generators
