"""The running process: JAX's settings and devices, its compilation cache, and memory maps."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import jax.extend

from jattr.errors import InputError
from jattr.folders.cache import program_folder

MAPS, LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
SHARE = 0.5  # of the limit, from which on programs are dropped

# Settings of JAX that change results or stop programs: option -> its default, and what sets it for
# one thread. Not here: `jax_numpy_dtype_promotion`, since no dtypes are mixed, and what a caller
# chooses on purpose: devices, logs, caches.
DEFAULTS: dict[str, tuple[Any, Callable[[Any], AbstractContextManager[None]]]] = {
    "jax_enable_x64": (False, jax.enable_x64),
    "jax_default_matmul_precision": (None, jax.default_matmul_precision),
    "jax_default_prng_impl": ("threefry2x32", jax.default_prng_impl),
    "jax_threefry_partitionable": (True, jax.threefry_partitionable),
    "jax_debug_key_reuse": (False, jax.debug_key_reuse),
    "jax_legacy_prng_key": ("allow", jax.legacy_prng_key),
    "jax_numpy_rank_promotion": ("allow", jax.numpy_rank_promotion),
    "jax_debug_nans": (False, jax.debug_nans),
    "jax_debug_infs": (False, jax.debug_infs),
    "jax_disable_jit": (False, jax.disable_jit),
    "jax_enable_checks": (False, jax.enable_checks),
    "jax_check_tracer_leaks": (False, jax.check_tracer_leaks),
    "jax_no_tracing": (False, jax.no_tracing),
    "jax_no_execution": (False, jax.no_execution),
    "jax_transfer_guard_host_to_device": (None, jax.transfer_guard_host_to_device),
    "jax_transfer_guard_device_to_device": (None, jax.transfer_guard_device_to_device),
    "jax_transfer_guard_device_to_host": (None, jax.transfer_guard_device_to_host),
}
# of them, what the caller's own functions are computed with where these are traced with ours
CALLERS = frozenset({"jax_enable_x64", "jax_default_matmul_precision", "jax_disable_jit"})


@contextlib.contextmanager
def jax_defaults(*, keep: frozenset[str] = frozenset(), devices: bool = True) -> Iterator[None]:
    """Give JAX's default settings to this thread for a while, whatever the process has chosen.

    As a decorator it is the door of a public function: results are the same under
    `JAX_ENABLE_X64=1`, another PRNG or a debugging flag. Only what differs is set, so that a
    process with the defaults neither notices nor compiles anything a second time. Threads that are
    started within have the process's settings; their functions are decorated, too.

    Args:
      keep: options that stay as they are.
      devices: whether devices are checked; False: they are yet to be chosen.

    Raises:
      InputError: JAX has no device of those that were asked for, or an option has a value that
        cannot be set aside.
    """
    if devices:
        check_devices()
    offset = _option("jax_random_seed_offset")
    if offset:
        raise InputError(
            f"JAX_RANDOM_SEED_OFFSET (jax_random_seed_offset) is {offset}, which changes what every"
            " seed gives; set it to 0"
        )
    with contextlib.ExitStack() as stack:
        for name, (default, setting) in DEFAULTS.items():
            value = _option(name)
            if name not in keep and value != default and (default, value) != (None, "allow"):
                stack.enter_context(setting("allow" if "transfer_guard" in name else default))
        yield


def _option(name: str) -> Any:
    """Return the value of an option of JAX in this thread."""
    return getattr(jax.config, name)


def check_devices() -> None:
    """Check that JAX has the device that it was told to compute on.

    Raises:
      InputError: it has not; the message names the option and the devices.
    """
    default = _option("jax_default_device")
    try:
        jax.devices()
        if isinstance(default, str):
            jax.devices(default)
    except Exception as error:  # RuntimeError; of cuda alone, without a GPU, AssertionError
        raise InputError(_no_device()) from error


def _no_device() -> str:
    """Return what is to be said of a device that is not there."""
    here = _platforms()
    # 1. A platform that is not there stops JAX; 2. else the one to use by default is to blame.
    name, value = "jax_platforms", _option("jax_platforms")
    if here is None:
        here = _other_platforms()
    elif jax.config.read("jax_platform_name"):
        name, value = "jax_platform_name", jax.config.read("jax_platform_name")
    elif isinstance(_option("jax_default_device"), str):
        name, value = "jax_default_device", _option("jax_default_device")
    found = ", ".join(here) or "none at all"
    advice = f"unset it, or set it to {' or '.join(here) or 'cpu'}"
    return (
        f"{name.upper()} ({name}) is {str(value)!r}, of which JAX finds no device; devices here:"
        f" {found}; {advice}"
    )


def _platforms() -> list[str] | None:
    """Return the platforms that JAX has devices of; None if it cannot start."""
    try:
        return [name for name in jax.extend.backend.backends() if name != "interpreter"]
    except Exception:
        return None


def _other_platforms() -> list[str]:
    """Return the platforms of this machine where JAX cannot start with `jax_platforms`."""
    chosen = _option("jax_platforms")
    jax.config.update("jax_platforms", None)
    try:
        jax.extend.backend.clear_backends()  # of those that did start
        return _platforms() or []
    finally:
        jax.config.update("jax_platforms", chosen)
        jax.extend.backend.clear_backends()


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
