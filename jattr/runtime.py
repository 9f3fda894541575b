"""The process: the compilation cache, memory maps, and the folders of the user's cache."""

import os
from pathlib import Path

MAPS, LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
SHARE = 0.5  # of the limit, from which on programs are dropped


def spare_memory_maps() -> bool:
    """Drop every compiled program if the process has used half of its memory maps; return whether
    it did.

    Programs that are needed again come from the compilation cache. Where the system does not say,
    nothing is done.
    """
    try:
        used, limit = MAPS.read_bytes().count(b"\n"), int(LIMIT.read_text())
    except (OSError, ValueError):
        return False
    if used <= SHARE * limit:
        return False
    import jax  # here: the ledger's commands take folders from this module and run without jax

    jax.clear_caches()
    return True


VARIABLE = "JATTR_CACHE"  # another folder, or "off"


def enable_compilation_cache() -> Path | None:
    """Make JAX keep compiled programs in the user's cache folder, and return it; None where there
    is none.

    A folder that cannot be made or written only means that programs are compiled again.
    """
    folder = _cache_folder()
    if folder is None:
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # private: compiled programs are run
    except OSError:
        return None
    import jax  # as above

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def cache_folders() -> tuple[Path, ...]:
    """Return the folders of compiled programs and of pilot studies; none where nothing is kept."""
    return tuple(folder for folder in (_cache_folder(), pilot_study_folder()) if folder is not None)


def pilot_study_folder() -> Path | None:
    """Return the folder, beside the compiled programs', where pilot studies are kept; None where
    nothing is kept.
    """
    folder = _cache_folder()
    return None if folder is None else folder.with_name(f"{folder.name}-rehearsals")


def _cache_folder() -> Path | None:
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_cache_path("jattr", appauthor=False) / "compiled"
