"""Alterations of pictures as a part of the model: compression, resizing, crops, blur, colour, noise; chains."""

from jattr.nuisances.chain import Chain
from jattr.nuisances.files import AlteredPictures, alter, from_decoded, from_jpeg
from jattr.nuisances.history import find_jpeg
from jattr.nuisances.jpeg import Jpeg
from jattr.nuisances.registry import REGISTRY, parse_chain

__all__ = [
    "REGISTRY",
    "AlteredPictures",
    "Chain",
    "Jpeg",
    "alter",
    "find_jpeg",
    "from_decoded",
    "from_jpeg",
    "parse_chain",
]
