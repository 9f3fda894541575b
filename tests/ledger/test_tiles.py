"""Paths of tiles, bundles and the nodes that tiles give."""

import base64
import hashlib

import pytest
from ledger_vectors import vectors

from jattr.errors import LedgerError
from jattr.ledger.encoding import MAX_LOG_SIZE
from jattr.ledger.merkle import leaf_hash, root_of, tree_root
from jattr.ledger.tiles import (
    MAX_ENTRY,
    TILE_WIDTH,
    TilePath,
    bundle_path,
    encode_bundle,
    nodes_from,
    parse_bundle,
    parse_tile_path,
    subtree_hash,
    tile_path,
    tile_width,
    tiles_of,
)

LEAVES = [hashlib.sha256(str(number).encode()).digest() for number in range(66_000)]


def row(level: int) -> list[bytes]:
    hashes = LEAVES
    for _ in range(level):
        full = len(hashes) // TILE_WIDTH
        hashes = [
            subtree_hash(b"".join(hashes[TILE_WIDTH * n : TILE_WIDTH * (n + 1)]))
            for n in range(full)
        ]
    return hashes


ROWS = [row(level) for level in range(3)]


def tile(level: int, index: int) -> bytes:
    return b"".join(ROWS[level][TILE_WIDTH * index : TILE_WIDTH * (index + 1)])


def test_paths_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(63, 0, 255) == "tile/63/000.p/255"
    assert bundle_path(999, 1) == "tile/entries/999.p/1"
    assert bundle_path(1000) == "tile/entries/x001/000"


@pytest.mark.parametrize("level", [None, 0, 1, 9, 10, 63])
@pytest.mark.parametrize("index", [0, 1, 999, 1000, 999_999, 1_000_000, MAX_LOG_SIZE >> 8])
@pytest.mark.parametrize("width", [1, 9, 99, 255, 256])
def test_paths_round_trip(level: int | None, index: int, width: int) -> None:
    path = TilePath(level, index, width)
    assert parse_tile_path(str(path)) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/X001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000\n",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/000.p/\u0663",
        "/tile/0/000",
        "tile//0/000",
        "tile/0/../000",
        "tile/entrie/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x001/" * 9 + "001",
        "tile/0/000.p/1/",
        "\ud800",
    ],
)
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(LedgerError, match="no path of a tile"):
        parse_tile_path(path)


@pytest.mark.parametrize(
    "fields",
    [(64, 0, 256), (-1, 0, 256), (0, -1, 256), (0, MAX_LOG_SIZE, 256), (0, 0, 0), (0, 0, 257)],
)
def test_impossible_tiles_are_refused(fields: tuple[int, int, int]) -> None:
    with pytest.raises(LedgerError):
        TilePath(*fields)


def test_tiles_of_the_specifications_example() -> None:
    tiles = list(tiles_of(70_000))
    count = {level: sum(t.level == level for t in tiles) for level in (None, 0, 1, 2, 3)}
    assert count == {None: 274, 0: 274, 1: 2, 2: 1, 3: 0}
    assert [(t.level, t.width) for t in tiles if t.width < TILE_WIDTH] == [
        (None, 112),
        (0, 112),
        (1, 17),
        (2, 1),
    ]
    assert list(map(str, tiles_of(256))) == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert list(tiles_of(0)) == []


@pytest.mark.parametrize("old", [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000])
@pytest.mark.parametrize("size", [1, 256, 257, 512, 65_536, 65_537, 70_000])
def test_a_step_adds_what_the_larger_tree_has_besides(old: int, size: int) -> None:
    if old <= size:
        assert sorted(map(str, tiles_of(size, old))) == sorted(
            {*map(str, tiles_of(size))} - {*map(str, tiles_of(old))}
        )
        assert all(
            tile_width(tile.level, tile.index, size) == tile.width for tile in tiles_of(size)
        )
    else:
        with pytest.raises(ValueError, match="no tiles"):
            list(tiles_of(size, old))


def test_bundles_round_trip() -> None:
    entries = [b"", b"a", bytes(MAX_ENTRY), b"\0\1"]
    assert encode_bundle(entries)[:5] == b"\0\0\0\1a"
    assert parse_bundle(encode_bundle(entries), 4) == entries
    with pytest.raises(LedgerError, match="65536 bytes"):
        encode_bundle([bytes(MAX_ENTRY + 1)])


def test_a_bundle_has_exactly_its_entries() -> None:
    data = encode_bundle([b"one", b"three", b""])
    for end in range(len(data)):
        with pytest.raises(LedgerError, match="cut off"):
            parse_bundle(data[:end], 3)
    for count in (0, 1, 2):
        with pytest.raises(LedgerError, match="bytes after"):
            parse_bundle(data, count)
    with pytest.raises(LedgerError, match="cut off"):
        parse_bundle(data, 4)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 65_535, 65_536, 65_537])
def test_nodes_of_tiles_lead_to_the_root(size: int) -> None:
    assert tree_root(size, nodes_from(tile)) == root_of(LEAVES[:size])


def test_a_tile_that_is_too_short_is_named() -> None:
    node = nodes_from(lambda level, index: tile(level, index)[: 32 * 5])
    assert node(2, 0) == tree_root(4, nodes_from(tile))
    with pytest.raises(LedgerError, match="tile/0/000 ends before node 1 of level 2"):
        node(2, 1)


@pytest.mark.reference
def test_tiles_and_bundles_of_tessera() -> None:
    reference = vectors("tessera_testdata_log")
    files = {path: base64.b64decode(data) for path, data in reference["files_b64"].items()}
    entries = [entry.encode() for entry in reference["entries_utf8"]]
    leaves = [leaf_hash(entry) for entry in entries]
    wanted = {str(path): path for size in range(len(entries) + 1) for path in tiles_of(size)}
    assert {path for path in files if path.startswith("tile/")} == set(wanted)
    for name, path in wanted.items():
        made = (
            encode_bundle(entries[: path.width])
            if path.level is None
            else b"".join(leaves[: path.width])
        )
        assert made == files[name], name
