"""The running process: JAX's compilation cache, and the memory maps of compiled programs."""

from pathlib import Path

import jax

from jattr.folders.cache import program_folder

MAPS, LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
SHARE = 0.5  # of the limit, from which on programs are dropped


def spare_memory_maps() -> bool:
    """Drop all compiled programs if half of the process's memory maps are used; return if it did.

    Programs that are needed again come from the compilation cache. Where the system does not say,
    nothing is done.
    """
    try:
        used, limit = MAPS.read_bytes().count(b"\n"), int(LIMIT.read_text())
    except (OSError, ValueError):
        return False
    if used <= SHARE * limit:
        return False
    jax.clear_caches()
    return True


def enable_compilation_cache() -> Path | None:
    """Make JAX cache compiled programs in the user's cache folder, and return it; None: no cache.

    A folder that cannot be made or written only means that programs are compiled again.
    """
    folder = program_folder()
    if folder is None:
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # private: compiled programs are run
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
