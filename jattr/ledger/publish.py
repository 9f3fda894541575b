"""Publishing a log as static files (https://c2sp.org/tlog-tiles), which can be made anew any time.

Tiles come first, each whole or not there, and only when all of them are on the disk does the
checkpoint change. So whatever moment a reader or a crash meets, the checkpoint that is there has
all its tiles.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.durable import TEMPORARY, held, make_folder, replace_file, sync_folder, write_file
from jattr.ledger.encoding import HASH_BYTES
from jattr.ledger.log_view import LogView
from jattr.ledger.note import MAX_NOTE_BYTES, open_note
from jattr.ledger.store import LogStore
from jattr.ledger.tiles import TILE_WIDTH, TilePath, encode_bundle, tile_width, tiles_of

CHECKPOINT = "checkpoint"
TILES_PER_FLUSH = 1000  # tiles between two rounds of flushing folders


def publish(store: LogStore, folder: str | os.PathLike[str], checkpoint: bytes) -> int:
    """Bring the files in a folder up to a checkpoint; return how many tiles were written.

    Partial tiles whose full tile is there are deleted afterwards, as the format allows.

    Args:
      store: the log, open for writing.
      folder: what a web server serves; made if it is not there.
      checkpoint: signed by the log, with the cosignatures that it is to have.

    Raises:
      LedgerError: the log has not signed it, a later one or another log is published there, or it
        cannot be written.
      VerificationError: the checkpoint that is there is this log's, and its entries are no longer
        those.
    """
    new, folder = store.own_checkpoint(checkpoint), Path(folder)
    with _publishing(folder):
        old = _published(store, folder)
        if old > new.size:
            raise LedgerError(
                f"{folder} has the checkpoint of {old} entries; publish one of as many or more,"
                f" not {new.size}"
            )
        return _project(store, folder, checkpoint, new, old)


def rebuild(store: LogStore, folder: str | os.PathLike[str]) -> int:
    """Write all files of a log anew, up to the last published checkpoint; return how many tiles.

    Raises:
      LedgerError: nothing has been published, a later checkpoint or another log is there, or it
        cannot be written.
      VerificationError: the checkpoint that is there is this log's, and its entries are no longer
        those.
    """
    published = [signed.published for signed in store.checkpoints() if signed.published]
    if not published:
        raise LedgerError(f"the log {store.origin} has not been published; publish a checkpoint")
    folder, checkpoint = Path(folder), published[-1]
    new = store.own_checkpoint(checkpoint)
    with _publishing(folder):
        if _published(store, folder) > new.size:
            raise LedgerError(
                f"{folder} has a later checkpoint than that of {new.size} entries; publish one as"
                " late"
            )
        return _project(store, folder, checkpoint, new, 0)


def _project(store: LogStore, folder: Path, note: bytes, new: Checkpoint, old: int) -> int:
    """Write what the tree of `new` has and that of `old` entries has not; then the checkpoint.

    Return how many tiles were written.
    """
    sizes = [signed.size for signed in store.checkpoints(old) if signed.size < new.size]
    tiles = sorted(
        set(_tiles(new.size, old, sizes)),
        key=lambda tile: (tile.level is not None, tile.level or 0, tile),
    )
    # A first publication, perhaps one that was interrupted.
    if not os.path.lexists(folder / CHECKPOINT):
        _check_unclaimed(store, folder, tiles)
    for first in range(0, len(tiles), TILES_PER_FLUSH):
        folders = {
            _write_tile(store, folder, tile) for tile in tiles[first : first + TILES_PER_FLUSH]
        }
        for touched in sorted(folders):
            sync_folder(touched)
    # Every tile is on the disk before the checkpoint that promises it.
    store.keep_published(note)
    replace_file(folder / CHECKPOINT, note)
    for tile in tiles:
        if tile.width == TILE_WIDTH:
            _delete_partial(folder / f"{tile}.p")
    return len(tiles)


def _tiles(size: int, old: int, sizes: Iterable[int]) -> Iterator[TilePath]:
    """Yield the tiles of the tree of `size`, and partial ones of smaller trees.

    tlog-tiles, "Partial Tiles": those of an earlier checkpoint stay until their full tile is there.
    """
    yield from tiles_of(size, old)
    for smaller in sizes:
        for level in (None, *range(8)):
            count = smaller >> 8 * (level or 0)
            index, width = divmod(count, TILE_WIDTH)
            if width and tile_width(level, index, size) < TILE_WIDTH:
                yield TilePath(level, index, width)


def _check_unclaimed(store: LogView, folder: Path, tiles: Iterable[TilePath]) -> None:
    """Check that no file which is not this log's would be replaced.

    Raises:
      LedgerError: one would be.
    """
    for tile in tiles:
        path = folder / str(tile)
        if os.path.lexists(path) and not _holds(path, _tile_data(store, tile)):
            raise LedgerError(
                f"{path} is not of this log, and {folder} has no {CHECKPOINT}; choose another"
                " folder, or take the file away"
            )


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a path is a file of these bytes, of which no more are read."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(data) + 1) == data


def _delete_partial(folder: Path) -> None:
    """Delete the partial tiles in a folder, and it, unless there is something else in it."""
    with contextlib.suppress(OSError):
        if folder.is_symlink():
            return
        for path in folder.iterdir():
            if path.name.removeprefix(".").removesuffix(TEMPORARY).isdecimal():
                path.unlink()
        folder.rmdir()


def _write_tile(store: LogView, folder: Path, tile: TilePath) -> Path:
    """Write a tile and return the folder whose names changed."""
    path = folder / str(tile)
    make_folder(path.parent)
    write_file(path, _tile_data(store, tile))
    return path.parent


def _tile_data(store: LogView, tile: TilePath) -> bytes:
    """Return what the file of a tile holds.

    Raises:
      LedgerError: the log has no such tile.
    """
    start = tile.index * TILE_WIDTH
    if tile.level is None:
        return encode_bundle(store.entries(start, start + tile.width))
    data = store.tile(tile.level, tile.index)[: tile.width * HASH_BYTES]
    if len(data) != tile.width * HASH_BYTES:
        raise LedgerError(f"the log has no tile {tile}")
    return data


def _published(store: LogStore, folder: Path) -> int:
    """Return of how many entries the checkpoint in a folder is; 0 if there is none.

    Raises:
      LedgerError: it is damaged or another log's.
      VerificationError: this log has signed it, and its entries are no longer those.
    """
    try:
        with (folder / CHECKPOINT).open("rb") as file:
            note = file.read(MAX_NOTE_BYTES + 1)
    except FileNotFoundError:
        return 0
    try:
        return store.own_checkpoint(note).size
    except LedgerError as error:
        try:
            published = parse_checkpoint(open_note(note, store.identity.keys).text)
        except (LedgerError, VerificationError):
            raise LedgerError(
                f"the checkpoint in {folder} is not of this log ({error}); choose another folder,"
                " or take the file away"
            ) from error
    store.check_extends(note)
    return published.size


@contextlib.contextmanager
def _publishing(folder: Path) -> Iterator[None]:
    """Hold a folder, made if it is not there, and turn errors of the system into the log's."""
    try:
        make_folder(folder)
        with held(
            folder,
            os.O_RDONLY | os.O_DIRECTORY,
            f"another process publishes to {folder}; wait for it to end",
        ):
            yield
    except OSError as error:
        raise LedgerError(
            f"cannot publish to {folder}: {error.strerror or error}; make room or choose another"
            " place, then publish again: the log itself is whole"
        ) from error
