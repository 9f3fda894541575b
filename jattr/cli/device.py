"""The option `--device`, and how JAX starts."""

import argparse

import jax

from jattr.errors import InputError
from jattr.runtime import check_devices, enable_compilation_cache

# option -> JAX platforms, the first does the work
DEVICES = {"cpu": "cpu", "gpu": "gpu,cpu", "tpu": "tpu,cpu"}


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device", choices=DEVICES, help="where to compute (default: what JAX finds)"
    )


def start_jax(device: str | None) -> None:
    """Turn on the compilation cache and choose the device; before anything is computed.

    Raises:
      InputError: there is no such device.
    """
    enable_compilation_cache()
    if device is None:
        check_devices()
        return
    jax.config.update("jax_platforms", DEVICES[device])
    jax.config.update("jax_platform_name", "")  # `--device` goes before the environment
    jax.config.update("jax_default_device", None)
    try:
        jax.devices()
    except Exception as error:  # RuntimeError; of cuda alone, without a GPU, AssertionError
        reason = str(error).partition("\n")[0] or "JAX finds none"
        raise InputError(
            f"--device {device} cannot be used here: {reason}; leave --device away"
        ) from error
