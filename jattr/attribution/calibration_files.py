"""Files of a calibration: the images of nobody that it is measured on, and what it is kept in."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jattr.attribution.calibrate import SAME, calibration_search, check_calibration
from jattr.decision.calibration import Calibration
from jattr.decision.calibration_json import from_json, is_calibration, to_json
from jattr.decision.judgement import check_ready
from jattr.decision.scores import as_fraction
from jattr.errors import ImageError, InputError, OutputError
from jattr.folders import AnyPath, name_beside
from jattr.folders.interruption import unfinished, uninterrupted
from jattr.generators.base import Generator
from jattr.images import load_image
from jattr.inversion.config import InvertConfig, as_search
from jattr.inversion.settings import MultiStart
from jattr.printable import shown

MAX_CALIBRATION = 256 << 20  # bytes
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_NEGATIVES = 100_000
FILES = "picture"  # the kind of single files


class Judge(NamedTuple):
    """What judges images: a calibration, or none, and the level of its errors."""

    calibration: Calibration | None
    sha256: str | None  # of the calibration's file
    alpha: float  # level of false attribution and of false denial


def load_judge(
    path: str | None,
    alpha: float,
    generators: Sequence[Generator],
    config: MultiStart | InvertConfig,
) -> Judge:
    """Return the calibration of a run, its digest and its level, checked against the run.

    Raises:
      InputError: the file cannot be read, is of other models, settings or versions, or too small
        for alpha.
    """
    as_fraction(alpha)
    if path is None:
        return Judge(None, None, alpha)
    calibration, sha256 = read_calibration(path)
    check_calibration(calibration, generators, calibration_search(as_search(config)))
    for condition in calibration.conditions:
        check_ready(calibration, [gen.name for gen in generators], condition, alpha)
    return Judge(calibration, sha256, alpha)


def read_calibration(path: AnyPath) -> tuple[Calibration, str]:
    """Return the calibration of a file, and the file's SHA-256.

    Raises:
      InputError: it cannot be read, is too long, or is no calibration.
    """
    content = _read_text(os.fspath(path))
    return from_json(content.decode()), hashlib.sha256(content).hexdigest()


def _read_text(path: str) -> bytes:
    """Return a calibration's file, which is text.

    Raises:
      InputError: it cannot be read, is no UTF-8 or too long.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_CALIBRATION + 1)
        if len(content) <= MAX_CALIBRATION:
            content.decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot read calibration {path!r}: {reason}; make it with `jattr calibrate`"
        ) from error
    if len(content) > MAX_CALIBRATION:
        raise InputError(
            f"calibration {path!r} is longer than {MAX_CALIBRATION} bytes; give one from jattr"
            " calibrate"
        )
    return content


def write_calibration(path: Path, calibration: Calibration, *, overwrite: bool) -> None:
    """Write a calibration's file, whole or not at all; with `overwrite` it replaces what is there.

    Raises:
      OutputError: it cannot be written.
    """
    part = name_beside(path, ".part")
    try:
        with unfinished(part):
            with part.open("x", encoding="utf-8") as file:
                file.write(to_json(calibration))
            with uninterrupted():
                if not overwrite:
                    path.touch(exist_ok=False)  # fails if anything has appeared
                part.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {str(path)!r}: {error.strerror or error}; choose another place"
        ) from error


def is_calibration_file(path: Path) -> bool:
    """Return whether a file is a calibration that jattr wrote, whose scores are not checked."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_CALIBRATION:
            return False
        return is_calibration(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def read_negatives(
    paths: Sequence[str], shape: tuple[int, int, int], *, resize: bool
) -> dict[str, np.ndarray]:
    """Return images by kind: a folder's name for what lies in it, "image" for single files.

    Raises:
      InputError: a path is given twice, two folders have one name, or one has none.
      ImageError: a file cannot be used, two hold equal images, or a folder holds none.
    """
    kinds: dict[str, list[np.ndarray]] = {}
    files: dict[bytes, str] = {}  # by the digest of their pixels
    for kind, file in _images_of(_kinds_of(paths)):
        pixels = load_image(file).fit(shape, resize=resize).pixels
        digest = hashlib.sha256(pixels.tobytes()).digest()
        if digest in files:
            raise ImageError(
                f"{files[digest]!r} and {file!r} are equal images as searched, {SAME}; leave one"
                " away"
            )
        files[digest] = file
        kinds.setdefault(kind, []).append(pixels)
        if sum(map(len, kinds.values())) > MAX_NEGATIVES:
            raise ImageError(f"there are more than {MAX_NEGATIVES} negatives; give fewer")
    return {kind: np.stack(images) for kind, images in kinds.items()}


def _kinds_of(paths: Sequence[str]) -> dict[str, str]:
    """Return the kind of each path, "image" of a file; every folder is a kind of its own.

    Raises:
      InputError: two paths are one file or folder, two folders have one name, or one has none.
    """
    given: dict[str, str] = {}  # real path -> as given
    first: dict[str, str] = {}  # kind -> path
    kinds: dict[str, str] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in given:
            raise InputError(
                f"negatives {given[real]!r} and {path!r} are one and the same; give it once"
            )
        given[real] = path
        kind = shown(os.path.basename(real), 60) if os.path.isdir(path) else FILES
        if not kind.strip():
            raise InputError(
                f"folder {path!r} has no name that could be the kind of its images; give one that"
                " has"
            )
        other = first.setdefault(kind, path)
        if other != path and (os.path.isdir(path) or os.path.isdir(other)):
            raise InputError(
                f"negatives {other!r} and {path!r} would be one kind, {kind!r}: a folder's name,"
                f" or {FILES!r} of single files; rename a folder"
            )
        kinds[path] = kind
    return kinds


def _images_of(kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return kind and path of every image."""
    for path, kind in kinds.items():
        if not os.path.isdir(path):
            yield kind, path
            continue
        files = sorted(str(f) for f in Path(path).iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ImageError(f"folder {path!r} holds no {', '.join(SUFFIXES)}; give one that does")
        yield from ((kind, file) for file in files)
