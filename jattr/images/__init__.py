"""Images in and out: files, bytes of exact values, floats, a generator's shape.

The rules are stated in `docs/images.md`. Needs Pillow and numpy only; importing it does not import
jax.
"""

from jattr.images.fitting import fit, fit_notes, shape_advice
from jattr.images.reading import LoadedImage, load_image, read_image
from jattr.images.values import BYTE_RULES, ValueRange, as_bytes, to_byte, to_float
from jattr.images.writing import encode_png, write_png

__all__ = [
    "BYTE_RULES",
    "LoadedImage",
    "ValueRange",
    "as_bytes",
    "encode_png",
    "fit",
    "fit_notes",
    "load_image",
    "read_image",
    "shape_advice",
    "to_byte",
    "to_float",
    "write_png",
]
