"""Alterations as part of the model: compression, resizing, crops, blur, colour, noise; chains."""

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages, alter, from_decoded, from_jpeg
from jattr.alterations.history import find_jpeg
from jattr.alterations.jpeg import Jpeg
from jattr.alterations.registry import REGISTRY, parse_chain

__all__ = [
    "REGISTRY",
    "AlteredImages",
    "Chain",
    "Jpeg",
    "alter",
    "find_jpeg",
    "from_decoded",
    "from_jpeg",
    "parse_chain",
]
