"""SHA-256 digests of weights and of functions, which name models.

`docs/digests.md` has a worked example.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def canonical_json(value: object) -> bytes:
    """Return JSON without blanks, keys sorted, UTF-8, no NaN.

    >>> canonical_json({"b": [1, 2.5], "a": None})
    b'{"a":null,"b":[1,2.5]}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def tensors_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 (hex) of named tensors.

    Hashed are, in the order of the names' UTF-8 bytes, the canonical JSON of [name, dtype, shape],
    a newline, and the tensor's bytes, little-endian in C order.

    >>> tensors_digest({"layers/0/bias": np.zeros(2, np.float32)})[:16]
    '0596ee7a5539f635'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors, key=str.encode):
        array = np.asarray(tensors[name])
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(canonical_json([name, array.dtype.name, list(array.shape)]) + b"\n")
        digest.update(little.tobytes())
    return digest.hexdigest()


def function_digest(weights_digest: str, function_fields: Mapping[str, object]) -> str:
    """Return the SHA-256 (hex) of a function: its weights' digest and the settings that change it.

    >>> function_digest("00", {"kind": "layered"})[:16]
    'c63fdf7740f57d71'
    """
    return hashlib.sha256(
        canonical_json({"weights_digest": weights_digest, **function_fields})
    ).hexdigest()


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Return the leaves of nested dicts by path, joined by `/`.

    >>> flatten({"layers": {"0": {"bias": 1}}})
    {'layers/0/bias': 1}
    """
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        leaves |= flatten(value, path + "/") if isinstance(value, Mapping) else {path: value}
    return leaves
