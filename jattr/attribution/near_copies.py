"""Near-copies among images that statistics count: they are one image, and count once.

Counts of independent images are what error rates are made of. A folder with every photograph twice,
once resized, would halve them on paper. Copies are told by the perceptual hash, which resizing,
compression and changes of brightness move little (`docs/formats.md`: of pairs of different images
1 in 16 million is near at most), in all eight turns and mirrors. Its 16 frequencies need 32 pixels
a side; smaller images are near to none.
"""

from collections.abc import Mapping

import numpy as np

from jattr.errors import ImageError
from jattr.perceptual_hash import CELLS, HASH_BITS, is_featureless, turned_hashes


def counted_once(
    own: Mapping[str, np.ndarray],
    negatives: Mapping[str, np.ndarray],
    near_bits: int,
    *,
    block_size: int = 2048,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """Return images without near-copies of earlier ones, and how many were left out.

    An own image counts once among those of its candidate; a negative once among all negatives, and
    not at all where it is a near-copy of an own image of any candidate.

    Args:
      own: of each candidate, uint8 [n, H, W, C].
      negatives: by kind, likewise.
      near_bits: images whose hashes differ in at most so many of 256 bits are near-copies.
      block_size: images compared with all others at a time; bounds memory.

    Returns:
      Own images, negatives, and by kind the number of those left out: "own images of NAME", or the
      kind of negatives. Kinds without any are not named.

    Raises:
      ImageError: a kind of negatives has nothing but near-copies.
    """
    left_out: dict[str, int] = {}
    earlier = np.zeros((0, HASH_BITS), np.float32)
    kept_own, kept = {}, {}
    for name, images in own.items():
        hashes = _hashes(images)
        first = _first_of_their_kind(hashes, earlier[:0], near_bits, block_size)
        kept_own[name] = images[first]
        earlier = np.concatenate([earlier, hashes[first, 0]])
        left_out[f"own images of {name}"] = len(images) - len(first)
    for kind, images in negatives.items():
        hashes = _hashes(images)
        first = _first_of_their_kind(hashes, earlier, near_bits, block_size)
        if not len(first):
            raise ImageError(
                f"all {len(images)} negatives {kind!r} are near-copies of own images or of other"
                " negatives; give images that nobody else's are copies of, or leave that kind away"
            )
        kept[kind] = images[first]
        earlier = np.concatenate([earlier, hashes[first, 0]])
        left_out[kind] = len(images) - len(first)
    return kept_own, kept, {kind: count for kind, count in left_out.items() if count}


def _hashes(images: np.ndarray) -> np.ndarray:
    """Return the hashes of images in eight positions [n, 8, 256], bits as -1 and 1.

    Featureless and small ones, which are near to nothing, are zeros.
    """
    bits = np.zeros((len(images), 8, HASH_BITS), np.float32)
    if min(images.shape[1:3]) < CELLS:
        return bits
    for number, image in enumerate(images):
        for turn, value in enumerate(turned_hashes(image)):
            if not is_featureless(value):
                bits[number, turn] = 2.0 * np.unpackbits(np.frombuffer(value, np.uint8)) - 1.0
    return bits


def _first_of_their_kind(
    hashes: np.ndarray, earlier: np.ndarray, near_bits: int, block_size: int
) -> np.ndarray:
    """Return the indices of images that are near to no earlier one, and to none of these before.

    Args:
      hashes: [n, 8, 256].
      earlier: [m, 256], of images that count already.
      near_bits: how many bits near hashes differ in at most.
      block_size: images compared at a time.
    """
    # Hashes of -1 and 1 that differ in k bits have the product 256 - 2 k.
    least = HASH_BITS - 2 * near_bits
    kept: list[int] = []
    for start in range(0, len(hashes), block_size):
        block = hashes[start : start + block_size]
        known = np.concatenate([earlier, hashes[kept, 0]])
        taken = _any_near(block, known, least, block_size)
        among = _near_among(block, least)
        new: list[int] = []
        for i in range(len(block)):
            if not taken[i] and not among[i, new].any():
                new.append(i)
        kept += [start + i for i in new]
    return np.array(kept, np.int64)


def _any_near(block: np.ndarray, known: np.ndarray, least: int, block_size: int) -> np.ndarray:
    """Return which of a block's images [n] are near to any of the known ones, in any position."""
    near = np.zeros(len(block), bool)
    for start in range(0, len(known), block_size):
        part = known[start : start + block_size]
        for turn in range(block.shape[1]):
            near |= (block[:, turn] @ part.T >= least).any(axis=1)
    return near


def _near_among(block: np.ndarray, least: int) -> np.ndarray:
    """Return which of a block's images are near to each other [n, n], in any position."""
    near = np.zeros((len(block), len(block)), bool)
    for turn in range(block.shape[1]):
        near |= block[:, turn] @ block[:, 0].T >= least
    return near
