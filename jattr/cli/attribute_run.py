"""One run of `jattr attribute`: pictures block by block through `jattr.attribute`, and what is written of it."""

from __future__ import annotations

import dataclasses
import platform
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from jattr import __version__
from jattr.cli.cache import rehearsal_folder
from jattr.cli.latents import settings_text
from jattr.cli.options import Progress
from jattr.cli.rehearsal_files import RehearsalFiles
from jattr.cli.result_folder import LATENTS, RESULT, file_sha256, write_latents, write_result
from jattr.cli.sheet import SheetRows
from jattr.cli.timing import Clock
from jattr.errors import ImageError, InputError
from jattr.images import Picture, load_picture
from jattr.report.words import shown
from jattr.result import SCHEMA, candidate_record, failed_record, picture_record

if TYPE_CHECKING:
    from jattr.attribution import Attribution
    from jattr.generators.base import Generator
    from jattr.inversion.config import InvertConfig

LONGEST_COMMAND = 2_000  # characters, in the report
BLOCK = 32  # pictures searched together: bounds memory
SHEET, REPORT = "contact_sheet.png", "report.html"
PACKAGES = ("jax", "jaxlib", "numpy")


@dataclass(frozen=True, eq=False)
class Item:
    """One accused picture as read."""

    file: str
    picture: Picture | None  # None: it cannot be used
    forms: tuple[Picture, ...]  # for every candidate
    reason: str  # why it cannot be used


class AttributeRun:
    """Pictures against candidates: rows, latents and the contact sheet grow block by block."""

    def __init__(
        self,
        files: Sequence[str],
        paths: Sequence[str],
        generators: list[Generator],
        config: InvertConfig,
        resize: bool,
        clock: Clock,
    ):
        """Prepare.

        Args:
          files: the pictures.
          paths: of the candidates.
          generators: the candidates, in the space and under the settings that are searched.
          config: of the inversion.
          resize: bring pictures to the candidates' sizes.
          clock: counts where the time goes.
        """
        self.files, self.paths, self.generators, self.config, self.resize = files, paths, generators, config, resize
        self.clock = clock
        self.rows: list[dict[str, Any]] = []  # of result.json
        self.sheet = SheetRows()
        self.unusable: list[str] = []  # why, for each picture that could not be used
        self.z = [np.zeros((len(files), *gen.latent_shape), np.float32) for gen in generators]
        self.label = np.full((len(files), len(generators)), -1, np.int32)
        self.found = np.zeros((len(files), len(generators)), bool)
        self.rehearsals = RehearsalFiles(rehearsal_folder())
        self.progress = Progress(len(files) * len(generators), "searches (pictures x candidates)")

    def attribute(self) -> None:
        """Attribute every picture."""
        Thread(target=import_module, args=("matplotlib.figure",), daemon=True).start()  # seconds; the report needs it
        for start in range(0, len(self.files), BLOCK):
            with self.clock.part("read_pictures"):
                block = [self._read(file) for file in self.files[start : start + BLOCK]]
            usable = [item for item in block if item.picture is not None]
            with self.clock.part("search"):
                att = self._search(usable) if usable else None
            with self.clock.part("reproduce"):
                numbers = iter(range(len(usable)))
                for item in block:
                    self._add(item, att, numbers)

    def write(self, folder: Path, place: str) -> dict[str, Any]:
        """Write the files and return what `result.json` holds.

        Args:
          folder: where to.
          place: what the folder will be called, for the command that verifies it.
        """
        with self.clock.part("write"):
            digests, settings = zip(*((gen.digest, settings_text(gen)) for gen in self.generators), strict=True)
            space = self.generators[0].space
            sha256 = write_latents(folder / LATENTS, self.z, self.label, self.found, digests, space, settings)
            self.sheet.write(folder / SHEET)
        data = {
            "schema": SCHEMA,
            "settings": self._settings(),
            "versions": versions(),
            "candidates": [candidate_record(g, p) for g, p in zip(self.generators, self.paths, strict=True)],
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

    def _read(self, file: str) -> Item:
        try:
            picture = load_picture(file)
            forms = tuple(picture.fit(gen.image_shape, resize=self.resize) for gen in self.generators)
            return Item(file, picture, forms, "")
        except ImageError as error:
            self.unusable.append(str(error))
            return Item(file, None, (), str(error))

    def _search(self, usable: list[Item]) -> Attribution:
        from jattr.attribution import attribute

        arrays = [np.stack([item.forms[c].pixels for item in usable]) for c in range(len(self.generators))]
        before = self.progress.done
        return attribute(
            arrays,
            self.generators,
            config=self.config,
            rehearsals=self.rehearsals,
            progress=lambda done, total: self.progress.advance(before + done - self.progress.done),
        )

    def _add(self, item: Item, att: Attribution | None, numbers: Iterator[int]) -> None:
        """Add one picture's row, latents and part of the contact sheet."""
        place = len(self.rows)
        if item.picture is None or att is None:
            names = [gen.name for gen in self.generators]
            self.rows.append(failed_record(item.file, _sha256_or_none(item.file), item.reason, names))
            self.sheet.add_failed(self.rows[-1])
            return
        i = next(numbers)
        self.rows.append(picture_record(item.picture, att, i, _notes(item)))
        self.sheet.add(self.rows[-1], item.picture.pixels, item.forms[0].pixels, att, i)
        for c, latents in enumerate(att.latents):
            if np.isfinite(att.residual[i, c]) and np.isfinite(latents[i]).all():
                self.z[c][place], self.label[place, c], self.found[place, c] = latents[i], att.labels[i, c], True

    def _settings(self) -> dict[str, Any]:
        import jax

        from jattr.decision.verdict import DecisionConfig

        device = jax.devices()[0]
        return {
            "resize": self.resize,
            "space": self.generators[0].space,
            "inversion": dataclasses.asdict(self.config),
            "decision": dataclasses.asdict(DecisionConfig()),
            "device": {"platform": device.platform, "kind": device.device_kind},
        }


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"jattr": __version__, **found, "python": platform.python_version()}


def _notes(item: Item) -> list[str]:
    """Return what was changed to read the picture and to fit it to any candidate, each once."""
    return list(dict.fromkeys(note for form in item.forms for note in form.notes))


def _sha256_or_none(file: str) -> str | None:
    try:
        return file_sha256(file)
    except InputError:
        return None
