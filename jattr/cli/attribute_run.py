"""One run of `jattr attribute`: images block by block through `jattr.attribute`, and what is
written of it.
"""

from __future__ import annotations

import dataclasses
import platform
import shlex
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from jattr._version import __version__
from jattr.attribution.alteration_search import (
    Alternative,
    Explanation,
    ImageHypotheses,
    ImageReader,
    best_explanation,
    joined,
)
from jattr.attribution.caveats import Caveat, caveat_of
from jattr.attribution.pilot_files import PilotStudyFiles
from jattr.attribution.result_json import SCHEMA, candidate_record, failed_record, image_record
from jattr.cli.latents import settings_text
from jattr.cli.options import Progress
from jattr.cli.sheet import SheetRows
from jattr.cli.timing import Clock
from jattr.decision.verdict import DecisionConfig
from jattr.errors import InputError
from jattr.folders.cache import pilot_study_folder
from jattr.report.words import shown
from jattr.verification.result_folder import (
    LATENTS,
    REPORT,
    RESULT,
    SHEET,
    file_sha256,
    write_latents,
    write_result,
)

if TYPE_CHECKING:
    from jattr.alterations.chain import Chain
    from jattr.alterations.files import AlteredImages
    from jattr.attribution.attribute import Attribution
    from jattr.cli.attribute import Judge
    from jattr.generators.base import Generator
    from jattr.inversion.config import InvertConfig

LONGEST_COMMAND = 2_000  # characters, in the report
BLOCK = 32  # images searched together: bounds memory
PACKAGES = ("jax", "jaxlib", "numpy")


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
        """
        self.files, self.paths, self.generators, self.config, self.resize = (
            files,
            paths,
            generators,
            config,
            resize,
        )
        self.alternatives, self.clock = alternatives, clock
        self.judge = judge
        self.decision = DecisionConfig(alpha=judge.alpha, thresholds=config.distance is None)
        self.rows: list[dict[str, Any]] = []  # of result.json
        self.sheet = SheetRows()
        self.unusable: list[str] = []  # why, for each image that could not be used
        self.reader = ImageReader(generators, alternatives, config, resize)
        self.z = [np.zeros((len(files), *gen.latent_shape), np.float32) for gen in generators]
        self.label = np.full((len(files), len(generators)), -1, np.int32)
        self.found = np.zeros((len(files), len(generators)), bool)
        self.pilot_studies = PilotStudyFiles(pilot_study_folder())
        self.progress = Progress(
            len(files) * len(generators) * len(alternatives),
            "searches (images x candidates x alterations)",
        )

    def attribute(self) -> None:
        """Attribute every image."""
        # seconds; the report needs it
        Thread(target=import_module, args=("matplotlib.figure",), daemon=True).start()
        for start in range(0, len(self.files), BLOCK):
            with self.clock.part("read_pictures"):
                block = [self.reader.read(file) for file in self.files[start : start + BLOCK]]
            usable = [item for item in block if item.image is not None]
            with self.clock.part("search"):
                found = self._search(usable)
            with self.clock.part("reproduce"):
                explanations = iter(found)
                for item in block:
                    self._add(item, next(explanations) if item.image is not None else None)

    def write(self, folder: Path, place: str) -> dict[str, Any]:
        """Write the files and return what `result.json` holds.

        Args:
          folder: where to.
          place: what the folder will be called, for the command that verifies it.
        """
        with self.clock.part("write"):
            digests, settings = zip(
                *((gen.digest, settings_text(gen)) for gen in self.generators), strict=True
            )
            space = self.generators[0].space
            sha256 = write_latents(
                folder / LATENTS, self.z, self.label, self.found, digests, space, settings
            )
            self.sheet.write(folder / SHEET)
        data = {
            "schema": SCHEMA,
            "settings": self._settings(),
            "versions": versions(),
            "candidates": [
                candidate_record(g, p) for g, p in zip(self.generators, self.paths, strict=True)
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

    def _search(self, usable: list[ImageHypotheses]) -> list[Explanation]:
        """Return the best explanation of each image."""
        groups: dict[tuple[Any, ...], list[tuple[int, AlteredImages | None]]] = {}
        for number, item in enumerate(usable):
            for images in item.altered:
                name = (None,) if images is None else (images.chain, images.pixels.shape)
                groups.setdefault(name, []).append((number, images))
        found: list[list[Explanation]] = [[] for _ in usable]
        for members in groups.values():
            att = self._attribute(
                [usable[number] for number, _ in members], [p for _, p in members if p is not None]
            )
            for i, (number, _) in enumerate(members):
                found[number].append(Explanation(att, i))
        return [best_explanation(each) for each in found]

    def _attribute(self, items: list[ImageHypotheses], altered: list[AlteredImages]) -> Attribution:
        from jattr.attribution.attribute import attribute

        counted = range(len(self.generators))
        images = (
            joined(altered)
            if altered
            else [np.stack([i.forms[c].pixels for i in items]) for c in counted]
        )
        before = self.progress.done
        return attribute(
            images,
            self.generators,
            config=self.config,
            decision=self.decision,
            pilot_studies=self.pilot_studies,
            calibration=self.judge.calibration,
            caveats=[self._caveat(item, altered[0].chain if altered else None) for item in items],
            progress=lambda done, total: self.progress.reach(before + done),
        )

    def _caveat(self, item: ImageHypotheses, chain: Chain | None) -> Caveat:
        """Return what is to be said of an image under one alteration; no calibration chooses
        between several.
        """
        assert item.image is not None
        shapes = [gen.image_shape for gen in self.generators]
        caveat = caveat_of(item.image, chain, shapes, searched_as_stored=not item.incomplete)
        ways = len(item.altered)
        return (
            caveat if ways == 1 else caveat._replace(apart=f"a file that is taken in {ways} ways")
        )

    def _add(self, item: ImageHypotheses, explanation: Explanation | None) -> None:
        """Add one image's row, latents and part of the contact sheet."""
        place = len(self.rows)
        if item.image is None or explanation is None:
            self.unusable.append(item.reason)
            names = [gen.name for gen in self.generators]
            self.rows.append(
                failed_record(item.file, _sha256_or_none(item.file), item.reason, names)
            )
            self.sheet.add_failed(self.rows[-1])
            return
        att, i = explanation
        self.rows.append(image_record(item.image, att, i, item.all_notes()))
        shown_first = item.forms[0].pixels if item.forms else item.image.pixels
        self.sheet.add(self.rows[-1], item.image.pixels, shown_first, att, i)
        for c, latents in enumerate(att.latents):
            if np.isfinite(att.residual[i, c]) and np.isfinite(latents[i]).all():
                self.z[c][place], self.label[place, c], self.found[place, c] = (
                    latents[i],
                    att.labels[i, c],
                    True,
                )

    def _settings(self) -> dict[str, Any]:
        import jax

        device = jax.devices()[0]
        return {
            "resize": self.resize,
            "alteration": [alternative.text for alternative in self.alternatives],
            "space": self.generators[0].space,
            "inversion": dataclasses.asdict(self.config),
            "decision": dataclasses.asdict(self.decision),
            "calibration": self.judge.sha256,
            "device": {"platform": device.platform, "kind": device.device_kind},
        }


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"jattr": __version__, **found, "python": platform.python_version()}


def _sha256_or_none(file: str) -> str | None:
    try:
        return file_sha256(file)
    except InputError:
        return None
