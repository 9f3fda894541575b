"""Batches of images: which ones a cell searches, stated so that they can be made again, and the
images.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from jattr.attacks.evade import EvadeConfig, evade
from jattr.attribution.pilot import candidate_key
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.images.reading import load_image, read_bytes
from jattr.sweep.spec import NONE, Pictures, Spec, attack_of
from jattr.typing import JsonObject
from jattr.zoo.faces import render_faces

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images that are searched together."""

    source: str  # "own", "others", "renderer", or the folder's name
    maker: str  # the generator's name; "" where no generator made them
    seed: int
    first: int  # number of the first image within its source and maker
    count: int
    files: tuple[tuple[str, str], ...] = ()  # (path, SHA-256) of images in files
    resize: bool = False
    attack: str = NONE

    def facts(self, digests: Mapping[str, str]) -> JsonObject:
        """Return all that determines the images, whatever things are called."""
        made = {"generator": digests[self.maker]} if self.maker else {}
        files = (
            {"files": [sha256 for _, sha256 in self.files], "resize": self.resize}
            if self.files
            else {}
        )
        chosen = {} if self.files else {"seed": self.seed, "first": self.first}
        return {
            "source": "files" if self.files else self.source,
            "count": self.count,
            "attack": self.attack,
        } | (made | files | chosen)


def batches_of(spec: Spec, candidates: Sequence[str], makers: Mapping[str, str]) -> Iterator[Batch]:
    """Return the batches of a spec, in order.

    Args:
      spec: the sweep.
      candidates: their names.
      makers: name of each generator that sources name, by how they name it.

    Raises:
      InputError: a folder holds no images, or an image cannot be read.
    """
    for pictures in spec.pictures:
        for plain in _plain(pictures, spec.block, candidates, makers):
            # files have no latents, which attacks begin from
            attacks = spec.attacks if plain.maker and not plain.files else (NONE,)
            yield from (dataclasses.replace(plain, attack=attack) for attack in attacks)


def _plain(
    pictures: Pictures, block: int, candidates: Sequence[str], makers: Mapping[str, str]
) -> Iterator[Batch]:
    """Return the batches of one source, without attacks."""
    if pictures.kind == "folder":
        files = _files(pictures)
        maker = makers[pictures.maker] if pictures.maker else ""
        name = "own" if maker else Path(pictures.folder).resolve().name
        for first in range(0, len(files), block):
            some = tuple(files[first : first + block])
            yield Batch(
                source=name,
                maker=maker,
                seed=0,
                first=first,
                count=len(some),
                files=some,
                resize=pictures.resize,
            )
        return
    names = {
        "own": list(candidates),
        "others": [makers[g] for g in pictures.generators],
        "renderer": [""],
    }
    for maker in names[pictures.kind]:
        for first in range(0, pictures.count, block):
            count = min(block, pictures.count - first)
            yield Batch(
                source=pictures.kind, maker=maker, seed=pictures.seed, first=first, count=count
            )


def _files(pictures: Pictures) -> list[tuple[str, str]]:
    folder = Path(pictures.folder)
    if not folder.is_dir():
        raise InputError(f"{pictures.folder!r} is no folder; give one with {', '.join(SUFFIXES)}")
    paths = sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[
        : pictures.count
    ]
    if not paths:
        raise ImageError(
            f"folder {pictures.folder!r} holds no {', '.join(SUFFIXES)}; give one that does"
        )
    return [(path, hashlib.sha256(read_bytes(path)).hexdigest()) for path in paths]


def make_batch(
    batch: Batch, makers: Mapping[str, Generator], shape: tuple[int, int, int]
) -> np.ndarray:
    """Return the images of a batch, uint8 [n, H, W, C].

    Args:
      batch: which ones.
      makers: generators by name.
      shape: of the images, for those that no generator makes.

    Raises:
      ImageError: a file was changed or cannot be used.
    """
    if batch.files:
        return np.stack(
            [_read(path, sha256, shape, resize=batch.resize) for path, sha256 in batch.files]
        )
    key = jax.random.fold_in(jax.random.key(batch.seed), batch.first)
    if not batch.maker:
        faces = np.asarray(render_faces(key, batch.count))
        if faces.shape[1:] != shape:
            raise ImageError(
                f"the renderer makes {faces.shape[1:]}, the candidates {shape}; give candidates of"
                " its size"
            )
        return faces
    gen = makers[batch.maker]
    z, label, pixels = gen.sample_images(candidate_key(key, gen), batch.count)
    attack = attack_of(batch.attack)
    if attack is None:
        return pixels
    config, key = EvadeConfig(method=attack[0]), jax.random.fold_in(key, 1)
    return evade(gen, z, pixels, attack[1], key=key, label=label, config=config).pixels


def _read(path: str, sha256: str, shape: tuple[int, int, int], *, resize: bool) -> np.ndarray:
    picture = load_image(path)
    if picture.sha256 != sha256:
        raise ImageError(
            f"{path!r} was changed since the sweep was planned; its cells cannot be done"
        )
    return picture.fit(shape, resize=resize).pixels
