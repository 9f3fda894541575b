"""The perceptual hash by the name that the ledger has for it: `jattr.perceptual_hash`."""

from jattr.perceptual_hash import (
    FEATURELESS,
    HASH_BITS,
    HASH_BYTES,
    MAX_HASHED_SIDE,
    NEAR_BITS,
    ONE,
    _cells,
    distance,
    is_featureless,
    near,
    perceptual_hash,
    turned_hashes,
)

__all__ = [
    "FEATURELESS",
    "HASH_BITS",
    "HASH_BYTES",
    "MAX_HASHED_SIDE",
    "NEAR_BITS",
    "ONE",
    "_cells",
    "distance",
    "is_featureless",
    "near",
    "perceptual_hash",
    "turned_hashes",
]
