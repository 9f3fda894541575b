"""Generator folders in the world: what systems leave in them, and links of Hugging Face's cache."""

import os
import shutil
from pathlib import Path

import pytest

from jattr.errors import GeneratorError, OutputError
from jattr.folders import check_folder
from jattr.folders.litter import cached_file, is_litter
from jattr.generators.store import GENERATOR_FOLDER, load_generator

LITTER = (
    ".DS_Store",
    "._0.0.0.0",
    "._.zarray",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "Icon\r",
    "0.0.0.0:Zone.Identifier",
    ".nfs0000000001",
    ".fuse_hidden0001",
    ".nomedia",
)
FOLDERS = (
    "__MACOSX", ".AppleDouble", "@eaDir", ".Spotlight-V100", ".fseventsd", ".Trash-1000",
    ".ipynb_checkpoints", "$RECYCLE.BIN", "System Volume Information",
)  # fmt: skip
KERNEL = "params/layers.4.kernel"


@pytest.fixture
def folder(tiny_folders, tmp_path):
    """A copy to put things into."""
    return shutil.copytree(tiny_folders["tiny"], tmp_path / "gen")


@pytest.mark.parametrize("place", [".", "params", KERNEL])
def test_litter_changes_nothing(place, folder, tiny):
    for name in LITTER:
        (folder / place / name).write_bytes(b"\0\5\x16\7" * 10)
    for name in FOLDERS:
        (folder / place / name).mkdir()
        (folder / place / name / "x").write_bytes(b"x")
    (folder / place / "._link").symlink_to("/dev/zero")
    assert load_generator(folder).digest == tiny.digest


@pytest.mark.parametrize(
    "name", ["DS_Store", "0.0.0.1", ".zarray.bak", "thumbs", "._", "notes.txt"]
)
def test_only_litter_is_passed_over(name, folder):
    (folder / KERNEL / name).write_bytes(b"x")
    if is_litter(name):
        load_generator(folder)
    else:
        with pytest.raises(GeneratorError, match=r"a stored tensor has \.zarray and one chunk"):
            load_generator(folder)


def test_a_folder_with_litter_is_not_overwritten(folder):
    """What jattr did not write, it does not delete."""
    (folder / "params" / ".DS_Store").write_bytes(b"x")
    with pytest.raises(OutputError, match="DS_Store"):
        check_folder(folder, kind=GENERATOR_FOLDER, overwrite=True)


def in_cache(root, folder):
    """A generator folder as Hugging Face's cache holds it: every file a link to a blob."""
    snapshot, blobs = root / "snapshots" / "0123abcd" / "gen", root / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    return snapshot


def test_links_of_hugging_faces_cache_are_followed(folder, tmp_path, tiny):
    snapshot = in_cache(tmp_path / "hub" / "models--me--gen", folder)
    assert all(path.is_symlink() for path in snapshot.rglob("*") if path.is_file())
    assert load_generator(snapshot).digest == tiny.digest
    assert load_generator(os.path.relpath(snapshot)).digest == tiny.digest


def test_the_digest_guards_what_links_lead_to(folder, tmp_path, tiny):
    snapshot = in_cache(tmp_path / "hub" / "models--me--gen", folder)
    blob = Path(os.path.realpath(snapshot / KERNEL / "0.0.0.0"))
    content = bytearray(blob.read_bytes())
    content[0] ^= 1
    blob.write_bytes(content)
    with pytest.raises(GeneratorError, match="states the weights_digest"):
        load_generator(snapshot)


def elsewhere(snapshot):
    """A sound chunk outside of the cache."""
    target = snapshot.parents[3] / "chunk"
    shutil.copy(snapshot / KERNEL / "0.0.0.0", target)
    return target


TARGETS = {
    "a device": lambda snapshot: "/dev/zero",
    "endless text": lambda snapshot: "/proc/self/mem",
    "a file elsewhere": elsewhere,
    "nothing": lambda snapshot: "nothing",
    "itself": lambda snapshot: "0.0.0.0",
    "a folder": lambda snapshot: snapshot.parents[2] / "blobs",
    "below the blobs": lambda snapshot: snapshot.parents[2] / "blobs" / "a" / "b",
}


@pytest.mark.parametrize("target", TARGETS)
def test_other_links_are_refused(target, folder, tmp_path):
    snapshot = in_cache(tmp_path / "hub" / "models--me--gen", folder)
    (tmp_path / "hub" / "models--me--gen" / "blobs" / "a").mkdir()
    (tmp_path / "hub" / "models--me--gen" / "blobs" / "a" / "b").write_bytes(b"x")
    path = TARGETS[target](snapshot)
    (snapshot / KERNEL / "0.0.0.0").unlink()
    (snapshot / KERNEL / "0.0.0.0").symlink_to(path)
    assert cached_file(snapshot / KERNEL / "0.0.0.0") is None
    with pytest.raises(GeneratorError, match="is a link, a pipe or a folder"):
        load_generator(snapshot)


def test_a_link_to_another_blob_is_refused_by_its_size(folder, tmp_path):
    snapshot = in_cache(tmp_path / "hub" / "models--me--gen", folder)
    (snapshot / KERNEL / "0.0.0.0").unlink()
    (snapshot / KERNEL / "0.0.0.0").symlink_to(snapshot / "card.json")
    with pytest.raises(GeneratorError, match=r"has not the 2048 bytes|at most 2048 are expected"):
        load_generator(snapshot)


def test_a_pipe_among_the_blobs_is_refused(folder, tmp_path):
    snapshot = in_cache(tmp_path / "hub" / "models--me--gen", folder)
    blob = Path(os.path.realpath(snapshot / KERNEL / "0.0.0.0"))
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(GeneratorError, match="is a link, a pipe or a folder"):
        load_generator(snapshot)
