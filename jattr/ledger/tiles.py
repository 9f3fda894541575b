"""Tiles and entry bundles: the static files that a log publishes (https://c2sp.org/tlog-tiles).

A tile holds up to 256 consecutive hashes of one level: level 0 those of the entries, level L those
of full subtrees of 256^L entries. A bundle holds the entries under a tile of level 0. The rightmost
ones may be partial; their width is part of their name, so a file never changes once it is there.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jattr.errors import LedgerError
from jattr.ledger.encoding import HASH_BYTES, MAX_LOG_SIZE, shown
from jattr.ledger.merkle import Node, node_hash

TILE_WIDTH = 256  # hashes of a full tile
TILE_BITS = 8  # levels of the tree that one tile spans
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_LEVEL = 63
MAX_ENTRY = 65_535  # bytes
MAX_BUNDLE = TILE_WIDTH * (2 + MAX_ENTRY)  # bytes
PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, order=True)
class TilePath:
    """Which tile: what its name says."""

    level: int | None  # from 0; None for a bundle of entries
    index: int  # from 0, within the level
    width: int = TILE_WIDTH  # hashes or entries, 1 to 256

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.level is not None and not 0 <= self.level <= MAX_LEVEL:
            raise LedgerError(f"level {self.level} of a tile: from 0 to {MAX_LEVEL}")
        if not 0 <= self.index <= MAX_LOG_SIZE >> TILE_BITS or not 1 <= self.width <= TILE_WIDTH:
            raise LedgerError(
                f"tile {self.index} of width {self.width}: indices begin at 0, widths are 1 to"
                f" {TILE_WIDTH}"
            )

    def __str__(self) -> str:
        """The path of its file below the log's prefix."""
        # tlog-tiles, "Merkle Tree": N in groups of three digits, all but the last behind an x, so
        # that no folder has more than a thousand files.
        digits = f"{self.index:d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{number}" + ("" if self.width == TILE_WIDTH else f".p/{self.width}")

    @property
    def full(self) -> "TilePath":
        """The full tile that this one is or becomes."""
        return TilePath(self.level, self.index)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile of hashes.

    >>> tile_path(0, 1234067, 5)
    'tile/0/x001/x234/067.p/5'
    """
    return str(TilePath(level, index, width))


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a bundle of entries.

    >>> bundle_path(0)
    'tile/entries/000'
    """
    return str(TilePath(None, index, width))


def parse_tile_path(path: str) -> TilePath:
    """Return which tile a path names.

    Raises:
      LedgerError: it is not the path of a tile as the format spells it; each tile has one spelling
        only.
    """
    match = PATH.fullmatch(path)
    if (
        match
        and int(match[3] or 1) < TILE_WIDTH
        and (match[1] == "entries" or int(match[1]) <= MAX_LEVEL)
    ):
        index = int(match[2].replace("x", "").replace("/", ""))
        if index <= MAX_LOG_SIZE >> TILE_BITS:
            level = None if match[1] == "entries" else int(match[1])
            tile = TilePath(level, index, int(match[3] or TILE_WIDTH))
            # One spelling: N without groups of leading zeroes.
            if str(tile) == path:
                return tile
    raise LedgerError(
        f"{shown(path.encode('utf-8', 'backslashreplace'))} is no path of a tile: write"
        " tile/LEVEL/N or tile/entries/N, N in groups of three digits such as x001/067, and"
        " .p/TILE_WIDTH (1 to 255) after a partial one"
    )


def tiles_of(size: int, old: int = 0) -> Iterator[TilePath]:
    """Yield the tiles and bundles that the tree of `size` entries has and that of `old` has not.

    >>> [str(tile) for tile in tiles_of(257, old=256)]
    ['tile/entries/001.p/1', 'tile/0/001.p/1']
    """
    if not 0 <= old <= size <= MAX_LOG_SIZE:
        raise ValueError(f"no tiles lead from {old} to {size} entries")
    for level in (None, *range(MAX_LEVEL + 1)):
        shift = TILE_BITS * (level or 0)
        # Level L has a hash for each full subtree of 256^L entries.
        hashes, old_hashes = size >> shift, old >> shift
        if not hashes:
            return
        # Full tiles from the one on that the old tree has only in part, ...
        yield from (
            TilePath(level, index)
            for index in range(old_hashes // TILE_WIDTH, hashes // TILE_WIDTH)
        )
        # ... and the partial one at the right edge, if it has grown.
        if hashes % TILE_WIDTH and hashes != old_hashes:
            yield TilePath(level, hashes // TILE_WIDTH, hashes % TILE_WIDTH)


def tile_width(level: int | None, index: int, size: int) -> int:
    """Return how many hashes of a tile the tree of `size` entries has; 0: no such tile."""
    return max(0, min(TILE_WIDTH, (size >> TILE_BITS * (level or 0)) - index * TILE_WIDTH))


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Return the bundle of 1 to 256 entries (tlog-tiles, "Log Entries").

    Each stands after its length, 2 bytes, most significant first.

    Raises:
      LedgerError: an entry is longer than 65,535 bytes.
    """
    parts = []
    for entry in entries:
        check_entry(entry)
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def parse_bundle(data: bytes, count: int) -> list[bytes]:
    """Return the entries of a bundle, which must be `count`, no more and no less.

    Raises:
      LedgerError: the bundle is cut off or holds another number of entries.
    """
    entries: list[bytes] = []
    position, end = 0, len(data)
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        if start > end or position > end:
            raise LedgerError(
                f"the bundle of {end} bytes is cut off in its entry {len(entries)} of {count}"
            )
        entries.append(data[start:position])
    if position != end:
        raise LedgerError(f"the bundle has {end - position} bytes after its {count} entries")
    return entries


def check_entry(entry: bytes) -> None:
    """Check that an entry can be published.

    Raises:
      LedgerError: it is longer than 65,535 bytes.
    """
    if len(entry) > MAX_ENTRY:
        raise LedgerError(
            f"an entry of {len(entry)} bytes: at most {MAX_ENTRY} fit, because its length has two"
            " bytes"
        )


def subtree_hash(hashes: bytes) -> bytes:
    """Return the root over a power of two of concatenated hashes of one level."""
    row = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def nodes_from(tile: Callable[[int, int], bytes]) -> Node:
    """Return the nodes of the tree whose tiles `tile(level, index)` gives, as concatenated hashes.

    The tiles may be wider than the tree that is asked about: full subtrees are the same in every
    larger tree.

    Raises:
      LedgerError: (when called) a tile does not reach as far as a node needs.
    """

    def node(level: int, index: int) -> bytes:
        # A tile has the hashes of every eighth level of the tree only: the node is the root over
        # the 2^height hashes under it, which all lie in one tile.
        tile_level, height = divmod(level, TILE_BITS)
        tile_index, offset = divmod(index << height, TILE_WIDTH)
        width = HASH_BYTES << height
        hashes = tile(tile_level, tile_index)[offset * HASH_BYTES : offset * HASH_BYTES + width]
        if len(hashes) != width:
            raise LedgerError(
                f"{tile_path(tile_level, tile_index)} ends before node {index} of level {level} of"
                " the tree"
            )
        return subtree_hash(hashes)

    return node
