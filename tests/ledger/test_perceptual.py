"""The perceptual hash: exact everywhere, near under editing, far between different images."""

import base64
import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jattr.errors import LedgerError
from jattr.ledger import perceptual
from jattr.ledger.perceptual import (
    FEATURELESS,
    NEAR_BITS,
    distance,
    is_featureless,
    near,
    perceptual_hash,
)

FOLDER = Path(__file__).parents[2]
VECTORS = json.loads((FOLDER / "docs" / "vectors" / "perceptual.json").read_text(encoding="utf-8"))
CASES = VECTORS["pictures"]


def image(seed: int, shape: tuple[int, ...] = (32, 32, 3)) -> np.ndarray:
    """A smooth random image, as of blurred noise."""
    noise = np.random.default_rng(seed).normal(size=(9, 9, shape[-1]))
    rows, columns = (np.linspace(0, 8, side)[:, None] - np.arange(9) for side in shape[:2])
    smooth = np.einsum("ia,jb,abc->ijc", np.exp(-(rows**2)), np.exp(-(columns**2)), noise)
    return np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)


def plain_hash(pixels: np.ndarray) -> bytes:
    """The definition in docs/formats.md, with fractions and loops, for sides that are small."""
    height, width, channels = pixels.shape
    luma = [[Fraction(0)] * width for _ in range(height)]
    for i, j in np.ndindex(height, width):
        seen = [int(value) for value in pixels[i, j]]
        grey = 1000 * seen[0] if channels == 1 else 299 * seen[0] + 587 * seen[1] + 114 * seen[2]
        luma[i][j] = Fraction(grey)
        if channels == 4:
            luma[i][j] = (grey * Fraction(seen[3]) + 128_000 * (255 - seen[3])) / 255

    def share(cell: int, pixel: int, side: int) -> Fraction:
        first, last = Fraction(cell * side, 32), Fraction((cell + 1) * side, 32)
        return max(Fraction(0), min(last, Fraction(pixel + 1)) - max(first, Fraction(pixel)))

    down = [[share(cell, pixel, height) for pixel in range(height)] for cell in range(32)]
    across = [[share(cell, pixel, width) for pixel in range(width)] for cell in range(32)]
    cells = np.zeros((32, 32), np.int64)
    for a, b in np.ndindex(32, 32):
        total = sum(
            (
                down[a][i] * across[b][j] * luma[i][j]
                for i in range(height)
                if down[a][i]
                for j in range(width)
            ),
            Fraction(0),
        )
        cells[a, b] = math.floor(total * 32 * 32 / (height * width))
    table = [
        [round(8192 * math.cos(math.pi * u * (2 * x + 1) / 64)) for x in range(32)]
        for u in range(1, 17)
    ]
    rows = [
        [sum(table[u][x] * int(cells[x, y]) for x in range(32)) for y in range(32)]
        for u in range(16)
    ]
    strengths = [
        sum(rows[u][y] * table[v][y] for y in range(32)) for u in range(16) for v in range(16)
    ]
    if sum(abs(strength) >= 16_000 * 8192**2 for strength in strengths) < 64:
        return bytes(32)
    return int("".join(str(int(strength > 0)) for strength in strengths), 2).to_bytes(32, "big")


@pytest.mark.parametrize(
    "shape", [(32, 32, 3), (5, 7, 3), (33, 31, 1), (1, 9, 4), (12, 40, 4), (70, 3, 3)]
)
def test_it_is_what_the_definition_says(shape: tuple[int, int, int]) -> None:
    for pixels in (image(1, shape), np.random.default_rng(2).integers(0, 256, shape, np.uint8)):
        assert perceptual_hash(pixels) == plain_hash(pixels)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_published_vectors(case: dict[str, Any]) -> None:
    pixels = np.frombuffer(base64.b64decode(case["pixels"]), np.uint8).reshape(case["shape"])
    assert perceptual_hash(pixels).hex() == case["hash"]
    assert is_featureless(pixels) == case["featureless"]


def test_published_distances() -> None:
    hashes = {case["name"]: bytes.fromhex(case["hash"]) for case in CASES}
    for case in VECTORS["distances"]:
        one, two = hashes[case["a"]], hashes[case["b"]]
        assert distance(one, two) == case["distance"]
        assert near(one, two) == case["near"]
    assert VECTORS["near"] == NEAR_BITS


