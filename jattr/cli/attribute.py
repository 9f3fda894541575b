"""`jattr attribute`: which of the candidates made each image."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import platform
import shlex
import time
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata
from pathlib import Path
from threading import Thread
from typing import Any

import jax
import numpy as np

from jattr._version import __version__
from jattr.attribution.alteration_search import (
    Alternative,
    Hypotheses,
    check_candidates,
    check_one,
    hypotheses_of,
    parse_alternatives,
    without_alterations,
)
from jattr.attribution.attribute import attribute_hypotheses, second_look_of
from jattr.attribution.calibration_files import Judge, load_judge
from jattr.attribution.pilot_files import PilotStudyFiles
from jattr.attribution.result import Attribution
from jattr.attribution.result_json import (
    SCHEMA,
    add_candidate,
    candidate_record,
    failed_record,
    image_record,
)
from jattr.cli.device import add_device, start_jax
from jattr.cli.options import (
    Progress,
    add_common,
    add_output,
    add_settings,
    distance_paths,
    given_settings,
    new_folder,
    whole_number,
)
from jattr.cli.streams import say
from jattr.cli.weights_dated import add_weights_dated, read_weights_dated
from jattr.decision.verdict import DecisionConfig
from jattr.decision.weights_age import DatedWeights, check_all_used
from jattr.distances.registry import as_distance
from jattr.errors import ImageError, InputError
from jattr.folders.cache import pilot_study_folder
from jattr.generators.base import Generator
from jattr.generators.candidates import load_candidates
from jattr.generators.settings import NOISE, SPACES, Settings
from jattr.images import load_image
from jattr.inversion.config import InvertConfig
from jattr.printable import shown
from jattr.report.rows import SheetRows
from jattr.report.table import result_table
from jattr.runtime import jax_defaults
from jattr.typing import JsonObject
from jattr.verification.latents import settings_text
from jattr.verification.result_folder import (
    LATENTS,
    REPORT,
    RESULT,
    RESULT_FOLDER,
    SHEET,
    file_sha256,
    write_latents,
    write_result,
)

OUTPUTS = (RESULT, LATENTS, SHEET, REPORT)
LONGEST_COMMAND = 2_000  # characters, in the report
ATTRIBUTE_BLOCK = 32  # images searched together: bounds memory; in result.json, for verify
PACKAGES = ("jax", "jaxlib", "numpy")
# JAX's event of a program that was compiled, or fetched from the persistent cache
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Tell which of the candidates made each image, or none of them. Writes result.json,"
        " latents.npz, contact_sheet.png and report.html. An image that cannot be used becomes a"
        " failed row; the exit code is 2 then."
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
        " adam-cosine, adam-paper, or an optax one as adam:0.05:cosine",
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
        " file states); several are tried in turn (not with --calibration); none: nothing; auto"
        " (default): the compression of JPEG files, else nothing",
    )
    parser.add_argument(
        "--no-second-look",
        action="store_true",
        help="do not try usual alterations (bgr, flips, a stretch, marks, ...) of images that"
        " no candidate explains; they are tried where no --alteration is named",
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
    add_weights_dated(parser)
    add_device(parser)
    add_common(parser)
    parser.set_defaults(run=run)


@jax_defaults(devices=False)
def run(args: argparse.Namespace) -> int:
    """Attribute, write and report.

    Raises:
      InputError: the run is impossible; or, after everything was written, an image could not be
        used.
    """
    inputs = [*args.images, *args.candidates, args.calibration, *distance_paths(args.distance)]
    inputs += [*args.weights_dated, args.policy]
    with new_folder(args.out, kind=RESULT_FOLDER, overwrite=args.overwrite, inputs=inputs) as work:
        task = prepare(args)
        task.attribute()
        data = task.write(work, args.out)
    report(args, data)
    if task.unusable:
        raise InputError(
            f"{len(task.unusable)} of {len(args.images)} images could not be used and are failed"
            f" rows in {args.out}; the first: {task.unusable[0]}"
        )
    return 0


def prepare(args: argparse.Namespace) -> AttributeRun:
    """Return the run, everything checked that concerns all of it; the images are not looked at.

    Raises:
      InputError: an option, the device or a candidate cannot be used.
    """
    clock = Clock({"import": args.import_seconds})
    dated = read_weights_dated(args)
    alternatives = parse_alternatives(args.alteration)
    if args.distance is not None:
        alternatives = without_alterations(alternatives)
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
        check_all_used(dated, [(gen.digest, gen.weights_digest) for gen in generators])
    paths = [path for path, group in zip(args.candidates, views, strict=True) for _ in group]
    named = any(not each.guessed for each in alternatives)
    return AttributeRun(
        args.images,
        paths,
        generators,
        config,
        args.resize,
        alternatives,
        judge,
        clock,
        dated,
        second_look=not (named or args.resize or args.no_second_look),
    )


def report(args: argparse.Namespace, data: JsonObject) -> None:
    """Print the result as a table, or as JSON."""
    if args.json:
        say(json.dumps(data, allow_nan=False))  # ASCII: names of files need not be text
        return
    names = [candidate["name"] for candidate in data["candidates"]]
    distance = data["settings"]["inversion"]["distance"]
    say(result_table(data["pictures"], names, distance, data["candidates"]))
    for candidate in data["candidates"]:
        if candidate["settings"] is not None:
            name, settings = shown(candidate["name"], 60), Settings(**candidate["settings"])
            say(f"{name}: searched in space {candidate['space']}, {settings}")
    say(f"written to {shown(args.out, 200)}: {', '.join(OUTPUTS)}")


def make_config(args: argparse.Namespace) -> InvertConfig:
    """Return the settings of the inversion; options left away have their defaults.

    Raises:
      InputError: one is not legal.
    """
    options = ("restarts", "optimiser", "steps", "start", "distance", "space", "lanes", "seed")
    if args.distance is not None:
        as_distance(args.distance)  # wrong ones fail before any work
    given = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    settings = given_settings(args)
    psi = settings.pop("psi", ())
    return InvertConfig(**given, **settings, psi=psi[0] if len(psi) == 1 else None)


def candidate_views(
    gen: Generator, config: InvertConfig, psi: Sequence[float] | None
) -> Sequence[Generator]:
    """Return a candidate as it is searched, once for each of several psi."""
    view = config.search.view(gen)
    return view.psi_grid(psi) if psi is not None and len(psi) > 1 else (view,)


class AttributeRun:
    """Images against candidates: rows, latents and the contact sheet grow block by block."""

    def __init__(
        self,
        files: Sequence[str],
        paths: Sequence[str],
        generators: list[Generator],
        config: InvertConfig,
        resize: bool,
        alternatives: Sequence[Alternative],
        judge: Judge,
        clock: Clock,
        dated: Sequence[DatedWeights] = (),
        *,
        second_look: bool = True,
    ):
        """Prepare.

        Args:
          files: the images.
          paths: of the candidates.
          generators: the candidates, in the space and under the settings that are searched.
          config: of the inversion.
          resize: bring images to the candidates' sizes.
          alternatives: what may have been done to the images.
          judge: a calibration, or None, its digest and the level of its errors.
          clock: counts where the time goes.
          dated: proofs of when candidates' weights existed.
          second_look: try usual alterations of images that no candidate explains.
        """
        self.files, self.paths, self.generators, self.config, self.resize = (
            files,
            paths,
            generators,
            config,
            resize,
        )
        self.alternatives, self.clock = alternatives, clock
        self.judge, self.dated = judge, dated
        self.policy = DecisionConfig(alpha=judge.alpha, thresholds=config.distance is None)
        self.second_look = second_look_of(second_look, config.search, self.policy)
        self.rows: list[JsonObject] = []  # of result.json
        self.sheet = SheetRows()
        self.unusable: list[str] = []  # why, for each image that could not be used
        self.z = [np.zeros((len(files), *gen.latent_shape), np.float32) for gen in generators]
        self.label = np.full((len(files), len(generators)), -1, np.int32)
        self.found = np.zeros((len(files), len(generators)), bool)
        self.pilot_studies = PilotStudyFiles(pilot_study_folder())
        self.columns = list(generators)  # of the result: with other settings that explain images
        self.column_paths = list(paths)
        self.progress = Progress(
            len(files) * len(generators) * len(alternatives),
            "searches (images x candidates x alterations)",
        )

    def attribute(self) -> None:
        """Attribute every image."""
        # seconds; the report needs it
        Thread(target=import_module, args=("jattr.report.plotting",), daemon=True).start()
        for start in range(0, len(self.files), ATTRIBUTE_BLOCK):
            files = self.files[start : start + ATTRIBUTE_BLOCK]
            with self.clock.part("read_pictures"):
                block = [self._read(file) for file in files]
            usable = [each for each in block if isinstance(each, Hypotheses)]
            with self.clock.part("search"):
                attribution = self._search(usable) if usable else None
            with self.clock.part("reproduce"):
                indices = itertools.count()  # of the usable images
                for file, each in zip(files, block, strict=True):
                    if isinstance(each, str):
                        self._add_failed(file, each)
                    elif attribution is not None:
                        self._add(each, attribution, next(indices))

    def write(self, folder: Path, place: str) -> JsonObject:
        """Write the files and return what `result.json` holds.

        Args:
          folder: where to.
          place: what the folder will be called, for the command that verifies it.
        """
        for gen, row in itertools.product(self.columns, self.rows):
            if gen.name not in row["residual"]:
                add_candidate(row, gen.name)
        with self.clock.part("write"):
            digests, settings = zip(
                *((gen.digest, settings_text(gen)) for gen in self.columns), strict=True
            )
            space = [gen.space for gen in self.columns]
            sha256 = write_latents(
                folder / LATENTS, self.z, self.label, self.found, digests, space, settings
            )
            self.sheet.write(folder / SHEET)
        data = {
            "schema": SCHEMA,
            "settings": self._settings(),
            "versions": versions(),
            "candidates": [
                candidate_record(gen, path, self.dated)
                for gen, path in zip(self.columns, self.column_paths, strict=True)
            ],
            "latents": {"file": LATENTS, "sha256": sha256},
            "pictures": self.rows,
            "timing_seconds": self.clock.rounded(),
        }
        with self.clock.part("report"):
            candidates = list(dict.fromkeys(self.paths))
            command = shlex.join(["jattr", "verify", place, "--candidates", *candidates])
            self.sheet.write_report(folder / REPORT, data, shown(command, LONGEST_COMMAND))
        data["timing_seconds"] = self.clock.rounded()
        write_result(folder / RESULT, data)
        return data

    def _read(self, file: str) -> Hypotheses | str:
        """Return an image under every alternative, or why it cannot be used."""
        try:
            return hypotheses_of(
                load_image(file),
                self.alternatives,
                self.generators,
                search=self.config.search,
                resize=self.resize,
            )
        except ImageError as error:
            return str(error)

    def _search(self, hypotheses: Sequence[Hypotheses]) -> Attribution:
        before = self.progress.done
        return attribute_hypotheses(
            hypotheses,
            self.generators,
            search=self.config.search,
            policy=self.policy,
            calibration=self.judge.calibration,
            pilot_studies=self.pilot_studies,
            progress=lambda done, _: self.progress.reach(before + done),
            second_look=self.second_look,
        )

    def _add_failed(self, file: str, reason: str) -> None:
        """Add the row of an image that cannot be used."""
        self.unusable.append(reason)
        names = [gen.name for gen in self.generators]
        self.rows.append(failed_record(file, _sha256_or_none(file), reason, names))
        self.sheet.add_failed(self.rows[-1])

    def _add(self, hypotheses: Hypotheses, attribution: Attribution, i: int) -> None:
        """Add one image's row, latents and part of the contact sheet."""
        index, image = len(self.rows), hypotheses.image
        self.rows.append(image_record(image, attribution, i, hypotheses.all_notes()))
        fitted = hypotheses.fitted[0].pixels if hypotheses.fitted else image.pixels
        self.sheet.add(self.rows[-1], image.pixels, fitted, attribution, i)
        for c, column in enumerate(self._columns_of(attribution)):
            latents = attribution.latents[c][i]
            if np.isfinite(attribution.residual[i, c]) and np.isfinite(latents).all():
                self.z[column][index], self.found[index, column] = latents, True
                self.label[index, column] = attribution.labels[i, c]

    def _columns_of(self, attribution: Attribution) -> list[int]:
        """Return the columns of an attribution's candidates; further settings get new ones."""
        for gen in attribution.candidates:
            if gen.name in [each.name for each in self.columns]:
                continue
            # the path is that of the candidate whose settings these are
            digests = [each.digest for each in self.columns]
            self.column_paths.append(self.column_paths[digests.index(gen.digest)])
            self.columns.append(gen)
            count = len(self.files)
            self.z.append(np.zeros((count, *gen.latent_shape), np.float32))
            self.label = np.column_stack([self.label, np.full(count, -1, np.int32)])
            self.found = np.column_stack([self.found, np.zeros(count, bool)])
        names = [each.name for each in self.columns]
        return [names.index(gen.name) for gen in attribution.candidates]

    def _settings(self) -> JsonObject:
        device = jax.devices()[0]
        return {
            "resize": self.resize,
            "block": ATTRIBUTE_BLOCK,
            "alteration": [alternative.text for alternative in self.alternatives],
            "space": self.generators[0].space,
            "inversion": dataclasses.asdict(self.config),
            "decision": dataclasses.asdict(self.policy),
            "calibration": self.judge.sha256,
            "second_look": None
            if self.second_look is None
            else dataclasses.asdict(self.second_look),
            "device": {"platform": device.platform, "kind": device.device_kind},
        }


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"jattr": __version__, **packages, "python": platform.python_version()}


def _sha256_or_none(file: str) -> str | None:
    try:
        return file_sha256(file)
    except InputError:
        return None


class Clock:
    """Adds up the seconds of named parts; `compile` lies within the others."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's time to a part."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._add(name, time.monotonic() - start)

    def watch_compilation(self) -> None:
        """Count JAX's compilations from now on."""
        self._add("compile", 0.0)
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def rounded(self) -> dict[str, float]:
        """Return the parts in seconds, to the millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}

    def _on_event(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILE_EVENT:
            self._add("compile", duration_secs)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
