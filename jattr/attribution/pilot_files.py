"""Pilot studies in the user's cache folder, a JSON file each: a second run need not repeat them."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from jattr.attribution.pilot import PilotStudy
from jattr.bounded_json import read_json_text
from jattr.errors import InputError


class PilotStudyFiles(MutableMapping[str, PilotStudy]):
    """Pilot studies by name: those of this run in memory, all of them in a folder.

    A folder that fails is done without.
    """

    def __init__(self, folder: Path | None):
        """Prepare; nothing is read or made yet."""
        self.folder = folder
        self.studies: dict[str, PilotStudy] = {}

    def __getitem__(self, name: str) -> PilotStudy:
        """Return the pilot study; a file that does not hold one counts as missing."""
        if name not in self.studies:
            study = None if self.folder is None else _read(self.folder / f"{name}.json")
            if study is None:
                raise KeyError(name)
            self.studies[name] = study
        return self.studies[name]

    def __setitem__(self, name: str, value: PilotStudy) -> None:
        """Store a pilot study, in its file whole or not at all."""
        self.studies[name] = value
        if self.folder is None:
            return
        part = self.folder / f"{name}.{os.getpid()}.part"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_text(json.dumps(value._asdict()), encoding="utf-8")
            part.replace(self.folder / f"{name}.json")
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()

    def __delitem__(self, name: str) -> None:
        """Forget a pilot study of this run."""
        del self.studies[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of this run."""
        return iter(self.studies)

    def __len__(self) -> int:
        """Return the number of names of this run."""
        return len(self.studies)


def _read(path: Path) -> PilotStudy | None:
    """Return what a file holds, None if it is not a sound pilot study."""
    try:
        data: Any = read_json_text(path.read_text(encoding="utf-8"))
        study = PilotStudy(
            float(data.pop("miss")), tuple(data.pop("used")), tuple(data.pop("arrived")), **data
        )
        types = [type(value) for value in (*study.used, *study.arrived)]
        sound = (
            types == [int] * len(study.used) + [bool] * len(study.used)
            and math.isfinite(study.miss)
            and study.miss > 0
            and bool(study.restarts)
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputError):
        return None
    return study if sound else None
