"""`.npz` files that others wrote: arrays of numbers and texts, never objects, of stated sizes."""

import math
import os
import stat
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from jattr.errors import InputError

MAX_NPZ_BYTES = 1 << 30  # of all arrays together
MAX_MEMBERS = 1000
MAX_HEADER = 10_000
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file by name.

    Raises:
      InputError: the file is missing, damaged, too large, or holds Python objects.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: a pipe would wait for ever
            raise InputError("is not a file; give an .npz file of latents")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > MAX_MEMBERS or total > MAX_NPZ_BYTES:
                raise InputError(
                    f"holds {len(members)} arrays of {total} bytes; at most {MAX_MEMBERS} of"
                    f" {MAX_NPZ_BYTES} are read"
                )
            return {
                member.filename.removesuffix(".npy"): _read_member(archive, member)
                for member in members
            }
    except InputError as error:
        raise InputError(f"{os.fspath(path)} {error}") from error
    except OSError as error:
        raise InputError(
            f"{os.fspath(path)} cannot be read ({error.strerror or error}); give an .npz file"
        ) from error
    except DAMAGE as error:
        raise InputError(
            f"{os.fspath(path)} is no sound .npz file ({error}); write it again"
        ) from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Return one array, after its header was compared with the member's size."""
    with archive.open(member) as file:
        shape, dtype, header_size = _read_header(file)
        if dtype.hasobject:
            raise InputError(
                f"holds Python objects in {member.filename!r}; only numbers and texts are read"
            )
        if header_size + math.prod(shape) * dtype.itemsize != member.file_size:
            raise InputError(
                f"has {member.file_size} bytes for {member.filename!r}, not what its shape says:"
                " damaged"
            )
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(
            file, allow_pickle=False, max_header_size=MAX_HEADER
        )
        return array


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and the bytes before the data."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise InputError(f"has an array of .npy version {version}; read are 1.0 and 2.0")
    shape, _, dtype = readers[version](file, max_header_size=MAX_HEADER)
    return shape, dtype, file.tell()