def test_memory_layout_and_opaque_alpha_make_no_difference() -> None:
    pixels = image(3, (40, 30, 3))
    wanted = perceptual_hash(pixels)
    assert perceptual_hash(np.asfortranarray(pixels)) == wanted
    assert perceptual_hash(np.flip(np.flip(pixels).copy())) == wanted
    assert (
        perceptual_hash(np.concatenate([pixels, np.full((40, 30, 1), 255, np.uint8)], axis=2))
        == wanted
    )
    grey = pixels[..., :1]
    assert perceptual_hash(np.repeat(grey, 3, axis=2)) == perceptual_hash(grey)
    clear = np.concatenate([pixels, np.zeros((40, 30, 1), np.uint8)], axis=2)
    assert perceptual_hash(clear) == FEATURELESS


def test_whole_multiples_of_a_size_hash_alike() -> None:
    pixels = image(4)
    for down, across in ((2, 2), (3, 1), (5, 4)):
        assert perceptual_hash(
            np.repeat(np.repeat(pixels, down, axis=0), across, axis=1)
        ) == perceptual_hash(pixels)


@pytest.mark.slow
def test_edited_copies_are_near_and_other_images_are_not() -> None:
    import jax

    from jattr.alterations.files import alter
    from jattr.alterations.registry import parse_chain
    from jattr.zoo.faces import render_faces

    images = np.asarray(render_faces(jax.random.key(8), 20))
    hashes = [perceptual_hash(one) for one in images]
    for text in (
        "jpeg:90",
        "jpeg:75",
        "rescale:0.9",
        "rescale:1.5",
        "brightness:0.8",
        "grey:3",
        "blur:0.5",
    ):
        copies = [perceptual_hash(one) for one in alter(images, parse_chain(text)).pixels]
        assert all(near(one, two) for one, two in zip(hashes, copies, strict=True)), text
        assert not any(
            near(hashes[i], copies[j]) for i in range(20) for j in range(20) if i != j
        ), text


def test_a_mirrored_image_is_as_far_as_an_unrelated_one() -> None:
    """What the documentation says the hash cannot do."""
    pixels = image(5)
    assert distance(perceptual_hash(pixels), perceptual_hash(pixels[:, ::-1])) == 128


@pytest.mark.parametrize("value", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1, 1), (32, 32, 3), (65, 3, 4), (256, 256, 1)])
def test_constant_images_are_featureless_and_near_to_nothing(
    value: int, shape: tuple[int, int, int]
) -> None:
    pixels = np.full(shape, value, np.uint8)
    assert perceptual_hash(pixels) == FEATURELESS
    assert is_featureless(pixels)
    assert is_featureless(FEATURELESS)
    assert not near(FEATURELESS, FEATURELESS)


def test_next_to_nothing_is_featureless_too() -> None:
    rng = np.random.default_rng(6)
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    stripes = np.broadcast_to(
        np.where(np.arange(64) < 20, 200, 20).astype(np.uint8)[:, None, None], (64, 64, 3)
    )
    for pixels in (
        127 + rng.integers(0, 2, (64, 64, 3), np.uint8),
        np.tile(ramp, (64, 1))[..., None],
        stripes,
    ):
        assert is_featureless(pixels)
        assert not near(perceptual_hash(pixels), perceptual_hash(pixels))
    assert not is_featureless(image(7))


def test_distance_and_near() -> None:
    one = bytes([255] * 32)
    assert distance(one, one) == 0
    assert distance(one, FEATURELESS) == 256
    for bits in (NEAR_BITS, NEAR_BITS + 1):
        other = (int.from_bytes(one, "big") ^ (2**bits - 1)).to_bytes(32, "big")
        assert distance(one, other) == bits
        assert near(one, other) == (bits <= NEAR_BITS)
    assert not near(b"\1".rjust(32, b"\0"), FEATURELESS)
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(LedgerError):
            distance(one, wrong)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 70_000, 1), np.uint8),
        None,
        "picture",
    ],
)
def test_what_is_no_image(pixels: Any) -> None:
    with pytest.raises(LedgerError):
        perceptual_hash(pixels)


def test_no_sum_is_too_large() -> None:
    """The whitest image of the largest side: the sums before the division stay below 2^63."""
    side = perceptual.MAX_HASHED_SIDE
    assert 255_000 * 255 * side * side < 2**63
    assert 255_000 * (32 * perceptual.ONE) ** 2 < 2**63
    white = np.full((2, side, 1), 255, np.uint8)
    assert (perceptual._cells(white) == 255_000).all()


def test_it_needs_numpy_only() -> None:
    others = "{'jax', 'scipy', 'PIL', 'cryptography'}"
    code = f"import sys, jattr.ledger.perceptual; print(sorted({others} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
