"""The folders of the user's cache; what they hold may be deleted at any time."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "JATTR_CACHE"  # environment: another folder, or "off"


def program_folder() -> Path | None:
    """Return the folder of compiled programs; None where nothing is to be cached."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "off":
        return None
    if chosen:
        return Path(os.path.abspath(chosen))
    return platformdirs.user_cache_path("jattr", appauthor=False) / "compiled"


def pilot_study_folder() -> Path | None:
    """Return the folder of pilot studies, beside the programs'; None where nothing is cached."""
    folder = program_folder()
    return None if folder is None else folder.parent / f"{folder.name}-rehearsals"


def cache_folders() -> tuple[Path, ...]:
    """Return all folders of the cache; none where nothing is cached."""
    return tuple(path for path in (program_folder(), pilot_study_folder()) if path is not None)
