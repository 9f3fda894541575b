"""Pilot studies kept in the user's cache folder, one small JSON file each: a second run need not
search own images.
"""

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
    """Pilot studies by name; those of this run in memory, all of them in a folder. A folder that
    fails is done without.
    """

    def __init__(self, folder: Path | None):
        """Prepare; nothing is read or made yet."""
        self.folder, self.known = folder, dict[str, PilotStudy]()

    def __getitem__(self, name: str) -> PilotStudy:
        """Return the pilot study; a file that does not hold one counts as missing."""
        if name not in self.known:
            found = None if self.folder is None else _read(self.folder / f"{name}.json")
            if found is None:
                raise KeyError(name)
            self.known[name] = found
        return self.known[name]

    def __setitem__(self, name: str, value: PilotStudy) -> None:
        """Keep a pilot study, in its file whole or not at all."""
        self.known[name] = value
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
        del self.known[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of this run."""
        return iter(self.known)

    def __len__(self) -> int:
        """Return the number of names of this run."""
        return len(self.known)


def _read(path: Path) -> PilotStudy | None:
    try:
        data: Any = read_json_text(path.read_text(encoding="utf-8"))
        found = PilotStudy(
            float(data.pop("miss")), tuple(data.pop("used")), tuple(data.pop("arrived")), **data
        )
        kinds = [type(value) for value in (*found.used, *found.arrived)]
        sound = kinds == [int] * len(found.used) + [bool] * len(found.used)
        sound = sound and math.isfinite(found.miss) and found.miss > 0 and bool(found.restarts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputError):
        return None
    return found if sound else None
